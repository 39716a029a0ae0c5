//! What goes wrong by script, under the numbers by which drivers report it.

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A kernel read or wrote where nothing is (XID 31): its context is lost.
    Address,
    /// A kernel trapped (XID 13): its context is lost.
    Exception,
    /// A program was ended by the driver for a fault that was its own (XID 43).
    Stopped,
    /// Memory that cannot be corrected (XID 48): every context is lost.
    Memory,
    /// The device no longer answers (XID 79): every context is lost, and no new one is made.
    FellOff,
}

impl Fault {
    /// The number by which the driver reports it.
    #[must_use]
    pub const fn xid(self) -> u32 {
        match self {
            Self::Exception => 13,
            Self::Address => 31,
            Self::Stopped => 43,
            Self::Memory => 48,
            Self::FellOff => 79,
        }
    }

    /// Whether it takes every context and not only the one it happens in.
    #[must_use]
    pub const fn takes_all(self) -> bool {
        matches!(self, Self::Memory | Self::FellOff)
    }
}

/// Why the device runs slower than it could, and by how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// The reasons, as bits of NVML's clock event reasons.
    pub reasons: u64,
    /// What is left of its speed, thousandths; at least one.
    pub speed: u32,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { reasons: 0, speed: 1000 }
    }
}
