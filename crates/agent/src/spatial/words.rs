//! A lease's part of a card in MPS's own terms. Pure.

use super::partition::{PARTITION_VARIABLE, Partition};
use polder_model::{Bytes, Permille};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// MPS counts memory in these.
const MIB: u64 = 1 << 20;
const MIB_PER_GIB: u64 = 1024;

/// Where a program looks for the control daemon.
pub const PIPE_VARIABLE: &str = "CUDA_MPS_PIPE_DIRECTORY";
/// Where a daemon writes its logs.
pub const LOG_VARIABLE: &str = "CUDA_MPS_LOG_DIRECTORY";
/// The part of the multiprocessors that a program may use.
pub const PERCENTAGE_VARIABLE: &str = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE";
/// The device memory that a program may allocate.
pub const MEMORY_VARIABLE: &str = "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT";

/// Variables with which a program would choose its part anew within the lease's: they are not handed
/// on.
pub const OTHER_VARIABLES: [&str; 3] = [
    LOG_VARIABLE,
    "CUDA_MPS_ENABLE_PER_CTX_DEVICE_MULTIPROCESSOR_PARTITIONING",
    "CUDA_MPS_CLIENT_PRIORITY",
];

/// A part of a card, as MPS counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Of the multiprocessors. MPS knows tenths of a per cent: thousandths are told exactly, and the
    /// driver rounds them to what the card can keep apart.
    pub compute: Permille,
    /// Memory in MiB.
    pub memory_mib: u64,
}

/// Why a lease has no part of a card that MPS could hold.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PartError {
    /// Its compute.
    #[error("MPS cannot hold {0} of a card: ask for 0.1% to 100%")]
    Compute(Permille),
    /// Its memory.
    #[error("MPS holds memory in whole MiB, and {0} is less than one: ask for more")]
    Memory(Bytes),
}

impl Part {
    /// What a slice is to MPS: never more than the slice.
    ///
    /// # Errors
    /// [`PartError`] for what MPS cannot say.
    pub fn of(compute: Permille, memory: Bytes) -> Result<Self, PartError> {
        if !(1..=1000).contains(&compute.0) {
            return Err(PartError::Compute(compute));
        }
        match memory.0 / MIB {
            0 => Err(PartError::Memory(memory)),
            memory_mib => Ok(Self { compute, memory_mib }),
        }
    }

    /// The smallest part that holds both.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let compute = self.compute.max(other.compute);
        Self { compute, memory_mib: self.memory_mib.max(other.memory_mib) }
    }

    /// `30`, `33.3`: per cent, as MPS reads them.
    #[must_use]
    pub fn percentage(&self) -> String {
        match (self.compute.0 / 10, self.compute.0 % 10) {
            (whole, 0) => whole.to_string(),
            (whole, tenth) => format!("{whole}.{tenth}"),
        }
    }

    /// `1024M`.
    #[must_use]
    pub fn memory(&self) -> String {
        format!("{}M", self.memory_mib)
    }

    /// Whether a daemon that was told this percentage has it, by its answer.
    #[must_use]
    pub fn is_percentage(&self, answer: &str) -> bool {
        let tenths = answer.trim().split_once('.').map_or_else(
            || answer.trim().parse::<u32>().ok()?.checked_mul(10),
            |(whole, tenth)| {
                let one = tenth.len() == 1;
                let tenth = tenth.parse::<u32>().ok().filter(|_| one)?;
                whole.parse::<u32>().ok()?.checked_mul(10)?.checked_add(tenth)
            },
        );
        tenths == Some(self.compute.0)
    }

    /// Whether a daemon that was told this memory has it, by its answer. It prints whole GiB where
    /// there is one, and drops the rest; it keeps what it was told.
    #[must_use]
    pub fn is_memory(&self, answer: &str) -> bool {
        let answer = answer.trim();
        let number = |suffix| answer.strip_suffix(suffix).and_then(|text| text.parse::<u64>().ok());
        match (number('M'), number('G')) {
            (Some(mib), _) => mib == self.memory_mib,
            (_, Some(gib)) => gib == self.memory_mib / MIB_PER_GIB,
            _ => false,
        }
    }
}

/// What a lease's programs are told of MPS. Kept in the lease's plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The folder in which the card's control daemon listens.
    pub pipe: PathBuf,
    /// The card, `GPU-...`.
    pub uuid: String,
    /// The lease's part of it.
    pub part: Part,
    /// The static partition that is its part; absent where the daemon cuts none.
    #[serde(default)]
    pub partition: Option<Partition>,
}

impl Place {
    /// Variables of the lease's programs. The card is the only one that they see, and so device 0.
    #[must_use]
    pub fn variables(&self) -> [(&'static str, String); 3] {
        let compute = match &self.partition {
            Some(cut) => (PARTITION_VARIABLE, format!("{}/{}", self.uuid, cut.name())),
            None => (PERCENTAGE_VARIABLE, self.part.percentage()),
        };
        [
            (PIPE_VARIABLE, self.pipe.display().to_string()),
            compute,
            (MEMORY_VARIABLE, format!("0={}", self.part.memory())),
        ]
    }

    /// The variable of the other way to say a part, which would contradict its own.
    #[must_use]
    pub fn contradicts(&self) -> &'static str {
        if self.partition.is_some() { PERCENTAGE_VARIABLE } else { PARTITION_VARIABLE }
    }

    /// Whether a daemon's folder is this lease's.
    #[must_use]
    pub fn is_in(&self, folder: &Path) -> bool {
        self.pipe == folder
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(compute: u32, memory_mib: u64) -> Part {
        Part { compute: Permille(compute), memory_mib }
    }

    #[test]
    fn a_part_is_told_as_mps_reads_it() {
        for (compute, text) in [(1, "0.1"), (300, "30"), (333, "33.3"), (1000, "100")] {
            assert_eq!(part(compute, 1).percentage(), text);
        }
        assert_eq!(Part::of(Permille(300), Bytes((3 << 20) - 1)), Ok(part(300, 2)));
        assert_eq!(Part::of(Permille(300), Bytes(MIB - 1)), Err(PartError::Memory(Bytes(MIB - 1))));
        for odd in [0, 1001, u32::MAX] {
            assert!(Part::of(Permille(odd), Bytes(MIB)).is_err(), "{odd}");
        }
    }

    #[test]
    fn what_a_daemon_answers_is_compared_with_what_it_was_told() {
        // As the control daemon of driver 550 prints them.
        for (compute, answer) in [(333, "33.3"), (1, "0.1"), (1000, "100.0"), (300, "30.0")] {
            assert!(part(compute, 1).is_percentage(answer), "{answer}");
        }
        for (memory, answer) in [(1, "1M"), (1500, "1G"), (2048, "2G"), (1023, "1023M")] {
            assert!(part(1, memory).is_memory(answer), "{answer}");
        }
        for answer in ["", "30", "33.33", "33.", "-1", ".3", "99999999999.0", "nan", "33,3"] {
            assert!(!part(333, 1).is_percentage(answer), "{answer}");
        }
        for answer in ["", "4096", "5G", "M", "-1M", "1023.5M", "99999999999999999999G"] {
            assert!(!part(1, 4096).is_memory(answer), "{answer}");
        }
    }

    #[test]
    fn a_leases_programs_are_told_where_and_how_much() {
        let (pipe, uuid, part) = ("/s/mps/1".into(), "GPU-1".to_owned(), part(255, 1536));
        let place = Place { pipe, uuid, part, partition: None };
        let [pipe, percentage, memory] = place.variables();
        assert_eq!(pipe, ("CUDA_MPS_PIPE_DIRECTORY", "/s/mps/1".to_owned()));
        assert_eq!(percentage, ("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "25.5".to_owned()));
        assert_eq!(memory, ("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", "0=1536M".to_owned()));
        assert_eq!(place.contradicts(), "CUDA_MPS_SM_PARTITION");

        let chunks = crate::spatial::partition::Chunks { count: 4, units: 8 };
        let cut = Partition::read("GPU-1", chunks, &["GPU-1/Dx1".to_owned()]).unwrap();
        let cut = Place { partition: Some(cut), ..place };
        assert_eq!(cut.variables()[1], ("CUDA_MPS_SM_PARTITION", "GPU-1/Dx1".to_owned()));
        assert_eq!(cut.contradicts(), "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE");
    }

    proptest! {
        /// Parts whose slices fit a card fit it in MPS's terms too.
        #[test]
        fn parts_never_pass_the_slices(slices in prop::collection::vec((1u32..=1000, MIB..1 << 40), 1..8)) {
            for (compute, memory) in slices {
                let part = Part::of(Permille(compute), Bytes(memory)).unwrap();
                prop_assert!(part.memory_mib * MIB <= memory);
                prop_assert_eq!(part.percentage().parse::<f64>().unwrap(), f64::from(compute) / 10.0);
            }
        }
    }
}
