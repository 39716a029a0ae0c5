//! Moves: work that restarts elsewhere at once, so that what is free lies where a gang can use it.
//!
//! A move needs no right over anybody: whoever moves goes on with as much as before, and where it
//! goes is found before anything ends. What it costs is the work since the last checkpoint.

use super::right::Right;
use super::room::{Constraint, Demand};
use super::running::MemberFacts;
use super::select::{Ending, Found, Front, Place};
use super::trial::Trial;

/// Most gangs moved for one.
pub(crate) const MOVED_GANGS_MAX: usize = 16;
/// Sets tried before a gang waits instead.
const TRIES_MAX: usize = 8;

/// Who moves, and where everybody then is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moves {
    /// Who moves away, and where the gang that wanted room goes.
    pub(crate) ending: Ending,
    /// For each victim, in that order, where its members go, by rank.
    pub(crate) again: Vec<Vec<MemberFacts>>,
}

/// Finds moves that make room for a claimant. Leaves the trial as it was.
pub(crate) fn find(
    front: &mut Front,
    trial: &mut Trial<'_>,
    demand: &Demand,
    to: &impl Constraint,
    most: usize,
) -> Option<Moves> {
    let mut moves = None;
    let mut spared = Vec::new();
    for _ in 0..TRIES_MAX {
        let Found::Fits(ending) = front.find(trial, to) else { break };
        if ending.victims.is_empty() || ending.victims.len() > most.min(MOVED_GANGS_MAX) {
            break;
        }
        match again(trial, demand, to, &ending) {
            Ok(again) => {
                moves = Some(Moves { ending, again });
                break;
            }
            Err(gang) => {
                spared.push(gang);
                front.right.spared.insert(gang);
                trial.touch(gang);
            }
        }
    }
    for gang in spared {
        front.right.spared.remove(&gang);
        trial.touch(gang);
    }
    moves
}

/// Makes moves so.
pub(crate) fn commit(trial: &mut Trial<'_>, right: &Right, demand: &Demand, moves: &Moves) {
    let ended = moves.ending.victims.iter().flat_map(|victim| &victim.members);
    ended.for_each(|member| trial.end(*member));
    moves.ending.places.iter().for_each(|place| trial.take(&place.member(demand)));
    moves.again.iter().flatten().for_each(|member| trial.take(member));
    let claimant = &right.claimant;
    trial.holds_more(claimant.tenant, claimant.held, claimant.spot);
}

/// Where all victims go at the same time; else the first that finds no place. The largest choose
/// first.
fn again(
    trial: &mut Trial<'_>,
    demand: &Demand,
    to: &impl Constraint,
    ending: &Ending,
) -> Result<Vec<Vec<MemberFacts>>, usize> {
    let taken: Vec<MemberFacts> = ending.places.iter().map(|place| place.member(demand)).collect();
    let members = ending.victims.iter().flat_map(|victim| &victim.members);
    members.clone().for_each(|member| trial.end(*member));
    taken.iter().for_each(|member| trial.take(member));
    let mut order: Vec<usize> = (0..ending.victims.len()).collect();
    order.sort_by_key(|place| {
        let gang = ending.victims.get(*place).and_then(|victim| trial.running.gang(victim.gang));
        let held = gang.map(|gang| (gang.held.devices, gang.held.compute)).unwrap_or_default();
        (std::cmp::Reverse(held), *place)
    });
    let mut again = vec![Vec::new(); ending.victims.len()];
    let mut failed = None;
    for place in order {
        let Some(victim) = ending.victims.get(place) else { continue };
        let members = elsewhere(trial, to, victim.job, &victim.members);
        match (members, again.get_mut(place)) {
            (Some(members), Some(slot)) => {
                members.iter().for_each(|member| trial.take(member));
                *slot = members;
            }
            _ => {
                failed = Some(victim.gang);
                break;
            }
        }
    }
    again.iter().flatten().for_each(|member| trial.give(member));
    taken.iter().for_each(|member| trial.give(member));
    members.for_each(|member| trial.restore(*member));
    failed.map_or(Ok(again), Err)
}

/// Where the members of a gang, which are alike, fit now: nodes with little free first.
fn elsewhere(
    trial: &Trial<'_>,
    to: &impl Constraint,
    job: u64,
    members: &[usize],
) -> Option<Vec<MemberFacts>> {
    let like = &trial.running.member(*members.first()?)?.facts;
    let piece = like.slices.first().copied().unwrap_or_default();
    let (cut, apart) = to.wants_of_job(job);
    let demand = Demand {
        tasks: u32::try_from(members.len()).ok()?,
        devices: u32::try_from(like.slices.len()).ok()?,
        compute: piece.compute,
        memory: piece.memory,
        whole: false,
        cut,
        apart,
        cpu: like.cpu,
        host_memory: like.host_memory,
        nic: like.nic,
        backing: like.backing,
    };
    let carries = |node: usize| {
        trial.step(1);
        if !to.takes_of_job(job, node) {
            return 0;
        }
        demand.most(&trial.free(node), |device| to.lie_of_job(job, node, device))
    };
    let nodes = 0..trial.running.nodes.len();
    let mut nodes: Vec<(u32, usize)> =
        nodes.map(|node| (carries(node), node)).filter(|(carries, _)| *carries > 0).collect();
    nodes.sort_unstable();
    let mut places = Vec::new();
    for (_, node) in nodes {
        let want = demand.tasks - u32::try_from(places.len()).ok()?;
        let filled = demand.fill(&trial.free(node), |d| to.lie_of_job(job, node, d), want);
        places.extend(filled.into_iter().map(|pieces| Place { node, pieces }.member(&demand)));
        if places.len() == members.len() {
            return Some(places);
        }
    }
    None
}
