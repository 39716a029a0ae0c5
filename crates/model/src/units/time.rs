//! Lengths of time, and moments.

use super::{UnitError, is_number, scaled, split_number};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::{fmt, str::FromStr};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::tests::check;

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
}
