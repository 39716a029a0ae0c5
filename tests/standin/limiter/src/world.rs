//! Processes, a limiter and a device in one virtual time.

use crate::limiter::{Answer, Limiter};
use crate::program::Program;
use crate::{MS, SEC};
use polder_standin::{ContextId, Device, Model};

/// Most items a process has in its stream: beyond it a real driver makes the launch wait.
const DEPTH_MAX: u32 = 1000;

#[derive(Debug)]
struct Process {
    context: ContextId,
    /// When it acts next.
    at_ns: u64,
    inflight: u32,
    launched: u32,
    /// Waits for its stream to run empty.
    syncing: bool,
    /// Waits for room in its stream.
    full: bool,
}

/// What a run showed, by the device's own log.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// By window of a second: percent of the device that the lease had, changes between its own
    /// contexts included.
    pub windows: Vec<f64>,
    /// Percent of the device in which its kernels ran, over all windows.
    pub ran: f64,
    /// Percent that it lost to changes between its own contexts.
    pub switched: f64,
    /// The driver's utilisation readings in the second half, percent: mean, least, most.
    pub readings: (f64, u32, u32),
    /// Items completed.
    pub completed: u64,
}

impl Run {
    /// Percent of the device over all windows.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.windows.iter().sum::<f64>() / self.windows.len().max(1) as f64
    }

    /// Percent over the second half alone.
    #[must_use]
    pub fn share_later(&self) -> f64 {
        let later = &self.windows[self.windows.len() / 2..];
        later.iter().sum::<f64>() / later.len().max(1) as f64
    }
}

/// One run.
pub struct World<'a> {
    device: Device,
    program: Program,
    limiter: &'a mut dyn Limiter,
    processes: Vec<Process>,
}

impl<'a> World<'a> {
    /// `count` processes of one program on a device of `model`. They start a few milliseconds
    /// after each other.
    ///
    /// # Panics
    /// When the device has no room for so many contexts.
    pub fn new(model: Model, program: Program, count: u32, limiter: &'a mut dyn Limiter) -> Self {
        let mut device = Device::new(model);
        let processes = (0..count).map(|index| Process {
            context: device.open(index).expect("a fresh device has room for a few contexts"),
            at_ns: u64::from(index) * 7 * MS,
            inflight: 0,
            launched: 0,
            syncing: false,
            full: false,
        });
        let processes = processes.collect();
        Self { device, program, limiter, processes }
    }

    /// Runs for so many seconds.
    pub fn run(mut self, seconds: u32) -> Run {
        let count = u32::try_from(self.processes.len()).expect("a few");
        let mut run = Run {
            windows: Vec::new(),
            ran: 0.0,
            switched: 0.0,
            readings: (0.0, 100, 0),
            completed: 0,
        };
        let (mut before, mut readings) = (0, 0u32);
        for step in 1..=u64::from(seconds) * 20 {
            self.until(step * 50 * MS);
            if step * 2 > u64::from(seconds) * 20 {
                let now = (0..count).map(|it| self.device.utilisation(it)).sum::<u32>().min(100);
                readings += 1;
                run.readings.0 += f64::from(now);
                run.readings = (run.readings.0, run.readings.1.min(now), run.readings.2.max(now));
            }
            if step % 20 == 0 {
                let had = self.had();
                run.windows.push((had - before) as f64 * 100.0 / SEC as f64);
                before = had;
            }
        }
        run.readings.0 /= f64::from(readings.max(1));
        for index in 0..count {
            let truth = self.device.truth(index);
            let whole = f64::from(seconds.max(1)) * SEC as f64 / 100.0;
            run.ran += truth.ran_ns as f64 / whole;
            run.switched += truth.switched_ns as f64 / whole;
            run.completed += truth.completed;
        }
        run
    }

    /// What the lease has had of the device, nanoseconds.
    fn had(&self) -> u64 {
        let processes = 0..u32::try_from(self.processes.len()).expect("a few");
        processes.map(|it| self.device.truth(it)).map(|it| it.ran_ns + it.switched_ns).sum()
    }

    fn until(&mut self, end_ns: u64) {
        loop {
            let process = self.processes.iter().map(|it| it.at_ns).min().unwrap_or(u64::MAX);
            let device = self.device.next_event().unwrap_or(u64::MAX);
            let limiter = self.limiter.next_wake().unwrap_or(u64::MAX);
            let now_ns = process.min(device).min(limiter).max(self.device.now_ns());
            if now_ns > end_ns {
                break;
            }
            for done in self.device.advance(now_ns) {
                let index = self.processes.iter().position(|it| it.context == done.context);
                self.completed(done.at_ns, index.expect("no other contexts are there"));
            }
            if limiter <= now_ns {
                self.limiter.wake(now_ns, &self.device);
            }
            self.release(now_ns);
            for index in 0..self.processes.len() {
                if self.processes[index].at_ns <= now_ns {
                    self.act(now_ns, index);
                }
            }
            self.release(now_ns);
        }
        self.device.advance(end_ns);
    }

    fn release(&mut self, now_ns: u64) {
        for (index, at_ns) in self.limiter.released() {
            let process = &mut self.processes[index];
            if !process.syncing && !process.full {
                process.at_ns = process.at_ns.min(at_ns.max(now_ns));
            }
        }
    }

    fn completed(&mut self, now_ns: u64, index: usize) {
        self.limiter.completed(now_ns, index);
        let process = &mut self.processes[index];
        process.inflight -= 1;
        if process.full {
            process.full = false;
            process.at_ns = now_ns;
        }
        if process.syncing && process.inflight == 0 {
            process.syncing = false;
            process.at_ns = now_ns + self.program.gap_ns;
            self.limiter.synced(now_ns, index);
        }
    }

    fn act(&mut self, now_ns: u64, index: usize) {
        let process = &mut self.processes[index];
        process.at_ns = u64::MAX;
        if process.inflight >= DEPTH_MAX {
            process.full = true;
            return;
        }
        if let Answer::Until(at_ns) = self.limiter.launch(now_ns, index, &self.program.work) {
            process.at_ns = at_ns;
            return;
        }
        let work = self.program.work.clone();
        self.device.submit(process.context, 0, work).expect("it fits, and the stream has room");
        process.inflight += 1;
        process.launched += 1;
        process.at_ns = now_ns + self.program.host_ns;
        if process.launched.is_multiple_of(self.program.sync_every) {
            process.syncing = true;
            process.at_ns = u64::MAX;
            self.limiter.syncing(now_ns, index);
        }
    }
}
