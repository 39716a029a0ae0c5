//! Cards that their hardware cuts: which instance, where, beside what, and why not.

use crate::world::{With, World, ask, device, gib};
use polder_engine::Policy;
use polder_engine::mig::{Table, Wants};
use polder_model::{
    Ask, Bytes, Device, Event, Health, Help, Isolation, JobId, Mechanism, Outcome, Permille, Quota,
    Slice,
};
use proptest::prelude::*;

fn mig(compute: u32, memory: Bytes) -> Ask {
    let mut ask = ask().share(compute, memory);
    ask.devices.mechanism = Some(Mechanism::Mig);
    ask
}

fn card(id: &str, model: &str, memory: Bytes) -> Device {
    let mut device = device(id, model, memory);
    device.mechanisms = vec![Mechanism::Mig, Mechanism::TimeSlice, Mechanism::Whole];
    device
}

pub(crate) fn a100(id: &str) -> Device {
    card(id, "NVIDIA A100-SXM4-40GB", gib(40))
}

/// `device profile@start` of each slice of a job.
fn parts(world: &World, job: JobId) -> Vec<String> {
    let leases = world.leases(job);
    let slices = leases.iter().flat_map(|lease| &lease.slices);
    let part = |slice: &Slice| {
        let instance = slice.instance.clone().unwrap();
        format!("{} {}@{}", slice.device, instance.profile, instance.start)
    };
    slices.map(part).collect()
}

/// A card that is shared spatially is shared in no other way, whatever else its node says of it; parts
/// add up like any shares, and have no more when others are idle.
#[test]
fn spatial_parts_are_beside_each_other_and_nothing_else() {
    let mut card = device("card", "NVIDIA H200", gib(100));
    card.mechanisms = vec![Mechanism::Spatial, Mechanism::TimeSlice, Mechanism::Whole];
    let mut world = World::new().card("n1", card);
    let part = |compute, memory| {
        let mut ask = ask().share(compute, gib(memory));
        ask.devices.mechanism = Some(Mechanism::Spatial);
        ask
    };
    let jobs = [world.submit(part(300, 40)), world.submit(part(600, 40))];
    let late = world.submit(part(200, 10));
    let large = world.submit(part(100, 30));
    world.settle();
    for (job, compute) in jobs.into_iter().zip([300, 600]) {
        let slice = &world.leases(job)[0].slices[0];
        assert_eq!(slice.mechanism, Mechanism::Spatial);
        assert_eq!((slice.compute, slice.compute_max), (Permille(compute), Permille(compute)));
    }
    assert!(world.leases(late).is_empty() && world.leases(large).is_empty());
    let refused = world.try_submit(ask().share(100, gib(1))).unwrap_err();
    assert!(refused.contains("cannot be cut by time_slice"), "{refused}");
    let mut hard = part(100, 1);
    hard.devices.isolation = Some(Isolation::Soft);
    assert!(world.try_submit(hard).is_err(), "its programs are told their part, and no more");
}

#[test]
fn an_ask_becomes_the_smallest_instance_that_carries_it() {
    let mut world = World::new().card("n1", a100("d0"));
    let job = world.submit(mig(300, gib(10)));
    world.run();
    assert_eq!(parts(&world, job), ["d0 3g.20gb@4"]);
    let slice = &world.leases(job)[0].slices[0];
    assert_eq!(slice.mechanism, Mechanism::Mig);
    assert_eq!((slice.compute, slice.compute_max), (Permille(428), Permille(428)));
    assert_eq!(slice.memory, Bytes(19_968 << 20));
    assert_eq!(world.engine.node(&"n1".parse().unwrap()).unwrap().held.len(), 1);
}

#[test]
fn a_card_is_cut_as_far_as_it_goes_and_given_back() {
    let mut world = World::new().card("n1", a100("d0"));
    let half = world.submit(mig(500, gib(5)));
    let small: Vec<_> = (0..3).map(|_| world.submit(mig(100, gib(1)))).collect();
    let late = world.submit(mig(100, gib(1)));
    world.settle();
    assert_eq!(parts(&world, half), ["d0 4g.20gb@0"]);
    assert_eq!(world.states(&small), "starting starting starting");
    assert_eq!(world.state(late), "queued");
    let why = world.engine.explain(world.now(), late).unwrap();
    assert_eq!(
        why.reasons[0].to_string(),
        "needs a 1g.5gb instance; closest is d0 on n1, which has no room"
    );
    world.run();
    world.end(half, Outcome::Succeeded);
    assert_eq!(world.state(late), "starting");
}

#[test]
fn what_fits_by_sums_and_not_by_slots_is_explained() {
    let mut world = World::new().card("n1", card("d0", "NVIDIA A30", gib(24)));
    let jobs: Vec<_> = (0..4).map(|_| world.submit(mig(250, gib(5)))).collect();
    world.run();
    world.end(jobs[0], Outcome::Succeeded);
    world.end(jobs[2], Outcome::Succeeded);
    let half = world.submit(mig(400, gib(10)));
    world.settle();
    let why = world.engine.explain(world.now(), half).unwrap();
    assert_eq!(
        why.reasons[0].to_string(),
        "needs a 2g.12gb instance; closest is d0 on n1, which has room for a 1g.6gb"
    );
    let profile = "1g.6gb".to_owned();
    let less = Help::SmallerInstance { profile, compute: Permille(250), memory: Bytes(5952 << 20) };
    assert_eq!(why.help, [less, Help::JobEnds { job: jobs[1] }]);
    // It is as said.
    let smaller = world.submit(mig(250, Bytes(5952 << 20)));
    world.cancel(half);
    world.settle();
    assert_eq!(world.state(smaller), "starting");
}

/// A card that comes back as another one may still have an instance on it: until that has gone nobody else
/// has a part of it.
#[test]
fn beside_an_instance_that_its_card_no_longer_knows_nothing_starts() {
    let mut world = World::new().card("n1", a100("d0"));
    let cut = world.submit(mig(100, gib(1)));
    world.run();
    assert_eq!(world.state(cut), "running");
    world.inventory("n1").devices[0].memory = gib(20);
    world.report("n1");
    let shared = world.submit(ask().share(300, gib(1)));
    world.settle();
    assert_eq!(world.state(shared), "queued");
    world.end(cut, Outcome::Lost { why: "its card is another one".into() });
    world.settle();
    assert_eq!(world.state(shared), "starting");
}

#[test]
fn instances_and_other_shares_never_meet_on_a_card() {
    let mut world = World::new().card("n1", a100("d0")).card("n1", a100("d1"));
    let shared = world.submit(ask().share(100, gib(1)));
    let cut = world.submit(mig(100, gib(1)));
    world.settle();
    assert_eq!(world.spots(shared), ["n1/d0"]);
    assert_eq!(parts(&world, cut), ["d1 1g.5gb@6"]);
    let whole = world.submit(ask().whole());
    let others: Vec<_> = (0..2).map(|_| world.submit(ask().share(400, gib(1)))).collect();
    world.settle();
    assert_eq!(world.state(whole), "queued");
    let _ = others;
    world.cancel(whole);
    world.settle();
    let spots: Vec<_> = others.iter().flat_map(|job| world.spots(*job)).collect();
    assert_eq!(spots, ["n1/d0", "n1/d0"]);
}

#[test]
fn a_gang_is_cut_from_as_many_cards_as_it_takes() {
    let mut world = World::new().card("n1", a100("d0")).card("n2", a100("d0"));
    let gang = world.submit(mig(400, gib(15)).gang(4, 4));
    world.settle();
    assert_eq!(world.spots(gang), ["n1/d0", "n1/d0", "n2/d0", "n2/d0"]);
    let refused = world.try_submit(mig(400, gib(15)).gang(5, 5)).unwrap_err();
    assert!(refused.contains('4') && refused.contains('5'), "{refused}");
}

#[test]
fn a_task_of_several_instances_has_each_on_a_card_of_its_own() {
    let mut world = World::new().card("n1", a100("d0")).card("n1", a100("d1"));
    let job = world.submit(mig(100, gib(1)).devices(2));
    world.settle();
    assert_eq!(world.spots(job), ["n1/d0+d1"]);
    assert_eq!(parts(&world, job).len(), 2);
}

#[test]
fn what_no_card_can_be_cut_into_is_refused_at_once() {
    let mut world = World::new().card("n1", a100("d0"));
    let refused = |world: &mut World, ask| world.try_submit(ask).unwrap_err();
    let large = refused(&mut world, mig(300, Bytes((39 << 30) + (600 << 20))));
    assert!(large.contains("is cut into no part of 30%"), "{large}");
    let other = refused(&mut World::new().device("n1", "d0"), mig(100, gib(1)));
    assert!(other.contains("cannot be cut by mig"), "{other}");
    let mut graphics = mig(100, gib(1));
    graphics.devices.features.insert("graphics".into());
    let graphics = refused(&mut world, graphics);
    assert!(graphics.contains("with graphics"), "{graphics}");
}

#[test]
fn media_engines_are_given_once_for_a_card() {
    let mut world = World::new().card("n1", a100("d0"));
    let media = || {
        let mut ask = mig(100, gib(1));
        ask.devices.features.insert("media".into());
        ask
    };
    let jobs = [world.submit(media()), world.submit(media())];
    world.settle();
    assert_eq!(world.states(&jobs), "starting queued");
    assert!(parts(&world, jobs[0])[0].contains("1g.5gb+me"));
}

#[test]
fn an_instance_is_hardware_isolation_and_counts_by_what_it_is() {
    let quota = Quota { compute: Some(500), ..Quota::default() };
    let mut world = World::new().card("n1", a100("d0")).tenant("lab/x", quota);
    let mut first = mig(300, gib(1)).of("lab/x");
    first.devices.isolation = Some(Isolation::Hardware);
    let (first, second) = (world.submit(first), world.submit(mig(100, gib(1)).of("lab/x")));
    world.settle();
    assert_eq!(world.states(&[first, second]), "starting queued", "428 and 142 are over 500");
}

#[test]
fn a_card_that_is_exchanged_under_its_instances_loses_them() {
    let mut world = World::new().card("n1", a100("d0"));
    let job = world.submit(mig(100, gib(1)));
    world.run();
    assert_eq!(world.state(job), "running");
    world.inventory("n1").devices[0] = card("d0", "NVIDIA A30", gib(24));
    world.report("n1");
    world.settle();
    assert_eq!(world.state(job), "stopping");
}

/// A pool in which lower priority yields and one job moves.
fn yielding(world: World) -> World {
    let mut policy = Policy::default();
    policy.reclaim.priority = true;
    policy.reclaim.moves_max = 1;
    let mut world = world;
    world.apply(Event::PolicySet { policy: Box::new(policy) });
    world
}

fn preemptible(mut ask: Ask) -> Ask {
    ask.yields.preemptible = true;
    ask
}

/// Ends what was told to end, and goes on.
fn leave(world: &mut World, job: JobId) {
    for lease in world.leases(job) {
        world.end_lease(lease.id, Outcome::Cancelled);
    }
    world.run();
}

#[test]
fn an_instance_yields_to_an_instance() {
    let mut world = yielding(World::new().card("n1", a100("d0")));
    let low = [600, 100].map(|compute| preemptible(mig(compute, gib(1))));
    let low = low.map(|ask| world.submit(ask));
    world.run();
    assert_eq!(world.states(&low), "running queued", "all seven slices are one instance");
    let high = world.submit(mig(300, gib(4)).priority(9, None));
    world.settle();
    assert_eq!(world.states(&[low[0], high]), "stopping queued");
    leave(&mut world, low[0]);
    assert_eq!(world.states(&[high, low[0], low[1]]), "running queued queued", "in turn");
    assert_eq!(parts(&world, high), ["d0 3g.20gb@4"]);
}

#[test]
fn of_instances_the_fewest_yield_and_where_they_leave_room_together() {
    let mut world = yielding(World::new().card("n1", card("d0", "NVIDIA A30", gib(24))));
    let low: Vec<_> = (0..4).map(|_| world.submit(preemptible(mig(250, gib(5))))).collect();
    world.run();
    // Neighbours only: slots 1 and 2 never were one instance.
    let high = world.submit(mig(500, gib(10)).priority(9, None));
    world.settle();
    let ends: Vec<_> = low.iter().filter(|job| world.state(**job) == "stopping").collect();
    let starts = |job: &JobId| world.leases(*job)[0].slices[0].instance.clone().unwrap().start;
    let mut ends: Vec<_> = ends.into_iter().map(starts).collect();
    ends.sort_unstable();
    assert!(ends == [0, 1] || ends == [2, 3], "{ends:?}");
    for job in
        low.iter().filter(|job| world.state(**job) == "stopping").copied().collect::<Vec<_>>()
    {
        leave(&mut world, job);
    }
    assert_eq!(world.state(high), "running");
}

#[test]
fn instances_change_places_so_that_one_more_fits() {
    let mut world = yielding(World::new().card("n1", card("d0", "NVIDIA A30", gib(24))));
    let jobs: Vec<_> = (0..4).map(|_| world.submit(preemptible(mig(250, gib(5))))).collect();
    world.run();
    let start = |job: JobId| world.leases(job)[0].slices[0].instance.clone().unwrap().start;
    // One of each half is left: half of the card is free, and no half of it.
    let (low, high): (Vec<_>, Vec<_>) = jobs.iter().partition(|job| start(**job) < 2);
    world.end(low[0], Outcome::Succeeded);
    world.end(high[0], Outcome::Succeeded);
    let half = world.submit(mig(500, gib(10)));
    world.settle();
    let moved = [low[1], high[1]].map(|job| world.state(job) == "stopping");
    assert_eq!(moved.iter().filter(|moves| **moves).count(), 1, "one is enough");
    let mover = if moved[0] { low[1] } else { high[1] };
    leave(&mut world, mover);
    assert_eq!(world.states(&[half, low[1], high[1]]), "running running running");
}

#[test]
fn a_share_makes_all_instances_of_a_card_yield_or_none() {
    let mut world = yielding(World::new().card("n1", a100("d0")));
    let low: Vec<_> = (0..2).map(|_| world.submit(preemptible(mig(100, gib(1))))).collect();
    world.run();
    let high = world.submit(ask().share(400, gib(5)).priority(9, None));
    world.settle();
    assert_eq!(world.states(&low), "stopping stopping");
    low.iter().for_each(|job| leave(&mut world, *job));
    assert_eq!(world.state(high), "running");
}

#[test]
fn nobody_yields_for_room_on_a_card_that_others_have_cut() {
    let mut world = yielding(World::new().card("n1", a100("d0")));
    let low = preemptible(mig(400, gib(5)));
    let low = [world.submit(low), world.submit(mig(100, gib(1)))];
    world.run();
    let high = world.submit(ask().share(400, gib(5)).priority(9, None));
    world.run();
    assert_eq!(world.states(&low), "running running");
    assert_eq!(world.state(high), "queued");
    for job in low {
        world.end(job, Outcome::Succeeded);
    }
    world.run();
    assert_eq!(world.state(high), "running");
}

#[test]
fn a_faulty_card_is_not_cut() {
    let mut faulty = a100("d0");
    faulty.health = Health::Faulty("row remap".into());
    let mut world = World::new().card("n1", faulty).card("n1", a100("d1"));
    let job = world.submit(mig(100, gib(1)));
    world.settle();
    assert_eq!(world.spots(job), ["n1/d1"]);
}

/// Whether an instance for an ask fits one of the cards, told slot by slot from what leases hold.
fn fits_somewhere(world: &World, ask: &Ask) -> bool {
    let wants = Wants::share(ask.devices.compute, ask.devices.memory);
    world.engine.nodes().any(|node| {
        node.inventory.devices.iter().any(|device| {
            let table = Table::of(&device.model, device.memory).unwrap();
            let leases = world.engine.leases_of_node(node.id).flat_map(|lease| &lease.slices);
            let slices: Vec<&Slice> = leases.filter(|slice| slice.device == device.id).collect();
            if slices.iter().any(|slice| slice.instance.is_none()) {
                return false;
            }
            let mut free = vec![true; table.slots.into()];
            for slice in slices {
                let instance = slice.instance.as_ref().unwrap();
                let profile = &table.profiles[table.profile(&instance.profile).unwrap()];
                let start = usize::from(instance.start);
                free[start..start + usize::from(profile.slots)].fill(false);
            }
            let carries = table.profiles.iter().filter(|profile| {
                // The variants with media engines have limits of their own and carry no more.
                wants.carried_by(table, profile) && !profile.name.contains('+')
            });
            let mut starts = carries.flat_map(|p| p.starts.iter().map(move |start| (p, *start)));
            starts.any(|(profile, start)| {
                let start = usize::from(start);
                free[start..start + usize::from(profile.slots)].iter().all(|free| *free)
            })
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Every promise is checked after every event by the world itself.
    #[test]
    fn who_is_first_waits_only_if_no_layout_exists(
        steps in prop::collection::vec((0_u32..3, 1_u32..8, 1_u64..20, any::<prop::sample::Index>()), 1..40),
    ) {
        let mut world = World::new()
            .card("n1", a100("d0"))
            .card("n1", card("d1", "NVIDIA A30", gib(24)))
            .card("n2", a100("d0"));
        let mut jobs: Vec<JobId> = vec![];
        for (what, compute, memory, pick) in steps {
            match what {
                0 if !jobs.is_empty() => {
                    let job = jobs.remove(pick.index(jobs.len()));
                    world.cancel(job);
                    world.end(job, Outcome::Cancelled);
                }
                1 if compute < 4 => {
                    jobs.extend(world.try_submit(ask().share(compute * 100, gib(memory))));
                }
                _ => jobs.extend(world.try_submit(mig(compute * 100, gib(memory)))),
            }
            world.run();
            jobs.retain(|job| world.engine.job(*job).is_some());
            let first = world.engine.queue(world.now()).next();
            if let Some(first) = first.and_then(|job| world.engine.job(job))
                && first.ask.devices.mechanism.is_some()
            {
                prop_assert!(!fits_somewhere(&world, &first.ask), "{:?}", first.ask.devices);
            }
        }
    }
}

#[test]
fn whoever_asks_for_less_isolation_is_served_where_there_is_more() {
    let mut world = World::new().card("n1", a100("d0"));
    for isolation in [Isolation::Brokered, Isolation::Driver, Isolation::Hardware] {
        let mut job = ask().share(100, gib(1));
        job.devices.isolation = Some(isolation);
        let job = world.submit(job);
        world.settle();
        assert_eq!(world.leases(job)[0].slices[0].mechanism, Mechanism::Mig, "{isolation}");
    }
}
