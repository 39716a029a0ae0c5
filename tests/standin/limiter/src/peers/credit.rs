//! A credit bucket by events, the prototype that Polder set out to beat: each process earns its part
//! of the share, saves up 20 ms, pays an estimate at launch and the difference when the event comes.

use crate::MS;
use crate::limiter::{Answer, Limiter};
use polder_standin::{Device, Work};
use std::collections::VecDeque;
use std::time::Duration;

const BURST_NS: f64 = 20e6;
const INFLIGHT_NS: f64 = 20e6;
/// What a new length counts in the estimate.
const SMOOTHING: f64 = 0.25;
const RETRY_NS: u64 = MS;

#[derive(Debug, Default)]
struct Bucket {
    tokens: f64,
    earned_ns: u64,
    estimate: f64,
    /// Launched at, estimated at.
    flight: VecDeque<(u64, f64)>,
    last_end_ns: u64,
    /// The sum of the estimates in flight.
    inflight: f64,
}

/// The limiter.
#[derive(Debug)]
pub(crate) struct Credit {
    rate: f64,
    buckets: Vec<Bucket>,
}

impl Credit {
    /// For a lease of `processes` at `limit` percent: each gets its part.
    pub(crate) fn new(limit: u32, processes: usize) -> Self {
        let buckets = (0..processes).map(|_| Bucket::default()).collect();
        let rate = f64::from(limit) / 100.0 / processes.max(1) as f64;
        Self { rate, buckets }
    }
}

impl Limiter for Credit {
    fn launch(&mut self, now_ns: u64, process: usize, _work: &Work) -> Answer {
        let bucket = &mut self.buckets[process];
        let passed = now_ns.saturating_sub(bucket.earned_ns) as f64;
        bucket.tokens = (bucket.tokens + passed * self.rate).min(BURST_NS);
        bucket.earned_ns = now_ns;
        if bucket.tokens < 0.0 {
            let wait = Duration::from_secs_f64(-bucket.tokens / self.rate / 1e9).as_nanos();
            let wait_ns = u64::try_from(wait).unwrap_or(u64::MAX);
            return Answer::Until(now_ns.saturating_add(wait_ns.max(20_000)));
        }
        if !bucket.flight.is_empty() && bucket.inflight + bucket.estimate > INFLIGHT_NS {
            return Answer::Until(now_ns + RETRY_NS);
        }
        bucket.tokens -= bucket.estimate;
        bucket.inflight += bucket.estimate;
        bucket.flight.push_back((now_ns, bucket.estimate));
        Answer::Go
    }

    fn completed(&mut self, now_ns: u64, process: usize) {
        let bucket = &mut self.buckets[process];
        let Some((launched_ns, estimate)) = bucket.flight.pop_front() else { return };
        bucket.inflight -= estimate;
        // From its own start: it began when the one before it ended.
        let took = now_ns.saturating_sub(launched_ns.max(bucket.last_end_ns)) as f64;
        bucket.last_end_ns = now_ns;
        bucket.tokens += estimate - took;
        bucket.estimate = match bucket.estimate {
            0.0 => took,
            before => before + SMOOTHING * (took - before),
        };
    }

    fn next_wake(&self) -> Option<u64> {
        None
    }

    fn wake(&mut self, _now_ns: u64, _device: &Device) {}
}
