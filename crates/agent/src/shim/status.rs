//! Files of the lease's folder that are whole or absent, and the boot they belong to.

use super::protocol::{PLAN_FILE, Plan, STATUS_FILE, ShimState};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// Largest file that is read back. An order holds at most [`polder_model::TEXT_BYTES_MAX`] bytes of
/// text, which JSON may spell in up to six bytes each.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Writes the lease's plan into its folder.
///
/// # Errors
/// What the system says.
pub fn write_plan(dir: &Path, plan: &Plan) -> io::Result<()> {
    // After a power cut no task is alive and no plan is needed, so nothing waits for the disk.
    write(dir, PLAN_FILE, plan, false)
}

/// Reads the lease's plan; `None` when there is none.
///
/// # Errors
/// What the system says, or `InvalidData`.
pub fn read_plan(dir: &Path) -> io::Result<Option<Plan>> {
    read(dir, PLAN_FILE)
}

/// Writes the shim's state. With `durable` it has reached the disk when this returns. Only an end
/// needs that: after a power cut every lease without a known end is lost, whatever it was before.
///
/// # Errors
/// What the system says.
pub(crate) fn write_status(dir: &Path, state: &ShimState, durable: bool) -> io::Result<()> {
    write(dir, STATUS_FILE, state, durable)
}

/// Reads the last state that the shim wrote; `None` when it wrote none.
///
/// # Errors
/// What the system says, or `InvalidData`.
pub fn read_status(dir: &Path) -> io::Result<Option<ShimState>> {
    read(dir, STATUS_FILE)
}

fn write(dir: &Path, name: &str, value: &impl serde::Serialize, durable: bool) -> io::Result<()> {
    let fresh = dir.join(format!("{name}.new"));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let mut file = File::from(rustix::fs::open(&fresh, flags | OFlags::NOFOLLOW, mode)?);
    file.write_all(&serde_json::to_vec(value)?)?;
    if durable {
        file.sync_all()?;
    }
    std::fs::rename(&fresh, dir.join(name))?;
    if durable {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

fn read<T: serde::de::DeserializeOwned>(dir: &Path, name: &str) -> io::Result<Option<T>> {
    let file = match File::open(dir.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(Some(serde_json::from_slice(&bytes)?))
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
