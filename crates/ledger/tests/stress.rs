//! Sixteen real processes that reserve, free and are killed at random.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used)] // what fails in a helper fails the test

use polder_ledger::{Mapped, Usage, create_usage, map_usage, memory};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;

const PROCESSES: usize = 16;
const STEPS: u64 = 10_000;
const KILLS: u32 = 200;
const LIMIT: u64 = 1 << 20;
/// Sixteen of these do not fit together, so that processes meet at the limit all the time.
const BYTES_MAX: u64 = LIMIT / 6;

/// Small, seeded, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Not a test of its own: what each of the processes runs, until it is killed.
#[test]
fn worker() {
    let (Some(fd), Some(me), Some(seed)) =
        (variable("STRESS_FD"), variable("STRESS_SLOT"), variable("STRESS_SEED"))
    else {
        return;
    };
    let fd = i32::try_from(fd).unwrap();
    // SAFETY: the parent left exactly this descriptor open for us, and nobody else here knows it.
    #[allow(unsafe_code, reason = "a descriptor known by its number alone")]
    let usage = map_usage(unsafe { OwnedFd::from_raw_fd(fd) }).unwrap();
    let me = usize::try_from(me).unwrap();
    let mut random = Random(seed);
    let mut mine: Vec<u64> = Vec::new();
    loop {
        if random.below(3) > 0 {
            let bytes = 1 + random.below(BYTES_MAX);
            if memory::reserve(&usage, me, 0, bytes, || LIMIT, std::thread::yield_now).is_ok() {
                mine.push(bytes);
            }
        } else if !mine.is_empty() {
            let which = usize::try_from(random.below(mine.len() as u64)).unwrap();
            memory::free(&usage, me, 0, mine.swap_remove(which));
        }
        usage.slot[me].launched.fetch_add(1, Ordering::Relaxed);
    }
}

struct Running {
    child: Child,
    pidfd: OwnedFd,
}

/// The shim: starts processes into slots, sees them die by pidfd, clears their slots.
struct Shim {
    fd: OwnedFd,
    usage: Mapped<Usage>,
    running: Vec<Running>,
    seed: u64,
}

impl Shim {
    fn start(&mut self, slot: usize) -> Running {
        self.seed += 1;
        // As at the door: the slot is claimed before its process can write, or a process that runs
        // ahead of its shim would not count what it holds itself.
        self.usage.claim_slot(slot, std::process::id());
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "worker"])
            .env("STRESS_FD", self.fd.as_raw_fd().to_string())
            .env("STRESS_SLOT", slot.to_string())
            .env("STRESS_SEED", (self.seed * 0x9e37_79b9).to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.usage.claim_slot(slot, child.id());
        let pid = Pid::from_child(&child);
        Running { child, pidfd: pidfd_open(pid, PidfdFlags::empty()).unwrap() }
    }

    fn kill(&mut self, slot: usize) {
        let running = &mut self.running[slot];
        running.child.kill().unwrap();
        let mut waits = [PollFd::new(&running.pidfd, PollFlags::IN)];
        poll(&mut waits, None).unwrap();
        self.usage.retire_slot(slot);
        running.child.wait().unwrap();
    }

    /// All that is held, if it stood still while it was added up: processes come and go, and a sum
    /// over moving bytes is the sum of no moment.
    fn snapshot(&self) -> Option<u64> {
        let read = || -> Vec<u64> {
            let slots = self.usage.slots().iter();
            slots.map(|slot| slot.device[0].held.load(Ordering::SeqCst)).collect()
        };
        let (first, second) = (read(), read());
        (first == second).then(|| first.iter().sum())
    }

    fn steps(&self) -> u64 {
        let live = self.usage.slots().iter().map(|slot| slot.launched.load(Ordering::Relaxed));
        live.sum::<u64>() + self.usage.retired[1].load(Ordering::Relaxed)
    }
}

impl Drop for Shim {
    /// A test that fails leaves no process behind.
    fn drop(&mut self) {
        for running in &mut self.running {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

#[test]
fn sixteen_processes_killed_at_random_never_pass_the_limit_and_leave_nothing() {
    let (fd, usage) = create_usage(1).unwrap();
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::empty()).unwrap();
    let mut shim = Shim { fd, usage, running: Vec::new(), seed: 1 };
    for slot in 0..PROCESSES {
        let running = shim.start(slot);
        shim.running.push(running);
    }
    let mut random = Random(42);
    let (mut kills, mut samples, mut highest) = (0, 0, 0);
    while kills < KILLS || shim.steps() < STEPS || samples < STEPS {
        for _ in 0..1000 {
            if let Some(sum) = shim.snapshot() {
                assert!(sum <= LIMIT, "{sum} of {LIMIT} bytes held");
                (samples, highest) = (samples + 1, sum.max(highest));
            }
        }
        let slot = usize::try_from(random.below(PROCESSES as u64)).unwrap();
        shim.kill(slot);
        shim.running[slot] = shim.start(slot);
        kills += 1;
    }
    assert!(highest > LIMIT / 2, "the limit was never near: {highest} of {LIMIT} bytes");
    for slot in 0..PROCESSES {
        shim.kill(slot);
    }
    assert_eq!(memory::held(&shim.usage, 0), 0);
    // Nothing stands in the way of the next: neither bytes held nor a claim left behind.
    shim.usage.claim_slot(0, std::process::id());
    memory::reserve(&shim.usage, 0, 0, LIMIT, || LIMIT, || ()).unwrap();
}

/// The pages cannot be shrunk under a reader, nor the limits written by a tenant.
#[test]
fn pages_are_sealed() {
    let (usage, _page) = create_usage(1).unwrap();
    assert!(rustix::fs::ftruncate(&usage, 0).is_err());
    let limits = polder_ledger::LimitsWriter::create(1, 1).unwrap();
    let fd: BorrowedFd<'_> = limits.fd();
    assert!(rustix::fs::ftruncate(fd, 0).is_err());
    assert!(rustix::io::pwrite(fd, &[1], 0).is_err());
    assert!(polder_ledger::map_usage(fd).is_err(), "a writable mapping of the limits");
    assert_eq!(polder_ledger::map_limits(fd).unwrap().lease(), 1);
}
