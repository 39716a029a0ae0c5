//! Jobs that have the same index of service: those of one class and one octave.
//!
//! An index is a fact of a job, so that a snapshot restores it. It is looked at anew when what was
//! observed of such jobs has grown by a part, all jobs of a group together, and replaced when it
//! has moved by more than [`MOVED_PART`]: a pool with a million jobs that wait does not sort them
//! anew whenever one ends. Whoever joins a group has its index, so jobs that are alike always
//! stand side by side.

use crate::facts::{Facts, JobFacts};
use crate::history::service_class;
use crate::order::service::{ServiceClass, ServiceHistory};
use polder_model::{JobId, Policy, Term};
use std::collections::{BTreeMap, BTreeSet};

/// An index is replaced when it has moved by more than this part of itself.
const MOVED_PART: u64 = 16;

/// A class, and the end of an octave in device microseconds.
type Group = (ServiceClass, u64);

/// Jobs that are not over, by what gives them the same index; empty where no order goes by it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Alike {
    groups: BTreeMap<Group, BTreeSet<JobId>>,
}

/// Whether any order of a policy goes by the index of service.
fn is_on(policy: &Policy) -> bool {
    policy.orders().any(|order| order.by.contains(&Term::Gittins))
}

fn group(job: &JobFacts, served: u64) -> Group {
    (service_class(&job.ask, job.submitted_at), ServiceHistory::next_change(served))
}

impl Alike {
    pub(crate) fn link_job(&mut self, facts: &Facts, id: JobId, job: &JobFacts) {
        if is_on(&facts.policy) {
            self.groups.entry(group(job, job.served_before)).or_default().insert(id);
        }
    }

    pub(crate) fn unlink_job(&mut self, facts: &Facts, id: JobId, job: &JobFacts) {
        if !is_on(&facts.policy) {
            return;
        }
        let group = group(job, job.served_before);
        if let Some(jobs) = self.groups.get_mut(&group) {
            jobs.remove(&id);
            if jobs.is_empty() {
                self.groups.remove(&group);
            }
        }
    }

    /// The index of a job that has been served so much: that of its group, if there is one.
    pub(crate) fn index(&self, facts: &Facts, job: &JobFacts, served: u64) -> u64 {
        let group = group(job, served);
        let first = self.groups.get(&group).and_then(|jobs| jobs.first());
        let same = first.and_then(|first| facts.jobs.get(first));
        same.map_or_else(|| facts.history.index(&group.0, served), |same| same.index)
    }

    /// Groups whose index has moved since so many observations, and what it is now.
    pub(crate) fn moved(&self, facts: &Facts, since: u64) -> Vec<(Vec<JobId>, u64)> {
        let history = facts.history.service();
        let is_new = |group: &Group| history.stamp(&group.0) > since;
        let moved =
            self.groups.iter().filter(|(group, _)| is_new(group)).filter_map(|(group, jobs)| {
                let first = facts.jobs.get(jobs.first()?)?;
                let (was, is) = (first.index, history.index(&group.0, first.served_before));
                let far = is.abs_diff(was) > was / MOVED_PART;
                far.then(|| (jobs.iter().copied().collect(), is))
            });
        moved.collect()
    }

    /// Every group with its index as of now, however little it has moved.
    pub(crate) fn all(&self, facts: &Facts) -> Vec<(Vec<JobId>, u64)> {
        let of = |(group, jobs): (&Group, &BTreeSet<JobId>)| {
            let first = facts.jobs.get(jobs.first()?)?;
            let index = facts.history.index(&group.0, first.served_before);
            Some((jobs.iter().copied().collect(), index))
        };
        self.groups.iter().filter_map(of).collect()
    }
}
