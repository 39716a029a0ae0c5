//! Every interleaving of a few processes, with death after any step:
//! `RUSTFLAGS="--cfg loom" cargo test -p polder-ledger --release --test loom`.
#![cfg(loom)]
#![allow(clippy::unwrap_used)] // what fails in a helper fails the test

mod gate;
mod memory;
mod single;

use loom::sync::{Arc, Notify};
use loom::thread;
use polder_ledger::gate::Bell;
use polder_ledger::{Limits, Usage, memory as ledger};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

const LIMIT: u64 = 8;
/// More writes than any process of these models makes.
const WRITES_MAX: u32 = 12;
/// Enough for every bug a model of this size has shown; more takes hours.
const PREEMPTIONS: usize = 3;
const PREEMPTIONS_OF_THREE: usize = 1;

/// What processes believe they hold. Not loom's atomic: it is not part of the protocol, and loom
/// runs one thread at a time.
#[derive(Default)]
struct Believed(AtomicU64);

impl Believed {
    fn more(&self, bytes: u64) {
        let sum = self.0.fetch_add(bytes, SeqCst) + bytes;
        assert!(sum <= LIMIT, "{sum} of {LIMIT} bytes held");
    }
    fn less(&self, bytes: u64) {
        self.0.fetch_sub(bytes, SeqCst);
    }
}

struct Lease {
    usage: Usage,
    limits: Limits,
    believed: Believed,
    drained: AtomicU64,
    bell: Notify,
    /// Processes that believe to have the lease's single command in flight.
    flying: AtomicU64,
}

impl Lease {
    fn new(processes: usize) -> Arc<Self> {
        let usage = Usage::new(1);
        for slot in 0..processes {
            usage.claim_slot(slot, 100 + slot as u32);
        }
        Arc::new(Self {
            usage,
            limits: Limits::new(1, 1),
            believed: Believed::default(),
            drained: AtomicU64::new(0),
            bell: Notify::new(),
            flying: AtomicU64::new(0),
        })
    }

    fn reserve(&self, me: usize, bytes: u64) -> bool {
        let got = ledger::reserve(&self.usage, me, 0, bytes, || LIMIT, thread::yield_now).is_ok();
        if got {
            self.believed.more(bytes);
        }
        got
    }

    fn free(&self, me: usize, bytes: u64) {
        self.believed.less(bytes);
        ledger::free(&self.usage, me, 0, bytes);
    }

    fn ring(&self, bell: Bell) {
        if bell == Bell::Ring {
            self.bell.notify();
        }
    }

    /// A process launches one command if it may.
    fn launch(&self, me: usize) {
        match polder_ledger::gate::enter(&self.limits, &self.usage.slot[me]) {
            Ok(_) => {
                assert_eq!(self.drained.load(SeqCst), 0, "launched after the lease had drained");
                let bell = polder_ledger::gate::leave(&self.limits, &self.usage.slot[me]);
                self.ring(bell);
            }
            Err((_, bell)) => self.ring(bell),
        }
    }

    /// The arbiter sets the gate and waits until nothing is in flight.
    fn wait_for_zero(&self, flags: u32) {
        polder_ledger::gate::set(&self.limits, flags);
        while polder_ledger::gate::census(&self.usage).inflight > 0 {
            self.bell.wait();
        }
    }
}

fn model(body: impl Fn() + Sync + Send + 'static) {
    bounded_model(PREEMPTIONS, body);
}

fn bounded_model(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(body);
}
