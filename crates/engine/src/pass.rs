//! Who is next, and where: one walk through the queue.
//!
//! A job that does not fit holds the devices it could use: later jobs of the same walk leave
//! them alone, so that nobody is overtaken for ever. A job that only its own tenant's quota, or
//! the absence of any device in reach, keeps waiting holds nothing. The walk looks at the first
//! of each bucket (see [`Queue`]). Once every device is held it looks at jobs that need none only,
//! so that it does not grow with the length of the queue. Where a job fits is sought in [`rooms`],
//! and what it gets there is made in [`grant`].

mod grant;
mod rooms;

use crate::ahead::{self, Ahead, Ends, Gang, Promise};
use crate::backfill::Span;
use crate::facts::{Facts, JobFacts};
use crate::home::Reach;
use crate::index::queue::Queue;
use crate::index::space::{Answer, CellKey, MACHINES};
use crate::index::{Index, held_of};
use crate::line::Line;
use crate::need::Need;
use crate::order::fair::{self, Pool, Standing};
use crate::order::{self, Rank};
use crate::place::Overlay;
use crate::quota::{Holder, More, Shortage};
use crate::reclaim::promise;
use crate::sieve::Sieve;
use crate::{Held, Report, Waiting, WaitingOn, quota, sieve};
use polder_model::{
    Ask, Decision, JobId, Lease, LeaseId, NodeId, Reservation, TenantPath, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// Most jobs granted by one pass; the next goes on.
pub const PASS_GRANTS_MAX: usize = 256;
/// Leases after which a pass grants no further job.
pub const PASS_LEASES_MAX: u32 = 4096;
/// Most waiting jobs named by one report.
pub const REPORT_WAITING_MAX: usize = 64;

/// One walk through the queue.
pub(crate) struct Pass<'a> {
    pub(crate) facts: &'a Facts,
    pub(crate) index: &'a Index,
    pub(crate) at: Timestamp,
    pub(crate) space: Overlay<'a>,
    /// Cells held, and by whom first.
    pub(crate) held: BTreeMap<CellKey, JobId>,
    /// While gangs could grow: the cells that jobs wait for, each by whom first, and the quotas.
    wanted: BTreeMap<CellKey, JobId>,
    short: BTreeSet<Holder>,
    /// What was promised, and what this pass granted.
    more: More,
    /// Where this pass put tasks that want to be apart, by tenant and word.
    apart: BTreeMap<(TenantPath, String), BTreeSet<NodeId>>,
    next_lease: LeaseId,
    pool: Pool,
    /// When what runs is believed to end, if the policy lets jobs start before those that wait.
    ends: Option<&'a Ends>,
    /// The future, once a job must wait.
    ahead: Option<Ahead<'a>>,
    pub(crate) decisions: Vec<Decision>,
    pub(crate) report: Report,
}

/// What is sought for a job.
#[derive(Clone, Copy)]
struct Wanted<'w> {
    id: JobId,
    job: &'w JobFacts,
    need: &'w Need,
    answer: &'w Answer,
    reach: &'w Reach<'w>,
    sieve: &'w Sieve,
    want: u32,
}

/// Why a job waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Quota(Shortage),
    Room,
    Devices,
}

impl<'a> Pass<'a> {
    pub(crate) fn new(facts: &'a Facts, index: &'a Index, at: Timestamp) -> Self {
        Self {
            facts,
            index,
            at,
            space: Overlay::new(&index.space),
            held: BTreeMap::new(),
            wanted: BTreeMap::new(),
            short: BTreeSet::new(),
            more: index.promised.clone(),
            next_lease: facts.next_lease,
            apart: BTreeMap::new(),
            pool: Pool::of(index),
            ends: None,
            ahead: None,
            decisions: Vec::new(),
            report: Report::default(),
        }
    }

    /// The same, looking ahead: a job that fits may start before one that waits, if it does not
    /// delay it as far as anybody knows.
    pub(crate) fn looking(self, ends: Option<&'a Ends>) -> Self {
        Self { ends, ..self }
    }

    /// Forgets what it granted.
    pub(crate) fn restart(&mut self) {
        self.space.restart();
        self.held.clear();
        self.wanted.clear();
        self.short.clear();
        self.more = More::default();
        self.next_lease = self.facts.next_lease;
        self.apart.clear();
        self.decisions.clear();
        self.report = Report::default();
    }

    /// Walks, in order, up to (not including) `until` or up to the bound of a pass.
    pub(crate) fn walk(&mut self, queue: &Queue, until: Option<(Rank, &TenantPath)>) {
        let cells = self.space.cells();
        let fair = order::fair_place(&self.facts.policy, self.at);
        let mut line = Line::new(queue, fair, |tenant| self.standing(tenant));
        let mut is_narrow = false;
        while let Some((rank, bucket)) = line.next(|tenant| self.standing(tenant)) {
            let key = &bucket.key;
            let machines = usize::from(self.held.contains_key(&MACHINES));
            if self.held.len() - machines >= cells {
                if machines > 0 {
                    break;
                }
                if !is_narrow {
                    is_narrow = true;
                    line.narrow(queue, rank);
                }
                if key.need.count > 0 {
                    continue;
                }
            }
            let is_before = |until: (Rank, &TenantPath)| {
                let until = (&until.0, until.1);
                line.is_before((&rank, &key.tenant), until, |tenant| self.standing(tenant))
            };
            if until.is_some_and(|until| !is_before(until)) {
                break;
            }
            if self.ahead.as_ref().is_some_and(Ahead::is_done) {
                break;
            }
            if self.is_full() {
                self.report.more = true;
                break;
            }
            self.report.steps += 1;
            match self.consider(rank.job, &key.need) {
                Ok(leases) => {
                    self.report.leases += u32::try_from(leases.len()).unwrap_or(u32::MAX);
                    self.decisions.push(Decision::Grant { job: rank.job, leases });
                    if let Some(next) = bucket.after(rank) {
                        line.push(next, bucket, |tenant| self.standing(tenant));
                    }
                }
                Err(wait) => {
                    self.want(rank.job, &key.need, &wait);
                    self.note(rank.job, wait);
                }
            }
        }
        self.report.steps += self.space.steps();
    }

    /// Starts those who were promised room that is now free, and takes promises back that nobody
    /// can keep any more.
    pub(crate) fn keep_promises(&mut self) {
        for id in self.index.promises.ready() {
            let Some(job) = self.facts.jobs.get(id) else { continue };
            let Some(claim) = &job.claim else { continue };
            self.report.steps += 1;
            if self.is_full() {
                self.report.more = true;
                break;
            }
            let leases = self.leases(*id, job, &claim.spots);
            let sum = leases.iter().map(held_of).fold(Held::default(), |mut sum, held| {
                sum.add(held);
                sum
            });
            let whose = (&job.ask.tenant, &job.ask.user);
            self.more.remove(whose.0, whose.1, promise::held(job));
            let (room, _) = quota::room(self.facts, self.index, &self.more, whose, sum);
            let nodes =
                |one: &Reservation| claim.spots.iter().any(|spot| one.nodes.contains(&spot.node));
            let is_open = !sieve::closing(self.facts, &job.ask, self.at).any(nodes);
            let starts = room > 0 && is_open && promise::is_free(self.index, job);
            self.more.add(whose.0, whose.1, if starts { sum } else { promise::held(job) });
            if starts {
                self.report.leases += u32::try_from(leases.len()).unwrap_or(u32::MAX);
                let next = leases.last().map_or(self.next_lease.0, |lease| lease.id.0 + 1);
                self.next_lease = LeaseId(next);
                self.decisions.push(Decision::Grant { job: *id, leases });
            } else if !self.index.promises.is_anybody_leaving() {
                self.decisions.push(Decision::Release { job: *id });
            }
        }
    }

    /// A tenant's standing among the others, with what this pass granted.
    pub(crate) fn standing(&self, tenant: &TenantPath) -> Standing {
        fair::standing(self.facts, self.index, self.pool, &self.more, tenant)
    }

    /// What this pass granted, and what was promised.
    pub(crate) fn more(&self) -> &More {
        &self.more
    }

    /// Notes what a job waits for, where gangs could otherwise grow into it.
    fn want(&mut self, job: JobId, need: &Need, wait: &Wait) {
        if self.index.elastic.is_empty() {
            return;
        }
        match wait {
            Wait::Quota(short) => drop(self.short.insert(short.holder.clone())),
            Wait::Room => {
                let cells = self.space.answer(need).cells.clone();
                for cell in cells {
                    self.wanted.entry(cell).or_insert(job);
                }
            }
            Wait::Devices => {}
        }
    }

    /// Whether somebody who waits could use a cell.
    pub(crate) fn is_wanted(&self, cell: CellKey) -> bool {
        self.held.contains_key(&cell) || self.wanted.contains_key(&cell)
    }

    /// Whether one of these jobs is the first that waits for a cell.
    pub(crate) fn is_for_one_of(&self, cell: CellKey, jobs: &BTreeSet<JobId>) -> bool {
        let first =
            |by: &BTreeMap<CellKey, JobId>| by.get(&cell).is_some_and(|by| jobs.contains(by));
        first(&self.held) || first(&self.wanted)
    }

    /// Whether nobody waits for a cell before this job.
    pub(crate) fn is_open_to(&self, cell: CellKey, job: JobId) -> bool {
        let first = |by: &BTreeMap<CellKey, JobId>| by.get(&cell).is_none_or(|by| *by == job);
        first(&self.held) && first(&self.wanted)
    }

    /// Whether a job waits for a quota that this one's leases count against.
    pub(crate) fn keeps_waiting(&self, job: &JobFacts) -> bool {
        let Ask { tenant, user, .. } = &job.ask;
        self.short.iter().any(|short| {
            let inside = tenant.lineage().any(|above| above == short.tenant);
            inside && short.user.as_ref().is_none_or(|of| of == user)
        })
    }

    /// Whether jobs may start before one that waits, if they do not delay it.
    pub(crate) fn looks_ahead(&self) -> bool {
        self.ends.is_some()
    }

    /// The starts that it promised, in order of the queue.
    pub(crate) fn promises(&self) -> &[Promise] {
        self.ahead.as_ref().map_or(&[], Ahead::promises)
    }

    /// Whether it looked at no further job although there may be more.
    pub(crate) fn has_looked_enough(&self) -> bool {
        self.ahead.as_ref().is_some_and(Ahead::is_done)
    }

    /// Promises its earliest start to somebody who does not stand in line.
    pub(crate) fn reserve(&mut self, job: JobId, gang: &Gang, span: Span) {
        let Some(ends) = self.ends else { return };
        if self.ahead.is_none() {
            let (fleet, rule) = self.space.fleet();
            self.ahead = Some(Ahead::new(fleet, rule, ends, self.at));
        }
        if let Some(ahead) = &mut self.ahead {
            ahead.reserve(job, gang, span, self.facts.policy.backfill.reserved);
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.decisions.len() >= PASS_GRANTS_MAX || self.report.leases >= PASS_LEASES_MAX
    }

    fn note(&mut self, job: JobId, wait: Wait) {
        if self.report.waiting.len() >= REPORT_WAITING_MAX {
            return;
        }
        let on = match wait {
            Wait::Quota(Shortage { holder, resource, .. }) => {
                WaitingOn::Quota { tenant: holder.tenant, resource }
            }
            Wait::Room => WaitingOn::Room,
            Wait::Devices => WaitingOn::Devices,
        };
        self.report.waiting.push(Waiting { job, on });
    }

    /// Grants a gang, or says why not and holds what it could use.
    pub(crate) fn consider(&mut self, id: JobId, need: &Need) -> Result<Vec<Lease>, Wait> {
        let Some(job) = self.facts.jobs.get(&id) else { return Err(Wait::Devices) };
        let want = self.quota_room(&job.ask, need).map_err(Wait::Quota)?;
        let answer = self.space.answer(need);
        if answer.room < u64::from(need.min) {
            return Err(Wait::Devices);
        }
        let reach = self.reach(job, &answer.cells);
        if reach.is_empty() {
            return Err(Wait::Devices);
        }
        let sieve = self.sieve(job);
        let wanted = Wanted { id, job, need, answer: &answer, reach: &reach, sieve: &sieve, want };
        match self.ends.filter(|_| ahead::minds(job)) {
            Some(ends) => {
                let spots = self.beside(ends, &wanted).ok_or(Wait::Room)?;
                self.grant(id, job, need, &spots)
            }
            None => {
                let spots = self.on_open(&wanted).ok_or(Wait::Room)?;
                self.grant_unlooked(id, job, need, &spots)
            }
        }
    }
}
