//! What the processes do: as much as they can of one kind of work.

use polder_standin::{Kernel, Length, Work};

/// What one process does over and over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// What it launches.
    pub work: Work,
    /// What a launch costs on the host, nanoseconds.
    pub host_ns: u64,
    /// After so many launches it waits for all of them.
    pub sync_every: u32,
    /// What it does on the host after that, nanoseconds.
    pub gap_ns: u64,
}

/// A kind of work of the matrix.
#[derive(Debug, Clone)]
pub struct Shape {
    /// What it is called.
    pub name: &'static str,
    /// Its kernels' length, nanoseconds.
    pub kernel_ns: u64,
    make: fn(u64) -> Program,
}

impl Shape {
    /// The program of this shape.
    #[must_use]
    pub fn program(&self) -> Program {
        (self.make)(self.kernel_ns)
    }

    /// Whether windows of a second are judged: its launches are of 10 ms and less.
    #[must_use]
    pub fn windows_judged(&self) -> bool {
        self.kernel_ns <= 10_000_000
    }
}

const HOST_NS: u64 = 3_000;
const GAP_NS: u64 = 10_000;

fn kernels(blocks: u32, threads: u32, length_ns: u64, sync_every: u32) -> Program {
    let work = Work::Kernel(Kernel::scripted(blocks, threads, length_ns));
    Program { work, host_ns: HOST_NS, sync_every, gap_ns: GAP_NS }
}

/// A token of a language model: a few hundred short kernels, then a look at the result.
fn decode(length_ns: u64) -> Program {
    kernels(132, 128, length_ns, 400)
}

fn short(length_ns: u64) -> Program {
    kernels(1024, 256, length_ns, 400)
}

fn gemm(length_ns: u64) -> Program {
    kernels(4096, 256, length_ns, 100)
}

fn long(length_ns: u64) -> Program {
    kernels(65_536, 256, length_ns, 1)
}

fn graph(length_ns: u64) -> Program {
    let nodes = 200;
    let node = Kernel::scripted(132, 128, length_ns / u64::from(nodes));
    let work = Work::Graph { node, nodes };
    Program { work, host_ns: 2 * HOST_NS, sync_every: 1, gap_ns: GAP_NS }
}

fn cooperative(length_ns: u64) -> Program {
    let kernel =
        Kernel { blocks: 40, threads: 512, length: Length::Scripted(length_ns), cooperative: true };
    Program { work: Work::Kernel(kernel), host_ns: HOST_NS, sync_every: 20, gap_ns: GAP_NS }
}

/// The six of the matrix.
pub const SHAPES: [Shape; 6] = [
    Shape { name: "decode 10 us", kernel_ns: 10_000, make: decode },
    Shape { name: "kernel 50 us", kernel_ns: 50_000, make: short },
    Shape { name: "gemm 1 ms", kernel_ns: 1_000_000, make: gemm },
    Shape { name: "kernel 100 ms", kernel_ns: 100_000_000, make: long },
    Shape { name: "graph of 200 nodes", kernel_ns: 2_000_000, make: graph },
    Shape { name: "cooperative 2 ms", kernel_ns: 2_000_000, make: cooperative },
];
