//! The first jobs of a trace, and what of the rest counts with them.
//!
//! Invariant: what is said of a trace counts the jobs that are replayed, and of the rows left out
//! those up to the last line of these jobs. So it is the same whatever stands further on, and whether
//! bad rows end the reading or are left out.

use super::WorkJob;

/// Which lines of a trace count.
#[derive(Debug)]
pub(crate) struct Counted {
    /// Those of the jobs that are replayed, in order.
    jobs: Vec<u64>,
    /// The last that counts.
    last: u64,
}

/// Keeps the first of some jobs by their arrival, each beside its line; of equals, the one first in
/// the list comes first.
pub(crate) fn first(mut jobs: Vec<(u64, WorkJob)>, wanted: usize) -> (Vec<WorkJob>, Counted) {
    jobs.sort_by_key(|(_, job)| job.arrives);
    let is_all = jobs.len() < wanted;
    jobs.truncate(wanted);
    let (mut lines, jobs): (Vec<u64>, Vec<WorkJob>) = jobs.into_iter().unzip();
    lines.sort_unstable();
    let last = if is_all { u64::MAX } else { lines.last().copied().unwrap_or(0) };
    (jobs, Counted { jobs: lines, last })
}

impl Counted {
    /// How many of these lines are those of jobs that are replayed.
    pub(crate) fn jobs(&self, lines: &[u64]) -> u64 {
        let replayed = lines.iter().filter(|line| self.jobs.binary_search(line).is_ok());
        crate::num::len(replayed.count())
    }

    /// How many of these lines, which are of no job that is replayed, count.
    pub(crate) fn rows(&self, lines: &[u64]) -> u64 {
        crate::num::len(lines.iter().filter(|line| **line <= self.last).count())
    }
}
