//! Sizes, shares and times: one newtype each, integers only, with the spellings people use.

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
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

newtype!(
    /// A size in bytes. Spelled `512MiB`, `1.5GiB`, `2GB` or a plain number of bytes.
    Bytes(u64)
);
newtype!(
    /// Thousandths of one device's compute, 1 to 1000. Spelled `30%` or `0.3`.
    Permille(u32)
);
newtype!(
    /// Microseconds since 1970-01-01T00:00Z, always supplied by the server.
    Timestamp(u64)
);
/// A length of time in microseconds. Spelled `90s`, `15m`, `2h`, `1d`, `500ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct Micros(pub u64);

/// People who write a file or a request may spell it; a number is microseconds.
impl<'de> Deserialize<'de> for Micros {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Length;
        impl Visitor<'_> for Length {
            type Value = Micros;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a length of time: 90s, 15m, 2h or 1d, or a number of microseconds")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Micros, E> {
                Ok(Micros(value))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Micros, E> {
                let negative = |_| E::invalid_value(de::Unexpected::Signed(value), &self);
                u64::try_from(value).map(Micros).map_err(negative)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Micros, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Length)
    }
}

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

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const PIB: u64 = 1 << 50;

impl Bytes {
    /// The largest size of memory that anything may ask for: more than any machine has.
    pub const MEMORY_MAX: Self = Self(4 * PIB);

    /// Whether it is nothing at all.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        self.0 == 0
    }

    /// A size of memory of one machine or device. Of a small number without a unit nobody means bytes, so
    /// it is refused.
    ///
    /// # Errors
    /// It is no size, above [`Bytes::MEMORY_MAX`], or a number without a unit below 1 MiB.
    pub fn of_memory(text: &str) -> Result<Self, UnitError> {
        let out_of_range = || UnitError::OutOfRange {
            text: text.to_owned(),
            what: "a size of memory",
            min: "1 B",
            max: "4 PiB",
        };
        match Self::of_any_memory(text) {
            Ok(bytes) if bytes > Self::MEMORY_MAX => Err(out_of_range()),
            Err(UnitError::OutOfRange { .. }) => Err(out_of_range()),
            read => read,
        }
    }

    /// A size of memory that may be that of a whole pool.
    ///
    /// # Errors
    /// It is no size, or a number without a unit below 1 MiB.
    pub fn of_any_memory(text: &str) -> Result<Self, UnitError> {
        let bytes: Self = text.parse()?;
        let (number, unit) = split_number(text);
        if !unit.is_empty() || bytes.is_zero() || bytes.0 >= MIB {
            return Ok(bytes);
        }
        let usual = if bytes.0 < KIB { "GiB" } else { "MiB" };
        Err(UnitError::Ambiguous {
            text: text.to_owned(),
            one: format!("{number}{usual}"),
            other: format!("{number}B for so many bytes"),
        })
    }
}

impl FromStr for Bytes {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let unparsable = || UnitError::Unparsable {
            text: text.to_owned(),
            what: "a size",
            example: "512MiB, 1.5GiB or 2GB",
        };
        let (number, unit) = split_number(text);
        let scale = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kib" => KIB,
            "mib" => MIB,
            "gib" => GIB,
            "tib" => TIB,
            "pib" => PIB,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            letter @ ("k" | "m" | "g" | "t") if !number.is_empty() => {
                let upper = letter.to_ascii_uppercase();
                return Err(UnitError::Ambiguous {
                    text: text.to_owned(),
                    one: format!("{number}{upper}iB (powers of 1024)"),
                    other: format!("{number}{upper}B (powers of 1000)"),
                });
            }
            _ => return Err(unparsable()),
        };
        if scale == 1 && number.contains('.') {
            return Err(unparsable());
        }
        match scaled(number, scale) {
            Some(bytes) => Ok(Self(bytes)),
            None if is_number(number) => Err(UnitError::OutOfRange {
                text: text.to_owned(),
                what: "a size",
                min: "0 B",
                max: "16383 PiB",
            }),
            None => Err(unparsable()),
        }
    }
}

impl Bytes {
    /// The least size that is shown as it is and is not less than this: for whoever is told to ask for so much.
    #[must_use]
    pub fn shown_up(self) -> Self {
        let tenth = match self.0 {
            0..KIB => return self,
            KIB..MIB => KIB,
            MIB..GIB => MIB,
            GIB..TIB => GIB,
            TIB..PIB => TIB,
            _ => PIB,
        };
        let tenths = (u128::from(self.0) * 10).div_ceil(u128::from(tenth));
        Self(u64::try_from(tenths * u128::from(tenth) / 10).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scale, unit) = match self.0 {
            0..KIB => return f.pad(&format!("{} B", self.0)),
            KIB..MIB => (KIB, "KiB"),
            MIB..GIB => (MIB, "MiB"),
            GIB..TIB => (GIB, "GiB"),
            TIB..PIB => (TIB, "TiB"),
            _ => (PIB, "PiB"),
        };
        // Cut off, so that nobody is shown more than there is; `1.1GiB` is read as a byte less than it
        // says, and shown as what it was.
        let tenths = u128::from(self.0.saturating_add(1)) * 10 / u128::from(scale);
        if tenths.is_multiple_of(10) {
            f.pad(&format!("{} {unit}", tenths / 10))
        } else {
            f.pad(&format!("{}.{} {unit}", tenths / 10, tenths % 10))
        }
    }
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

const SECOND: u64 = 1_000_000;

impl Micros {
    /// The longest time that anybody can spell, and that a job may be limited to or last: ten years.
    pub const SPELLED_MAX: Self = Self::from_secs(3660 * 86_400);

    /// So many whole seconds; saturates.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(SECOND))
    }

    /// So many milliseconds; saturates.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// The same length for the standard library.
    #[must_use]
    pub const fn to_duration(self) -> std::time::Duration {
        std::time::Duration::from_micros(self.0)
    }
}

impl FromStr for Micros {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = || UnitError::Unparsable {
            text: text.to_owned(),
            what: "a length of time",
            example: "90s, 15m, 2h or 1d",
        };
        let mut rest = text.trim();
        let mut total = 0u64;
        if rest.is_empty() {
            return Err(error());
        }
        while !rest.is_empty() {
            let (number, tail) = split_number(rest);
            let unit_end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
            let scale = match &tail[..unit_end] {
                "us" => 1,
                "ms" => 1_000,
                "s" => SECOND,
                "m" | "min" => 60 * SECOND,
                "h" => 3600 * SECOND,
                "d" => 86_400 * SECOND,
                _ => return Err(error()),
            };
            if !is_number(number) {
                return Err(error());
            }
            // What does not fit into the number is too long as well.
            total = total.saturating_add(scaled(number, scale).unwrap_or(u64::MAX));
            rest = tail[unit_end..].trim_start();
        }
        if Self(total) > Self::SPELLED_MAX {
            return Err(UnitError::OutOfRange {
                text: text.to_owned(),
                what: "a length of time",
                min: "0s",
                max: "3660d",
            });
        }
        Ok(Self(total))
    }
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = self.0 / SECOND;
        let text = match self.0 {
            0 => "0s".to_owned(),
            1..1_000 => format!("{}us", self.0),
            1_000..SECOND => format!("{}ms", self.0 / 1000),
            _ if s < 60 => format!("{}.{}s", s, self.0 % SECOND / 100_000),
            _ if s < 3600 => format!("{}m{:02}s", s / 60, s % 60),
            _ if s < 86_400 => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
            _ => format!("{}d{:02}h", s / 86_400, s % 86_400 / 3600),
        };
        f.pad(&text)
    }
}

impl Timestamp {
    /// How long after `earlier` this is; zero when it is before.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Micros {
        Micros(self.0.saturating_sub(earlier.0))
    }

    /// The moment `length` later; saturates.
    #[must_use]
    pub const fn after(self, length: Micros) -> Self {
        Self(self.0.saturating_add(length.0))
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

    fn check<T: FromStr<Err = UnitError> + fmt::Debug>(text: &str, expect: &str) {
        let got = match text.parse::<T>() {
            Ok(value) => format!("{value:?}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expect, "{text:?}");
    }

    #[test]
    fn a_small_number_without_a_unit_is_no_size_of_memory() {
        let check = |text: &str, expect: &str| {
            let read = Bytes::of_memory(text);
            let told = read.map_or_else(|error| error.to_string(), |bytes| bytes.0.to_string());
            assert_eq!(told, expect, "{text}");
        };
        check("1", "\"1\" could mean two things: write 1GiB or 1B for so many bytes");
        check(
            " 16384 ",
            "\" 16384 \" could mean two things: write 16384MiB or 16384B for so many bytes",
        );
        check("0", "0");
        check("1B", "1");
        check("1048576", "1048576");
        check("1GiB", "1073741824");
        check("one", "\"one\" is not a size: write 512MiB, 1.5GiB or 2GB");
    }

    #[test]
    fn one_limit_of_memory_holds_however_large_the_number() {
        for text in ["4097TiB", "5 PiB", "20000PiB", "99999999999999999999GiB"] {
            let range = "is out of range: a size of memory lies between 1 B and 4 PiB";
            let told = Bytes::of_memory(text).unwrap_err().to_string();
            assert_eq!(told, format!("{text:?} {range}"));
        }
        assert_eq!(Bytes::of_memory("4PiB"), Ok(Bytes::MEMORY_MAX));
        assert_eq!(Bytes::MEMORY_MAX.to_string(), "4 PiB");
        for text in ["1.1 GiB", "1.3 GiB", "2.7 GiB", "21.4 GiB", "1.9 MiB", "3 GiB"] {
            assert_eq!(text.parse::<Bytes>().unwrap().to_string(), text, "as it was asked");
        }
        // Cut off where it says what there is, and rounded up where it says what to ask for.
        let held = Bytes(1177 << 20);
        assert_eq!(
            (held.to_string(), held.shown_up().to_string()),
            ("1.1 GiB".into(), "1.2 GiB".into())
        );
        let asked: Bytes = held.shown_up().to_string().parse().unwrap();
        assert!(asked >= held);
        assert_eq!(Bytes(1023).shown_up(), Bytes(1023));
        assert_eq!(Bytes(u64::MAX).to_string(), "16383.9 PiB", "which is read again");
    }

    #[test]
    fn sizes() {
        check::<Bytes>("1GiB", "Bytes(1073741824)");
        check::<Bytes>("1.5 gib", "Bytes(1610612736)");
        check::<Bytes>("2GB", "Bytes(2000000000)");
        check::<Bytes>("4096", "Bytes(4096)");
        check::<Bytes>(
            "1G",
            "\"1G\" could mean two things: write 1GiB (powers of 1024) or 1GB (powers of 1000)",
        );
        check::<Bytes>("-1GiB", "\"-1GiB\" is not a size: write 512MiB, 1.5GiB or 2GB");
        check::<Bytes>(
            "99999999999999999999GiB",
            "\"99999999999999999999GiB\" is out of range: a size lies between 0 B and 16383 PiB",
        );
        check::<Bytes>("", "\"\" is not a size: write 512MiB, 1.5GiB or 2GB");
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
    fn times() {
        check::<Micros>("90s", "Micros(90000000)");
        check::<Micros>("1h30m", "Micros(5400000000)");
        check::<Micros>("1.5s", "Micros(1500000)");
        check::<Micros>("5", "\"5\" is not a length of time: write 90s, 15m, 2h or 1d");
        check::<Micros>("3660d", &format!("{:?}", Micros::SPELLED_MAX));
        for text in
            ["3661d", "99999d", "3660d1us", "99999999999999999999s", "18446744073709551615us 1s"]
        {
            let range = "is out of range: a length of time lies between 0s and 3660d";
            check::<Micros>(text, &format!("{text:?} {range}"));
        }
        check::<Micros>("1.2.3s", "\"1.2.3s\" is not a length of time: write 90s, 15m, 2h or 1d");
        check::<Micros>("-1s", "\"-1s\" is not a length of time: write 90s, 15m, 2h or 1d");
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
