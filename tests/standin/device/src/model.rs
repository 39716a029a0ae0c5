//! Device models: numbers of public data sheets under names that say what they are.
//!
//! Time slices and the cost of changing contexts are not published: the ones here are scripted, of
//! the order that people report (slices of about 2 ms, changes of about 0.1 ms).

/// A scripted device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    /// What it calls itself.
    pub name: &'static str,
    /// Multiprocessors.
    pub sms: u32,
    /// Most threads resident on one multiprocessor.
    pub threads_per_sm: u32,
    /// Most blocks resident on one multiprocessor.
    pub blocks_per_sm: u32,
    /// Compute capability.
    pub capability: (u32, u32),
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// What a context takes of it before it allocates anything, bytes.
    pub context_bytes: u64,
    /// Bytes a nanosecond over the bus, in each direction.
    pub bus_bytes_per_ns: u64,
    /// Bytes a nanosecond within its memory.
    pub memory_bytes_per_ns: u64,
    /// How long a context keeps the compute engine while another wants it, nanoseconds.
    pub slice_ns: u64,
    /// What a change from one context to another costs, nanoseconds.
    pub switch_ns: u64,
    /// How often the driver takes a sample of utilisation, nanoseconds.
    pub sample_ns: u64,
}

/// Allocations are rounded up to this many bytes.
pub(crate) const GRANULARITY: u64 = 2 << 20;

const GIB: u64 = 1 << 30;

const BASE: Model = Model {
    name: "",
    sms: 0,
    threads_per_sm: 2048,
    blocks_per_sm: 32,
    capability: (8, 0),
    memory_bytes: 0,
    context_bytes: 400 << 20,
    bus_bytes_per_ns: 25,
    memory_bytes_per_ns: 1500,
    slice_ns: 2_000_000,
    switch_ns: 100_000,
    sample_ns: 20_000_000,
};

/// Stand-in for a T4.
pub const T4: Model = Model {
    name: "Stand-in T4",
    sms: 40,
    threads_per_sm: 1024,
    blocks_per_sm: 16,
    capability: (7, 5),
    memory_bytes: 16 * GIB,
    context_bytes: 104 << 20,
    bus_bytes_per_ns: 12,
    memory_bytes_per_ns: 300,
    switch_ns: 200_000,
    ..BASE
};

/// Stand-in for an A100.
pub const A100: Model =
    Model { name: "Stand-in A100", sms: 108, memory_bytes: 80 * GIB, switch_ns: 130_000, ..BASE };

/// Stand-in for an H100.
pub const H100: Model = Model {
    name: "Stand-in H100",
    sms: 132,
    capability: (9, 0),
    memory_bytes: 80 * GIB,
    bus_bytes_per_ns: 50,
    memory_bytes_per_ns: 3300,
    ..BASE
};

/// Stand-in for an H200.
pub const H200: Model =
    Model { name: "Stand-in H200", memory_bytes: 141 * GIB, memory_bytes_per_ns: 4800, ..H100 };

/// Stand-in for a Blackwell card of 188 multiprocessors.
pub const BLACKWELL188: Model = Model {
    name: "Stand-in 188-SM Blackwell",
    sms: 188,
    threads_per_sm: 1536,
    blocks_per_sm: 24,
    capability: (12, 0),
    memory_bytes: 96 * GIB,
    bus_bytes_per_ns: 50,
    memory_bytes_per_ns: 1790,
    switch_ns: 70_000,
    ..BASE
};

/// Stand-in for a V100: only for comparing peers' limiters with what is known of them.
pub const V100: Model = Model {
    name: "Stand-in V100",
    sms: 80,
    capability: (7, 0),
    memory_bytes: 32 * GIB,
    memory_bytes_per_ns: 900,
    bus_bytes_per_ns: 12,
    ..BASE
};

/// Stand-in for an RTX 3080: likewise.
pub const RTX3080: Model = Model {
    name: "Stand-in RTX 3080",
    sms: 68,
    threads_per_sm: 1536,
    blocks_per_sm: 16,
    capability: (8, 6),
    memory_bytes: 10 * GIB,
    memory_bytes_per_ns: 760,
    ..BASE
};

/// The five of the limiter matrix.
pub const MODELS: [&Model; 5] = [&T4, &A100, &H100, &H200, &BLACKWELL188];

impl Model {
    /// Threads that can be resident at once.
    #[must_use]
    pub const fn threads(&self) -> u64 {
        self.sms as u64 * self.threads_per_sm as u64
    }

    /// Blocks of `threads` each that can be resident at once; none of more than fit.
    #[must_use]
    pub fn resident(&self, threads: u32) -> u64 {
        let by_threads = self.threads_per_sm / threads.max(1);
        u64::from(by_threads.min(self.blocks_per_sm)) * u64::from(self.sms)
    }
}
