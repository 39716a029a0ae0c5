//! The host's memory bandwidth, measured: no driver of a CPU device reports it.
//!
//! Every CPU copies between two buffers of its own, larger together than the caches; the best of
//! a few rounds counts, bytes read plus bytes written. It is what this machine did for a moment,
//! beside whatever else ran: a floor of the peak, not the memory's data sheet. A copy, because the
//! C library's is at full speed in every build, where a summing loop would measure the compiler.

use polder_model::Bytes;
use std::{
    hint::black_box,
    num::NonZero,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

/// Size of each of a thread's two buffers: two of them exceed a core's part of any cache.
const BUFFER_BYTES: usize = 32 << 20;
/// More threads than this saturate no memory that fewer do not nearly saturate.
const THREADS_MAX: usize = 16;
/// Rounds of copying; the best counts.
const ROUNDS: usize = 3;
/// At most this part of the host's memory is touched.
const MEMORY_PART: u64 = 8;

/// Bytes a second, or `None` where there is too little memory or the clock saw nothing.
pub(crate) fn measure(memory: Bytes) -> Option<Bytes> {
    let per_thread = 2 * BUFFER_BYTES;
    let affordable = usize::try_from(memory.0 / MEMORY_PART).unwrap_or(usize::MAX) / per_thread;
    let threads =
        thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX).min(affordable);
    let best = best_round(threads)?;
    let moved = u128::try_from(threads * per_thread).ok()?;
    let per_second = moved.checked_mul(1_000_000_000)?.checked_div(best.as_nanos())?;
    u64::try_from(per_second).ok().map(Bytes)
}

/// The shortest time in which all threads copied once; `None` for no thread.
fn best_round(threads: usize) -> Option<Duration> {
    let barrier = Barrier::new(threads);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| copy_rounds(&barrier))).collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).min()
    })
}

/// One thread's part. Each round is timed from when all stand ready to when all are done.
fn copy_rounds(barrier: &Barrier) -> Duration {
    // Not zero: a page of zeros that was never written is one shared page in cache.
    let from = vec![1_u8; BUFFER_BYTES];
    let mut to = vec![2_u8; BUFFER_BYTES];
    let rounds = (0..ROUNDS).map(|_| {
        barrier.wait();
        let start = Instant::now();
        black_box(&mut to).copy_from_slice(black_box(&from));
        barrier.wait();
        start.elapsed()
    });
    rounds.min().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_something_or_declines() {
        let rate = measure(Bytes(1 << 40)).expect("there is memory enough").0;
        assert!((100_000_000..100_000_000_000_000).contains(&rate), "{rate} bytes a second");
        assert_eq!(measure(Bytes(1 << 20)), None);
    }
}
