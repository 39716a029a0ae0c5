//! A bucket of blocks that all processes of a lease share, with additive increase and
//! multiplicative decrease, as vgpu-manager's is described: graphs are charged too, and a reading
//! above the limit halves what is given.
//!
//! Left open by the description, and chosen here: the period (that of the bucket it comes from),
//! and the increase (a fiftieth of what a full pool gives).

use crate::MS;
use crate::limiter::{Answer, Limiter};
use polder_standin::{Device, Model, Work};

const WATCH_NS: u64 = 120 * MS;
const POLL_NS: u64 = 10 * MS;
const POOL_FACTOR: i64 = 32;
const INCREASE_PARTS: i64 = 50;

/// The limiter.
#[derive(Debug)]
pub(crate) struct Aimd {
    limit: u32,
    pool: i64,
    share: i64,
    tokens: i64,
    next_ns: u64,
}

impl Aimd {
    /// At `limit` percent.
    pub(crate) fn new(model: &Model, limit: u32) -> Self {
        let pool = i64::from(model.sms) * i64::from(model.threads_per_sm) * POOL_FACTOR;
        Self { limit, pool, share: 0, tokens: 0, next_ns: WATCH_NS }
    }
}

impl Limiter for Aimd {
    fn launch(&mut self, now_ns: u64, _process: usize, work: &Work) -> Answer {
        let blocks = match work {
            Work::Kernel(kernel) => i64::from(kernel.blocks),
            Work::Graph { node, nodes } => i64::from(node.blocks) * i64::from(*nodes),
            Work::Copy(_) | Work::Fence(_) => 0,
        };
        if self.tokens < 0 {
            return Answer::Until(now_ns + POLL_NS);
        }
        self.tokens -= blocks;
        Answer::Go
    }

    fn next_wake(&self) -> Option<u64> {
        Some(self.next_ns)
    }

    fn wake(&mut self, _now_ns: u64, device: &Device) {
        self.next_ns += WATCH_NS;
        self.share = match device.utilisation_of_all() > self.limit {
            true => self.share / 2,
            false => (self.share + self.pool / INCREASE_PARTS).min(self.pool),
        };
        self.tokens = (self.tokens + self.share).min(self.pool);
    }
}
