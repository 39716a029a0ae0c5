//! Small pools against every set of victims there is.

use super::super::cost::Value;
use super::super::running::MemberFacts;
use super::super::select::{Ending, Found};
use super::{Job, Pool, naive, pool};
use proptest::prelude::*;

/// How much more than the cheapest a set for a gang of several tasks may come to.
const FACTOR: u128 = 2;

/// What remains of each job in an ending, by place in the pool.
fn remaining(pool: &Pool, ending: &Ending) -> Vec<Vec<MemberFacts>> {
    let running = pool.running();
    let remain = |job: &Job| {
        let victim = ending.victims.iter().find(|victim| victim.job == job.facts.job);
        let Some(victim) = victim else { return job.members.clone() };
        let gang = running.gang(victim.gang).unwrap();
        let stays = gang.members.iter().filter(|member| !victim.members.contains(member));
        stays.map(|member| running.member(*member).unwrap().facts.clone()).collect()
    };
    pool.jobs.iter().map(remain).collect()
}

/// The cheapest that every job's ways of yielding allow.
fn cheapest(pool: &Pool, job: &Job) -> Option<Value> {
    let ways: Vec<Vec<(Value, Vec<MemberFacts>)>> = pool
        .jobs
        .iter()
        .map(|victim| {
            if !victim.runs() || naive::ground(pool, job, victim).is_none() {
                return vec![(Value::NOTHING, victim.members.clone())];
            }
            let priced = |remain: Vec<MemberFacts>| {
                let mut ended = victim.members.clone();
                ended.retain(|member| !remain.contains(member));
                // Members may be alike: count them.
                ended.truncate(victim.members.len() - remain.len());
                let missing = victim.members.len() - remain.len() - ended.len();
                ended.extend(victim.members.iter().take(missing).cloned());
                (naive::value(pool, victim, &ended), remain)
            };
            naive::ways(victim).into_iter().map(priced).collect()
        })
        .collect();
    let mut best: Option<Value> = None;
    let mut chosen = vec![Vec::new(); ways.len()];
    explore(pool, job, &ways, 0, Value::NOTHING, &mut chosen, &mut best);
    best
}

fn explore(
    pool: &Pool,
    job: &Job,
    ways: &[Vec<(Value, Vec<MemberFacts>)>],
    place: usize,
    sum: Value,
    chosen: &mut Vec<Vec<MemberFacts>>,
    best: &mut Option<Value>,
) {
    if best.is_some_and(|best| sum >= best) {
        return;
    }
    let Some(options) = ways.get(place) else {
        if naive::fits(pool, job, chosen) {
            *best = Some(sum);
        }
        return;
    };
    for (value, remain) in options {
        chosen[place].clone_from(remain);
        explore(pool, job, ways, place + 1, sum + *value, chosen, best);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn a_set_is_found_if_there_is_one_and_none_of_it_can_stay(pool in pool(8)) {
        let job = pool.jobs.last().unwrap();
        let best = cheapest(&pool, job);
        let ending = match pool.find(job) {
            Found::Fits(ending) => ending,
            _ => {
                prop_assert_eq!(best, None, "there is a set");
                return Ok(());
            }
        };
        prop_assert!(best.is_some(), "no set is enough, and yet one was found");
        let best = best.unwrap();
        let remain = remaining(&pool, &ending);

        // Everybody who yields has to, and as a gang may.
        for victim in &ending.victims {
            let of = pool.jobs.iter().position(|job| job.facts.job == victim.job).unwrap();
            prop_assert_eq!(Some(victim.ground), naive::ground(&pool, job, &pool.jobs[of]));
            prop_assert!(naive::ways(&pool.jobs[of]).contains(&remain[of]), "half a gang stays");
            prop_assert_eq!(victim.whole, remain[of].is_empty());
        }
        // The whole gang fits then, where it is said to go.
        prop_assert!(naive::fits(&pool, job, &remain));
        prop_assert_eq!(ending.places.len(), job.demand.tasks as usize);
        let mut free = pool.free(remain.iter().map(Vec::as_slice));
        for place in &ending.places {
            let member = place.member(&job.demand);
            prop_assert_eq!(member.slices.len(), job.demand.devices as usize);
            for piece in &member.slices {
                let room = free[place.node].devices[piece.device];
                prop_assert!(room.compute >= piece.compute);
                prop_assert!(room.memory >= piece.memory || piece.cut != 0);
                prop_assert_eq!(piece.cut != 0, job.demand.cut.is_some());
                let with = room.card().filter(|_| piece.cut != 0).map(|(layouts, _)| {
                    room.cut() & piece.cut == 0 && layouts.card_of(room.cut() | piece.cut).is_some()
                });
                prop_assert!(with.unwrap_or(piece.cut == 0), "{piece:?} is not to be had");
            }
            prop_assert!(naive::lie_well(job.lies, &member.slices.iter().map(|p| p.device).collect::<Vec<_>>()));
            let rooms = &free[place.node];
            prop_assert!(rooms.cpu >= member.cpu && rooms.memory >= member.host_memory);
            prop_assert!(rooms.nic >= member.nic);
            free[place.node].take(&member);
        }
        // Nobody could stay: neither a whole gang nor a single member.
        for (of, (victim, left)) in pool.jobs.iter().zip(&remain).enumerate() {
            if victim.members.len() == left.len() {
                continue;
            }
            for more in naive::ways(victim).iter().filter(|way| {
                way.len() == victim.members.len() || way.len() == left.len() + 1 && !left.is_empty()
            }) {
                let keeps_left = left.iter().all(|member| more.contains(member));
                let mut other = remain.clone();
                other[of].clone_from(more);
                prop_assert!(!keeps_left || !naive::fits(&pool, job, &other), "a victim could stay");
            }
        }
        // And it costs what it should.
        prop_assert!(ending.value >= best);
        let limited = naive::lineage(job.facts.tenant).iter().any(|t| pool.tenants[*t].1.is_some());
        if job.demand.tasks == 1 && !limited {
            prop_assert_eq!(ending.value, best, "for one task there is a cheaper set");
        } else {
            prop_assert!(ending.value.cost <= best.cost * FACTOR, "{:?} {:?}", ending.value, best);
        }
    }
}
