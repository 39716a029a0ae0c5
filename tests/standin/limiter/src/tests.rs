//! A few cells of the matrix, and what the matrix itself must be.

use crate::{
    Answer, Cell, Held, Limiter, PEERS, Program, SHAPES, World, cells, polder, polder_batches,
    published, run,
};
use polder_standin::{Device, H200, Work};

#[test]
fn a_cell_is_the_same_every_time() {
    let few: Vec<Cell> = cells(false).into_iter().skip(7).step_by(90).collect();
    for make in [polder(), PEERS[0].1] {
        let runs = |held: Vec<Held>| held.into_iter().map(|it| it.run).collect::<Vec<_>>();
        assert_eq!(runs(run(&few, 2, make)), runs(run(&few, 2, make)));
    }
}

#[test]
fn polder_holds_a_share_of_every_shape_on_every_model() {
    let few: Vec<Cell> = cells(false).into_iter().step_by(13).collect();
    assert!(SHAPES.iter().all(|shape| few.iter().any(|cell| cell.shape.name == shape.name)));
    // Five seconds are 50 of the longest kernels: the end of a run may cut through several.
    for held in run(&few, 5, polder()).into_iter().chain(run(&few, 5, polder_batches())) {
        let most = match held.cell.shape.name {
            _ if !held.cell.shape.windows_judged() => 20.0,
            // Where ends are heard of in batches this shape is the furthest off.
            "decode 10 us" => 5.0,
            _ => 1.0,
        };
        let (windows, near) = held.near();
        assert!(held.error() <= most, "{:?}", held);
        assert!(near == windows || !held.cell.shape.windows_judged(), "{held:?}");
    }
}

#[test]
fn the_port_of_hami_cores_bucket_is_off_where_the_published_one_was() {
    for cell in published().into_iter().step_by(5) {
        let program =
            Program { work: cell.work(), host_ns: 3_000, sync_every: u32::MAX, gap_ns: 0 };
        let mut limiter = PEERS[0].1(&cell.model, cell.limit, 1);
        let run = World::new(cell.model, program, 1, limiter.as_mut()).run(30);
        let off = run.readings.0 - cell.reading;
        assert!(off.abs() <= 3.0, "{off} points off {cell:?}");
    }
}

/// Lets everything pass.
struct Nothing;

impl Limiter for Nothing {
    fn launch(&mut self, _now_ns: u64, _process: usize, _work: &Work) -> Answer {
        Answer::Go
    }

    fn next_wake(&self) -> Option<u64> {
        None
    }

    fn wake(&mut self, _now_ns: u64, _device: &Device) {}
}

/// The control: where nothing limits, the programs of the matrix take the device.
#[test]
fn every_program_takes_the_whole_device_when_it_may() {
    for shape in &SHAPES {
        for processes in [1, 8] {
            let run = World::new(H200, shape.program(), processes, &mut Nothing).run(3);
            assert!(run.share() >= 97.0, "{} x {processes}: {run:?}", shape.name);
        }
    }
}

/// Each of eight processes may have a kernel in flight that is too long for any turn: in one turn only
/// one of them does.
#[test]
fn kernels_longer_than_a_turn_hold_the_share_whoever_launches_them() {
    let long = |cell: &Cell| cell.shape.name == "kernel 100 ms" && cell.processes == 8;
    let cells: Vec<Cell> = cells(false).into_iter().filter(long).collect();
    assert_eq!(cells.len(), 20);
    for make in [polder(), polder_batches()] {
        for held in run(&cells, 30, make) {
            assert!(held.error() <= 1.0, "{held:?}");
        }
    }
}
