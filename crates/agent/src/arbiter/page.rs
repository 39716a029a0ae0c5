//! One lease's pages as the arbiter holds them: filled, sampled, carried over.

use super::core::Told;
use super::hidden::Hidden;
use polder_ledger::gate::{self, Census};
use polder_ledger::{
    DEVICES_MAX, HEARTBEAT_NS_MAX, Limits, LimitsWriter, Mapped, PageError, Usage, monotonic_ns,
};
use polder_model::{
    Bytes, DeviceId, DeviceSample, LeaseId, LeaseSample, Micros, Permille, TenantPath, UserName,
    WorkClass,
};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a lease may have of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Which.
    pub device: DeviceId,
    /// Guaranteed compute: its weight while others want the device too.
    pub compute: Permille,
    /// Most compute, also when alone; a whole device means no cap.
    pub compute_max: Permille,
    /// Most memory.
    pub memory: Bytes,
    /// Most host memory behind it.
    pub backing: Bytes,
    /// The driver's allocation granularity.
    pub granularity: Bytes,
}

/// What a lease may have of the node's devices, and how urgently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// By device, in the lease's order.
    pub devices: Vec<Share>,
    /// Whether somebody waits for its work.
    pub class: WorkClass,
    /// Within its share it goes before leases of the same urgency with less.
    pub priority: i32,
    /// Whose it is: what one lease owes when it ends, the owner's next ones owe. Of nobody nothing is left.
    pub owner: Option<Owner>,
}

/// Who owes what a lease has left: a tenant, and which user of it.
pub type Owner = (TenantPath, UserName);

impl Terms {
    /// Those of a batch job without a priority, of nobody.
    #[must_use]
    pub const fn batch(devices: Vec<Share>) -> Self {
        Self { devices, class: WorkClass::Batch, priority: 0, owner: None }
    }
}

/// What an earlier agent had charged on one device, nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carried {
    /// Device time charged.
    pub charged_ns: u64,
    /// Of it, while another lease wanted the device.
    pub contended_ns: u64,
}

/// What the `Limits` page of an agent that is gone says: its successor goes on from there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Before {
    /// Which page of the lease it was.
    pub epoch: u64,
    /// By device, in the lease's order.
    pub devices: Vec<Carried>,
    /// Up to where what the lease's processes have counted was charged; none when nobody wrote it down.
    pub counted_ns: Option<u64>,
    /// When that agent last looked, nanoseconds of the monotonic clock.
    pub looked_ns: u64,
    /// By device: what the driver held for the lease's processes beyond what they had allocated, bytes.
    pub hidden: Vec<u64>,
}

impl Before {
    /// Reads them from that page.
    #[must_use]
    pub fn of(page: &Limits) -> Self {
        let carried = page.device[..page.device_count()].iter().map(|device| Carried {
            charged_ns: device.charged_ns.load(Ordering::Relaxed),
            contended_ns: device.contended_ns.load(Ordering::Relaxed),
        });
        let counted_ns = page.counted_ns().map(|counted| counted.load(Ordering::Relaxed));
        Self {
            epoch: page.epoch(),
            devices: carried.collect(),
            counted_ns: counted_ns.filter(|ns| *ns > 0),
            looked_ns: page.heartbeat_ns.load(Ordering::Relaxed),
            hidden: (0..page.device_count()).map(|device| hidden(page, device)).collect(),
        }
    }

    /// Where its successor goes on, now that the processes have counted `counted_ns`. What was charged by
    /// an agent that did not write down how far it had come is taken for what had been counted by then.
    pub(super) fn told(&self, now_ns: u64, counted_ns: u64) -> Told {
        let charged_ns = self.devices.iter().map(|device| device.charged_ns).max();
        match self.counted_ns.or(charged_ns.map(|charged_ns| charged_ns.min(counted_ns))) {
            Some(upto_ns) => Told { upto_ns, away_ns: now_ns.saturating_sub(self.looked_ns) },
            // Of an agent of which nothing is known nothing is owed.
            None => Told { upto_ns: counted_ns, away_ns: 0 },
        }
    }

    /// What the lease's processes have counted and nobody has charged, nanoseconds: for who tells of a
    /// lease's end without an arbiter. At most the time since that agent last looked.
    #[must_use]
    pub fn owed_ns(&self, now_ns: u64, counted_ns: u64) -> u64 {
        self.told(now_ns, counted_ns).owed_ns(counted_ns)
    }
}

/// What a page says is hidden on a device of it, bytes.
fn hidden(page: &Limits, device: usize) -> u64 {
    page.hidden(device).map_or(0, |hidden| hidden.load(Ordering::Relaxed))
}

/// The machine's memory.
fn host_memory() -> Bytes {
    let facts = rustix::system::sysinfo();
    Bytes(facts.totalram.saturating_mul(facts.mem_unit.into()))
}

/// A lease's memory on one device, and what of it is the driver's.
#[derive(Debug, Default)]
struct Granted {
    /// Bytes.
    memory: u64,
    /// The most that it was, and the most behind it, bytes: more its processes cannot have held.
    largest: (u64, u64),
    hidden: Hidden,
    hidden_now: u64,
    hidden_peak: u64,
}

impl Granted {
    /// Of so many bytes, of which an earlier agent knew so many to be hidden.
    fn new(share: &Share, hidden: Option<u64>) -> Self {
        let now = hidden.unwrap_or(0);
        let (memory, hidden) = (share.memory.0, Hidden::from(now));
        let largest = (share.memory.0, share.backing.0);
        Self { memory, largest, hidden, hidden_now: now, hidden_peak: now }
    }
}

/// A lease's pages and doorbell.
#[derive(Debug)]
pub(super) struct LeasePages {
    pub(super) limits: LimitsWriter,
    pub(super) usage: Mapped<Usage>,
    pub(super) doorbell: OwnedFd,
    /// How far an earlier agent had come.
    pub(super) before: Option<Told>,
    /// Up to when a process may still go by an earlier agent's page, `CLOCK_MONOTONIC` nanoseconds; 0
    /// when there was none.
    earlier_until_ns: u64,
    devices: Vec<DeviceId>,
    /// By device.
    granted: Mutex<Vec<Granted>>,
    /// Processes that have been moved off the devices; that there are any.
    away: Mutex<BTreeSet<u32>>,
    any_away: AtomicBool,
    /// By device: what is owed of it.
    owed: Mutex<Vec<Micros>>,
}

/// Least device time that is told as owed: within a turn or two every lease owes some.
const OWED_NS_MIN: u64 = 100_000_000;

impl LeasePages {
    /// Creates and fills the lease's `Limits`, its gate closed.
    pub(super) fn create(
        lease: LeaseId,
        shares: &[Share],
        usage: Mapped<Usage>,
        doorbell: OwnedFd,
        before: Option<&Before>,
        in_flight_ns: u64,
    ) -> Result<Self, PageError> {
        let epoch = before.map_or(0, |before| before.epoch).saturating_add(1);
        let limits = LimitsWriter::create(lease.0, epoch)?;
        let devices = shares.iter().map(|share| share.device.clone()).collect();
        let told =
            before.map(|before| before.told(monotonic_ns(), polder_ledger::busy::total(&usage)));
        let known = |at: usize| before.and_then(|before| before.hidden.get(at)).copied();
        let granted = shares.iter().enumerate().map(|(at, share)| Granted::new(share, known(at)));
        let granted = Mutex::new(granted.collect());
        let earlier_until_ns =
            before.map_or(0, |_| monotonic_ns().saturating_add(HEARTBEAT_NS_MAX));
        let pages = Self {
            limits,
            usage,
            doorbell,
            before: told,
            earlier_until_ns,
            devices,
            granted,
            away: Mutex::default(),
            any_away: AtomicBool::new(false),
            owed: Mutex::default(),
        };
        pages.fill(shares);
        for (index, carried) in before.iter().flat_map(|before| &before.devices).enumerate() {
            if index < shares.len() {
                pages.charge(index, *carried);
            }
        }
        pages.limits.quantum_ns.store(in_flight_ns, Ordering::Relaxed);
        pages.limits.heartbeat_ns.store(monotonic_ns(), Ordering::Relaxed);
        let count = u32::try_from(shares.len().min(DEVICES_MAX)).expect("DEVICES_MAX is small");
        pages.limits.devices.store(count, Ordering::Release);
        pages.tell_memory(&pages.granted());
        if let Some(told) = told {
            pages.keep_counted(told.upto_ns);
        }
        Ok(pages)
    }

    /// Writes what the lease may have of each device.
    pub(super) fn fill(&self, shares: &[Share]) {
        let mut granted = self.granted();
        for (granted, share) in granted.iter_mut().zip(shares) {
            granted.memory = share.memory.0;
            let (memory, backing) = granted.largest;
            granted.largest = (memory.max(share.memory.0), backing.max(share.backing.0));
        }
        self.tell_memory(&granted);
        for (limits, share) in self.limits.device.iter().zip(shares) {
            limits.granularity.store(share.granularity.0.max(1), Ordering::Relaxed);
            limits.compute.store(share.compute.0, Ordering::Relaxed);
            limits.compute_max.store(share.compute_max.0, Ordering::Relaxed);
        }
        // Before the number of devices is told, and never beyond the last row: a lease of more
        // devices than there are rows for is refused when it is asked for.
        for (limits, share) in self.limits.device.iter().skip(shares.len()).zip(shares) {
            limits.memory_max.store(share.backing.0, Ordering::Relaxed);
            limits.granularity.store(share.granularity.0.max(1), Ordering::Relaxed);
        }
    }

    fn granted(&self) -> MutexGuard<'_, Vec<Granted>> {
        // No code panics while it holds the lock; the numbers are whole in any case.
        self.granted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes how much the lease's programs may allocate, and what is hidden from them.
    fn tell_memory(&self, granted: &[Granted]) {
        for (at, granted) in granted.iter().enumerate().take(DEVICES_MAX) {
            let most = granted.memory.saturating_sub(granted.hidden_now);
            self.limits.device[at].memory_max.store(most, Ordering::Relaxed);
            if let Some(hidden) = self.limits.hidden(at) {
                hidden.store(granted.memory - most, Ordering::Relaxed);
            }
        }
    }

    /// Takes what a device's driver says that each process has of its memory, bytes, and which processes it
    /// names: what of it the lease's own processes did not allocate comes off what they may.
    pub(super) fn used(&self, device: &DeviceId, used: &[(u32, u64)], named: &[u32]) {
        let Some(at) = self.devices.iter().position(|own| own == device) else { return };
        let mut held: BTreeMap<u32, u64> = BTreeMap::new();
        for slot in self.usage.slots() {
            let pid = slot.pid.load(Ordering::Acquire);
            if pid != 0 {
                // A process that has loaded two of Polder's libraries has a slot for each.
                let sum = held.entry(pid).or_default();
                *sum = sum.saturating_add(slot.device[at].held.load(Ordering::Acquire));
            }
        }
        let mut granted = self.granted();
        let Some(here) = granted.get_mut(at) else { return };
        here.hidden_now = here.hidden.look(used.iter().copied(), named, held);
        here.hidden_peak = here.hidden_peak.max(here.hidden_now);
        self.tell_memory(&granted);
        let is_here = |pid: u32| granted.iter().any(|device| device.hidden.has(pid));
        let away = granted.iter().flat_map(|device| device.hidden.away());
        let away: BTreeSet<u32> = away.filter(|pid| !is_here(*pid)).collect();
        self.any_away.store(!away.is_empty(), Ordering::Release);
        *self.away.lock().unwrap_or_else(PoisonError::into_inner) = away;
    }

    /// What it owes of each device, nanoseconds.
    pub(super) fn owes(&self, each: impl Iterator<Item = u64>) {
        let told = |ns: u64| Micros(if ns < OWED_NS_MIN { 0 } else { ns / 1000 });
        *self.owed.lock().unwrap_or_else(PoisonError::into_inner) = each.map(told).collect();
    }

    /// What its processes have under way on the devices.
    pub(super) fn census(&self) -> Census {
        if !self.any_away.load(Ordering::Acquire) {
            return gate::census(&self.usage);
        }
        let away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        gate::census_but(&self.usage, |pid| away.contains(&pid))
    }

    /// Whether the lease's processes hold no more than this page allows and can come to hold no more:
    /// none of them goes by an earlier agent's page, and none began to reserve before this was filled.
    /// What the driver holds for them counts as far as it is known.
    pub(super) fn is_in_force(&self, now_ns: u64) -> bool {
        let is_within = |row: usize| {
            let limit = self.limits.device[row].memory_max.load(Ordering::Relaxed);
            polder_ledger::memory::is_within(&self.usage, row, limit)
        };
        let granted = self.granted();
        now_ns > self.earlier_until_ns
            && granted.iter().all(|device| device.hidden_now <= device.memory)
            && (0..self.limits.row_count()).all(is_within)
    }

    /// Bytes held of the host memory behind a device.
    fn backing_held(&self, index: usize) -> u64 {
        let row = self.limits.backing_row(index);
        row.map_or(0, |row| polder_ledger::memory::held(&self.usage, row))
    }

    /// Adds to what was charged on device `index` of the lease.
    pub(super) fn charge(&self, index: usize, more: Carried) {
        let device = &self.limits.device[index];
        device.charged_ns.fetch_add(more.charged_ns, Ordering::Relaxed);
        device.contended_ns.fetch_add(more.contended_ns, Ordering::Relaxed);
    }

    /// Writes down up to where what the processes have counted is charged. Before the charges
    /// themselves: whoever dies in between has charged a moment too little, and nothing twice.
    pub(super) fn keep_counted(&self, upto_ns: u64) {
        if let Some(counted) = self.limits.counted_ns() {
            counted.store(upto_ns, Ordering::Release);
        }
    }

    pub(super) fn devices(&self) -> &[DeviceId] {
        &self.devices
    }

    /// The host memory that the lease's processes say they have pinned: at most what there is on the node.
    fn pinned(&self, most: Bytes) -> Bytes {
        let row = self.limits.pinned_row();
        let held = row.map_or(0, |row| polder_ledger::memory::held(&self.usage, row));
        Bytes(held).min(most)
    }

    /// What the lease has used so far. No memory is told that it cannot have had, whatever its page says;
    /// its counts are as they stand there ([`crate::sample::within`]).
    pub(super) fn sample(&self) -> LeaseSample {
        let usage: &Usage = &self.usage;
        let granted = self.granted();
        let sum = |retired: usize, of: fn(&polder_ledger::Slot) -> &AtomicU64| {
            usage
                .slots()
                .iter()
                .map(|slot| of(slot).load(Ordering::Relaxed))
                .fold(usage.retired[retired].load(Ordering::Relaxed), u64::saturating_add)
        };
        let refused = sum(3, |slot| &slot.refused);
        let owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let micros = |ns: &AtomicU64| Micros(ns.load(Ordering::Relaxed) / 1000);
        let device = |(index, device): (usize, &DeviceId)| {
            let known = granted.get(index);
            let (most, most_behind) = known.map_or((0, 0), |it| it.largest);
            let hidden = known.map_or((0, 0), |it| (it.hidden_now, it.hidden_peak));
            let held = polder_ledger::memory::held(usage, index).min(most);
            let memory = held.saturating_add(hidden.0);
            let peak = usage.peak[index].load(Ordering::Relaxed).min(most);
            let peak = peak.saturating_add(hidden.1);
            DeviceSample {
                device: device.clone(),
                device_time: micros(&self.limits.device[index].charged_ns),
                contended_time: micros(&self.limits.device[index].contended_ns),
                memory: Bytes(memory),
                // At most: not all of it need have been at once.
                memory_peak: Bytes(peak.max(memory)),
                // The pages count refusals by process, not by device; the first device shows them.
                refused: if index == 0 { refused } else { 0 },
                backing: Bytes(self.backing_held(index).min(most_behind)),
                throttle: Vec::new(),
                owed: owed.get(index).copied().unwrap_or(Micros(0)),
            }
        };
        LeaseSample {
            devices: self.devices.iter().enumerate().map(device).collect(),
            processes: polder_ledger::gate::census(usage).processes,
            launches: sum(1, |slot| &slot.launched),
            waited: Micros(sum(2, |slot| &slot.waited_ns) / 1000),
            host_pinned: self.pinned(host_memory()),
            ..LeaseSample::default()
        }
    }
}
