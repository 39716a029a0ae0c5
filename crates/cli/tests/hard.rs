//! What real drivers fail at, with a real daemon, its shims, its arbiter and its driver, on PoCL:
//! programs that are stopped, wait for themselves, launch thousands at once, fork, or lose their
//! daemon. Nothing may wait for ever, every result must be right, and what one holds too long is
//! its own to pay.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests; skips must be heard")]

mod common;
#[path = "hard/kit.rs"]
mod kit;

use common::{Pool, soon};
use kit::{HALF, Held, LONG, MS, SEC, SHORT, Steady, alone, finished, now, program, sample};
use std::fs;
use std::time::{Duration, Instant};

/// A neighbour of somebody who holds the device too long goes on after a quarter of a second; the
/// rest is for a busy machine.
const GOES_ON: i64 = SEC;
/// How often a program is held still before the test says that its turn was never caught. A debugger
/// takes its time to attach, so each try finds the program in its turn about every other time.
const TRIES: usize = 12;

/// Two share the device equally; one is held still while its kernel is under way.
fn one_is_held_still(pool: &Pool, name: &str, hold: impl Fn(u32) -> Held) {
    let held = Steady::start(pool, &format!("{name}-held"), LONG);
    let other = Steady::start(pool, &format!("{name}-other"), SHORT);
    held.wait_more(3);
    other.wait_more(20);
    let (pid, _) = held.begun();
    let caught = (0..TRIES).any(|_| {
        other.wait_silent(15 * MS);
        let from = now();
        let holding = hold(pid);
        let (still, before) = (now(), held.charged());
        kit::for_a_while(2);
        let gap = other.longest_gap(from, now());
        assert!(gap < GOES_ON, "its neighbour stood still for {} ms", gap / MS);
        assert_eq!(held.beats_within(still + 100 * MS, now()), 0, "it is held still");
        // What is shown may be a second old at both ends. Outside its turn it pays nothing.
        let limit = Instant::now() + Duration::from_secs(2);
        let mut pays = false;
        while !pays && Instant::now() < limit {
            std::thread::sleep(Duration::from_millis(100));
            pays = held.charged() - before > 1500 * MS;
        }
        drop(holding);
        held.wait_more(3);
        pays
    });
    assert!(caught, "held still {TRIES} times, it never paid for the device it held");
    other.wait_more(20);
    held.end();
    other.end();
}

#[test]
fn a_holder_that_is_stopped_stops_nobody_and_pays() {
    let Some(pool) = Pool::shared() else { return };
    let _alone = alone();
    one_is_held_still(&pool, "stopped", Held::stop);
}

#[test]
fn a_holder_in_a_debugger_stops_nobody_and_pays() {
    let Some(pool) = Pool::shared() else { return };
    let _alone = alone();
    if !kit::may_debug(pool.path()) {
        return;
    }
    one_is_held_still(&pool, "debugged", |pid| Held::debug(pid, pool.path()).unwrap());
}

#[test]
fn a_holder_that_is_killed_leaves_the_device_to_the_others() {
    let Some(pool) = Pool::shared() else { return };
    let _alone = alone();
    let killed = Steady::start(&pool, "killed", LONG);
    let other = Steady::start(&pool, "survivor", SHORT);
    killed.wait_more(3);
    other.wait_silent(15 * MS);
    let from = now();
    kit::kill(killed.begun().0);
    other.wait_more(20);
    finished(&pool, &killed.job, 137);
    let gap = other.longest_gap(from, now());
    assert!(gap < GOES_ON, "its neighbour stood still for {} ms", gap / MS);
    other.end();
}

#[test]
fn what_waits_for_events_and_callbacks_waits_for_no_turn() {
    let Some(pool) = Pool::shared() else { return };
    let _alone = alone();
    let neighbour = Steady::start(&pool, "neighbour", SHORT);
    neighbour.wait_more(20);
    // What stands behind an event of the program's own is signalled only after a second and a half.
    let script = format!(
        "probe={}
         {{ sleep 1.5; echo; echo; }} | $probe user-event && $probe failed-event &&
         {{ sleep 1; echo; }} | $probe blocking-read && $probe callback && $probe cross &&
         $probe threads 100 && exit 34",
        program("probe"),
    );
    let from = now();
    let job = pool.submit(&HALF, &script);
    let wrote = finished(&pool, &job, 34);
    assert_eq!(wrote.matches("done\n").count(), 5, "{wrote}");
    let gap = neighbour.longest_gap(from, now());
    assert!(gap < GOES_ON, "its neighbour stood still for {} ms", gap / MS);
    neighbour.end();
}

/// How many devices the pool has.
fn devices(pool: &Pool) -> usize {
    pool.json(&["devices"])["devices"].as_array().map_or(0, Vec::len)
}

#[test]
fn two_leases_whose_devices_wait_for_each_other_both_finish() {
    let two = [("POCL_DEVICES", "pthread pthread")];
    let Some(pool) = Pool::start_in(&["--no-listen"], &two) else { return };
    let _alone = alone();
    if devices(&pool) != 2 {
        return eprintln!("SKIPPED: the driver does not make two devices");
    }
    let start = |me: &str, other: &str| {
        let (me, other) = (pool.file(me), pool.file(other));
        let script = format!(
            "touch {}; while [ ! -e {} ]; do sleep 0.01; done; export POCL_DEVICES='pthread pthread'
             for i in 1 2 3; do {} collective || exit; done; exit 32",
            me.display(),
            other.display(),
            program("probe"),
        );
        pool.submit(&[&["--devices", "2"], &HALF[..]].concat(), &script)
    };
    for job in [start("one", "two"), start("two", "one")] {
        assert_eq!(finished(&pool, &job, 32), "ready\ndone\n".repeat(3));
        let used = sample(&pool, &job);
        let paid = |at: usize| used["devices"][at]["device_time"].as_u64().unwrap();
        assert!(paid(0) > 0 && paid(0) == paid(1), "they are granted together: {used}");
    }
}

#[test]
fn ten_thousand_launches_at_once_hold_nobody_up() {
    let Some(pool) = Pool::shared() else { return };
    let _alone = alone();
    let burst = "--commands 10000 --in-queue 10000";
    let burst = Steady::start_with(&pool, "burst", 40_000, burst);
    burst.begun();
    let competitor = Steady::start(&pool, "competitor", SHORT);
    competitor.wait_more(1);
    let launching = burst.beats().len() < 10_000;
    let waited = competitor.beats()[0] - competitor.begun().1;
    assert!(launching, "the burst was over too soon to say anything");
    assert!(waited < GOES_ON, "the competitor waited for {} ms", waited / MS);
    competitor.wait_more(20);
    competitor.end();
    soon("the end of the burst", || (burst.beats().len() == 10_000).then_some(()));
    burst.end();
}

#[test]
fn what_a_program_starts_is_in_its_lease() {
    let Some(pool) = Pool::shared() else { return };
    let _alone = alone();
    let go = pool.file("family.go");
    let script = format!(
        "steady() {{ {} --beats $1 --until {} --iterations {SHORT}; }}
         steady {}.a & one=$!; steady {}.b && wait $one && {} --kills 5 && exit 33",
        program("steady"),
        go.display(),
        go.display(),
        go.display(),
        program("storm"),
    );
    let job = pool.submit(&HALF, &script);
    soon("two processes in one lease", || (sample(&pool, &job)["processes"] == 2).then_some(()));
    fs::write(&go, "").unwrap();
    let wrote = finished(&pool, &job, 33);
    assert_eq!(wrote.matches("right after ").count(), 2, "{wrote}");
    assert!(wrote.contains("{\"kills\":5,"), "{wrote}");
    let used = &sample(&pool, &job)["devices"][0];
    assert_eq!(used["memory_peak"], 64 << 20, "all of it at most: {used}");
    assert!(used["refused"].as_u64().unwrap() >= 5, "{used}");
    let fork = pool
        .submit(&["--compute", "50%", "--memory", "10000B"], &format!("{} fork", program("probe")));
    assert_eq!(finished(&pool, &fork, 0), "forked\n");
}

#[test]
fn work_goes_on_without_the_daemon_and_in_turn_again_after_it() {
    let Some(pool) = Pool::start() else { return };
    let _alone = alone();
    let both = ["one", "two"].map(|name| Steady::start(&pool, name, SHORT));
    both.iter().for_each(|program| program.wait_more(20));
    pool.crash();
    let from = now();
    kit::for_a_while(3);
    let to = now();
    let counts = both.each_ref().map(|program| program.beats_within(from, to));
    let fifth = counts.iter().sum::<usize>() / 5;
    assert!(counts.iter().all(|count| *count > fifth.max(5)), "{counts:?} without a daemon");
    pool.restart();
    for program in &both {
        pool.wait_state(&program.job, "running");
        program.wait_more(20);
    }
    // Without turns each would have to pay while the other's commands hold up its own. What is shown
    // may be a second old at both ends.
    let begin = (now(), both.each_ref().map(Steady::charged));
    kit::for_a_while(6);
    let passed = now() - begin.0;
    let paid = [0, 1].map(|who| both[who].charged() - begin.1[who]);
    let sum: i64 = paid.iter().sum();
    assert!(paid.iter().all(|paid| *paid > passed / 10), "{paid:?} ns of {passed}");
    assert!(sum < passed * 5 / 4, "{paid:?} ns of {passed}: they do not take turns");
    both.into_iter().for_each(Steady::end);
}

#[test]
fn two_vendors_in_one_process_compute_under_one_lease() {
    let vendors = tempfile::tempdir().unwrap();
    for (name, library) in
        [("pocl", "libpocl.so.2"), ("oclgrind", "/usr/lib/oclgrind/liboclgrind-rt-icd.so")]
    {
        fs::write(vendors.path().join(format!("{name}.icd")), format!("{library}\n")).unwrap();
    }
    let variables = [("OCL_ICD_VENDORS", vendors.path().to_str().unwrap())];
    let Some(pool) = Pool::start_in(&["--no-listen"], &variables) else { return };
    let _alone = alone();
    if devices(&pool) != 2 {
        return eprintln!("SKIPPED: PoCL and oclgrind are not both here");
    }
    let ask = ["--devices", "2", "--compute", "50%", "--memory", "16MiB"];
    let jobs = [0, 1].map(|_| pool.submit(&ask, &format!("{} platforms", program("probe"))));
    for job in &jobs {
        assert_eq!(finished(&pool, job, 0), "2\n");
        let used = sample(&pool, job);
        assert!(used["launches"].as_u64().unwrap() >= 10, "{used}");
    }
}
