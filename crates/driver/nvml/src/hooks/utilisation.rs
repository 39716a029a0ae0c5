//! How busy the slice is: of its share of the device, not of the device.
//!
//! The lease's rate is what the agent charges it ([`busy`]); what each process has of it no page says, so
//! the vendor's own figures of the lease's processes are put into terms of the share. Neither says how
//! much of the time was spent on memory: the vendor's figure counts neighbours too, and is told only as
//! far as the lease was busy itself.
#![allow(unsafe_code)] // functions called from C
#![allow(non_snake_case)] // the API's own names

use super::{answer, put, put_list};
use crate::real::{checked, real};
use crate::{busy, slice};
use polder_gpuapi::nvml::{consts::*, types::*};
use std::ffi::c_uint;

/// Most samples of the vendor's that are looked at.
const SAMPLES_MAX: usize = 1024;

pub(super) unsafe extern "C" fn nvmlDeviceGetUtilizationRates(
    device: nvmlDevice_t,
    rates: *mut nvmlUtilization_t,
) -> nvmlReturn_t {
    answer(|| {
        let place = slice::place(device)?;
        let mut card = nvmlUtilization_t { gpu: 0, memory: 0 };
        checked(real!(nvmlDeviceGetUtilizationRates(device, &raw mut card)))?;
        let gpu = busy::rate(place)?;
        put(rates, nvmlUtilization_t { gpu, memory: card.memory.min(gpu) })
    })
}

/// `percent` of the device as per cent of a `share` of it in thousandths.
fn of_share(percent: c_uint, share: u32) -> c_uint {
    let scaled = u64::from(percent) * 1000 / u64::from(share.max(1));
    c_uint::try_from(scaled.min(100)).expect("at most 100")
}

pub(super) unsafe extern "C" fn nvmlDeviceGetProcessUtilization(
    device: nvmlDevice_t,
    samples: *mut nvmlProcessUtilizationSample_t,
    count: *mut c_uint,
    last_seen_time_stamp: u64,
) -> nvmlReturn_t {
    answer(|| {
        let place = slice::place(device)?;
        let lease = slice::processes(place)?;
        let share = busy::share(place)?;
        let none = nvmlProcessUtilizationSample_t {
            pid: 0,
            timeStamp: 0,
            smUtil: 0,
            memUtil: 0,
            encUtil: 0,
            decUtil: 0,
        };
        let mut all = vec![none; SAMPLES_MAX];
        let mut said = c_uint::try_from(SAMPLES_MAX).expect("a small number");
        checked(real!(nvmlDeviceGetProcessUtilization(
            device,
            all.as_mut_ptr(),
            &raw mut said,
            last_seen_time_stamp,
        )))?;
        let own = all.iter().take(said as usize).filter(|one| lease.contains_key(&one.pid));
        let scaled = own.map(|one| nvmlProcessUtilizationSample_t {
            smUtil: of_share(one.smUtil, share),
            memUtil: of_share(one.memUtil, share),
            ..*one
        });
        let own: Vec<_> = scaled.collect();
        if own.is_empty() {
            return Err(NVML_ERROR_NOT_FOUND);
        }
        put_list(&own, count, samples)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processs_part_is_of_the_share() {
        assert_eq!(of_share(15, 300), 50);
        assert_eq!(of_share(90, 300), 100);
        assert_eq!(of_share(c_uint::MAX, 0), 100);
    }
}
