//! Which of those who wait may make others yield, in order of their turn.
//!
//! Looked at when nothing else is left to decide: nobody ends for a job that can start without.

use super::kinds::{Kinds, is_known};
use super::live::Live;
use super::moves;
use super::right::{Claimant, Grounds, Manner, Right};
use super::room::Demand;
use super::running::MemberFacts;
use super::select::{Ending, Found, Front, Place, commit};
use super::trial::Trial;
use crate::admit;
use crate::facts::JobFacts;
use crate::index::queue::{BucketKey, Queue};
use crate::line::Line;
use crate::need::Need;
use crate::order::turn::{self, ByTurn};
use crate::order::{self, priority};
use crate::pass::Pass;
use polder_model::{Decision, Ground, JobId, Market, Move, PlaceAsk, Spot};
use std::collections::BTreeMap;

/// Most jobs for which others are told to yield in one pass; the next goes on.
pub(crate) const CLAIMANTS_MAX: usize = 256;
/// Most jobs looked at in one pass.
pub(crate) const LOOKS_MAX: u32 = 16_384;
/// Nodes and members looked at in vain after which a pass looks no further: who comes after waits
/// for room.
pub(crate) const VAIN_STEPS_MAX: u64 = 400_000;

/// What jobs that look alike to a search have in common.
type Class<'q> = (&'q BucketKey, PlaceAsk);

/// A search for one class, which goes on where it was for the next job of it.
struct Search<'a> {
    front: Front,
    to: Kinds<'a>,
    demand: Demand,
}

/// Decides for whom others yield, and who; `live` is who could, as of now.
pub(crate) fn decide(pass: &mut Pass<'_>, queue: &Queue, live: &Live) -> Vec<Decision> {
    if !live.could_anybody_yield() {
        return Vec::new();
    }
    let mut trial = Trial::new(&live.running);
    let mut searches: BTreeMap<Class<'_>, Search<'_>> = BTreeMap::new();
    let (mut decisions, mut looks, mut vain) = (Vec::new(), 0, 0);
    let fair = order::fair_place(&pass.facts.policy, pass.at);
    let mut line = Line::new(queue, fair, |tenant| pass.standing(tenant));
    while vain < VAIN_STEPS_MAX && looks < LOOKS_MAX {
        let Some((rank, key)) = line.next(|tenant| pass.standing(tenant)) else { break };
        if decisions.len() >= CLAIMANTS_MAX {
            pass.report.more = true;
            break;
        }
        looks += 1;
        trial.step(1);
        let before = trial.steps();
        match look(pass, live, &mut trial, &mut searches, rank.job, key) {
            Look::Yields(decision) => decisions.push(decision),
            Look::Waits => {}
            Look::Nobody => {
                vain += trial.steps() - before;
                continue;
            }
            Look::NoRight => continue,
        }
        if let Some(next) = queue.after(key, rank) {
            line.push(next, key, |tenant| pass.standing(tenant));
        }
    }
    pass.report.steps += trial.steps();
    decisions
}

/// What a look at one job gave.
enum Look {
    /// Others yield.
    Yields(Decision),
    /// It fits once those have gone who are going anyway.
    Waits,
    /// Nobody is found who could.
    Nobody,
    /// It has no right over anybody.
    NoRight,
}

fn look<'a, 'q>(
    pass: &Pass<'a>,
    live: &'a Live,
    trial: &mut Trial<'a>,
    searches: &mut BTreeMap<Class<'q>, Search<'a>>,
    id: JobId,
    key: &'q BucketKey,
) -> Look {
    let facts = pass.facts;
    let Some(job) = facts.jobs.get(&id).filter(|job| is_known(&job.ask)) else {
        return Look::NoRight;
    };
    // What is closed to it for now is not known here: it waits for room instead.
    if crate::sieve::closing(facts, &job.ask, pass.at).next().is_some() {
        return Look::NoRight;
    }
    let Some(claimant) = claimant(pass, live, (id, job), &key.need) else {
        return Look::NoRight;
    };
    let reclaim = &facts.policy.reclaim;
    let grounds = Grounds {
        spot: reclaim.spot,
        priority: reclaim.priority,
        quota: reclaim.quota,
        order: ByTurn::new(&facts.policy, pass.at),
    };
    let right = |trial: &Trial<'_>, manner| Right::new(trial, claimant, manner, pass.at.0);
    let ends = right(trial, Manner::End(grounds));
    let may_move = reclaim.moves_max > 0;
    if !ends.could(&live.running) && !may_move {
        return Look::NoRight;
    }
    let demand = demand(&key.need);
    let class = (key, job.ask.place.clone());
    let fresh = |trial: &Trial<'_>, right: Right| {
        let to = Kinds::new(facts, live, &job.ask);
        Search { front: Front::new(trial, right, demand, &to, None), to, demand }
    };
    let known = searches.remove(&class);
    let known = known.and_then(|mut known| known.front.renew(trial, claimant).then_some(known));
    let mut search = known.unwrap_or_else(|| fresh(trial, ends));
    let found = search.front.find(trial, &search.to);
    let look = match found {
        Found::Fits(ending) => {
            commit(trial, &search.front.right, &demand, &ending);
            preempt(live, id, &ending, Vec::new()).map_or(Look::Waits, Look::Yields)
        }
        Found::NoRoom if may_move => {
            let right = right(trial, Manner::Move);
            let mut movers = fresh(trial, right);
            let most = usize::try_from(reclaim.moves_max).unwrap_or(usize::MAX);
            let found = moves::find(&mut movers.front, trial, &movers.demand, &movers.to, most);
            found.map_or(Look::Nobody, |moves| {
                moves::commit(trial, &movers.front.right, &movers.demand, &moves);
                let again = moves.ending.victims.iter().zip(&moves.again);
                let again = again.map(|(victim, members)| Move {
                    job: JobId(victim.job),
                    spots: members.iter().filter_map(|member| spot_of(live, member)).collect(),
                });
                let again = again.collect();
                preempt(live, id, &moves.ending, again).map_or(Look::Nobody, Look::Yields)
            })
        }
        Found::NoRoom | Found::PastLimit { .. } => Look::Nobody,
    };
    searches.insert(class, search);
    look
}

fn claimant(
    pass: &Pass<'_>,
    live: &Live,
    (id, job): (JobId, &JobFacts),
    need: &Need,
) -> Option<Claimant> {
    let each = admit::each(pass.index, need);
    Some(Claimant {
        job: id.0,
        tenant: live.tenant(&job.ask.tenant)?,
        priority: priority(job, pass.at),
        spot: job.ask.when.market == Market::Spot,
        turn: turn::turn(&pass.facts.policy, job, pass.at),
        held: each.times(need.min.into()),
    })
}

/// What a gang needs to start at all.
fn demand(need: &Need) -> Demand {
    Demand {
        tasks: need.min,
        devices: need.count,
        compute: need.compute,
        memory: need.memory,
        whole: need.is_whole(),
        cpu: need.cpu,
        host_memory: need.host_memory,
    }
}

/// The decision, unless nobody has to yield.
fn preempt(live: &Live, id: JobId, ending: &Ending, moves: Vec<Move>) -> Option<Decision> {
    // Of several grounds the one that asks for most is named.
    let ground = |ground: Ground| match ground {
        Ground::Spot => 0,
        Ground::Priority => 1,
        Ground::Order => 2,
        Ground::Quota => 3,
        Ground::Move => 4,
    };
    let grounds = ending.victims.iter().map(|victim| victim.ground);
    Some(Decision::Preempt {
        job: id,
        victims: ending.victims.iter().map(|victim| JobId(victim.job)).collect(),
        ground: grounds.max_by_key(|of| ground(*of))?,
        spots: ending.places.iter().filter_map(|place| spot(live, place)).collect(),
        moves,
    })
}

fn spot(live: &Live, place: &Place) -> Option<Spot> {
    let devices = place.devices.iter().filter_map(|d| live.device_name(place.node, *d));
    Some(Spot {
        node: live.node_name(place.node)?.clone(),
        devices: devices.cloned().collect(),
        instances: Vec::new(),
    })
}

fn spot_of(live: &Live, member: &MemberFacts) -> Option<Spot> {
    let devices = member.slices.iter().map(|(device, ..)| *device).collect();
    spot(live, &Place { node: member.node, devices })
}
