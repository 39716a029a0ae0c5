//! By which names a user knows what is wrong: flags, or the keys of a job file with their lines.
//!
//! A job's terms are checked once flags and file are one. What the file alone would be refused for too
//! is the file's; all else is the flags'.

use super::Draft;
use crate::failure::Failure;
use polder_model::AskError;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What a field of an ask is called in a job file, and as a flag.
const NAMES: [(&str, &str, &str); 25] = [
    ("devices.count", "devices.count", "--devices"),
    ("devices.compute", "devices.compute", "--compute"),
    ("devices.compute_max", "devices.compute_max", "--compute-max"),
    ("devices.memory", "devices.memory", "--memory"),
    ("devices.backing", "terms.host_backed", "--host-backed"),
    ("gang.min", "tasks", "--tasks"),
    ("gang.max", "tasks", "--tasks"),
    ("host.cpu", "host.cpu", "--cpu"),
    ("host.memory", "host.memory", "--host-memory"),
    ("host.nic", "host.nic", "--nic"),
    ("host.pids", "host.pids", "--pids"),
    ("when.priority", "when.priority", "--priority"),
    ("when.time_limit", "when.time_limit", "--time-limit"),
    ("when.estimate", "terms.estimate", "--estimate"),
    ("when.deadline", "terms.deadline_in", "--deadline-in"),
    ("yields.grace", "yields.grace", "--grace"),
    ("yields.retries", "yields.retries", "--retries"),
    ("yields.runtime_min", "terms.runtime_min", "--runtime-min"),
    ("yields.checkpoint_interval", "terms.checkpoint_interval", "--checkpoint-interval"),
    ("yields.restart_cost", "terms.restart_cost", "--restart-cost"),
    ("place.partition", "terms.partition", "--partition"),
    ("place.apart", "terms.apart", "--apart"),
    ("place.labels", "terms.labels", "--label"),
    ("hints.script", "terms.script", "--script"),
    ("hints.data_set", "terms.data_set", "--data-set"),
];

/// Why a draft makes no ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// By what only drafts have, in the words of flags and files alike.
    Draft(Failure),
    /// By what asks are checked for, in the words of asks.
    Ask(AskError),
}

impl Refused {
    /// Words for whoever wrote flags.
    pub(super) fn in_flags(self) -> Failure {
        match self {
            Self::Draft(failure) => failure,
            Self::Ask(error) => Failure::usage(named(&error, |(_, _, flag)| flag)),
        }
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Draft(failure)
    }
}

/// The entry of a field, without what is noted behind it.
fn entry(error: &AskError) -> Option<(&'static str, &'static str, &'static str)> {
    let field = error.field()?.split(' ').next()?;
    NAMES.into_iter().find(|(inner, _, _)| *inner == field)
}

/// An error with its field as somebody knows it.
fn named(
    error: &AskError,
    name: impl Fn((&'static str, &'static str, &'static str)) -> &'static str,
) -> String {
    let text = error.to_string();
    match entry(error) {
        Some(entry) => text.replacen(entry.0, name(entry), 1),
        None => text,
    }
}

/// A job file, and where it says what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Its name.
    pub(super) file: String,
    /// The line of each key, by its whole name.
    pub(super) lines: BTreeMap<String, u64>,
    /// What it says, without flags.
    pub(super) alone: Draft,
}

impl Origin {
    /// Words for whoever wrote the file.
    pub(super) fn words(&self, refused: Refused) -> Failure {
        let (key, failure) = match refused {
            Refused::Ask(error) => {
                let text = named(&error, |(_, key, _)| key);
                (entry(&error).map(|(_, key, _)| key.to_owned()), Failure::usage(text))
            }
            Refused::Draft(failure) => {
                // Such words begin with the last part of the key, where they are of one.
                let first = failure.message.split(' ').next().unwrap_or_default();
                let is_it = |key: &&String| key.rsplit('.').next() == Some(first);
                (self.lines.keys().find(is_it).cloned(), failure)
            }
        };
        let line = key.and_then(|key| self.lines.get(&key));
        let at = line.map_or_else(String::new, |line| format!(", line {line}"));
        let message = format!("job file {}{at}: {}", self.file, failure.message);
        Failure { message, ..failure }
    }
}

/// Where a job file says what, as its language knows places.
#[derive(Debug, Deserialize)]
#[serde(bound = "P: Deserialize<'de>")]
pub(super) struct Places<P> {
    tasks: Option<P>,
    #[serde(default = "BTreeMap::new")]
    devices: BTreeMap<String, P>,
    #[serde(default = "BTreeMap::new")]
    host: BTreeMap<String, P>,
    #[serde(default = "BTreeMap::new")]
    when: BTreeMap<String, P>,
    #[serde(default = "BTreeMap::new")]
    yields: BTreeMap<String, P>,
    #[serde(default = "BTreeMap::new")]
    terms: BTreeMap<String, P>,
}

impl<P> Places<P> {
    /// The line of each key, given that of a place.
    pub(super) fn lines(self, line: impl Fn(P) -> u64) -> BTreeMap<String, u64> {
        let tables = [
            ("devices", self.devices),
            ("host", self.host),
            ("when", self.when),
            ("yields", self.yields),
            ("terms", self.terms),
        ];
        let within = tables.into_iter().flat_map(|(table, keys)| {
            keys.into_iter().map(move |(key, place)| (format!("{table}.{key}"), place))
        });
        let all = self.tasks.map(|place| ("tasks".to_owned(), place)).into_iter().chain(within);
        all.map(|(key, place)| (key, line(place))).collect()
    }
}
