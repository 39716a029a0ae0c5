//! Who yields, through the life of real jobs: told to leave, gone, queued again; and the room that
//! was made is kept for whom it was made.

use crate::parts::a100;
use crate::world::{With, World, ask, gib};
use polder_model::{
    Ask, Decision, Event, Ground, JobId, LeaseId, LeaseState, Market, Mechanism, Micros, Outcome,
    Quota, Reclaim, Share, StopReason,
};

/// Short spellings of how asks yield.
trait Yielding: Sized {
    fn preemptible(self) -> Self;
    fn spot(self) -> Self;
    fn runtime_min(self, seconds: u64) -> Self;
}

impl Yielding for Ask {
    fn preemptible(mut self) -> Self {
        self.yields.preemptible = true;
        self
    }
    fn spot(mut self) -> Self {
        self.when.market = Market::Spot;
        self
    }
    fn runtime_min(mut self, seconds: u64) -> Self {
        self.yields.runtime_min = Micros::from_secs(seconds);
        self
    }
}

const ALL: Reclaim = Reclaim {
    priority: true,
    quota: true,
    spot: true,
    order: false,
    class: false,
    runtime_min: Micros(0),
    moves_max: 0,
};

/// Two nodes of two devices, two tenants, and this policy.
fn pool(reclaim: Reclaim) -> World {
    let mut world = World::new().tenant("hall", Quota::default());
    for node in ["n0", "n1"] {
        world = world.device(node, "d0").device(node, "d1");
    }
    set_policy(&mut world, reclaim);
    world
}

fn set_policy(world: &mut World, reclaim: Reclaim) {
    let policy = polder_engine::Policy { reclaim, ..world.engine.policy().clone() };
    world.apply(Event::PolicySet { policy: Box::new(policy) });
}

fn whole(tenant: &str) -> Ask {
    ask().of(tenant).whole()
}

/// Jobs that were told to leave, for whom and why.
fn told(world: &World) -> Vec<(u64, Ground, Vec<u64>)> {
    let of = |decision: &Decision| match decision {
        Decision::Preempt { job, victims, ground, .. } => {
            Some((job.0, *ground, victims.iter().map(|victim| victim.0).collect()))
        }
        _ => None,
    };
    world.decisions.iter().filter_map(of).collect()
}

/// Leases that are to end to make room.
fn leaving(world: &World) -> Vec<LeaseId> {
    let tombstones = world.engine.nodes().flat_map(|node| world.engine.desired(node.id).1);
    let made_room = tombstones.filter(|t| matches!(t.why, StopReason::Preempted { .. }));
    made_room.map(|tombstone| tombstone.lease).collect()
}

/// Ends what is to end, as agents do.
fn leave(world: &mut World) {
    for lease in leaving(world) {
        world.end_lease(lease, Outcome::Signalled { signal: 15 });
    }
    world.run();
}

#[test]
fn a_higher_priority_gets_room_when_all_of_it_can_be_made() {
    let mut world = pool(ALL);
    let low: Vec<JobId> = (0..4).map(|_| world.submit(whole("lab").preemptible())).collect();
    world.run();
    let high = world.submit(whole("hall").devices(2).gang(2, 2).priority(1, None));
    world.run();
    assert_eq!(told(&world), [(high.0, Ground::Priority, vec![1, 2, 3, 4])]);
    let why = world.engine.explain(world.now(), high).unwrap();
    assert_eq!(why.reasons[0].to_string(), "4 jobs are leaving room for it");
    // One after the other they leave, and nothing starts in the meantime.
    for lease in leaving(&world) {
        assert_eq!(world.state(high), "queued");
        world.end_lease(lease, Outcome::Signalled { signal: 15 });
        world.run();
    }
    assert_eq!(world.state(high), "running");
    assert_eq!(world.spots(high), ["n0/d0+d1", "n1/d0+d1"]);
    assert_eq!(world.states(&low), "queued queued queued queued");
    let why = world.engine.explain(world.now(), low[0]).unwrap();
    let evicted = "it was ended to make room for job 5, whose priority is higher";
    assert_eq!(why.reasons.last().unwrap().to_string(), evicted);
    world.end(high, Outcome::Succeeded);
    world.run();
    assert_eq!(world.states(&low), "running running running running");
}

#[test]
fn nobody_leaves_for_half_a_gang_or_for_what_fits() {
    let mut world = pool(ALL);
    let low: Vec<JobId> = (0..3).map(|_| world.submit(whole("lab").preemptible())).collect();
    let kept = world.submit(whole("lab"));
    world.run();
    let high = world.submit(whole("hall").gang(4, 4).priority(1, None));
    world.run();
    assert_eq!(told(&world), []);
    world.cancel(high);
    world.end(kept, Outcome::Succeeded);
    world.submit(whole("hall").priority(1, None));
    world.run();
    assert_eq!(told(&world), []);
    assert_eq!(world.states(&low), "running running running");
}

#[test]
fn the_room_that_is_made_is_kept_from_everybody_else() {
    let mut world = pool(ALL);
    let low: Vec<JobId> = (0..4).map(|_| world.submit(whole("lab").preemptible())).collect();
    world.run();
    let high = world.submit(whole("hall").priority(1, None));
    world.run();
    // Somebody even more important comes while the first is still leaving: it makes its own room.
    let higher = world.submit(whole("hall").priority(9, None));
    world.run();
    assert_eq!(told(&world).len(), 2);
    leave(&mut world);
    assert_eq!(world.states(&[high, higher]), "running running");
    assert_eq!(world.states(&low).matches("running").count(), 2);
}

#[test]
fn room_that_is_about_to_be_free_makes_nobody_leave() {
    let mut world = pool(ALL);
    let low: Vec<JobId> = (0..4).map(|_| world.submit(whole("lab").preemptible())).collect();
    world.run();
    world.cancel(low[2]);
    let high = world.submit(whole("hall").priority(1, None));
    world.run();
    assert_eq!(told(&world), []);
    world.end(low[2], Outcome::Cancelled);
    world.run();
    assert_eq!(world.state(high), "running");
}

#[test]
fn a_promise_falls_with_the_job_and_with_the_node() {
    let mut world = pool(ALL);
    for _ in 0..4 {
        world.submit(whole("lab").preemptible());
    }
    world.run();
    let high = world.submit(whole("hall").priority(1, None));
    world.run();
    world.cancel(high);
    world.settle();
    leave(&mut world);
    assert_eq!(world.engine.leases().count(), 4, "who left comes back");
    // The node with the promised device falls silent: another device is made free.
    let high = world.submit(whole("hall").priority(1, None));
    world.run();
    let node = world.engine.lease(leaving(&world)[0]).unwrap().node.to_string();
    world.silent(&node);
    world.run();
    assert_eq!(told(&world).last().unwrap().0, high.0);
    assert_eq!(told(&world).len(), 3);
}

/// An instance that was promised may not exist on a card that is another one now.
#[test]
fn a_promise_falls_with_what_its_device_was() {
    let mut world = World::new().card("n0", a100("d0"));
    set_policy(&mut world, ALL);
    let low = world.submit(whole("lab").preemptible());
    world.run();
    let mut cut = ask().share(700, gib(30)).priority(1, None);
    cut.devices.mechanism = Some(Mechanism::Mig);
    let high = world.submit(cut);
    world.run();
    assert_eq!(told(&world).last().unwrap().0, high.0);
    let is_promised = |world: &World| {
        let why = world.engine.explain(world.now(), high).unwrap();
        why.reasons.iter().any(|reason| reason.to_string().contains("leaving room for it"))
    };
    assert!(is_promised(&world));
    // As it was: the promise stands.
    world.report("n0");
    assert!(is_promised(&world));
    world.inventory("n0").devices[0].memory = gib(20);
    world.report("n0");
    assert!(!is_promised(&world));
    leave(&mut world);
    assert_eq!(world.states(&[low, high]), "running queued");
}

#[test]
fn spot_leaves_for_whatever_is_not_spot() {
    let mut world = pool(Reclaim { priority: false, quota: false, ..ALL });
    let spot: Vec<JobId> =
        (0..4).map(|_| world.submit(whole("lab").spot().priority(5, None))).collect();
    world.run();
    let more_spot = world.submit(whole("hall").spot().priority(9, None));
    let plain = world.submit(whole("hall"));
    world.run();
    assert_eq!(told(&world), [(plain.0, Ground::Spot, vec![4])], "the youngest, of equals");
    leave(&mut world);
    assert_eq!(world.states(&[plain, more_spot]), "running queued");
    assert_eq!(world.states(&spot), "running running running queued");
}

#[test]
fn a_tenant_takes_back_what_it_deserves() {
    let mut world = pool(Reclaim { priority: false, spot: false, ..ALL });
    world.set_share("lab", Share { deserved: 1000, weight: 1 });
    world.set_share("hall", Share { deserved: 3000, weight: 1 });
    let lab: Vec<JobId> = (0..4).map(|_| world.submit(whole("lab").preemptible())).collect();
    world.run();
    let hall: Vec<JobId> = (0..5).map(|_| world.submit(whole("hall").preemptible())).collect();
    world.run();
    leave(&mut world);
    world.run();
    assert_eq!(told(&world).len(), 3);
    assert!(told(&world).iter().all(|(_, ground, _)| *ground == Ground::Quota));
    assert_eq!(world.states(&lab), "running queued queued queued", "the oldest is kept");
    assert_eq!(world.states(&hall), "running running running queued queued");
}

#[test]
fn work_runs_for_as_long_as_it_may_at_least() {
    let mut world = pool(ALL);
    for _ in 0..4 {
        world.submit(whole("lab").preemptible().runtime_min(60));
    }
    world.run();
    world.submit(whole("hall").priority(1, None));
    world.run();
    assert_eq!(told(&world), []);
    let wake = world.engine.next_wake(world.now()).unwrap();
    assert!(wake > world.now().after(Micros::from_secs(59)));
    world.pass_seconds(61);
    world.run();
    assert_eq!(told(&world).len(), 1);
}

#[test]
fn nothing_is_told_to_leave_unless_the_policy_says_so() {
    let mut world = pool(Reclaim::default());
    for _ in 0..4 {
        world.submit(whole("lab").spot());
    }
    world.run();
    world.submit(whole("hall").priority(9, None));
    world.run();
    assert_eq!(told(&world), []);
    set_policy(&mut world, ALL);
    world.run();
    assert_eq!(told(&world).len(), 1);
}

#[test]
fn work_is_moved_so_that_what_is_free_lies_together() {
    let mut world = pool(Reclaim { moves_max: 4, ..Reclaim::default() });
    let jobs: Vec<JobId> = (0..4).map(|_| world.submit(whole("lab").preemptible())).collect();
    world.run();
    assert_eq!(
        (world.spots(jobs[1]), world.spots(jobs[3])),
        (vec!["n0/d1".into()], vec!["n1/d1".into()])
    );
    world.end(jobs[1], Outcome::Succeeded);
    world.end(jobs[3], Outcome::Succeeded);
    let wide = world.submit(whole("hall").devices(2));
    world.run();
    assert_eq!(told(&world), [(wide.0, Ground::Move, vec![jobs[2].0])]);
    // Who comes next does not get what is kept for the one that moves.
    let next = world.submit(whole("hall").priority(9, None));
    leave(&mut world);
    assert_eq!(world.states(&[wide, jobs[0], jobs[2], next]), "running running running queued");
    assert_eq!(world.spots(jobs[2]), ["n0/d1"]);
}

#[test]
fn a_tenants_own_limit_is_made_room_under() {
    let mut world = pool(ALL);
    world.set_tenant("lab", Quota { devices: Some(1), ..Quota::default() });
    let low = world.submit(whole("lab").preemptible());
    world.run();
    let high = world.submit(whole("lab").priority(1, None));
    world.run();
    assert_eq!(told(&world), [(high.0, Ground::Priority, vec![low.0])]);
    leave(&mut world);
    assert_eq!(world.states(&[low, high]), "queued running");
}

#[test]
fn shares_yield_as_whole_jobs_and_no_more_than_needed() {
    let mut world = pool(ALL);
    let half = || ask().share(500, gib(4)).preemptible();
    for _ in 0..8 {
        world.submit(half());
    }
    world.run();
    let high = world.submit(ask().of("hall").share(400, gib(2)).priority(1, None));
    world.run();
    assert_eq!(told(&world)[0].2.len(), 1);
    leave(&mut world);
    assert_eq!(world.state(high), "running");
    assert_eq!(world.engine.leases().filter(|l| l.state == LeaseState::Started).count(), 8);
}

/// Whoever is told to leave comes back with the same rights; nobody takes anything back, however
/// often everybody is asked.
#[test]
fn nobody_is_told_to_leave_twice_for_the_same_work() {
    let mut world = pool(ALL);
    world.checks = false;
    world.set_share("lab", Share { deserved: 2000, weight: 1 });
    world.set_share("hall", Share { deserved: 2000, weight: 1 });
    for place in 0..12u32 {
        let tenant = if place % 2 == 0 { "lab" } else { "hall" };
        let mut ask = whole(tenant).preemptible().priority(i32::try_from(place % 3).unwrap(), None);
        if place % 4 == 3 {
            ask = ask.spot();
        }
        world.submit(ask);
        world.run();
    }
    let rounds = |world: &mut World, number: u32| {
        for _ in 0..number {
            world.pass_seconds(1);
            world.run();
            leave(world);
        }
        told(world).len()
    };
    let settled = rounds(&mut world, 12);
    assert!(settled > 0, "nobody yields in this test");
    assert_eq!(rounds(&mut world, 1000), settled, "it goes on for ever");
    assert_eq!(world.engine.leases().count(), 4);
    assert_eq!(world.engine.check(), []);
}

/// Who left for a promise that fell does not keep a new one waiting.
#[test]
fn a_new_promise_waits_only_for_its_own() {
    let mut world =
        World::new().tenant("hall", Quota::default()).device("n0", "d0").device("n1", "d0");
    set_policy(&mut world, ALL);
    for _ in 0..2 {
        world.submit(whole("lab").preemptible());
        world.run();
        world.pass_seconds(1);
    }
    let high = world.submit(whole("hall").priority(1, None));
    world.run();
    let stuck = leaving(&world)[0];
    let node = world.engine.lease(stuck).unwrap().node.to_string();
    world.silent(&node);
    world.run();
    let next = leaving(&world).into_iter().find(|lease| *lease != stuck).unwrap();
    world.end_lease(next, Outcome::Signalled { signal: 15 });
    world.run();
    assert_eq!(world.state(high), "running");
    assert!(world.engine.lease(stuck).is_some(), "its node has not said that it is over");
}

#[test]
fn why_those_behind_do_not_make_room_is_told() {
    let mut world = World::new().tenant("hall", Quota::default());
    for device in ["d0", "d1", "d2"] {
        world = world.device("n0", device);
    }
    set_policy(&mut world, ALL);
    world.set_share("hall", Share { deserved: 1000, ..Share::default() });
    world.submit(whole("hall").preemptible());
    world.submit(whole("lab").preemptible().runtime_min(60));
    world.submit(whole("lab"));
    world.run();
    world.pass_seconds(20);
    let high = world.submit(whole("lab").priority(1, None));
    world.run();
    assert_eq!(told(&world), []);
    let why = |world: &World| -> Vec<String> {
        let why = world.engine.explain(world.now(), high).unwrap();
        why.reasons.iter().skip(1).map(ToString::to_string).collect()
    };
    let why = why(&world);
    assert_eq!(
        why[0],
        "1 job behind it is kept, within the 1.000 devices that tenant hall deserves"
    );
    assert!(
        why[1].starts_with("job 2, behind it, yields when it has run its least time"),
        "{why:?}"
    );
    assert_eq!(why[2], "1 job behind it holds what it could use, and may not be ended for it");
    assert_eq!(why.len(), 3);
    // Where nobody ever yields, nobody is said not to.
    set_policy(&mut world, Reclaim { priority: false, spot: false, quota: false, ..ALL });
    let why = world.engine.explain(world.now(), high).unwrap();
    assert_eq!(why.reasons.len(), 1);
}
