//! The pages as memory: created and sealed by the agent's side, mapped by both.
#![allow(unsafe_code)] // mapping shared memory is what this module is for

use crate::layout::{LAYOUT, Limits, PageError, Usage};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

/// A mapped page; unmapped when dropped.
#[derive(Debug)]
pub struct Mapped<T> {
    at: NonNull<T>,
}

// SAFETY: the pages hold only atomics, and the mapping lives as long as the value.
unsafe impl<T: Sync> Send for Mapped<T> {}
// SAFETY: as above: every field is an atomic.
unsafe impl<T: Sync> Sync for Mapped<T> {}

impl<T> Deref for Mapped<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: `at` points to a live shared mapping of at least `size_of::<T>()` bytes, sealed
        // against shrinking; every field of `T` is an atomic valid for any bits.
        unsafe { self.at.as_ref() }
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: `at` came from `mmap` of this length and is not used after this.
        let _ = unsafe { rustix::mm::munmap(self.at.as_ptr().cast(), size_of::<T>()) };
    }
}

fn kernel(page: &'static str, what: &'static str) -> impl Fn(rustix::io::Errno) -> PageError {
    move |errno| PageError::Kernel { page, what, errno: errno.into() }
}

fn map<T>(fd: BorrowedFd<'_>, prot: ProtFlags, page: &'static str) -> Result<Mapped<T>, PageError> {
    let size = rustix::fs::fstat(fd).map_err(kernel(page, "fstat"))?.st_size;
    if usize::try_from(size).is_ok_and(|size| size < size_of::<T>()) {
        return Err(PageError::Unsafe { page, why: "it is too short" });
    }
    let seals = rustix::fs::fcntl_get_seals(fd).map_err(kernel(page, "reading seals"))?;
    if !seals.contains(SealFlags::SHRINK) {
        return Err(PageError::Unsafe { page, why: "it is not sealed against shrinking" });
    }
    // SAFETY: a fresh mapping chosen by the kernel, of a length the file has and keeps.
    let at = unsafe {
        rustix::mm::mmap(std::ptr::null_mut(), size_of::<T>(), prot, MapFlags::SHARED, fd, 0)
    }
    .map_err(kernel(page, "mmap"))?;
    let at = NonNull::new(at.cast()).ok_or(PageError::Unsafe { page, why: "mapped at zero" })?;
    Ok(Mapped { at })
}

fn create<T>(name: &str, page: &'static str, value: T) -> Result<(OwnedFd, Mapped<T>), PageError> {
    let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .map_err(kernel(page, "memfd_create"))?;
    rustix::fs::ftruncate(&fd, size_of::<T>() as u64).map_err(kernel(page, "ftruncate"))?;
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW)
        .map_err(kernel(page, "sealing"))?;
    let mapped = map::<T>(fd.as_fd(), ProtFlags::READ | ProtFlags::WRITE, page)?;
    // SAFETY: nobody else has the descriptor yet, and the mapping is large enough and aligned to a
    // memory page.
    unsafe { mapped.at.write(value) };
    Ok((fd, mapped))
}

/// The agent's side of a `Limits` page: the only writable mapping there will ever be.
#[derive(Debug)]
pub struct LimitsWriter {
    fd: OwnedFd,
    page: Mapped<Limits>,
}

impl LimitsWriter {
    /// A new page for `lease`, sealed so that every later mapping of it is read-only.
    ///
    /// # Errors
    /// [`PageError::Kernel`].
    pub fn create(lease: u64, epoch: u64) -> Result<Self, PageError> {
        let (fd, page) = create("polder-limits", "limits", Limits::new(lease, epoch))?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::FUTURE_WRITE | SealFlags::SEAL)
            .map_err(kernel("limits", "sealing"))?;
        Ok(Self { fd, page })
    }

    /// The descriptor to hand to the shim.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Wakes every process that waits for the gate to change.
    pub fn wake(&self) {
        wake_waiting(&self.page);
    }
}

impl Deref for LimitsWriter {
    type Target = Limits;
    fn deref(&self) -> &Limits {
        &self.page
    }
}

/// A new, empty `Usage` page for `lease`.
///
/// # Errors
/// [`PageError::Kernel`].
pub fn create_usage(lease: u64) -> Result<(OwnedFd, Mapped<Usage>), PageError> {
    let (fd, page) = create("polder-usage", "usage", Usage::new(lease))?;
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SEAL).map_err(kernel("usage", "sealing"))?;
    Ok((fd, page))
}

/// Maps a `Limits` page read-only.
///
/// # Errors
/// [`PageError`] when it is not such a page.
pub fn map_limits(fd: impl AsFd) -> Result<Mapped<Limits>, PageError> {
    let page = map::<Limits>(fd.as_fd(), ProtFlags::READ, "limits")?;
    page.check()?;
    Ok(page)
}

/// Maps a `Usage` page.
///
/// # Errors
/// [`PageError`] when it is not such a page.
pub fn map_usage(fd: impl AsFd) -> Result<Mapped<Usage>, PageError> {
    let page = map::<Usage>(fd.as_fd(), ProtFlags::READ | ProtFlags::WRITE, "usage")?;
    page.check()?;
    Ok(page)
}

/// Maps a `Usage` page that a shim hands to the agent. Its header is the tenant's to overwrite, so
/// it is not asked: whose page it is, and in which layout, the shim says.
///
/// # Errors
/// [`PageError`] when no such page can lie there, or the layout is none that this program speaks.
pub fn adopt_usage(fd: impl AsFd, layout: u32) -> Result<Mapped<Usage>, PageError> {
    if layout != LAYOUT {
        return Err(PageError::Layout { page: "usage", found: layout });
    }
    map::<Usage>(fd.as_fd(), ProtFlags::READ | ProtFlags::WRITE, "usage")
}

/// `CLOCK_MONOTONIC` in nanoseconds: the clock of deadlines and heartbeats in the pages.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}

/// Sleeps until the gate differs from `seen`, or `timeout_ns` has passed, or for no reason.
pub fn wait_for_gate(limits: &Limits, seen: crate::gate::Gate, timeout_ns: u64) {
    let timeout = rustix::thread::futex::Timespec {
        tv_sec: i64::try_from(timeout_ns / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: (timeout_ns % 1_000_000_000).cast_signed(),
    };
    let flags = rustix::thread::futex::Flags::empty();
    // Whatever ended the wait, the caller looks at the gate again.
    let _ = rustix::thread::futex::wait(&limits.gate, flags, seen.0, Some(&timeout));
}

/// Wakes every thread of the lease that waits at its gate, to look again. It needs no more than a
/// page that can be read.
pub fn wake_waiting(limits: &Limits) {
    let flags = rustix::thread::futex::Flags::empty();
    // A waiter that is not there needs no waking, so the count does not matter.
    let _ = rustix::thread::futex::wake(&limits.gate, flags, i32::MAX.unsigned_abs());
}
