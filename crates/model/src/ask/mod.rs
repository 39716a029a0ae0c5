//! What a user asks for, in whichever spelling it came, as one value.

mod check;
mod devices;
mod gang;
mod place;
#[cfg(test)]
mod tests;
mod when;
mod yields;

pub use check::{AskError, misleads};
pub use devices::{DeviceAsk, HostAsk};
pub use gang::{Gang, GangKind};
pub use place::{Hints, PlaceAsk, Wish};
pub use when::{Market, When, WorkClass};
pub use yields::Yields;

use crate::{TenantPath, UserName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most tasks in one gang.
pub const GANG_MAX: u32 = 4096;
/// Most bytes of command, environment and names in one ask.
pub const TEXT_BYTES_MAX: usize = 256 * 1024;

/// Everything a job wants. Built by the CLI from flags or a job file, or sent to the API as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// Who pays and whose quota counts.
    pub tenant: TenantPath,
    /// Who asked. The server sets it from who is calling.
    pub user: UserName,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What to run.
    pub work: Work,
    /// How many tasks start together.
    #[serde(default)]
    pub gang: Gang,
    /// Devices for each task.
    pub devices: DeviceAsk,
    /// CPU, memory and processes for each task.
    #[serde(default)]
    pub host: HostAsk,
    /// When, how long and how urgent.
    #[serde(default)]
    pub when: When,
    /// How it ends and yields.
    #[serde(default)]
    pub yields: Yields,
    /// On which nodes, and how its devices must lie to each other.
    #[serde(default, skip_serializing_if = "PlaceAsk::is_default")]
    pub place: PlaceAsk,
    /// What helps to predict it.
    #[serde(default, skip_serializing_if = "Hints::is_default")]
    pub hints: Hints,
}

/// The program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// The program and its arguments; the program is looked up in `PATH` of `environment`.
    pub command: Vec<String>,
    /// Where it starts; absolute.
    pub directory: String,
    /// Its whole environment.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Where its input and output go.
    #[serde(default)]
    pub stdio: Stdio,
    /// Permission bits that files it creates do not get; absent means 022.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub umask: Option<u32>,
    /// The image of the container that it runs in; absent means on the node itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// Where a task's input and output go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Stdio {
    /// Input is empty; output goes to the lease's log files.
    #[default]
    Logs,
    /// A client hands over its own descriptors before the task starts (`polder run`).
    Client,
}
