//! Why a job waits: the golden text that people read, and the numbers in it.

use crate::world::{With, World, ask, device, gib};
use polder_model::{Bytes, Explanation, Health, JobId, Outcome, Quota};

/// An explanation as the CLI prints it, without colours.
fn text(explanation: &Explanation) -> String {
    let place = explanation.position.map_or(String::new(), |place| format!(" at {place}"));
    let reasons = explanation.reasons.iter().map(|reason| format!("\n- {reason}"));
    let start = explanation.predicted_start.map(|at| format!("\n= {}s", at.0 / 1_000_000));
    let help = explanation.help.iter().map(|help| format!("\n+ {help}"));
    let lines: String = reasons.chain(start).chain(help).collect();
    format!("{}{place}{lines}", explanation.state)
}

fn check(world: &World, job: JobId, expect: &str) {
    let explanation = world.engine.explain(world.now(), job).unwrap();
    assert_eq!(text(&explanation), expect.trim_start());
}

/// One device, mostly taken by job 1 with a limit of 100 s.
fn busy() -> World {
    let mut world = World::new().device("n1", "d0");
    world.submit(ask().share(800, gib(6)).time_limit(100));
    world.run();
    world
}

#[test]
fn too_little_free() {
    let mut world = busy();
    let job = world.submit(ask().share(500, gib(3)));
    world.settle();
    check(
        &world,
        job,
        "
queued at 1
- closest is d0 on n1, which lacks 30% of compute and 1 GiB of memory
= 110s
+ it can start when job 1 ends",
    );
}

#[test]
fn asking_for_less_would_help() {
    let mut world = busy();
    let job = world.submit(ask().share(100, gib(3)));
    world.settle();
    check(
        &world,
        job,
        "
queued at 1
- closest is d0 on n1, which lacks 1 GiB of memory
= 110s
+ asking for at most 2 GiB would fit now
+ it can start when job 1 ends",
    );
    let job = world.submit(ask().share(500, gib(1)).priority(1, None));
    world.settle();
    check(
        &world,
        job,
        "
queued at 1
- closest is d0 on n1, which lacks 30% of compute
= 110s
+ asking for at most 20% would fit now
+ it can start when job 1 ends",
    );
}

#[test]
fn behind_another() {
    let mut world = busy();
    world.submit(ask().whole());
    let fits = world.submit(ask().share(100, gib(1)));
    let large = world.submit(ask().whole());
    world.settle();
    check(
        &world,
        fits,
        "
queued at 2
- 1 job is ahead in the queue; the first is job 2; were it first, it would fit now on n1",
    );
    check(
        &world,
        large,
        "
queued at 3
- wants a whole device; the only fitting one is in use: d0 on n1, 80% of it held
- 2 jobs are ahead in the queue; the first is job 2",
    );
}

#[test]
fn a_gang_says_how_many_fit_and_what_the_next_lacks() {
    let mut world = busy().device("n2", "d0");
    let job = world.submit(ask().share(600, gib(1)).gang(2, 2));
    world.settle();
    check(
        &world,
        job,
        "
queued at 1
- 1 of 2 tasks fit now; closest is d0 on n2, which lacks 20% of compute
= 110s
+ a gang of 1 task would fit now
+ it can start when job 1 ends",
    );
}

#[test]
fn a_gang_names_the_jobs_that_must_end_and_no_others() {
    let mut world = World::new();
    for id in ["d0", "d1", "d2"] {
        world = world.device("n1", id);
    }
    let whole: Vec<JobId> = (0..2).map(|_| world.submit(ask().whole())).collect();
    world.run();
    let small = world.submit(ask().share(300, gib(1)));
    world.run();
    assert_eq!(world.states(&[whole[0], whole[1], small]), "running running running");
    let gang = world.submit(ask().share(700, gib(1)).gang(3, 3));
    world.settle();
    let said = text(&world.engine.explain(world.now(), gang).unwrap());
    // The small one leaves room enough for a member.
    let end = "\n+ a gang of 1 task would fit now\n+ it can start when jobs 1 and 2 have ended";
    assert!(said.ends_with(end), "{said}");
}

#[test]
fn a_gang_of_whole_devices_says_how_many_fit_and_how_many_are_in_use() {
    let mut world = World::new();
    for id in ["d0", "d1", "d2", "d3"] {
        world = world.device("n1", id);
    }
    world.submit(ask().share(300, gib(1)));
    world.run();
    let gang = world.submit(ask().whole().gang(4, 4));
    world.settle();
    let in_use = "1 of 4 fitting ones is in use; closest is d0 on n1, 30% of it held";
    let fit = "3 of 4 tasks fit now";
    let ends = "+ it can start when job 1 ends";
    let fewer = "+ a gang of 3 tasks would fit now";
    let why = format!("{fit}; wants whole devices; {in_use}");
    check(&world, gang, &format!("queued at 1\n- {why}\n{fewer}\n{ends}"));
    world.cancel(gang);
    let four = world.submit(ask().whole().devices(4));
    world.settle();
    check(&world, four, &format!("queued at 1\n- wants whole devices; {in_use}\n{ends}"));
}

#[test]
fn what_is_out_of_reach_is_told_beside_what_is_in_use() {
    let mut hot = device("d9", "Tide 8", gib(8));
    hot.health = Health::Faulty("hot".into());
    let mut world = World::new().card("n2", hot);
    for id in ["d0", "d1", "d2"] {
        world = world.device("n1", id);
        world.submit(ask().whole());
    }
    world.run();
    let gang = world.submit(ask().whole().gang(4, 4));
    world.settle();
    let away = "1 fitting device is faulty or on nodes that do not answer; the other 3 are in use";
    check(&world, gang, &format!("queued at 1\n- {away}"));
}

#[test]
fn machines_alone_where_no_device_is_wanted() {
    let cpus = |cpus: u32| ask().share(0, Bytes(0)).devices(0).host(cpus, gib(1));
    let mut world = World::new().device("n1", "d0");
    world.submit(ask().whole());
    world.submit(cpus(15_000));
    let job = world.submit(cpus(2_000));
    world.settle();
    check(
        &world,
        job,
        "queued at 1\n- closest is n1, which lacks 1 CPU\n+ it can start when job 2 ends",
    );
    world.silent("n1");
    check(&world, job, "queued at 1\n- the node that could carry it does not answer");
    let mut world = World::new();
    let early = world.submit(cpus(20_000));
    let none = "no node of the pool could carry it: the pool has no node yet";
    check(&world, early, &format!("queued at 1\n- {none}"));
    let device = world.submit(ask());
    world.inventory("n1");
    world.report("n1");
    let none = "no node of the pool could carry it";
    let less = "the nearest node has 16 CPUs where 20 are wanted";
    check(&world, early, &format!("queued at 1\n- {none}: {less}"));
    check(&world, device, &format!("queued at 2\n- {none}: no node has a device"));
}

#[test]
fn a_quota() {
    let quota = Quota { compute: Some(1000), ..Quota::default() };
    let mut world = busy().device("n2", "d0").tenant("lab", quota);
    let job = world.submit(ask());
    world.settle();
    check(
        &world,
        job,
        "
queued at 1
- tenant lab may hold 1.000 devices of compute, holds 0.800 devices and this needs 0.300 devices
+ an administrator can raise lab's compute quota to 1.100 devices",
    );
}

#[test]
fn devices_out_of_reach_or_not_there() {
    let mut world = World::new();
    let early = world.submit(ask().model("h200"));
    let nothing = "no device of the pool has what it selects: the pool has no device yet";
    check(&world, early, &format!("queued at 1\n- {nothing}"));
    let mut world = world.device("n1", "d0");
    let nearest = "the nearest, Tide 8 (8 GiB), is not a h200";
    let none = "no device of the pool has what it selects";
    check(&world, early, &format!("queued at 1\n- {none}: {nearest}"));
    let late = world.submit(ask());
    world.silent("n1");
    let away = "1 fitting device is faulty or on nodes that do not answer";
    check(&world, late, &format!("queued at 2\n- {away}"));
    let mut hot = device("d1", "Tide 8", gib(8));
    hot.health = Health::Faulty("hot".into());
    let world = world.card("n2", hot);
    let away = "2 fitting devices are faulty or on nodes that do not answer";
    check(&world, late, &format!("queued at 2\n- {away}"));
}

#[test]
fn the_machine_beside_the_devices() {
    let mut world = World::new().device("n1", "d0");
    world.submit(ask().host(15_000, gib(60)));
    let job = world.submit(ask().host(2_500, gib(5)));
    world.settle();
    let lacks = "devices are free, but n1 lacks 1500m CPUs and 1 GiB of host memory";
    check(&world, job, &format!("queued at 1\n- {lacks}\n+ it can start when job 1 ends"));
}

#[test]
fn the_rest_of_a_life() {
    let mut world = World::new().device("n1", "d0");
    let job = world.submit(ask());
    check(&world, job, "queued at 1\n- nothing keeps it: it is next");
    world.settle();
    check(&world, job, "starting\n- its node prepares it: 0 of 1 tasks ready");
    world.run();
    check(&world, job, "running");
    world.cancel(job);
    check(&world, job, "stopping");
    world.end(job, Outcome::Cancelled);
    assert_eq!(world.engine.explain(world.now(), job), None);
}

#[test]
fn several_devices_name_the_one_that_is_missing() {
    let mut world = busy().device("n1", "d1");
    let job = world.submit(ask().devices(2));
    world.settle();
    check(
        &world,
        job,
        "
queued at 1
- closest is d0 on n1, which lacks 10% of compute
= 110s
+ it can start when job 1 ends",
    );
}

#[test]
fn behind_more_than_one_pass_grants() {
    let mut world = World::new().device("n1", "d0");
    for _ in 0..400 {
        world.submit(ask().share(1, Bytes(1)));
    }
    let last = world.submit(ask());
    let ahead = "jobs are ahead in the queue; the first is job 1";
    let fits = "were it first, it would fit now on n1";
    check(&world, last, &format!("queued at 401\n- 400 {ahead}; {fits}"));
}

#[test]
fn behind_more_than_one_pass_grants_without_room_of_its_own() {
    let mut world = World::new().device("n1", "d0");
    world.submit(ask().share(700, gib(6)).time_limit(100));
    world.run();
    for _ in 0..300 {
        world.submit(ask().share(1, Bytes(1)));
    }
    let last = world.submit(ask().share(500, gib(1)));
    check(
        &world,
        last,
        "
queued at 301
- closest is d0 on n1, which lacks 20% of compute
- 300 jobs are ahead in the queue; the first is job 2",
    );
}

#[test]
fn behind_another_a_gang_counts_its_nodes_and_a_quota_leaves_no_fit() {
    let quota = Quota { compute: Some(1000), ..Quota::default() };
    let mut world = busy().device("n2", "d0").tenant("small", quota);
    world.submit(ask().share(700, gib(1)).of("small"));
    world.run();
    world.submit(ask().whole());
    let gang = world.submit(ask().share(200, gib(1)).gang(2, 2));
    let kept = world.submit(ask().share(200, gib(1)).gang(2, 2).of("small"));
    world.settle();
    check(
        &world,
        gang,
        "
queued at 2
- 1 job is ahead in the queue; the first is job 3; were it first, it would fit now on 2 nodes, \
the first of them n1",
    );
    check(
        &world,
        kept,
        "
queued at 3
- tenant small may hold 1.000 devices of compute, holds 0.700 devices and this needs 0.400 devices
- 2 jobs are ahead in the queue; the first is job 3
+ an administrator can raise small's compute quota to 1.100 devices",
    );
}
