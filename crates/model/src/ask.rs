//! What a user asks for, in whichever spelling it came, as one value.

use crate::{
    Bytes, Isolation, Mechanism, Micros, MilliCpu, NodeId, Permille, TenantPath, Timestamp,
    UserName,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use thiserror::Error;

/// Most tasks in one gang.
pub const GANG_MAX: u32 = 4096;
/// Most bytes of command, environment and names in one ask.
pub const TEXT_BYTES_MAX: usize = 256 * 1024;
/// Longest name of a job, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// Most devices for one task.
const DEVICES_MAX: u32 = 16;
/// Most nodes or labels that one ask names.
const PLACE_ENTRIES_MAX: usize = 256;
/// Most retries of one task.
const RETRIES_MAX: u32 = 100;

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

/// How many identical tasks start together, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Gang {
    /// Fewest tasks that make sense.
    pub min: u32,
    /// Most tasks wanted.
    pub max: u32,
}

impl Default for Gang {
    fn default() -> Self {
        Self { min: 1, max: 1 }
    }
}

/// Devices for each task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DeviceAsk {
    /// How many devices; 0 for a task that needs none, and then compute and memory are 0 too.
    pub count: u32,
    /// Whole devices: nobody else on them, no interception. Excludes `compute` and `memory`.
    #[serde(default)]
    pub whole: bool,
    /// Guaranteed share of each device's compute.
    pub compute: Permille,
    /// Most it may reach when others are idle; absent means all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute_max: Option<Permille>,
    /// Memory guaranteed, and the most it may hold, on each device.
    pub memory: Bytes,
    /// Models that will do, as the device says them or a part of it; empty means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Features that each device must have.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub features: BTreeSet<String>,
    /// Weakest isolation that will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// The mechanism, for a user who insists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mechanism: Option<Mechanism>,
    /// Memory bandwidth that each device must have at least, in bytes a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bytes>,
}

/// The machine's own resources for each task; absent means no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HostAsk {
    /// CPU time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<MilliCpu>,
    /// Memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
}

/// When, how long and how urgent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct When {
    /// Wall time after which it is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_limit: Option<Micros>,
    /// Higher goes first; 0 is usual. Between -1000 and 1000.
    #[serde(default)]
    pub priority: i32,
    /// Until when the priority holds; after it, it counts as 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_expiry: Option<Timestamp>,
    /// How long its user thinks it runs. Nothing is ended by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Micros>,
    /// By when it should be over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// What kind of work it is.
    #[serde(default, skip_serializing_if = "WorkClass::is_default")]
    pub class: WorkClass,
    /// On which terms it runs.
    #[serde(default, skip_serializing_if = "Market::is_default")]
    pub market: Market,
}

/// What kind of work a job is.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum WorkClass {
    /// Runs to its end with nobody waiting for it.
    #[default]
    Batch,
    /// Trains a model: long, and can often go on from a checkpoint.
    Training,
    /// Serves requests: runs until it is cancelled.
    Inference,
    /// Somebody sits before it.
    Interactive,
}

impl WorkClass {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for WorkClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Batch => "batch",
            Self::Training => "training",
            Self::Inference => "inference",
            Self::Interactive => "interactive",
        })
    }
}

/// On which terms a job runs.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Market {
    /// Keeps what it got.
    #[default]
    OnDemand,
    /// Within what was reserved.
    Reserved,
    /// Yields to whatever is not spot.
    Spot,
}

impl Market {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// On which nodes, and how devices must lie to each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct PlaceAsk {
    /// Only in this partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// Only on these nodes; empty means any.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub nodes: BTreeSet<NodeId>,
    /// Never on these nodes.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub nodes_avoided: BTreeSet<NodeId>,
    /// Labels that the node must have, each `key=value`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub labels: BTreeSet<String>,
    /// No two tasks of this tenant's jobs that name the same word share a node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apart: Option<String>,
    /// The devices of a task on one island of fast links (NVLink).
    #[serde(skip_serializing_if = "Wish::is_default")]
    pub island: Wish,
    /// The devices of a task on one NUMA node.
    #[serde(skip_serializing_if = "Wish::is_default")]
    pub numa: Wish,
    /// The devices of a task each on a NIC rail of its own.
    #[serde(skip_serializing_if = "Wish::is_default")]
    pub rail: Wish,
}

impl PlaceAsk {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How much a placement matters.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// It does not.
    #[default]
    Any,
    /// Better so, but otherwise will do.
    Prefer,
    /// Only so.
    Require,
}

impl Wish {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What helps to predict a job's run time and memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Hints {
    /// A digest of the script it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// Parameters of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_parameters: Option<u64>,
    /// The data set's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_set: Option<String>,
}

impl Hints {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How it ends and yields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Yields {
    /// Time between SIGTERM and SIGKILL.
    pub grace: Micros,
    /// How often a failed job is tried again.
    #[serde(default)]
    pub retries: u32,
    /// Whether it may be ended to make room and queued again. Spot always may.
    #[serde(default, skip_serializing_if = "is_false")]
    pub preemptible: bool,
    /// How long it runs before it may be preempted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub runtime_min: Micros,
    /// How often it saves its work by itself; absent means that what was done is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_interval: Option<Micros>,
    /// What a restart costs it beside the work lost.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restart_cost: Micros,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(value: &Micros) -> bool {
    value.0 == 0
}

impl Default for Yields {
    fn default() -> Self {
        Self {
            grace: Micros::from_secs(10),
            retries: 0,
            preemptible: false,
            runtime_min: Micros(0),
            checkpoint_interval: None,
            restart_cost: Micros(0),
        }
    }
}

/// Why an ask makes no sense, whatever the pool looks like.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AskError {
    /// No program.
    #[error("the command is empty: say what to run, for example `-- python train.py`")]
    NoCommand,
    /// The directory is not absolute.
    #[error("directory {0:?} is not absolute: give a path that starts with /")]
    Directory(String),
    /// A text has a NUL byte or an environment name has `=` or is empty.
    #[error("{field} holds a character no program can receive: remove the NUL or '='")]
    Text {
        /// Where.
        field: &'static str,
    },
    /// Command and environment together are too long.
    #[error("command, environment and names are {bytes} bytes: at most {TEXT_BYTES_MAX} are kept")]
    TooLong {
        /// How long.
        bytes: usize,
    },
    /// The name would not fit a table.
    #[error("the name is {bytes} bytes: at most {NAME_BYTES_MAX}")]
    LongName {
        /// How long.
        bytes: usize,
    },
    /// A number outside its range.
    #[error("{field} is {value}: it must lie between {min} and {max}")]
    Range {
        /// Which number.
        field: &'static str,
        /// What was given.
        value: i128,
        /// Smallest.
        min: i128,
        /// Largest.
        max: i128,
    },
    /// A whole device and a share of one at once.
    #[error("a whole device has all compute and all memory: leave out {field}")]
    WholeAndShare {
        /// The field that contradicts.
        field: &'static str,
    },
    /// The cap is below the guarantee.
    #[error(
        "the most compute ({max}) is below the guaranteed compute ({guaranteed}): raise it or leave it out"
    )]
    CapBelowGuarantee {
        /// The cap.
        max: Permille,
        /// The guarantee.
        guaranteed: Permille,
    },
    /// Something is asked of devices, and no device.
    #[error(
        "devices.count is 0 and yet something is asked of devices: leave it out, or ask for one"
    )]
    NoDevice,
    /// A text of `place` or `hints` is too long or holds what no name may.
    #[error("{field} is not a name: use 1 to 128 printable characters")]
    Name {
        /// Where.
        field: &'static str,
    },
    /// A list of `place` is too long.
    #[error("{field} has {number} entries: at most {PLACE_ENTRIES_MAX}")]
    Entries {
        /// Where.
        field: &'static str,
        /// How many it has.
        number: usize,
    },
    /// A gang cannot read one client's descriptors.
    #[error("a gang of {0} tasks cannot share one terminal: use `polder submit` and `polder logs`")]
    GangOnTerminal(u32),
}

impl Ask {
    /// Refuses what could never make sense. Says nothing of whether the pool could serve it.
    ///
    /// # Errors
    /// The first contradiction found, naming the field.
    pub fn check(&self) -> Result<(), AskError> {
        self.work.check(self.name.as_deref())?;
        self.devices.check()?;
        let range = |field, value: i128, min: i128, max: i128| {
            if (min..=max).contains(&value) {
                Ok(())
            } else {
                Err(AskError::Range { field, value, min, max })
            }
        };
        range("gang.min", self.gang.min.into(), 1, GANG_MAX.into())?;
        range("gang.max", self.gang.max.into(), self.gang.min.into(), GANG_MAX.into())?;
        range("when.priority", self.when.priority.into(), -1000, 1000)?;
        range("yields.retries", self.yields.retries.into(), 0, RETRIES_MAX.into())?;
        let year = i128::from(Micros::from_secs(366 * 86_400).0);
        range("yields.grace", self.yields.grace.0.into(), 0, year)?;
        for (field, length) in [
            ("when.time_limit", self.when.time_limit),
            ("when.estimate", self.when.estimate),
            ("yields.checkpoint_interval", self.yields.checkpoint_interval),
        ] {
            if let Some(length) = length {
                range(field, length.0.into(), 1, 10 * year)?;
            }
        }
        range("yields.runtime_min", self.yields.runtime_min.0.into(), 0, year)?;
        range("yields.restart_cost", self.yields.restart_cost.0.into(), 0, year)?;
        self.place.check()?;
        self.hints.check()?;
        if let Some(cpu) = self.host.cpu {
            range("host.cpu", cpu.0.into(), 10, 10_000_000)?;
        }
        if let Some(memory) = self.host.memory {
            range("host.memory", memory.0.into(), 1 << 20, i128::from(u64::MAX >> 12))?;
        }
        if let Some(pids) = self.host.pids {
            range("host.pids", pids.into(), 1, 4 << 20)?;
        }
        if self.work.stdio == Stdio::Client && self.gang.max > 1 {
            return Err(AskError::GangOnTerminal(self.gang.max));
        }
        Ok(())
    }
}

impl Work {
    fn check(&self, name: Option<&str>) -> Result<(), AskError> {
        if self.command.first().is_none_or(String::is_empty) {
            return Err(AskError::NoCommand);
        }
        if !self.directory.starts_with('/') {
            return Err(AskError::Directory(self.directory.clone()));
        }
        let texts = [self.directory.as_str(), name.unwrap_or("")];
        if let Some(bytes) = name.map(str::len).filter(|bytes| *bytes > NAME_BYTES_MAX) {
            return Err(AskError::LongName { bytes });
        }
        if let Some(umask) = self.umask.filter(|umask| *umask > 0o777) {
            let (value, max) = (umask.into(), 0o777);
            return Err(AskError::Range { field: "work.umask", value, min: 0, max });
        }
        for (field, text) in texts
            .into_iter()
            .map(|text| ("directory or name", text))
            .chain(self.command.iter().map(|text| ("command", text.as_str())))
            .chain(self.environment.values().map(|text| ("environment", text.as_str())))
        {
            if text.contains('\0') {
                return Err(AskError::Text { field });
            }
        }
        if self.environment.keys().any(|key| key.is_empty() || key.contains(['=', '\0'])) {
            return Err(AskError::Text { field: "environment" });
        }
        let pairs = self.environment.iter().map(|(key, value)| key.len() + value.len() + 2);
        let bytes = texts.iter().map(|text| text.len()).sum::<usize>()
            + self.command.iter().map(|text| text.len() + 1).sum::<usize>()
            + pairs.sum::<usize>();
        if bytes > TEXT_BYTES_MAX {
            return Err(AskError::TooLong { bytes });
        }
        Ok(())
    }
}

/// Refuses a text that no table or key could hold.
fn name(field: &'static str, text: &str) -> Result<(), AskError> {
    let fits = (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(AskError::Name { field }) }
}

impl PlaceAsk {
    fn check(&self) -> Result<(), AskError> {
        for (field, text) in [("place.partition", &self.partition), ("place.apart", &self.apart)] {
            text.as_ref().map_or(Ok(()), |text| name(field, text))?;
        }
        self.labels.iter().try_for_each(|label| name("place.labels", label))?;
        for (field, number) in [
            ("place.labels", self.labels.len()),
            ("place.nodes", self.nodes.len()),
            ("place.nodes_avoided", self.nodes_avoided.len()),
        ] {
            if number > PLACE_ENTRIES_MAX {
                return Err(AskError::Entries { field, number });
            }
        }
        Ok(())
    }
}

impl Hints {
    fn check(&self) -> Result<(), AskError> {
        for (field, text) in [("hints.script", &self.script), ("hints.data_set", &self.data_set)] {
            text.as_ref().map_or(Ok(()), |text| name(field, text))?;
        }
        Ok(())
    }
}

impl DeviceAsk {
    fn check(&self) -> Result<(), AskError> {
        let range = |field, value: i128, min: i128, max: i128| {
            if (min..=max).contains(&value) {
                Ok(())
            } else {
                Err(AskError::Range { field, value, min, max })
            }
        };
        range("devices.count", self.count.into(), 0, DEVICES_MAX.into())?;
        if self.count == 0 {
            let asked = self.whole || self.compute_max.is_some() || self.isolation.is_some();
            let selects = !self.models.is_empty() || !self.features.is_empty();
            let bandwidth = self.bandwidth.is_some() || self.mechanism.is_some();
            if asked || selects || bandwidth || self.compute.0 != 0 || self.memory.0 != 0 {
                return Err(AskError::NoDevice);
            }
            return Ok(());
        }
        range("devices.compute (thousandths)", self.compute.0.into(), 1, 1000)?;
        if self.whole {
            if self.compute != Permille::WHOLE || self.compute_max.is_some() {
                return Err(AskError::WholeAndShare { field: "devices.compute" });
            }
            if self.memory != Bytes(0) {
                return Err(AskError::WholeAndShare { field: "devices.memory" });
            }
            return Ok(());
        }
        range("devices.memory", self.memory.0.into(), 1, i128::from(u64::MAX >> 12))?;
        if let Some(max) = self.compute_max {
            range("devices.compute_max (thousandths)", max.0.into(), 1, 1000)?;
            if max < self.compute {
                return Err(AskError::CapBelowGuarantee { max, guaranteed: self.compute });
            }
        }
        Ok(())
    }

    /// The mechanism that follows from the ask: a share that more than the program itself must
    /// hold is one that hardware cuts.
    #[must_use]
    pub fn mechanism(&self) -> Mechanism {
        let hard = self.isolation.is_some_and(|isolation| isolation >= Isolation::Driver);
        self.mechanism.unwrap_or(match (self.whole, hard) {
            (true, _) => Mechanism::Whole,
            (false, true) => Mechanism::Mig,
            (false, false) => Mechanism::TimeSlice,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask() -> Ask {
        Ask {
            tenant: "lab".parse().unwrap(),
            user: "ada".parse().unwrap(),
            name: None,
            work: Work {
                command: vec!["true".into()],
                directory: "/".into(),
                environment: BTreeMap::new(),
                stdio: Stdio::Logs,
                umask: None,
            },
            gang: Gang::default(),
            devices: DeviceAsk {
                count: 1,
                whole: false,
                compute: Permille(300),
                compute_max: None,
                memory: Bytes(1 << 30),
                models: vec![],
                features: BTreeSet::new(),
                isolation: None,
                mechanism: None,
                bandwidth: None,
            },
            host: HostAsk::default(),
            when: When::default(),
            yields: Yields::default(),
            place: PlaceAsk::default(),
            hints: Hints::default(),
        }
    }

    fn check(change: impl FnOnce(&mut Ask), expect: &str) {
        let mut ask = ask();
        change(&mut ask);
        let got = ask.check().err().map(|error| error.to_string()).unwrap_or_default();
        assert!(got.contains(expect) && got.is_empty() == expect.is_empty(), "{got:?}");
    }

    #[test]
    fn nonsense_is_named() {
        check(|_| (), "");
        check(|a| a.work.command.clear(), "command is empty");
        check(|a| a.work.directory = "here".into(), "not absolute");
        check(|a| a.name = Some("n".repeat(129)), "the name is 129 bytes");
        check(|a| a.work.umask = Some(0o1000), "work.umask is 512");
        check(|a| a.work.command.push("a\0b".into()), "command holds a character");
        check(|a| drop(a.work.environment.insert("A=B".into(), String::new())), "environment");
        check(|a| a.work.command.push("x".repeat(TEXT_BYTES_MAX)), "at most 262144");
        check(|a| a.gang = Gang { min: 0, max: 1 }, "gang.min is 0");
        check(|a| a.gang = Gang { min: 3, max: 2 }, "gang.max is 2");
        check(|a| a.devices.count = 0, "and yet something is asked of devices");
        check(
            |a| {
                a.devices.count = 0;
                a.devices.compute = Permille(0);
                a.devices.memory = Bytes(0);
            },
            "",
        );
        check(|a| a.place.partition = Some(String::new()), "place.partition is not a name");
        check(|a| a.hints.script = Some("a\nb".into()), "hints.script is not a name");
        check(|a| a.when.estimate = Some(Micros(0)), "when.estimate is 0");
        check(|a| a.devices.memory = Bytes(0), "devices.memory is 0");
        check(|a| a.devices.compute = Permille(0), "is 0: it must lie between 1 and 1000");
        check(|a| a.devices.compute_max = Some(Permille(100)), "below the guaranteed");
        check(|a| a.devices.whole = true, "leave out devices.compute");
        check(|a| a.when.priority = 5000, "when.priority is 5000");
        check(
            |a| {
                a.work.stdio = Stdio::Client;
                a.gang = Gang { min: 2, max: 2 };
            },
            "cannot share one terminal",
        );
    }

    #[test]
    fn the_mechanism_follows_from_the_isolation() {
        let mechanism =
            |whole, isolation| DeviceAsk { whole, isolation, ..ask().devices }.mechanism();
        assert_eq!(mechanism(false, None), Mechanism::TimeSlice);
        assert_eq!(mechanism(false, Some(Isolation::Soft)), Mechanism::TimeSlice);
        assert_eq!(mechanism(false, Some(Isolation::Hardware)), Mechanism::Mig);
        assert_eq!(mechanism(true, Some(Isolation::Hardware)), Mechanism::Whole);
    }

    #[test]
    fn an_ask_survives_json_and_unknown_keys_do_not() {
        let text = serde_json::to_string(&ask()).unwrap();
        assert_eq!(serde_json::from_str::<Ask>(&text).unwrap(), ask());
        let more = text.replacen('{', "{\"gpus\":1,", 1);
        assert!(serde_json::from_str::<Ask>(&more).unwrap_err().to_string().contains("gpus"));
    }
}
