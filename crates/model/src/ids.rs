//! Names and numbers of things. Numbers are handed out once and never used again. A name is shared
//! by all who name the same thing, so that a copy of it costs no memory.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, sync::Arc};
use thiserror::Error;

/// Why a name or number was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdError {
    /// Not a number of that kind.
    #[error("{text:?} is not {what}: write {example}")]
    NotANumber {
        /// What was given.
        text: String,
        /// What was expected.
        what: &'static str,
        /// A spelling that works.
        example: &'static str,
    },
    /// Not a name of that kind.
    #[error(
        "{text:?} is not {what}: use 1 to {length_max} of a-z, A-Z, 0-9, '.', '_' and '-'{more}"
    )]
    BadName {
        /// What was given.
        text: String,
        /// What was expected.
        what: &'static str,
        /// How long it may be.
        length_max: usize,
        /// What else is allowed.
        more: &'static str,
    },
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $what:literal, $prefix:literal, $example:literal) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&format!(concat!($prefix, "{}"), self.0))
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix($prefix)
                    .unwrap_or(text)
                    .parse()
                    .map(Self)
                    .map_err(|_| IdError::NotANumber {
                        text: text.to_owned(),
                        what: $what,
                        example: $example,
                    })
            }
        }
    };
}

number!(
    /// A job: `12`.
    JobId, "a job", "", "12"
);
number!(
    /// A lease: `L34`.
    LeaseId, "a lease", "L", "L34"
);

/// A task's place in its gang, from 0: its rank.
pub type TaskIndex = u32;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $length:literal, $extra:literal, $more:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(value_type = String))]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                let allowed =
                    |c: char| c.is_ascii_alphanumeric() || "._-".contains(c) || $extra.contains(c);
                let fits = (1..=$length).contains(&text.len()) && text.chars().all(allowed);
                // A part that is empty or only dots could be taken for a path's `.` or `..`.
                if !fits || text.split('/').any(|part| part.chars().all(|c| c == '.')) {
                    return Err(IdError::BadName {
                        text: text.chars().take(80).collect(),
                        what: $what,
                        length_max: $length,
                        more: $more,
                    });
                }
                Ok(Self(text.into()))
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// A machine with devices, by its host name.
    NodeId, "a node", 64, "", ""
);
name!(
    /// One device within its node, stable across restarts: a UUID or `opencl-0-0`.
    DeviceId, "a device", 64, ":", " or ':'"
);
name!(
    /// One pool: drawn at random when its state folder is first opened.
    PoolId, "a pool", 64, "", ""
);
name!(
    /// A person or program that asks.
    UserName, "a user", 64, "@$", ", '@' or '$'"
);
name!(
    /// A tenant by its path from the root: `lab/vision/ocr`.
    TenantPath, "a tenant", 200, "/", ", with '/' between levels"
);

impl TenantPath {
    /// This tenant and every one above it, nearest first.
    pub fn lineage(&self) -> impl Iterator<Item = TenantPath> + '_ {
        let mut next = Some(self.clone());
        std::iter::from_fn(move || {
            let here = next.take()?;
            next = here.parent();
            Some(here)
        })
    }

    /// Whether this is `above` or somewhere below it.
    #[must_use]
    pub fn is_within(&self, above: &TenantPath) -> bool {
        self.lineage().any(|here| here == *above)
    }

    /// The tenant above, if there is one.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(above, _)| Self(above.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_paths_are_refused() {
        for bad in ["", ".", "..", "a/../b", "/a", "a/", "a//b", "a b", "é"] {
            assert!(bad.parse::<TenantPath>().is_err(), "{bad:?}");
        }
        assert!("lab/vision".parse::<TenantPath>().is_ok());
        assert!("a/b".parse::<NodeId>().is_err());
    }

    #[test]
    fn lineage_climbs_to_the_root() {
        let path: TenantPath = "lab/vision/ocr".parse().unwrap();
        let names: Vec<String> = path.lineage().map(String::from).collect();
        assert_eq!(names, ["lab/vision/ocr", "lab/vision", "lab"]);
        for (above, expect) in [("lab/vision/ocr", true), ("lab", true), ("lab/vis", false)] {
            assert_eq!(path.is_within(&above.parse().unwrap()), expect, "{above}");
        }
    }

    #[test]
    fn serde_refuses_what_parsing_refuses() {
        assert!(serde_json::from_str::<NodeId>("\"..\"").is_err());
        assert_eq!("L7".parse::<LeaseId>(), Ok(LeaseId(7)));
        assert_eq!(LeaseId(7).to_string(), "L7");
    }
}
