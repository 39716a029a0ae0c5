//! Gemini's token as described in public: whoever holds the device's token may launch until its
//! quota is over, then waits for what is in flight; time past the quota is deducted; a lease gets no
//! token while it has had more than its limit of the last window.
//!
//! Left open by the description, and chosen here: a quota of 100 ms, a window of 10 s or what has
//! passed of it, and that a refused request is looked at again after 1 ms.

use crate::limiter::{Answer, Limiter};
use crate::{MS, SEC};
use polder_standin::{Device, Work};
use std::collections::VecDeque;

const QUOTA_NS: u64 = 100 * MS;
const WINDOW_NS: u64 = 10 * SEC;
const RETRY_NS: u64 = MS;

/// The limiter.
#[derive(Debug)]
pub(crate) struct Gemini {
    limit: u64,
    inflight: Vec<u32>,
    /// From when, until when: the newest may not be over.
    holds: VecDeque<(u64, u64)>,
    held: bool,
    released: Vec<(usize, u64)>,
    waiting: Vec<usize>,
}

impl Gemini {
    /// For a lease of `processes` at `limit` percent.
    pub(crate) fn new(limit: u32, processes: usize) -> Self {
        Self {
            limit: u64::from(limit),
            inflight: vec![0; processes],
            holds: VecDeque::new(),
            held: false,
            released: Vec::new(),
            waiting: Vec::new(),
        }
    }

    fn used_ns(&self, now_ns: u64) -> u64 {
        let from_ns = now_ns.saturating_sub(WINDOW_NS);
        let within = |&(start, end): &(u64, u64)| end.saturating_sub(start.max(from_ns));
        self.holds.iter().map(within).sum()
    }

    /// Asks for the token again; false when the lease has had its part.
    fn request(&mut self, now_ns: u64) -> bool {
        let from_ns = now_ns.saturating_sub(WINDOW_NS);
        while self.holds.front().is_some_and(|hold| hold.1 <= from_ns) {
            self.holds.pop_front();
        }
        if self.used_ns(now_ns) * 100 > self.limit * now_ns.min(WINDOW_NS) {
            return false;
        }
        self.holds.push_back((now_ns, now_ns + QUOTA_NS));
        self.held = true;
        true
    }
}

impl Limiter for Gemini {
    fn launch(&mut self, now_ns: u64, process: usize, _work: &Work) -> Answer {
        let over = self.holds.back().is_none_or(|hold| now_ns >= hold.1);
        if over && self.held {
            if self.inflight.iter().any(|inflight| *inflight > 0) {
                self.waiting.push(process);
                return Answer::Until(u64::MAX);
            }
            self.held = false;
        }
        if !self.held && !self.request(now_ns) {
            return Answer::Until(now_ns + RETRY_NS);
        }
        self.inflight[process] += 1;
        Answer::Go
    }

    fn completed(&mut self, now_ns: u64, process: usize) {
        self.inflight[process] -= 1;
        if self.inflight.iter().any(|inflight| *inflight > 0) {
            return;
        }
        if let Some(hold) = self.holds.back_mut()
            && self.held
            && now_ns >= hold.1
        {
            // What ran past the quota is deducted with the rest.
            hold.1 = now_ns;
            self.held = false;
        }
        self.released.extend(self.waiting.drain(..).map(|process| (process, now_ns)));
    }

    fn next_wake(&self) -> Option<u64> {
        None
    }

    fn wake(&mut self, _now_ns: u64, _device: &Device) {}

    fn released(&mut self) -> Vec<(usize, u64)> {
        std::mem::take(&mut self.released)
    }
}
