//! What `cuGetProcAddress` answers: the newest variant that the asker's version of the API has.

use super::{Function, sorted};

/// Asks for the variant whose default stream is the thread's own.
const PER_THREAD: u64 = super::consts::CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// This function.
    Found(Function),
    /// The name is known, but every variant of it is newer than the asker.
    TooOld,
    /// No such name.
    Unknown,
}

/// The function that `name` means to a program of API `version` (11030 is 11.3) with these `flags`.
/// A name with a variant in it, such as `cuMemAlloc_v2`, means that variant or the same with the
/// thread's own default stream.
#[must_use]
pub fn resolve(name: &str, version: u32, flags: u64) -> Resolution {
    let sorted = sorted();
    let from = sorted.partition_point(|function| function.name() < name);
    let near = sorted[from..].iter().take_while(|function| function.name().starts_with(name));
    let (mut best, mut known) = (None, false);
    for function in near {
        let entry = function.entry();
        let rest = entry.name.strip_prefix(name).unwrap_or_default();
        let exact = rest.is_empty() || rest.starts_with("_pt");
        if entry.base() != name && !(exact && entry.base().len() < name.len()) {
            continue;
        }
        if entry.is_per_thread() && flags & PER_THREAD == 0 {
            continue;
        }
        known = true;
        if entry.since <= version {
            // A program that wants its thread's default stream gets it wherever there is one.
            best = best.max(Some((entry.is_per_thread(), entry.since, *function)));
        }
    }
    match best {
        Some((_, _, function)) => Resolution::Found(function),
        None if known => Resolution::TooOld,
        None => Resolution::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Function::*;

    #[track_caller]
    fn check(name: &str, version: u32, flags: u64, expect: impl Into<Option<Function>>) {
        let found = match resolve(name, version, flags) {
            Resolution::Found(function) => Some(function),
            _ => None,
        };
        assert_eq!(found, expect.into());
    }

    #[test]
    fn the_newest_variant_that_the_asker_knows_is_meant() {
        check("cuMemAlloc", 2000, 0, cuMemAlloc);
        check("cuMemAlloc", 3020, 0, cuMemAlloc_v2);
        check("cuMemAlloc", 13000, 0, cuMemAlloc_v2);
        check("cuEventElapsedTime", 12070, 0, cuEventElapsedTime);
        check("cuEventElapsedTime", 12080, 0, cuEventElapsedTime_v2);
        check("cuCtxCreate", 13000, 0, cuCtxCreate_v4);
        check("cuCtxCreate", 3020, 0, cuCtxCreate_v2);
        check("cuGetProcAddress", 11030, 0, cuGetProcAddress);
        check("cuGetProcAddress", 12000, 0, cuGetProcAddress_v2);
    }

    #[test]
    fn flags_choose_the_default_stream_where_there_is_a_choice() {
        for flags in [0, 1] {
            check("cuMemcpyHtoDAsync", 12000, flags, cuMemcpyHtoDAsync_v2);
            check("cuLaunchKernel", 12000, flags, cuLaunchKernel);
        }
        check("cuMemcpyHtoDAsync", 12000, PER_THREAD, cuMemcpyHtoDAsync_v2_ptsz);
        check("cuMemcpy", 12000, PER_THREAD, cuMemcpy_ptds);
        check("cuLaunchKernel", 12000, PER_THREAD, cuLaunchKernel_ptsz);
        check("cuLaunchKernel", 6050, PER_THREAD, cuLaunchKernel);
        check("cuMemAlloc", 12000, PER_THREAD, cuMemAlloc_v2);
        check("cuStreamGetCaptureInfo", 12000, PER_THREAD, cuStreamGetCaptureInfo_v2_ptsz);
    }

    #[test]
    fn a_named_variant_is_that_one() {
        check("cuMemAlloc_v2", 12000, 0, cuMemAlloc_v2);
        check("cuStreamGetCaptureInfo_v2", 12030, 0, cuStreamGetCaptureInfo_v2);
        check("cuStreamGetCaptureInfo_v2", 12030, PER_THREAD, cuStreamGetCaptureInfo_v2_ptsz);
    }

    #[test]
    fn what_is_newer_or_unknown_is_told_apart() {
        assert_eq!(resolve("cuMemAllocAsync", 11010, 0), Resolution::TooOld);
        assert_eq!(resolve("cuNoSuchThing", 13000, 0), Resolution::Unknown);
        assert_eq!(resolve("", 13000, 0), Resolution::Unknown);
        assert_eq!(resolve("cuMem", 13000, 0), Resolution::Unknown);
    }
}
