//! The page between host and one client: how far each stream has come.

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::thread::futex;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Most streams of one client.
pub const STREAMS_MAX: usize = 64;
/// Marks whose times are kept.
pub const MARKS_MAX: usize = 4096;

/// What stands in it.
#[repr(C)]
pub(crate) struct Layout {
    /// Grows with every change that anybody may wait for.
    pub(crate) turn: AtomicU32,
    /// The fault to which the client's context was lost, by its XID; zero while it is well.
    pub(crate) fault: AtomicU32,
    /// Whether the client's calls wait: it is being checkpointed.
    pub(crate) locked: AtomicU32,
    /// By stream, the newest mark that is over.
    pub(crate) marked: [AtomicU64; STREAMS_MAX],
    /// By mark, modulo their number, when it was over.
    pub(crate) at_ns: [AtomicU64; MARKS_MAX],
}

/// It, mapped.
#[derive(Debug)]
pub(crate) struct Page {
    at: NonNull<Layout>,
}

// SAFETY: everything in it is atomic.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl Page {
    /// A new one, and what another process maps.
    pub(crate) fn create() -> rustix::io::Result<(Self, OwnedFd)> {
        let file = memfd_create(c"standin", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, size_of::<Layout>() as u64)?;
        Ok((Self::map(&file)?, file))
    }

    pub(crate) fn map(file: impl AsFd) -> rustix::io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let null = std::ptr::null_mut();
        // SAFETY: a mapping of our own; the file has this size, and zeros are a valid layout.
        let at = unsafe { mmap(null, size_of::<Layout>(), protection, MapFlags::SHARED, file, 0)? };
        Ok(Self { at: NonNull::new(at.cast()).ok_or(rustix::io::Errno::NOMEM)? })
    }

    pub(crate) fn layout(&self) -> &Layout {
        // SAFETY: mapped for as long as `self` lives, and all of it is atomic.
        unsafe { self.at.as_ref() }
    }

    /// Tells who waits that something has changed.
    pub(crate) fn told(&self) {
        let turn = &self.layout().turn;
        turn.fetch_add(1, Ordering::Release);
        // The word is ours; waking nobody is no error. The kernel counts in signed numbers: a larger one
        // would be negative, and wake one alone.
        let _ = futex::wake(turn, futex::Flags::empty(), i32::MAX.unsigned_abs());
    }

    /// Waits until the turn is no longer `seen`, or a tenth of a second has passed.
    pub(crate) fn wait(&self, seen: u32) {
        let most = rustix::time::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        // A change that came first, a signal and the time-out all mean: look again.
        let _ = futex::wait(&self.layout().turn, futex::Flags::empty(), seen, Some(&most));
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: mapped in `map` with this size, and nothing of it is borrowed any more.
        let _ = unsafe { munmap(self.at.as_ptr().cast(), size_of::<Layout>()) };
    }
}
