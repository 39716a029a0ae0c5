//! What is accepted, and what is refused with which words.

use crate::world::{With, World, ask, device, gib};
use polder_model::{
    Ask, Bytes, Event, GangKind, JobId, Mechanism, Micros, Permille, Quota, Role, Share, Size,
    Tenant, Timestamp, User,
};

fn check(ask: Ask, expect: &str) {
    let mut world = World::new().device("n1", "d0").device("n1", "d1");
    let quota = Quota { devices: Some(3), memory: Some(gib(20)), ..Quota::default() };
    world.set_tenant("lab", quota);
    world.set_tenant("lab/free", Quota::default());
    world.set_tenant("hall", Quota::default());
    let got = world.try_submit(ask).err().unwrap_or_default();
    assert_eq!(got, expect);
}

#[test]
fn what_could_be_served_is_accepted() {
    check(ask(), "");
    check(ask().whole().gang(2, 2), "");
    check(ask().share(1000, gib(8)).devices(2), "");
}

#[test]
fn more_than_the_largest_device_has() {
    check(
        ask().share(100, gib(9)),
        "none of the pool's 2 devices could ever serve this: \
         the nearest, Tide 8 (8 GiB), has 8 GiB of memory where 9 GiB is wanted",
    );
}

#[test]
fn no_such_model_feature_or_mechanism() {
    let nearest =
        "none of the pool's 2 devices could ever serve this: the nearest, Tide 8 (8 GiB),";
    check(ask().model("h200").model("b300"), &format!("{nearest} is not a b300 or h200"));
    let mut svm = ask();
    svm.devices.features.insert("svm".into());
    check(svm, &format!("{nearest} has no svm"));
    let mut hard = ask();
    hard.devices.isolation = Some(polder_model::Isolation::Hardware);
    check(hard, &format!("{nearest} cannot be cut by mig"));
}

#[test]
fn nodes_that_are_not_there_or_all_avoided() {
    let on = |named: &[&str], avoided: &[&str]| {
        let mut ask = ask();
        ask.place.nodes = named.iter().map(|node| node.parse().unwrap()).collect();
        ask.place.nodes_avoided = avoided.iter().map(|node| node.parse().unwrap()).collect();
        ask
    };
    check(on(&["n1", "n9"], &[]), "");
    check(on(&[], &["n9"]), "");
    check(
        on(&["n9"], &[]),
        "no node of the pool may serve it: node n9, which it names, never reported: one \
         that there is: n1",
    );
    let all = "no node of the pool may serve it: it avoids, or does not name, all of them: \
               one that there is: n1";
    check(on(&[], &["n1"]), all);
    check(on(&["n1"], &["n1"]), all);
}

#[test]
fn more_devices_or_machine_than_any_node_has() {
    let nearest =
        "none of the pool's 2 devices could ever serve this: the nearest, Tide 8 (8 GiB),";
    let on = |what: &str| format!("{nearest} is {what} wanted");
    check(ask().devices(3), &on("one of 2 on its node where 3 are"));
    check(ask().host(17_000, gib(1)), &on("on a node that has 16 CPUs where 17 are"));
    check(ask().host(1000, gib(65)), &on("on a node that has 64 GiB memory where 65 GiB is"));
}

/// An ask for CPUs and no device.
fn cpus(cpus: u32) -> Ask {
    ask().share(0, Bytes(0)).devices(0).host(cpus * 1000, gib(1))
}

#[test]
fn more_machine_than_any_node_has_where_no_device_is_wanted_or_there() {
    let nearest = "no node of the pool could ever serve this: the nearest node has 16 CPUs \
                   where 100 are wanted";
    check(cpus(100), nearest);
    let mut world = World::new();
    let early = world.submit(cpus(100));
    assert_eq!(world.state(early), "queued", "nodes may join");
    world.inventory("n1");
    world.report("n1");
    assert_eq!(world.try_submit(cpus(100)).unwrap_err(), nearest);
    assert!(world.try_submit(cpus(16)).is_ok());
    assert_eq!(
        world.try_submit(ask()).unwrap_err(),
        "no node of the pool could ever serve this: no node has a device"
    );
    // What was lost may come back.
    let mut lost = World::new().device("n1", "d0");
    lost.inventory("n1").devices.clear();
    lost.report("n1");
    assert!(lost.try_submit(ask()).is_ok());
    assert_eq!(
        world.try_submit(cpus(10).gang(2, 2)).unwrap_err(),
        "the whole pool has room for 1 such task and the gang needs 2: lower it"
    );
}

#[test]
fn more_tasks_apart_than_there_are_nodes_for_them() {
    let apart = |ask: Ask| {
        let mut ask = ask;
        ask.place.apart = Some("x".into());
        ask
    };
    let mut world = World::new().device("n1", "d0").device("n1", "d1");
    let room = |nodes: u32, s: &str| {
        format!("the whole pool has room for {nodes} such task{s} and the gang needs 3: lower it")
    };
    assert_eq!(world.try_submit(apart(ask().gang(3, 3))).unwrap_err(), room(1, ""));
    assert_eq!(world.try_submit(apart(cpus(1).gang(3, 3))).unwrap_err(), room(1, ""));
    let mut world = world.device("n2", "d0").device("n3", "d0");
    let mut named = apart(ask().gang(3, 3));
    named.place.nodes_avoided = ["n2".parse().unwrap()].into();
    assert_eq!(world.try_submit(named).unwrap_err(), room(2, "s"));
    let job = world.submit(apart(ask().gang(3, 3)));
    world.settle();
    assert_eq!(world.spots(job).len(), 3);
}

#[test]
fn the_nearest_misses_the_fewest_things_and_then_the_least() {
    let mut world = World::new()
        .card("n1", device("d0", "A100", gib(80)))
        .card("n1", device("d1", "Tesla T4", gib(15)));
    let refused = world.try_submit(ask().model("t4").share(100, gib(20))).unwrap_err();
    assert!(refused.contains("Tesla T4 (15 GiB), has 15 GiB of memory where 20 GiB"), "{refused}");
    // Whoever names a model that is there is told what it lacks, not that others are others.
    let mut cut = ask().model("t4");
    cut.devices.mechanism = Some(Mechanism::Mig);
    cut.devices.features.insert("svm".into());
    let refused = world.try_submit(cut).unwrap_err();
    assert!(
        refused.contains("Tesla T4 (15 GiB), has no svm and cannot be cut by mig"),
        "{refused}"
    );
}

#[test]
fn a_gang_larger_than_the_pool() {
    let room = "the whole pool has room for 2 such tasks and the gang needs 3: lower it";
    check(ask().whole().of("hall").gang(3, 3), room);
}

#[test]
fn more_than_a_quota_of_the_lineage() {
    let past =
        |what: &str| format!("tenant lab may hold {what}: ask for less, or have the quota raised");
    let memory = past("20 GiB of memory at once and this needs 21 GiB");
    check(ask().share(100, gib(7)).of("lab/free").gang(3, 3), &memory);
    check(ask().share(100, gib(1)).gang(4, 4), &past("3 slices at once and this needs 4 slices"));
    // What each user may have is not what the tenant may.
    let mut world = World::new().device("n1", "d0").device("n1", "d1");
    world.set_user_quota("lab", Quota { devices: Some(1), ..Quota::default() });
    let refused = world.try_submit(ask().gang(2, 2)).unwrap_err();
    assert!(refused.starts_with("each user of tenant lab may hold 1 slice at once"), "{refused}");
}

#[test]
fn nonsense() {
    check(
        ask().share(0, gib(1)),
        "devices.compute (thousandths) is 0: it must lie between 1 and 1000",
    );
    check(
        ask().of("nobody"),
        "tenant nobody does not exist: add it with `polder admin tenant`, or name another",
    );
    let mut ask = ask();
    ask.devices.mechanism = Some(Mechanism::Whole);
    check(ask, "mechanism whole contradicts `whole`: leave one of them out");
}

#[test]
fn with_no_device_known_everything_waits() {
    let mut world = World::new();
    let job = world.submit(ask().share(1000, Bytes(1 << 50)).model("not yet made"));
    world.settle();
    assert_eq!(world.state(job), "queued");
}

#[test]
fn a_device_that_is_away_or_faulty_could_serve_later() {
    let mut world = World::new().device("n1", "d0");
    world.silent("n1");
    world.inventory("n2").devices = world.inventory("n1").devices.clone();
    world.inventory("n2").devices[0].health = polder_model::Health::Faulty("hot".into());
    world.report("n2");
    let job = world.submit(ask().whole().gang(2, 2));
    assert_eq!(world.state(job), "queued");
}

#[test]
fn writes_that_do_not_fit_what_is() {
    let mut world = World::new();
    let user = |tenant: &str| User {
        name: "ada".parse().unwrap(),
        role: Role::User,
        tenants: vec![tenant.parse().unwrap()],
        added_at: Timestamp(0),
    };
    world.set_tenant("lab/vision", Quota::default());
    world.set_tenant("hall", Quota::default());
    world.apply(Event::UserSet { user: user("hall") });
    let job = world.submit(ask().of("lab/vision"));
    world.cancel(job);
    let mut check = |event: Event, expect: &str| {
        let got = world.engine.admit(world.now(), &event).unwrap_err().to_string();
        assert_eq!(got, expect);
        assert_eq!(world.try_apply(event).unwrap_err(), expect);
    };
    let removed = |path: &str| Event::TenantRemoved { tenant: path.parse().unwrap() };
    check(removed("lab"), "tenant lab has lab/vision below it: remove that first");
    check(
        removed("lab/vision"),
        "tenant lab/vision still has jobs (1): cancel them or wait for them, then remove it",
    );
    check(
        removed("hall"),
        "user ada belongs to tenant hall: give them another tenant or remove them first",
    );
    let by = "bob".parse().unwrap();
    check(Event::JobCancelled { job, by }, "job 1 was already cancelled by ada: it is being ended");
    let by = "bob".parse().unwrap();
    check(
        Event::JobCancelled { job: JobId(7), by },
        "job 7 is over or never was: `polder queue` lists the jobs that are not",
    );
    let again = Event::JobSubmitted { job, ask: ask(), key: None };
    check(again, "job number 1 was used before: the next is 2");
    let gone = "tenant gone does not exist: add it with `polder admin tenant`, or name another";
    check(Event::UserSet { user: user("gone") }, gone);
    check(
        Event::NodeSilent { node: "n7".parse().unwrap() },
        "node n7 never reported: start its agent with `polder up`",
    );
}

/// A weight of 0 would leave a tenant nothing for ever; what a journal holds stays readable.
#[test]
fn an_estimate_of_a_service_is_refused_and_still_read() {
    let mut world = World::new().device("n1", "d0");
    let mut asked = ask().share(300, gib(1)).gang(1, 2).kind(GangKind::Service);
    asked.when.estimate = Some(Micros::from_secs(60));
    let job = world.engine.next_job_id();
    let event = Event::JobSubmitted { job, ask: asked.clone(), key: None };
    let refusal = world.engine.admit(world.now(), &event).unwrap_err().to_string();
    assert_eq!(refusal, "a service runs until it is cancelled: leave out when.estimate");
    // A journal of an older program may hold it; such a service is resized like any other.
    assert_eq!(world.try_apply(event), Ok(()));
    let to = Size { compute: Permille(400), ..Size::of(&asked) };
    let by = "ada".parse().unwrap();
    let resized = Event::JobResized { job, to, by, until_shrunk: true };
    assert_eq!(world.engine.admit(world.now(), &resized), Ok(()));
}

#[test]
fn a_weight_of_nothing_is_refused_and_still_read() {
    let mut world = World::new();
    let share = Share { deserved: 0, weight: 0 };
    let tenant = Tenant { share, ..Tenant::new("lab".parse().unwrap()) };
    let event = Event::TenantSet { tenant };
    let refusal = world.engine.admit(world.now(), &event).unwrap_err().to_string();
    assert!(refusal.contains("tenant lab cannot have a weight of 0: give it 1"), "{refusal}");
    assert_eq!(world.try_apply(event), Ok(()));
}
