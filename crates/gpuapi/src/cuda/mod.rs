//! The CUDA driver API: every function that `libcuda.so.1` has had up to CUDA 13.5.

#[macro_use]
mod table;
pub mod consts;
mod resolve;
pub mod types;

pub use resolve::{Resolution, resolve};

use std::sync::OnceLock;

/// What a call means to Polder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Says which devices there are and how much memory they have.
    DeviceView,
    /// Gives the address of another function.
    Resolves,
    /// Makes, keeps, drops or chooses a context.
    Contexts,
    /// Answers a question about an object.
    Queries,
    /// Loads or unloads code, which takes memory that nobody names.
    Loads,
    /// Takes device memory.
    Allocates,
    /// Gives device memory back.
    Frees,
    /// Takes or pins host memory.
    AllocatesHost,
    /// Gives host memory back or unpins it.
    FreesHost,
    /// Makes or changes a pool, which takes memory only when something is allocated from it.
    Pools,
    /// Gives memory that is there already an address.
    Maps,
    /// Brings in what another process or another interface has made.
    Imports,
    /// Makes or drops a stream or an event.
    Streams,
    /// Orders work of a stream without work of its own.
    Orders,
    /// Waits for work, or asks whether it is over.
    Synchronises,
    /// Begins or ends recording a stream's work into a graph.
    Captures,
    /// Starts kernels or graphs.
    Launches,
    /// Moves or fills memory.
    Copies,
    /// Takes a function that the driver calls back on a thread of its own.
    CallsBack,
    /// Makes or changes a graph.
    Graphs,
    /// Shares memory with a graphics system.
    Interop,
    /// For debuggers, profilers and checkpoints, and the vendor's private tables.
    Tools,
    /// Anything else.
    Pass,
}

/// One function, each variant counted as its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The exported symbol.
    pub name: &'static str,
    /// What it means.
    pub class: Class,
    /// The version of the API that brought it: 11030 is 11.3.
    pub since: u32,
    /// Whether [`pfn`] has its type.
    pub typed: bool,
}

impl Entry {
    /// The name without what tells variants apart: what `cuGetProcAddress` is asked for.
    #[must_use]
    pub fn base(&self) -> &'static str {
        let name = self.legacy_name();
        match name.rsplit_once("_v") {
            Some((base, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => base,
            _ => name,
        }
    }

    /// Whether its default stream is the thread's own.
    #[must_use]
    pub fn is_per_thread(&self) -> bool {
        self.legacy_name().len() != self.name.len()
    }

    fn legacy_name(&self) -> &'static str {
        let stripped = self.name.strip_suffix("_ptsz");
        stripped.or_else(|| self.name.strip_suffix("_ptds")).unwrap_or(self.name)
    }
}

macro_rules! class {
    (device_view) => {
        Class::DeviceView
    };
    (resolves) => {
        Class::Resolves
    };
    (contexts) => {
        Class::Contexts
    };
    (queries) => {
        Class::Queries
    };
    (loads) => {
        Class::Loads
    };
    (allocates) => {
        Class::Allocates
    };
    (frees) => {
        Class::Frees
    };
    (allocates_host) => {
        Class::AllocatesHost
    };
    (frees_host) => {
        Class::FreesHost
    };
    (pools) => {
        Class::Pools
    };
    (maps) => {
        Class::Maps
    };
    (imports) => {
        Class::Imports
    };
    (streams) => {
        Class::Streams
    };
    (orders) => {
        Class::Orders
    };
    (synchronises) => {
        Class::Synchronises
    };
    (captures) => {
        Class::Captures
    };
    (launches) => {
        Class::Launches
    };
    (copies) => {
        Class::Copies
    };
    (calls_back) => {
        Class::CallsBack
    };
    (graphs) => {
        Class::Graphs
    };
    (interop) => {
        Class::Interop
    };
    (tools) => {
        Class::Tools
    };
    (pass) => {
        Class::Pass
    };
}

macro_rules! expand {
    ($($table:tt)*) => {
        api! { CUresult since: $($table)* }
    };
}
cuda_table!(expand);

impl Function {
    /// The function that is exported as `name`.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let sorted = sorted();
        let at = sorted.binary_search_by(|function| function.name().cmp(name)).ok()?;
        Some(sorted[at])
    }
}

/// All functions by name, so that the variants of one lie together.
fn sorted() -> &'static [Function] {
    static SORTED: OnceLock<Vec<Function>> = OnceLock::new();
    SORTED.get_or_init(|| {
        let mut sorted = ALL.to_vec();
        sorted.sort_unstable_by_key(|function| function.name());
        sorted
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Where the names come from is said in the file.
    const NAMES: &str = include_str!("../../names/cuda.txt");
    /// Names that the vendor exports and the table does not know. It only ever gets shorter.
    const UNCLASSIFIED: &str = include_str!("../../names/cuda-unclassified.txt");
    const UNCLASSIFIED_MAX: usize = 31;

    fn published() -> impl Iterator<Item = (&'static str, &'static str)> {
        let lines = NAMES.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| {
            let mut words = line.split(' ');
            let word = words.next().expect("a name");
            (word, words.next().expect("a version"))
        })
    }

    #[test]
    fn every_published_name_is_in_the_table_or_on_the_list() {
        let published: BTreeSet<&str> = published().map(|(name, _)| name).collect();
        let ours: BTreeSet<&str> = FUNCTIONS.iter().map(|entry| entry.name).collect();
        assert_eq!(ours.len(), COUNT, "a name stands twice");
        let unknown: Vec<&str> = published.difference(&ours).copied().collect();
        assert_eq!(unknown, UNCLASSIFIED.lines().collect::<Vec<_>>());
        assert!(unknown.len() <= UNCLASSIFIED_MAX);
        let invented: Vec<_> = ours.difference(&published).collect();
        assert!(invented.is_empty(), "{invented:?}");
    }

    #[test]
    fn versions_are_the_published_ones() {
        for (name, since) in published().filter(|(_, since)| *since != "-") {
            let function = Function::of(name).expect("tested above");
            assert_eq!(function.entry().since.to_string(), since, "{name}");
        }
    }

    #[test]
    fn variants_know_what_they_are_variants_of() {
        let entry = Function::cuMemcpyHtoDAsync_v2_ptsz.entry();
        assert_eq!((entry.base(), entry.is_per_thread()), ("cuMemcpyHtoDAsync", true));
        let entry = Function::cuMemcpy3D_v2.entry();
        assert_eq!((entry.base(), entry.is_per_thread()), ("cuMemcpy3D", false));
        assert_eq!(Function::of("cuLaunchKernel"), Some(Function::cuLaunchKernel));
        assert_eq!(Function::of("cuLaunchKerne"), None);
        assert!(Function::all().enumerate().all(|(at, function)| function.slot() == at));
    }

    /// Whoever adds a function must say what it means: none of these names is ever `Pass`.
    #[test]
    fn whatever_launches_allocates_or_copies_is_classified_as_such() {
        let check = |beginning: &str, classes: &[Class]| {
            let named = FUNCTIONS.iter().filter(|entry| entry.name.starts_with(beginning));
            for entry in named {
                assert!(classes.contains(&entry.class) && entry.typed, "{entry:?}");
            }
        };
        check("cuLaunch", &[Class::Launches, Class::CallsBack]);
        check("cuGraphLaunch", &[Class::Launches]);
        check("cuMemAlloc", &[Class::Allocates, Class::AllocatesHost]);
        check("cuMemcpy", &[Class::Copies]);
        check("cuMemset", &[Class::Copies]);
        check("cuMemFree", &[Class::Frees, Class::FreesHost]);
    }
}
