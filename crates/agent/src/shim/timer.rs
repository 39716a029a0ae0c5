//! One timer on the boot clock, set to the nearest of several deadlines.

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use std::io;
use std::os::fd::OwnedFd;

/// The timer.
#[derive(Debug)]
pub(super) struct Timer {
    fd: OwnedFd,
    set: Option<u64>,
}

impl Timer {
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self { fd: timerfd_create(TimerfdClockId::Boottime, flags)?, set: None })
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Fires at `deadline`, boot clock microseconds, also when that has passed; or never.
    pub(super) fn set(&mut self, deadline: Option<u64>) -> io::Result<()> {
        if self.set == deadline {
            return Ok(());
        }
        // Zero would disarm it.
        let at = deadline.map_or(0, |at| at.max(1));
        let value = Timespec {
            tv_sec: i64::try_from(at / 1_000_000).unwrap_or(i64::MAX),
            tv_nsec: (at % 1_000_000 * 1000).cast_signed(),
        };
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let spec = Itimerspec { it_interval: zero, it_value: value };
        timerfd_settime(&self.fd, TimerfdTimerFlags::ABSTIME, &spec)?;
        self.set = deadline;
        Ok(())
    }

    /// It has fired: it must be set again.
    pub(super) fn fired(&mut self) {
        let mut count = [0u8; 8];
        // That it fired is known; how often does not matter.
        let _ = rustix::io::read(&self.fd, &mut count);
        self.set = None;
    }
}
