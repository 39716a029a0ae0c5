//! Published rules, as baselines beside Polder's own. Nothing here is Polder's.

use super::published::{DEVICES, Nodes};
use super::replay::{Group, Live, Rule};

/// Shortest remaining time (SRTF) or shortest remaining device time (SRSF) first, told the future.
#[derive(Debug, Clone, Default)]
pub struct Shortest {
    by_device: bool,
    /// The order of the event before: jobs alike keep it.
    order: Vec<usize>,
    /// One past the last job that was taken in.
    seen: usize,
}

impl Shortest {
    /// SRTF.
    #[must_use]
    pub fn time() -> Self {
        Self::default()
    }

    /// SRSF: time counts once for each device.
    #[must_use]
    pub fn service() -> Self {
        Self { by_device: true, ..Self::default() }
    }
}

impl Rule for Shortest {
    fn clairvoyant(&self) -> bool {
        true
    }

    fn over(&mut self, job: &Live<'_>) {
        self.order.retain(|&index| index != job.index);
    }

    fn decide(&mut self, _now: f64, live: &[Live<'_>]) -> Vec<Group> {
        self.order.extend(live.iter().map(|job| job.index).filter(|&index| index >= self.seen));
        self.seen = live.last().map_or(self.seen, |job| self.seen.max(job.index + 1));
        let by_device = self.by_device;
        let cost = |index: usize| {
            let job = find(live, index)?;
            let devices = if by_device { f64::from(job.seen.devices) } else { 1.0 };
            Some((job.remaining? * devices, job))
        };
        let mut order: Vec<_> = self.order.iter().filter_map(|&index| cost(index)).collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.order = order.iter().map(|(_, job)| job.index).collect();
        first_fit(order.into_iter().map(|(_, job)| job))
    }
}

/// Takes jobs in order onto nodes, first fit, passing over what does not fit.
pub fn first_fit<'a, 'b: 'a>(order: impl Iterator<Item = &'a Live<'b>>) -> Vec<Group> {
    let mut nodes = Nodes::free();
    order.filter(|job| nodes.take(job.seen.devices)).map(|job| vec![job.index]).collect()
}

/// Two-dimensional least attained service in three queues, as the published simulator runs it:
/// devices are counted and not placed, jobs in a queue keep their order with waiting ones behind
/// running ones, and nothing is promoted.
#[derive(Debug, Clone, Default)]
pub struct Tiresias {
    queues: [Vec<usize>; 3],
    /// One past the last job that was taken in.
    seen: usize,
    wake: Option<f64>,
}

/// Attained device seconds at which a job leaves the first and the second queue.
const TIRESIAS_LIMITS: [f64; 2] = [3_250.0, 7_200.0];

impl Rule for Tiresias {
    fn over(&mut self, job: &Live<'_>) {
        self.queues.iter_mut().for_each(|queue| queue.retain(|&index| index != job.index));
    }

    fn decide(&mut self, now: f64, live: &[Live<'_>]) -> Vec<Group> {
        for job in live.iter().filter(|job| job.index >= self.seen) {
            self.queues[0].push(job.index);
        }
        self.seen = live.last().map_or(self.seen, |job| self.seen.max(job.index + 1));
        self.demote(live);
        let mut free = DEVICES;
        let mut groups = Vec::new();
        for queue in &mut self.queues {
            let (mut runs, mut waits) = (Vec::new(), Vec::new());
            for &index in queue.iter() {
                match find(live, index) {
                    Some(job) if job.seen.devices <= free => {
                        free -= job.seen.devices;
                        runs.push(index);
                    }
                    _ => waits.push(index),
                }
            }
            groups.extend(runs.iter().map(|&index| vec![index]));
            runs.append(&mut waits);
            *queue = runs;
        }
        self.wake = self.next_demotion(now, live, &groups);
        groups
    }

    fn wake(&self) -> Option<f64> {
        self.wake
    }
}

fn find<'a, 'b>(live: &'a [Live<'b>], index: usize) -> Option<&'a Live<'b>> {
    live.binary_search_by_key(&index, |job| job.index).ok().map(|at| &live[at])
}

impl Tiresias {
    /// Running jobs past their queue's limit go to the end of the next, one queue an event.
    fn demote(&mut self, live: &[Live<'_>]) {
        let level: Vec<(usize, usize)> = live
            .iter()
            .filter(|job| job.running)
            .filter_map(|job| {
                let level = self.queues.iter().position(|queue| queue.contains(&job.index))?;
                Some((job.index, level))
            })
            .collect();
        for (index, level) in level {
            let past =
                |job: &Live<'_>, limit: f64| job.attained * f64::from(job.seen.devices) >= limit;
            let limit = TIRESIAS_LIMITS.get(level);
            if limit.is_some_and(|&limit| find(live, index).is_some_and(|job| past(job, limit))) {
                self.queues[level].retain(|&other| other != index);
                self.queues[level + 1].push(index);
            }
        }
    }

    fn next_demotion(&self, now: f64, live: &[Live<'_>], groups: &[Group]) -> Option<f64> {
        let times = groups.iter().flatten().filter_map(|&index| {
            let level = self.queues.iter().position(|queue| queue.contains(&index))?;
            let job = find(live, index)?;
            let limit = TIRESIAS_LIMITS.get(level)?;
            Some((limit / f64::from(job.seen.devices)).ceil() - job.attained + now)
        });
        times.min_by(f64::total_cmp)
    }
}
