//! What a user asks for, in whichever spelling it came, as one value.

use crate::{
    Bytes, Isolation, Mechanism, Micros, MilliCpu, Permille, TenantPath, Timestamp, UserName,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// Most tasks in one gang.
pub const GANG_MAX: u32 = 4096;
/// Most bytes of command, environment and names in one ask.
pub const TEXT_BYTES_MAX: usize = 256 * 1024;
/// Longest name of a job, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// Most devices for one task.
const DEVICES_MAX: u32 = 16;
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
    /// How many devices.
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
}

impl Default for Yields {
    fn default() -> Self {
        Self { grace: Micros::from_secs(10), retries: 0 }
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
        if let Some(limit) = self.when.time_limit {
            range("when.time_limit", limit.0.into(), 1, 10 * year)?;
        }
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

impl DeviceAsk {
    fn check(&self) -> Result<(), AskError> {
        let range = |field, value: i128, min: i128, max: i128| {
            if (min..=max).contains(&value) {
                Ok(())
            } else {
                Err(AskError::Range { field, value, min, max })
            }
        };
        range("devices.count", self.count.into(), 1, DEVICES_MAX.into())?;
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

    /// The mechanism that follows from the ask.
    #[must_use]
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism.unwrap_or(if self.whole { Mechanism::Whole } else { Mechanism::TimeSlice })
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
            },
            host: HostAsk::default(),
            when: When::default(),
            yields: Yields::default(),
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
        check(|a| a.devices.count = 0, "devices.count is 0");
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
    fn an_ask_survives_json_and_unknown_keys_do_not() {
        let text = serde_json::to_string(&ask()).unwrap();
        assert_eq!(serde_json::from_str::<Ask>(&text).unwrap(), ask());
        let more = text.replacen('{', "{\"gpus\":1,", 1);
        assert!(serde_json::from_str::<Ask>(&more).unwrap_err().to_string().contains("gpus"));
    }
}
