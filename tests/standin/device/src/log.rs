//! The truth: what ran when, by process.

use std::collections::{BTreeMap, VecDeque};

/// Most spans kept one by one; older ones only live on in the sums.
const SPANS_MAX: usize = 1 << 16;

/// A stretch in which work of one process was on the compute engine without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Whose.
    pub process: u32,
    /// From, nanoseconds.
    pub from_ns: u64,
    /// To, nanoseconds.
    pub to_ns: u64,
}

/// What a process has had of the compute engine so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Truth {
    /// Its work ran, nanoseconds: several kernels at once count once.
    pub ran_ns: u64,
    /// The engine was changing over to its contexts, nanoseconds.
    pub switched_ns: u64,
    /// Items of its streams that were completed.
    pub completed: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Log {
    spans: VecDeque<Span>,
    truths: BTreeMap<u32, Truth>,
}

impl Log {
    pub(crate) fn ran(&mut self, process: u32, from_ns: u64, to_ns: u64) {
        if to_ns <= from_ns {
            return;
        }
        self.truths.entry(process).or_default().ran_ns += to_ns - from_ns;
        match self.spans.back_mut() {
            Some(last) if last.process == process && last.to_ns == from_ns => last.to_ns = to_ns,
            _ => {
                if self.spans.len() == SPANS_MAX {
                    self.spans.pop_front();
                }
                self.spans.push_back(Span { process, from_ns, to_ns });
            }
        }
    }

    pub(crate) fn switched(&mut self, process: u32, ns: u64) {
        self.truths.entry(process).or_default().switched_ns += ns;
    }

    pub(crate) fn completed(&mut self, process: u32) {
        self.truths.entry(process).or_default().completed += 1;
    }

    pub(crate) fn truth(&self, process: u32) -> Truth {
        self.truths.get(&process).copied().unwrap_or_default()
    }

    pub(crate) fn processes(&self) -> impl Iterator<Item = (u32, Truth)> + '_ {
        self.truths.iter().map(|(&process, &truth)| (process, truth))
    }

    pub(crate) fn spans(&self) -> impl Iterator<Item = Span> + '_ {
        self.spans.iter().copied()
    }
}
