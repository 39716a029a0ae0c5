//! Device memory: reserved in the lease's ledger before the driver allocates, given back when the
//! driver has let go of it. What is charged, and on which devices, is each API's own affair.

use crate::locks::lock;
use crate::state::State;
use polder_ledger::memory::{LOOKS_MAX, charge, count, free, reserve};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Looks at a moving ledger before the thread sleeps between them.
const SPINS: u32 = LOOKS_MAX / 20;
/// Sleep between later looks.
const PAUSE: Duration = Duration::from_micros(20);

/// Where memory of a lease lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// On the device.
    Device,
    /// In the host memory behind it.
    Host,
}

/// Bytes held in the ledger; given back when dropped.
#[derive(Debug)]
pub struct Charge {
    state: &'static State,
    /// Device of the lease, and bytes.
    parts: Vec<(usize, u64)>,
}

impl Charge {
    /// Reserves `bytes` on each of `devices`; none when one of them has no room.
    pub fn reserve(state: &'static State, devices: &[usize], bytes: u64) -> Option<Self> {
        let mut charge = Self { state, parts: Vec::with_capacity(devices.len()) };
        devices.iter().all(|device| charge.add(*device, bytes)).then_some(charge)
    }

    /// Reserves `bytes` of the host memory behind each of `devices`; none when one of them has none
    /// behind it, or no room there.
    ///
    /// **Invariant.** What is reserved here is never on the device: whoever reserves it sees to that.
    /// So what a lease has on a device never passes the lease's memory there, whatever is behind it,
    /// and no lease ever yields a byte to another.
    pub fn reserve_behind(state: &'static State, devices: &[usize], bytes: u64) -> Option<Self> {
        let limits = state.attachment.as_ref()?.limits();
        let row = |device: &usize| limits.backing_row(*device);
        let rows: Vec<usize> = devices.iter().map(row).collect::<Option<_>>()?;
        Self::reserve(state, &rows, bytes).filter(|_| !rows.is_empty())
    }

    /// Reserves `bytes` on each of `devices`, or in the host memory behind each when one of them has
    /// no room: where, stands beside the charge.
    pub fn reserve_or_behind(
        state: &'static State,
        devices: &[usize],
        bytes: u64,
    ) -> Option<(Self, Home)> {
        if let Some(charge) = Self::reserve(state, devices, bytes) {
            return Some((charge, Home::Device));
        }
        let charge = Self::reserve_behind(state, devices, bytes)?;
        Self::was_met(state);
        Some((charge, Home::Host))
    }

    /// Counts `bytes` of host memory that are pinned. No limit holds them, so nothing is reserved, and they are
    /// no device's. None for the leases in whose pages there is no place to count them.
    pub fn pinned(state: &'static State, bytes: u64) -> Option<Self> {
        let attachment = state.attachment.as_ref()?;
        let row = attachment.limits().pinned_row()?;
        count(attachment.usage(), attachment.index(), row, bytes);
        Some(Self { state, parts: vec![(row, bytes)] })
    }

    /// What was just refused, and counted so, found another place: nothing was refused to the program.
    pub fn was_met(state: &State) {
        if let Some(attachment) = &state.attachment {
            attachment.slot().refused.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn add(&mut self, device: usize, bytes: u64) -> bool {
        let Some(attachment) = &self.state.attachment else { return false };
        let limits = &attachment.limits().device[device];
        let Some(bytes) = charge(bytes, limits.granularity.load(Ordering::Relaxed)) else {
            return false;
        };
        let limit = || attachment.memory_max(device);
        let mut looks = 0;
        let _one = lock(&self.state.reserving);
        let reserved =
            reserve(attachment.usage(), attachment.index(), device, bytes, limit, || {
                looks += 1;
                if looks < SPINS { std::thread::yield_now() } else { std::thread::sleep(PAUSE) }
            });
        if reserved.is_ok() {
            match self.parts.iter_mut().find(|(held, _)| *held == device) {
                Some((_, held)) => *held += bytes,
                None => self.parts.push((device, bytes)),
            }
        }
        reserved.is_ok()
    }

    /// Makes the charge fit the `bytes` that the driver says it took; false when that is more than
    /// there is room for.
    pub fn settle(&mut self, bytes: u64) -> bool {
        let devices: Vec<usize> = self.parts.iter().map(|(device, _)| *device).collect();
        let Some(attachment) = &self.state.attachment else { return false };
        devices.into_iter().enumerate().all(|(part, device)| {
            let granularity = &attachment.limits().device[device].granularity;
            let Some(wanted) = charge(bytes, granularity.load(Ordering::Relaxed)) else {
                return false;
            };
            let held = self.parts[part].1;
            if wanted < held {
                free(attachment.usage(), attachment.index(), device, held - wanted);
                self.parts[part].1 = wanted;
            }
            wanted <= held || self.add(device, wanted - held)
        })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        // In the child of a fork the bytes are the parent's.
        if !self.state.is_current() {
            return;
        }
        if let Some(attachment) = &self.state.attachment {
            for (device, bytes) in &self.parts {
                free(attachment.usage(), attachment.index(), *device, *bytes);
            }
        }
    }
}
