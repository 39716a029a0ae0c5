//! Batches of launches: gathered by stream, with the driver, over. Bookkeeping alone: the driver is called and
//! the lock held elsewhere.

use super::lane::{Lane, Waited};
use polder_driver::gate::{Passage, Told, heard_together, leave_together};
use polder_driver::run::Run;
use polder_driver::state::State;
use polder_ledger::DEVICES_MAX;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Batch {
    pub(super) state: &'static State,
    pub(super) device: usize,
    pub(super) launches: Vec<Passage>,
    /// Of threads that launch into the stream.
    pub(super) runs: Vec<Arc<Run>>,
    pub(super) estimate_ns: u64,
}

impl Batch {
    pub(super) fn new(state: &'static State, device: usize) -> Self {
        Self { state, device, launches: Vec::new(), runs: Vec::new(), estimate_ns: 0 }
    }

    /// Counts it out, and learns from it.
    pub(super) fn ran(&self) {
        let runs = self.runs.iter().flat_map(|run| run.members());
        leave_together(self.state, self.device, &self.launches, runs);
        self.runs.iter().for_each(|run| run.leave(true));
    }

    /// Counts it out: its end is heard of, and was earlier.
    pub(super) fn heard(&self) -> Option<Told> {
        let runs = self.runs.iter().flat_map(|run| run.members());
        let told = heard_together(self.state, self.device, &self.launches, runs);
        self.runs.iter().for_each(|run| run.leave(true));
        told
    }

    /// Counts it out, whatever has become of it.
    pub(super) fn drop(&self) {
        self.launches.iter().for_each(Passage::leave_early);
        self.runs.iter().for_each(|run| run.leave(false));
    }
}

#[derive(Debug)]
pub(super) struct Away {
    pub(super) batch: Batch,
    pub(super) lane: Lane,
    pub(super) event: usize,
}

/// What of ours a context has.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub(super) streams: Vec<usize>,
    /// Events that nobody waits for any more.
    pub(super) events: Vec<usize>,
    pub(super) next: usize,
}

#[derive(Debug, Default)]
pub(super) struct Batches {
    /// What threads wait for: they will tell of its end.
    pub(super) waited: Vec<Waited>,
    pub(super) open: BTreeMap<Lane, Batch>,
    pub(super) away: BTreeMap<u64, Away>,
    pub(super) sides: BTreeMap<usize, Side>,
    /// By device of the lease: batches with the driver, and expected work counted out at once.
    pub(super) outstanding: [u32; DEVICES_MAX],
    pub(super) dust_ns: [u64; DEVICES_MAX],
    pub(super) last: u64,
}

impl Batches {
    /// Takes out the lane's batch, with those of its runs that can be ended.
    pub(super) fn take(&mut self, lane: Lane) -> Option<Batch> {
        let mut batch = self.open.remove(&lane)?;
        let (over, launching) = batch.runs.into_iter().partition(|run| run.close());
        batch.runs = over;
        let launching: Vec<Arc<Run>> = launching;
        if !launching.is_empty() {
            let stays = Batch { runs: launching, ..Batch::new(batch.state, batch.device) };
            self.open.insert(lane, stays);
        }
        batch.runs.iter().for_each(|run| run.trim());
        (!batch.runs.is_empty() || !batch.launches.is_empty()).then_some(batch)
    }

    /// Where nothing is open and nothing with the driver, what went unheard is over too: a thread has
    /// waited for it, or for what came after it.
    pub(super) fn forget_dust(&mut self) {
        for (device, dust_ns) in self.dust_ns.iter_mut().enumerate() {
            let open = self.open.values().any(|batch| batch.device == device);
            if !open && self.outstanding[device] == 0 {
                *dust_ns = 0;
            }
        }
    }

    pub(super) fn take_all(&mut self, which: impl Fn(Lane, &Batch) -> bool) -> Vec<Batch> {
        let wanted = self.open.iter().filter(|(lane, batch)| which(**lane, batch));
        let lanes: Vec<Lane> = wanted.map(|(lane, _)| *lane).collect();
        lanes.into_iter().filter_map(|lane| self.take(lane)).collect()
    }

    /// Takes out what has gathered and nobody would hear of, if nothing of the device is with the driver.
    pub(super) fn take_unheard(&mut self, device: usize) -> Vec<Batch> {
        if self.outstanding[device] > 0 {
            return Vec::new();
        }
        let waited = self.waited.clone();
        self.take_all(|lane, open| {
            open.device == device && !waited.iter().any(|waited| waited.covers(lane))
        })
    }

    /// Takes out batches that are with the driver and over; with the last of a device, what has
    /// gathered there since: nobody would hear of it.
    pub(super) fn take_away(&mut self, which: impl Fn(u64, &Away) -> bool) -> Vec<Over> {
        let wanted = self.away.iter().filter(|(number, away)| which(**number, away));
        let numbers: Vec<u64> = wanted.map(|(number, _)| *number).collect();
        let mut over = Vec::new();
        for number in numbers {
            let Some(away) = self.away.remove(&number) else { continue };
            let device = away.batch.device;
            self.outstanding[device] = self.outstanding[device].saturating_sub(1);
            over.push(Over::Away(away));
            over.extend(self.take_unheard(device).into_iter().map(Over::Tail));
        }
        over
    }
}

/// What is over.
#[derive(Debug)]
pub(super) enum Over {
    /// A batch that was with the driver.
    Away(Away),
    /// One that was not, and that nobody would hear of.
    Tail(Batch),
}
