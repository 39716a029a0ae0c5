//! Which nodes a job may go to: partitions, labels, names, reservations, and tasks apart.

use crate::world::{With, World, ask};
use polder_model::{
    Ask, Backfill, ClassPool, Event, Help, JobId, Micros, PlaceAsk, Policy, Quota, Reason,
    Reservation, Timestamp, WorkClass,
};

/// Two nodes of one device: n1 in partition `train`, n2 labelled `disk=fast`.
fn pool() -> World {
    let mut world = World::new().device("n1", "d0").device("n2", "d0");
    world.inventory("n1").node.partitions.insert("train".into());
    world.inventory("n2").node.labels.insert("disk=fast".into());
    world.report("n1");
    world.report("n2");
    world
}

fn placed(change: impl FnOnce(&mut PlaceAsk)) -> Ask {
    let mut ask = ask();
    change(&mut ask.place);
    ask
}

fn spot(ask: Ask) -> String {
    let mut world = pool();
    let job = world.submit(ask);
    world.settle();
    world.spots(job).join(" ")
}

#[test]
fn partitions_labels_and_names_are_kept() {
    assert_eq!(spot(placed(|p| p.partition = Some("train".into()))), "n1/d0");
    assert_eq!(spot(placed(|p| p.labels = ["disk=fast".to_owned()].into())), "n2/d0");
    assert_eq!(spot(placed(|p| p.nodes = ["n2".parse().unwrap()].into())), "n2/d0");
    assert_eq!(spot(placed(|p| p.nodes_avoided = ["n1".parse().unwrap()].into())), "n2/d0");
    assert_eq!(spot(ask()), "n1/d0");
}

#[test]
fn a_partition_nobody_has_is_refused_at_once() {
    let mut world = pool();
    let error = world.try_submit(placed(|p| p.partition = Some("nowhere".into()))).unwrap_err();
    assert!(error.contains("is on a node that is outside partition nowhere"), "{error}");
    assert!(error.contains("no node is in partition nowhere: there are train"), "{error}");
    for (borrow, says) in [(false, "elsewhere"), (true, "elsewhere; with --preemptible it could")] {
        let mut world = pool();
        class(&mut world, "elsewhere", borrow, 0);
        let error = world.try_submit(training(false)).unwrap_err();
        let says = format!("training jobs keep to partition {says}");
        assert!(error.contains(&says), "{error}");
        assert_eq!(error.contains("--preemptible"), borrow, "{error}");
    }
}

#[test]
fn who_waits_for_one_partition_keeps_nobody_from_another() {
    let mut world = pool();
    world.submit(placed(|p| p.partition = Some("train".into())).whole());
    world.settle();
    let mut second = placed(|p| p.partition = Some("train".into()));
    second.devices.compute = polder_model::Permille(500);
    let jobs = [world.submit(second), world.submit(ask())];
    world.settle();
    assert_eq!(world.states(&jobs), "queued starting");
}

#[test]
fn tasks_that_want_to_be_apart_share_no_node() {
    let mut world = pool();
    let apart = || placed(|p| p.apart = Some("web".into()));
    let jobs = [world.submit(apart()), world.submit(apart()), world.submit(apart())];
    world.settle();
    assert_eq!(world.states(&jobs), "starting starting queued");
    assert_ne!(world.leases(jobs[0])[0].node, world.leases(jobs[1])[0].node);
    let mut world = pool();
    let gang = world.submit(apart().gang(2, 3));
    world.settle();
    assert_eq!(world.spots(gang), ["n1/d0", "n2/d0"]);
}

fn reserve(world: &mut World, tenant: Option<&str>, from: u64, until: u64) {
    let reservation = Reservation {
        name: "repair".into(),
        tenant: tenant.map(|tenant| tenant.parse().unwrap()),
        nodes: vec!["n1".parse().unwrap(), "n2".parse().unwrap()],
        from: Timestamp(from * 1_000_000),
        until: Timestamp(until * 1_000_000),
        why: String::new(),
    };
    world.apply(Event::ReservationSet { reservation });
}

#[test]
fn nothing_runs_into_maintenance() {
    let mut world = pool();
    reserve(&mut world, None, 1000, 2000);
    let short = world.submit(ask().time_limit(900));
    let long = world.submit(ask().time_limit(1500));
    let endless = world.submit(ask());
    world.settle();
    assert_eq!(world.states(&[short, long, endless]), "starting queued queued");
    let reasons = world.engine.explain(world.now(), long).unwrap().reasons;
    assert!(reasons[0].to_string().contains("2 nodes reserved (repair)"), "{reasons:?}");
    assert_eq!(world.engine.next_wake(Timestamp(1_000_000_000)), Some(Timestamp(2_000_000_000)));
    world.pass_seconds(2001);
    world.settle();
    assert_eq!(world.states(&[long, endless]), "starting starting");
}

/// Who waits for a reservation is told when it is over, and what limit would not wait for it.
#[test]
fn waiting_for_maintenance_says_until_when_and_what_would_not() {
    for reserved in [0, 1] {
        let mut world = pool();
        let backfill = Backfill { reserved, ..Backfill::default() };
        let policy = Box::new(Policy { backfill, ..Policy::default() });
        world.apply(Event::PolicySet { policy });
        reserve(&mut world, None, 1000, 2000);
        world.pass_seconds(100);
        let mut asked = ask().time_limit(1500);
        asked.yields.grace = Micros::from_secs(10);
        let long = world.submit(asked.clone());
        world.settle();
        let told = world.engine.explain(Timestamp(400_000_000), long).unwrap();
        let lines: Vec<String> = told.reasons.iter().map(ToString::to_string).collect();
        let why = "2 nodes reserved (repair) in 10m00s, before it would be over, for 16m40s";
        assert_eq!(lines, [why]);
        assert_eq!(told.predicted_start, Some(Timestamp(2_000_000_000)));
        let below = Micros::from_secs(590);
        assert_eq!(told.help, [Help::ShorterLimit { below }]);
        // As it says.
        world.pass_until(Timestamp(400_000_000));
        asked.when.time_limit = Some(Micros(below.0 - 1000));
        let short = world.submit(asked);
        world.settle();
        assert_eq!(world.states(&[long, short]), "queued starting");
        // Once it holds there is nothing to ask for; what runs does not matter.
        let told = world.engine.explain(Timestamp(1_500_000_000), long).unwrap();
        assert!(told.reasons[0].to_string().contains("(repair) for another 8m20s"), "{told:?}");
        assert_eq!(
            (told.predicted_start, &told.help[..]),
            (Some(Timestamp(2_000_000_000)), &[][..])
        );
    }
}

/// A start is promised behind a reservation, not in it, by what else ends there.
#[test]
fn a_predicted_start_does_not_lie_in_a_reservation() {
    let mut world = pool();
    let jobs: Vec<_> = (0..2).map(|_| world.submit(ask().whole().time_limit(500))).collect();
    world.run();
    reserve(&mut world, None, 1000, 2000);
    let short = world.submit(ask().whole().time_limit(100));
    let long = world.submit(ask().whole().time_limit(700).priority(1, None));
    world.settle();
    assert_eq!(world.states(&[jobs[0], jobs[1], short, long]), "running running queued queued");
    let told = world.engine.explain(world.now(), long).unwrap();
    assert_eq!(told.predicted_start, Some(Timestamp(2_000_000_000)), "{told:?}");
}

#[test]
fn a_reservation_is_for_its_tenant_alone() {
    let mut world = pool().tenant("hall", Quota::default()).tenant("hall/a", Quota::default());
    reserve(&mut world, Some("hall"), 0, 2000);
    let jobs = [world.submit(ask()), world.submit(ask().of("hall/a"))];
    world.settle();
    assert_eq!(world.states(&jobs), "queued starting");
    world.apply(Event::ReservationRemoved { name: "repair".into() });
    world.settle();
    assert_eq!(world.state(jobs[0]), "starting");
}

fn class(world: &mut World, partition: &str, borrow: bool, reserved: u32) {
    let pool = ClassPool { partition: Some(partition.into()), borrow };
    let classes = [(WorkClass::Training, pool)].into();
    let backfill = Backfill { reserved, ..Backfill::default() };
    let policy = Box::new(Policy { classes, backfill, ..Policy::default() });
    world.apply(Event::PolicySet { policy });
}

fn training(preemptible: bool) -> Ask {
    let mut ask = ask().whole().time_limit(100);
    ask.when.class = WorkClass::Training;
    ask.yields.preemptible = preemptible;
    ask
}

#[test]
fn a_class_goes_to_its_partition_and_borrows_what_it_can_give_back() {
    // Whether or not jobs may start before those that wait.
    for reserved in [0, 2] {
        let mut world = pool();
        class(&mut world, "train", false, reserved);
        let jobs = [training(true), training(true), ask()].map(|ask| world.submit(ask));
        world.settle();
        assert_eq!(world.states(&jobs), "starting queued starting");
        assert_eq!(world.spots(jobs[0]), ["n1/d0"]);
        let mut world = pool();
        class(&mut world, "train", true, reserved);
        let jobs = [training(false), training(false), training(true)].map(|ask| world.submit(ask));
        world.settle();
        assert_eq!(world.states(&jobs), "starting queued starting");
        let mut world = pool();
        class(&mut world, "train", true, reserved);
        let jobs = [training(true), training(true)].map(|ask| world.submit(ask));
        world.settle();
        assert_eq!(world.states(&jobs), "starting starting");
    }
}

#[test]
fn tasks_apart_borrow_as_well() {
    let mut world = pool();
    class(&mut world, "train", true, 0);
    let mut gang = training(true).gang(2, 2);
    gang.place.apart = Some("replica".into());
    let gang = world.submit(gang);
    world.settle();
    assert_eq!(world.spots(gang), ["n1/d0", "n2/d0"]);
}

#[test]
fn a_class_with_nothing_of_its_own_borrows_or_is_told_so() {
    for (borrow, reserved) in [(true, 0), (true, 2), (false, 0), (false, 2)] {
        let mut world = pool();
        // Asked for while its class had a place: what could never be is refused at once.
        let job = world.submit(training(true));
        class(&mut world, "elsewhere", borrow, reserved);
        world.settle();
        assert_eq!(world.state(job), if borrow { "starting" } else { "queued" });
        let told = Reason::NotOfClass { class: WorkClass::Training, partition: "elsewhere".into() };
        let told = if borrow { None } else { Some(told) };
        assert_eq!(not_of_class(&world, job), told);
    }
    // The one device of its own is taken, and the other is not for it.
    let mut world = pool();
    class(&mut world, "train", false, 0);
    let jobs = [training(true), training(true)].map(|ask| world.submit(ask));
    world.settle();
    let reasons = world.engine.explain(world.now(), jobs[1]).unwrap().reasons;
    assert!(
        matches!(&reasons[..], [Reason::NoIdleDevice { node, .. }] if node.as_str() == "n1"),
        "{reasons:?}"
    );
}

fn not_of_class(world: &World, job: JobId) -> Option<Reason> {
    let reasons = world.engine.explain(world.now(), job).unwrap().reasons;
    reasons.into_iter().find(|reason| matches!(reason, Reason::NotOfClass { .. }))
}
