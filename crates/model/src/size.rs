//! What may change of a job that waits or runs: its part of its devices, and how urgent it is.

use crate::{Ask, Bytes, Permille, Timestamp, UserName, WorkClass};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Changes of one job that are remembered; the oldest are forgotten.
pub const RESIZES_KEPT: usize = 16;

/// What each task has of each of its devices, and how urgent its job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Size {
    /// Guaranteed share of each device's compute; 0 where a task has no device.
    pub compute: Permille,
    /// Most it may reach when others are idle; all of it where there is no cap.
    pub compute_max: Permille,
    /// Memory guaranteed, and the most it may hold, on each device; 0 for a whole device or none.
    pub memory: Bytes,
    /// Higher goes first; 0 is usual.
    pub priority: i32,
    /// What kind of work it is.
    pub class: WorkClass,
}

impl Size {
    /// What an ask says.
    #[must_use]
    pub fn of(ask: &Ask) -> Self {
        Self {
            compute: ask.devices.compute,
            compute_max: ask.devices.compute_max.unwrap_or(Permille::WHOLE),
            memory: ask.devices.memory,
            priority: ask.when.priority,
            class: ask.when.class,
        }
    }

    /// Whether its tasks have another part of their devices than with `other`.
    #[must_use]
    pub fn is_other_part(&self, other: &Self) -> bool {
        let part = |size: &Self| (size.compute, size.compute_max, size.memory);
        part(self) != part(other)
    }

    /// Whether its tasks are guaranteed more of anything than with `before`.
    #[must_use]
    pub fn is_more(&self, before: &Self) -> bool {
        self.compute > before.compute || self.memory > before.memory
    }

    /// Makes an ask say this. What does not change stays as it was written; another priority holds
    /// without an end.
    pub fn give(&self, ask: &mut Ask) {
        let before = Self::of(ask);
        ask.devices.compute = self.compute;
        ask.devices.memory = self.memory;
        if self.compute_max != before.compute_max {
            ask.devices.compute_max = Some(self.compute_max).filter(|max| *max != Permille::WHOLE);
        }
        if self.priority != before.priority {
            (ask.when.priority, ask.when.priority_expiry) = (self.priority, None);
        }
        ask.when.class = self.class;
    }
}

/// One change of a job's size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Resized {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: UserName,
    /// What it had.
    pub from: Size,
    /// What it has from then on.
    pub to: Size,
}

/// What has changed, for people: `compute 30% to 50%, memory 1 GiB to 2 GiB`.
impl fmt::Display for Resized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (&self.from, &self.to);
        let cap = |max: Permille| match max {
            Permille::WHOLE => "none".to_owned(),
            max => max.to_string(),
        };
        let parts = [
            ("compute", from.compute.to_string(), to.compute.to_string()),
            ("cap", cap(from.compute_max), cap(to.compute_max)),
            ("memory", from.memory.to_string(), to.memory.to_string()),
            ("priority", from.priority.to_string(), to.priority.to_string()),
            ("class", from.class.to_string(), to.class.to_string()),
        ];
        let mut first = true;
        for (what, before, after) in parts.iter().filter(|(_, before, after)| before != after) {
            let comma = if std::mem::take(&mut first) { "" } else { ", " };
            write!(f, "{comma}{what} {before} to {after}")?;
        }
        if first { f.write_str("nothing") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask() -> Ask {
        serde_json::from_value(serde_json::json!({
            "tenant": "lab", "user": "ada",
            "work": {"command": ["true"], "directory": "/"},
            "gang": {"min": 1, "max": 1},
            "devices": {"count": 1, "compute": 300, "memory": 1 << 30},
            "when": {"priority": 5, "priority_expiry": 9},
        }))
        .unwrap()
    }

    #[test]
    fn what_does_not_change_stays_as_it_was_written() {
        let mut same = ask();
        same.devices.compute_max = Some(Permille::WHOLE);
        let before = same.clone();
        Size::of(&before).give(&mut same);
        assert_eq!(same, before);
    }

    #[test]
    fn an_ask_says_its_new_size() {
        let mut changed = ask();
        let from = Size::of(&changed);
        let to = Size { compute: Permille(500), compute_max: Permille(800), priority: 7, ..from };
        to.give(&mut changed);
        assert_eq!(Size::of(&changed), to);
        assert_eq!(changed.when.priority_expiry, None, "the end of another priority");
        assert!(to.is_more(&from) && to.is_other_part(&from) && !from.is_more(&to));
        Size { compute_max: Permille::WHOLE, ..to }.give(&mut changed);
        assert_eq!(changed.devices.compute_max, None);
        let resized = Resized { at: Timestamp(1), by: "ada".parse().unwrap(), from, to };
        assert_eq!(resized.to_string(), "compute 30% to 50%, cap none to 80%, priority 5 to 7");
    }
}
