//! A pool's history, replayed under one policy or another and counted by blocks of time.
//!
//! Every replay begins with the history, so that no block starts in an empty pool, and goes on until
//! the last job that counts is over. The engine that decides is the one of the server; it learns run
//! times only from what has ended in the same replay.

use crate::num::{len, place};
use crate::pool::Pool;
use crate::workload::Workload;
use crate::workload::journal::History;
use crate::world::{BEGIN, JobRecord, Records, Setup, World, WorldError};
use polder_model::{Micros, Policy};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Most blocks of one history.
pub const BLOCKS_MAX: u64 = 4_096;
/// Runs that are shorter count as this long in a slowdown, in seconds, so that a job of a moment
/// does not stand for all.
const SHORT_SECONDS: f64 = 10.0;

/// What is to become small.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// Mean seconds from a job's arrival to its first start.
    #[default]
    Wait,
    /// Mean of time in the pool over time that the work needs alone, at least 1.
    Slowdown,
    /// Mean seconds from a job's arrival to its end.
    Completion,
}

impl Goal {
    /// What stands behind a cost of this goal: nothing, or a space and its unit.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Slowdown => "",
            Self::Wait | Self::Completion => " s",
        }
    }
}

/// A stretch of history in which jobs came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// When it begins, from the first job.
    pub from: Micros,
    /// Jobs that came in it.
    pub jobs: u64,
}

/// A history to be replayed.
#[derive(Debug, Clone)]
pub struct Past<'h> {
    history: &'h History,
    pool: &'h Pool,
    /// What chance is drawn from in each replay.
    pub seed: u64,
    /// What is to become small.
    pub goal: Goal,
    /// How much neighbours cost each other (see [`crate::world::Interference`]).
    pub slowdown: f64,
    length: Micros,
    blocks: Vec<Block>,
}

impl<'h> Past<'h> {
    /// Cuts a history into blocks of a length; those in which nobody came are left out.
    #[must_use]
    pub fn new(history: &'h History, pool: &'h Pool, length: Micros) -> Self {
        let last = history.workload.jobs.last().map_or(0, |job| job.arrives.0);
        // A length too short for so long a history becomes longer.
        let length = Micros(length.0.max(1).max(last / BLOCKS_MAX + 1));
        let mut blocks: Vec<Block> = Vec::new();
        for job in &history.workload.jobs {
            let from = Micros(job.arrives.0 / length.0 * length.0);
            match blocks.last_mut().filter(|block| block.from == from) {
                Some(block) => block.jobs += 1,
                None => blocks.push(Block { from, jobs: 1 }),
            }
        }
        let slowdown = crate::world::Interference::default().slowdown;
        Self { history, pool, seed: 1, goal: Goal::default(), slowdown, length, blocks }
    }

    /// Its blocks, by time.
    #[must_use]
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// How long each block is.
    #[must_use]
    pub fn length(&self) -> Micros {
        self.length
    }

    /// The cost of each of these blocks under a policy.
    ///
    /// # Errors
    /// The engine broke a promise.
    pub fn costs(&self, policy: &Policy, blocks: Range<u32>) -> Result<Vec<f64>, WorldError> {
        let end = place(blocks.end.into()).min(self.blocks.len());
        let begin = place(blocks.start.into()).min(end);
        let Some(last) = end.checked_sub(1).and_then(|last| self.blocks.get(last)) else {
            return Ok(Vec::new());
        };
        let until = last.from.0.saturating_add(self.length.0);
        let records = self.replay(policy, Micros(until))?;
        let mut sums = vec![(0.0, 0.0); self.blocks.len()];
        for job in &records.jobs {
            let arrived = job.submitted.since(records.begin).0;
            let at = self.blocks.partition_point(|block| block.from.0 <= arrived);
            let sum = at.checked_sub(1).and_then(|at| sums.get_mut(at));
            if let (Some(sum), Some(cost)) = (sum, self.cost(job, &records)) {
                *sum = (sum.0 + cost, sum.1 + 1.0);
            }
        }
        let mean = |(sum, jobs): &(f64, f64)| sum / jobs.max(1.0);
        Ok(sums.get(begin..end).unwrap_or_default().iter().map(mean).collect())
    }

    /// Replays what came before a moment.
    fn replay(&self, policy: &Policy, until: Micros) -> Result<Records, WorldError> {
        let jobs = &self.history.workload.jobs;
        let number = jobs.partition_point(|job| job.arrives < until);
        let mut setup = Setup::new(self.pool.clone(), policy.clone());
        setup.tenants.clone_from(&self.history.tenants);
        setup.begin = self.history.begin.unwrap_or(BEGIN);
        (setup.seed, setup.check_every) = (self.seed, 0);
        setup.interference.slowdown = self.slowdown;
        let mut world = World::new(setup)?;
        world.load(Workload {
            name: self.history.workload.name.clone(),
            jobs: jobs.get(..number).unwrap_or_default().to_vec(),
            notes: Vec::new(),
        });
        world.finish(None)
    }

    /// What a job cost; nothing for one that was refused. One that never started or ended is counted
    /// up to where the replay ended.
    fn cost(&self, job: &JobRecord, records: &Records) -> Option<f64> {
        job.job?;
        let seconds = |length: Micros| length.0 as f64 / 1e6;
        let until = |at: Option<polder_model::Timestamp>| {
            seconds(at.unwrap_or(records.end).since(job.submitted))
        };
        Some(match self.goal {
            Goal::Wait => until(job.started),
            Goal::Completion => until(job.ended),
            Goal::Slowdown => (until(job.ended) / seconds(job.alone).max(SHORT_SECONDS)).max(1.0),
        })
    }

    /// The mean wait, in seconds, that the journal itself tells of the jobs of a block; absent where
    /// it tells none.
    #[must_use]
    pub fn really_waited(&self, block: usize) -> Option<f64> {
        let from = self.blocks.get(block)?.from;
        let inside = |arrived: &Micros| *arrived >= from && arrived.0 - from.0 < self.length.0;
        let waits = self.history.waits.iter().filter(|(arrived, _)| inside(arrived));
        let (sum, number) = waits
            .fold((0.0, 0u64), |(sum, number), (_, wait)| (sum + wait.0 as f64 / 1e6, number + 1));
        (number > 0).then(|| sum / number as f64)
    }

    /// Jobs that came at a moment or later, in a block that had begun before it.
    pub(super) fn early(&self, from: Micros) -> u64 {
        let next = from.0.div_ceil(self.length.0).saturating_mul(self.length.0);
        let early = |arrives: Micros| (from.0..next).contains(&arrives.0);
        len(self.history.workload.jobs.iter().filter(|job| early(job.arrives)).count())
    }

    /// The first block that begins at a moment or later.
    #[must_use]
    pub fn block_since(&self, from: Micros) -> u32 {
        let at = self.blocks.partition_point(|block| block.from < from);
        u32::try_from(len(at)).unwrap_or(u32::MAX)
    }
}
