//! The lease's end of the storm: lets processes in, sees them go, clears their slots, kills some of
//! them, and looks whether the account holds.
#![allow(unsafe_code)] // waiting for children that other processes started

use super::process::{PIPE_VARIABLE, Random, Step};
use polder_ledger::attach::{Message, SOCKET_VARIABLE, receive, send};
use polder_ledger::{LimitsWriter, Mapped, Usage, create_usage, gate, memory};
use rustix::event::{EventfdFlags, PollFd, PollFlags, poll};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::net::{
    AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen,
    socket_with, sockopt,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::error::Error;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

/// Processes of the lease at one time.
const PROCESSES: usize = 64;
/// The lease's memory.
const LIMIT: u64 = 1 << 30;
/// One of so many steps is followed by a kill.
const KILL_EVERY: u64 = 400;
/// Connections that wait to be taken.
const BACKLOG: i32 = 256;
/// Bytes of one record.
const RECORD: usize = size_of::<u64>();
/// Longest wait for something to happen before the lease looks whether enough processes are there.
const PAUSE: rustix::event::Timespec = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) steps: u64,
    pub(crate) forks: u64,
    pub(crate) execs: u64,
    pub(crate) kills: u64,
    /// Most bytes seen above the lease's memory.
    pub(crate) beyond: u64,
    /// The most seen held, of the lease's memory.
    pub(crate) highest: f64,
    /// Bytes, claims and slots left when all were gone.
    pub(crate) left: u64,
    pub(crate) cpu_ns_p999: u64,
    pub(crate) cpu_ns_max: u64,
}

struct Holder {
    connection: OwnedFd,
    pidfd: OwnedFd,
    pid: Pid,
    slot: usize,
}

/// The lease.
pub(crate) struct Lease {
    folder: tempfile::TempDir,
    listener: OwnedFd,
    limits: LimitsWriter,
    usage_fd: OwnedFd,
    usage: Mapped<Usage>,
    bell: OwnedFd,
    records: OwnedFd,
    /// The end that processes inherit; closed when the storm is over.
    tells: Option<OwnedFd>,
    holders: Vec<Holder>,
    visitors: Vec<OwnedFd>,
    /// Started, and not yet at the door.
    coming: u64,
    random: Random,
    report: Report,
    lengths: Vec<u32>,
}

impl Lease {
    pub(crate) fn new(seed: u64) -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::Builder::new().prefix("polder-storm-").tempdir()?;
        let listener =
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        bind(&listener, &SocketAddrUnix::new(folder.path().join("driver.sock"))?)?;
        listen(&listener, BACKLOG)?;
        let limits = LimitsWriter::create(1, 1)?;
        limits.device[0].memory_max.store(LIMIT, Ordering::Relaxed);
        limits.devices.store(1, Ordering::Release);
        gate::set(&limits, gate::OPEN);
        let (usage_fd, usage) = create_usage(1)?;
        let (records, tells) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::fcntl_setfd(&tells, rustix::io::FdFlags::empty())?;
        // Who was started by a process that is gone is ours to wait for.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        Ok(Self {
            folder,
            listener,
            limits,
            usage_fd,
            usage,
            bell: rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?,
            records,
            tells: Some(tells),
            holders: Vec::new(),
            visitors: Vec::new(),
            coming: 0,
            random: Random::new(seed),
            report: Report::default(),
            lengths: Vec::new(),
        })
    }

    /// So many steps, then the end of all.
    pub(crate) fn run(mut self, steps: u64) -> Result<Report, Box<dyn Error>> {
        while self.report.steps < steps {
            while self.holders.len() + usize::try_from(self.coming)? < PROCESSES {
                self.start()?;
            }
            self.turn()?;
            self.sample();
        }
        // Whoever writes now ends by itself.
        self.tells = None;
        self.records = rustix::io::fcntl_dupfd_cloexec(&self.bell, 0)?;
        for holder in &self.holders {
            // It may have gone by itself.
            let _ = pidfd_send_signal(&holder.pidfd, Signal::KILL);
        }
        while !self.holders.is_empty() {
            self.look_at_holders(None)?;
        }
        self.finish()
    }

    fn start(&mut self) -> Result<(), Box<dyn Error>> {
        let Some(tells) = &self.tells else { return Ok(()) };
        Command::new("/proc/self/exe")
            .args(["process", &self.random.next().to_string()])
            .env(SOCKET_VARIABLE, self.folder.path().join("driver.sock"))
            .env(PIPE_VARIABLE, tells.as_raw_fd().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        self.coming += 1;
        Ok(())
    }

    /// Waits for something to happen, and takes it in.
    fn turn(&mut self) -> Result<(), Box<dyn Error>> {
        let mut fds = vec![
            PollFd::new(&self.listener, PollFlags::IN),
            PollFd::new(&self.records, PollFlags::IN),
        ];
        fds.extend(self.visitors.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
        let happened = poll(&mut fds, Some(&PAUSE))?;
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        if happened == 0 {
            // A process that was refused, or died on its way, never comes.
            self.coming = 0;
        }
        for at in (0..self.visitors.len()).rev().filter(|at| ready[at + 2]) {
            let visitor = self.visitors.swap_remove(at);
            self.let_in(visitor)?;
        }
        if ready[0] {
            self.visitors.push(accept_with(&self.listener, SocketFlags::CLOEXEC)?);
        }
        if ready[1] {
            self.read_records()?;
        }
        self.look_at_holders(Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 }))
    }

    fn let_in(&mut self, socket: OwnedFd) -> Result<(), Box<dyn Error>> {
        self.coming = self.coming.saturating_sub(1);
        // One that has died on its way says nothing.
        let Ok(Some((Message::Hello { .. }, _))) = receive(&socket, RecvFlags::DONTWAIT) else {
            return Ok(());
        };
        let pid = sockopt::socket_peercred(&socket)?.pid;
        // One that has become another program comes again, with what it had closed.
        if let Some(at) = self.holders.iter().position(|holder| holder.pid == pid) {
            self.retire(at);
        }
        let taken = |slot: &usize| self.holders.iter().any(|holder| holder.slot == *slot);
        let free = (0..PROCESSES).find(|slot| !taken(slot));
        let (Some(slot), Ok(pidfd)) = (free, pidfd_open(pid, PidfdFlags::empty())) else {
            let refused = Message::Refused { why: "the lease is full".into() };
            // It may have gone.
            let _ = send(&socket, &refused, &[]);
            return Ok(());
        };
        let number = u32::try_from(pid.as_raw_nonzero().get())?;
        let generation = self.usage.claim_slot(slot, number);
        let routes = Vec::new();
        let welcome = Message::Welcome { lease: 1, slot: u32::try_from(slot)?, generation, routes };
        let fds = [self.limits.fd(), self.usage_fd.as_fd(), self.bell.as_fd()];
        // One that has gone meanwhile is seen to be gone.
        let _ = send(&socket, &welcome, &fds);
        self.holders.push(Holder { connection: socket, pidfd, pid, slot });
        Ok(())
    }

    /// Clears the slots of those that have died or become another program.
    fn look_at_holders(
        &mut self,
        wait: Option<&rustix::event::Timespec>,
    ) -> Result<(), Box<dyn Error>> {
        let mut fds: Vec<PollFd<'_>> = self
            .holders
            .iter()
            .flat_map(|holder| [&holder.pidfd, &holder.connection])
            .map(|fd| PollFd::new(fd, PollFlags::IN))
            .collect();
        poll(&mut fds, wait)?;
        let gone: Vec<bool> =
            fds.chunks(2).map(|pair| pair.iter().any(|fd| !fd.revents().is_empty())).collect();
        drop(fds);
        for at in (0..self.holders.len()).rev().filter(|at| gone[*at]) {
            self.retire(at);
        }
        // SAFETY: waits for nobody, and takes no address.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
        Ok(())
    }

    fn retire(&mut self, at: usize) {
        let holder = self.holders.swap_remove(at);
        self.usage.retire_slot(holder.slot);
    }

    fn read_records(&mut self) -> Result<(), Box<dyn Error>> {
        // Whole records only: each was written in one piece.
        let mut bytes = [0; 512 * RECORD];
        let got = rustix::io::read(&self.records, &mut bytes)?;
        for record in bytes[..got].chunks_exact(RECORD) {
            let record = u64::from_ne_bytes(record.try_into()?);
            self.report.steps += 1;
            let step = record >> 32;
            if step == Step::Fork as u64 {
                self.report.forks += 1;
            } else if step == Step::Exec as u64 {
                self.report.execs += 1;
            } else {
                self.lengths.push(u32::try_from(record & u64::from(u32::MAX))?);
            }
            if self.random.below(KILL_EVERY) == 0 && !self.holders.is_empty() {
                let at = usize::try_from(self.random.below(self.holders.len() as u64))?;
                // It may have gone by itself.
                let _ = pidfd_send_signal(&self.holders[at].pidfd, Signal::KILL);
                self.report.kills += 1;
            }
        }
        Ok(())
    }

    /// All that is held, if it stood still while it was added up: a sum over moving bytes is the sum
    /// of no moment.
    fn sample(&mut self) {
        let read = || -> Vec<u64> {
            let slots = self.usage.slots().iter();
            slots.map(|slot| slot.device[0].held.load(Ordering::SeqCst)).collect()
        };
        let (first, second) = (read(), read());
        if first == second {
            let sum: u64 = first.iter().sum();
            self.report.beyond = self.report.beyond.max(sum.saturating_sub(LIMIT));
            #[allow(clippy::cast_precision_loss)] // a ratio
            let ratio = sum as f64 / LIMIT as f64;
            self.report.highest = self.report.highest.max(ratio);
        }
    }

    fn finish(mut self) -> Result<Report, Box<dyn Error>> {
        let slots = self.usage.slots().iter();
        let left = slots.map(|slot| {
            let device = &slot.device[0];
            let counted = device.held.load(Ordering::SeqCst) + device.claim.load(Ordering::SeqCst);
            counted
                + u64::from(slot.pid.load(Ordering::SeqCst))
                + u64::from(slot.inflight.load(Ordering::SeqCst))
        });
        self.report.left = left.sum();
        // Nothing stands in the way of the next.
        self.usage.claim_slot(0, std::process::id());
        memory::reserve(&self.usage, 0, 0, LIMIT, || LIMIT, || ())?;
        self.lengths.sort_unstable();
        let at = self.lengths.len() * 999 / 1000;
        let length = |at: usize| self.lengths.get(at).copied().map_or(0, u64::from);
        self.report.cpu_ns_p999 = length(at);
        self.report.cpu_ns_max = length(self.lengths.len().saturating_sub(1));
        if self.report.beyond > 0 || self.report.left > 0 {
            return Err(format!("the account does not hold: {:?}", self.report).into());
        }
        Ok(self.report)
    }
}
