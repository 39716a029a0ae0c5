//! Host memory behind the device of a real pool: kept apart, promised, held to, and told.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use common::{Pool, polder, program, say, soon};

/// A job that mirrors 1.5 MiB of buffers: more than its part of the device.
fn mirrored(pool: &Pool, flags: &[&str]) -> String {
    let probe = program("probe");
    pool.submit(flags, &format!("(echo; echo) | exec {probe} mirrored 2"))
}

#[test]
fn two_jobs_use_more_than_their_parts_of_the_device_and_no_more_is_promised() {
    let Some(pool) = Pool::start_with(&["--no-listen", "--host-backing", "64MiB"]) else { return };
    let nodes = pool.ok(&["nodes"]);
    assert!(nodes.contains("BACKING") && nodes.contains("64 MiB"), "{nodes}");
    let backed = ["--compute", "40%", "--memory", "1MiB", "--host-backed", "2MiB"];
    let (one, two) = (mirrored(&pool, &backed), mirrored(&pool, &backed));
    for job in [&one, &two] {
        assert_eq!(pool.say(&["wait", job]).code, 0, "{}", pool.ok(&["logs", job]));
        let shown = pool.json(&["show", job]);
        let slice = &shown["leases"][0]["lease"]["slices"][0];
        assert_eq!(
            (slice["memory"].as_u64(), slice["backing"].as_u64()),
            (Some(1 << 20), Some(2 << 20))
        );
        let peak =
            shown["leases"][0]["ending"]["end"]["sample"]["devices"][0]["memory_peak"].as_u64();
        assert!(peak.is_some_and(|peak| peak <= 1 << 20), "{shown}");
    }
    // Who did not ask has no more than its part.
    let alone = mirrored(&pool, &["--memory", "1MiB"]);
    assert_ne!(pool.say(&["wait", &alone]).code, 0);

    let more = pool.say(&["submit", "--host-backed", "65MiB", "--", "true"]);
    assert_eq!(more.code, 2);
    assert!(
        more.stderr.contains("can back 64 MiB with host memory where 65 MiB is wanted"),
        "{more:?}"
    );
    // All of it is promised: the next waits, and is told for what.
    let sleeps = pool.submit(&["--compute", "10%", "--host-backed", "60MiB"], "sleep 600");
    pool.wait_state(&sleeps, "running");
    let waits = pool.submit(&["--compute", "10%", "--host-backed", "8MiB"], "true");
    soon("the reason", || {
        pool.ok(&["explain", &waits])
            .contains("lacks 4 MiB of host memory kept for backing")
            .then_some(())
    });
    let top = pool.ok(&["top", "--once"]);
    assert!(top.contains("0 B of 60 MiB"), "{top}");
    pool.ok(&["cancel", &sleeps]);
    assert_eq!(pool.say(&["wait", &waits]).code, 0);
}

#[test]
fn more_than_the_machine_has_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    let words = ["--state", state, "up", "--no-listen", "--host-backing", "900TiB"];
    let said = say(polder(words));
    assert_ne!(said.code, 0);
    let expect = "900 TiB of host memory cannot be kept for backing: this node has";
    assert!(said.stderr.contains(expect), "{said:?}");
    assert!(!said.stderr.contains("is up"), "{said:?}");
}

#[test]
fn what_an_earlier_daemon_kept_counts_no_more_once_the_next_one_is_up() {
    let Some(pool) = Pool::start_with(&["--no-listen", "--host-backing", "64MiB"]) else { return };
    let kept = || pool.json(&["nodes"])["nodes"][0]["facts"]["backing"].as_u64().unwrap_or(0);
    soon("the node's backing", || (kept() == 64 << 20).then_some(()));
    pool.terminate();
    pool.wait_down();
    let up = pool.say(&["up", "--detach", "--no-listen"]);
    assert_eq!(up.code, 0, "{up:?}");
    let after = kept();
    pool.ok(&["down"]);
    assert_eq!(after, 0);
}
