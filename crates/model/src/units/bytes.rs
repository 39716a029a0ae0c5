//! Sizes in bytes.

use super::{UnitError, is_number, scaled, split_number};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

newtype!(
    /// A size in bytes. Spelled `512MiB`, `1.5GiB`, `2GB` or a plain number of bytes.
    Bytes(u64)
);

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::tests::check;

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
}
