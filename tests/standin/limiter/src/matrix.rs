//! The limiter matrix: every device model, shape of work, share and number of processes.

use crate::limiter::Limiter;
use crate::peers::Make;
use crate::polder::{Hearing, Polder};
use crate::program::{SHAPES, Shape};
use crate::world::{Run, World};
use polder_model::Permille;
use polder_standin::{MODELS, Model};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Percent of a device that the lease may have.
pub const SHARES: [u32; 4] = [10, 30, 50, 80];
/// Processes of the lease.
pub const PROCESSES: [u32; 3] = [1, 2, 8];
/// A window within so many points of the share is near it.
const NEAR: f64 = 8.0;

/// One cell.
#[derive(Debug, Clone)]
pub struct Cell {
    /// The device.
    pub model: &'static Model,
    /// The work.
    pub shape: &'static Shape,
    /// Percent of the device.
    pub share: u32,
    /// Processes.
    pub processes: u32,
}

/// How a limiter held one cell.
#[derive(Debug, Clone)]
pub struct Held {
    /// Which.
    pub cell: Cell,
    /// What the device's log says.
    pub run: Run,
}

impl Held {
    /// Points by which the lease had more or less than its share over the whole run.
    #[must_use]
    pub fn error(&self) -> f64 {
        (self.run.share() - f64::from(self.cell.share)).abs()
    }

    /// Windows of a second, and how many of them are near the share.
    #[must_use]
    pub fn near(&self) -> (usize, usize) {
        let share = f64::from(self.cell.share);
        let near = self.run.windows.iter().filter(|window| (**window - share).abs() <= NEAR);
        (self.run.windows.len(), near.count())
    }
}

/// The cells of the whole matrix, or a few of each kind for a smoke run.
#[must_use]
pub fn cells(quick: bool) -> Vec<Cell> {
    let mut all = Vec::new();
    for model in MODELS {
        for shape in &SHAPES {
            for share in SHARES {
                for processes in PROCESSES {
                    all.push(Cell { model, shape, share, processes });
                }
            }
        }
    }
    let step = if quick { 17 } else { 1 };
    all.into_iter().step_by(step).collect()
}

/// Polder's limiter, hearing of each end at once.
#[must_use]
pub fn polder() -> Make {
    |_, share, processes| Box::new(Polder::new(Permille(share * 10), processes))
}

/// How late batches are heard of: by a thread of the driver on a machine with little else to do...
pub const LATE_NS: u64 = 100_000;
/// ...and on one whose CPUs are taken by others.
pub const LATE_BUSY_NS: u64 = 3_000_000;

/// Polder's limiter as the CUDA driver has it: ends are heard of in batches.
#[must_use]
pub fn polder_batches() -> Make {
    |_, share, processes| batches(share, processes, LATE_NS)
}

/// The same on a busy machine.
#[must_use]
pub fn polder_batches_late() -> Make {
    |_, share, processes| batches(share, processes, LATE_BUSY_NS)
}

fn batches(share: u32, processes: usize, late_ns: u64) -> Box<dyn Limiter> {
    let limiter = Polder::new(Permille(share * 10), processes);
    Box::new(limiter.hearing(Hearing::Batches(late_ns)))
}

/// Runs cells for so many seconds each, on as many threads as there are CPUs. The order of the
/// results is that of the cells, and nothing in them depends on the threads.
#[must_use]
pub fn run(cells: &[Cell], seconds: u32, make: Make) -> Vec<Held> {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut done = Vec::new();
        while let Some((index, cell)) = take(cells, &next) {
            let count = cell.processes as usize;
            let mut limiter = make(cell.model, cell.share, count);
            let program = cell.shape.program();
            let world = World::new(*cell.model, program, cell.processes, limiter.as_mut());
            done.push((index, Held { cell: cell.clone(), run: world.run(seconds) }));
        }
        done
    };
    let mut all = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let joined = threads.into_iter().map(|it| it.join().expect("a cell does not panic"));
        joined.flatten().collect::<Vec<_>>()
    });
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, held)| held).collect()
}

fn take<'a>(cells: &'a [Cell], next: &AtomicUsize) -> Option<(usize, &'a Cell)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    cells.get(index).map(|cell| (index, cell))
}
