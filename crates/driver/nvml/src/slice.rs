//! The lease's devices, in its order, known by their UUIDs: an index of the vendor's depends on the
//! machine. Nothing is kept: a handle is good between one beginning and one end of NVML only.
#![allow(unsafe_code)] // asking the vendor

use crate::real::{checked, real};
use polder_driver::attach::Attachment;
use polder_driver::state;
use polder_gpuapi::nvml::{consts::*, types::*};
use std::collections::BTreeMap;
use std::ffi::{CString, c_char};
use std::ptr::null_mut;
use std::sync::atomic::Ordering;

/// Room for the longest UUID, that of an instance, in bytes.
const UUID_BYTES_MAX: usize = 96;

/// The process's place in its lease.
///
/// # Errors
/// The child of a fork may have been refused.
pub(crate) fn attachment() -> Result<&'static Attachment, nvmlReturn_t> {
    state::get().attachment.as_ref().ok_or(NVML_ERROR_NO_PERMISSION)
}

/// The lease's cards: the place of each in the pages, and its UUID.
fn cards() -> Result<impl Iterator<Item = (usize, [u8; 16])>, nvmlReturn_t> {
    let places = attachment()?.routes().iter().enumerate();
    Ok(places.filter_map(|(place, route)| Some((place, route.cuda.as_ref()?.uuid))))
}

/// How many cards the lease has.
pub(crate) fn count() -> Result<usize, nvmlReturn_t> {
    Ok(cards()?.count())
}

/// The handle of the lease's card at `index`.
pub(crate) fn at(index: usize) -> Result<nvmlDevice_t, nvmlReturn_t> {
    let (_, uuid) = cards()?.nth(index).ok_or(NVML_ERROR_INVALID_ARGUMENT)?;
    let text = CString::new(text(uuid)).expect("a UUID has no NUL");
    let mut device = null_mut();
    checked(real!(nvmlDeviceGetHandleByUUID(text.as_ptr(), &raw mut device)))?;
    Ok(device)
}

/// The index of a card among the lease's, and its place in the pages; none for somebody else's.
pub(crate) fn find(device: nvmlDevice_t) -> Result<Option<(usize, usize)>, nvmlReturn_t> {
    let mut said: [c_char; UUID_BYTES_MAX] = [0; UUID_BYTES_MAX];
    // The vendor is told of one byte less, so that the text ends whatever it writes.
    let room = u32::try_from(UUID_BYTES_MAX - 1).expect("a small number");
    checked(real!(nvmlDeviceGetUUID(device, said.as_mut_ptr(), room)))?;
    let said: Vec<u8> =
        said.iter().take_while(|one| **one != 0).map(|one| one.cast_unsigned()).collect();
    let Some(uuid) = bytes(&said) else { return Ok(None) };
    let of_lease = cards()?.enumerate().find(|(_, (_, own))| *own == uuid);
    Ok(of_lease.map(|(index, (place, _))| (index, place)))
}

/// The place in the pages of a card of the lease.
pub(crate) fn place(device: nvmlDevice_t) -> Result<usize, nvmlReturn_t> {
    find(device)?.map(|(_, place)| place).ok_or(NVML_ERROR_INVALID_ARGUMENT)
}

/// `GPU-01234567-89ab-...`, as NVML prints it.
fn text(uuid: [u8; 16]) -> String {
    let mut text = String::from("GPU");
    for (at, byte) in uuid.iter().enumerate() {
        if [0, 4, 6, 8, 10].contains(&at) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// The sixteen bytes of a card's UUID; none for anything else, such as an instance's.
fn bytes(text: &[u8]) -> Option<[u8; 16]> {
    let text = std::str::from_utf8(text).ok()?.strip_prefix("GPU-")?;
    let digits: String = text.chars().filter(|one| *one != '-').collect();
    if digits.len() != 32 || !digits.is_ascii() {
        return None;
    }
    let mut bytes = [0; 16];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// The lease's memory on its device at `place`, and what is used of it, in bytes: what its processes hold
/// and what the driver holds for them.
pub(crate) fn memory(place: usize) -> Result<(u64, u64), nvmlReturn_t> {
    let attachment = attachment()?;
    let limits = attachment.limits();
    if place >= limits.device.len() {
        return Err(NVML_ERROR_INVALID_ARGUMENT);
    }
    let hidden = limits.hidden(place).map_or(0, |hidden| hidden.load(Ordering::Relaxed));
    let held = polder_ledger::memory::held(attachment.usage(), place);
    Ok((limits.memory(place), held.saturating_add(hidden)))
}

/// The lease's processes, and the bytes that each holds of its device at `place`. A process that has
/// loaded two of Polder's libraries has a slot for each.
pub(crate) fn processes(place: usize) -> Result<BTreeMap<u32, u64>, nvmlReturn_t> {
    let mut all = BTreeMap::new();
    for slot in attachment()?.usage().slots() {
        let pid = slot.pid.load(Ordering::Acquire);
        let held = slot.device.get(place).map_or(0, |it| it.held.load(Ordering::Acquire));
        if pid != 0 {
            let sum: &mut u64 = all.entry(pid).or_default();
            *sum = sum.saturating_add(held);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_written_as_the_vendor_does_and_read_back() {
        let uuid = *b"stand-in device0";
        assert_eq!(text(uuid), "GPU-7374616e-642d-696e-2064-657669636530");
        assert_eq!(bytes(text(uuid).as_bytes()), Some(uuid));
        for odd in ["", "GPU-", "MIG-7374616e-642d-696e-2064-657669636530", "GPU-é", "GPU-7374"] {
            assert_eq!(bytes(odd.as_bytes()), None, "{odd}");
        }
        assert_eq!(bytes(b"GPU-\xff\xfe"), None);
    }
}
