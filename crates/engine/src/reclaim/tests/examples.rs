//! One example of each rule.

use super::super::right::{Manner, Right};
use super::super::room::{Demand, Piece};
use super::super::running::{GangFacts, MemberFacts, Yields};
use super::super::select::{Found, Front};
use super::super::trial::Trial;
use super::super::{moves, select};
use super::{Job, Lies, Pool, fits, grounds};
use crate::order::turn::Turn;
use polder_model::Ground;

const NODE: (usize, u64, u64) = (4, 64, 64);
// Tenants as in `super::PARENTS`.
const A: usize = 1;
const B: usize = 2;
const A_X: usize = 3;
const OTHER: usize = 4;

fn job(number: u64, tenant: usize, tasks: u32, devices: u32) -> Job {
    let facts = GangFacts {
        job: number,
        tenant,
        priority: 0,
        spot: false,
        turn: Turn::default(),
        lenders: Vec::new(),
        yields: Some(Yields { runtime_min: 0, interval: None, restart: 0 }),
        started_at: 50,
        min: tasks,
        is_complete: true,
    };
    let demand = Demand { tasks, devices, compute: 1000, whole: true, ..Demand::default() };
    Job { facts, demand, lies: Lies::default(), class: None, members: Vec::new() }
}

impl Job {
    fn priority(mut self, priority: i32) -> Self {
        self.facts.priority = priority;
        self
    }
    fn spot(mut self) -> Self {
        self.facts.spot = true;
        self
    }
    fn class(mut self, class: usize) -> Self {
        self.class = Some(class);
        self
    }
    fn since(mut self, at: u64) -> Self {
        self.facts.started_at = at;
        self
    }
    fn on(mut self, places: &[(usize, &[usize])]) -> Self {
        let member = |(node, devices): &(usize, &[usize])| {
            let piece =
                |device: &usize| Piece { device: *device, compute: 1000, memory: 0, cut: 0 };
            let pieces = devices.iter().map(piece).collect();
            select::Place { node: *node, pieces }.member(&self.demand)
        };
        self.members = places.iter().map(member).collect();
        self.settle();
        self
    }
}

/// The devices of a place.
fn on(place: &select::Place) -> Vec<usize> {
    place.pieces.iter().map(|piece| piece.device).collect()
}

fn pool_of(nodes: usize, jobs: Vec<Job>) -> Pool {
    Pool { nodes: vec![NODE; nodes], tenants: vec![(None, None); 5], jobs, now: 100 }
}

#[test]
fn a_higher_priority_ends_the_work_that_costs_least() {
    let jobs = vec![
        job(1, A, 1, 4).on(&[(0, &[0, 1, 2, 3])]).since(10),
        job(2, B, 1, 4).on(&[(1, &[0, 1, 2, 3])]).since(90),
    ];
    let pool = pool_of(2, jobs);
    let found = fits(pool.find(&job(9, OTHER, 1, 2).priority(1)));
    assert_eq!(grounds(&found), [(2, Ground::Priority)]);
    assert_eq!(found.places[0].node, 1);
    assert_eq!(pool.find(&job(9, OTHER, 1, 2)), Found::NoRoom, "equals do not end each other");
}

#[test]
fn checkpoints_and_restarts_count() {
    let mut old = job(1, A, 1, 4).on(&[(0, &[0, 1, 2, 3])]).since(10);
    old.facts.yields = Some(Yields { runtime_min: 0, interval: Some(17), restart: 0 });
    let mut young = job(2, B, 1, 4).on(&[(1, &[0, 1, 2, 3])]).since(90);
    young.facts.yields = Some(Yields { runtime_min: 0, interval: None, restart: 1 });
    let pool = pool_of(2, vec![old, young]);
    let found = fits(pool.find(&job(9, OTHER, 1, 1).priority(1)));
    assert_eq!(grounds(&found), [(1, Ground::Priority)], "5 of work against 10 and a restart");
    assert_eq!(found.value.cost, 5 * 4000);
}

#[test]
fn a_gang_ends_as_a_whole_and_makes_room_wherever_it_was() {
    let gang = job(1, A, 2, 4).on(&[(0, &[0, 1, 2, 3]), (1, &[0, 1, 2, 3])]);
    let pool = pool_of(2, vec![gang]);
    let found = fits(pool.find(&job(9, B, 2, 4).priority(1)));
    assert_eq!((found.victims.len(), found.victims[0].members.len()), (1, 2));
    assert!(found.victims[0].whole);
}

#[test]
fn an_elastic_gang_shrinks_instead_and_keeps_its_first_member() {
    let mut gang = job(1, A, 3, 1).on(&[(0, &[0]), (0, &[1]), (0, &[2])]);
    gang.facts.min = 1;
    let pool = pool_of(1, vec![gang]);
    let found = fits(pool.find(&job(9, B, 1, 3).priority(1)));
    assert_eq!((found.victims[0].members.len(), found.victims[0].whole), (2, false));
    assert_eq!(on(&found.places[0]), [1, 2, 3]);
    let found = fits(pool.find(&job(9, B, 1, 4).priority(1)));
    assert!(found.victims[0].whole);
}

#[test]
fn a_class_takes_its_own_back_from_whoever_borrowed_it() {
    let all: &[usize] = &[0, 1, 2, 3];
    let jobs = vec![
        // At home, away in the room of class 1, and one that belongs nowhere.
        job(1, A, 1, 4).class(0).on(&[(0, all)]),
        job(2, A, 1, 2).class(0).priority(9).on(&[(1, &[0, 1])]),
        job(3, A, 1, 2).on(&[(1, &[2, 3])]),
    ];
    let mut pool = pool_of(2, jobs);
    pool.tenants[A].0 = Some(8);
    let found = fits(pool.find(&job(9, B, 1, 2).class(1)));
    assert_eq!(
        grounds(&found),
        [(2, Ground::Class)],
        "whatever its priority or its tenant's share"
    );
    assert_eq!(found.places[0].node, 1);
    assert_eq!(pool.find(&job(9, B, 1, 3).class(1)), Found::NoRoom, "others are at home there");
    assert_eq!(pool.find(&job(9, B, 1, 2).class(0)), Found::NoRoom, "it is not its own there");
    assert_eq!(pool.find(&job(9, B, 1, 2)), Found::NoRoom, "who has no home takes none back");
}

#[test]
fn spot_yields_to_any_tenant_and_nothing_yields_to_spot() {
    let jobs = vec![
        job(1, A, 1, 2).on(&[(0, &[0, 1])]).priority(5).spot(),
        job(2, A, 1, 2).on(&[(0, &[2, 3])]),
    ];
    let mut pool = pool_of(1, jobs);
    pool.tenants[A].0 = Some(100);
    let found = fits(pool.find(&job(9, B, 1, 2)));
    assert_eq!(grounds(&found), [(1, Ground::Spot)], "what a tenant deserves does not cover spot");
    assert_eq!(pool.find(&job(9, B, 1, 4)), Found::NoRoom);
    assert_eq!(pool.find(&job(9, A, 1, 2).priority(5).spot()), Found::NoRoom);
    assert_eq!(
        grounds(&fits(pool.find(&job(9, A, 1, 2).priority(6).spot()))),
        [(1, Ground::Priority)]
    );
}

#[test]
fn a_tenant_takes_back_what_it_deserves_and_no_more() {
    let jobs = (0..4).zip(1..).map(|(d, n)| job(n, A, 1, 1).priority(9).on(&[(0, &[d])])).collect();
    let mut pool = pool_of(1, jobs);
    pool.tenants[A].0 = Some(2);
    pool.tenants[B].0 = Some(2);
    let found = fits(pool.find(&job(9, B, 2, 1)));
    assert_eq!(
        grounds(&found),
        [(3, Ground::Quota), (4, Ground::Quota)],
        "the oldest jobs are kept"
    );
    assert_eq!(pool.find(&job(9, B, 3, 1)), Found::NoRoom, "it deserves two");
    assert_eq!(pool.find(&job(9, OTHER, 1, 1)), Found::NoRoom, "it deserves nothing");
    pool.tenants[A].0 = Some(3);
    assert_eq!(pool.find(&job(9, B, 2, 1)), Found::NoRoom, "only one is beyond three");
}

#[test]
fn what_is_deserved_counts_at_every_level_below_the_common_tenant() {
    let jobs = (0..4).zip(1..).map(|(d, n)| job(n, B, 1, 1).on(&[(0, &[d])])).collect();
    let mut pool = pool_of(1, jobs);
    pool.tenants[A].0 = Some(2);
    assert_eq!(
        grounds(&fits(pool.find(&job(9, A_X, 2, 1)))).len(),
        2,
        "its parent's share is its own"
    );
    pool.tenants[A_X].0 = Some(1);
    assert_eq!(pool.find(&job(9, A_X, 2, 1)), Found::NoRoom, "its own is smaller");
    // A tenant's share is not a reason against its own.
    let jobs = (0..4).zip(1..).map(|(d, n)| job(n, A, 1, 1).on(&[(0, &[d])])).collect();
    let mut other = pool_of(1, jobs);
    other.tenants[A].0 = Some(4);
    assert_eq!(other.find(&job(9, A, 1, 1)), Found::NoRoom);
}

#[test]
fn a_limit_is_made_room_under_by_the_tenants_own_work() {
    let jobs = vec![job(1, A, 1, 2).on(&[(0, &[0, 1])]), job(2, B, 1, 1).on(&[(0, &[2])])];
    let mut pool = pool_of(1, jobs);
    pool.tenants[A].1 = Some(2);
    let found = fits(pool.find(&job(9, A, 1, 1).priority(1)));
    assert_eq!(grounds(&found), [(1, Ground::Priority)], "a device is free, the limit is not");
    let past = Found::PastLimit { tenant: A, resource: polder_model::Resource::Devices };
    assert_eq!(pool.find(&job(9, A, 1, 1)), past);
}

#[test]
fn work_that_just_began_or_never_yields_is_left_alone() {
    let mut young = job(1, A, 1, 4).on(&[(0, &[0, 1, 2, 3])]).since(90);
    young.facts.yields = Some(Yields { runtime_min: 11, interval: None, restart: 0 });
    let mut pool = pool_of(1, vec![young]);
    let high = job(9, B, 1, 1).priority(1);
    assert_eq!(pool.find(&high), Found::NoRoom);
    pool.now = 101;
    assert_eq!(fits(pool.find(&high)).victims.len(), 1);
    pool.jobs[0].facts.yields = None;
    assert_eq!(pool.find(&high), Found::NoRoom);
}

#[test]
fn nobody_ends_for_what_fits_or_for_half_a_gang() {
    let jobs = vec![job(1, A, 1, 4).on(&[(0, &[0, 1, 2, 3])])];
    let pool = pool_of(2, jobs);
    assert_eq!(fits(pool.find(&job(9, B, 1, 4).priority(1))).victims, []);
    assert_eq!(pool.find(&job(9, B, 3, 4).priority(1)), Found::NoRoom);
}

#[test]
fn work_moves_only_where_it_fits_at_once() {
    let jobs =
        vec![job(1, A, 1, 2).on(&[(0, &[0, 1])]), job(2, A, 1, 2).on(&[(1, &[0, 1])]).since(90)];
    let with = |jobs: Vec<Job>, wanted: Job| {
        let pool = pool_of(2, jobs);
        let running = pool.running();
        let mut trial = Trial::new(&running);
        let right = Right::new(&trial, wanted.claimant(), Manner::Move, pool.now);
        let mut front = Front::new(&trial, right, wanted.demand, &());
        moves::find(&mut front, &mut trial, &wanted.demand, &(), 16)
    };
    let moves = with(jobs.clone(), job(9, B, 1, 4)).unwrap();
    assert_eq!(grounds(&moves.ending), [(2, Ground::Move)]);
    let place = |member: &MemberFacts| (member.node, member.slices.len());
    assert_eq!(moves.again[0].iter().map(place).collect::<Vec<_>>(), [(0, 2)]);
    assert_eq!(moves.ending.places[0].node, 1);
    // What does not fit elsewhere stays, and then nobody moves.
    let mut fuller = jobs;
    fuller.push(job(3, A, 1, 1).on(&[(0, &[2])]));
    fuller.push(job(4, A, 1, 1).on(&[(1, &[2])]));
    assert_eq!(with(fuller, job(9, B, 1, 4)), None);
}

#[test]
fn two_claimants_of_one_pass_do_not_count_on_the_same_room() {
    let jobs = (0..4).zip(1..).map(|(d, n)| job(n, A, 1, 1).on(&[(0, &[d])])).collect();
    let pool = pool_of(1, jobs);
    let running = pool.running();
    let mut trial = Trial::new(&running);
    let first = job(9, B, 1, 1).priority(1);
    let right = Right::new(&trial, first.claimant(), Manner::End(super::ALL), pool.now);
    let mut front = Front::new(&trial, right, first.demand, &());
    let mut ended = Vec::new();
    for number in 9..14 {
        let claimant = super::Claimant { job: number, ..first.claimant() };
        assert!(front.renew(&trial, claimant));
        let Found::Fits(ending) = front.find(&mut trial, &()) else { break };
        select::commit(&mut trial, &front.right, &first.demand, &ending);
        ended.extend(grounds(&ending).into_iter().map(|(job, _)| job));
    }
    ended.sort_unstable();
    assert_eq!(ended, [1, 2, 3, 4]);
}
