//! The shim at work: one thread, one loop, no waiting but for events.

use super::control::{Asked, Control, Rights};
use super::door::{Door, LOOK_AGAIN_MICROS, LOOK_AGAIN_MICROS_MAX};
use super::logs::{LogPump, Loss};
use super::poller::{Poller, Token};
use super::protocol::{
    CONTROL_SOCKET, DRIVER_SOCKET, PLAN_FILE, Plan, Reply, Request, ShimPhase, ShimState,
};
use super::signals::Signals;
use super::status::{boot_micros, write_status};
use super::task::{Ending, Task};
use super::timer::Timer;
use crate::inherited::{Inherited, check_numbers};
use crate::runner::{Account, Cgroup, Namespace};
use rustix::process::Rlimit;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// How long a shim whose lease has ended waits for an agent. The end is in the status file.
const LINGER_MICROS: u64 = 10_000_000;
/// How often a shim without an agent looks whether its folder is still there.
const FOLDER_CHECK_MICROS: u64 = 30_000_000;
/// How soon an end that the disk refused is written again.
const SAVE_AGAIN_MICROS: u64 = 1_000_000;
/// How long an agent that is connected has to journal the end before it is forced to the disk here:
/// an end that is forgotten by then costs no flush.
const SYNC_MICROS: u64 = 250_000;

/// What was prepared for the task.
#[derive(Debug)]
pub(super) struct Ground {
    /// Absent when the lease has ended already, because its user is not known.
    pub(super) account: Option<Account>,
    pub(super) namespace: Option<Namespace>,
    pub(super) cgroup: Cgroup,
    /// On rank 0: the port the gang meets on.
    pub(super) port: Option<(OwnedFd, u16)>,
    /// The limit on open files that the task gets.
    pub(super) open_files: Rlimit,
    pub(super) _lock: OwnedFd,
}

/// One shim.
#[derive(Debug)]
pub(super) struct Shim {
    pub(super) dir: PathBuf,
    pub(super) plan: Plan,
    pub(super) state: ShimState,
    pub(super) ground: Ground,
    pub(super) poller: Poller,
    timer: Timer,
    signals: Signals,
    pub(super) control: Control,
    pub(super) door: Door,
    pub(super) task: Option<Task>,
    pub(super) ending: Option<Ending>,
    pub(super) logs: [Option<LogPump>; 2],
    /// Peers that wait for the task to have started.
    pub(super) starting: Vec<u32>,
    /// What a peer has lent the task that it is about to start.
    lent: Option<(u32, Inherited)>,
    /// The peer that has stopped the task.
    stopped_by: Option<u32>,
    /// Streams that are over and of which the folder does not tell yet how much was lost.
    pub(super) losses: Vec<Loss>,
    /// The state is newer than what was pushed.
    pub(super) changed: bool,
    /// When to look at processes that closed their connection.
    look_at: Option<u64>,
    look_pause: u64,
    /// When to write the state again, because the disk refused it or has not been made to take it.
    save_at: Option<u64>,
    /// Since when no agent is connected.
    alone_since: Option<u64>,
    quit: bool,
}

impl Shim {
    pub(super) fn new(
        dir: PathBuf,
        plan: Plan,
        state: ShimState,
        ground: Ground,
        (poller, timer, signals): (Poller, Timer, Signals),
        control: Control,
        door: Door,
    ) -> Self {
        Self {
            dir,
            plan,
            state,
            ground,
            poller,
            timer,
            signals,
            control,
            door,
            task: None,
            ending: None,
            logs: [None, None],
            starting: Vec::new(),
            lent: None,
            stopped_by: None,
            losses: Vec::new(),
            changed: false,
            look_at: None,
            look_pause: LOOK_AGAIN_MICROS,
            save_at: None,
            alone_since: None,
            quit: false,
        }
    }

    /// Works until the end is forgotten, or known and nobody asks for it.
    ///
    /// # Errors
    /// Only what makes going on impossible: waiting for events fails.
    pub(super) fn serve(&mut self) -> io::Result<()> {
        while !self.quit {
            let deadline = self.next_deadline();
            self.timer.set(deadline)?;
            for token in self.poller.wait()? {
                self.handle(token);
            }
            if std::mem::take(&mut self.changed) {
                self.state.attached = self.door.attached();
                self.control.push(&self.state, &self.poller);
            }
        }
        self.abandon();
        Ok(())
    }

    /// Leaves nothing behind but the folder's files.
    pub(super) fn abandon(&mut self) {
        self.ground.cgroup.remove();
        for socket in [CONTROL_SOCKET, DRIVER_SOCKET] {
            // The folder may be gone, with the agent's blessing.
            let _ = std::fs::remove_file(self.dir.join(socket));
        }
    }

    fn handle(&mut self, token: Token) {
        match token {
            Token::Signals => {
                let came = self.signals.take();
                if came.child {
                    self.reap_children();
                }
                if came.end && self.has_ended() {
                    self.write(true);
                    self.quit = true;
                }
            }
            Token::Timer => {
                self.timer.fired();
                self.on_time(boot_micros());
            }
            Token::Control => self.control.accept(&self.poller),
            Token::Peer(number) => {
                self.control.catch_up(number, &self.state, &self.poller);
                if let Some(asked) = self.control.receive(number, &self.poller) {
                    self.answer(asked);
                }
                // What a peer has lent goes with it.
                let control = &self.control;
                self.lent.take_if(|(lender, _)| !control.has(*lender));
                // Nobody is left who would continue what it has stopped.
                if self.stopped_by.take_if(|by| !control.has(*by)).is_some() {
                    // It may be over.
                    let _ = self.signal(libc::SIGCONT);
                }
            }
            Token::Door => self.door.accept(&self.poller),
            Token::Visitor(number) => {
                self.changed |= self.door.visitor_ready(number, &self.poller);
                if self.door.must_look_again() {
                    self.look_pause = LOOK_AGAIN_MICROS;
                    let soon = boot_micros() + self.look_pause;
                    self.look_at = Some(self.look_at.map_or(soon, |at| at.min(soon)));
                }
            }
            Token::Holder(number) => {
                self.changed |= self.door.holder_died(number, &self.poller);
            }
            Token::Words => self.hear_words(),
            Token::Log(which) => self.pump_log(which),
        }
    }

    fn answer(&mut self, asked: Asked) {
        let Asked { peer, rights, request, fds } = asked;
        let done = match request {
            Request::Hello { .. } => return self.greet(peer, rights),
            Request::Watch => {
                self.control.watch(peer);
                Ok(())
            }
            Request::Limits { epoch } => self.take_limits(epoch, fds),
            Request::Lend { ignored, numbers } => self.take_lent(peer, ignored, numbers, fds),
            Request::Start { master, terminal } => {
                let lent = self.lent.take().filter(|(lender, _)| *lender == peer);
                let inherited = lent.map(|(_, inherited)| inherited).unwrap_or_default();
                match self.start(master.as_deref(), terminal, fds, inherited) {
                    // Answered when its program runs, or cannot.
                    Ok(()) if self.is_starting() => return self.starting.push(peer),
                    other => other,
                }
            }
            Request::Stop { grace, outcome } => {
                self.stop(outcome, grace);
                Ok(())
            }
            Request::Signal { number } => self.signal(number).inspect(|()| match number {
                libc::SIGSTOP => self.stopped_by = Some(peer),
                libc::SIGCONT => self.stopped_by = None,
                _ => {}
            }),
            Request::Forget if !self.has_ended() => Err("it has not ended: stop it first".into()),
            Request::Forget => {
                self.losses.retain_mut(|loss| !loss.tell());
                self.quit = true;
                Ok(())
            }
        };
        match done {
            Ok(()) => self.tell(peer),
            Err(why) => {
                self.control.reply(peer, &Reply::Refused { why }, &[], &self.poller);
            }
        }
    }

    /// Answers with the state.
    pub(super) fn tell(&mut self, peer: u32) {
        self.state.attached = self.door.attached();
        let reply = Reply::State { state: Box::new(self.state.clone()) };
        self.control.reply(peer, &reply, &[], &self.poller);
    }

    fn greet(&mut self, peer: u32, rights: Rights) {
        self.state.attached = self.door.attached();
        let reply = Reply::State { state: Box::new(self.state.clone()) };
        let fds = self.door.agent_fds();
        let fds = if rights == Rights::Agent { &fds[..] } else { &[] };
        self.control.reply(peer, &reply, fds, &self.poller);
    }

    fn take_limits(&mut self, epoch: u64, fds: Vec<OwnedFd>) -> Result<(), String> {
        let [page] = <[OwnedFd; 1]>::try_from(fds)
            .map_err(|fds| format!("{} descriptors came: send the one page", fds.len()))?;
        let mapped = polder_ledger::map_limits(&page).map_err(|error| error.to_string())?;
        if mapped.lease() != self.state.lease.0 {
            return Err(format!("that page is of lease L{}", mapped.lease()));
        }
        if self.state.limits_epoch.is_some_and(|last| epoch <= last) {
            return Err(format!("epoch {epoch} is not above the last one"));
        }
        self.door.set_limits(page, &self.poller);
        self.state.limits_epoch = Some(epoch);
        self.changed = true;
        Ok(())
    }

    fn take_lent(
        &mut self,
        peer: u32,
        ignored: u64,
        numbers: Vec<i32>,
        fds: Vec<OwnedFd>,
    ) -> Result<(), String> {
        if numbers.len() != fds.len() {
            return Err(format!("{} descriptors came with {} numbers", fds.len(), numbers.len()));
        }
        let before = self.lent.take().filter(|(lender, _)| *lender == peer);
        let mut inherited = before.map(|(_, inherited)| inherited).unwrap_or_default();
        inherited.ignored |= ignored;
        inherited.descriptors.extend(numbers.into_iter().zip(fds));
        check_numbers(&inherited.numbers())?;
        self.lent = Some((peer, inherited));
        Ok(())
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state.phase, ShimPhase::Ended { .. })
    }

    /// Writes the state, which then outlives this process. An end must outlive a power cut too, at
    /// the latest when nobody is there to journal it.
    pub(super) fn save(&mut self) {
        self.changed = true;
        self.write(self.has_ended() && !self.control.has_agent());
    }

    fn write(&mut self, durable: bool) {
        self.losses.retain_mut(|loss| !loss.tell());
        let pause = match write_status(&self.dir, &self.state, durable) {
            Ok(()) if !self.losses.is_empty() => Some(SAVE_AGAIN_MICROS),
            Ok(()) if durable || !self.has_ended() => None,
            Ok(()) => Some(SYNC_MICROS),
            Err(_) => Some(SAVE_AGAIN_MICROS),
        };
        self.save_at = pause.map(|pause| boot_micros() + pause);
    }

    fn next_deadline(&mut self) -> Option<u64> {
        self.alone_since = match self.control.has_agent() {
            true => None,
            false => self.alone_since.or_else(|| Some(boot_micros())),
        };
        let patience = if self.has_ended() { LINGER_MICROS } else { FOLDER_CHECK_MICROS };
        let mut alone = self.alone_since.map(|since| since + patience);
        if self.has_ended() {
            // An end that the disk refuses is kept for longer: until it is tried again.
            alone = alone.max(self.save_at.filter(|_| alone.is_some()));
        }
        let running = self.task.as_ref().filter(|task| task.is_running());
        let held = running.and_then(|task| task.held.look_at());
        [self.look_at, self.save_at, self.task_deadline(), held, alone].into_iter().flatten().min()
    }

    fn on_time(&mut self, now: u64) {
        let due = |at: Option<u64>| at.is_some_and(|at| at <= now);
        if due(self.look_at) {
            self.changed |= self.door.look_again(&self.poller);
            self.look_pause = (self.look_pause * 2).min(LOOK_AGAIN_MICROS_MAX);
            self.look_at = self.door.must_look_again().then(|| now + self.look_pause);
        }
        if due(self.save_at) {
            self.write(self.has_ended());
        }
        self.held_on_time(now);
        self.task_on_time(now);
        self.on_alone(now);
    }

    /// Nobody is connected: a shim that has nothing to guard does not stay for ever.
    fn on_alone(&mut self, now: u64) {
        let alone = now.saturating_sub(self.alone_since.unwrap_or(now));
        if self.has_ended() {
            // An end that is not on the disk is kept here, unless there is no folder to keep it for.
            let kept = self.save_at.is_none() || !self.dir.exists();
            self.quit |= alone >= LINGER_MICROS && kept;
        } else if alone >= FOLDER_CHECK_MICROS {
            // Without its folder no agent can find it again, and nothing was started yet.
            let waiting = matches!(self.state.phase, ShimPhase::Prepared { .. });
            self.quit |= waiting && self.task.is_none() && !self.dir.join(PLAN_FILE).exists();
            self.alone_since = Some(now);
        }
    }
}
