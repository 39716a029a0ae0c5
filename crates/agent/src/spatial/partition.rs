//! Static partitions of a card's multiprocessors, in MPS's own terms. Pure.
//!
//! A control daemon that was started for it cuts a card into partitions of whole *chunks*; no two share
//! a multiprocessor, and a program computes in the one that it is told, or not at all. The part of the
//! multiprocessors that a lease was granted is rounded down to whole chunks, so parts that fit a card
//! fit it in chunks too.
//!
//! What this does not do: partition memory, which stays a limit for each process.

use polder_model::Permille;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The partition that a program computes in.
pub const PARTITION_VARIABLE: &str = "CUDA_MPS_SM_PARTITION";
/// The oldest compute capability whose cards can be cut so (Ampere), as `sm_80` spells it.
pub const CAPABILITY_MIN: u32 = 80;
/// From this one on a chunk is larger (Hopper).
const LARGE_CHUNKS_FROM: u32 = 90;
/// Multiprocessors of a chunk, before and from then on.
const CHUNK: u32 = 4;
const CHUNK_LARGE: u32 = 8;
/// The first version of CUDA whose control daemon knows them, as the program spells it: 13.1.
const VERSION_MIN: u32 = 13_010;
/// Digits of such a version, and more than any other number in that answer has.
const VERSION_DIGITS: usize = 5;
/// Longest name of a partition.
const NAME_BYTES_MAX: usize = 128;

/// Why a lease has no partition.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PartitionError {
    /// Its part is less than a chunk.
    #[error(
        "{compute} of a card with {units} multiprocessors is less than the {chunk} that MPS keeps \
         apart: ask for {least} or more"
    )]
    Small {
        /// What it was granted.
        compute: Permille,
        /// The card's multiprocessors.
        units: u32,
        /// Those of a chunk.
        chunk: u32,
        /// The least that is a chunk.
        least: Permille,
    },
    /// The card cannot be cut.
    #[error("static partitions take a card of compute capability 8.0 or newer")]
    Old,
    /// Its multiprocessors are not known.
    #[error("the card's driver does not tell how many multiprocessors it has")]
    Untold,
    /// The daemon made none.
    #[error("MPS was told to cut {chunks} chunks of {uuid} and says {said:?}")]
    Refused {
        /// The card.
        uuid: String,
        /// How many.
        chunks: u32,
        /// Its answer.
        said: String,
    },
}

/// A partition, as its control daemon names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// What it is called on its card.
    name: String,
    /// Its multiprocessors.
    pub units: u32,
}

/// Multiprocessors of a chunk on cards of this compute capability (`80` for 8.0).
#[must_use]
pub fn chunk(capability: u32) -> Option<u32> {
    match capability {
        LARGE_CHUNKS_FROM.. => Some(CHUNK_LARGE),
        CAPABILITY_MIN.. => Some(CHUNK),
        _ => None,
    }
}

/// A part of a card in whole chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunks {
    /// How many.
    pub count: u32,
    /// Multiprocessors of each.
    pub units: u32,
}

impl Chunks {
    /// The most chunks that a part of a card with `units` multiprocessors holds.
    ///
    /// # Errors
    /// [`PartitionError`] where it holds none.
    pub fn of(compute: Permille, units: u32, capability: u32) -> Result<Self, PartitionError> {
        let chunk = chunk(capability).ok_or(PartitionError::Old)?;
        if units == 0 {
            return Err(PartitionError::Untold);
        }
        let part = u64::from(compute.0.min(1000)) * u64::from(units) / 1000;
        let count = u32::try_from(part / u64::from(chunk)).unwrap_or(u32::MAX);
        if count == 0 {
            let least = (chunk * 1000).div_ceil(units);
            let least = Permille(least);
            return Err(PartitionError::Small { compute, units, chunk, least });
        }
        Ok(Self { count, units: chunk })
    }
}

impl Partition {
    /// Reads what a daemon says of a partition that it has made of a card: the partition's full name,
    /// alone or within words.
    ///
    /// # Errors
    /// [`PartitionError::Refused`] where there is none in it.
    pub fn read(uuid: &str, chunks: Chunks, said: &[String]) -> Result<Self, PartitionError> {
        let words = said.iter().flat_map(|line| line.split_whitespace());
        let mut names = words.filter_map(|word| word.strip_prefix(uuid)?.strip_prefix('/'));
        let usual = |name: &&str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "+/_=-".contains(c);
            (1..=NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(plain)
        };
        let units = chunks.count.saturating_mul(chunks.units);
        let found = names.find(usual).map(|name| Self { name: name.to_owned(), units });
        found.ok_or_else(|| PartitionError::Refused {
            uuid: uuid.to_owned(),
            chunks: chunks.count,
            said: said.join("; ").chars().take(NAME_BYTES_MAX).collect(),
        })
    }

    /// What it is called on its card.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Whether a control program knows partitions, by what it says of its version.
#[must_use]
pub fn knows(version: &str) -> bool {
    let numbers = version.split(|c: char| !c.is_ascii_digit());
    let versions = numbers.filter(|digits| digits.len() == VERSION_DIGITS);
    versions.filter_map(|digits| digits.parse::<u32>().ok()).any(|version| version >= VERSION_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UUID: &str = "GPU-57a4d141-0000-4000-8000-000000000000";

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_part_is_whole_chunks_of_its_cards_generation() {
        let check = |compute, units, capability, expect| {
            let got = Chunks::of(Permille(compute), units, capability);
            assert_eq!(got.map(|it| (it.count, it.units)), expect);
        };
        check(300, 132, 90, Ok((4, 8)));
        check(1000, 132, 90, Ok((16, 8)));
        check(500, 108, 80, Ok((13, 4)));
        check(61, 132, 90, Ok((1, 8)));
        check(300, 80, 70, Err(PartitionError::Old));
        let error = Chunks::of(Permille(60), 132, 90).unwrap_err();
        assert!(error.to_string().contains("ask for 6.1%"), "{error}");
        check(1000, 0, 90, Err(PartitionError::Untold));
    }

    #[test]
    fn what_a_daemon_says_of_a_new_partition_is_read_in_both_spellings() {
        let chunks = Chunks { count: 7, units: 4 };
        let name = "Dx4AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for said in [format!("{UUID}/{name}"), format!("Partition {UUID}/{name} created")] {
            let read = Partition::read(UUID, chunks, &lines(&said)).unwrap();
            assert_eq!((read.name(), read.units), (name, 28));
        }
        let other = UUID.replace("57a4", "0000");
        for said in [
            "Failed to fulfill the requested SM partition of 28 chunks",
            "Unknown command \"sm_partition\"",
            "",
            &format!("{UUID}/"),
            &format!("{UUID}/a\u{1b}[2J"),
            &format!("{UUID}/{}", "x".repeat(129)),
            &format!("{other}/{name}"),
            name,
        ] {
            let error = Partition::read(UUID, chunks, &lines(said)).unwrap_err();
            assert!(error.to_string().contains("cut 7 chunks"), "{said:?}: {error}");
        }
    }

    #[test]
    fn the_program_says_whether_it_is_new_enough() {
        for (said, expect) in [
            ("13010", true),
            ("CUDA MPS control daemon version: 13020\n", true),
            ("13000", false),
            ("12080", false),
            ("Copyright (C) 2003 - 2024 NVIDIA Corporation.", false),
            ("", false),
            ("1301000000", false),
        ] {
            assert_eq!(knows(said), expect, "{said:?}");
        }
    }

    proptest! {
        /// Parts that fit a card fit it in chunks, and none is more than what was granted.
        #[test]
        fn chunks_never_pass_the_parts(
            parts in prop::collection::vec(1u32..=1000, 1..16),
            units in 1u32..300,
            capability in 80u32..130,
        ) {
            let mut left = 1000;
            let mut taken = 0;
            for part in parts {
                let part = part.min(left);
                left -= part;
                if let Ok(chunks) = Chunks::of(Permille(part), units, capability) {
                    prop_assert!(chunks.count * chunks.units * 1000 <= part * units);
                    taken += chunks.count * chunks.units;
                }
            }
            prop_assert!(taken <= units);
        }
    }
}
