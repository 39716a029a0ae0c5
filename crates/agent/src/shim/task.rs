//! The task's life: started, watched, ended with all that it left behind.

use super::held::Held;
use super::logs::{LogPump, Stream};
use super::poller::Token;
use super::prepare::wants_client;
use super::protocol::ShimPhase;
use super::server::Shim;
use super::signals::{Reaped, reap};
use super::status::boot_micros;
use crate::arbiter::Before;
use crate::inherited::Inherited;
use crate::runner::{
    Launch, TaskStdio, WORDS_BYTES_MAX, descendants, environment, kill_descendants, launch,
    output_pipe, signal_all,
};
use crate::sample::within;
use polder_ledger::{busy, monotonic_ns};
use polder_model::{Bytes, DeviceSample, LeaseEnd, LeaseSample, Micros, Outcome, Slice};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

/// Longest that processes which the main one left behind get between SIGTERM and SIGKILL.
const LEFTOVER_GRACE: Micros = Micros::from_secs(2);
/// How soon those that have not died of SIGKILL are looked for again.
const KILL_AGAIN_MICROS: u64 = 100_000;

/// A task that was forked.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) main: Pid,
    /// Open until its program runs or cannot.
    words: Option<OwnedFd>,
    said: Vec<u8>,
    /// When its program ran, boot clock microseconds.
    since: Option<u64>,
    /// How its main process ended, and after how long.
    exit: Option<(Outcome, Micros)>,
    /// Signals that it cannot get yet.
    pub(super) held: Held,
}

impl Task {
    pub(super) fn is_running(&self) -> bool {
        self.words.is_none() && self.exit.is_none()
    }
}

/// An end that has begun.
#[derive(Debug)]
pub(super) struct Ending {
    /// How the lease will have ended; by the main process's own exit when absent.
    outcome: Option<Outcome>,
    /// When SIGKILL follows, boot clock microseconds.
    kill_at: u64,
}

impl Shim {
    pub(super) fn is_starting(&self) -> bool {
        self.task.as_ref().is_some_and(|task| task.words.is_some() && task.exit.is_none())
    }

    /// Forks the task. What was started, or has ended, stays as it is.
    pub(super) fn start(
        &mut self,
        master: Option<&str>,
        terminal: bool,
        fds: Vec<OwnedFd>,
        inherited: Inherited,
    ) -> Result<(), String> {
        if self.task.is_some() || self.has_ended() {
            return Ok(());
        }
        let account = self.ground.account.clone().ok_or("the lease has no user")?;
        let stdio = self.stdio(terminal, fds)?;
        let own_port = self.ground.port.as_ref().map(|(_, port)| *port);
        let forked = launch(Launch {
            plan: &self.plan,
            dir: &self.dir,
            account: &account,
            namespace: self.ground.namespace,
            cgroup: &self.ground.cgroup,
            environment: environment(&self.plan, &self.dir, master, own_port),
            stdio,
            inherited,
            open_files: self.ground.open_files,
        });
        // The gang's meeting place is free for it from now on.
        self.ground.port = None;
        let forked = match forked {
            Ok(forked) => forked,
            Err(error) => {
                self.finish(Outcome::NotStarted { why: format!("forking: {error}") }, Micros(0));
                return Ok(());
            }
        };
        // Without its words the start would never be known; adding to epoll fails for want of
        // memory only.
        let watched = self.poller.add(&forked.words, Token::Words);
        let words = Some(forked.words);
        self.task = Some(Task {
            main: forked.pid,
            words,
            said: Vec::new(),
            since: None,
            exit: None,
            held: Held::default(),
        });
        if let Err(error) = watched {
            self.stop(Outcome::NotStarted { why: format!("watching it: {error}") }, Micros(0));
        }
        Ok(())
    }

    /// The task's descriptors: a client's own, or an empty input and two logs.
    fn stdio(&mut self, terminal: bool, fds: Vec<OwnedFd>) -> Result<TaskStdio, String> {
        if wants_client(&self.plan) {
            let fds = <[OwnedFd; 3]>::try_from(fds)
                .map_err(|fds| format!("{} descriptors came: send three", fds.len()))?;
            return Ok(TaskStdio { fds, terminal });
        }
        if !fds.is_empty() {
            return Err("this task writes to its logs: send no descriptors".to_owned());
        }
        let made = || -> io::Result<_> {
            let null = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
            let input = rustix::fs::open("/dev/null", null, Mode::empty())?;
            Ok((input, output_pipe()?, output_pipe()?))
        };
        let (input, output, error) =
            made().map_err(|error| format!("opening its input and output: {error}"))?;
        for (which, (stream, pipe)) in
            [(Stream::Output, output.0), (Stream::Error, error.0)].into_iter().enumerate()
        {
            let number = u32::try_from(which).expect("two streams");
            self.poller
                .add(&pipe, Token::Log(number))
                .map_err(|error| format!("watching its output: {error}"))?;
            self.logs[which] = Some(LogPump::new(&self.dir, stream, pipe));
        }
        Ok(TaskStdio { fds: [input, output.1, error.1], terminal: false })
    }

    /// The child said something, or its pipe closed: its program runs, or it cannot.
    pub(super) fn hear_words(&mut self) {
        let Some(task) = &mut self.task else { return };
        let Some(words) = &task.words else { return };
        let mut chunk = [0; 512];
        match rustix::io::read(words, &mut chunk) {
            Ok(0) | Err(_) => {}
            Ok(read) => {
                let room = WORDS_BYTES_MAX.saturating_sub(task.said.len());
                task.said.extend(&chunk[..read.min(room)]);
                return;
            }
        }
        self.poller.remove(words);
        task.words = None;
        if !task.said.is_empty() {
            // It exits by itself, and then the lease ends with these words.
            return;
        }
        let now = boot_micros();
        task.since = Some(now);
        let pid = task.main.as_raw_nonzero().get().unsigned_abs();
        if self.ending.is_none() {
            self.state.phase = ShimPhase::Started { pid, boot_micros: now };
            self.save();
        }
        self.tell_starters();
    }

    fn tell_starters(&mut self) {
        for peer in std::mem::take(&mut self.starting) {
            self.tell(peer);
        }
    }

    pub(super) fn pump_log(&mut self, which: u32) {
        let Some(slot) = self.logs.get_mut(which as usize) else { return };
        let Some(log) = slot else { return };
        let lost = log.lost;
        let open = log.pump();
        self.state.log_bytes_lost += log.lost - lost;
        self.changed |= log.lost > lost;
        if !open {
            self.poller.remove(log.pipe());
            self.losses.extend(slot.take().and_then(LogPump::untold));
        }
    }

    /// Begins to end the lease as `outcome`.
    pub(super) fn stop(&mut self, outcome: Outcome, grace: Micros) {
        if self.has_ended() {
            return;
        }
        if self.task.is_none() {
            return self.finish(outcome, Micros(0));
        }
        // A child that is not a program yet has nothing to save.
        let grace = if self.is_starting() { Micros(0) } else { grace };
        self.begin_ending(Some(outcome), grace);
    }

    fn begin_ending(&mut self, outcome: Option<Outcome>, grace: Micros) {
        let Some(task) = &self.task else { return };
        let kill_at = boot_micros().saturating_add(grace.0);
        // After its own exit, that is how it ended.
        let outcome = outcome.filter(|_| task.exit.is_none());
        if let Some(ending) = &mut self.ending {
            ending.kill_at = ending.kill_at.min(kill_at);
            ending.outcome = ending.outcome.take().or(outcome);
            return;
        }
        self.ending = Some(Ending { outcome, kill_at });
        let pid = task.main.as_raw_nonzero().get().unsigned_abs();
        let boot_micros = task.since.unwrap_or_else(boot_micros);
        self.state.phase = ShimPhase::Stopping { pid, boot_micros };
        self.save();
        let all = self.everyone();
        signal_all(&all, Signal::TERM);
        // One that is stopped could not hear it.
        signal_all(&all, Signal::CONT);
    }

    /// Every process of the lease: whatever descends from the shim, or is in its cgroup.
    fn everyone(&self) -> Vec<u32> {
        let mut all = descendants(std::process::id());
        all.extend(self.ground.cgroup.processes());
        all.sort_unstable();
        all.dedup();
        all
    }

    pub(super) fn task_deadline(&self) -> Option<u64> {
        if self.has_ended() {
            return None;
        }
        match &self.ending {
            Some(ending) => Some(ending.kill_at),
            None => self.wall_deadline(),
        }
    }

    fn wall_deadline(&self) -> Option<u64> {
        let since = self.task.as_ref()?.since?;
        Some(since.saturating_add(self.plan.order.time_limit?.0))
    }

    pub(super) fn task_on_time(&mut self, now: u64) {
        if self.has_ended() {
            return;
        }
        if let Some(ending) = &mut self.ending {
            if ending.kill_at <= now {
                ending.kill_at = now + KILL_AGAIN_MICROS;
                self.ground.cgroup.kill();
                kill_descendants(std::process::id());
                self.reap_children();
            }
        } else if self.wall_deadline().is_some_and(|at| at <= now) {
            self.stop(Outcome::TimedOut, self.plan.order.grace);
        }
    }

    /// Takes the ends of all children that have ended, the task's and those left to us.
    pub(super) fn reap_children(&mut self) {
        loop {
            match reap() {
                Reaped::Child(pid, status) => self.note_exit(pid, status),
                Reaped::Later => break self.end_leftovers(),
                Reaped::Nobody => break self.end_of_everyone(),
            }
        }
    }

    fn note_exit(&mut self, pid: i32, status: i32) {
        let now = boot_micros();
        let is_main = |task: &Task| task.main.as_raw_nonzero().get() == pid;
        if !self.task.as_ref().is_some_and(is_main) {
            return;
        }
        // What it said last may still be in the pipe; closed by its death, this cannot wait.
        while self.task.as_ref().is_some_and(|task| task.words.is_some()) {
            self.hear_words();
        }
        let Some(task) = &mut self.task else { return };
        let ran = task.since.map_or(0, |since| now.saturating_sub(since));
        let outcome = if task.said.is_empty() {
            task.held.outcome(outcome_of(status))
        } else {
            Outcome::NotStarted { why: String::from_utf8_lossy(&task.said).into_owned() }
        };
        task.exit = Some((outcome, Micros(ran)));
    }

    fn end_leftovers(&mut self) {
        let over = self.task.as_ref().is_some_and(|task| task.exit.is_some());
        if over && !self.has_ended() {
            self.begin_ending(None, self.plan.order.grace.min(LEFTOVER_GRACE));
        }
    }

    /// No child is left. Unless the cgroup knows better, the lease is over.
    fn end_of_everyone(&mut self) {
        if self.has_ended() {
            return;
        }
        let Some(task) = &self.task else { return };
        let Some((exit, ran)) = task.exit.clone() else { return };
        if !self.ground.cgroup.processes().is_empty() {
            return self.end_leftovers();
        }
        let outcome = self.ending.as_ref().and_then(|ending| ending.outcome.clone());
        self.finish(outcome.unwrap_or(exit), ran);
    }

    /// The lease is over: nothing of it lives.
    fn finish(&mut self, outcome: Outcome, ran: Micros) {
        for log in self.logs.iter_mut().filter_map(Option::take) {
            let mut log = log;
            let lost = log.lost;
            log.finish();
            self.state.log_bytes_lost += log.lost - lost;
            self.poller.remove(log.pipe());
            self.losses.extend(log.untold());
        }
        let kills = self.ground.cgroup.out_of_memory_kills();
        if kills > 0 {
            self.state.notes.push(format!(
                "the kernel ended {kills} of its processes for passing the lease's host memory: \
                 ask for more"
            ));
        }
        self.door.close(&self.poller);
        self.ground.cgroup.remove();
        self.ground.port = None;
        self.state.cgroups.clear();
        self.state.attached.clear();
        let since = self.task.as_ref().and_then(|task| task.since);
        let lived = since.map_or(0, |since| boot_micros().saturating_sub(since));
        let sample = within(self.last_sample(), Micros(lived));
        let sample = LeaseSample { memory_kills: kills, ..sample };
        let end = LeaseEnd { outcome, ran, sample };
        self.state.phase = ShimPhase::Ended { end };
        self.save();
        self.tell_starters();
    }

    /// What the pages say at the end. An agent that was there all the time knows the same; of one that was
    /// not, what the processes have counted since it last looked is added.
    fn last_sample(&self) -> LeaseSample {
        let usage = &self.door.usage;
        let limits = self.door.limits().and_then(|fd| polder_ledger::map_limits(fd).ok());
        let charged = limits.as_deref().map(Before::of).unwrap_or_default();
        // The page of a lease that was resized says what it has now.
        let most = |index: usize, slice: &Slice| {
            let now = limits.as_deref().filter(|limits| index < limits.device_count());
            slice.memory.0.max(now.map_or(0, |limits| limits.memory(index)))
        };
        let owed_ns = charged.owed_ns(monotonic_ns(), busy::total(usage));
        let [_, launches, waited, refused] =
            [0, 1, 2, 3].map(|i| usage.retired[i].load(Ordering::Relaxed));
        let device = |(index, slice): (usize, &Slice)| {
            let charged = charged.devices.get(index).copied();
            let device_ns = charged.map_or(0, |it| it.charged_ns.saturating_add(owed_ns));
            DeviceSample {
                device: slice.device.clone(),
                device_time: Micros(device_ns / 1000),
                contended_time: Micros(charged.map_or(0, |it| it.contended_ns) / 1000),
                memory: Bytes(0),
                memory_peak: Bytes(
                    usage
                        .peak
                        .get(index)
                        .map_or(0, |peak| peak.load(Ordering::Relaxed).min(most(index, slice))),
                ),
                // The page counts them for all devices together.
                refused: if index == 0 { refused } else { 0 },
                backing: Bytes(0),
                throttle: Vec::new(),
                owed: Micros(0),
            }
        };
        LeaseSample {
            devices: self.plan.order.lease.slices.iter().enumerate().map(device).collect(),
            launches,
            waited: Micros(waited / 1000),
            ..LeaseSample::default()
        }
    }
}

/// What a wait status means.
fn outcome_of(status: i32) -> Outcome {
    if libc::WIFSIGNALED(status) {
        return Outcome::Signalled { signal: libc::WTERMSIG(status) };
    }
    match libc::WEXITSTATUS(status) {
        0 => Outcome::Succeeded,
        code => Outcome::Failed { code },
    }
}
