//! The storm of real processes, a short one; `cargo xtask bench enforce` runs the long one.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used)] // what fails in a helper fails the test

use polder_ledger::{Usage, memory};
use std::cell::Cell;
use std::process::Command;
use std::sync::atomic::Ordering;

#[test]
fn the_account_holds_whoever_forks_execs_or_is_killed() {
    let tests = std::env::current_exe().unwrap();
    let storm = tests.parent().unwrap().parent().unwrap().join("examples/ledger_storm");
    let output = Command::new(storm).args(["ledger", "--quick"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}\n{text}");
    let figure = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.contains(name)).unwrap();
        let value = line.split("\"value\":").nth(1).unwrap();
        value.split(',').next().unwrap().parse().unwrap()
    };
    assert!(figure("steps") >= 20_000.0, "{text}");
    for what in ["forks", "execs", "killed with SIGKILL"] {
        assert!(figure(what) > 0.0, "{text}");
    }
    assert!(figure("beyond the lease's memory").abs() < 0.5, "{text}");
    assert!(figure("slots left").abs() < 0.5, "{text}");
}

#[test]
fn no_operation_waits_on_a_dead_process_once_it_is_reaped() {
    // The dead one announced a claim in a lower slot, to which others give way, and died.
    for (claim, held) in [(600, 0), (600, 600), (0, 600)] {
        let usage = Usage::new(1);
        for slot in 0..2 {
            usage.claim_slot(slot, 1);
        }
        usage.slot[0].device[0].claim.store(claim, Ordering::SeqCst);
        usage.slot[0].device[0].held.store(held, Ordering::SeqCst);
        let looks = Cell::new(0);
        let got = memory::reserve(
            &usage,
            1,
            0,
            500,
            || 1000,
            || {
                looks.set(looks.get() + 1);
                if looks.get() == 10 {
                    usage.retire_slot(0);
                }
            },
        );
        // Held bytes are held until the dead is reaped; a claim alone is waited for.
        match got {
            Ok(()) => assert!((10..=11).contains(&looks.get()), "{} looks", looks.get()),
            Err(refused) => assert_eq!((refused.held, looks.get()), (600, 0)),
        }
        usage.retire_slot(0);
        memory::free(&usage, 1, 0, 500);
        let mut more = 0;
        memory::reserve(&usage, 1, 0, 1000, || 1000, || more += 1).unwrap();
        assert_eq!(more, 0, "somebody was waited for");
    }
}
