//! Signals to a task whose container does not get them yet.
//!
//! What must hold: a signal that is sent after the program in a container has begun reaches it, and those
//! that are sent arrive in their order. What starts the container may begin to pass signals on later than
//! the program runs, so what comes before that is held here. It is not held for long: a container that is
//! still being made, from an image that is being fetched, say, has nobody to get it, and then the signal is
//! for what makes it.

use super::server::Shim;
use super::signals::{check, to_command};
use super::status::boot_micros;
use crate::runner::container_passes_on;
use rustix::process::Pid;

/// Longest that the first of them waits, but for the last look.
const HOLD_MICROS: u64 = 2_000_000;
/// How often it is looked whether they would be passed on.
const LOOK_MICROS: u64 = 5_000;
/// Most that wait; a program has no more numbers to tell apart.
const HELD_MAX: usize = 64;

/// What is held of one task.
#[derive(Debug, Default)]
pub(super) struct Held {
    numbers: Vec<i32>,
    /// Since when the first one waits, boot clock microseconds.
    since: u64,
    /// When to look again.
    look_at: Option<u64>,
    /// Signals need not wait: they are passed on, or it was given up.
    pub(super) over: bool,
    /// What was sent when it was given up and ends what makes a container, with an exit code of its own.
    ended_by: Option<i32>,
}

impl Held {
    pub(super) fn look_at(&self) -> Option<u64> {
        self.look_at
    }

    /// The signal that the command ended of, if it ended of one that its program never got.
    pub(super) fn ended_by(&self) -> Option<i32> {
        self.ended_by
    }

    /// Takes one to be sent later.
    fn hold(&mut self, number: i32, now: u64) -> Result<(), String> {
        if self.numbers.len() >= HELD_MAX {
            return Err(format!(
                "its container is still being made, and {HELD_MAX} signals wait for it"
            ));
        }
        if self.numbers.is_empty() {
            self.since = now;
            self.look_at = Some(now.saturating_add(LOOK_MICROS));
        }
        self.numbers.push(number);
        Ok(())
    }

    /// Looks whether those that wait are `passed_on` by now: what is to be sent, in order.
    fn look(&mut self, now: u64, passed_on: bool) -> Vec<i32> {
        if !passed_on && now.saturating_sub(self.since) < HOLD_MICROS {
            self.look_at = Some(now.saturating_add(LOOK_MICROS));
            return Vec::new();
        }
        if !passed_on {
            let ends = |number: &&i32| [libc::SIGINT, libc::SIGTERM].contains(number);
            self.ended_by = self.numbers.iter().find(ends).copied();
        }
        self.over = true;
        self.look_at = None;
        std::mem::take(&mut self.numbers)
    }
}

impl Shim {
    /// Sends the task's command a signal, by and by where its container would not get it yet. What no
    /// program can catch is not passed on, and what continues one follows it.
    pub(super) fn signal(&mut self, number: i32) -> Result<(), String> {
        let task = self.task.as_mut().filter(|task| task.is_running());
        let task = task.ok_or("nothing of it runs")?;
        check(number)?;
        let at_once = [libc::SIGKILL, libc::SIGSTOP, libc::SIGCONT].contains(&number);
        let none_waits = task.held.numbers.is_empty();
        task.held.over |= none_waits && passes_on(&self.plan, task.main);
        if at_once || task.held.over {
            return to_command(task.main, number);
        }
        task.held.hold(number, boot_micros())
    }

    /// Sends those that have waited long enough. One that comes too late concerns nobody.
    pub(super) fn held_on_time(&mut self, now: u64) {
        let Some(task) = self.task.as_mut().filter(|task| task.is_running()) else { return };
        if task.held.look_at.is_some_and(|at| at <= now) {
            for number in task.held.look(now, passes_on(&self.plan, task.main)) {
                let _ = to_command(task.main, number);
            }
        }
    }
}

fn passes_on(plan: &super::Plan, main: Pid) -> bool {
    container_passes_on(plan, std::process::id(), main.as_raw_nonzero().get().unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_wait_in_order_until_they_are_passed_on() {
        let mut held = Held::default();
        held.hold(libc::SIGUSR1, 100).unwrap();
        held.hold(libc::SIGINT, 4000).unwrap();
        assert_eq!(held.look_at(), Some(100 + LOOK_MICROS));
        assert!(held.look(5100, false).is_empty());
        assert_eq!(held.look_at(), Some(5100 + LOOK_MICROS));
        assert_eq!(held.look(10_100, true), [libc::SIGUSR1, libc::SIGINT]);
        assert!(held.over && held.look_at().is_none() && held.ended_by().is_none());
    }

    #[test]
    fn one_for_which_no_container_comes_is_sent_to_what_makes_it() {
        let mut held = Held::default();
        held.hold(libc::SIGUSR1, 100).unwrap();
        held.hold(libc::SIGTERM, HOLD_MICROS).unwrap();
        assert!(held.look(HOLD_MICROS, false).is_empty());
        assert_eq!(held.look(100 + HOLD_MICROS, false), [libc::SIGUSR1, libc::SIGTERM]);
        assert_eq!(held.ended_by(), Some(libc::SIGTERM));
        assert!(held.over && held.look_at().is_none());
    }

    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let mut held = Held::default();
        for _ in 0..HELD_MAX {
            held.hold(libc::SIGUSR1, 1).unwrap();
        }
        assert!(held.hold(libc::SIGUSR1, 1).unwrap_err().contains("still being made"));
        assert_eq!(held.look(2, true).len(), HELD_MAX);
    }
}
