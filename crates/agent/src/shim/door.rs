//! The lease's door: its processes come in, get a slot and descriptors, and leave by dying or by
//! becoming another program.
//!
//! Who may come in is decided by descent from this shim or, for containers that are somebody else's
//! children, by the lease's cgroup: both are the kernel's to say. A slot is cleared within a turn of
//! the loop after the kernel reported its process's exit.
//!
//! Accepted sockets do not block, so no packet to a process that takes none is ever waited for.

use super::peer::{self, Refused};
use super::poller::{Poller, Token};
use super::protocol::Attached;
use crate::runner::{descends, is_inside, maps_usage};
use polder_ledger::attach::{self, Message, Route};
use polder_ledger::{LAYOUT, Mapped, SLOTS_MAX, Usage};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::RecvFlags;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Most connections without a slot: every process of a full lease may be waiting for its limits.
const VISITORS_MAX: usize = SLOTS_MAX;
/// How soon a process that closed its connection, and still maps the page, is looked at again; the
/// pause doubles up to the longest.
pub(super) const LOOK_AGAIN_MICROS: u64 = 100_000;
/// The longest such pause.
pub(super) const LOOK_AGAIN_MICROS_MAX: u64 = 5_000_000;

/// Somebody who has connected and has no slot yet.
#[derive(Debug)]
struct Visitor {
    socket: OwnedFd,
    pidfd: OwnedFd,
    pid: u32,
    /// It said hello and waits for the limits page.
    greeted: bool,
}

/// A process with a slot.
#[derive(Debug)]
struct Holder {
    /// Absent when it closed its connection and yet maps the page.
    socket: Option<OwnedFd>,
    pidfd: OwnedFd,
    pid: u32,
    slot: usize,
    generation: u32,
}

/// The socket, the pages and who holds them.
#[derive(Debug)]
pub(super) struct Door {
    listener: OwnedFd,
    lease: u64,
    /// The cgroup whose processes are the lease's too, whoever they descend from.
    cgroup: Option<String>,
    routes: Vec<Route>,
    pub(super) usage: Mapped<Usage>,
    usage_fd: OwnedFd,
    doorbell: OwnedFd,
    limits: Option<OwnedFd>,
    visitors: BTreeMap<u32, Visitor>,
    holders: BTreeMap<u32, Holder>,
    /// Slots in use. Never read from the page, which the tenant writes.
    slots: BTreeSet<usize>,
    refused: Refused,
    next: u32,
}

impl Door {
    pub(super) fn new(
        listener: OwnedFd,
        lease: u64,
        routes: Vec<Route>,
        poller: &Poller,
    ) -> io::Result<Self> {
        let (usage_fd, usage) = polder_ledger::create_usage(lease).map_err(io::Error::other)?;
        let flags = rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK;
        let doorbell = rustix::event::eventfd(0, flags)?;
        poller.add(&listener, Token::Door)?;
        Ok(Self {
            listener,
            lease,
            cgroup: None,
            routes,
            usage,
            usage_fd,
            doorbell,
            limits: None,
            visitors: BTreeMap::new(),
            holders: BTreeMap::new(),
            slots: BTreeSet::new(),
            refused: Refused::default(),
            next: 0,
        })
    }

    /// Lets in whoever is in the cgroup at `place`.
    pub(super) fn let_in_from(&mut self, place: Option<&str>) {
        self.cgroup = place.map(str::to_owned);
    }

    /// The usage page and the doorbell, for the agent.
    pub(super) fn agent_fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.usage_fd.as_fd(), self.doorbell.as_fd()]
    }

    /// The limits page, when the agent has sent one.
    pub(super) fn limits(&self) -> Option<&OwnedFd> {
        self.limits.as_ref()
    }

    /// Who holds a slot.
    pub(super) fn attached(&self) -> Vec<Attached> {
        let slot = |holder: &Holder| Attached {
            slot: u32::try_from(holder.slot).expect("a slot is below SLOTS_MAX"),
            generation: holder.generation,
            pid: holder.pid,
        };
        self.holders.values().map(slot).collect()
    }

    /// A new limits page: for everyone inside, and for those who wait.
    pub(super) fn set_limits(&mut self, page: OwnedFd, poller: &Poller) {
        for socket in self.holders.values().filter_map(|holder| holder.socket.as_ref()) {
            // One that takes no packets goes on with the old page, to its own harm.
            let _ = attach::send(socket, &Message::NewLimits, &[page.as_fd()]);
        }
        self.limits = Some(page);
        let waiting = self.visitors.iter().filter(|(_, visitor)| visitor.greeted);
        for number in waiting.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.let_in(number, poller);
        }
    }

    /// Takes one new connection.
    pub(super) fn accept(&mut self, poller: &Poller) {
        let Some(socket) = peer::accept(&self.listener) else { return };
        let full = "too many processes of this lease connect at one time";
        let (pid, pidfd) = match who(&socket, self.cgroup.as_deref()) {
            Ok(_) if self.visitors.len() >= VISITORS_MAX => return self.refuse(socket, full),
            Ok(who) => who,
            Err(why) => return self.refuse(socket, &why),
        };
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        if poller.add(&socket, Token::Visitor(number)).is_ok() {
            self.visitors.insert(number, Visitor { socket, pidfd, pid, greeted: false });
        }
    }

    /// A connection has a packet or was closed. True when a slot was given or cleared.
    pub(super) fn visitor_ready(&mut self, number: u32, poller: &Poller) -> bool {
        if self.holders.contains_key(&number) {
            return self.holder_spoke(number, poller);
        }
        let Some(visitor) = self.visitors.get_mut(&number) else { return false };
        match attach::receive(&visitor.socket, RecvFlags::DONTWAIT) {
            Ok(Some((Message::Hello { layout: LAYOUT }, _))) if !visitor.greeted => {
                visitor.greeted = true;
                self.limits.is_some() && self.let_in(number, poller)
            }
            Ok(Some((Message::Hello { layout }, _))) if layout != LAYOUT => {
                let why = format!(
                    "this program's driver speaks layout {layout}, the shim {LAYOUT}: restart the \
                     task"
                );
                self.turn_away(number, &why, poller);
                false
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Ok(Some(_)) | Err(_) => {
                self.turn_away(number, "that is not a packet to begin with", poller);
                false
            }
            Ok(None) => {
                self.forget_visitor(number, poller);
                false
            }
        }
    }

    fn let_in(&mut self, number: u32, poller: &Poller) -> bool {
        let Some(visitor) = self.visitors.get(&number) else { return false };
        self.retire_forerunner(visitor.pid, poller);
        let free = (0..SLOTS_MAX).find(|slot| !self.slots.contains(slot));
        let (Some(slot), Some(limits)) = (free, &self.limits) else {
            let why = format!("{SLOTS_MAX} processes of this lease use its devices already");
            self.turn_away(number, &why, poller);
            return false;
        };
        let visitor = self.visitors.remove(&number).expect("it was found above");
        let generation = self.usage.claim_slot(slot, visitor.pid);
        let welcome = Message::Welcome {
            lease: self.lease,
            slot: u32::try_from(slot).expect("a slot is below SLOTS_MAX"),
            generation,
            routes: self.routes.clone(),
        };
        let fds = [limits.as_fd(), self.usage_fd.as_fd(), self.doorbell.as_fd()];
        let sent = attach::send(&visitor.socket, &welcome, &fds);
        let watched = poller.add(&visitor.pidfd, Token::Holder(number));
        let Visitor { socket, pidfd, pid, .. } = visitor;
        self.slots.insert(slot);
        self.holders.insert(number, Holder { socket: Some(socket), pidfd, pid, slot, generation });
        if sent.is_err() || watched.is_err() {
            self.retire(number, poller);
            return false;
        }
        true
    }

    /// A process that comes again, and no longer maps the page, has become another program while
    /// a child of its former self keeps the connection open.
    fn retire_forerunner(&mut self, pid: u32, poller: &Poller) {
        let same = self.holders.iter().filter(|(_, holder)| holder.pid == pid);
        let same: Vec<u32> = same.map(|(number, _)| *number).collect();
        if !same.is_empty() && !maps_usage(pid) {
            same.into_iter().for_each(|number| self.retire(number, poller));
        }
    }

    /// A holder closed its connection, or spoke out of turn and loses it.
    fn holder_spoke(&mut self, number: u32, poller: &Poller) -> bool {
        let Some(holder) = self.holders.get_mut(&number) else { return false };
        let Some(socket) = &holder.socket else { return false };
        if let Err(error) = attach::receive(socket, RecvFlags::DONTWAIT)
            && error.kind() == io::ErrorKind::WouldBlock
        {
            return false;
        }
        poller.remove(socket);
        holder.socket = None;
        self.look_again(poller)
    }

    /// Whether some process has closed its connection and may yet be found to have left.
    pub(super) fn must_look_again(&self) -> bool {
        self.holders.values().any(|holder| holder.socket.is_none())
    }

    /// Looks at the processes that closed their connection. True when a slot was cleared.
    pub(super) fn look_again(&mut self, poller: &Poller) -> bool {
        let left = self.holders.iter().filter(|(_, h)| h.socket.is_none() && !maps_usage(h.pid));
        let left: Vec<u32> = left.map(|(number, _)| *number).collect();
        left.iter().for_each(|number| self.retire(*number, poller));
        !left.is_empty()
    }

    /// A holder's process is dead. True: its slot was cleared.
    pub(super) fn holder_died(&mut self, number: u32, poller: &Poller) -> bool {
        let known = self.holders.contains_key(&number);
        self.retire(number, poller);
        known
    }

    fn retire(&mut self, number: u32, poller: &Poller) {
        let Some(holder) = self.holders.remove(&number) else { return };
        poller.remove(&holder.pidfd);
        if let Some(socket) = &holder.socket {
            poller.remove(socket);
        }
        self.usage.retire_slot(holder.slot);
        self.slots.remove(&holder.slot);
        // A bell that is full has been rung.
        let _ = rustix::io::write(&self.doorbell, &1u64.to_ne_bytes());
    }

    /// The task is over: everyone is out.
    pub(super) fn close(&mut self, poller: &Poller) {
        let all: Vec<u32> = self.holders.keys().copied().collect();
        all.into_iter().for_each(|number| self.retire(number, poller));
        let waiting: Vec<u32> = self.visitors.keys().copied().collect();
        waiting.into_iter().for_each(|number| self.forget_visitor(number, poller));
    }

    fn turn_away(&mut self, number: u32, why: &str, poller: &Poller) {
        if let Some(visitor) = self.visitors.remove(&number) {
            poller.remove(&visitor.socket);
            self.refuse(visitor.socket, why);
        }
    }

    fn refuse(&mut self, socket: OwnedFd, why: &str) {
        // It may have gone by itself.
        let _ = attach::send(&socket, &Message::Refused { why: why.to_owned() }, &[]);
        self.refused.keep(socket);
    }

    fn forget_visitor(&mut self, number: u32, poller: &Poller) {
        if let Some(visitor) = self.visitors.remove(&number) {
            poller.remove(&visitor.socket);
        }
    }
}

/// Which process of this lease has connected. The pidfd is opened before its origin is looked at and
/// is found alive after: so the id meant the same process all the while.
fn who(socket: &OwnedFd, cgroup: Option<&str>) -> Result<(u32, OwnedFd), String> {
    let stranger = || "you are no process of this lease: start the program in it".to_owned();
    let pid = peer::credentials(socket).map_err(|error| format!("who you are: {error}"))?.pid;
    let pidfd = peer::pidfd(socket, pid).map_err(|_| stranger())?;
    let inside = || cgroup.is_some_and(|place| is_inside(pid, place));
    if pid != 0 && (descends(pid, std::process::id()) || inside()) && alive(&pidfd) {
        Ok((pid, pidfd))
    } else {
        Err(stranger())
    }
}

fn alive(pidfd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    matches!(rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
}
