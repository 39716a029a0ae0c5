//! vgpu.rs's limiter as described in public: one bucket for a lease, whose refill rate a PID
//! controller steers by the driver's utilisation; a launch costs by its threads.
//!
//! Left open by the description, and chosen here: the most that the rate may be, and that a launch
//! which finds too little asks again after 10 ms.

use crate::MS;
use crate::limiter::{Answer, Limiter};
use polder_standin::{Device, Work};

const TICK_NS: u64 = 100 * MS;
const POLL_NS: u64 = 10 * MS;
const GAINS: (f64, f64, f64) = (0.5, 0.1, 0.05);
/// What a new reading counts in the smoothed one.
const SMOOTHING: f64 = 0.3;
const BURST_SECONDS: f64 = 2.0;
const RATE_START: f64 = 100.0;
const RATE_MAX: f64 = 1e6;
const COST: (f64, f64) = (0.1, 9.9);
const COST_THREADS: f64 = 400_000.0;

/// The limiter.
#[derive(Debug)]
pub(crate) struct Pid {
    target: f64,
    rate: f64,
    tokens: f64,
    smoothed: f64,
    before: f64,
    sum: f64,
    next_ns: u64,
}

impl Pid {
    /// At `limit` percent.
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            target: f64::from(limit) / 100.0,
            rate: RATE_START,
            tokens: RATE_START,
            smoothed: 0.0,
            before: 0.0,
            sum: 0.0,
            next_ns: TICK_NS,
        }
    }

    fn tick(&mut self, reading: f64) {
        self.smoothed += SMOOTHING * (reading - self.smoothed);
        let error = self.target - self.smoothed;
        self.sum += error;
        let change = self.smoothed - self.before;
        self.before = self.smoothed;
        let (kp, ki, kd) = GAINS;
        let step = kp * error + ki * self.sum - kd * change;
        self.rate = (self.rate + step).clamp(0.0, RATE_MAX);
        let seconds = TICK_NS as f64 / 1e9;
        self.tokens = (self.tokens + self.rate * seconds).min((self.rate * BURST_SECONDS).max(1.0));
    }
}

impl Limiter for Pid {
    fn launch(&mut self, now_ns: u64, _process: usize, work: &Work) -> Answer {
        // Graphs are not among the calls it limits.
        let Work::Kernel(kernel) = work else { return Answer::Go };
        let threads = f64::from(kernel.blocks) * f64::from(kernel.threads);
        let cost = COST.0 + COST.1 * (1.0 - (-threads / COST_THREADS).exp());
        if self.tokens < cost {
            return Answer::Until(now_ns + POLL_NS);
        }
        self.tokens -= cost;
        Answer::Go
    }

    fn next_wake(&self) -> Option<u64> {
        Some(self.next_ns)
    }

    fn wake(&mut self, _now_ns: u64, device: &Device) {
        self.next_ns += TICK_NS;
        self.tick(f64::from(device.utilisation_of_all()) / 100.0);
    }
}
