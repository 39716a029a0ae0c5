//! Files of the lease's folder that are whole or absent, and the boot they belong to.

use super::protocol::{PLAN_FILE, Plan, STATUS_FILE, ShimState};
use crate::paths::{read_whole, write_whole};
use std::io;
use std::path::Path;

/// Writes the lease's plan into its folder.
///
/// # Errors
/// What the system says.
pub fn write_plan(dir: &Path, plan: &Plan) -> io::Result<()> {
    // After a power cut no task is alive and no plan is needed, so nothing waits for the disk.
    write_whole(&dir.join(PLAN_FILE), plan, false)
}

/// Reads the lease's plan; `None` when there is none.
///
/// # Errors
/// What the system says, or `InvalidData`.
pub fn read_plan(dir: &Path) -> io::Result<Option<Plan>> {
    read_whole(&dir.join(PLAN_FILE))
}

/// Writes the shim's state. With `durable` it has reached the disk when this returns. Only an end
/// needs that: after a power cut every lease without a known end is lost, whatever it was before.
///
/// # Errors
/// What the system says.
pub(crate) fn write_status(dir: &Path, state: &ShimState, durable: bool) -> io::Result<()> {
    write_whole(&dir.join(STATUS_FILE), state, durable)
}

/// Reads the last state that the shim wrote; `None` when it wrote none.
///
/// # Errors
/// What the system says, or `InvalidData`.
pub fn read_status(dir: &Path) -> io::Result<Option<ShimState>> {
    read_whole(&dir.join(STATUS_FILE))
}

/// The kernel's id of this boot.
///
/// # Errors
/// What the system says.
pub fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Microseconds since boot, sleep included.
#[must_use]
pub fn boot_micros() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000).saturating_add(u64::try_from(now.tv_nsec / 1000).unwrap_or(0))
}
