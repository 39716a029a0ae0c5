//! Nothing is taken back: every step makes the potential grow, so every sequence ends.

use super::super::right::{Manner, Right};
use super::super::running::MemberFacts;
use super::super::select::{Ending, Found, Front};
use super::super::trial::Trial;
use super::super::{moves, repack};
use super::{Job, Pool, naive, pool};
use crate::order::turn::Turn;
use polder_model::Ground;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Far more steps than any of these pools can take.
const STEPS_MAX: usize = 2000;

/// Octaves of device-time in these sequences.
const SERVED_MAX: i64 = 1 << 12;

/// Which reasons a sequence may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Only {
    Any,
    Spot,
    Priority,
    Order,
    Quota,
    Class,
}

/// Makes pools in which a single reason can apply.
fn narrow(pool: &mut Pool, only: Only) {
    for job in &mut pool.jobs {
        if matches!(only, Only::Priority | Only::Order | Only::Quota | Only::Class) {
            job.facts.spot = false;
        }
        if matches!(only, Only::Spot | Only::Order | Only::Quota | Only::Class) {
            job.facts.priority = 0;
        }
        if matches!(only, Only::Spot | Only::Priority | Only::Quota | Only::Class) {
            job.facts.turn = Turn::default();
        }
        if matches!(only, Only::Spot | Only::Priority | Only::Order | Only::Quota) {
            job.class = None;
            job.settle();
        }
    }
    if matches!(only, Only::Spot | Only::Priority | Only::Order | Only::Class) {
        pool.tenants.iter_mut().for_each(|tenant| tenant.0 = None);
    }
}

/// Ends what an ending says, and starts the job where it says.
fn carry_out(pool: &mut Pool, place: usize, ending: &Ending) {
    let running = pool.running();
    for victim in &ending.victims {
        let gang = running.gang(victim.gang).unwrap();
        let stays = gang.members.iter().filter(|member| !victim.members.contains(member));
        let stays: Vec<MemberFacts> =
            stays.map(|member| running.member(*member).unwrap().facts.clone()).collect();
        let job = pool.jobs.iter_mut().find(|job| job.facts.job == victim.job).unwrap();
        job.members = stays;
        job.settle();
    }
    start(pool, place, ending);
}

fn start(pool: &mut Pool, place: usize, ending: &Ending) {
    let job = &mut pool.jobs[place];
    job.members = ending.places.iter().map(|place| place.member(&job.demand)).collect();
    job.facts.started_at = pool.now;
    job.settle();
}

/// One step of a job that waits: it starts, perhaps in somebody's place; whether it did.
fn step(pool: &mut Pool, place: usize, only: Only) -> bool {
    let before = naive::potential(pool);
    let held: Vec<u64> = (0..pool.tenants.len()).map(|t| naive::holds(pool, t, false)).collect();
    match pool.find(&pool.jobs[place].clone()) {
        Found::Fits(ending) => {
            let claimant = naive::lineage(pool.jobs[place].facts.tenant);
            for victim in &ending.victims {
                let expected = match only {
                    Only::Any => continue,
                    Only::Spot => Ground::Spot,
                    Only::Priority => Ground::Priority,
                    Only::Order => Ground::Order,
                    Only::Quota => Ground::Quota,
                    Only::Class => Ground::Class,
                };
                assert_eq!(victim.ground, expected);
            }
            carry_out(pool, place, &ending);
            for (tenant, held) in held.iter().enumerate().filter(|(t, _)| !claimant.contains(t)) {
                let now = naive::holds(pool, tenant, false);
                let deserved = pool.tenants[tenant].0.unwrap_or(0);
                assert!(now >= deserved.min(*held), "a tenant fell below what it deserves");
            }
        }
        _ => match find_moves(pool, place) {
            Some(moves) => {
                for (victim, members) in moves.ending.victims.iter().zip(&moves.again) {
                    let of = pool.jobs.iter_mut().find(|job| job.facts.job == victim.job).unwrap();
                    assert_eq!(of.members.len(), members.len(), "a move lost a member");
                    of.members.clone_from(members);
                    of.facts.started_at = pool.now;
                    of.settle();
                }
                start(pool, place, &moves.ending);
            }
            None => return false,
        },
    }
    // `free` saturates, so what is held is added up beside it.
    let all: Vec<&MemberFacts> = pool.jobs.iter().flat_map(|job| &job.members).collect();
    for (node, (devices, cpu, memory)) in pool.nodes.iter().enumerate() {
        let on = || all.iter().filter(|member| member.node == node);
        assert!(on().map(|member| member.cpu).sum::<u64>() <= *cpu);
        assert!(on().map(|member| member.host_memory).sum::<u64>() <= *memory);
        assert!(on().map(|member| member.nic).sum::<u64>() <= super::NIC);
        for device in 0..*devices {
            let pieces = on().flat_map(|member| &member.slices);
            let pieces: Vec<_> = pieces.filter(|piece| piece.device == device).collect();
            let compute = pieces.iter().map(|piece| piece.compute).sum::<u32>();
            assert!(compute <= 1000, "a device is given twice");
            let cut = pieces.iter().fold(0, |cut, piece| {
                assert_eq!(cut & piece.cut, 0, "an instance is given twice");
                cut | piece.cut
            });
            assert!(super::table().layouts().card_of(cut).is_some(), "no card can be cut so");
            assert!(cut == 0 || pieces.iter().all(|piece| piece.cut != 0), "cut and shared");
        }
    }
    assert!(naive::grew(&before, &naive::potential(pool)), "the potential did not grow");
    true
}

fn find_moves(pool: &Pool, place: usize) -> Option<moves::Moves> {
    let job = &pool.jobs[place];
    if naive::lineage(job.facts.tenant).iter().any(|tenant| pool.tenants[*tenant].1.is_some()) {
        return None;
    }
    let running = pool.running();
    let mut trial = Trial::new(&running);
    let right = Right::new(&trial, job.claimant(), Manner::Move, pool.now);
    let to = super::To { lies: job.lies, class: job.class, jobs: &pool.jobs };
    let mut front = Front::new(&trial, right, job.demand, &to);
    let moves = repack::find(&front.right, &trial, &job.demand, &to, 16)
        .or_else(|| moves::find(&mut front, &mut trial, &job.demand, &to, 16));
    for (node, rooms) in
        pool.free(pool.jobs.iter().map(|job| job.members.as_slice())).iter().enumerate()
    {
        assert_eq!(trial.free(node), *rooms, "a search left a trace");
    }
    moves
}

/// Work that runs passes an octave now and then; whether any can still do so.
fn serve(pool: &mut Pool, only: Only, changed: &mut bool) -> bool {
    if !matches!(only, Only::Any | Only::Order) {
        return false;
    }
    let now = pool.now;
    let running = pool.jobs.iter_mut().filter(|job| job.runs());
    let mut running: Vec<&mut Job> =
        running.filter(|job| job.facts.turn.served() < SERVED_MAX).collect();
    for job in &mut running {
        let (served, since) = (job.facts.turn.served(), job.facts.started_at);
        if (now - since) / 7 % 3 == 2 {
            job.facts.turn = Turn::of((2 * served).max(1));
            *changed = true;
        }
    }
    !running.is_empty()
}

/// Steps by whoever `choices` says, then by everybody, until nobody who waits can do anything.
fn run(mut pool: Pool, only: Only, choices: &[usize]) {
    narrow(&mut pool, only);
    let (mut steps, mut seen) = (0, BTreeSet::new());
    let mut choices = choices.iter();
    loop {
        pool.now += 7;
        let mut changed = false;
        let serves = serve(&mut pool, only, &mut changed);
        if changed {
            // Standings are others now: what ran before may run again.
            seen.clear();
        }
        let waiting: Vec<usize> =
            (0..pool.jobs.len()).filter(|place| !pool.jobs[*place].runs()).collect();
        let first = choices.next().copied().unwrap_or(0) % waiting.len().max(1);
        let order = waiting.iter().cycle().skip(first).take(waiting.len());
        let moved = order.copied().any(|place| step(&mut pool, place, only));
        if !moved {
            // Work too young to yield yields later.
            let young = |job: &Job| {
                job.facts.yields.is_some_and(|y| pool.now < job.facts.started_at + y.runtime_min)
            };
            let later = serves && !waiting.is_empty();
            if later || pool.jobs.iter().any(|job| job.runs() && young(job)) {
                continue;
            }
            return;
        }
        steps += 1;
        assert!(steps < STEPS_MAX, "it does not end");
        let runs: Vec<(u64, usize)> =
            pool.jobs.iter().map(|job| (job.facts.job, job.members.len())).collect();
        assert!(seen.insert(runs), "the same work runs again: a cycle");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_sequence_ends(
        pool in pool(12),
        waits in prop::collection::vec(super::job(), 0..5),
        choices in prop::collection::vec(0usize..8, 0..40),
        only in prop_oneof![
            3 => Just(Only::Any),
            1 => Just(Only::Spot),
            1 => Just(Only::Priority),
            2 => Just(Only::Order),
            2 => Just(Only::Quota),
            2 => Just(Only::Class),
        ],
    ) {
        let mut pool = pool;
        for mut job in waits {
            job.facts.job = 100 + pool.jobs.len() as u64;
            pool.jobs.push(job);
        }
        run(pool, only, &choices);
    }
}
