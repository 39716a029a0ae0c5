//! Every way of putting work on a device, made from the table: what its class says is work passes
//! the gate, and nobody writes such a function by hand.
#![allow(unsafe_code)] // functions called from C
#![allow(non_snake_case)] // the API's own names

use crate::flight::{self, Lane};
use crate::real::real;
use crate::spans::{self, Name, Told};
use polder_driver::inside;
use polder_driver::meter::Kind;
use polder_gpuapi::cuda::{Class, Function, consts::*, types::*};
use polder_ledger::record::SpanKind;
use std::ffi::{c_int, c_uint, c_void};

/// Bytes that a copy never seen is taken to move in a nanosecond.
const COPY_BYTES_PER_NS: u64 = 4;
/// `CU_POINTER_ATTRIBUTE_MEMORY_TYPE`, and two of its answers.
const MEMORY_TYPE: c_uint = 2;
const MEMORY_HOST: c_uint = 1;
const MEMORY_UNIFIED: c_uint = 4;
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

/// What is asked of every launch, so that its places are found when this is compiled.
const ASKED: [&str; 13] = [
    "f",
    "graph_exec",
    "graph",
    "launch_params_list",
    "config",
    "stream",
    "grid_dim_x",
    "grid_dim_y",
    "grid_dim_z",
    "block_dim_x",
    "block_dim_y",
    "block_dim_z",
    "grid_width",
];
/// No argument has the name.
const NOWHERE: usize = usize::MAX;

const fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

const fn ends_with(name: &str, end: &str) -> bool {
    let (name, end) = (name.as_bytes(), end.as_bytes());
    let mut left = end.len();
    while left > 0 && end.len() <= name.len() {
        left -= 1;
        if name[name.len() - end.len() + left] != end[left] {
            return false;
        }
    }
    left == 0
}

const fn find(names: &[&str], wanted: &str) -> usize {
    let mut at = 0;
    while at < names.len() {
        if same(names[at], wanted) {
            return at;
        }
        at += 1;
    }
    NOWHERE
}

/// The arguments' names, and where those stand that are asked of every launch.
struct Names {
    all: &'static [&'static str],
    places: [usize; ASKED.len()],
    per_thread: bool,
}

impl Names {
    const fn of(name: &str, all: &'static [&'static str]) -> Self {
        let mut places = [NOWHERE; ASKED.len()];
        let mut at = 0;
        while at < ASKED.len() {
            places[at] = find(all, ASKED[at]);
            at += 1;
        }
        Self { all, places, per_thread: ends_with(name, "_ptsz") || ends_with(name, "_ptds") }
    }
}

/// The arguments of a call by the names that the table gives them.
struct Arguments<'a> {
    function: Function,
    names: &'a Names,
    words: &'a [u64],
}

impl Arguments<'_> {
    #[inline]
    fn get(&self, name: &str) -> Option<u64> {
        let at = self.names.all.iter().position(|known| *known == name)?;
        self.words.get(at).copied()
    }

    /// What is [`ASKED`] at `asked`.
    #[inline(always)]
    fn asked(&self, asked: usize) -> Option<u64> {
        self.words.get(*self.names.places.get(asked)?).copied()
    }

    fn number(&self, name: &str) -> u64 {
        self.get(name).unwrap_or(1)
    }

    /// What the argument points at; none for null.
    fn at<T: Copy>(&self, name: &str) -> Option<T> {
        self.get(name).and_then(pointed)
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
    #[inline(always)]
    fn stream(&self) -> usize {
        let named = self.asked(asked("stream")).or_else(|| match self.function {
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
    #[inline(always)]
    fn launched(&self) -> Kind {
        const F: usize = asked("f");
        const GRAPH_EXEC: usize = asked("graph_exec");
        const GRAPH: usize = asked("graph");
        const LIST: usize = asked("launch_params_list");
        const CONFIG: usize = asked("config");
        const EXTENTS: usize = asked("grid_dim_x");
        const WIDTH: usize = asked("grid_width");
        let what = self.asked(F).or(self.asked(GRAPH_EXEC)).or(self.asked(GRAPH));
        let what = what.or_else(|| {
            let first = self.asked(LIST).and_then(pointed::<CUDA_LAUNCH_PARAMS>);
            first.map(|first| first.function.word())
        });
        let extents = match self.asked(CONFIG).and_then(pointed::<CUlaunchConfig>) {
            Some(config) => [
                config.gridDimX,
                config.gridDimY,
                config.gridDimZ,
                config.blockDimX,
                config.blockDimY,
                config.blockDimZ,
            ]
            .map(u64::from),
            None if self.asked(WIDTH).is_some() => {
                [self.number("grid_width"), self.number("grid_height"), 1, 1, 1, 1]
            }
            None => std::array::from_fn(|side| self.asked(EXTENTS + side).unwrap_or(1)),
        };
        let threads = extents.into_iter().map(|extent| extent.max(1)).fold(1, u64::saturating_mul);
        let what = usize::try_from(what.unwrap_or_default()).unwrap_or_default();
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

    /// What a profile says of it.
    fn told(&self) -> Told {
        let entry = self.function.entry();
        let lane = Lane::of(self.stream(), self.names.per_thread);
        let blocking = self.blocking();
        if entry.class != Class::Launches {
            let name = Name::Words(self.function.name());
            return Told { kind: self.way(), name, bytes: self.bytes(), lane, blocking };
        }
        let graph = self.get("graph_exec").or(self.get("graph")).is_some();
        let name = if graph { Name::Words("(graph)") } else { Name::Kernel(self.launched().what) };
        Told { kind: SpanKind::Kernel, name, bytes: 0, lane, blocking }
    }

    /// Which way a copy goes, by its name, or by what the driver knows of its addresses.
    fn way(&self) -> SpanKind {
        let base = self.function.entry().base();
        let between = |from_host: bool, to_host: bool| match (from_host, to_host) {
            (true, false) => SpanKind::ToDevice,
            (false, true) => SpanKind::ToHost,
            _ => SpanKind::Within,
        };
        if base.contains("HtoD") || base.contains("HtoA") {
            SpanKind::ToDevice
        } else if base.contains("DtoH") || base.contains("AtoH") {
            SpanKind::ToHost
        } else if base.starts_with("cuMemcpy2D") {
            self.at::<CUDA_MEMCPY2D>("copy").map_or(SpanKind::Within, |copy| {
                let host = |kind: c_uint, at: CUdeviceptr| match kind {
                    MEMORY_HOST => true,
                    MEMORY_UNIFIED => is_host(at),
                    _ => false,
                };
                between(
                    host(copy.srcMemoryType, copy.srcDevice),
                    host(copy.dstMemoryType, copy.dstDevice),
                )
            })
        } else if let (Some(from), Some(to)) = (self.get("src"), self.get("dst")) {
            between(is_host(from), is_host(to))
        } else {
            SpanKind::Within
        }
    }

    /// Whether the driver's function returns only when the copy is over. A fill never does.
    fn blocking(&self) -> bool {
        let entry = self.function.entry();
        entry.class == Class::Copies
            && !entry.base().ends_with("Async")
            && !entry.base().starts_with("cuMemset")
    }
}

/// Place of `name` in [`ASKED`].
const fn asked(name: &str) -> usize {
    let at = find(&ASKED, name);
    assert!(at != NOWHERE);
    at
}

/// What the program points at; none for null.
fn pointed<T: Copy>(address: u64) -> Option<T> {
    let pointer: *const T = std::ptr::with_exposed_provenance(usize::try_from(address).ok()?);
    // SAFETY: null, or what the program says is a `T`, which the driver reads too.
    unsafe { pointer.as_ref() }.copied()
}

/// Whether the driver does not know the address, or knows it as the host's.
fn is_host(address: u64) -> bool {
    let mut kind: c_uint = MEMORY_HOST;
    let at = (&raw mut kind).cast();
    let known = inside::accounted(|| real!(cuPointerGetAttribute(at, MEMORY_TYPE, address)));
    known != CUDA_SUCCESS || kind == MEMORY_HOST
}

#[inline]
fn bits(amount: u64) -> u8 {
    u8::try_from(u64::BITS - amount.leading_zeros()).unwrap_or(u8::MAX)
}

/// Inlined where the names are known, so that nothing is left to look up.
#[inline(always)]
fn launch(arguments: &Arguments<'_>, call: impl FnOnce() -> CUresult) -> CUresult {
    let stream = (arguments.stream(), arguments.names.per_thread);
    flight::work(stream, arguments.launched(), false, call)
}

fn copy(arguments: &Arguments<'_>, call: impl FnOnce() -> CUresult) -> CUresult {
    let stream = (arguments.stream(), arguments.names.per_thread);
    flight::work(stream, arguments.copied(), arguments.blocking(), call)
}

macro_rules! work {
    (launches $name:ident $args:tt) => { work!(launch $name $args); };
    (copies $name:ident $args:tt) => { work!(copy $name $args); };
    (launch $name:ident $args:tt) => { work!(hook launch $name $args); };
    (copy $name:ident $args:tt) => { work!(hook copy $name $args); };
    (hook $way:ident $name:ident ($($arg:ident: $ty:ty),*)) => {
        unsafe extern "C" fn $name($($arg: $ty),*) -> CUresult {
            const NAMES: Names = Names::of(stringify!($name), &[$(stringify!($arg)),*]);
            let words = &[$($arg.word()),*];
            let arguments = Arguments { function: Function::$name, names: &NAMES, words };
            $way(&arguments, move || real!($name($($arg),*)))
        }
    };
    ($other:ident $name:ident $args:tt) => {};
}

macro_rules! profiled {
    (launches $name:ident $args:tt) => { profiled!(hook launch $name $args); };
    (copies $name:ident $args:tt) => { profiled!(hook copy $name $args); };
    (hook $way:ident $name:ident ($($arg:ident: $ty:ty),*)) => {
        unsafe extern "C" fn $name($($arg: $ty),*) -> CUresult {
            const NAMES: Names = Names::of(stringify!($name), &[$(stringify!($arg)),*]);
            let words = &[$($arg.word()),*];
            let arguments = Arguments { function: Function::$name, names: &NAMES, words };
            inside::guard(CUDA_ERROR_UNKNOWN, || {
                let tell = || arguments.told();
                spans::command(tell, |timed| {
                    $way(&arguments, || timed(&|| real!($name($($arg),*))))
                })
            })
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

        /// The same, written down.
        mod profiled {
            use super::*;
            $($(profiled!($class $name $args);)*)*

            pub(in crate::hooks) fn of(function: Function) -> Option<*const c_void> {
                match function {
                    $($(Function::$name => address!($class $name),)*)*
                }
            }
        }
    };
}
polder_gpuapi::cuda_table!(works);
pub(super) use profiled::of as profiled_of;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn bytes(function: Function, arguments: &[(&'static str, u64)], expect: u64) {
        let (names, words): (Vec<_>, Vec<_>) = arguments.iter().copied().unzip();
        let names = Names::of(function.name(), names.leak());
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
        let blocking = |function: Function| {
            let names = &Names::of(function.name(), &[]);
            Arguments { function, names, words: &[] }.blocking()
        };
        assert!(blocking(Function::cuMemcpyDtoH_v2) && blocking(Function::cuMemcpy3DPeer));
        assert!(!blocking(Function::cuMemcpyDtoHAsync_v2) && !blocking(Function::cuMemsetD8_v2));
        assert!(!blocking(Function::cuLaunchKernel) && !blocking(Function::cuGraphLaunch_ptsz));
    }
}
