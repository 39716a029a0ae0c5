//! Device memory: reserve, allocate for real, commit or roll back; free.
//!
//! **Invariant.** For each device of a lease, the sum of `held` over its slots never passes the
//! lease's memory, and a process that dies after any step leaves nothing behind but its own slot,
//! which the shim clears.
//!
//! There is no shared total that a death could leave wrong. A process announces a *claim* in its
//! own slot, then adds up every slot's claim and held bytes, and keeps its claim only if the sum
//! fits. Claims are announced before anything is read, with a full fence between, so of all the
//! processes whose reservations stand at one moment, the one that fenced last has counted all
//! others: the sum fits. A claim becomes held bytes in the order *held up, claim down*, and
//! readers read *claim, then held*, so bytes on their way are counted twice rather than not at all.
//!
//! Two claims that fit alone but not together would both fail; so the lower slot keeps its claim
//! and looks again while the higher withdraws, and claims again only when it sees no lower claim:
//! if it claimed at once, the two could meet for ever. An allocation is refused only for bytes
//! that are held, seen the same in two looks running.
//!
//! **The limit may fall** while processes reserve. They read it behind their fence, and who lowers it
//! writes it before his own ([`is_within`]): so either a reservation sees the lower limit, or he sees
//! its claim. Once he has seen that all that is held and claimed is within the lower limit, the sum
//! never passes it again.

use crate::layout::Usage;
use crate::sync::{Ordering, fence};
use thiserror::Error;

/// How often a reservation looks again while others move, before it gives up.
pub const LOOKS_MAX: u32 = if cfg!(loom) { 4 } else { 2000 };

/// The lease has no room for an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{asked} bytes asked, {held} of the lease's {limit} held")]
pub struct OverLimit {
    /// Bytes asked, rounded up to the granularity.
    pub asked: u64,
    /// Bytes held by all processes of the lease.
    pub held: u64,
    /// The lease's memory.
    pub limit: u64,
}

/// `bytes` rounded up to whole granules; `None` when that overflows.
#[must_use]
pub fn charge(bytes: u64, granularity: u64) -> Option<u64> {
    bytes.max(1).checked_next_multiple_of(granularity.max(1))
}

/// Reserves `bytes` of `device` for the process in slot `me`. The bytes count as held from the
/// moment this succeeds; roll back with [`free`] when the real allocation fails.
///
/// One reservation at a time per process: the caller holds its process-wide lock. `limit` reads the
/// lease's memory, bytes, and is asked anew in each look. `pause` is called between looks, so that a
/// test or a thread can decide how to wait.
///
/// # Errors
/// [`OverLimit`] when the lease has no room.
pub fn reserve(
    usage: &Usage,
    me: usize,
    device: usize,
    bytes: u64,
    limit: impl Fn() -> u64,
    mut pause: impl FnMut(),
) -> Result<(), OverLimit> {
    let mine = &usage.slot[me].device[device];
    let mut last_refusal = None;
    let mut yielding = false;
    for _ in 0..LOOKS_MAX {
        if yielding && look(usage, me, device).claims_below > 0 {
            pause();
            continue;
        }
        yielding = false;
        mine.claim.store(bytes, Ordering::Release);
        fence(Ordering::SeqCst);
        let limit = limit();
        let seen = look(usage, me, device);
        let sum = seen.held.checked_add(bytes).filter(|sum| *sum <= limit);
        let Some(sum) = sum else {
            mine.claim.store(0, Ordering::Release);
            if last_refusal == Some(seen.held) {
                break;
            }
            last_refusal = Some(seen.held);
            continue;
        };
        last_refusal = None;
        let claims = seen.claims_below.saturating_add(seen.claims_above);
        if sum.checked_add(claims).is_some_and(|all| all <= limit) {
            mine.held.fetch_add(bytes, Ordering::AcqRel);
            mine.claim.store(0, Ordering::Release);
            usage.peak[device].fetch_max(sum, Ordering::Relaxed);
            return Ok(());
        }
        if seen.claims_below > 0 {
            mine.claim.store(0, Ordering::Release);
            yielding = true;
        }
        pause();
    }
    mine.claim.store(0, Ordering::Release);
    usage.slot[me].refused.fetch_add(1, Ordering::Relaxed);
    Err(OverLimit { asked: bytes, held: look(usage, me, device).held, limit: limit() })
}

/// Whether all that is held of `device`, and all that anybody is about to hold, is within `limit`
/// bytes. Who has lowered the limit before asking knows by it that nothing passes it from now on.
#[must_use]
pub fn is_within(usage: &Usage, device: usize, limit: u64) -> bool {
    fence(Ordering::SeqCst);
    let seen = look(usage, usize::MAX, device);
    seen.held.checked_add(seen.claims_below).is_some_and(|all| all <= limit)
}

/// Counts `bytes` of what no limit holds, in a row that is no device's: see
/// [`Limits::pinned_row`](crate::Limits::pinned_row). Given back with [`free`].
pub fn count(usage: &Usage, me: usize, row: usize, bytes: u64) {
    change(usage, me, row, |held| held.saturating_add(bytes));
}

/// Gives `bytes` back after the driver has really released them. Never below zero, whatever the
/// caller believes it held.
pub fn free(usage: &Usage, me: usize, device: usize, bytes: u64) {
    change(usage, me, device, |held| held.saturating_sub(bytes));
}

fn change(usage: &Usage, me: usize, row: usize, then: impl Fn(u64) -> u64) {
    let held = &usage.slot[me].device[row].held;
    let mut now = held.load(Ordering::Acquire);
    while let Err(seen) = held.compare_exchange(now, then(now), Ordering::AcqRel, Ordering::Acquire)
    {
        now = seen;
    }
}

/// Bytes of `device` held by all processes of the lease.
#[must_use]
pub fn held(usage: &Usage, device: usize) -> u64 {
    usage
        .slots()
        .iter()
        .map(|slot| slot.device[device].held.load(Ordering::Acquire))
        .fold(0, u64::saturating_add)
}

struct Seen {
    held: u64,
    claims_below: u64,
    claims_above: u64,
}

fn look(usage: &Usage, me: usize, device: usize) -> Seen {
    let mut seen = Seen { held: 0, claims_below: 0, claims_above: 0 };
    for (index, slot) in usage.slots().iter().enumerate() {
        let slot = &slot.device[device];
        let claim = slot.claim.load(Ordering::Acquire);
        let held = slot.held.load(Ordering::Acquire);
        seen.held = seen.held.saturating_add(held);
        if index < me {
            seen.claims_below = seen.claims_below.saturating_add(claim);
        } else if index > me {
            seen.claims_above = seen.claims_above.saturating_add(claim);
        }
    }
    seen
}
