//! How much of its share a lease uses, from what the agent charges it in its page.
//!
//! The page counts device time from grant to release since the lease began; what a monitor asks for is a
//! rate. So the count is marked when NVML begins, and the rate is that of the time since the mark: 100
//! is a lease that uses all that it was promised, or more. A rate over too short a time would say more of
//! the arbiter's turns than of the lease, so a program that asks too early waits for the rest of
//! [`WINDOW_NS_MIN`] once, and later gets what it got before until as much time has passed again.

use crate::slice::attachment;
use polder_driver::locks::lock;
use polder_driver::state::PerProcess;
use polder_gpuapi::nvml::{consts::*, types::nvmlReturn_t};
use polder_ledger::{DEVICES_MAX, monotonic_ns};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Shortest time over which a rate is told, nanoseconds: the arbiter's page is some turns behind.
const WINDOW_NS_MIN: u64 = 250_000_000;
/// Longest: an older mark says nothing of now.
const WINDOW_NS_MAX: u64 = 10_000_000_000;

/// The count at a moment, and the rate that was told then.
#[derive(Debug, Clone, Copy)]
struct Mark {
    at_ns: u64,
    charged_ns: u64,
    told: Option<u32>,
}

/// By device of the lease.
#[derive(Debug, Default)]
struct Marks(Mutex<[Option<Mark>; DEVICES_MAX]>);

static MARKS: PerProcess<Marks> = PerProcess::new();

/// What is to be done when a rate is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Tell this, and keep the mark.
    Again(u32),
    /// Wait so long, nanoseconds, from this mark on.
    Wait(u64),
    /// Tell the rate since the mark, and mark anew.
    Tell(u32),
}

/// Per cent of `share` (thousandths of the device) that `charged_ns` in `passed_ns` are.
fn percent(charged_ns: u64, passed_ns: u64, share: u32) -> u32 {
    let promised = u128::from(passed_ns) * u128::from(share.max(1));
    let percent = u128::from(charged_ns) * 100_000 / promised.max(1);
    u32::try_from(percent.min(100)).expect("at most 100")
}

fn step(mark: Mark, now_ns: u64, charged_ns: u64, share: u32) -> Step {
    let passed_ns = now_ns.saturating_sub(mark.at_ns);
    match mark.told {
        Some(told) if passed_ns < WINDOW_NS_MIN => Step::Again(told),
        None if passed_ns < WINDOW_NS_MIN => Step::Wait(WINDOW_NS_MIN - passed_ns),
        _ => Step::Tell(percent(charged_ns.saturating_sub(mark.charged_ns), passed_ns, share)),
    }
}

/// What was charged on the lease's device at `place`, and its share in thousandths.
fn charged(place: usize) -> Result<(u64, u32), nvmlReturn_t> {
    let limits = attachment()?.limits();
    let device = limits.device.get(place).ok_or(NVML_ERROR_INVALID_ARGUMENT)?;
    Ok((device.charged_ns.load(Ordering::Relaxed), share(place)?))
}

/// What the lease was promised of its device at `place`, thousandths; of a lease that was promised
/// nothing, what it may have at most.
pub(crate) fn share(place: usize) -> Result<u32, nvmlReturn_t> {
    let device = attachment()?.limits().device.get(place).ok_or(NVML_ERROR_INVALID_ARGUMENT)?;
    let promised = device.compute.load(Ordering::Relaxed);
    Ok(if promised > 0 { promised } else { device.compute_max.load(Ordering::Relaxed) })
}

/// NVML has begun: rates count from here.
pub(crate) fn begin() {
    let Ok(attachment) = attachment() else { return };
    let limits = attachment.limits();
    let mut marks = lock(&MARKS.get().0);
    for (mark, device) in marks.iter_mut().zip(&limits.device[..limits.device_count()]) {
        let charged_ns = device.charged_ns.load(Ordering::Relaxed);
        mark.get_or_insert(Mark { at_ns: monotonic_ns(), charged_ns, told: None });
    }
}

/// Per cent of its share that the lease uses of its device at `place`.
pub(crate) fn rate(place: usize) -> Result<u32, nvmlReturn_t> {
    loop {
        let (charged_ns, share) = charged(place)?;
        let now_ns = monotonic_ns();
        let fresh = Mark { at_ns: now_ns, charged_ns, told: None };
        let wait_ns = {
            let mut marks = lock(&MARKS.get().0);
            let slot = marks.get_mut(place).ok_or(NVML_ERROR_INVALID_ARGUMENT)?;
            let old = |mark: Mark| now_ns.saturating_sub(mark.at_ns) > WINDOW_NS_MAX;
            let mark = slot.filter(|mark| !old(*mark)).unwrap_or(fresh);
            *slot = Some(mark);
            match step(mark, now_ns, charged_ns, share) {
                Step::Again(told) => return Ok(told),
                Step::Tell(told) => {
                    *slot = Some(Mark { told: Some(told), ..fresh });
                    return Ok(told);
                }
                Step::Wait(ns) => ns,
            }
        };
        // At most once or twice: after it the mark is old enough, or another thread has told.
        std::thread::sleep(Duration::from_nanos(wait_ns));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_the_share_and_never_above_a_hundred() {
        assert_eq!(percent(300, 1_000, 300), 100);
        assert_eq!(percent(150, 1_000, 300), 50);
        assert_eq!(percent(1_000, 1_000, 300), 100, "it was lent more");
        assert_eq!(percent(0, 0, 0), 0);
        assert_eq!(percent(u64::MAX, 1, 1), 100);
    }

    #[test]
    fn a_rate_is_told_over_a_time_that_is_long_enough() {
        let mark = Mark { at_ns: 1_000, charged_ns: 500, told: None };
        let now = |passed: u64| 1_000 + passed;
        let half = WINDOW_NS_MIN / 2;
        assert_eq!(step(mark, now(half), 500, 1000), Step::Wait(WINDOW_NS_MIN - half));
        let told = Mark { told: Some(40), ..mark };
        assert_eq!(step(told, now(half), 500, 1000), Step::Again(40));
        let used = 500 + WINDOW_NS_MIN / 2;
        assert_eq!(step(mark, now(WINDOW_NS_MIN), used, 1000), Step::Tell(50));
        // A page that another agent has begun anew counts less than before.
        assert_eq!(step(mark, now(WINDOW_NS_MIN), 0, 1000), Step::Tell(0));
    }
}
