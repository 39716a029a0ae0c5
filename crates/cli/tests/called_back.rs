//! Programs whose kernels are launched by the driver's own callbacks, or begin when the program signals an
//! event, with a real daemon on PoCL: their caps hold, and so do the shares of those beside them. What each had of the device is what the driver's
//! own profiling says of its kernels, not what Polder says.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests; skips must be heard")]

mod common;

use common::{Pool, program, soon};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One test at a time: each fills the device.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every shape of launching from callbacks, or behind events, that is held to its share.
const SHAPES: [&str; 5] = [
    "--chains 1",
    "--chains 8 --burst 4",
    "--chains 6 --queues 3 --iterations 1000000",
    "--chains 4 --stage running",
    "--signalled --chains 40",
];

fn start(pool: &Pool, ask: &str, words: &str) -> String {
    let ask: Vec<&str> = ask.split(' ').chain(["--memory", "64MiB"]).collect();
    pool.submit(&ask, &format!("{} {words}", program("chains")))
}

/// The part of the time that a job's kernels had the device, and how many there were.
fn had(pool: &Pool, job: &str) -> (f64, u64) {
    let said = pool.say(&["wait", job, "--timeout", "120s"]);
    let stderr = || pool.say(&["logs", "--stderr", job]).stdout;
    assert_eq!(said.code, 0, "job {job}: {said:?}: {}", stderr());
    let wrote: serde_json::Value = serde_json::from_str(&pool.ok(&["logs", job])).unwrap();
    let number = |name: &str| wrote[name].as_f64().unwrap();
    (number("used_ns") / number("wall_ns"), wrote["kernels"].as_u64().unwrap())
}

#[test]
fn launches_from_callbacks_keep_to_a_cap() {
    let Some(pool) = Pool::shared() else { return };
    let _alone = alone();
    for shape in SHAPES {
        let words = format!("--seconds 10 {shape}");
        let job = start(&pool, "--compute 10% --compute-max 10%", &words);
        let (part, kernels) = had(&pool, &job);
        eprintln!("{shape}: {part:.4} of the device, {kernels} kernels");
        // As the worst cell of the limiter's table may miss, and what a lease may save up.
        assert!(part <= 0.12 + 0.02, "{shape}: {part} of the device");
        assert!(kernels >= 5, "{shape}: {kernels} kernels: it hardly went on");
    }
}

#[test]
fn launches_from_callbacks_take_nothing_from_a_neighbour() {
    let Some(pool) = Pool::shared() else { return };
    let _alone = alone();
    for shape in SHAPES {
        let words = "--seconds 10 --plain --chains 4";
        let victim = start(&pool, "--compute 70%", words);
        soon("it runs", || {
            (pool.json(&["show", &victim])["leases"][0]["sample"]["launches"].as_u64()? > 0)
                .then_some(())
        });
        let evil = start(&pool, "--compute 10%", &format!("--seconds 8 {shape}"));
        let (theirs, kernels) = had(&pool, &evil);
        let (part, _) = had(&pool, &victim);
        eprintln!("{shape}: {theirs:.4} with {kernels} kernels beside {part:.4}");
        // Of what both want it is one part in eight; a busy machine makes kernels up to twice as long, and
        // with callbacks that pass every gate it is nearly all.
        assert!(theirs <= 0.35, "{shape}: {theirs} of the device for a share of 0.1");
        assert!(part >= 0.6, "{shape}: {part} of the device for a share of 0.7");
    }
}
