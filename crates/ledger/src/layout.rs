//! What lies where in the two pages. Both sides map the same bytes, perhaps from two versions of
//! Polder: a change of layout is a new [`LAYOUT`], and an agent serves the previous one too. What
//! stands here is layout 1; `tests/layout1.rs` keeps a copy of it that no change here reaches, and a
//! process that knows only that copy. A flag of the gate or a value that an old driver does not know
//! must be one that it may ignore; then the layout stays.

use crate::sync::{AtomicU32, AtomicU64, Ordering};
use thiserror::Error;

/// The layout this program speaks.
pub const LAYOUT: u32 = 1;
/// An arbiter that has not looked for this long is gone, nanoseconds.
pub const HEARTBEAT_NS_MAX: u64 = 1_000_000_000;
/// Most devices of one lease on one node.
pub const DEVICES_MAX: usize = if cfg!(loom) { 1 } else { 16 };
/// Most processes of one lease that use its devices at the same time.
pub const SLOTS_MAX: usize = if cfg!(loom) { 3 } else { 256 };

const MAGIC_LIMITS: u64 = u64::from_le_bytes(*b"PLDRLIM\0");
const MAGIC_USAGE: u64 = u64::from_le_bytes(*b"PLDRUSE\0");

/// Why a page was refused.
#[derive(Debug, Error)]
pub enum PageError {
    /// The bytes are not such a page.
    #[error("not a {page} page: its first bytes are {magic:#018x}")]
    NotAPage {
        /// Which page was expected.
        page: &'static str,
        /// What stood there.
        magic: u64,
    },
    /// Another layout.
    #[error(
        "{page} page has layout {found}, this program speaks {LAYOUT}: restart the task with one version of Polder"
    )]
    Layout {
        /// Which page.
        page: &'static str,
        /// What it says.
        found: u32,
    },
    /// Too short, or not sealed against shrinking, so that reading it could fault.
    #[error("{page} page cannot be trusted: {why}")]
    Unsafe {
        /// Which page.
        page: &'static str,
        /// What is wrong.
        why: &'static str,
    },
    /// The kernel refused.
    #[error("{what} for the {page} page: {errno}")]
    Kernel {
        /// Which page.
        page: &'static str,
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        #[source]
        errno: std::io::Error,
    },
}

#[repr(C)]
#[derive(Debug)]
struct Header {
    magic: AtomicU64,
    layout: AtomicU32,
    bytes: AtomicU32,
    lease: AtomicU64,
    /// Grows with each page of this kind that the lease has had: a restarted agent makes a new
    /// `Limits`.
    epoch: AtomicU64,
}

impl Header {
    fn new(magic: u64, bytes: u32, lease: u64, epoch: u64) -> Self {
        Self {
            magic: AtomicU64::new(magic),
            layout: AtomicU32::new(LAYOUT),
            bytes: AtomicU32::new(bytes),
            lease: AtomicU64::new(lease),
            epoch: AtomicU64::new(epoch),
        }
    }

    fn check(&self, page: &'static str, magic: u64, bytes: u32) -> Result<(), PageError> {
        let found = self.magic.load(Ordering::Relaxed);
        if found != magic {
            return Err(PageError::NotAPage { page, magic: found });
        }
        match self.layout.load(Ordering::Relaxed) {
            LAYOUT if self.bytes.load(Ordering::Relaxed) == bytes => Ok(()),
            LAYOUT => Err(PageError::Unsafe { page, why: "its header tells another length" }),
            found => Err(PageError::Layout { page, found }),
        }
    }
}

fn bytes_of<T>() -> u32 {
    u32::try_from(size_of::<T>()).expect("a page is under a MiB")
}

/// What one device of the lease may give. Written by the agent.
#[repr(C)]
#[derive(Debug)]
pub struct DeviceLimits {
    /// Most bytes the lease may hold on it.
    pub memory_max: AtomicU64,
    /// The driver's allocation granularity in bytes; charges are rounded up to it.
    pub granularity: AtomicU64,
    /// Guaranteed compute, thousandths.
    pub compute: AtomicU32,
    /// Most compute, thousandths.
    pub compute_max: AtomicU32,
    /// Device time charged so far, nanoseconds: from grant to release.
    pub charged_ns: AtomicU64,
    /// Of it, while another lease wanted the device.
    pub contended_ns: AtomicU64,
}

/// The agent's page: read-only to the tenant.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Limits {
    header: Header,
    /// Devices in use of `device`.
    pub devices: AtomicU32,
    /// Whose turn it is, as [`crate::gate`] encodes it. A futex word.
    pub gate: AtomicU32,
    /// `CLOCK_MONOTONIC` nanoseconds until which the holder may launch work that ends by then;
    /// `u64::MAX` while nobody else wants the devices.
    pub deadline_ns: AtomicU64,
    /// The quantum now in use, nanoseconds: how much estimated work may be in flight.
    pub quantum_ns: AtomicU64,
    /// When the arbiter last looked, `CLOCK_MONOTONIC` nanoseconds. When it is older than
    /// [`HEARTBEAT_NS_MAX`] the arbiter is gone, and processes keep to their share by themselves.
    pub heartbeat_ns: AtomicU64,
    /// By device, in the lease's order. Behind the last device come as many rows again for the host
    /// memory behind each, where the lease has any: see [`Limits::backing_row`].
    pub device: [DeviceLimits; DEVICES_MAX],
}

/// What one process holds of one device.
#[repr(C)]
#[derive(Debug)]
pub struct SlotDevice {
    /// Bytes being reserved: announced, not yet checked. Read before `held`.
    pub claim: AtomicU64,
    /// Bytes held.
    pub held: AtomicU64,
}

/// One process of the lease. The shim hands slots out and clears those of the dead.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Slot {
    /// 0 when free, else the process id the shim saw.
    pub pid: AtomicU32,
    /// Counts the processes this slot has served.
    pub generation: AtomicU32,
    /// Commands that are ready, launched and not complete.
    pub inflight: AtomicU32,
    /// Threads that wait for their turn.
    pub waiting: AtomicU32,
    /// Commands completed.
    pub completed: AtomicU64,
    /// Commands launched.
    pub launched: AtomicU64,
    /// Nanoseconds that threads waited for their turn.
    pub waited_ns: AtomicU64,
    /// Allocations refused.
    pub refused: AtomicU64,
    /// The longest command seen lately, nanoseconds.
    pub longest_ns: AtomicU64,
    /// By row of [`Limits::device`].
    pub device: [SlotDevice; DEVICES_MAX],
    /// Device time that the processes of this slot have counted, one after the other: see
    /// [`crate::busy`]. It lies where older versions of layout 1 have nothing.
    pub busy_ns: AtomicU64,
}

/// The tenant's page: written by its processes, never trusted.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Usage {
    header: Header,
    /// One more than the highest slot ever handed out: sums stop there.
    pub high_water: AtomicU32,
    /// By device: the most bytes held.
    pub peak: [AtomicU64; DEVICES_MAX],
    /// Sums of slots that are gone: completed, launched, waited, refused.
    pub retired: [AtomicU64; 4],
    /// Who had the lease's single command last, as [`crate::single`] encodes it. It lies where older
    /// versions of layout 1 have nothing, and may hold whatever stood there.
    pub single: AtomicU64,
    /// One per process.
    pub slot: [Slot; SLOTS_MAX],
}

impl Limits {
    /// A page for `lease` with every gate closed and no devices.
    #[must_use]
    pub fn new(lease: u64, epoch: u64) -> Self {
        Self {
            header: Header::new(MAGIC_LIMITS, bytes_of::<Self>(), lease, epoch),
            devices: AtomicU32::new(0),
            gate: AtomicU32::new(0),
            deadline_ns: AtomicU64::new(0),
            quantum_ns: AtomicU64::new(0),
            heartbeat_ns: AtomicU64::new(0),
            device: std::array::from_fn(|_| DeviceLimits {
                memory_max: AtomicU64::new(0),
                granularity: AtomicU64::new(1),
                compute: AtomicU32::new(0),
                compute_max: AtomicU32::new(0),
                charged_ns: AtomicU64::new(0),
                contended_ns: AtomicU64::new(0),
            }),
        }
    }

    /// Refuses bytes that are not this page in this layout.
    ///
    /// # Errors
    /// [`PageError::NotAPage`], [`PageError::Layout`], or [`PageError::Unsafe`].
    pub fn check(&self) -> Result<(), PageError> {
        self.header.check("limits", MAGIC_LIMITS, bytes_of::<Self>())
    }

    /// Whose page it is.
    pub fn lease(&self) -> u64 {
        self.header.lease.load(Ordering::Relaxed)
    }

    /// Which page of that lease it is.
    pub fn epoch(&self) -> u64 {
        self.header.epoch.load(Ordering::Relaxed)
    }

    /// Devices in use, whatever the page claims at most [`DEVICES_MAX`].
    pub fn device_count(&self) -> usize {
        (self.devices.load(Ordering::Relaxed) as usize).min(DEVICES_MAX)
    }

    /// The row of the host memory behind `device`, if the lease has any: `memory_max` there is how
    /// much, and what is held of it is reserved in the same row of each slot, as that of a device is.
    /// Whoever does not know of such rows never looks behind the last device.
    pub fn backing_row(&self, device: usize) -> Option<usize> {
        let devices = self.device_count();
        let row = devices.checked_add(device)?;
        let limits = self.device.get(row).filter(|_| device < devices)?;
        (limits.memory_max.load(Ordering::Relaxed) > 0).then_some(row)
    }

    /// What the driver holds on `device` for the lease's processes beyond what they have allocated, such as
    /// their contexts, bytes: already taken off `memory_max`. Kept where no device has its charges, in the row as far
    /// behind the last; none for a lease whose devices fill more than half of the rows; zero where
    /// an agent of an older version keeps the page.
    pub fn hidden(&self, device: usize) -> Option<&AtomicU64> {
        let devices = self.device_count();
        let row = devices.checked_add(device).filter(|_| device < devices)?;
        self.device.get(row).map(|row| &row.contended_ns)
    }

    /// The lease's memory on `device`, bytes: what its processes may allocate and what is
    /// [`hidden`](Self::hidden).
    pub fn memory(&self, device: usize) -> u64 {
        let most = self.device[device].memory_max.load(Ordering::Relaxed);
        let hidden = self.hidden(device).map_or(0, |hidden| hidden.load(Ordering::Relaxed));
        most.saturating_add(hidden)
    }

    /// How much of what the lease's processes have counted ([`crate::busy`]) is among what was charged,
    /// nanoseconds: kept where no device has its charge, in the row behind the last. None for a lease
    /// whose devices fill all rows; zero where an agent of an older version keeps the page.
    pub fn counted_ns(&self) -> Option<&AtomicU64> {
        self.device.get(self.device_count()).map(|row| &row.charged_ns)
    }

    /// Whether the agent that kept this page is gone at `now_ns` of the monotonic clock, or has not
    /// looked for too long to tell the difference.
    pub fn is_deserted(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.heartbeat_ns.load(Ordering::Acquire)) > HEARTBEAT_NS_MAX
    }

    /// The row of each slot in which stands how many bytes of host memory its process has pinned: no limit
    /// holds them, and nobody adds them to a device's. It is the last one, which drivers and agents of older
    /// versions never read and an older shim clears with all others when the process is gone.
    ///
    /// None where that row is a device's or lies behind one, which is so for leases of [`DEVICES_MAX`] devices, and of
    /// half as many with host memory behind them. How many there are, and whether any is behind them, stays
    /// what it is for as long as a lease lives.
    pub fn pinned_row(&self) -> Option<usize> {
        let last = DEVICES_MAX - 1;
        let before = last.checked_sub(self.device_count())?;
        self.backing_row(before).is_none().then_some(last)
    }

    /// Where the process of a slot counts launches of its callbacks that went without their turn: what it
    /// would claim in the row of what it has pinned. Nobody claims there, and whoever clears that row when the
    /// process is gone clears this too. None where there is no [such row](Self::pinned_row).
    pub fn out_of_turn<'a>(&self, slot: &'a Slot) -> Option<&'a AtomicU64> {
        self.pinned_row().map(|row| &slot.device[row].claim)
    }

    /// Rows that something may be held in: the devices', and those behind them.
    pub fn row_count(&self) -> usize {
        let devices = self.device_count();
        let behind = (0..devices).filter_map(|device| self.backing_row(device)).max();
        behind.map_or(devices, |last| last + 1)
    }
}

impl Slot {
    fn new() -> Self {
        Self {
            pid: AtomicU32::new(0),
            generation: AtomicU32::new(0),
            inflight: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            completed: AtomicU64::new(0),
            launched: AtomicU64::new(0),
            waited_ns: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            longest_ns: AtomicU64::new(0),
            device: std::array::from_fn(|_| SlotDevice {
                claim: AtomicU64::new(0),
                held: AtomicU64::new(0),
            }),
            busy_ns: AtomicU64::new(0),
        }
    }
}

impl Usage {
    /// A page for `lease` with every slot free.
    #[must_use]
    pub fn new(lease: u64) -> Self {
        Self {
            header: Header::new(MAGIC_USAGE, bytes_of::<Self>(), lease, 1),
            high_water: AtomicU32::new(0),
            peak: std::array::from_fn(|_| AtomicU64::new(0)),
            retired: std::array::from_fn(|_| AtomicU64::new(0)),
            single: AtomicU64::new(0),
            slot: std::array::from_fn(|_| Slot::new()),
        }
    }

    /// Refuses bytes that are not this page in this layout.
    ///
    /// # Errors
    /// [`PageError::NotAPage`], [`PageError::Layout`], or [`PageError::Unsafe`].
    pub fn check(&self) -> Result<(), PageError> {
        self.header.check("usage", MAGIC_USAGE, bytes_of::<Self>())
    }

    /// Whose page it is.
    pub fn lease(&self) -> u64 {
        self.header.lease.load(Ordering::Relaxed)
    }

    /// The slots ever handed out, whatever the page claims.
    pub fn slots(&self) -> &[Slot] {
        let high = self.high_water.load(Ordering::Acquire) as usize;
        &self.slot[..high.min(SLOTS_MAX)]
    }

    /// The shim hands slot `index` to the process `pid`; `generation` is what it is known by.
    pub fn claim_slot(&self, index: usize, pid: u32) -> u32 {
        let slot = &self.slot[index];
        let generation = slot.generation.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        slot.pid.store(pid, Ordering::Release);
        let above = u32::try_from(index + 1).expect("index is below SLOTS_MAX");
        self.high_water.fetch_max(above, Ordering::AcqRel);
        generation
    }

    /// The shim clears the slot of a process that is gone: what it held is free again. What it counted
    /// of the device's time stays: it is never moved, so nobody can see it missing or see it twice.
    pub fn retire_slot(&self, index: usize) {
        let slot = &self.slot[index];
        for (sum, counter) in self.retired.iter().zip([
            &slot.completed,
            &slot.launched,
            &slot.waited_ns,
            &slot.refused,
        ]) {
            sum.fetch_add(counter.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
        slot.inflight.store(0, Ordering::Release);
        slot.waiting.store(0, Ordering::Release);
        slot.longest_ns.store(0, Ordering::Relaxed);
        for device in &slot.device {
            device.claim.store(0, Ordering::Release);
            device.held.store(0, Ordering::Release);
        }
        slot.pid.store(0, Ordering::Release);
    }
}
