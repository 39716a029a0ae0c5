//! The lease's memory: its limit for the card's, what its processes hold for what is used. Of what is
//! free, no more than the card has: neighbours' contexts take memory that nobody names.
#![allow(unsafe_code)] // functions called from C
#![allow(non_snake_case)] // the API's own names

use super::{answer, put};
use crate::real::{checked, real};
use crate::slice;
use polder_gpuapi::nvml::{consts::*, types::*};

/// Total, free and used bytes of a slice with this `limit` that holds `held`, on a card with `total` and
/// `free`.
fn slice_of(limit: u64, held: u64, total: u64, free: u64) -> (u64, u64, u64) {
    let total = total.min(limit);
    let used = held.min(total);
    (total, (total - used).min(free), used)
}

pub(super) unsafe extern "C" fn nvmlDeviceGetMemoryInfo(
    device: nvmlDevice_t,
    memory: *mut nvmlMemory_t,
) -> nvmlReturn_t {
    answer(|| {
        let place = slice::place(device)?;
        let mut card = nvmlMemory_t { total: 0, free: 0, used: 0 };
        checked(real!(nvmlDeviceGetMemoryInfo(device, &raw mut card)))?;
        let (limit, held) = slice::memory(place)?;
        let (total, free, used) = slice_of(limit, held, card.total, card.free);
        put(memory, nvmlMemory_t { total, free, used })
    })
}

pub(super) unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(
    device: nvmlDevice_t,
    memory: *mut nvmlMemory_v2_t,
) -> nvmlReturn_t {
    answer(|| {
        let place = slice::place(device)?;
        // SAFETY: the program's own, in which it has put the version, on which the vendor judges.
        let version = unsafe { memory.as_ref() }.ok_or(NVML_ERROR_INVALID_ARGUMENT)?.version;
        let mut card = nvmlMemory_v2_t { version, total: 0, reserved: 0, free: 0, used: 0 };
        checked(real!(nvmlDeviceGetMemoryInfo_v2(device, &raw mut card)))?;
        let (limit, held) = slice::memory(place)?;
        let (total, free, used) = slice_of(limit, held, card.total, card.free);
        // What the driver keeps for itself is not the slice's.
        put(memory, nvmlMemory_v2_t { version, total, reserved: 0, free, used })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_has_its_limit_and_no_more_is_free_than_the_card_has() {
        assert_eq!(slice_of(100, 30, 1000, 900), (100, 70, 30));
        assert_eq!(slice_of(100, 30, 1000, 20), (100, 20, 30));
        assert_eq!(slice_of(100, 130, 1000, 900), (100, 0, 100), "its limit was lowered");
        assert_eq!(slice_of(u64::MAX, 0, 0, 0), (0, 0, 0), "nonsense of the vendor's");
    }
}
