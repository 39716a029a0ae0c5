//! The lease's own processes, with the bytes that its ledger has for them.
//!
//! On a card is who holds memory of it, or who is the lease's and stands in the vendor's list: a context
//! alone takes nothing that the ledger counts. Where the vendor's list cannot be read the pages stand
//! alone.
#![allow(unsafe_code)] // functions called from C
#![allow(non_snake_case)] // the API's own names

use super::{answer, put_list};
use crate::real::real;
use crate::slice;
use polder_gpuapi::nvml::{consts::*, types::*};
use std::collections::BTreeMap;
use std::ffi::c_uint;

/// Most processes of the vendor's list that are looked at.
const PROCESSES_MAX: usize = 1024;
/// What stands for no instance.
const NO_INSTANCE: c_uint = c_uint::MAX;

/// The vendor's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    Compute,
    Graphics,
    Mps,
}

/// The processes in a list of the vendor's; none when it has no such list for us.
fn vendors(device: nvmlDevice_t, list: List) -> Vec<u32> {
    let nobody = nvmlProcessInfo_v2_t {
        pid: 0,
        usedGpuMemory: 0,
        gpuInstanceId: NO_INSTANCE,
        computeInstanceId: NO_INSTANCE,
    };
    let mut infos = vec![nobody; PROCESSES_MAX];
    let mut read = |newest: bool| {
        let mut count = c_uint::try_from(PROCESSES_MAX).expect("a small number");
        let (count_at, at) = (&raw mut count, infos.as_mut_ptr());
        let code = match (list, newest) {
            (List::Compute, true) => {
                real!(nvmlDeviceGetComputeRunningProcesses_v3(device, count_at, at))
            }
            (List::Compute, false) => {
                real!(nvmlDeviceGetComputeRunningProcesses_v2(device, count_at, at))
            }
            (List::Graphics, true) => {
                real!(nvmlDeviceGetGraphicsRunningProcesses_v3(device, count_at, at))
            }
            (List::Graphics, false) => {
                real!(nvmlDeviceGetGraphicsRunningProcesses_v2(device, count_at, at))
            }
            (List::Mps, true) => {
                real!(nvmlDeviceGetMPSComputeRunningProcesses_v3(device, count_at, at))
            }
            (List::Mps, false) => {
                real!(nvmlDeviceGetMPSComputeRunningProcesses_v2(device, count_at, at))
            }
        };
        (code == NVML_SUCCESS).then_some(count as usize)
    };
    let count = read(true).or_else(|| read(false)).unwrap_or(0);
    infos.iter().take(count).map(|info| info.pid).collect()
}

/// Who of the lease's processes, with the bytes of each, is told to be on the card.
fn own(lease: BTreeMap<u32, u64>, vendors: &[u32], list: List) -> Vec<(u32, u64)> {
    let on = |pid: u32, bytes: u64| vendors.contains(&pid) || (list == List::Compute && bytes > 0);
    lease.into_iter().filter(|(pid, bytes)| on(*pid, *bytes)).collect()
}

fn told<T: Copy>(
    list: List,
    device: nvmlDevice_t,
    (count, infos): (*mut c_uint, *mut T),
    info: impl Fn(u32, u64) -> T,
) -> nvmlReturn_t {
    answer(|| {
        let lease = slice::processes(slice::place(device)?)?;
        let own = own(lease, &vendors(device, list), list);
        let own: Vec<T> = own.into_iter().map(|(pid, bytes)| info(pid, bytes)).collect();
        put_list(&own, count, infos)
    })
}

fn v1(pid: u32, bytes: u64) -> nvmlProcessInfo_v1_t {
    nvmlProcessInfo_v1_t { pid, usedGpuMemory: bytes }
}

fn v2(pid: u32, bytes: u64) -> nvmlProcessInfo_v2_t {
    nvmlProcessInfo_v2_t {
        pid,
        usedGpuMemory: bytes,
        gpuInstanceId: NO_INSTANCE,
        computeInstanceId: NO_INSTANCE,
    }
}

macro_rules! lists {
    ($($name:ident $list:ident $info:ident $kind:ident;)*) => {$(
        pub(super) unsafe extern "C" fn $name(
            device: nvmlDevice_t,
            count: *mut c_uint,
            infos: *mut $kind,
        ) -> nvmlReturn_t {
            told(List::$list, device, (count, infos), $info)
        }
    )*};
}
lists! {
    nvmlDeviceGetComputeRunningProcesses Compute v1 nvmlProcessInfo_v1_t;
    nvmlDeviceGetComputeRunningProcesses_v2 Compute v2 nvmlProcessInfo_v2_t;
    nvmlDeviceGetComputeRunningProcesses_v3 Compute v2 nvmlProcessInfo_t;
    nvmlDeviceGetGraphicsRunningProcesses Graphics v1 nvmlProcessInfo_v1_t;
    nvmlDeviceGetGraphicsRunningProcesses_v2 Graphics v2 nvmlProcessInfo_v2_t;
    nvmlDeviceGetGraphicsRunningProcesses_v3 Graphics v2 nvmlProcessInfo_t;
    nvmlDeviceGetMPSComputeRunningProcesses Mps v1 nvmlProcessInfo_v1_t;
    nvmlDeviceGetMPSComputeRunningProcesses_v2 Mps v2 nvmlProcessInfo_v2_t;
    nvmlDeviceGetMPSComputeRunningProcesses_v3 Mps v2 nvmlProcessInfo_t;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_on_the_card_when_it_holds_memory_or_the_vendor_says_so() {
        let lease = || BTreeMap::from([(7, 0), (8, 100), (9, 0)]);
        assert_eq!(own(lease(), &[4321, 9], List::Compute), [(8, 100), (9, 0)]);
        assert_eq!(own(lease(), &[], List::Compute), [(8, 100)]);
        assert_eq!(own(lease(), &[7, 4321], List::Graphics), [(7, 0)]);
    }
}
