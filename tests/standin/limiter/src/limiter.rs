//! What stands between a process and the device.

use polder_standin::{Device, Work};

/// Whether a launch may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It goes to the device now.
    Go,
    /// It is asked again at this moment, or earlier if the limiter releases the process.
    Until(u64),
}

/// A limiter of the processes of one lease. It sees what its real counterpart would see: launches,
/// completions, the driver's readings and the clock.
pub trait Limiter {
    /// A process would like to launch.
    fn launch(&mut self, now_ns: u64, process: usize, work: &Work) -> Answer;

    /// The oldest item that the process has in flight is over.
    fn completed(&mut self, _now_ns: u64, _process: usize) {}

    /// The process begins to wait until nothing of its own is in flight.
    fn syncing(&mut self, _now_ns: u64, _process: usize) {}

    /// The process has waited until nothing of its own was in flight.
    fn synced(&mut self, _now_ns: u64, _process: usize) {}

    /// When it acts by itself next.
    fn next_wake(&self) -> Option<u64>;

    /// It is that moment, or later.
    fn wake(&mut self, now_ns: u64, device: &Device);

    /// Takes the processes that may ask again, and when.
    fn released(&mut self) -> Vec<(usize, u64)> {
        Vec::new()
    }
}
