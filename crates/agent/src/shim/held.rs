//! Signals to a task whose container does not get them yet.
//!
//! What must hold: a signal that is sent after the program in a container has begun reaches it, and those
//! that are sent arrive in their order. What starts the container may begin to pass signals on later than
//! the program runs, so what comes before that is held here. What asks a program to end is not held for
//! long: while an image is being fetched, say, there is none to get it, and it is for what makes the
//! container. That ends then, with an exit code of its own, and the task as if the signal had ended it.

use super::server::Shim;
use super::signals::{check, to_command};
use super::status::boot_micros;
use crate::runner::{RUNTIME_FAILED, container_passes_on};
use polder_model::Outcome;
use rustix::process::Pid;

/// Longest that one waits that asks the program to end, but for the last look.
const END_MICROS: u64 = 2_000_000;
/// How often it is looked whether they would be passed on, at first, and after a while.
const LOOK_MICROS: u64 = 5_000;
const LOOK_MICROS_MAX: u64 = 50_000;
/// What asks a program to end.
const ENDS: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];
/// The first of the signals without a name, of which one that waits does not stand for more.
const NAMELESS_MIN: i32 = 32;
/// Most of them that wait.
const HELD_MAX: usize = 64;

/// What is held of one task.
#[derive(Debug, Default)]
pub(super) struct Held {
    numbers: Vec<i32>,
    /// Since when the first one waits, boot clock microseconds.
    since: u64,
    /// When to look again.
    look_at: Option<u64>,
    /// When what makes the container is ended, for somebody asked for that.
    end_at: Option<u64>,
    /// Signals need not wait.
    over: bool,
    /// What ended what made the container.
    ended_by: Option<i32>,
}

impl Held {
    pub(super) fn look_at(&self) -> Option<u64> {
        self.look_at
    }

    /// How the task ended, given how its command did.
    pub(super) fn outcome(&self, command: Outcome) -> Outcome {
        // Podman has 1 of SIGINT and 0 of SIGTERM, Docker what shells say of them.
        let codes = [1, RUNTIME_FAILED, 128 + libc::SIGINT, 128 + libc::SIGTERM];
        let own = match command {
            Outcome::Succeeded => true,
            Outcome::Failed { code } => codes.contains(&code),
            _ => false,
        };
        match self.ended_by.filter(|_| own) {
            Some(signal) => Outcome::Signalled { signal },
            None => command,
        }
    }

    /// Takes one to be sent later.
    fn hold(&mut self, number: i32, now: u64) -> Result<(), String> {
        let nameless = self.numbers.iter().filter(|number| **number >= NAMELESS_MIN).count();
        if number < NAMELESS_MIN && self.numbers.contains(&number) {
            return Ok(());
        }
        if number >= NAMELESS_MIN && nameless >= HELD_MAX {
            return Err(format!(
                "its container is still being made, and {HELD_MAX} such signals wait for it"
            ));
        }
        if self.numbers.is_empty() {
            self.since = now;
            self.look_at = Some(now.saturating_add(LOOK_MICROS));
        }
        if ENDS.contains(&number) {
            self.end_at = self.end_at.or_else(|| Some(now.saturating_add(END_MICROS)));
        }
        self.numbers.push(number);
        Ok(())
    }

    /// Looks whether those that wait are `passed_on` by now: what is to be sent, in order.
    fn look(&mut self, now: u64, passed_on: bool) -> Vec<i32> {
        let ends = self.end_at.is_some_and(|at| at <= now);
        if !passed_on && !ends {
            let pause = (now.saturating_sub(self.since) / 4).clamp(LOOK_MICROS, LOOK_MICROS_MAX);
            self.look_at = Some(now.saturating_add(pause));
            return Vec::new();
        }
        self.over = true;
        self.look_at = None;
        let numbers = std::mem::take(&mut self.numbers);
        if passed_on {
            return numbers;
        }
        self.ended_by = numbers.into_iter().find(|number| ENDS.contains(number));
        // What quits a program of Go's writes pages about it on the job's standard error.
        let sent = self.ended_by.filter(|number| *number != libc::SIGQUIT);
        vec![sent.unwrap_or(libc::SIGTERM)]
    }
}

impl Shim {
    /// Sends the task's command a signal, by and by where its container would not get it yet. What no
    /// program can catch is not passed on, and what continues one follows it.
    pub(super) fn signal(&mut self, number: i32) -> Result<(), String> {
        let task = self.task.as_mut().filter(|task| task.is_running());
        let task = task.ok_or("nothing of it runs")?;
        check(number)?;
        let contained = self.plan.order.work.image.is_some();
        if [libc::SIGKILL, libc::SIGSTOP, libc::SIGCONT].contains(&number) {
            return to_command(task.main, number, false);
        }
        let none_waits = task.held.numbers.is_empty();
        task.held.over |= !contained || none_waits && passes_on(&self.plan, task.main);
        if task.held.over {
            return to_command(task.main, number, contained);
        }
        task.held.hold(number, boot_micros())
    }

    /// Sends those that have waited long enough. One that comes too late concerns nobody.
    pub(super) fn held_on_time(&mut self, now: u64) {
        let Some(task) = self.task.as_mut().filter(|task| task.is_running()) else { return };
        if task.held.look_at.is_some_and(|at| at <= now) {
            for number in task.held.look(now, passes_on(&self.plan, task.main)) {
                let _ = to_command(task.main, number, true);
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
        assert!(held.over && held.look_at().is_none());
        assert_eq!(held.outcome(Outcome::Succeeded), Outcome::Succeeded);
    }

    #[test]
    fn what_asks_for_an_end_is_sent_to_what_makes_the_container_after_a_while() {
        let cases = [(libc::SIGTERM, libc::SIGTERM), (libc::SIGINT, libc::SIGINT)];
        for (asked, sent) in [&cases[..], &[(libc::SIGQUIT, libc::SIGTERM)]].concat() {
            let mut held = Held::default();
            held.hold(libc::SIGUSR1, 100).unwrap();
            held.hold(asked, 50_000_000).unwrap();
            assert!(held.look(49_999_999 + END_MICROS, false).is_empty());
            assert_eq!(held.look_at(), Some(49_999_999 + END_MICROS + LOOK_MICROS_MAX));
            assert_eq!(held.look(50_000_000 + END_MICROS, false), [sent]);
            assert!(held.over && held.look_at().is_none());
            let signalled = Outcome::Signalled { signal: asked };
            for own in [Outcome::Succeeded, Outcome::Failed { code: 1 }] {
                assert_eq!(held.outcome(own), signalled);
            }
            assert_eq!(held.outcome(Outcome::Failed { code: 3 }), Outcome::Failed { code: 3 });
        }
    }

    #[test]
    fn what_asks_for_no_end_waits_for_as_long_as_it_takes() {
        let mut held = Held::default();
        held.hold(libc::SIGWINCH, 1).unwrap();
        assert!(held.look(600_000_000, false).is_empty());
        assert_eq!(held.look(600_050_000, true), [libc::SIGWINCH]);
    }

    #[test]
    fn no_flood_keeps_out_what_asks_for_an_end() {
        let mut held = Held::default();
        for _ in 0..HELD_MAX {
            held.hold(libc::SIGWINCH, 1).unwrap();
            held.hold(40, 1).unwrap();
        }
        assert!(held.hold(41, 1).unwrap_err().contains("still being made"));
        held.hold(libc::SIGINT, 2).unwrap();
        let sent = held.look(3, true);
        assert_eq!((sent.len(), sent.last()), (HELD_MAX + 2, Some(&libc::SIGINT)));
    }
}
