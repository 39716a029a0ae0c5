//! The functions that stand in place of the vendor's.

mod behind;
mod code;
mod contexts;
mod devices;
mod graphs;
mod memory;
mod physical;
mod pinned;
mod profile;
mod streams;
mod work;

use polder_driver::record;
use polder_gpuapi::cuda::{Function, pfn};
use std::ffi::c_void;

macro_rules! hooks {
    ($($module:ident { $($name:ident),* $(,)? })*) => {
        /// Our function in place of the vendor's in a process that is not profiled.
        fn plain(function: Function) -> Option<*const c_void> {
            // Each has the type that the table says.
            match function {
                $($(Function::$name => {
                    let hook: pfn::$name = $module::$name;
                    Some(hook as *const c_void)
                })*)*
                other => work::of(other),
            }
        }
    };
}

/// Our function in place of the vendor's, if there is one. Which it is does not change while the
/// process lives, so that one that is not profiled pays nothing for what could be.
pub(crate) fn of(function: Function) -> Option<*const c_void> {
    let profiled = record::wanted().then(|| profile::of(function)).flatten();
    profiled.or_else(|| plain(function))
}

hooks! {
    behind {
        cuMemAdvise, cuMemAdvise_v2, cuMemPrefetchAsync, cuMemPrefetchAsync_ptsz,
        cuMemPrefetchAsync_v2, cuMemPrefetchAsync_v2_ptsz, cuMemPrefetchBatchAsync,
        cuMemPrefetchBatchAsync_ptsz, cuMemDiscardAndPrefetchBatchAsync,
        cuMemDiscardAndPrefetchBatchAsync_ptsz,
    }
    code { cuGetProcAddress, cuGetProcAddress_v2 }
    devices {
        cuInit, cuDeviceGetCount, cuDeviceGet, cuDeviceGetByPCIBusId, cuDeviceTotalMem,
        cuDeviceTotalMem_v2, cuMemGetInfo, cuMemGetInfo_v2,
    }
    contexts {
        cuCtxCreate, cuCtxCreate_v2, cuCtxCreate_v3, cuCtxCreate_v4, cuCtxDestroy, cuCtxDestroy_v2,
        cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2,
        cuDevicePrimaryCtxReset, cuDevicePrimaryCtxReset_v2, cuGreenCtxCreate, cuCtxSetCurrent,
        cuCtxPushCurrent, cuCtxPushCurrent_v2, cuCtxPopCurrent, cuCtxPopCurrent_v2, cuCtxAttach,
        cuCtxDetach,
    }
    memory {
        cuMemAlloc, cuMemAlloc_v2, cuMemAllocPitch, cuMemAllocPitch_v2, cuMemAllocManaged,
        cuMemAllocAsync, cuMemAllocAsync_ptsz, cuMemAllocFromPoolAsync,
        cuMemAllocFromPoolAsync_ptsz, cuMemFree, cuMemFree_v2, cuMemFreeAsync, cuMemFreeAsync_ptsz,
        cuArrayCreate, cuArrayCreate_v2, cuArray3DCreate, cuArray3DCreate_v2, cuArrayDestroy,
        cuMipmappedArrayCreate, cuMipmappedArrayDestroy, cuMemPoolDestroy, cuMemPoolTrimTo,
    }
    pinned {
        cuMemAllocHost, cuMemAllocHost_v2, cuMemHostAlloc, cuMemHostRegister, cuMemHostRegister_v2,
        cuMemFreeHost, cuMemHostUnregister,
    }
    physical { cuMemCreate, cuMemRelease, cuMemRetainAllocationHandle, cuMemMap, cuMemUnmap }
    graphs {
        cuGraphInstantiate, cuGraphInstantiate_v2, cuGraphInstantiateWithFlags,
        cuGraphInstantiateWithParams, cuGraphInstantiateWithParams_ptsz, cuGraphExecDestroy,
    }
    streams {
        cuCtxSynchronize, cuCtxSynchronize_v2, cuStreamSynchronize, cuStreamSynchronize_ptsz,
        cuStreamQuery, cuStreamQuery_ptsz, cuEventSynchronize, cuEventQuery,
        cuStreamBeginCapture, cuStreamBeginCapture_ptsz, cuStreamBeginCapture_v2,
        cuStreamBeginCapture_v2_ptsz, cuStreamBeginCaptureToGraph, cuStreamBeginCaptureToGraph_ptsz,
        cuStreamEndCapture, cuStreamEndCapture_ptsz, cuStreamBeginCaptureToCig, cuStreamBeginCaptureToCig_ptsz,
        cuStreamBeginRecaptureToGraph, cuStreamBeginRecaptureToGraph_ptsz, cuStreamEndCaptureToCig,
        cuStreamEndCaptureToCig_ptsz, cuLaunchHostFunc, cuLaunchHostFunc_ptsz, cuLaunchHostFunc_v2,
        cuLaunchHostFunc_v2_ptsz,
        cuStreamAddCallback, cuStreamAddCallback_ptsz, cuStreamDestroy, cuStreamDestroy_v2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polder_gpuapi::cuda::Class;
    use std::fmt::Write as _;

    /// Classes whose functions must pass through a hook.
    const HOOKED: &[Class] = &[
        Class::DeviceView,
        Class::Resolves,
        Class::Allocates,
        Class::Frees,
        Class::AllocatesHost,
        Class::FreesHost,
        Class::Launches,
        Class::Copies,
        Class::Captures,
        Class::CallsBack,
        Class::Synchronises,
    ];
    /// Functions of those classes that are left to the vendor. It only ever gets shorter.
    const UNHOOKED: &str = include_str!("unhooked.txt");
    const COVERAGE: &str = include_str!("../../../../../docs/coverage-cuda.md");

    #[test]
    fn whatever_allocates_launches_or_shows_devices_is_hooked() {
        let unhooked = Function::all()
            .filter(|function| HOOKED.contains(&function.entry().class) && of(*function).is_none());
        let mut unhooked: Vec<&str> = unhooked.map(Function::name).collect();
        unhooked.sort_unstable();
        let listed: Vec<&str> = UNHOOKED
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(unhooked, listed);
    }

    #[test]
    fn a_variant_for_the_threads_stream_is_hooked_where_its_sibling_is() {
        for function in Function::all().filter(|function| function.entry().is_per_thread()) {
            let name = function.name();
            let sibling = Function::of(&name[..name.len() - "_ptsz".len()]);
            let hooked = sibling.map(|sibling| of(sibling).is_some());
            assert_eq!(hooked, Some(of(function).is_some()), "{name}");
        }
    }

    fn coverage() -> String {
        let mut text = String::from(
            "# What Polder does with each function of the CUDA driver API\n\n\
             Made from the table in `crates/gpuapi/src/cuda` by the tests of \
             `crates/driver/cuda`; `UPDATE=1 cargo test -p polder-driver-cuda coverage` writes it \
             anew. *hooked* functions are \
             accounted for; all others are passed on untouched. Variants stand by their own names.\n",
        );
        let mut classes: Vec<Class> = Function::all().map(|one| one.entry().class).collect();
        classes.sort_unstable();
        classes.dedup();
        for class in classes {
            let members = || Function::all().filter(move |one| one.entry().class == class);
            let hooked = members().filter(|one| of(*one).is_some()).count();
            let count = members().count();
            let _ = write!(text, "\n## {class:?}: {hooked} of {count} hooked\n\n");
            let list = |wanted: bool| {
                let names = members().filter(|one| of(*one).is_some() == wanted);
                names.map(|one| format!("`{}`", one.name())).collect::<Vec<_>>().join(", ")
            };
            for (title, names) in [("hooked", list(true)), ("passed on", list(false))] {
                if !names.is_empty() {
                    let _ = writeln!(text, "* {title}: {names}");
                }
            }
        }
        text
    }

    #[test]
    fn the_coverage_document_is_fresh() {
        let fresh = coverage();
        if std::env::var_os("UPDATE").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/coverage-cuda.md");
            std::fs::write(path, fresh).expect("the document can be written");
        } else {
            assert!(fresh == COVERAGE, "docs/coverage-cuda.md is stale: run with UPDATE=1");
        }
    }
}
