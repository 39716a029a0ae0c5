//! Whose room a job that waits could have by its rank, and why they do not yield it. For
//! explanations: computed only when somebody asks.

use super::kinds::Kinds;
use super::live::Live;
use super::right::{Manner, Right, Spared};
use super::room::Constraint;
use super::trial::Trial;
use super::{decide, live};
use crate::facts::JobFacts;
use crate::need::Need;
use crate::pass::Pass;
use crate::sieve::Sieve;
use polder_model::{JobId, Micros, Reason, TenantPath};
use std::collections::{BTreeMap, BTreeSet};

/// Most members looked at for one explanation.
const MEMBERS_MAX: usize = 50_000;

/// Why work that ranks behind a job goes on where the job could be; nothing where none does.
pub(crate) fn reasons(
    pass: &Pass<'_>,
    live: &Live,
    (id, job): (JobId, &JobFacts),
    need: &Need,
    sieve: &Sieve,
) -> Vec<Reason> {
    if !live::is_on(pass.facts) {
        return Vec::new();
    }
    let Some(claimant) = decide::claimant(pass, live, (id, job), need) else { return Vec::new() };
    let (running, trial) = (&live.running, Trial::new(&live.running));
    let manner = Manner::End(decide::grounds(pass.facts, pass.at));
    let right = Right::new(&trial, claimant, manner, pass.at.0);
    let to = Kinds::new(pass.facts, (pass.index, live), pass.at, job, sieve);
    let mut seen: BTreeSet<usize> = BTreeSet::new();
    let mut kept: BTreeMap<&TenantPath, (u64, u32)> = BTreeMap::new();
    let mut young: BTreeSet<(u64, u64)> = BTreeSet::new();
    let mut firm = 0u32;
    let nodes = (0..running.nodes.len()).filter(|node| to.takes(*node));
    let members = nodes.filter_map(|node| running.nodes.get(node)).flat_map(|node| &node.members);
    for member in members.take(MEMBERS_MAX).filter_map(|member| running.member(*member)) {
        let facts = &member.facts;
        let of_use = |device: usize| to.lie(facts.node, device).is_some();
        let helps = need.count == 0 || facts.slices.iter().any(|piece| of_use(piece.device));
        let Some(gang) = running.gang(member.gang).filter(|_| helps) else { continue };
        if !seen.insert(member.gang) {
            continue;
        }
        match right.spared(running, gang) {
            None => {}
            Some(Spared::Firm) => firm = firm.saturating_add(1),
            Some(Spared::Young { until }) => {
                young.insert((until, gang.facts.job));
            }
            Some(Spared::Kept { by }) => {
                let deserved = running.tenants.get(by).map(|tenant| tenant.cover.deserved());
                let deserved = deserved.and_then(|deserved| deserved.compute).unwrap_or(0);
                if let Some(path) = live.tenant_name(by) {
                    let (_, jobs) = kept.entry(path).or_insert((deserved, 0));
                    *jobs = jobs.saturating_add(1);
                }
            }
        }
    }
    let kept = kept.into_iter().map(|(tenant, (deserved, jobs))| Reason::Kept {
        tenant: tenant.clone(),
        deserved,
        jobs,
    });
    let first = young.first().map(|(until, job)| Reason::NotYet {
        job: JobId(*job),
        left: Micros(until.saturating_sub(pass.at.0)),
        jobs: u32::try_from(young.len()).unwrap_or(u32::MAX),
    });
    let firm = (firm > 0).then_some(Reason::NeverYields { jobs: firm });
    kept.chain(first).chain(firm).collect()
}
