//! How strictly a node holds programs to their shares, and what it found that breaks the rules.

use crate::LeaseId;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Most findings that are kept of one lease: the first ones.
pub const FINDINGS_MAX: usize = 16;
/// Most bytes of a finding's texts.
pub const FINDING_BYTES_MAX: usize = 256;

/// What happens to a process that uses a shared device without a slot of its lease. Set by whoever
/// starts the node's agent; journaled with the node's facts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Enforcement {
    /// It is ended, and reported.
    Strict,
    /// It is reported.
    #[default]
    Permissive,
    /// Nobody looks for it, and no program waits for its turn.
    Off,
}

impl fmt::Display for Enforcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Strict => "strict",
            Self::Permissive => "permissive",
            Self::Off => "off",
        })
    }
}

/// A word that names no enforcement.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no enforcement: write strict, permissive or off")]
pub struct EnforcementError(pub String);

impl FromStr for Enforcement {
    type Err = EnforcementError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Strict, Self::Permissive, Self::Off];
        let named = all.into_iter().find(|one| one.to_string() == text);
        named.ok_or_else(|| EnforcementError(text.chars().take(64).collect()))
    }
}

/// Which rule a process breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// It has the vendor's library loaded, or is known to the device's driver, and has no slot.
    NoSlot,
    /// The lease's page is no page any more: its header was overwritten.
    PageHeader,
    /// A slot of the page names another process than the one that has it.
    PageSlots,
    /// More commands in flight, or threads waiting, than the process could have.
    PageCounts,
    /// Commands in flight that never complete, while the process does nothing.
    PageStuck,
    /// Fewer commands completed than before, or more than were launched.
    PageCompleted,
    /// More memory held than the lease or the process could have.
    PageMemory,
    /// A command that ran for longer than the process has lived.
    PageLongest,
    /// Its device's driver reported a fault that is a program's own.
    DeviceFault,
    /// A process that is no lease's uses its device.
    Stranger,
    /// What runs its container failed before its program began.
    ContainerFailed,
    /// Its callbacks launch without their turn, because what they wait for does not end meanwhile.
    OutOfTurn,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NoSlot => "used a device without a slot",
            Self::PageHeader => "overwrote its page",
            Self::PageSlots => "wrote other processes into its page",
            Self::PageCounts => "claims more than it has in flight or waiting",
            Self::PageStuck => "claims work in flight that never completes",
            Self::PageCompleted => "claims work completed that was not",
            Self::PageMemory => "claims more memory than it can hold",
            Self::PageLongest => "claims a command longer than its life",
            Self::DeviceFault => "had a fault of its own on the device",
            Self::Stranger => "uses the lease's device and belongs to no lease",
            Self::ContainerFailed => "was not begun in its container",
            Self::OutOfTurn => "launches from callbacks beside its turns",
        })
    }
}

/// What a node found about one lease. Each (rule, process) is found once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Finding {
    /// Which rule is broken.
    pub rule: Rule,
    /// By which process of the node; 0 where it is the lease as a whole.
    pub pid: u32,
    /// What that process calls itself.
    pub program: String,
    /// What shows it, with numbers.
    pub evidence: String,
    /// Whether the process was ended for it.
    pub ended: bool,
}

impl Finding {
    /// What is kept of a node's list, whatever it sends: each (rule, process) once, the first
    /// [`FINDINGS_MAX`], with texts of at most [`FINDING_BYTES_MAX`].
    #[must_use]
    pub fn bounded(list: Vec<Self>) -> Vec<Self> {
        let mut kept: Vec<Self> = Vec::new();
        for mut one in list {
            if kept.len() >= FINDINGS_MAX {
                break;
            }
            if kept.iter().any(|other| one.is_again(other)) {
                continue;
            }
            for text in [&mut one.program, &mut one.evidence] {
                let end = (0..=FINDING_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at));
                text.truncate(end.unwrap_or(0));
            }
            kept.push(one);
        }
        kept
    }

    /// Whether it tells of the same rule and process as `other`.
    #[must_use]
    pub fn is_again(&self, other: &Self) -> bool {
        (self.rule, self.pid) == (other.rule, other.pid)
    }

    /// One line for people, of a finding about `lease`.
    #[must_use]
    pub fn line(&self, lease: LeaseId) -> String {
        let Self { rule, pid, program, evidence, ended } = self;
        let ended = if *ended { "; it was ended" } else { "" };
        match pid {
            0 => format!("lease {lease} {rule}: {evidence}{ended}"),
            _ => format!("process {pid} ({program}) of lease {lease} {rule}: {evidence}{ended}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(pid: u32, evidence: &str) -> Finding {
        let (program, evidence) = ("sh".to_owned(), evidence.to_owned());
        Finding { rule: Rule::NoSlot, pid, program, evidence, ended: false }
    }

    #[test]
    fn each_enforcement_is_read_as_it_is_written() {
        for one in [Enforcement::Strict, Enforcement::Permissive, Enforcement::Off] {
            assert_eq!(one.to_string().parse(), Ok(one));
            assert_eq!(serde_json::to_value(one).unwrap(), one.to_string());
        }
        let error = "strikt".parse::<Enforcement>().unwrap_err().to_string();
        assert_eq!(error, "\"strikt\" is no enforcement: write strict, permissive or off");
    }

    #[test]
    fn what_is_kept_of_a_list_is_bounded_and_each_thing_once() {
        let long = "é".repeat(FINDING_BYTES_MAX);
        let mut list = vec![finding(1, &long), finding(1, "again")];
        list.extend((2..1000).map(|pid| finding(pid, "x")));
        let kept = Finding::bounded(list);
        assert_eq!(kept.len(), FINDINGS_MAX);
        assert_eq!(kept[0].evidence.len(), FINDING_BYTES_MAX);
        assert_eq!(kept[1].pid, 2);
    }
}
