//! How many tasks a job has, and whether that may change while it runs.

use super::{Ask, AskError, Stdio};
use serde::{Deserialize, Serialize};

/// How many identical tasks start together, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Gang {
    /// Fewest tasks that make sense.
    pub min: u32,
    /// Most tasks wanted.
    pub max: u32,
    /// Whether it may change its size while it runs.
    #[serde(default, skip_serializing_if = "GangKind::is_default")]
    pub kind: GangKind,
}

impl Default for Gang {
    fn default() -> Self {
        Self { min: 1, max: 1, kind: GangKind::Rigid }
    }
}

impl Gang {
    /// The fewest tasks with which it starts. Replicas of a service need not start together.
    #[must_use]
    pub fn start_min(&self) -> u32 {
        if self.kind == GangKind::Service { 1 } else { self.min }
    }
}

/// Whether a gang may change its size while it runs.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum GangKind {
    /// It gets as many tasks as fit when it starts, and keeps them.
    #[default]
    Rigid,
    /// It gains tasks, up to its most, while nobody else can use the room, and gives those beyond
    /// its fewest back when somebody can. Its program must notice by itself.
    Elastic,
    /// Replicas that know nothing of each other: each starts by itself, one that ends is replaced,
    /// and it runs until it is cancelled. Beyond that, as an elastic gang.
    Service,
}

impl GangKind {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Ask {
    /// What is refused of who asks now, and is still read where a journal holds it.
    ///
    /// # Errors
    /// The first contradiction found, naming the field.
    pub fn check_written(&self) -> Result<(), AskError> {
        self.check()?;
        match self.when.estimate {
            Some(_) if self.gang.kind == GangKind::Service => {
                Err(AskError::ServiceEnds { field: "when.estimate" })
            }
            _ => Ok(()),
        }
    }

    /// Refuses what would end a service by itself.
    pub(super) fn check_service(&self) -> Result<(), AskError> {
        let ends = |field| Err(AskError::ServiceEnds { field });
        if self.gang.kind != GangKind::Service {
            return Ok(());
        }
        if self.when.time_limit.is_some() {
            return ends("when.time_limit");
        }
        if self.when.deadline.is_some() {
            return ends("when.deadline");
        }
        if self.yields.retries > 0 {
            return ends("yields.retries (what ends is replaced anyway)");
        }
        if self.work.stdio == Stdio::Client {
            return ends("the terminal (use `polder submit` and `polder logs`)");
        }
        Ok(())
    }
}
