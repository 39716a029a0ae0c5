//! An ask in the making: what was said so far, from wherever.

use super::origin::{Origin, Refused};
use super::{Tasks, Terms};
use crate::failure::Failure;
use crate::show;
use polder_model::{
    Ask, BitRate, Bytes, DeviceAsk, Gang, Hints, HostAsk, Micros, MilliCpu, Permille, PlaceAsk,
    Stdio, TenantPath, Timestamp, UserName, When, Work, Yields,
};
use std::collections::BTreeMap;

/// Compute guaranteed when neither the job nor its tenant names a share: small, so that a forgotten
/// flag delays nobody, and without a cap, so that it runs at full speed while others are idle.
const COMPUTE_DEFAULT: Permille = Permille(100);
/// Device memory when the job names none.
const MEMORY_DEFAULT: Bytes = Bytes(1 << 30);

/// What was said so far. A member that is `None` or empty was not said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) tenant: Option<TenantPath>,
    pub(crate) name: Option<String>,
    pub(crate) command: Vec<String>,
    pub(crate) image: Option<String>,
    pub(crate) directory: Option<String>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) tasks: Option<Tasks>,
    pub(crate) devices: Option<u32>,
    pub(crate) whole: Option<bool>,
    pub(crate) compute: Option<Permille>,
    pub(crate) compute_max: Option<Permille>,
    pub(crate) memory: Option<Bytes>,
    pub(crate) models: Vec<String>,
    pub(crate) features: Vec<String>,
    pub(crate) cpu: Option<MilliCpu>,
    pub(crate) host_memory: Option<Bytes>,
    pub(crate) nic: Option<BitRate>,
    pub(crate) pids: Option<u32>,
    pub(crate) time_limit: Option<Micros>,
    pub(crate) priority: Option<i32>,
    pub(crate) priority_for: Option<Micros>,
    pub(crate) grace: Option<Micros>,
    pub(crate) retries: Option<u32>,
    pub(crate) terms: Terms,
    /// The job file that it was read from, if any.
    pub(crate) origin: Option<Box<Origin>>,
}

/// What the daemon and the process of the caller add to a draft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Who the daemon takes the caller for.
    pub(crate) user: UserName,
    /// Whom the job is for when it names nobody.
    pub(crate) tenant: TenantPath,
    /// The share of that tenant when the job names none.
    pub(crate) compute: Option<Permille>,
    /// Where the caller is.
    pub(crate) directory: String,
    /// The daemon's time, from which deadlines and the end of a priority count.
    pub(crate) now: Timestamp,
    /// What the job's environment begins with.
    pub(crate) environment: BTreeMap<String, String>,
}

impl Draft {
    /// `over` on top of this: what it says wins, and lists replace lists.
    pub(crate) fn with(self, over: Self) -> Self {
        let mut environment = self.environment;
        environment.extend(over.environment);
        let list =
            |under: Vec<String>, over: Vec<String>| if over.is_empty() { under } else { over };
        // A whole device on one side takes the shares of the other with it.
        let under = if over.whole == Some(true) {
            (None, None, None)
        } else {
            (self.compute, self.compute_max, self.memory)
        };
        let share_over = over.compute.is_some() || over.memory.is_some();
        let whole = if share_over { over.whole } else { over.whole.or(self.whole) };
        Self {
            tenant: over.tenant.or(self.tenant),
            name: over.name.or(self.name),
            command: list(self.command, over.command),
            image: over.image.or(self.image),
            directory: over.directory.or(self.directory),
            environment,
            tasks: over.tasks.or(self.tasks),
            devices: over.devices.or(self.devices),
            whole,
            compute: over.compute.or(under.0),
            compute_max: over.compute_max.or(under.1),
            memory: over.memory.or(under.2),
            models: list(self.models, over.models),
            features: list(self.features, over.features),
            cpu: over.cpu.or(self.cpu),
            host_memory: over.host_memory.or(self.host_memory),
            nic: over.nic.or(self.nic),
            pids: over.pids.or(self.pids),
            time_limit: over.time_limit.or(self.time_limit),
            priority: over.priority.or(self.priority),
            priority_for: over.priority_for.or(self.priority_for),
            grace: over.grace.or(self.grace),
            retries: over.retries.or(self.retries),
            terms: self.terms.with(over.terms),
            origin: over.origin.or(self.origin),
        }
    }

    /// The ask, complete and checked; what is wrong, by the names that its user gave.
    pub(crate) fn finish(self, caller: Caller, stdio: Stdio) -> Result<Ask, Failure> {
        let origin = self.origin.clone();
        let refused = match self.ask(caller.clone(), stdio) {
            Ok(ask) => return Ok(ask),
            Err(refused) => refused,
        };
        let is_the_files = |origin: &Origin| {
            let mut alone = origin.alone.clone();
            if alone.command.is_empty() {
                // That is what flags may add.
                alone.command.push("command".to_owned());
            }
            alone.ask(caller, stdio).as_ref() == Err(&refused)
        };
        Err(match origin {
            Some(origin) if is_the_files(&origin) => origin.words(refused),
            _ => refused.in_flags(),
        })
    }

    fn ask(self, caller: Caller, stdio: Stdio) -> Result<Ask, Refused> {
        if self.priority_for.is_some() && self.priority.is_none() {
            let text = "priority_for says how long a priority holds: set priority";
            return Err(Failure::usage(text).into());
        }
        if self.priority_for == Some(Micros(0)) {
            let text = "priority_for is 0: the priority would never hold; say how long from now";
            return Err(Failure::usage(text).into());
        }
        for (field, words) in [("model", &self.models), ("feature", &self.features)] {
            if words.iter().any(|word| word.trim().is_empty()) {
                let text = format!(
                    "{field} is empty: name one as `polder devices` lists it, or leave it out"
                );
                return Err(Failure::usage(text).into());
            }
        }
        let tasks = self.tasks.unwrap_or_default();
        tasks.check()?;
        self.terms.check(tasks, self.time_limit)?;
        let devices = self.device_ask(caller.compute);
        let mut environment = caller.environment;
        environment.extend(self.environment);
        let directory = match self.directory {
            Some(path) if path.starts_with('/') => path,
            Some(path) => format!("{}/{path}", caller.directory.trim_end_matches('/')),
            None => caller.directory,
        };
        let usual = Yields::default();
        let mut ask = Ask {
            tenant: self.tenant.unwrap_or(caller.tenant),
            user: caller.user,
            name: self.name,
            work: Work {
                command: self.command,
                directory,
                environment,
                stdio,
                umask: own_umask(),
                image: self.image,
            },
            gang: Gang { min: tasks.min, max: tasks.max, ..Gang::default() },
            devices,
            host: HostAsk {
                cpu: self.cpu,
                memory: self.host_memory,
                pids: self.pids,
                nic: self.nic,
            },
            when: When {
                time_limit: self.time_limit,
                priority: self.priority.unwrap_or(0),
                priority_expiry: self.priority_for.map(|length| caller.now.after(length)),
                ..When::default()
            },
            yields: Yields {
                grace: self.grace.unwrap_or(usual.grace),
                retries: self.retries.unwrap_or(usual.retries),
                ..usual
            },
            place: PlaceAsk::default(),
            hints: Hints::default(),
        };
        self.terms.apply(&mut ask, caller.now);
        ask.check_written().map_err(Refused::Ask)?;
        Ok(ask)
    }

    /// Refuses replicas of what is no service.
    pub(crate) fn check_replicas(&self, replicas: Option<Tasks>) -> Result<(), Failure> {
        if replicas.is_some() && !self.terms.is_service() {
            return Err(Failure::usage("--replicas says how many replicas a service has")
                .help("add --service, or say --tasks for tasks that start together"));
        }
        Ok(())
    }

    /// What can be refused before a daemon is asked for anything.
    pub(crate) fn check(&self) -> Result<Ask, Failure> {
        let nobody = Caller {
            user: "nobody".parse().map_err(Failure::usage)?,
            tenant: "nobody".parse().map_err(Failure::usage)?,
            compute: None,
            directory: "/".to_owned(),
            now: show::now(),
            environment: BTreeMap::new(),
        };
        self.clone().finish(nobody, Stdio::Logs)
    }

    fn device_ask(&self, tenant_default: Option<Permille>) -> DeviceAsk {
        let whole = self.whole.unwrap_or(false);
        let (compute, memory) = if self.devices == Some(0) {
            (self.compute.unwrap_or(Permille(0)), self.memory.unwrap_or(Bytes(0)))
        } else if whole {
            // What was said beside `whole` stays, so that the check can name the contradiction.
            (self.compute.unwrap_or(Permille::WHOLE), self.memory.unwrap_or(Bytes(0)))
        } else {
            // A cap below the default share would contradict something nobody said.
            let usual = tenant_default.unwrap_or(COMPUTE_DEFAULT);
            let usual = self.compute_max.map_or(usual, |max| usual.min(max));
            (self.compute.unwrap_or(usual), self.memory.unwrap_or(MEMORY_DEFAULT))
        };
        DeviceAsk {
            count: self.devices.unwrap_or(1),
            whole,
            compute,
            compute_max: self.compute_max,
            memory,
            backing: None,
            models: self.models.clone(),
            features: self.features.iter().map(|word| word.to_ascii_lowercase()).collect(),
            isolation: None,
            mechanism: None,
            bandwidth: None,
        }
    }
}

/// The caller's umask: a job's files are as private as if it ran here. Read from the kernel's page,
/// because the call that tells it also sets it.
fn own_umask() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(line.trim(), 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller() -> Caller {
        Caller {
            user: "ada".parse().unwrap(),
            tenant: "lab".parse().unwrap(),
            compute: None,
            directory: "/home/ada".into(),
            now: Timestamp(4_000_000_000_000_000),
            environment: [("PATH".to_owned(), "/bin".to_owned())].into(),
        }
    }

    fn draft() -> Draft {
        Draft { command: vec!["true".into()], ..Draft::default() }
    }

    fn finish(draft: Draft) -> Ask {
        draft.finish(caller(), Stdio::Logs).unwrap()
    }

    #[test]
    fn what_nobody_said_is_filled_in() {
        let ask = finish(draft());
        assert_eq!((ask.devices.compute, ask.devices.memory), (COMPUTE_DEFAULT, MEMORY_DEFAULT));
        assert_eq!((ask.tenant.as_str(), ask.work.directory.as_str()), ("lab", "/home/ada"));
        assert_eq!(ask.work.environment["PATH"], "/bin");
        let ask = draft().finish(Caller { compute: Some(Permille(250)), ..caller() }, Stdio::Logs);
        assert_eq!(ask.unwrap().devices.compute, Permille(250));
    }

    #[test]
    fn flags_win_over_the_file() {
        let file = Draft {
            compute: Some(Permille(200)),
            memory: Some(Bytes(5)),
            models: vec!["a".into()],
            environment: [("A".into(), "1".into()), ("B".into(), "2".into())].into(),
            ..draft()
        };
        let flags = Draft {
            compute: Some(Permille(300)),
            environment: [("A".into(), "9".into())].into(),
            ..Draft::default()
        };
        let both = file.clone().with(flags);
        assert_eq!((both.compute, both.memory), (Some(Permille(300)), Some(Bytes(5))));
        assert_eq!(both.environment["A"], "9");
        assert_eq!((both.environment["B"].as_str(), both.models), ("2", vec!["a".to_owned()]));
        let whole = finish(file.with(Draft { whole: Some(true), ..Draft::default() }));
        assert!(whole.devices.whole && whole.devices.memory == Bytes(0));
    }

    #[test]
    fn a_share_in_flags_undoes_a_whole_device_in_the_file() {
        let file = Draft { whole: Some(true), ..draft() };
        let ask = finish(file.with(Draft { compute: Some(Permille(300)), ..Draft::default() }));
        assert!(!ask.devices.whole);
    }

    #[test]
    fn contradictions_are_named() {
        let check = |draft: Draft, expect: &str| {
            let failure = draft.check().unwrap_err();
            assert!(failure.message.contains(expect), "{failure:?}");
        };
        check(Draft::default(), "command is empty");
        let whole = Draft { whole: Some(true), ..draft() };
        check(Draft { compute: Some(Permille(10)), ..whole.clone() }, "leave out --compute");
        check(Draft { memory: Some(Bytes(1)), ..whole }, "leave out --memory");
        let none = Draft { devices: Some(0), compute: Some(Permille(10)), ..draft() };
        check(none, "--devices is 0");
        let tasks = |min, max| Draft { tasks: Some(Tasks { min, max }), ..draft() };
        check(tasks(0, 0), "tasks is 0: at least 1 and at most 4096");
        check(tasks(0, 4), "tasks is 0..4: at least 1 and at most 4096");
        check(tasks(4, 5000), "tasks is 4..5000: at least 1 and at most 4096");
        check(tasks(4, 2), "tasks is 4..2: the first number is the least and cannot be above");
        check(Draft { memory: Some(Bytes(0)), ..draft() }, "--memory is 0");
        let holds = Some(Micros::from_secs(60));
        check(Draft { priority_for: holds, ..draft() }, "set priority");
        let never = Draft { priority: Some(5), priority_for: Some(Micros(0)), ..draft() };
        check(never, "priority_for is 0");
        check(Draft { models: vec![String::new()], ..draft() }, "model is empty");
        check(Draft { features: vec![" ".into()], ..draft() }, "feature is empty");
    }

    #[test]
    fn a_job_may_need_no_device() {
        let ask = finish(Draft { devices: Some(0), ..draft() });
        assert_eq!((ask.devices.compute, ask.devices.memory), (Permille(0), Bytes(0)));
    }

    #[test]
    fn a_priority_can_end_and_counts_from_the_daemons_time() {
        let hour = Micros::from_secs(3600);
        let draft = Draft { priority: Some(5), priority_for: Some(hour), ..draft() };
        assert_eq!(finish(draft).when.priority_expiry, Some(caller().now.after(hour)));
    }

    #[test]
    fn a_low_cap_lowers_the_default_share() {
        let ask = finish(Draft { compute_max: Some(Permille(50)), ..draft() });
        assert_eq!(ask.devices.compute, Permille(50));
    }

    #[test]
    fn relative_directories_start_where_the_caller_is() {
        let ask = finish(Draft { directory: Some("data".into()), ..draft() });
        assert_eq!(ask.work.directory, "/home/ada/data");
    }
}
