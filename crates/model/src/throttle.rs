//! Why a device runs slower than it could.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A reason, as the device's driver tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Throttle {
    /// Its clocks were set lower.
    ClocksSet,
    /// It draws as much power as it may.
    PowerCap,
    /// Its hardware slows it: heat, power or the board.
    HwSlowdown,
    /// It keeps to the slowest of a group of devices.
    SyncBoost,
    /// Its driver slows it for heat.
    Thermal,
    /// Its hardware slows it for heat.
    HwThermal,
    /// The machine's power supply told it to brake.
    PowerBrake,
    /// A display's clock holds it.
    DisplayClock,
}

impl Throttle {
    /// All reasons, with the bit of NVML's clock event reasons for each. The lowest bit, a device that
    /// has nothing to do, is no reason.
    const BITS: [(u64, Self); 8] = [
        (0x2, Self::ClocksSet),
        (0x4, Self::PowerCap),
        (0x8, Self::HwSlowdown),
        (0x10, Self::SyncBoost),
        (0x20, Self::Thermal),
        (0x40, Self::HwThermal),
        (0x80, Self::PowerBrake),
        (0x100, Self::DisplayClock),
    ];

    /// The reasons among NVML's bits; bits that are not known here are passed over.
    #[must_use]
    pub fn of_nvml(bits: u64) -> Vec<Self> {
        let held = Self::BITS.into_iter().filter(|(bit, _)| bits & bit != 0);
        held.map(|(_, reason)| reason).collect()
    }
}

impl fmt::Display for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ClocksSet => "clocks set lower",
            Self::PowerCap => "power cap",
            Self::HwSlowdown => "hardware slowdown",
            Self::SyncBoost => "sync boost",
            Self::Thermal => "heat",
            Self::HwThermal => "heat (hardware)",
            Self::PowerBrake => "power brake",
            Self::DisplayClock => "display clock",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_read_from_the_bits_and_idleness_is_none() {
        assert_eq!(Throttle::of_nvml(0x1), []);
        assert_eq!(Throttle::of_nvml(0x24), [Throttle::PowerCap, Throttle::Thermal]);
        assert_eq!(Throttle::of_nvml(u64::MAX).len(), 8);
        assert_eq!(Throttle::of_nvml(1 << 40), []);
    }
}
