//! The terms on which a job runs and where: class, market, estimate, deadline, how it yields, which
//! nodes, how its devices are cut, and what helps to predict it.

use super::Tasks;
use super::scalar::{Size, Spelled};
use crate::failure::Failure;
use clap::{Args, ValueEnum};
use polder_model::{
    Ask, Bytes, GangKind, Isolation, Market, Mechanism, Micros, NodeId, Timestamp, Wish, WorkClass,
    label,
};
use serde::{Deserialize, Deserializer};

/// What was said of a job's terms. A member that is `None`, false or empty was not said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Deserialize)]
#[command(next_help_heading = "On which terms, and where")]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Terms {
    /// What kind of work it is: policies may serve kinds differently [default: batch; inference for
    /// a service].
    #[arg(long, value_enum, value_name = "KIND")]
    class: Option<Class>,
    /// It gains tasks while it runs, up to its most, and gives those beyond its fewest back when
    /// others need the room. Its program must notice by itself.
    #[arg(long, conflicts_with = "service")]
    elastic: bool,
    /// Its tasks are replicas of a service: each starts by itself and is replaced when it ends,
    /// until the job is cancelled. Between its fewest and most it is elastic.
    #[arg(long)]
    service: bool,
    /// Runs on spot terms: it yields to whatever does not.
    #[arg(long)]
    spot: bool,
    /// How long you think it runs; nothing is ended by it, but it may start earlier.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    estimate: Option<Micros>,
    /// By when it should be over, from now.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    deadline_in: Option<Micros>,
    /// It may be ended to make room for others, and is queued again then.
    #[arg(long)]
    preemptible: bool,
    /// How long it runs before it may be ended for others.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    runtime_min: Option<Micros>,
    /// How often it saves its work by itself; what came after is lost when it yields.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    checkpoint_interval: Option<Micros>,
    /// What a restart costs it beside the work lost.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    restart_cost: Option<Micros>,
    /// Only in this partition.
    #[arg(long, value_name = "NAME")]
    partition: Option<String>,
    /// Only on this node; may be given again.
    #[arg(long = "node", value_name = "NODE")]
    nodes: Vec<NodeId>,
    /// Not on this node; may be given again.
    #[arg(long = "avoid-node", value_name = "NODE")]
    nodes_avoided: Vec<NodeId>,
    /// Only on nodes with this label; may be given again.
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,
    /// No node is shared with other tasks of the tenant that name the same word.
    #[arg(long, value_name = "WORD")]
    apart: Option<String>,
    /// The tasks of a gang near each other: few nodes, one rack, one block, the same NIC rails.
    #[arg(long)]
    near: bool,
    /// A task's devices on one island of fast links.
    #[arg(long, value_enum, value_name = "HOW")]
    island: Option<How>,
    /// A task's devices on one NUMA node.
    #[arg(long, value_enum, value_name = "HOW")]
    numa: Option<How>,
    /// A task's devices each on a NIC rail of its own.
    #[arg(long, value_enum, value_name = "HOW")]
    rail: Option<How>,
    /// How the devices are cut, for whoever insists; else it follows from the ask.
    #[arg(long, value_enum, value_name = "HOW")]
    mechanism: Option<Cut>,
    /// Weakest isolation that will do.
    #[arg(long, value_enum, value_name = "LEVEL")]
    isolation: Option<Level>,
    /// Memory bandwidth that each device must have at least, a second: 2TB.
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, value_parser = Bytes::of_memory)]
    #[serde(deserialize_with = "spelled")]
    bandwidth: Option<Bytes>,
    /// Host memory behind each device's memory: what does not fit into --memory lives there, up to
    /// this size, and is slower to reach [default: none].
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, value_parser = Bytes::of_memory)]
    #[serde(deserialize_with = "spelled")]
    host_backed: Option<Bytes>,
    /// A digest of the script it runs, to predict it by.
    #[arg(long, value_name = "TEXT")]
    script: Option<String>,
    /// Parameters of the model, to predict it by.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    model_parameters: Option<u64>,
    /// The data set's name, to predict it by.
    #[arg(long, value_name = "TEXT")]
    data_set: Option<String>,
}

/// A size, spelled as the flag of the same name takes it.
fn spelled<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bytes>, D::Error> {
    Ok(Option::<Spelled<Size>>::deserialize(deserializer)?.map(|spelled| spelled.0.0))
}

/// A kind of work, as a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Class {
    /// Runs to its end with nobody waiting for it
    Batch,
    /// Trains a model
    Training,
    /// Serves requests
    Inference,
    /// Somebody sits before it
    Interactive,
}

impl From<Class> for WorkClass {
    fn from(class: Class) -> Self {
        match class {
            Class::Batch => Self::Batch,
            Class::Training => Self::Training,
            Class::Inference => Self::Inference,
            Class::Interactive => Self::Interactive,
        }
    }
}

/// How much a placement matters, as a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
enum How {
    /// Better so
    Prefer,
    /// Only so
    Require,
}

/// How devices are cut, as a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Cut {
    /// Whole devices, nobody else on them
    Whole,
    /// Device time in turns, held inside the program
    #[value(alias = "time_slice")]
    TimeSlice,
    /// Instances cut by the hardware (NVIDIA MIG)
    Mig,
    /// Beside each other on one device, by its vendor's driver (NVIDIA MPS)
    Spatial,
}

/// How well programs are kept apart, as a word, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    /// A program that clears its environment is not held
    None,
    /// Held inside the program's own process
    Soft,
    /// Calls run in Polder's executor
    Brokered,
    /// The vendor's driver holds it
    Driver,
    /// The hardware holds it
    Hardware,
}

impl Terms {
    /// `over` on top of this: what it says wins, and lists replace lists.
    pub(crate) fn with(self, over: Self) -> Self {
        fn list<T>(under: Vec<T>, over: Vec<T>) -> Vec<T> {
            if over.is_empty() { under } else { over }
        }
        Self {
            class: over.class.or(self.class),
            elastic: over.elastic || self.elastic,
            service: over.service || self.service,
            spot: over.spot || self.spot,
            estimate: over.estimate.or(self.estimate),
            deadline_in: over.deadline_in.or(self.deadline_in),
            preemptible: over.preemptible || self.preemptible,
            runtime_min: over.runtime_min.or(self.runtime_min),
            checkpoint_interval: over.checkpoint_interval.or(self.checkpoint_interval),
            restart_cost: over.restart_cost.or(self.restart_cost),
            partition: over.partition.or(self.partition),
            nodes: list(self.nodes, over.nodes),
            nodes_avoided: list(self.nodes_avoided, over.nodes_avoided),
            labels: list(self.labels, over.labels),
            apart: over.apart.or(self.apart),
            near: over.near || self.near,
            island: over.island.or(self.island),
            numa: over.numa.or(self.numa),
            rail: over.rail.or(self.rail),
            mechanism: over.mechanism.or(self.mechanism),
            isolation: over.isolation.or(self.isolation),
            bandwidth: over.bandwidth.or(self.bandwidth),
            host_backed: over.host_backed.or(self.host_backed),
            script: over.script.or(self.script),
            model_parameters: over.model_parameters.or(self.model_parameters),
            data_set: over.data_set.or(self.data_set),
        }
    }

    /// Whether its tasks are replicas of a service.
    pub(crate) fn is_service(&self) -> bool {
        self.service
    }

    /// Refuses what would have no effect, or could not be.
    pub(crate) fn check(&self, tasks: Tasks, time_limit: Option<Micros>) -> Result<(), Failure> {
        let refuse = |text: String| Err(Failure::usage(text));
        if self.elastic && tasks.min == tasks.max {
            let tasks = tasks.max;
            return refuse(format!(
                "elastic changes nothing for a gang of always {tasks}: give tasks a range, for \
                 example 1..{}",
                tasks.max(2)
            ));
        }
        let said = [
            ("runtime_min", self.runtime_min.is_some()),
            ("checkpoint_interval", self.checkpoint_interval.is_some()),
            ("restart_cost", self.restart_cost.is_some()),
        ];
        let said = said.into_iter().find(|(_, said)| *said);
        if let Some((field, _)) = said.filter(|_| !self.preemptible && !self.spot) {
            return refuse(format!(
                "{field} says how a job makes room for others, and this one never does: add \
                 preemptible or spot, or leave it out"
            ));
        }
        if let (Some(least), Some(limit)) = (self.runtime_min, time_limit)
            && least >= limit
        {
            return refuse(format!(
                "runtime_min is {least} and time_limit {limit}: it would be over before it may be \
                 ended for others; lower runtime_min, or leave out preemptible and spot"
            ));
        }
        if let (Some(estimate), Some(limit)) = (self.estimate, time_limit)
            && estimate > limit
        {
            return refuse(format!(
                "estimate is {estimate} and time_limit {limit}, after which it is ended: raise \
                 time_limit or lower estimate"
            ));
        }
        if self.deadline_in == Some(Micros(0)) {
            return refuse(
                "deadline_in is 0: it would be late already; say how long from now".into(),
            );
        }
        if let (Some(deadline), Some(estimate)) = (self.deadline_in, self.estimate)
            && deadline < estimate
        {
            return refuse(format!(
                "deadline_in is {deadline} and estimate {estimate}: it would be late even if it \
                 started now; raise deadline_in or lower estimate"
            ));
        }
        if self.bandwidth == Some(Bytes(0)) {
            return refuse("bandwidth is 0, which every device has: leave it out".into());
        }
        if self.host_backed == Some(Bytes(0)) {
            return refuse("host_backed is 0, which every job has: leave it out".into());
        }
        if let Some(Err(error)) = self.labels.iter().map(|text| label(text)).find(Result::is_err) {
            return Err(Failure::usage(error));
        }
        Ok(())
    }

    /// Writes what was said into an ask. `now` is what a deadline counts from.
    pub(crate) fn apply(self, ask: &mut Ask, now: Timestamp) {
        ask.gang.kind = match (self.service, self.elastic) {
            (true, _) => GangKind::Service,
            (false, true) => GangKind::Elastic,
            (false, false) => GangKind::Rigid,
        };
        let usual = if self.service { WorkClass::Inference } else { WorkClass::Batch };
        let when = &mut ask.when;
        when.class = self.class.map_or(usual, WorkClass::from);
        when.market = if self.spot { Market::Spot } else { Market::OnDemand };
        when.estimate = self.estimate;
        when.deadline = self.deadline_in.map(|length| now.after(length));
        let yields = &mut ask.yields;
        yields.preemptible = self.preemptible;
        yields.runtime_min = self.runtime_min.unwrap_or(yields.runtime_min);
        yields.checkpoint_interval = self.checkpoint_interval;
        yields.restart_cost = self.restart_cost.unwrap_or(yields.restart_cost);
        let place = &mut ask.place;
        place.partition = self.partition;
        place.nodes = self.nodes.into_iter().collect();
        place.nodes_avoided = self.nodes_avoided.into_iter().collect();
        place.labels = self.labels.into_iter().collect();
        place.apart = self.apart;
        place.near = self.near;
        let wish = |how: Option<How>| match how {
            None => Wish::Any,
            Some(How::Prefer) => Wish::Prefer,
            Some(How::Require) => Wish::Require,
        };
        place.island = wish(self.island);
        place.numa = wish(self.numa);
        place.rail = wish(self.rail);
        let devices = &mut ask.devices;
        devices.mechanism = self.mechanism.map(|cut| match cut {
            Cut::Whole => Mechanism::Whole,
            Cut::TimeSlice => Mechanism::TimeSlice,
            Cut::Mig => Mechanism::Mig,
            Cut::Spatial => Mechanism::Spatial,
        });
        devices.isolation = self.isolation.map(|level| match level {
            Level::None => Isolation::None,
            Level::Soft => Isolation::Soft,
            Level::Brokered => Isolation::Brokered,
            Level::Driver => Isolation::Driver,
            Level::Hardware => Isolation::Hardware,
        });
        devices.bandwidth = self.bandwidth;
        devices.backing = self.host_backed;
        ask.hints.script = self.script;
        ask.hints.model_parameters = self.model_parameters;
        ask.hints.data_set = self.data_set;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Caller, Draft};
    use clap::Parser;
    use polder_model::Stdio;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        terms: Terms,
    }

    fn terms(words: &[&str]) -> Terms {
        Line::try_parse_from(["job"].iter().chain(words)).unwrap().terms
    }

    fn ask(terms: Terms, whole: bool) -> Result<Ask, String> {
        let draft = Draft { command: vec!["true".into()], terms, ..Draft::default() };
        let draft = Draft { whole: whole.then_some(true), ..draft };
        let caller = Caller {
            user: "ada".parse().unwrap(),
            tenant: "lab".parse().unwrap(),
            compute: None,
            directory: "/".into(),
            now: Timestamp(0),
            environment: std::collections::BTreeMap::new(),
        };
        draft.finish(caller, Stdio::Logs).map_err(|failure| failure.message)
    }

    #[test]
    fn who_insists_on_a_mechanism_gets_it() {
        let flags = terms(&["--mechanism", "mig", "--isolation", "hardware", "--bandwidth", "2TB"]);
        let devices = ask(flags, false).unwrap().devices;
        assert_eq!(devices.mechanism(), Mechanism::Mig);
        assert_eq!(devices.isolation, Some(Isolation::Hardware));
        assert_eq!(devices.bandwidth, Some(Bytes(2_000_000_000_000)));
        for word in ["time-slice", "time_slice"] {
            let devices = ask(terms(&["--mechanism", word]), false).unwrap().devices;
            assert_eq!(devices.mechanism(), Mechanism::TimeSlice);
        }
        assert_eq!(ask(Terms::default(), false).unwrap().devices.mechanism, None);
        assert!(Line::try_parse_from(["job", "--mechanism", "saw"]).is_err());
    }

    #[test]
    fn what_would_have_no_effect_is_refused_with_the_reason() {
        let check = |words: &[&str], tasks: (u32, u32), expect: &str| {
            let (min, max) = tasks;
            let limit = Some(Micros::from_secs(60));
            let failure = terms(words).check(Tasks { min, max }, limit).err();
            let message = failure.map(|failure| failure.message).unwrap_or_default();
            assert!(
                message.starts_with(expect) && message.is_empty() == expect.is_empty(),
                "{message}"
            );
        };
        check(&["--elastic"], (2, 2), "elastic changes nothing for a gang of always 2");
        check(&["--elastic"], (2, 4), "");
        for flag in ["runtime-min", "checkpoint-interval", "restart-cost"] {
            let (flag, field) = (format!("--{flag}"), flag.replace('-', "_"));
            check(&[&flag, "30s"], (1, 1), &format!("{field} says how a job makes room"));
            check(&[&flag, "30s", "--spot"], (1, 1), "");
            check(&[&flag, "30s", "--preemptible"], (1, 1), "");
        }
        check(
            &["--preemptible", "--runtime-min", "5m"],
            (1, 1),
            "runtime_min is 5m00s and time_limit",
        );
        check(&["--estimate", "5h"], (1, 1), "estimate is 5h00m");
        check(&["--estimate", "60s"], (1, 1), "");
        check(&["--deadline-in", "0s"], (1, 1), "deadline_in is 0");
        check(
            &["--deadline-in", "10s", "--estimate", "30s"],
            (1, 1),
            "deadline_in is 10.0s and estimate 30.0s",
        );
        check(&["--deadline-in", "30s", "--estimate", "30s"], (1, 1), "");
        check(&["--bandwidth", "0"], (1, 1), "bandwidth is 0");
        check(&["--host-backed", "0"], (1, 1), "host_backed is 0");
        check(&["--host-backed", "1GiB"], (1, 1), "");
        for flag in ["--bandwidth", "--host-backed"] {
            let small =
                Line::try_parse_from(["job", flag, "2"]).err().map(|error| error.to_string());
            let small = small.unwrap_or_default();
            assert!(small.contains("write 2GiB or 2B"), "{small}");
        }
        check(&["--label", "rack"], (1, 1), "\"rack\" is no label: write KEY=VALUE");
        check(&["--label", "rack=a"], (1, 1), "");
    }

    #[test]
    fn a_job_file_spells_it_alike_and_flags_win() {
        let file: Terms =
            toml::from_str("mechanism = \"time_slice\"\nbandwidth = \"1TB\"").unwrap();
        let both = ask(file.with(terms(&["--mechanism", "mig"])), false).unwrap().devices;
        assert_eq!(both.mechanism, Some(Mechanism::Mig));
        assert_eq!(both.bandwidth, Some(Bytes(1_000_000_000_000)));
    }
}
