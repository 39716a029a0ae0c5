//! Sizes, shares and times: one newtype each, integers only, with the spellings people use.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use thiserror::Error;

/// Why a size, share or time was not understood. Names the text and says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnitError {
    /// The text is not a number with one of the known units.
    #[error("{text:?} is not {what}: write {example}")]
    Unparsable {
        /// What was given.
        text: String,
        /// What was expected.
        what: &'static str,
        /// A spelling that works.
        example: &'static str,
    },
    /// The number has no unit and could mean two things.
    #[error("{text:?} could mean two things: write {one} or {other}")]
    Ambiguous {
        /// What was given.
        text: String,
        /// One reading, spelled out.
        one: String,
        /// The other reading, spelled out.
        other: String,
    },
    /// The number is outside what the unit can hold.
    #[error("{text:?} is out of range: {what} lies between {min} and {max}")]
    OutOfRange {
        /// What was given.
        text: String,
        /// What was expected.
        what: &'static str,
        /// Smallest value allowed.
        min: &'static str,
        /// Largest value allowed.
        max: &'static str,
    },
}

macro_rules! newtype {
    ($(#[$doc:meta])* $name:ident($repr:ty)) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
        )]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        #[serde(transparent)]
        pub struct $name(pub $repr);
    };
}

// Behind the macro, which they use.
mod bytes;
mod time;

pub use bytes::Bytes;
pub use time::{Micros, Timestamp};

newtype!(
    /// Thousandths of one device's compute, 1 to 1000. Spelled `30%` or `0.3`.
    Permille(u32)
);
newtype!(
    /// Thousandths of a CPU. Spelled `0.5`, `2` or `1500m`.
    MilliCpu(u32)
);

newtype!(
    /// Bits a second over a network. Spelled `10Gb`, `400Mb` or a plain number of bits.
    BitRate(u64)
);

/// Splits `text` into its leading decimal number and the rest, trimmed.
fn split_number(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

/// `number` times `scale`, exactly, rounded down; `None` when it is not a number or overflows.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.len() > 18 {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut value = u128::from(whole) * u128::from(scale);
    if !fraction.is_empty() {
        let digits: u64 = fraction.parse().ok()?;
        let power = 10u128.pow(u32::try_from(fraction.len()).ok()?);
        value += u128::from(digits) * u128::from(scale) / power;
    }
    u64::try_from(value).ok()
}

/// Whether it is a number, however large.
fn is_number(number: &str) -> bool {
    number.chars().any(|c| c.is_ascii_digit()) && number.matches('.').count() < 2
}

impl Permille {
    /// A whole device.
    pub const WHOLE: Self = Self(1000);
}

impl FromStr for Permille {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let unparsable = || UnitError::Unparsable {
            text: text.to_owned(),
            what: "a share of a device",
            example: "30% or 0.3",
        };
        let (number, unit) = split_number(text);
        let permille = match unit {
            "%" => scaled(number, 10).ok_or_else(unparsable)?,
            "" if number.contains('.') || number == "1" => {
                scaled(number, 1000).ok_or_else(unparsable)?
            }
            "" if number.parse::<u32>().is_ok_and(|n| (2..=100).contains(&n)) => {
                return Err(UnitError::Ambiguous {
                    text: text.to_owned(),
                    one: format!("{number}% of one device"),
                    other: format!("--devices {number} for {number} devices"),
                });
            }
            _ => return Err(unparsable()),
        };
        match u32::try_from(permille) {
            Ok(n @ 1..=1000) => Ok(Self(n)),
            _ => Err(UnitError::OutOfRange {
                text: text.to_owned(),
                what: "a share of one device",
                min: "0.1%",
                max: "100%",
            }),
        }
    }
}

impl fmt::Display for Permille {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(10) {
            f.pad(&format!("{}%", self.0 / 10))
        } else {
            f.pad(&format!("{}.{}%", self.0 / 10, self.0 % 10))
        }
    }
}

impl FromStr for MilliCpu {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split_number(text);
        let value = match unit {
            "" => scaled(number, 1000),
            "m" => scaled(number, 1),
            _ => None,
        };
        match value.map(u32::try_from) {
            Some(Ok(n)) if n > 0 => Ok(Self(n)),
            _ => Err(UnitError::Unparsable {
                text: text.to_owned(),
                what: "a number of CPUs above zero",
                example: "2, 0.5 or 500m",
            }),
        }
    }
}

impl fmt::Display for MilliCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1000) {
            f.pad(&format!("{}", self.0 / 1000))
        } else {
            f.pad(&format!("{}m", self.0))
        }
    }
}

impl FromStr for BitRate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split_number(text);
        let unit = unit.strip_suffix("/s").or(unit.strip_suffix("ps")).unwrap_or(unit);
        let scale = match unit.strip_suffix("it").unwrap_or(unit) {
            "" | "b" => Some(1),
            "Kb" | "kb" => Some(1_000),
            "Mb" => Some(1_000_000),
            "Gb" => Some(1_000_000_000),
            "Tb" => Some(1_000_000_000_000),
            _ => None,
        };
        match scale.and_then(|scale| scaled(number, scale)) {
            // Of a small number without a unit nobody means bits.
            Some(bits) if bits > 0 && bits < 1_000_000 && unit.is_empty() => {
                let usual = if bits < 1_000 { "Gb" } else { "Mb" };
                Err(UnitError::Ambiguous {
                    text: text.to_owned(),
                    one: format!("{number}{usual}"),
                    other: format!("{number}b for so many bits a second"),
                })
            }
            Some(bits) if bits > 0 => Ok(Self(bits)),
            _ => Err(UnitError::Unparsable {
                text: text.to_owned(),
                what: "bits a second",
                example: "10Gb or 400Mb",
            }),
        }
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scale, unit) = match self.0 {
            0..1_000 => return f.pad(&format!("{} b/s", self.0)),
            1_000..1_000_000 => (1_000, "Kb/s"),
            1_000_000..1_000_000_000 => (1_000_000, "Mb/s"),
            1_000_000_000..1_000_000_000_000 => (1_000_000_000, "Gb/s"),
            _ => (1_000_000_000_000, "Tb/s"),
        };
        let tenths = u128::from(self.0) * 10 / scale;
        if tenths.is_multiple_of(10) {
            f.pad(&format!("{} {unit}", tenths / 10))
        } else {
            f.pad(&format!("{}.{} {unit}", tenths / 10, tenths % 10))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(super) fn check<T: FromStr<Err = UnitError> + fmt::Debug>(text: &str, expect: &str) {
        let got = match text.parse::<T>() {
            Ok(value) => format!("{value:?}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expect, "{text:?}");
    }

    #[test]
    fn rates() {
        for text in ["10Gb", "10 Gb/s", "10Gbps", "10Gbit", "10Gbit/s", "10000000000"] {
            check::<BitRate>(text, "BitRate(10000000000)");
        }
        check::<BitRate>("2.5Gb", "BitRate(2500000000)");
        for text in ["10GB", "0", "fast", "-1Gb", "10G"] {
            let unclear = "is not bits a second: write 10Gb or 400Mb";
            check::<BitRate>(text, &format!("{text:?} {unclear}"));
        }
        for (text, usual) in [("10", "10Gb"), ("999", "999Gb"), ("1000", "1000Mb")] {
            let two = "could mean two things";
            let other = format!("{text}b for so many bits a second");
            check::<BitRate>(text, &format!("{text:?} {two}: write {usual} or {other}"));
        }
        assert_eq!(BitRate(2_500_000_000).to_string(), "2.5 Gb/s");
        assert_eq!(BitRate(400_000_000).to_string(), "400 Mb/s");
        assert_eq!(BitRate(7).to_string(), "7 b/s");
        check::<BitRate>("7 b/s", "BitRate(7)");
    }

    #[test]
    fn shares() {
        check::<Permille>("30%", "Permille(300)");
        check::<Permille>("12.5%", "Permille(125)");
        check::<Permille>("0.3", "Permille(300)");
        check::<Permille>("1", "Permille(1000)");
        check::<Permille>(
            "30",
            "\"30\" could mean two things: write 30% of one device or --devices 30 for 30 devices",
        );
        let range = "is out of range: a share of one device lies between 0.1% and 100%";
        check::<Permille>("0%", &format!("\"0%\" {range}"));
        check::<Permille>("101%", &format!("\"101%\" {range}"));
        let unclear = "is not a share of a device: write 30% or 0.3";
        check::<Permille>("-5%", &format!("\"-5%\" {unclear}"));
        check::<Permille>("lots", &format!("\"lots\" {unclear}"));
        check::<Permille>("1e9%", &format!("\"1e9%\" {unclear}"));
    }

    #[test]
    fn people_read_them() {
        assert_eq!(Bytes(1_610_612_736).to_string(), "1.5 GiB");
        assert_eq!(Permille(125).to_string(), "12.5%");
        assert_eq!(Micros(5_400_000_000).to_string(), "1h30m");
        assert_eq!(MilliCpu(1500).to_string(), "1500m");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = text.parse::<Bytes>();
            let _ = text.parse::<Permille>();
            let _ = text.parse::<Micros>();
            let _ = text.parse::<MilliCpu>();
        }

        #[test]
        fn shares_survive_a_round_trip(n in 1u32..=1000) {
            prop_assert_eq!(Permille(n).to_string().parse::<Permille>(), Ok(Permille(n)));
        }
    }
}
