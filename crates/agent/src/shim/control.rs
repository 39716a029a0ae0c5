//! The control socket: who may ask what, answers in order, and states pushed to who watches.

use super::peer::{self, Refused};
use super::poller::{Poller, Token};
use super::protocol::{Reply, Request, SHIM_PROTOCOL, ShimState};
use super::wire;
use rustix::net::{RecvFlags, SendFlags};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Most connections of the agent.
const AGENT_CONNECTIONS_MAX: usize = 48;
/// Most connections of the lease's user: however many it opens, the agent finds room.
const USER_CONNECTIONS_MAX: usize = 16;

/// What a peer may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rights {
    /// Everything.
    Agent,
    /// To watch and to signal.
    User,
}

#[derive(Debug)]
struct Peer {
    socket: OwnedFd,
    rights: Rights,
    greeted: bool,
    watches: bool,
    /// A push that found the peer's buffer full.
    behind: bool,
}

/// A request that its peer may make.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) peer: u32,
    pub(super) rights: Rights,
    pub(super) request: Request,
    pub(super) fds: Vec<OwnedFd>,
}

/// The socket and its connections.
#[derive(Debug)]
pub(super) struct Control {
    listener: OwnedFd,
    /// The lease's user.
    user: Option<u32>,
    peers: BTreeMap<u32, Peer>,
    refused: Refused,
    next: u32,
}

impl Control {
    pub(super) fn new(listener: OwnedFd, user: Option<u32>, poller: &Poller) -> io::Result<Self> {
        poller.add(&listener, Token::Control)?;
        Ok(Self { listener, user, peers: BTreeMap::new(), refused: Refused::default(), next: 0 })
    }

    /// Whether an agent is connected.
    pub(super) fn has_agent(&self) -> bool {
        self.peers.values().any(|peer| peer.rights == Rights::Agent)
    }

    /// Whether a peer is still connected.
    pub(super) fn has(&self, number: u32) -> bool {
        self.peers.contains_key(&number)
    }

    /// Takes one new connection.
    pub(super) fn accept(&mut self, poller: &Poller) {
        let Some(socket) = peer::accept(&self.listener) else { return };
        let rights = match self.admit(&socket) {
            Ok(rights) => rights,
            Err(why) => {
                refuse(&socket, why);
                return self.refused.keep(socket);
            }
        };
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        if poller.add(&socket, Token::Peer(number)).is_ok() {
            let peer = Peer { socket, rights, greeted: false, watches: false, behind: false };
            self.peers.insert(number, peer);
        }
    }

    fn admit(&self, socket: &OwnedFd) -> Result<Rights, &'static str> {
        let uid = peer::credentials(socket).map_err(|_| "the kernel does not say who you are")?.uid;
        let rights = if uid == 0 || uid == rustix::process::geteuid().as_raw() {
            Rights::Agent
        } else if Some(uid) == self.user {
            Rights::User
        } else {
            return Err("this lease belongs to another user");
        };
        let same = self.peers.values().filter(|peer| peer.rights == rights).count();
        let most = match rights {
            Rights::Agent => AGENT_CONNECTIONS_MAX,
            Rights::User => USER_CONNECTIONS_MAX,
        };
        if same < most { Ok(rights) } else { Err("too many connections: close some") }
    }

    /// Takes one request from a peer. `None` when it made none that it may make; it has its answer.
    pub(super) fn receive(&mut self, number: u32, poller: &Poller) -> Option<Asked> {
        let peer = self.peers.get_mut(&number)?;
        if peer.behind {
            return None;
        }
        let (request, fds) = match wire::receive::<Request>(&peer.socket, RecvFlags::DONTWAIT) {
            Ok(Some(packet)) => packet,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                refuse(&peer.socket, &format!("not a request of this protocol: {error}"));
                self.drop_peer(number, poller);
                return None;
            }
            Ok(None) | Err(_) => {
                self.drop_peer(number, poller);
                return None;
            }
        };
        let rights = peer.rights;
        if let Err(why) = peer.permit(&request) {
            self.reply(number, &Reply::Refused { why: why.to_owned() }, &[], poller);
            return None;
        }
        Some(Asked { peer: number, rights, request, fds })
    }

    /// Answers a request.
    pub(super) fn reply(
        &mut self,
        number: u32,
        reply: &Reply,
        fds: &[BorrowedFd<'_>],
        poller: &Poller,
    ) {
        let Some(peer) = self.peers.get(&number) else { return };
        // A peer that does not take its answers loses its connection: nothing here waits for it.
        if wire::send(&peer.socket, reply, fds, SendFlags::DONTWAIT).is_err() {
            self.drop_peer(number, poller);
        }
    }

    /// Pushes the state to a peer from now on.
    pub(super) fn watch(&mut self, number: u32) {
        if let Some(peer) = self.peers.get_mut(&number) {
            peer.watches = true;
        }
    }

    /// Pushes the state to everyone who watches. One whose buffer is full gets the state as it is
    /// when there is room again: states in between are not kept for anybody.
    pub(super) fn push(&mut self, state: &ShimState, poller: &Poller) {
        let watching = self.peers.iter().filter(|(_, peer)| peer.watches && !peer.behind);
        let watching: Vec<u32> = watching.map(|(number, _)| *number).collect();
        for number in watching {
            self.push_to(number, state, poller);
        }
    }

    /// A peer's socket is ready: sends what it is behind with.
    pub(super) fn catch_up(&mut self, number: u32, state: &ShimState, poller: &Poller) {
        if self.peers.get(&number).is_some_and(|peer| peer.behind) {
            self.push_to(number, state, poller);
        }
    }

    fn push_to(&mut self, number: u32, state: &ShimState, poller: &Poller) {
        let Some(peer) = self.peers.get_mut(&number) else { return };
        let reply = Reply::State { state: Box::new(state.clone()) };
        let behind = match wire::send(&peer.socket, &reply, &[], SendFlags::DONTWAIT) {
            Ok(()) => false,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
            Err(_) => return self.drop_peer(number, poller),
        };
        if peer.behind != behind {
            peer.behind = behind;
            if poller.also_writable(&peer.socket, Token::Peer(number), behind).is_err() {
                self.drop_peer(number, poller);
            }
        }
    }

    fn drop_peer(&mut self, number: u32, poller: &Poller) {
        if let Some(peer) = self.peers.remove(&number) {
            poller.remove(&peer.socket);
        }
    }
}

impl Peer {
    fn permit(&mut self, request: &Request) -> Result<(), &'static str> {
        match request {
            Request::Hello { protocol } if *protocol < SHIM_PROTOCOL => {
                Err("this shim is newer than you: install its version of Polder")
            }
            Request::Hello { .. } => {
                self.greeted = true;
                Ok(())
            }
            _ if !self.greeted => Err("say hello first"),
            _ if self.watches => Err("this connection watches: open another to ask"),
            Request::Watch | Request::Signal { .. } => Ok(()),
            _ if self.rights == Rights::Agent => Ok(()),
            _ => Err("only the node's agent may ask that"),
        }
    }
}

/// A last word to a peer that is then let go.
fn refuse(socket: &OwnedFd, why: &str) {
    // It may have gone by itself.
    let _ = wire::send(socket, &Reply::Refused { why: why.to_owned() }, &[], SendFlags::DONTWAIT);
}
