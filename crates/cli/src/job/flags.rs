//! The flags that `run` and `submit` share.

use super::{Draft, Terms};
use crate::args::priority;
use crate::failure::Failure;
use clap::Args;
use polder_model::{BitRate, Bytes, GANG_MAX, Micros, MilliCpu, Permille, TenantPath};
use std::fmt;
use std::str::FromStr;

/// What a job asks for, as flags.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "What the job asks for")]
pub(crate) struct JobFlags {
    /// Guaranteed share of each device's compute: `30%` or `0.3` [default: the tenant's, else
    /// 10%]. It may use more while others are idle.
    #[arg(long, value_name = "SHARE", allow_hyphen_values = true)]
    compute: Option<Permille>,
    /// Most compute it may ever use, also while others are idle [default: all of it].
    #[arg(long, value_name = "SHARE", allow_hyphen_values = true)]
    compute_max: Option<Permille>,
    /// Memory on each device, guaranteed and the most it may hold: `512MiB`, `1.5GiB`
    /// [default: 1GiB].
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, value_parser = Bytes::of_memory)]
    memory: Option<Bytes>,
    /// Whole devices: nobody else on them, no interception, native speed.
    #[arg(long, conflicts_with_all = ["compute", "compute_max", "memory"])]
    whole: bool,
    /// Devices for each task; 0 for a job of CPU and memory alone [default: 1].
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    devices: Option<u32>,
    /// A device model that will do, or a part of its name; may be given again.
    #[arg(long = "model", value_name = "NAME")]
    models: Vec<String>,
    /// A feature every device must have, as `polder devices` lists them; may be given again.
    #[arg(long = "feature", value_name = "WORD")]
    features: Vec<String>,
    /// The tenant that pays [default: your first].
    #[arg(long, value_name = "TENANT")]
    tenant: Option<TenantPath>,
    /// A name for people.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Run it in a container of this image, with podman or docker on its node. The image must hold the
    /// program and, for an OpenCL device, the vendor's own OpenCL library.
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Higher goes first: -1000 to 1000 [default: 0].
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = priority)]
    priority: Option<i32>,
    /// How long the priority holds from now; after it, it counts as 0 [default: for ever].
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    priority_for: Option<Micros>,
    /// End it after this long: `90s`, `15m`, `2h`.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    time_limit: Option<Micros>,
    /// Time between SIGTERM and SIGKILL when it is ended [default: 10s].
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    grace: Option<Micros>,
    /// CPUs for each task: `2`, `0.5` or `500m` [default: no limit].
    #[arg(long, value_name = "CPUS", allow_hyphen_values = true)]
    cpu: Option<MilliCpu>,
    /// Host memory for each task [default: no limit].
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, value_parser = Bytes::of_memory)]
    host_memory: Option<Bytes>,
    /// Network bandwidth kept for each task: `10Gb` [default: none].
    #[arg(long, value_name = "RATE", allow_hyphen_values = true)]
    nic: Option<BitRate>,
    /// Processes and threads for each task [default: no limit].
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pids: Option<u32>,
    /// Try again this often when it fails [default: 0].
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    retries: Option<u32>,
    #[command(flatten)]
    terms: Terms,
}

impl JobFlags {
    /// The same as a draft, with a command and tasks.
    pub(crate) fn into_draft(self, command: Vec<String>, tasks: Option<Tasks>) -> Draft {
        Draft {
            tenant: self.tenant,
            name: self.name,
            command,
            image: self.image,
            directory: None,
            environment: std::collections::BTreeMap::new(),
            tasks,
            devices: self.devices,
            whole: self.whole.then_some(true),
            compute: self.compute,
            compute_max: self.compute_max,
            memory: self.memory,
            models: self.models,
            features: self.features,
            cpu: self.cpu,
            host_memory: self.host_memory,
            nic: self.nic,
            pids: self.pids,
            time_limit: self.time_limit,
            priority: self.priority,
            priority_for: self.priority_for,
            grace: self.grace,
            retries: self.retries,
            terms: self.terms,
            origin: None,
        }
    }
}

/// How many tasks start together: `4`, or `2..4` for at least two and at most four.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tasks {
    pub(crate) min: u32,
    pub(crate) max: u32,
}

impl Default for Tasks {
    fn default() -> Self {
        Self { min: 1, max: 1 }
    }
}

impl fmt::Display for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, max } = self;
        if min == max { write!(f, "{max}") } else { write!(f, "{min}..{max}") }
    }
}

impl Tasks {
    /// Refuses numbers that make no sense, by the names that a user gave them.
    pub(super) fn check(self) -> Result<(), Failure> {
        if self.min > self.max {
            return Err(Failure::usage(format!(
                "tasks is {self}: the first number is the least and cannot be above the second"
            )));
        }
        if self.min == 0 || self.max > GANG_MAX {
            let why = format!("tasks is {self}: at least 1 and at most {GANG_MAX} start together");
            return Err(Failure::usage(why));
        }
        Ok(())
    }
}

impl FromStr for Tasks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (min, max) = text.split_once("..").unwrap_or((text, text));
        match (min.trim().parse(), max.trim().parse()) {
            (Ok(min), Ok(max)) => Ok(Self { min, max }),
            _ => Err(format!("{text:?} is not a number of tasks: write 4, or 2..4")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_a_number_or_a_range() {
        let check = |text: &str, expect: Option<(u32, u32)>| {
            assert_eq!(text.parse::<Tasks>().ok().map(|t| (t.min, t.max)), expect, "{text}");
        };
        check("4", Some((4, 4)));
        check("2..4", Some((2, 4)));
        check("2..", None);
        check("-1", None);
        check("many", None);
        check("4294967296", None);
    }
}
