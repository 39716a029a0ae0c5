//! What stands in place of the vendor's functions.

mod devices;
mod memory;
mod processes;
mod utilisation;

use polder_gpuapi::nvml::types::nvmlReturn_t;
use polder_gpuapi::nvml::{Class, Function, consts::*, pfn};
use std::ffi::c_void;

/// What a program gets instead of the vendor's function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Our function, which tells the slice's truth.
    Hook(*const c_void),
    /// Not permitted: it changes a card that others use too.
    Denied,
    /// Not supported: it tells of a card's other users, and the pages do not say what of it is the
    /// lease's.
    Withheld,
}

macro_rules! hooks {
    ($($module:ident { $($name:ident),* $(,)? })*) => {
        fn hook(function: Function) -> Option<*const c_void> {
            // Each has the type that the table says.
            match function {
                $($(Function::$name => {
                    let hook: pfn::$name = $module::$name;
                    Some(hook as *const c_void)
                })*)*
                _ => None,
            }
        }
    };
}
hooks! {
    devices {
        nvmlInit, nvmlInit_v2, nvmlInitWithFlags, nvmlDeviceGetCount, nvmlDeviceGetCount_v2,
        nvmlDeviceGetHandleByIndex, nvmlDeviceGetHandleByIndex_v2, nvmlDeviceGetHandleByPciBusId,
        nvmlDeviceGetHandleByPciBusId_v2, nvmlDeviceGetHandleBySerial, nvmlDeviceGetHandleByUUID,
        nvmlDeviceGetHandleByUUIDV, nvmlDeviceGetIndex,
        nvmlDeviceGetDeviceHandleFromMigDeviceHandle, nvmlDeviceGetTopologyNearestGpus,
        nvmlSystemGetTopologyGpuSet,
    }
    memory { nvmlDeviceGetMemoryInfo, nvmlDeviceGetMemoryInfo_v2 }
    processes {
        nvmlDeviceGetComputeRunningProcesses, nvmlDeviceGetComputeRunningProcesses_v2,
        nvmlDeviceGetComputeRunningProcesses_v3, nvmlDeviceGetGraphicsRunningProcesses,
        nvmlDeviceGetGraphicsRunningProcesses_v2, nvmlDeviceGetGraphicsRunningProcesses_v3,
        nvmlDeviceGetMPSComputeRunningProcesses, nvmlDeviceGetMPSComputeRunningProcesses_v2,
        nvmlDeviceGetMPSComputeRunningProcesses_v3,
    }
    utilisation { nvmlDeviceGetUtilizationRates, nvmlDeviceGetProcessUtilization }
}

/// Functions that pass although their class is the slice's: each with the reason.
const PASSED: &str = include_str!("passed.txt");

/// What stands in place of the vendor's function, if anything does.
pub(crate) fn of(function: Function) -> Option<Answer> {
    if let Some(hook) = hook(function) {
        return Some(Answer::Hook(hook));
    }
    let passes = || {
        let listed = PASSED.lines().filter_map(|line| line.split_once(':'));
        listed.map(|(name, _)| name).any(|name| name == function.name())
    };
    match function.entry().class {
        Class::Controls => Some(Answer::Denied),
        Class::Vgpu => Some(Answer::Withheld),
        Class::DeviceView | Class::Memory | Class::Processes | Class::Utilisation => {
            (!passes()).then_some(Answer::Withheld)
        }
        // It names cards by handles that no other function here gives.
        Class::Queries if function == Function::nvmlUnitGetDevices => Some(Answer::Withheld),
        Class::Queries | Class::Events | Class::Tools => None,
    }
}

/// Runs a hook: its result is the code of the call, and a panic an unknown error.
fn answer(body: impl FnOnce() -> Result<(), nvmlReturn_t>) -> nvmlReturn_t {
    polder_driver::inside::guard(NVML_ERROR_UNKNOWN, || match body() {
        Ok(()) => NVML_SUCCESS,
        Err(code) => code,
    })
}

/// Writes where the program says.
#[expect(unsafe_code, reason = "the program's pointer")]
fn put<T>(at: *mut T, value: T) -> Result<(), nvmlReturn_t> {
    if at.is_null() {
        return Err(NVML_ERROR_INVALID_ARGUMENT);
    }
    // SAFETY: not null, and under the API's contract a `T` may be written there.
    unsafe { at.write(value) };
    Ok(())
}

/// Writes a list whose room the program has put into `count`; too little room is told, with the room
/// that is needed.
#[expect(unsafe_code, reason = "the program's pointers")]
fn put_list<T: Copy>(all: &[T], count: *mut u32, at: *mut T) -> Result<(), nvmlReturn_t> {
    // SAFETY: the program's count, if it is there.
    let room = unsafe { count.as_ref() }.copied().ok_or(NVML_ERROR_INVALID_ARGUMENT)?;
    put(count, u32::try_from(all.len()).unwrap_or(u32::MAX))?;
    if all.len() > room as usize {
        return Err(NVML_ERROR_INSUFFICIENT_SIZE);
    }
    if all.is_empty() {
        return Ok(());
    }
    if at.is_null() {
        return Err(NVML_ERROR_INVALID_ARGUMENT);
    }
    // SAFETY: there is room for them, as the program says.
    unsafe { std::ptr::copy_nonoverlapping(all.as_ptr(), at, all.len()) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    const COVERAGE: &str = include_str!("../../../../../docs/coverage-nvml.md");

    /// Nothing that shows devices or their users passes by default, nor anything that changes them.
    #[test]
    fn what_passes_of_the_slices_classes_is_listed_with_its_reason() {
        let listed: Vec<&str> =
            PASSED.lines().filter_map(|line| line.split_once(": ")).map(|(name, _)| name).collect();
        assert_eq!(listed.len(), PASSED.lines().count(), "each line is a name and a reason");
        let known: Vec<&str> = Function::all().map(Function::name).collect();
        for name in listed {
            assert!(known.contains(&name), "{name} is in the list, and no function");
        }
        for function in Function::all() {
            let class = function.entry().class;
            let denied = of(function) == Some(Answer::Denied);
            assert_eq!(denied, class == Class::Controls, "{}", function.name());
        }
    }

    /// The variants of a hooked function that are only newer tell the same, or nothing.
    #[test]
    fn no_variant_of_a_hooked_function_passes() {
        let stem = |function: Function| {
            let name = function.name();
            name.rsplit_once("_v").map_or(name, |(stem, _)| stem)
        };
        for hooked in Function::all().filter(|one| hook(*one).is_some()) {
            for other in Function::all().filter(|other| stem(*other) == stem(hooked)) {
                assert!(of(other).is_some(), "{} passes", other.name());
            }
        }
    }

    #[test]
    fn a_list_is_written_only_where_it_fits() {
        let mut room = 1;
        let mut list = [0_u64; 2];
        assert_eq!(
            put_list(&[1, 2], &raw mut room, list.as_mut_ptr()),
            Err(NVML_ERROR_INSUFFICIENT_SIZE)
        );
        assert_eq!((room, list), (2, [0, 0]));
        assert_eq!(put_list(&[1, 2], &raw mut room, list.as_mut_ptr()), Ok(()));
        assert_eq!(list, [1, 2]);
        assert_eq!(
            put_list(&[1, 2], &raw mut room, std::ptr::null_mut()),
            Err(NVML_ERROR_INVALID_ARGUMENT)
        );
        assert_eq!(
            put_list(&[1], std::ptr::null_mut(), list.as_mut_ptr()),
            Err(NVML_ERROR_INVALID_ARGUMENT)
        );
        assert_eq!(put_list::<u64>(&[], &raw mut room, std::ptr::null_mut()), Ok(()));
    }

    fn coverage() -> String {
        let mut text = String::from(
            "# What Polder does with each function of NVML\n\n\
             Made from the table in `crates/gpuapi/src/nvml` by the tests of `crates/driver/nvml`; \
             `UPDATE=1 cargo test -p polder-driver-nvml coverage` writes it anew. *hooked* functions \
             tell the slice's truth; *not permitted* ones change a card, and answer \
             `NVML_ERROR_NO_PERMISSION`; *withheld* ones tell of a card's other users, and answer \
             `NVML_ERROR_NOT_SUPPORTED`; all others are passed on untouched.\n",
        );
        let mut classes: Vec<Class> = Function::all().map(|one| one.entry().class).collect();
        classes.sort_unstable();
        classes.dedup();
        for class in classes {
            let members = || Function::all().filter(move |one| one.entry().class == class);
            let _ = write!(text, "\n## {class:?}: {} functions\n\n", members().count());
            let kind = |function: Function| match of(function) {
                Some(Answer::Hook(_)) => "hooked",
                Some(Answer::Denied) => "not permitted",
                Some(Answer::Withheld) => "withheld",
                None => "passed on",
            };
            for title in ["hooked", "not permitted", "withheld", "passed on"] {
                let names = members().filter(|one| kind(*one) == title);
                let names: Vec<String> = names.map(|one| format!("`{}`", one.name())).collect();
                if !names.is_empty() {
                    let _ = writeln!(text, "* {title}: {}", names.join(", "));
                }
            }
        }
        text.push_str("\n## Why some pass\n\n");
        for (name, why) in PASSED.lines().filter_map(|line| line.split_once(": ")) {
            let _ = writeln!(text, "* `{name}`: {why}");
        }
        text
    }

    #[test]
    fn the_coverage_document_is_fresh() {
        let fresh = coverage();
        if std::env::var_os("UPDATE").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/coverage-nvml.md");
            std::fs::write(path, fresh).expect("the document can be written");
        } else {
            assert!(fresh == COVERAGE, "docs/coverage-nvml.md is stale: run with UPDATE=1");
        }
    }
}
