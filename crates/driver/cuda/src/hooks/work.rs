//! Every way of putting work on a device, made from the table: what its class says is work passes
//! the gate, and nobody writes such a function by hand.
#![allow(unsafe_code)] // functions called from C
#![allow(non_snake_case)] // the API's own names

use crate::flight;
use crate::real::real;
use polder_driver::inside;
use polder_driver::meter::Kind;
use polder_gpuapi::cuda::{Class, Function, consts::*, types::*};
use std::ffi::{c_int, c_uint, c_void};

/// Bytes that a copy never seen is taken to move in a nanosecond.
const COPY_BYTES_PER_NS: u64 = 4;
/// Most parts of a batch of copies that are added up.
const PARTS_MAX: u64 = 4096;

/// An argument as a word.
trait Word: Copy {
    fn word(self) -> u64;
}

macro_rules! numbers {
    ($($ty:ty),*) => {$(
        impl Word for $ty {
            #[allow(clippy::cast_sign_loss, clippy::cast_lossless, reason = "bits are kept")]
            fn word(self) -> u64 {
                self as u64
            }
        }
    )*};
}
numbers!(u8, u16, c_uint, c_int, u64, usize);

impl<T> Word for *const T {
    fn word(self) -> u64 {
        self.expose_provenance().word()
    }
}
impl<T> Word for *mut T {
    fn word(self) -> u64 {
        self.expose_provenance().word()
    }
}
impl Word for CUmemLocation {
    /// Says where memory lies, not how much.
    fn word(self) -> u64 {
        0
    }
}

/// The arguments of a call by the names that the table gives them.
struct Arguments<'a> {
    function: Function,
    names: &'a [&'static str],
    words: &'a [u64],
}

impl Arguments<'_> {
    fn get(&self, name: &str) -> Option<u64> {
        let at = self.names.iter().position(|known| *known == name)?;
        self.words.get(at).copied()
    }

    fn number(&self, name: &str) -> u64 {
        self.get(name).unwrap_or(1)
    }

    /// What the argument points at; none for null.
    fn at<T: Copy>(&self, name: &str) -> Option<T> {
        let address = usize::try_from(self.get(name)?).ok()?;
        let pointer: *const T = std::ptr::with_exposed_provenance(address);
        // SAFETY: null, or what the program says is a `T`, which the driver reads too.
        unsafe { pointer.as_ref() }.copied()
    }

    /// The sum of a list of sizes.
    fn sum(&self, list: &str) -> u64 {
        let Some(address) = self.get(list).and_then(|list| usize::try_from(list).ok()) else {
            return 0;
        };
        let sizes: *const usize = std::ptr::with_exposed_provenance(address);
        if sizes.is_null() {
            return 0;
        }
        let size = |index: u64| {
            let index = usize::try_from(index).unwrap_or_default();
            // SAFETY: the program says that `count` sizes stand there.
            u64::try_from(unsafe { sizes.add(index).read() }).unwrap_or(u64::MAX)
        };
        (0..self.number("count").min(PARTS_MAX)).map(size).fold(0, u64::saturating_add)
    }

    /// The stream, as the program names it.
    fn stream(&self) -> usize {
        let named = self.get("stream").or_else(|| match self.function {
            Function::cuLaunchKernelEx | Function::cuLaunchKernelEx_ptsz => {
                self.at::<CUlaunchConfig>("config").map(|config| config.hStream.word())
            }
            Function::cuLaunchCooperativeKernelMultiDevice => {
                let first = self.at::<CUDA_LAUNCH_PARAMS>("launch_params_list");
                first.map(|first| first.hStream.word())
            }
            _ => None,
        });
        named.and_then(|stream| usize::try_from(stream).ok()).unwrap_or_default()
    }

    /// A launch: what is launched, and over how many threads.
    fn launched(&self) -> Kind {
        let what = self.get("f").or(self.get("graph_exec")).or(self.get("graph"));
        let first = self.at::<CUDA_LAUNCH_PARAMS>("launch_params_list");
        let what = what.or(first.map(|first| first.function.word())).unwrap_or_default();
        let extents = match self.at::<CUlaunchConfig>("config") {
            Some(config) => [
                config.gridDimX,
                config.gridDimY,
                config.gridDimZ,
                config.blockDimX,
                config.blockDimY,
                config.blockDimZ,
            ]
            .map(u64::from),
            None => [
                self.number("grid_dim_x").max(self.number("grid_width")),
                self.number("grid_dim_y").max(self.number("grid_height")),
                self.number("grid_dim_z"),
                self.number("block_dim_x"),
                self.number("block_dim_y"),
                self.number("block_dim_z"),
            ],
        };
        let threads = extents.into_iter().map(|extent| extent.max(1)).fold(1, u64::saturating_mul);
        let what = usize::try_from(what).unwrap_or_default();
        Kind { what, size: bits(threads), guess_ns: 0 }
    }

    /// Bytes that a copy or fill moves, as far as its arguments say.
    fn bytes(&self) -> u64 {
        let base = self.function.entry().base();
        if let Some(bytes) = self.get("bytes") {
            return bytes;
        }
        let element = if base.contains("D32") {
            4
        } else if base.contains("D16") || base.contains("D2D16") {
            2
        } else {
            1
        };
        if base.starts_with("cuMemset") {
            let count = self.number("n").max(1);
            let area = self.number("width").max(1).saturating_mul(self.number("height").max(1));
            return count.saturating_mul(area).saturating_mul(element);
        }
        if self.get("sizes").is_some() {
            return self.sum("sizes");
        }
        if let Some(size) = self.get("size") {
            return size;
        }
        let wide = |extent: usize| u64::try_from(extent).unwrap_or(u64::MAX);
        match self.function {
            Function::cuMemcpy2D_v2
            | Function::cuMemcpy2D_v2_ptds
            | Function::cuMemcpy2DAsync_v2
            | Function::cuMemcpy2DAsync_v2_ptsz
            | Function::cuMemcpy2DUnaligned_v2
            | Function::cuMemcpy2DUnaligned_v2_ptds => self
                .at::<CUDA_MEMCPY2D>("copy")
                .map_or(0, |copy| wide(copy.WidthInBytes).saturating_mul(wide(copy.Height))),
            Function::cuMemcpy3D_v2
            | Function::cuMemcpy3D_v2_ptds
            | Function::cuMemcpy3DAsync_v2
            | Function::cuMemcpy3DAsync_v2_ptsz
            | Function::cuMemcpy3DPeer
            | Function::cuMemcpy3DPeer_ptds
            | Function::cuMemcpy3DPeerAsync
            | Function::cuMemcpy3DPeerAsync_ptsz => {
                self.at::<CUDA_MEMCPY3D>("copy").map_or(0, |copy| {
                    let area = wide(copy.WidthInBytes).saturating_mul(wide(copy.Height));
                    area.saturating_mul(wide(copy.Depth).max(1))
                })
            }
            // A prefetch, or a list whose members are not looked at.
            _ => self.get("count").unwrap_or_default(),
        }
    }

    fn copied(&self) -> Kind {
        let bytes = self.bytes();
        let guess_ns = (bytes / COPY_BYTES_PER_NS).max(1);
        Kind { what: self.function.slot(), size: bits(bytes), guess_ns }
    }

    /// Whether the driver's function returns only when the copy is over. A fill never does.
    fn blocking(&self) -> bool {
        let entry = self.function.entry();
        entry.class == Class::Copies
            && !entry.base().ends_with("Async")
            && !entry.base().starts_with("cuMemset")
    }
}

fn bits(amount: u64) -> u8 {
    u8::try_from(u64::BITS - amount.leading_zeros()).unwrap_or(u8::MAX)
}

fn run(arguments: &Arguments<'_>, call: impl FnOnce() -> CUresult) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        let entry = arguments.function.entry();
        let kind = match entry.class {
            Class::Launches => arguments.launched(),
            _ => arguments.copied(),
        };
        let stream = (arguments.stream(), entry.is_per_thread());
        flight::work(stream, kind, arguments.blocking(), call)
    })
}

macro_rules! work {
    (launches $name:ident $args:tt) => { work!(hook $name $args); };
    (copies $name:ident $args:tt) => { work!(hook $name $args); };
    (hook $name:ident ($($arg:ident: $ty:ty),*)) => {
        unsafe extern "C" fn $name($($arg: $ty),*) -> CUresult {
            let names = &[$(stringify!($arg)),*];
            let words = &[$($arg.word()),*];
            let arguments = Arguments { function: Function::$name, names, words };
            run(&arguments, || real!($name($($arg),*)))
        }
    };
    ($other:ident $name:ident $args:tt) => {};
}

macro_rules! address {
    (launches $name:ident) => {
        Some($name as *const c_void)
    };
    (copies $name:ident) => {
        Some($name as *const c_void)
    };
    ($other:ident $name:ident) => {
        None
    };
}

macro_rules! works {
    ($($class:ident $args:tt { $($name:ident $since:literal),* })*) => {
        $($(work!($class $name $args);)*)*

        /// Our function in place of the vendor's, if it puts work on a device.
        pub(super) fn of(function: Function) -> Option<*const c_void> {
            match function {
                $($(Function::$name => address!($class $name),)*)*
            }
        }
    };
}
polder_gpuapi::cuda_table!(works);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn bytes(function: Function, arguments: &[(&'static str, u64)], expect: u64) {
        let (names, words): (Vec<_>, Vec<_>) = arguments.iter().copied().unzip();
        let arguments = Arguments { function, names: &names, words: &words };
        assert_eq!(arguments.bytes(), expect, "{}", function.name());
    }

    #[test]
    fn copies_and_fills_say_how_much_they_move() {
        bytes(Function::cuMemcpyHtoD_v2, &[("bytes", 77)], 77);
        bytes(Function::cuMemsetD8_v2, &[("uc", 1), ("n", 10)], 10);
        bytes(Function::cuMemsetD16_v2, &[("us", 1), ("n", 10)], 20);
        bytes(Function::cuMemsetD2D32Async, &[("width", 10), ("height", 3)], 120);
        bytes(Function::cuMemsetD2D16_v2, &[("width", 10), ("height", 3)], 60);
        bytes(Function::cuMemPrefetchAsync_v2, &[("dev_ptr", 9), ("count", 4096)], 4096);
        let sizes = [10_usize, 20, 30];
        let list = sizes.as_ptr().word();
        bytes(Function::cuMemcpyBatchAsync_v2, &[("sizes", list), ("count", 3)], 60);
        bytes(Function::cuMemcpyBatchAsync_v2, &[("sizes", 0), ("count", 3)], 0);
    }

    #[test]
    fn only_what_returns_late_is_taken_for_over() {
        let blocking = |function| Arguments { function, names: &[], words: &[] }.blocking();
        assert!(blocking(Function::cuMemcpyDtoH_v2) && blocking(Function::cuMemcpy3DPeer));
        assert!(!blocking(Function::cuMemcpyDtoHAsync_v2) && !blocking(Function::cuMemsetD8_v2));
        assert!(!blocking(Function::cuLaunchKernel) && !blocking(Function::cuGraphLaunch_ptsz));
    }
}
