//! The one value that holds what this process knows of itself, and what a fork does to it.
#![allow(unsafe_code)] // a pointer that the child of a fork can drop without taking a lock

use crate::attach::{AttachError, Attachment};
use crate::graph::Graph;
use crate::log;
use crate::memory::Memory;
use crate::meter::Meter;
use crate::queues::Queues;
use polder_ledger::DEVICES_MAX;
use std::ptr::null_mut;
use std::sync::Once;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, Ordering};

/// What the process knows of itself.
#[derive(Debug)]
pub(crate) struct State {
    /// Its place in the lease; none when a forked child was refused, and then nothing works.
    pub(crate) attachment: Option<Attachment>,
    pub(crate) memory: Memory,
    pub(crate) queues: Queues,
    pub(crate) graph: Graph,
    /// By device of the lease.
    pub(crate) meters: [Meter; DEVICES_MAX],
}

/// Never freed: a callback of the driver may hold on to it for as long as the process lives.
static STATE: AtomicPtr<State> = AtomicPtr::new(null_mut());
/// The connection, for the child of a fork to close: while the child held it, the shim could not
/// see the parent go. Its number, and the inode that is still to be found there.
static CONNECTION: AtomicI32 = AtomicI32::new(-1);
static CONNECTION_INODE: AtomicU64 = AtomicU64::new(0);

impl State {
    fn new(attachment: Option<Attachment>) -> Self {
        Self {
            attachment,
            memory: Memory::default(),
            queues: Queues::default(),
            graph: Graph::default(),
            meters: std::array::from_fn(|_| Meter::default()),
        }
    }

    /// Whether this is still the process that made the value: in the child of a fork, what was
    /// charged before belongs to the parent.
    pub(crate) fn is_current(&self) -> bool {
        std::ptr::eq(self, STATE.load(Ordering::Acquire))
    }
}

/// The process's state, attaching it first when it is the child of a fork.
pub(crate) fn get() -> &'static State {
    // SAFETY: the pointer is null or comes from `publish`, which leaks what it points to.
    if let Some(state) = unsafe { STATE.load(Ordering::Acquire).as_ref() } {
        return state;
    }
    let attachment = Attachment::connect();
    if let Err(error) = &attachment {
        log::say(error);
    }
    publish(State::new(attachment.ok()))
}

/// The state of an attached process, attaching it when it is not.
pub(crate) fn attach() -> Result<&'static State, AttachError> {
    // SAFETY: as in `get`.
    match unsafe { STATE.load(Ordering::Acquire).as_ref() } {
        Some(state) if state.attachment.is_some() => Ok(state),
        _ => Ok(publish(State::new(Some(Attachment::connect()?)))),
    }
}

/// Makes `state` the process's, unless another thread was faster.
fn publish(state: State) -> &'static State {
    static AT_FORK: Once = Once::new();
    // SAFETY: the handler only stores atomics and closes a descriptor, which a forked child may do.
    AT_FORK.call_once(|| unsafe {
        libc::pthread_atfork(None, None, Some(in_child));
    });
    let connection = state.attachment.as_ref().map(|attachment| attachment.connection().name());
    let mine = Box::into_raw(Box::new(state));
    let seen = STATE.compare_exchange(null_mut(), mine, Ordering::AcqRel, Ordering::Acquire);
    let published = match seen {
        Ok(_) => {
            let (number, (_, inode)) = connection.unwrap_or((-1, (0, 0)));
            CONNECTION_INODE.store(inode, Ordering::Relaxed);
            CONNECTION.store(number, Ordering::Release);
            mine
        }
        Err(other) => {
            // SAFETY: `mine` was just made here and nobody else has seen it. Dropping it closes
            // its connection, so the shim takes the slot back.
            drop(unsafe { Box::from_raw(mine) });
            other
        }
    };
    // SAFETY: published states are never freed.
    unsafe { &*published }
}

/// In the child of a fork: forget everything, without locks (another thread of the parent may have
/// held any), and let go of the parent's connection.
extern "C" fn in_child() {
    STATE.store(null_mut(), Ordering::Release);
    let connection = CONNECTION.swap(-1, Ordering::AcqRel);
    // SAFETY: plain system calls. The number is closed only if it still is the inherited
    // connection, and the value that owned it is forgotten.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        let is_ours = connection >= 0
            && libc::fstat(connection, &raw mut stat) == 0
            && stat.st_ino == CONNECTION_INODE.load(Ordering::Relaxed);
        if is_ours {
            libc::close(connection);
        }
    }
}
