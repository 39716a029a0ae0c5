//! What a lease has used beyond its cap outlives it: the next of its tenant pays, and says so.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Pool, program, soon};

/// Length of the first job's one kernel, microseconds: ten times as long until it is paid.
const KERNEL_US: u64 = 600_000;
const CALIBRATED_US: u64 = 10_000;

#[test]
fn the_next_job_of_a_tenant_pays_for_the_kernel_of_the_last_and_nobody_elses_does() {
    let Some(pool) = Pool::start() else { return };
    for tenant in ["lab", "home"] {
        pool.ok(&["admin", "tenant", "set", tenant]);
    }
    let work = program("workload");
    let calibrate = format!("{work} --kernel-us {CALIBRATED_US} --calibrate-only");
    let whole = pool.submit(&["--whole"], &calibrate);
    assert_eq!(pool.say(&["wait", &whole]).code, 0);
    let rounds: u64 = pool.ok(&["logs", &whole]).trim().parse().unwrap();
    let job = |tenant: &str, rounds: u64| {
        let terms = ["--compute", "10%", "--compute-max", "10%", "--memory", "64MiB"];
        let script = format!("exec {work} --iterations {rounds} --commands 1");
        pool.submit(&[&terms[..], &["--tenant", tenant]].concat(), &script)
    };
    let first = job("lab", rounds * (KERNEL_US / CALIBRATED_US));
    soon("its kernel has run", || {
        let shown = pool.json(&["show", &first]);
        let used = shown["leases"][0]["sample"]["devices"][0]["device_time"].as_u64()?;
        (used > KERNEL_US / 2).then_some(())
    });
    pool.ok(&["cancel", &first]);
    assert_eq!(pool.say(&["wait", &first]).code, 130);

    let next = job("lab", 10);
    let shown = soon("the next one says what it owes", || {
        let shown = pool.ok(&["show", &next]);
        shown.lines().find(|line| line.starts_with("owes ")).map(str::to_owned)
    });
    assert!(shown.contains("an earlier lease of its user"), "{shown}");
    let other = job("home", 10);
    assert_eq!(pool.say(&["wait", &other]).code, 0);
    assert_eq!(pool.state(&next), "running", "it pays while somebody else's has ended");
    pool.ok(&["cancel", &next]);
}
