//! A process that speaks layout 1 and knows nothing else of Polder: what stood in the pages when
//! layout 1 was the newest, by number, and how its drivers used it. Never to be changed: a change
//! that this process does not survive is a new layout.
#![allow(unsafe_code)] // the old driver's own mapping

use rustix::mm::{MapFlags, ProtFlags};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

pub(crate) const LAYOUT: u32 = 1;
pub(crate) const LIMITS_BYTES: usize = 704;
pub(crate) const USAGE_BYTES: usize = 82_176;
pub(crate) const LIMITS_MAGIC: &[u8; 8] = b"PLDRLIM\0";
pub(crate) const USAGE_MAGIC: &[u8; 8] = b"PLDRUSE\0";

/// Both headers: magic, layout, bytes, lease, epoch.
pub(crate) const HEADER: [usize; 5] = [0, 8, 12, 16, 24];
/// Limits: devices, gate, deadline, quantum, heartbeat.
pub(crate) const LIMITS: [usize; 5] = [32, 36, 40, 48, 56];
/// Limits of a device: where the first lies, how far apart, and memory_max, granularity, compute,
/// compute_max, charged, contended in it.
pub(crate) const DEVICE: (usize, usize, [usize; 6]) = (64, 40, [0, 8, 16, 20, 24, 32]);
/// Usage: high water, peak, retired, and where the first slot lies and how far apart.
pub(crate) const USAGE: ([usize; 3], usize, usize) = ([32, 40, 168], 256, 320);
/// A slot: pid, generation, inflight, waiting, completed, launched, waited, refused, longest.
pub(crate) const SLOT: [usize; 9] = [0, 4, 8, 12, 16, 24, 32, 40, 48];
/// A slot's devices: the first, how far apart, claim and held.
pub(crate) const SLOT_DEVICE: (usize, usize, [usize; 2]) = (56, 16, [0, 8]);

const OPEN: u32 = 1;
const WATCH: u32 = 4;
const UNGATED: u32 = 8;

/// A page as the old driver maps it.
#[derive(Debug)]
pub(crate) struct Page {
    at: *mut u8,
    bytes: usize,
}

// SAFETY: all access is by atomics, and the mapping lives as long as the value.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl Page {
    /// Maps it, and checks what the old driver checks.
    pub(crate) fn map(fd: impl AsFd, writable: bool) -> Result<Self, String> {
        let (bytes, magic) =
            if writable { (USAGE_BYTES, USAGE_MAGIC) } else { (LIMITS_BYTES, LIMITS_MAGIC) };
        let size = rustix::fs::fstat(fd.as_fd()).map_err(|e| e.to_string())?.st_size;
        if usize::try_from(size).is_ok_and(|size| size < bytes) {
            return Err("it is too short".into());
        }
        let read = ProtFlags::READ;
        let prot = if writable { read | ProtFlags::WRITE } else { read };
        // SAFETY: a fresh mapping of a length that the file has.
        let at = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), bytes, prot, MapFlags::SHARED, fd.as_fd(), 0)
        }
        .map_err(|e| e.to_string())?;
        let page = Self { at: at.cast(), bytes };
        if page.long(HEADER[0]).load(Ordering::Relaxed) != u64::from_le_bytes(*magic) {
            return Err("not such a page".into());
        }
        match page.word(HEADER[1]).load(Ordering::Relaxed) {
            LAYOUT => Ok(page),
            other => Err(format!("layout {other}")),
        }
    }

    pub(crate) fn word(&self, at: usize) -> &AtomicU32 {
        assert!(at + 4 <= self.bytes && at.is_multiple_of(4));
        // SAFETY: inside the mapping and aligned.
        unsafe { &*self.at.add(at).cast() }
    }

    pub(crate) fn long(&self, at: usize) -> &AtomicU64 {
        assert!(at + 8 <= self.bytes && at.is_multiple_of(8));
        // SAFETY: inside the mapping and aligned.
        unsafe { &*self.at.add(at).cast() }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`, and nothing borrowed from it outlives it.
        let _ = unsafe { rustix::mm::munmap(self.at.cast(), self.bytes) };
    }
}

/// One process of a lease with an old driver.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) limits: Page,
    pub(crate) usage: Page,
    pub(crate) slot: usize,
}

impl Process {
    fn slot(&self, field: usize) -> usize {
        USAGE.1 + self.slot * USAGE.2 + SLOT[field]
    }

    fn gate(&self) -> u32 {
        self.limits.word(LIMITS[1]).load(Ordering::Acquire)
    }

    /// Commands completed.
    pub(crate) fn completed(&self) -> u64 {
        self.usage.long(self.slot(4)).load(Ordering::Relaxed)
    }

    /// Counts a command in; the gate that was found closed, if it was, and whether to ring.
    pub(crate) fn enter(&self) -> Result<(), (u32, bool)> {
        self.usage.word(self.slot(2)).fetch_add(1, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        let gate = self.gate();
        if gate & (OPEN | UNGATED) != 0 {
            self.usage.long(self.slot(5)).fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        Err((gate, self.count_out()))
    }

    /// Counts a completed command out, that took so long; whether to ring.
    pub(crate) fn leave(&self, took_ns: u64) -> bool {
        self.usage.long(self.slot(8)).store(took_ns, Ordering::Relaxed);
        self.usage.long(self.slot(4)).fetch_add(1, Ordering::Relaxed);
        self.count_out()
    }

    fn count_out(&self) -> bool {
        let before = self.usage.word(self.slot(2)).fetch_sub(1, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        let gate = self.gate();
        before <= 1 && (gate & (OPEN | UNGATED) == 0 || gate & WATCH != 0)
    }

    /// A thread begins to wait for the gate.
    pub(crate) fn wait_begin(&self) {
        self.usage.word(self.slot(3)).fetch_add(1, Ordering::AcqRel);
        fence(Ordering::SeqCst);
    }

    /// It no longer waits.
    pub(crate) fn wait_end(&self) {
        self.usage.word(self.slot(3)).fetch_sub(1, Ordering::AcqRel);
    }

    /// Sleeps until the gate differs from `seen`, or for a twentieth of a second.
    pub(crate) fn wait_for_gate(&self, seen: u32) {
        let timeout = rustix::thread::futex::Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        let flags = rustix::thread::futex::Flags::empty();
        let gate = self.limits.word(LIMITS[1]);
        let _ = rustix::thread::futex::wait(gate, flags, seen, Some(&timeout));
    }

    /// Holds bytes of the lease's first device, as the old driver reserves them when it is alone.
    pub(crate) fn reserve(&self, bytes: u64) -> bool {
        let at = |field: usize, slot: usize| USAGE.1 + slot * USAGE.2 + SLOT_DEVICE.0 + field;
        let claim = self.usage.long(at(SLOT_DEVICE.2[0], self.slot));
        let held = |slot| self.usage.long(at(SLOT_DEVICE.2[1], slot));
        claim.store(bytes, Ordering::Release);
        fence(Ordering::SeqCst);
        let slots = self.usage.word(USAGE.0[0]).load(Ordering::Acquire) as usize;
        let sum: u64 = (0..slots).map(|slot| held(slot).load(Ordering::Acquire)).sum();
        let fits = sum + bytes <= self.limits.long(DEVICE.0 + DEVICE.2[0]).load(Ordering::Relaxed);
        if fits {
            held(self.slot).fetch_add(bytes, Ordering::AcqRel);
        }
        claim.store(0, Ordering::Release);
        fits
    }
}
