//! What can be put into a stream, and how long it takes.

use crate::model::Model;

/// How long a kernel takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// So many nanoseconds a block: blocks that are not resident together follow each other.
    Block(u64),
    /// So many nanoseconds, whatever the device.
    Scripted(u64),
}

/// A kernel's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    /// Blocks in its grid.
    pub blocks: u32,
    /// Threads in a block.
    pub threads: u32,
    /// How long it takes.
    pub length: Length,
    /// All its blocks must be resident at once.
    pub cooperative: bool,
}

impl Kernel {
    /// A kernel of a scripted length in nanoseconds.
    #[must_use]
    pub const fn scripted(blocks: u32, threads: u32, length_ns: u64) -> Self {
        Self { blocks, threads, length: Length::Scripted(length_ns), cooperative: false }
    }

    /// Nanoseconds it takes with the device to itself.
    #[must_use]
    pub fn length_ns(&self, model: &Model) -> u64 {
        let length = match self.length {
            Length::Scripted(ns) => ns,
            Length::Block(ns) => {
                let waves = u64::from(self.blocks).div_ceil(model.resident(self.threads).max(1));
                waves.saturating_mul(ns)
            }
        };
        length.max(1)
    }

    /// Whether the device can run it at all.
    #[must_use]
    pub fn fits(&self, model: &Model) -> bool {
        let resident = model.resident(self.threads);
        let fits = self.threads > 0 && self.blocks > 0 && resident > 0;
        fits && (!self.cooperative || u64::from(self.blocks) <= resident)
    }
}

/// Which way bytes move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Host to device, on an engine of its own.
    ToDevice,
    /// Device to host, on an engine of its own.
    ToHost,
    /// Within the device, or a fill: on the compute engine.
    Within,
}

/// A copy or a fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copy {
    /// Bytes.
    pub bytes: u64,
    /// Which way.
    pub direction: Direction,
}

/// The least that a copy takes, nanoseconds.
const COPY_MIN_NS: u64 = 1_500;

impl Copy {
    /// Nanoseconds it takes.
    #[must_use]
    pub fn length_ns(&self, model: &Model) -> u64 {
        let rate = match self.direction {
            Direction::Within => model.memory_bytes_per_ns,
            Direction::ToDevice | Direction::ToHost => model.bus_bytes_per_ns,
        };
        COPY_MIN_NS + self.bytes / rate.max(1)
    }
}

/// One item of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// A kernel, cooperative ones too.
    Kernel(Kernel),
    /// A graph whose nodes run one after the other, launched at once.
    Graph {
        /// Each node.
        node: Kernel,
        /// How many.
        nodes: u32,
    },
    /// A copy or a fill.
    Copy(Copy),
    /// Nothing, until [`Device::open_fence`](crate::Device::open_fence) is called with this number.
    Fence(u64),
}

impl Work {
    /// Nanoseconds it takes with the device to itself.
    #[must_use]
    pub fn length_ns(&self, model: &Model) -> u64 {
        match self {
            Self::Kernel(kernel) => kernel.length_ns(model),
            Self::Graph { node, nodes } => {
                node.length_ns(model).saturating_mul(u64::from(*nodes).max(1))
            }
            Self::Copy(copy) => copy.length_ns(model),
            Self::Fence(_) => 0,
        }
    }

    /// Whether the device can run it.
    #[must_use]
    pub fn fits(&self, model: &Model) -> bool {
        match self {
            Self::Kernel(kernel) => kernel.fits(model),
            Self::Graph { node, .. } => node.fits(model),
            Self::Copy(_) | Self::Fence(_) => true,
        }
    }

    /// Resident threads it takes up.
    pub(crate) fn demand(&self, model: &Model) -> u64 {
        match self {
            Self::Kernel(kernel) | Self::Graph { node: kernel, .. } => {
                (u64::from(kernel.blocks) * u64::from(kernel.threads)).clamp(1, model.threads())
            }
            Self::Copy(_) | Self::Fence(_) => 1,
        }
    }

    /// The copy engine it runs on; none for what runs on the compute engine.
    pub(crate) fn copy_engine(&self) -> Option<usize> {
        match self {
            Self::Copy(Copy { direction: Direction::ToDevice, .. }) => Some(0),
            Self::Copy(Copy { direction: Direction::ToHost, .. }) => Some(1),
            _ => None,
        }
    }
}
