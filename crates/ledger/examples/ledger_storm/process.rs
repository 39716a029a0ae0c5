//! One process of the lease: what it does until it is killed.
#![allow(unsafe_code)] // fork, and descriptors inherited by number

use polder_ledger::attach::{Message, SOCKET_VARIABLE, receive, send};
use polder_ledger::{LAYOUT, Limits, Mapped, Usage, map_limits, map_usage, memory};
use rustix::net::{
    AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with,
};
use rustix::time::{ClockId, clock_gettime};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::sync::atomic::Ordering;

/// The number under which each process finds the pipe that takes what it measures.
pub(crate) const PIPE_VARIABLE: &str = "STORM_PIPE";
/// Largest allocation, in parts of the lease's memory.
const PARTS: u64 = 64;

/// What a step was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Step {
    Allocate = 0,
    Free = 1,
    Fork = 2,
    Exec = 3,
}

/// Small, seeded, and the same everywhere.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

struct Place {
    connection: OwnedFd,
    limits: Mapped<Limits>,
    usage: Mapped<Usage>,
    slot: usize,
}

/// Comes in as a driver does; `None` when the lease has no room or is over.
fn attach() -> Option<Place> {
    let path = std::env::var_os(SOCKET_VARIABLE)?;
    let connection =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).ok()?;
    connect(&connection, &SocketAddrUnix::new(path).ok()?).ok()?;
    send(&connection, &Message::Hello { layout: LAYOUT }, &[]).ok()?;
    let (message, fds) = receive(&connection, RecvFlags::empty()).ok()??;
    let Message::Welcome { slot, .. } = message else { return None };
    let [limits, usage, _bell] = <[OwnedFd; 3]>::try_from(fds).ok()?;
    let (limits, usage) = (map_limits(limits).ok()?, map_usage(usage).ok()?);
    Some(Place { connection, limits, usage, slot: slot as usize })
}

fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Works until it is killed, or until nobody listens any more.
pub(crate) fn run(seed: Option<&str>) -> ExitCode {
    let pipe = std::env::var(PIPE_VARIABLE).ok().and_then(|number| number.parse().ok());
    let (Some(seed), Some(pipe)) = (seed.and_then(|seed| seed.parse().ok()), pipe) else {
        return ExitCode::FAILURE;
    };
    // SAFETY: the lease's end left this number open for us, and it stays open to our end.
    let pipe = unsafe { BorrowedFd::borrow_raw(pipe) };
    let tell = |step: Step, ns: u64| {
        let ns = u32::try_from(ns).unwrap_or(u32::MAX);
        let record = u64::from(step as u32) << 32 | u64::from(ns);
        rustix::io::write(pipe, &record.to_ne_bytes()).is_ok()
    };
    let mut random = Random::new(seed);
    let Some(mut place) = attach() else { return ExitCode::SUCCESS };
    let mut mine: Vec<u64> = Vec::new();
    loop {
        let limit = place.limits.device[0].memory_max.load(Ordering::Relaxed);
        let heard = match random.below(1000) {
            0..=4 => {
                // SAFETY: this process has one thread, and the child goes on as such a process.
                match unsafe { libc::fork() } {
                    0 => {
                        // The parent's connection is the parent's.
                        drop(place.connection);
                        random = Random::new(random.next() ^ u64::from(std::process::id()));
                        mine.clear();
                        match attach() {
                            Some(own) => place = own,
                            None => return ExitCode::SUCCESS,
                        }
                        true
                    }
                    _ => tell(Step::Fork, 0),
                }
            }
            5..=9 if tell(Step::Exec, 0) => {
                let words = ["process".to_owned(), random.next().to_string()];
                // Its connection closes by itself, and what it held is free again.
                let error = Command::new("/proc/self/exe").args(words).exec();
                crate::complain(&format!("exec: {error}"));
                return ExitCode::FAILURE;
            }
            10..=599 => {
                let bytes = 1 + random.below(limit / PARTS * 4);
                let before = cpu_ns();
                let got = memory::reserve(
                    &place.usage,
                    place.slot,
                    0,
                    bytes,
                    || limit,
                    std::thread::yield_now,
                );
                let took = cpu_ns() - before;
                if got.is_ok() {
                    mine.push(bytes);
                }
                tell(Step::Allocate, took)
            }
            _ if mine.is_empty() => true,
            _ => {
                let which = usize::try_from(random.below(mine.len() as u64)).unwrap_or(0);
                let bytes = mine.swap_remove(which);
                let before = cpu_ns();
                memory::free(&place.usage, place.slot, 0, bytes);
                tell(Step::Free, cpu_ns() - before)
            }
        };
        if !heard {
            return ExitCode::SUCCESS;
        }
    }
}
