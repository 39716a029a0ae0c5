//! Programs of a lease whose environment was cleared, with a real daemon and real programs on PoCL: what
//! `sudo`, `cron`, `tox` and `env -i` start has the lease's device, under the lease's limits.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests; skips must be heard")]

mod common;

use common::{Pool, has_namespaces, program, say};

/// Half of the device, and room for one buffer of the two that are tried.
const SHARE: [&str; 5] = ["--quiet", "--compute", "50%", "--memory", "32MiB"];

#[test]
fn a_cleared_environment_has_the_leases_device_under_its_limits() {
    let Some(pool) = Pool::start().filter(has_namespaces) else { return };
    let work = program("workload");
    // PoCL's own linker is looked for by its name.
    let work =
        format!("env -i PATH=/usr/bin:/bin {work} --kernel-us 100 --iterations 1000 --commands 20");
    let fits = format!("{work} --memory 16777216");
    // Neither the program nor anything that it starts has a variable of Polder's.
    let said = say(pool.run(&SHARE, &format!("{fits} && env -i sh -c '{fits}'")));
    assert_eq!(said.code, 0, "{said:?}");
    let used = &pool.json(&["show", "2"])["leases"][0]["ending"]["end"]["sample"];
    assert!(used["launches"].as_u64().unwrap() >= 40, "it is counted: {used}");
    let said = say(pool.run(&SHARE, &format!("{work} --memory 67108864")));
    assert!(said.code != 0, "64 MiB of 32: {said:?}");
    assert!(!said.stderr.contains("POLDER_SOCKET"), "it was let in: {said:?}");
    let refused = &pool.json(&["show", "3"])["leases"][0]["ending"]["end"]["sample"]["devices"];
    assert!(refused[0]["refused"].as_u64().unwrap() > 0, "by the lease's limit: {refused}");
}
