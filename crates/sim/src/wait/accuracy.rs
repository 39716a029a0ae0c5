//! How good predictions are, before anybody decides by them.
//!
//! Jobs are predicted when they were submitted and learned from when they really ended, so that no
//! prediction knows what nobody could have known then.

use super::SwfJob;
use super::Trace;
use super::metrics::float;
use super::world::{length, subject};
use polder_engine::predict::{Demand, Outlook, Outturn, Predictor};
use polder_model::{Bytes, Micros, Timestamp};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Runs of a user that the median baseline looks at.
const MEDIAN_OF: usize = 32;

/// Who predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oracle {
    /// The users' own estimates.
    Estimates,
    /// The mean of the user's last two runs, as the literature does.
    LastTwo,
    /// The median of the user's last 32 runs.
    UserMedian,
    /// The engine.
    Engine,
}

/// How good the predictions of a trace are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Accuracy {
    /// Jobs predicted.
    pub jobs: usize,
    /// Median of the larger of prediction and run by the smaller: 1 is perfect.
    pub ratio_median: f64,
    /// Nine of ten are at most so far off.
    pub ratio_p90: f64,
    /// Share of jobs that ran longer than predicted.
    pub under: f64,
    /// Share of jobs that ran at most as long as the upper quantile said; the engine alone has one.
    pub covered: Option<f64>,
    /// Median error ratio of the half of the predictions with the least doubt, and of the other.
    pub ratio_by_doubt: Option<(f64, f64)>,
}

/// What baselines remember.
#[derive(Default)]
struct Memory {
    predictor: Predictor,
    runs: BTreeMap<Option<u32>, VecDeque<u64>>,
}

/// Predicts each job of a trace when it was submitted.
#[must_use]
pub fn accuracy(trace: &Trace, oracle: Oracle) -> Accuracy {
    let mut memory = Memory::default();
    let mut ends: BTreeSet<(u64, usize)> = BTreeSet::new();
    let mut outlooks: Vec<Option<Outlook>> = vec![None; trace.jobs.len()];
    let (mut ratios, mut by_doubt) = (Vec::new(), Vec::new());
    let (mut under, mut covered) = (0u64, 0u64);
    for (place, job) in trace.jobs.iter().enumerate() {
        while let Some((end, ended)) =
            ends.first().copied().filter(|(end, _)| *end <= job.submitted)
        {
            ends.remove(&(end, ended));
            memory.learn(oracle, &trace.jobs[ended], outlooks[ended].as_ref());
        }
        let ran = length(job);
        let (predicted, outlook) = memory.predict(oracle, job);
        let (long, short) = (predicted.max(ran).max(1), predicted.min(ran).max(1));
        let ratio = float(long) / float(short);
        ratios.push(ratio);
        under += u64::from(predicted < ran);
        if let Some(Outlook { time, .. }) = outlook {
            covered += u64::from(time.p90 / 1_000_000 >= ran);
            by_doubt.push((time.doubt, ratio));
        }
        outlooks[place] = outlook;
        ends.insert((job.submitted + job.waited.unwrap_or(0) + ran, place));
    }
    let jobs = float(u64::try_from(ratios.len().max(1)).unwrap_or(u64::MAX));
    let is_engine = oracle == Oracle::Engine;
    by_doubt.sort_by_key(|(doubt, _)| *doubt);
    let (sure, unsure) = by_doubt.split_at(by_doubt.len() / 2);
    let ratio = |half: &[(u32, f64)]| quantile(half.iter().map(|(_, ratio)| *ratio).collect(), 50);
    Accuracy {
        jobs: ratios.len(),
        ratio_median: quantile(ratios.clone(), 50),
        ratio_p90: quantile(ratios, 90),
        under: float(under) / jobs,
        covered: is_engine.then(|| float(covered) / jobs),
        ratio_by_doubt: is_engine.then(|| (ratio(sure), ratio(unsure))),
    }
}

fn quantile(mut values: Vec<f64>, hundredths: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() * hundredths / 100).copied().unwrap_or(0.0)
}

impl Memory {
    fn predict(&self, oracle: Oracle, job: &SwfJob) -> (u64, Option<Outlook>) {
        let limit = job.estimate.unwrap_or(0);
        let runs = self.runs.get(&job.user).filter(|runs| !runs.is_empty());
        match (oracle, runs) {
            (Oracle::Engine, _) => {
                let limit = job.estimate.map(Micros::from_secs);
                let outlook = self.predictor.outlook(&subject(job), limit, Bytes(1));
                (outlook.map_or(0, |outlook| outlook.time.p50 / 1_000_000), outlook)
            }
            (Oracle::LastTwo, Some(runs)) => {
                let last = runs.iter().rev().take(2);
                let number = u64::try_from(last.len()).unwrap_or(1).max(1);
                ((last.sum::<u64>() / number).min(limit), None)
            }
            (Oracle::UserMedian, Some(runs)) => {
                let mut runs: Vec<u64> = runs.iter().copied().collect();
                runs.sort_unstable();
                (runs.get((runs.len() - 1) / 2).copied().unwrap_or(limit).min(limit), None)
            }
            (Oracle::Estimates | Oracle::LastTwo | Oracle::UserMedian, _) => (limit, None),
        }
    }

    fn learn(&mut self, oracle: Oracle, job: &SwfJob, outlook: Option<&Outlook>) {
        if oracle == Oracle::Engine {
            self.predictor.observe(&subject(job), outlook, outturn(job));
        } else {
            let runs = self.runs.entry(job.user).or_default();
            if runs.len() >= MEDIAN_OF {
                runs.pop_front();
            }
            runs.push_back(length(job));
        }
    }
}

/// What the engine learns from a job of a trace.
pub(super) fn outturn(job: &SwfJob) -> Outturn {
    Outturn {
        ran: Micros::from_secs(length(job)),
        was_cut: job.estimate.is_some_and(|limit| job.run >= limit),
        memory_peak: None,
        was_starved: false,
    }
}

/// Mean absolute error of the demand predicted for each hour, a day before, in processor hours
/// asked for; and of three plain guesses, over the same hours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct DemandError {
    /// The engine's.
    pub engine: f64,
    /// The same hour a week before.
    pub last_week: f64,
    /// The same hour a day before.
    pub last_day: f64,
    /// The mean of all hours so far.
    pub mean: f64,
}

/// Measures demand, from the third week on.
#[must_use]
pub fn demand(trace: &Trace) -> DemandError {
    const DAY: usize = 24;
    const WEEK: usize = 168;
    let origin = trace.unix_start;
    let hour_of = |job: &SwfJob| usize::try_from((origin + job.submitted) / 3600 - origin / 3600);
    let mut hours: Vec<u64> = Vec::new();
    for job in &trace.jobs {
        let Ok(hour) = hour_of(job) else { continue };
        if hours.len() <= hour {
            hours.resize(hour + 1, 0);
        }
        hours[hour] += u64::from(job.processors);
    }
    let at =
        |hour: usize| Timestamp((origin / 3600 + u64::try_from(hour).unwrap_or(0)) * 3_600_000_000);
    let mut demand = Demand::new(Micros::from_secs(trace.zone_seconds));
    let (mut sums, mut so_far, mut counted) = (DemandError::default(), 0u64, 0u64);
    let mut ahead: VecDeque<u64> = VecDeque::new();
    for (hour, amount) in hours.iter().copied().enumerate() {
        // Said a day before.
        let said = if ahead.len() >= DAY { ahead.pop_front() } else { None };
        if hour >= 2 * WEEK
            && let Some(said) = said
        {
            let off = |guess: u64| float(guess.abs_diff(amount));
            sums.engine += off(said);
            sums.last_week += off(hours[hour - WEEK]);
            sums.last_day += off(hours[hour - DAY]);
            sums.mean += off(so_far / u64::try_from(hour).unwrap_or(1));
            counted += 1;
        }
        so_far += amount;
        demand.arrived(at(hour), amount);
        demand.advance(at(hour + 1));
        ahead.push_back(demand.ahead(at(hour), DAY).last().copied().unwrap_or(0));
    }
    let counted = float(counted.max(1));
    DemandError {
        engine: sums.engine / counted,
        last_week: sums.last_week / counted,
        last_day: sums.last_day / counted,
        mean: sums.mean / counted,
    }
}
