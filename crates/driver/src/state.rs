//! The one value that holds what this process knows of itself, and what a fork does to it.
#![allow(unsafe_code)] // a pointer that the child of a fork can drop without taking a lock

use crate::attach::{AttachError, Attachment};
use crate::log;
use crate::meter::Meter;
use crate::record::Recorder;
use polder_ledger::DEVICES_MAX;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, Ordering};
use std::sync::{Mutex, Once};

/// What the process knows of itself.
#[derive(Debug)]
pub struct State {
    /// Its place in the lease; none when a forked child was refused, and then nothing works.
    pub attachment: Option<Attachment>,
    /// The ledger takes one reservation of a process at a time.
    pub(crate) reserving: Mutex<()>,
    /// By device of the lease.
    pub meters: [Meter; DEVICES_MAX],
    /// Of a process with several devices: up to here its time with commands in flight is counted,
    /// nanoseconds of the monotonic clock.
    pub(crate) counted_ns: AtomicU64,
    /// Where what it does is written down, when it is profiled.
    pub recorder: Option<Recorder>,
}

/// Never freed: a callback of the driver may hold on to it for as long as the process lives.
static STATE: AtomicPtr<State> = AtomicPtr::new(null_mut());
/// The connection, for the child of a fork to close: while the child held it, the shim could not
/// see the parent go. Its number, and the inode that is still to be found there.
static CONNECTION: AtomicI32 = AtomicI32::new(-1);
static CONNECTION_INODE: AtomicU64 = AtomicU64::new(0);
/// How many forks lie between this process and the one that loaded the library.
static FORKS: AtomicU64 = AtomicU64::new(0);

impl State {
    fn new(attachment: Option<Attachment>) -> Self {
        let recorder = attachment.as_ref().and_then(|_| Recorder::open());
        Self {
            attachment,
            recorder,
            reserving: Mutex::new(()),
            meters: std::array::from_fn(|_| Meter::default()),
            counted_ns: AtomicU64::new(0),
        }
    }

    /// Whether this is still the process that made the value: in the child of a fork, what was
    /// charged before belongs to the parent.
    #[inline]
    pub fn is_current(&self) -> bool {
        std::ptr::eq(self, STATE.load(Ordering::Acquire))
    }
}

/// The process's state, attaching it first when it is the child of a fork.
pub fn get() -> &'static State {
    // SAFETY: the pointer is null or comes from `publish`, which leaks what it points to.
    if let Some(state) = unsafe { STATE.load(Ordering::Acquire).as_ref() } {
        return state;
    }
    let attachment = Attachment::connect();
    if let Err(error) = &attachment {
        log::say_unplaced(error);
    }
    publish(State::new(attachment.ok()))
}

/// The state of an attached process, attaching it when it is not.
pub fn attach() -> Result<&'static State, AttachError> {
    // SAFETY: as in `get`.
    match unsafe { STATE.load(Ordering::Acquire).as_ref() } {
        Some(state) if state.attachment.is_some() => Ok(state),
        _ => Ok(publish(State::new(Some(Attachment::connect()?)))),
    }
}

/// From now on a fork is noticed.
fn watch_forks() {
    static AT_FORK: Once = Once::new();
    // SAFETY: the handler only stores atomics and closes a descriptor, which a forked child may do.
    AT_FORK.call_once(|| unsafe {
        libc::pthread_atfork(None, None, Some(in_child));
    });
}

/// The end of a process that is profiled is noticed, where it ends by itself.
fn watch_end() {
    static AT_END: Once = Once::new();
    // SAFETY: the handler writes to a file and takes no lock that a thread could hold for long.
    AT_END.call_once(|| unsafe {
        libc::atexit(at_end);
    });
}

/// The process ends: its recorder says how many places were taken. The child of a fork has one of its own
/// or none.
extern "C" fn at_end() {
    // SAFETY: as in `get`.
    let state = unsafe { STATE.load(Ordering::Acquire).as_ref() };
    if let Some(recorder) = state.and_then(|state| state.recorder.as_ref()) {
        recorder.put_header();
    }
}

/// Makes `state` the process's, unless another thread was faster.
fn publish(state: State) -> &'static State {
    watch_forks();
    if state.recorder.is_some() {
        watch_end();
    }
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
    FORKS.fetch_add(1, Ordering::AcqRel);
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

/// A value that each process makes for itself: the child of a fork begins with a new one and leaves
/// the parent's where it is, for its locks may be held by threads that the child does not have.
#[derive(Debug)]
pub struct PerProcess<T>(AtomicPtr<(u64, T)>);

impl<T> PerProcess<T> {
    /// No value yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicPtr::new(null_mut()))
    }
}

impl<T> Default for PerProcess<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Default + Sync + 'static> PerProcess<T> {
    /// This process's value.
    pub fn get(&self) -> &'static T {
        let seen = self.0.load(Ordering::Acquire);
        // SAFETY: null, or leaked by `make`.
        match unsafe { seen.as_ref() } {
            Some((forks, value)) if *forks == FORKS.load(Ordering::Acquire) => value,
            _ => self.make(seen),
        }
    }

    #[cold]
    fn make(&self, seen: *mut (u64, T)) -> &'static T {
        watch_forks();
        let mine = Box::into_raw(Box::new((FORKS.load(Ordering::Acquire), T::default())));
        let kept = match self.0.compare_exchange(seen, mine, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => mine,
            Err(other) => {
                // SAFETY: just made here, and nobody else has seen it.
                drop(unsafe { Box::from_raw(mine) });
                other
            }
        };
        // SAFETY: what is published is never freed.
        unsafe { &(*kept).1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_child_of_a_fork_begins_with_a_new_value() {
        static VALUE: PerProcess<AtomicI32> = PerProcess::new();
        VALUE.get().store(7, Ordering::Relaxed);
        let before = VALUE.get();
        assert_eq!(VALUE.get().load(Ordering::Relaxed), 7);
        in_child();
        assert_eq!(VALUE.get().load(Ordering::Relaxed), 0);
        assert_eq!(before.load(Ordering::Relaxed), 7, "the parent's is left alone");
    }
}
