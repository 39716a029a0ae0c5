//! The end that holds the device and moves it with its clock.

use crate::checkpoint::{Came, Checkpoints};
use crate::now_ns;
use crate::page::{MARKS_MAX, Page, STREAMS_MAX};
use crate::wire::{Ask, BYTES, Words, bytes_of, words_of};
use polder_standin::{
    ContextId, Copy, Device, Direction, Done, Fault, Kernel, Length, MODELS, SubmitError, Throttle,
    Ticket, Work,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use rustix::time::Timespec;
use std::collections::{BTreeMap, VecDeque};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Messages taken from one client before others have their turn.
const MESSAGES_MAX: usize = 256;
const CLIENTS_MAX: usize = 256;
/// Shortest sleep: what ends earlier is told of together, with the times at which it ended.
const SLEEP_MIN_NS: u64 = 50_000;

/// What is said of the device before it starts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Script {
    /// Place of the model in [`MODELS`].
    pub model: usize,
}

#[derive(Debug, Default)]
struct Stream {
    /// The last thing that was put into it and is not over.
    last: Option<Ticket>,
    /// Marks behind items that are not over, oldest first.
    marks: VecDeque<(Ticket, u64)>,
}

struct Peer {
    socket: OwnedFd,
    page: Page,
    process: u32,
    context: Option<ContextId>,
    streams: BTreeMap<u32, Stream>,
    /// Fences by the mark that opens them.
    fences: BTreeMap<u64, Vec<u64>>,
    /// A message that the device could not take yet: nothing more is read before it is.
    held: Option<Ask>,
    gone: bool,
}

struct Host {
    device: Device,
    model: usize,
    began_ns: u64,
    peers: Vec<Peer>,
    checkpoints: Checkpoints,
    /// Numbers of fences given out.
    fences: u64,
}

/// Serves a device at `path` until `stop` says so, which is looked at ten times a second.
///
/// # Errors
/// What the system says of the socket.
pub fn serve(path: &Path, script: Script, stop: impl Fn() -> bool) -> Result<(), Errno> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let listener = rustix::net::socket_with(family, kind, flags, None)?;
    // Whoever sees the socket can connect to it.
    let new = path.with_extension("new");
    rustix::net::bind(&listener, &SocketAddrUnix::new(&new)?)?;
    rustix::net::listen(&listener, 64)?;
    rustix::fs::rename(&new, path)?;
    let model = script.model.min(MODELS.len() - 1);
    let mut host = Host {
        device: Device::new(*MODELS[model]),
        model,
        began_ns: now_ns(),
        peers: Vec::new(),
        checkpoints: Checkpoints::default(),
        fences: 0,
    };
    while !stop() {
        host.wait(&listener)?;
        host.move_on();
        host.accept(&listener);
        for index in 0..host.peers.len() {
            host.hear(index);
        }
        host.forget();
    }
    Ok(())
}

impl Host {
    fn wait(&self, listener: &OwnedFd) -> Result<(), Errno> {
        let mut most_ns = 100_000_000;
        if let Some(at_ns) = self.device.next_event() {
            let left_ns = at_ns.saturating_sub(now_ns() - self.began_ns);
            most_ns = most_ns.min(left_ns.max(SLEEP_MIN_NS));
        }
        let most = Timespec { tv_sec: 0, tv_nsec: i64::try_from(most_ns).unwrap_or(100_000_000) };
        let mut fds = vec![PollFd::new(listener, PollFlags::IN)];
        let heard = self.peers.iter().filter(|peer| peer.held.is_none());
        fds.extend(heard.map(|peer| PollFd::new(&peer.socket, PollFlags::IN)));
        match poll(&mut fds, Some(&most)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Moves the device to the present and tries again what it could not take.
    fn move_on(&mut self) {
        self.catch_up();
        for index in 0..self.peers.len() {
            if let Some(held) = self.peers[index].held.take() {
                self.obey(index, held);
            }
        }
    }

    /// Moves the device to the present and tells of what is over.
    fn catch_up(&mut self) {
        loop {
            let all = self.device.advance(now_ns() - self.began_ns);
            if all.is_empty() {
                return;
            }
            for done in all {
                self.over(done);
            }
        }
    }

    fn over(&mut self, done: Done) {
        let at_ns = self.began_ns + done.at_ns;
        let index = self.peers.iter().position(|peer| peer.context == Some(done.context));
        let Some(index) = index else { return };
        let number = u32::try_from(done.stream).unwrap_or_default();
        let Some(stream) = self.peers[index].streams.get_mut(&number) else { return };
        if stream.last == Some(done.ticket) {
            stream.last = None;
        }
        let behind = |mark: &(Ticket, u64)| mark.0 <= done.ticket;
        let count = stream.marks.iter().take_while(|mark| behind(mark)).count();
        let marks: Vec<u64> = stream.marks.drain(..count).map(|(_, mark)| mark).collect();
        for mark in marks {
            self.marked(index, number, mark, at_ns);
        }
    }

    /// A mark is over: the client is told, and who waits for it goes on.
    fn marked(&mut self, index: usize, stream: u32, mark: u64, at_ns: u64) {
        let peer = &mut self.peers[index];
        peer.page.mark(stream, mark, at_ns);
        for fence in peer.fences.remove(&mark).unwrap_or_default() {
            self.device.open_fence(fence);
        }
    }

    fn accept(&mut self, listener: &OwnedFd) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        while self.peers.len() < CLIENTS_MAX
            && let Ok(socket) = rustix::net::accept_with(listener, flags)
        {
            // It says who it is first; without a page there is nothing to say to it.
            let Ok((page, file)) = Page::create() else { return };
            let words: Words = [self.model as u64, 0, 0, 0, 0, 0, 0, 0, 0];
            let bytes = bytes_of(&words);
            let files = [file.as_fd()];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&files));
            let parts = [std::io::IoSlice::new(&bytes)];
            if rustix::net::sendmsg(&socket, &parts, &mut control, SendFlags::NOSIGNAL).is_err() {
                continue;
            }
            self.peers.push(Peer {
                socket,
                page,
                process: 0,
                context: None,
                streams: BTreeMap::new(),
                fences: BTreeMap::new(),
                held: None,
                gone: false,
            });
        }
    }

    fn hear(&mut self, index: usize) {
        for _ in 0..MESSAGES_MAX {
            if self.peers[index].held.is_some() {
                return;
            }
            let mut bytes = [0; BYTES];
            let socket = &self.peers[index].socket;
            match rustix::net::recv(socket, &mut bytes[..], RecvFlags::empty()) {
                Ok((BYTES, _)) => {}
                Err(Errno::AGAIN | Errno::INTR) => return,
                Ok(_) | Err(_) => {
                    self.peers[index].gone = true;
                    return;
                }
            }
            if let Some(ask) = Ask::of(&words_of(&bytes)) {
                self.obey(index, ask);
            }
        }
    }

    fn obey(&mut self, index: usize, ask: Ask) {
        match ask {
            Ask::Hello { pid } => self.peers[index].process = pid,
            Ask::Open => {
                let code = self.open(index);
                self.answer(index, &[code]);
            }
            Ask::Close => self.close(index),
            Ask::Launch { stream, blocks, threads, length_ns, nodes, cooperative } => {
                let length = Length::Scripted(length_ns);
                let kernel = Kernel { blocks, threads, length, cooperative };
                let work = match nodes {
                    0 => Work::Kernel(kernel),
                    nodes => Work::Graph { node: kernel, nodes },
                };
                self.submit(index, stream, work, ask);
            }
            Ask::Copy { stream, bytes, direction } => {
                let direction = match direction {
                    0 => Direction::ToDevice,
                    1 => Direction::ToHost,
                    _ => Direction::Within,
                };
                self.submit(index, stream, Work::Copy(Copy { bytes, direction }), ask);
            }
            Ask::Mark { stream, mark } => self.mark(index, stream, mark),
            Ask::After { stream, mark } => self.after(index, stream, mark),
            Ask::Allocate { bytes } => {
                let process = self.peers[index].process;
                let free = match self.device.allocate(process, bytes) {
                    Ok(_) => 0,
                    Err(polder_standin::MemoryError::Out { free_bytes, .. }) => free_bytes + 1,
                    Err(polder_standin::MemoryError::NotHeld) => 1,
                };
                self.answer(index, &[free]);
            }
            Ask::Free { bytes } => {
                // More than it has: then it has nothing to give back.
                let _ = self.device.free(self.peers[index].process, bytes);
            }
            Ask::State => {
                let (total, used) = (self.device.model().memory_bytes, self.device.memory_used());
                let busy = self.device.utilisation_of_all();
                let xids = self.device.xids().len() as u64;
                let reasons = self.device.throttle().reasons;
                self.answer(index, &[total, used, busy.into(), xids, reasons]);
            }
            Ask::Process { index: place } => self.process(index, place),
            Ask::Truth { pid } => {
                let truth = self.device.truth(pid);
                self.answer(index, &[truth.ran_ns, truth.switched_ns, truth.completed]);
            }
            Ask::Fail { xid, pid } => self.fail(xid, pid),
            Ask::Xid { index: place } => {
                let fault = self.device.xids().get(place as usize);
                let words = fault.map_or([0; 2], |(_, fault, process)| {
                    [fault.xid().into(), process.unwrap_or(0).into()]
                });
                self.answer(index, &words);
            }
            Ask::Checkpoint { pid, .. } => self.checkpoint(index, pid, ask),
            Ask::Throttle { reasons, speed } => {
                self.device.set_throttle(Throttle { reasons, speed });
            }
        }
    }

    fn open(&mut self, index: usize) -> u64 {
        if self.peers[index].context.is_some() {
            return 0;
        }
        match self.device.open(self.peers[index].process) {
            Ok(context) => {
                self.peers[index].context = Some(context);
                0
            }
            Err(SubmitError::Lost(fault)) => fault.xid().into(),
            Err(_) => 1,
        }
    }

    fn close(&mut self, index: usize) {
        if let Some(context) = self.peers[index].context.take() {
            self.device.close(context);
        }
        self.peers[index].streams.clear();
        self.peers[index].fences.clear();
    }

    fn submit(&mut self, index: usize, stream: u32, work: Work, ask: Ask) {
        // Nothing starts before it was sent.
        self.catch_up();
        let peer = &mut self.peers[index];
        let Some(context) = peer.context else { return };
        let stream = stream % u32::try_from(STREAMS_MAX).expect("a small number");
        match self.device.submit(context, stream as usize, work) {
            Ok(ticket) => peer.streams.entry(stream).or_default().last = Some(ticket),
            Err(SubmitError::Full) => peer.held = Some(ask),
            // Too large or lost: the client looks at both itself.
            Err(_) => {}
        }
    }

    fn mark(&mut self, index: usize, stream: u32, mark: u64) {
        let peer = &mut self.peers[index];
        let at_ns = self.began_ns + self.device.now_ns();
        let entry = peer.streams.entry(stream).or_default();
        match entry.last {
            Some(ticket) => entry.marks.push_back((ticket, mark)),
            None => self.marked(index, stream, mark, at_ns),
        }
    }

    /// The stream goes on when the mark is over; one that is not known any more is over.
    fn after(&mut self, index: usize, stream: u32, mark: u64) {
        let waits = self.peers[index].streams.values().flat_map(|stream| &stream.marks);
        if !waits.map(|(_, number)| *number).any(|number| number == mark) {
            return;
        }
        self.fences += 1;
        let fence = self.fences;
        // First, because the mark may come to be over while the fence is put in.
        self.peers[index].fences.entry(mark).or_default().push(fence);
        self.submit(index, stream, Work::Fence(fence), Ask::After { stream, mark });
        if self.peers[index].held.is_some()
            && let Some(fences) = self.peers[index].fences.get_mut(&mark)
        {
            fences.retain(|it| *it != fence);
        }
    }

    fn checkpoint(&mut self, index: usize, pid: u32, ask: Ask) {
        let Ask::Checkpoint { step, most_ms, .. } = ask else { return };
        let of = |peer: &&Peer| peer.process == pid && peer.context.is_some();
        let known = self.peers.iter().any(|peer| of(&peer));
        let busy = |peer: &Peer| peer.streams.values().any(|stream| stream.last.is_some());
        let busy = self.peers.iter().filter(of).any(busy);
        let who = (pid, known, busy);
        match self.checkpoints.step(&mut self.device, who, step, most_ms) {
            Came::Answer(words) => self.answer(index, &words),
            Came::Wait => self.peers[index].held = Some(ask),
        }
        let locked = self.checkpoints.is_locked(pid);
        for peer in self.peers.iter().filter(of) {
            peer.page.lock(locked);
        }
    }

    fn process(&mut self, index: usize, place: u32) {
        let has_context = |peer: &&Peer| peer.context.is_some();
        let pids = self.peers.iter().filter(has_context).map(|peer| peer.process);
        let mut pids: Vec<u32> = pids.filter(|pid| !self.checkpoints.is_away(*pid)).collect();
        pids.sort_unstable();
        pids.dedup();
        let words = match pids.get(place as usize) {
            Some(&pid) => {
                let busy = self.device.utilisation(pid);
                [pid.into(), self.device.memory_of(pid), busy.into()]
            }
            None => [0; 3],
        };
        self.answer(index, &words);
    }

    fn fail(&mut self, xid: u32, pid: u32) {
        let all = [Fault::Address, Fault::Exception, Fault::Stopped, Fault::Memory, Fault::FellOff];
        let Some(fault) = all.into_iter().find(|fault| fault.xid() == xid) else { return };
        self.device.fail(fault, (pid != 0).then_some(pid));
        for peer in &self.peers {
            if peer.context.is_some() && (fault.takes_all() || peer.process == pid) {
                peer.page.fail(xid);
            }
        }
    }

    fn answer(&mut self, index: usize, words: &[u64]) {
        let mut all = [0; 9];
        all[..words.len()].copy_from_slice(words);
        let socket = &self.peers[index].socket;
        let sent = rustix::net::send(socket, &bytes_of(&all), SendFlags::NOSIGNAL);
        self.peers[index].gone |= sent.is_err();
    }

    /// Clients that are gone leave nothing behind.
    fn forget(&mut self) {
        for index in (0..self.peers.len()).rev() {
            if !self.peers[index].gone {
                continue;
            }
            self.close(index);
            let process = self.peers.remove(index).process;
            if !self.peers.iter().any(|peer| peer.process == process) {
                self.device.exit(process);
                self.checkpoints.forget(process);
            }
        }
    }
}

impl Page {
    fn mark(&self, stream: u32, mark: u64, at_ns: u64) {
        use std::sync::atomic::Ordering;
        let place = usize::try_from(mark % MARKS_MAX as u64).unwrap_or_default();
        self.layout().at_ns[place].store(at_ns, Ordering::Release);
        let stream = stream as usize % STREAMS_MAX;
        self.layout().marked[stream].fetch_max(mark, Ordering::AcqRel);
        self.told();
    }

    /// Its calls wait from now on, or go on.
    fn lock(&self, locked: bool) {
        self.layout().locked.store(locked.into(), std::sync::atomic::Ordering::Release);
        self.told();
    }

    fn fail(&self, xid: u32) {
        self.layout().fault.store(xid, std::sync::atomic::Ordering::Release);
        self.told();
    }
}
