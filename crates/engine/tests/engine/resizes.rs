//! Jobs whose size is changed while they wait or run.

use crate::world::{With, World, ask, device, gib};
use polder_engine::Engine;
use polder_model::{
    DeviceId, Event, GangKind, JobId, JobState, Lease, LeaseId, Permille, Quota, RESIZES_KEPT,
    Reason, Resource, Size, WorkClass,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn resize(
    world: &mut World,
    job: JobId,
    change: impl FnOnce(&mut Size),
) -> Result<(), polder_engine::Refusal> {
    let mut to = Size::of(&world.engine.job(job).unwrap().ask);
    change(&mut to);
    let by = "bob".parse().unwrap();
    let event = Event::JobResized { job, to, by, until_shrunk: true };
    world.engine.admit(world.now(), &event)?;
    world.apply(event);
    Ok(())
}

fn refused(world: &mut World, job: JobId, change: impl FnOnce(&mut Size)) -> String {
    let before = world.engine.clone();
    let refusal = resize(world, job, change).unwrap_err().to_string();
    assert_eq!(world.engine, before, "a refusal changes nothing");
    refusal
}

fn sizes(leases: &[Lease]) -> Vec<(u32, u32, u64)> {
    let slices = leases.iter().flat_map(|lease| &lease.slices);
    slices.map(|slice| (slice.compute.0, slice.compute_max.0, slice.memory.0 >> 30)).collect()
}

#[test]
fn a_job_that_runs_has_its_new_size_at_once() {
    let mut world = World::new().device("n0", "d0");
    let job = world.submit(ask().share(300, gib(1)));
    let other = world.submit(ask().share(400, gib(1)));
    world.run();
    let node = "n0".parse().unwrap();
    let version = world.engine.desired_version(&node);
    let began = world.engine.term_since(world.leases(job)[0].id);
    world.pass_seconds(10);
    resize(&mut world, job, |size| {
        (size.compute, size.compute_max, size.memory) = (Permille(600), Permille(800), gib(5));
    })
    .unwrap();
    assert_eq!(sizes(&world.leases(job)), [(600, 800, 5)]);
    assert_eq!(world.engine.held_by(&"lab".parse().unwrap()).compute, 1000);
    assert!(world.engine.desired_version(&node) > version, "its node is told");
    let orders = world.engine.desired(&node).0;
    assert_eq!(orders[0].lease.slices[0].compute, Permille(600));
    assert!(world.engine.term_since(world.leases(job)[0].id) > began, "another term began");
    assert!(
        world.engine.term_since(world.leases(other)[0].id)
            == began.map(|at| at.after(polder_model::Micros(1)))
    );
    let resized = world.engine.explain(world.now(), job).unwrap().resized.unwrap();
    assert_eq!(resized.to_string(), "compute 30% to 60%, cap none to 80%, memory 1 GiB to 5 GiB");
    assert_eq!((resized.by.as_str(), resized.at), ("bob", world.now()));
}

#[test]
fn what_does_not_fit_is_refused_with_what_would() {
    let mut world = World::new().device("n0", "d0");
    let job = world.submit(ask().share(300, gib(2)));
    world.submit(ask().share(400, gib(3)));
    world.run();
    let said = refused(&mut world, job, |size| size.compute = Permille(700));
    assert!(said.contains("cannot have 70% of compute on d0 of node n0"), "{said}");
    assert!(said.contains("60% at most"), "{said}");
    let said = refused(&mut world, job, |size| size.memory = gib(6));
    assert!(said.contains("5 GiB at most"), "{said}");
    assert!(said.contains("again when others have ended"), "{said}");
    let said = refused(&mut world, job, |size| size.memory = gib(9));
    assert!(
        said.contains("cannot have 9 GiB of memory on d0 of node n0: with nobody else"),
        "{said}"
    );
    assert!(said.contains("8 GiB at most") && !said.contains("others have ended"), "{said}");
    let said = refused(&mut world, job, |size| size.compute = Permille(0));
    assert!(said.contains("devices.compute"), "{said}");
    let said = refused(&mut world, job, |size| size.compute_max = Permille(200));
    assert!(said.contains("20%"), "{said}");
    resize(&mut world, job, |size| (size.compute, size.memory) = (Permille(600), gib(5))).unwrap();
}

#[test]
fn growth_keeps_within_every_quota() {
    let quota = Quota { compute: Some(700), ..Quota::default() };
    let mut world = World::new().device("n0", "d0").device("n0", "d1");
    world.set_tenant("lab", quota);
    let job = world.submit(ask().share(200, gib(1)).gang(2, 2));
    world.run();
    let said = refused(&mut world, job, |size| size.compute = Permille(400));
    assert!(said.contains("tenant lab may hold 0.700 devices"), "{said}");
    assert!(said.contains("35% of each device"), "{said}");
    let refusal = resize(&mut world, job, |size| size.compute = Permille(351)).unwrap_err();
    let polder_engine::Refusal::GrowPastQuota { resource, most, .. } = refusal else { panic!() };
    assert_eq!((resource, most), (Resource::Compute, 350));
    resize(&mut world, job, |size| size.compute = Permille(350)).unwrap();
}

#[test]
fn all_members_are_alike_and_share_what_is_free_between_them() {
    let mut world = World::new().device("n0", "d0");
    let job = world.submit(ask().share(200, gib(1)).gang(3, 3));
    world.run();
    let said = refused(&mut world, job, |size| size.compute = Permille(400));
    assert!(said.contains("33.3% at most"), "{said}");
    resize(&mut world, job, |size| size.compute = Permille(333)).unwrap();
    assert_eq!(sizes(&world.leases(job)), [(333, 1000, 1); 3]);
}

#[test]
fn what_a_job_gives_back_is_anothers_at_once() {
    let mut world = World::new().device("n0", "d0");
    let large = world.submit(ask().share(900, gib(7)));
    let waits = world.submit(ask().share(500, gib(4)));
    world.run();
    assert_eq!(world.states(&[large, waits]), "running queued");
    let version = world.engine.desired_version(&"n0".parse().unwrap());
    resize(&mut world, large, |size| size.compute = Permille(500)).unwrap();
    world.run();
    assert_eq!(world.states(&[large, waits]), "running queued", "it lacks memory");
    resize(&mut world, large, |size| size.memory = gib(4)).unwrap();
    assert!(world.engine.desired_version(&"n0".parse().unwrap()) > version);
    let lease = world.leases(large).remove(0);
    assert_eq!((lease.leaving, lease.resizes), (gib(3), 2));
    world.run();
    assert_eq!(world.states(&[large, waits]), "running queued", "its node may still give it");
    let reasons = world.engine.explain(world.now(), large).unwrap().reasons;
    assert_eq!(reasons, [Reason::Leaving { leases: 1, memory: gib(3) }]);
    world.apply(Event::LeaseShrunk { lease: lease.id });
    let again = world.try_apply(Event::LeaseShrunk { lease: lease.id }).unwrap_err();
    assert!(again.contains("nothing is leaving it"), "{again}");
    world.run();
    assert_eq!(world.states(&[large, waits]), "running running");
}

#[test]
fn what_is_leaving_a_lease_can_be_its_own_again_and_nobody_elses() {
    let quota = Quota { memory: Some(gib(7)), ..Quota::default() };
    let mut world = World::new().device("n0", "d0");
    world.set_tenant("lab", quota);
    let job = world.submit(ask().share(300, gib(6)));
    world.run();
    resize(&mut world, job, |size| size.memory = gib(2)).unwrap();
    assert_eq!(world.engine.held_by(&"lab".parse().unwrap()).memory, gib(6));
    let said = refused(&mut world, job, |size| size.memory = gib(9));
    assert!(said.contains("8 GiB at most"), "{said}");
    let said = refused(&mut world, job, |size| size.memory = gib(8));
    assert!(said.contains("7 GiB"), "{said}");
    resize(&mut world, job, |size| size.memory = gib(5)).unwrap();
    assert_eq!(world.leases(job)[0].leaving, gib(1));
    resize(&mut world, job, |size| size.memory = gib(7)).unwrap();
    assert_eq!(world.leases(job)[0].leaving, gib(0));
    // An end frees what is leaving too.
    resize(&mut world, job, |size| size.memory = gib(1)).unwrap();
    world.end(job, polder_model::Outcome::Succeeded);
    world.settle();
    let next = world.submit(ask().share(1000, gib(7)));
    world.run();
    assert_eq!(world.state(next), "running");
}

#[test]
fn a_resize_of_a_journal_of_before_frees_at_once() {
    let mut world = World::new().device("n0", "d0");
    let job = world.submit(ask().share(300, gib(6)));
    let waits = world.submit(ask().share(300, gib(6)));
    world.run();
    let to = Size { memory: gib(2), ..Size::of(&world.engine.job(job).unwrap().ask) };
    let to = serde_json::to_value(to).unwrap();
    let written = serde_json::json!({ "type": "job_resized", "job": job, "to": to, "by": "bob" });
    world.apply(serde_json::from_value(written).unwrap());
    assert_eq!(world.leases(job)[0].leaving, gib(0));
    world.run();
    assert_eq!(world.states(&[job, waits]), "running running");
}

/// What happens in a pool whose node hears of resizes late: numbers choose among what there is.
#[derive(Clone, Debug)]
enum Late {
    Submit(u64, u32),
    Resize(usize, u64),
    /// The node takes the newest terms of a lease, and says so.
    Hear(usize),
    End(usize),
    Run,
}

fn late() -> impl Strategy<Value = Late> {
    prop_oneof![
        (1u64..=8, 1u32..=3).prop_map(|(memory, gang)| Late::Submit(memory, gang)),
        (0usize..9, 1u64..=8).prop_map(|(job, memory)| Late::Resize(job, memory)),
        (0usize..9).prop_map(Late::Hear),
        (0usize..9).prop_map(Late::End),
        Just(Late::Run),
    ]
}

/// The most that each lease's pages may allow on its one device, as only its node knows it.
type Caps = BTreeMap<LeaseId, u64>;

fn happens(world: &mut World, caps: &mut Caps, what: &Late) {
    let leases: Vec<Lease> = world.engine.leases().cloned().collect();
    let nth = |at: usize| leases.get(at % leases.len().max(1));
    match what {
        Late::Submit(memory, gang) => {
            let _ = world.try_submit(ask().share(100, gib(*memory)).gang(*gang, *gang));
        }
        Late::Resize(job, memory) => {
            let jobs: Vec<JobId> = world.engine.jobs().map(|job| job.id).collect();
            if let Some(job) = jobs.get(job % jobs.len().max(1)) {
                let _ = resize(world, *job, |size| size.memory = gib(*memory));
            }
        }
        Late::Hear(at) => {
            let Some(lease) = nth(*at) else { return };
            caps.insert(lease.id, lease.slices[0].memory.0);
            if !lease.leaving.is_zero() {
                world.apply(Event::LeaseShrunk { lease: lease.id });
            }
        }
        Late::End(at) => {
            if let Some(lease) = nth(*at) {
                world.end_lease(lease.id, polder_model::Outcome::Succeeded);
            }
        }
        Late::Run => world.run(),
    }
}

proptest! {
    #[test]
    fn the_caps_in_force_never_pass_a_device(all in prop::collection::vec(late(), 1..60)) {
        let mut world = World::new().device("n0", "d0").device("n0", "d1");
        let mut caps = Caps::new();
        for what in &all {
            happens(&mut world, &mut caps, what);
            let mut on: BTreeMap<DeviceId, u64> = BTreeMap::new();
            for lease in world.engine.leases() {
                // A node may take more at any time, and less whenever it pleases.
                let cap = caps.entry(lease.id).or_default();
                *cap = (*cap).max(lease.slices[0].memory.0);
                *on.entry(lease.slices[0].device.clone()).or_default() += *cap;
            }
            prop_assert!(on.values().all(|sum| *sum <= gib(8).0), "{on:?} after {what:?}");
        }
    }
}

#[test]
fn growth_passes_nobody_who_waits() {
    let mut world = World::new().device("n0", "d0");
    let job = world.submit(ask().share(300, gib(1)));
    let waits = world.submit(ask().share(800, gib(1)));
    world.run();
    assert_eq!(world.state(waits), "queued");
    let said = refused(&mut world, job, |size| size.compute = Permille(400));
    assert!(said.contains(&format!("job {waits} waits for such devices")), "{said}");
    // What gives nothing away and takes nothing is its own affair.
    resize(&mut world, job, |size| size.compute_max = Permille(500)).unwrap();
    world.cancel(waits);
    world.settle();
    resize(&mut world, job, |size| size.compute = Permille(400)).unwrap();
}

#[test]
fn a_job_that_waits_may_ask_for_what_there_could_be() {
    let mut world = World::new().device("n0", "d0");
    let whole = world.submit(ask().whole());
    world.run();
    let job = world.submit(ask().share(300, gib(1)));
    let said = refused(&mut world, job, |size| size.memory = gib(9));
    assert!(said.contains("could ever serve"), "{said}");
    resize(&mut world, job, |size| size.priority = 7).unwrap();
    resize(&mut world, job, |size| size.memory = gib(6)).unwrap();
    assert_eq!(world.engine.job(job).unwrap().ask.when.priority, 7);
    world.end(whole, polder_model::Outcome::Succeeded);
    world.run();
    assert_eq!(sizes(&world.leases(job)), [(300, 1000, 6)]);
}

#[test]
fn another_priority_changes_who_is_next_and_loses_its_end() {
    let mut world = World::new().device("n0", "d0");
    world.submit(ask().whole());
    world.run();
    let first = world.submit(ask().share(800, gib(1)).priority(1, Some(1000)));
    let second = world.submit(ask().share(800, gib(1)));
    let queue = |engine: &Engine, at| engine.queue(at).collect::<Vec<_>>();
    assert_eq!(queue(&world.engine, world.now()), [first, second]);
    resize(&mut world, second, |size| size.priority = 2).unwrap();
    assert_eq!(queue(&world.engine, world.now()), [second, first]);
    resize(&mut world, first, |size| size.priority = 3).unwrap();
    assert_eq!(world.engine.job(first).unwrap().ask.when.priority_expiry, None);
    world.pass_seconds(2000);
    assert_eq!(queue(&world.engine, world.now()), [first, second]);
}

#[test]
fn another_class_or_priority_reaches_the_leases_and_their_node() {
    let mut world = World::new().device("n0", "d0");
    let job = world.submit(ask().priority(1, Some(30)));
    world.run();
    let node = world.leases(job)[0].node.clone();
    let urgency = |world: &World| {
        let lease = world.engine.desired(&node).0.remove(0).lease;
        assert_eq!(lease, world.leases(job)[0]);
        (lease.class, lease.priority)
    };
    assert_eq!(urgency(&world), (WorkClass::Batch, 1));
    let (version, term) =
        (world.engine.desired_version(&node), world.engine.term_since(world.leases(job)[0].id));
    let to = |size: &mut Size| (size.class, size.priority) = (WorkClass::Interactive, 4);
    resize(&mut world, job, to).unwrap();
    assert_eq!(urgency(&world), (WorkClass::Interactive, 4));
    assert!(world.engine.desired_version(&node) > version, "its node is told");
    assert_eq!(world.engine.term_since(world.leases(job)[0].id), term, "it is no other term");
}

#[test]
fn what_cannot_be_resized_says_so() {
    let mut world = World::new().device("n0", "d0").device("n1", "d0");
    world = world.card("n2", device("m", "Tide 8", gib(8)));
    let whole = world.submit(ask().whole());
    let none = world.submit(ask().devices(0).share(0, gib(0)));
    let job = world.submit(ask());
    world.run();
    let said = refused(&mut world, whole, |size| size.compute = Permille(500));
    assert!(said.contains("whole devices, whose size is fixed"), "{said}");
    let said = refused(&mut world, none, |size| size.memory = gib(1));
    assert!(said.contains("has no device"), "{said}");
    resize(&mut world, whole, |size| size.priority = 3).unwrap();
    let node = world.leases(job)[0].node.clone();
    world.silent(node.as_str());
    let said = refused(&mut world, job, |size| size.compute = Permille(100));
    assert!(said.contains("does not answer"), "{said}");
    world.apply(Event::NodeBack { node });
    world.cancel(job);
    let said = refused(&mut world, job, |size| size.compute = Permille(100));
    assert!(said.contains("is being ended"), "{said}");
    let (by, to) = ("bob".parse().unwrap(), Size::of(&ask()));
    let never = Event::JobResized { job: JobId(99), to, by, until_shrunk: true };
    let said = world.engine.admit(world.now(), &never).unwrap_err().to_string();
    assert!(said.contains("job 99 is over or never was"), "{said}");
}

#[test]
fn replicas_that_come_later_have_the_new_size() {
    let mut world = World::new().device("n0", "d0").device("n0", "d1");
    let service = world.submit(ask().share(300, gib(1)).gang(2, 2).kind(GangKind::Service));
    world.run();
    resize(&mut world, service, |size| size.compute = Permille(400)).unwrap();
    let gone = world.leases(service)[0].id;
    world.end_lease(gone, polder_model::Outcome::Failed { code: 1 });
    world.pass_seconds(5);
    world.run();
    assert_eq!(sizes(&world.leases(service)), [(400, 1000, 1); 2]);
    assert_eq!(world.engine.job(service).unwrap().state, JobState::Running);
}

#[test]
fn the_last_changes_are_remembered() {
    let mut world = World::new().device("n0", "d0");
    let job = world.submit(ask());
    world.run();
    for priority in 1..=20 {
        resize(&mut world, job, |size| size.priority = priority).unwrap();
    }
    let resizes = world.engine.job(job).unwrap().resizes;
    assert_eq!(resizes.len(), RESIZES_KEPT);
    assert_eq!(resizes.last().unwrap().to.priority, 20);
}
