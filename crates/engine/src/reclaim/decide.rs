//! Which of those who wait may make others yield, in order of their turn.
//!
//! Looked at when nothing else is left to decide: nobody ends for a job that can start without.

use super::kinds::Kinds;
use super::live::Live;
use super::right::{Claimant, Grounds, Manner, Right};
use super::room::{Demand, Piece};
use super::select::{Ending, Found, Front, commit};
use super::trial::Trial;
use super::{moves, repack};
use crate::facts::{Facts, JobFacts};
use crate::index::queue::{BucketKey, Queue};
use crate::line::Line;
use crate::need::Need;
use crate::order::turn::{self, ByTurn};
use crate::order::{self, priority};
use crate::pass::Pass;
use crate::sieve::{self, Sieve};
use crate::{Held, admit, mig};
use polder_model::{
    Ask, Decision, Ground, Instance, JobId, Market, Micros, Move, NodeId, PlaceAsk, Spot,
    TenantPath, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// Most jobs for which others are told to yield in one pass; the next goes on.
pub(crate) const CLAIMANTS_MAX: usize = 256;
/// Most jobs looked at in one pass.
pub(crate) const LOOKS_MAX: u32 = 16_384;
/// Nodes and members looked at in vain after which a pass looks no further: who comes after waits
/// for room.
pub(crate) const VAIN_STEPS_MAX: u64 = 400_000;

/// What jobs that look alike to a search have in common.
type Class<'q> = (&'q BucketKey, PlaceAsk, Sieve);

/// Where a pass put tasks that want to be apart, by tenant and word.
type Apart = BTreeMap<(TenantPath, String), BTreeSet<NodeId>>;

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
    let mut apart = Apart::new();
    let (mut decisions, mut looks, mut vain) = (Vec::new(), 0, 0);
    let fair = order::fair_place(&pass.facts.policy, pass.at);
    let mut line = Line::new(queue, fair, |tenant| pass.standing(tenant));
    while vain < VAIN_STEPS_MAX && looks < LOOKS_MAX {
        let Some((rank, bucket)) = line.next(|tenant| pass.standing(tenant)) else { break };
        if decisions.len() >= CLAIMANTS_MAX {
            pass.report.more = true;
            break;
        }
        looks += 1;
        trial.step(1);
        let before = trial.steps();
        match look(pass, live, &mut trial, (&mut searches, &mut apart), rank.job, &bucket.key) {
            Look::Yields(decision) => decisions.push(decision),
            Look::Waits => {}
            Look::Nobody => {
                vain += trial.steps() - before;
                continue;
            }
            Look::NoRight => continue,
        }
        if let Some(next) = bucket.after(rank) {
            line.push(next, bucket, |tenant| pass.standing(tenant));
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

fn look<'a, 'p: 'a, 'q>(
    pass: &Pass<'p>,
    live: &'a Live,
    trial: &mut Trial<'a>,
    (searches, apart): (&mut BTreeMap<Class<'q>, Search<'a>>, &mut Apart),
    id: JobId,
    key: &'q BucketKey,
) -> Look {
    let facts = pass.facts;
    let Some(job) = facts.jobs.get(&id) else { return Look::NoRight };
    let Some(claimant) = claimant(pass, live, (id, job), &key.need) else {
        return Look::NoRight;
    };
    let reclaim = &facts.policy.reclaim;
    let grounds = grounds(facts, pass.at);
    let right = |trial: &Trial<'_>, manner| Right::new(trial, claimant, manner, pass.at.0);
    let ends = right(trial, Manner::End(grounds));
    let may_move = reclaim.moves_max > 0;
    if !ends.could(&live.running) && !may_move {
        return Look::NoRight;
    }
    let demand = demand(&key.need, &job.ask.place);
    let mut sieve = Sieve::of(facts, pass.index, job, pass.at);
    let word = job.ask.place.apart.clone().map(|word| (job.ask.tenant.clone(), word));
    if let Some(word) = &word {
        sieve.avoid.extend(apart.get(word).into_iter().flatten().cloned());
    }
    let class = (key, job.ask.place.clone(), sieve);
    let fresh = |trial: &Trial<'_>, right: Right| {
        let to = Kinds::new(facts, (pass.index, live), pass.at, job, &class.2);
        Search { front: Front::new(trial, right, demand, &to), to, demand }
    };
    let known = searches.remove(&class);
    let known = known.and_then(|mut known| known.front.renew(trial, claimant).then_some(known));
    let mut search = known.unwrap_or_else(|| fresh(trial, ends));
    let found = search.front.find(trial, &search.to);
    let look = match found {
        Found::Fits(ending)
            if !pays(trial, &search.front.right, &demand, &ending)
                || !stays_open(pass, live, &job.ask, &ending) =>
        {
            Look::Nobody
        }
        Found::Fits(ending) => {
            commit(trial, &search.front.right, &demand, &ending);
            preempt(live, id, &ending, Vec::new()).map_or(Look::Waits, Look::Yields)
        }
        Found::NoRoom if may_move => {
            let right = right(trial, Manner::Move);
            let mut movers = fresh(trial, right);
            let most = usize::try_from(reclaim.moves_max).unwrap_or(usize::MAX);
            let found = repack::find(&movers.front.right, trial, &movers.demand, &movers.to, most)
                .or_else(|| moves::find(&mut movers.front, trial, &movers.demand, &movers.to, most))
                .filter(|moves| pays(trial, &movers.front.right, &movers.demand, &moves.ending))
                .filter(|moves| stays_open(pass, live, &job.ask, &moves.ending));
            found.map_or(Look::Nobody, |moves| {
                moves::commit(trial, &movers.front.right, &movers.demand, &moves);
                let again = moves.ending.victims.iter().zip(&moves.again);
                let again = again.map(|(victim, members)| Move {
                    job: JobId(victim.job),
                    spots: members.iter().filter_map(|m| spot(live, m.node, &m.slices)).collect(),
                });
                let again = again.collect();
                preempt(live, id, &moves.ending, again).map_or(Look::Nobody, Look::Yields)
            })
        }
        Found::NoRoom | Found::PastLimit { .. } => Look::Nobody,
    };
    if let (Some(word), Look::Yields(Decision::Preempt { spots, .. })) = (word, &look) {
        apart.entry(word).or_default().extend(spots.iter().map(|spot| spot.node.clone()));
    }
    searches.insert(class, search);
    look
}

/// Whether the nodes that a gang would go to are still open to it when those who yield have left.
fn stays_open(pass: &Pass<'_>, live: &Live, ask: &Ask, ending: &Ending) -> bool {
    let graces = ending.victims.iter().filter_map(|victim| {
        pass.facts.jobs.get(&JobId(victim.job)).map(|job| job.ask.yields.grace)
    });
    let left = pass.at.after(graces.max().unwrap_or(Micros(0)));
    let nodes: BTreeSet<&NodeId> =
        ending.places.iter().filter_map(|place| live.node_name(place.node)).collect();
    let mut closing = sieve::closing(pass.facts, ask, left);
    !closing.any(|reservation| reservation.nodes.iter().any(|node| nodes.contains(node)))
}

/// Whether limits leave room for the instances that a gang would hold, which may be larger than the
/// smallest that would do: nobody ends for a gang that then may not start.
fn pays(trial: &Trial<'_>, right: &Right, demand: &Demand, ending: &Ending) -> bool {
    let (running, claimant) = (trial.running, &right.claimant);
    let mut gang = Held::default();
    ending.places.iter().for_each(|place| gang.add(place.member(demand).held()));
    demand.cut.is_none()
        || running.lineage(claimant.tenant).all(|tenant| {
            let mut held = trial.held(tenant);
            held.add(gang);
            let ends = right.manner != Manner::Move;
            for victim in ending.victims.iter().filter(|_| ends) {
                let of = running.gang(victim.gang).map(|gang| gang.facts.tenant);
                let inside = of.is_some_and(|of| running.lineage(of).any(|above| above == tenant));
                let members = victim.members.iter().filter_map(|member| running.member(*member));
                members.filter(|_| inside).for_each(|member| held.subtract(member.facts.held()));
            }
            running.tenants.get(tenant).is_none_or(|facts| facts.limit.holds(&held))
        })
}

/// The grounds that count by the policy.
pub(crate) fn grounds(facts: &Facts, at: Timestamp) -> Grounds {
    let reclaim = &facts.policy.reclaim;
    Grounds {
        spot: reclaim.spot,
        class: reclaim.class,
        priority: reclaim.priority,
        quota: reclaim.quota,
        order: ByTurn::new(&facts.policy, at),
    }
}

/// A job as somebody who wants room; absent where its tenant was never met.
pub(crate) fn claimant(
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
        home: live.home(pass.facts, &job.ask),
        turn: turn::turn(&pass.facts.policy, job, pass.at),
        held: each.times(need.min.into()),
    })
}

/// What a gang needs to start at all.
fn demand(need: &Need, place: &PlaceAsk) -> Demand {
    Demand {
        tasks: need.min,
        devices: need.count,
        compute: need.compute,
        memory: need.memory,
        whole: need.is_whole(),
        cut: need.wants(),
        apart: place.apart.is_some(),
        cpu: need.cpu,
        host_memory: need.host_memory,
        nic: need.nic,
        backing: need.backing,
    }
}

/// The decision, unless nobody has to yield.
fn preempt(live: &Live, id: JobId, ending: &Ending, moves: Vec<Move>) -> Option<Decision> {
    // Of several grounds the one that asks for most is named.
    let ground = |ground: Ground| match ground {
        // Nobody who ends does so on this ground.
        Ground::Elastic | Ground::Spot => 0,
        Ground::Class => 1,
        Ground::Priority => 2,
        Ground::Order => 3,
        Ground::Quota => 4,
        Ground::Move => 5,
    };
    let grounds = ending.victims.iter().map(|victim| victim.ground);
    Some(Decision::Preempt {
        job: id,
        victims: ending.victims.iter().map(|victim| JobId(victim.job)).collect(),
        ground: grounds.max_by_key(|of| ground(*of))?,
        spots: ending.places.iter().filter_map(|p| spot(live, p.node, &p.pieces)).collect(),
        moves,
        shrinks: Vec::new(),
    })
}

/// A place by name.
fn spot(live: &Live, node: usize, pieces: &[Piece]) -> Option<Spot> {
    let part = |piece: &Piece| {
        let class = live.classes.get(live.class(node, piece.device)?)?;
        let layouts = class.parts?.layouts();
        let mig::Instance { profile, start } = layouts.instance(piece.cut)?;
        let profile = layouts.table().profiles.get(profile)?.name.to_owned();
        Some(Instance { profile, start })
    };
    let name = |piece: &Piece| live.device_name(node, piece.device).cloned();
    Some(Spot {
        node: live.node_name(node)?.clone(),
        devices: pieces.iter().map(name).collect::<Option<_>>()?,
        instances: pieces.iter().filter(|piece| piece.cut != 0).map(part).collect::<Option<_>>()?,
    })
}
