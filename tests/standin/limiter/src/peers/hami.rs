//! HAMi-core's bucket as described in public: one in each process, refilled by a watcher that reads
//! the driver's utilisation every 120 ms, and paid in blocks of a kernel's grid.

use crate::MS;
use crate::limiter::{Answer, Limiter};
use polder_standin::{Device, Model, Work};

const WATCH_NS: u64 = 120 * MS;
const POLL_NS: u64 = 10 * MS;
/// The pool holds this many times the threads that can be resident.
const POOL_FACTOR: i64 = 32;
/// The step of a refill is divided by this.
const STEP_PARTS: i64 = 2560;
/// A difference below this counts as this, percent.
const DIFFERENCE_MIN: i64 = 5;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: i64,
    pool: i64,
    share: i64,
    next_ns: u64,
}

/// The limiter.
#[derive(Debug)]
pub(crate) struct Hami {
    buckets: Vec<Bucket>,
    limit: i64,
    /// The step of a refill for each percent of difference.
    gain: i64,
}

impl Hami {
    /// For a lease of `processes` at `limit` percent.
    pub(crate) fn new(model: &Model, limit: u32, processes: usize) -> Self {
        let (sms, threads) = (i64::from(model.sms), i64::from(model.threads_per_sm));
        let pool = sms * threads * POOL_FACTOR;
        let bucket = |index: usize| Bucket {
            tokens: 0,
            pool,
            share: 0,
            next_ns: WATCH_NS + index as u64 * 7 * MS,
        };
        let buckets = (0..processes).map(bucket).collect();
        Self { buckets, limit: i64::from(limit), gain: sms * sms * threads }
    }

    fn refill(&mut self, index: usize, used: i64) {
        let bucket = &mut self.buckets[index];
        if bucket.share == bucket.pool && bucket.tokens < 0 {
            bucket.pool *= 2;
            bucket.share = bucket.pool;
        }
        let difference = (self.limit - used).abs().max(DIFFERENCE_MIN);
        let mut step = self.gain * difference / STEP_PARTS;
        if difference > self.limit / 2 {
            step = step * difference * 2 / (self.limit + 1);
        }
        bucket.share = match used <= self.limit {
            true => (bucket.share + step).min(bucket.pool),
            false => (bucket.share - step).max(0),
        };
        bucket.tokens = (bucket.tokens + bucket.share).min(bucket.pool);
    }
}

impl Limiter for Hami {
    fn launch(&mut self, now_ns: u64, process: usize, work: &Work) -> Answer {
        // Graphs and cooperative launches are not among the calls it limits.
        let Work::Kernel(kernel) = work else { return Answer::Go };
        let bucket = &mut self.buckets[process];
        if kernel.cooperative {
            return Answer::Go;
        }
        if bucket.tokens < 0 {
            return Answer::Until(now_ns + POLL_NS);
        }
        bucket.tokens -= i64::from(kernel.blocks);
        Answer::Go
    }

    fn next_wake(&self) -> Option<u64> {
        self.buckets.iter().map(|bucket| bucket.next_ns).min()
    }

    fn wake(&mut self, now_ns: u64, device: &Device) {
        let processes = u32::try_from(self.buckets.len()).expect("a few");
        for index in 0..self.buckets.len() {
            if self.buckets[index].next_ns <= now_ns {
                self.buckets[index].next_ns += WATCH_NS;
                let used: u32 = (0..processes).map(|it| device.utilisation(it)).sum();
                self.refill(index, i64::from(used.min(100)));
            }
        }
    }
}
