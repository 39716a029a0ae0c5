//! Scenarios, and what must hold whatever is put in.

use super::*;
use proptest::prelude::*;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const SEC: u64 = 1_000_000_000;

fn kernel(length_ns: u64) -> Work {
    Work::Kernel(Kernel::scripted(100_000, 256, length_ns))
}

fn small(length_ns: u64) -> Work {
    Work::Kernel(Kernel::scripted(1, 256, length_ns))
}

#[test]
fn one_stream_runs_in_order_and_without_gaps() {
    let mut device = Device::new(H200);
    let context = device.open(1).unwrap();
    let tickets: Vec<_> = (0..3).map(|_| device.submit(context, 0, kernel(MS)).unwrap()).collect();
    let done = device.advance(10 * MS);
    let ends: Vec<_> = done.iter().map(|done| (done.ticket, done.at_ns)).collect();
    assert_eq!(ends, [(tickets[0], MS), (tickets[1], 2 * MS), (tickets[2], 3 * MS)]);
    assert_eq!(device.truth(1), Truth { ran_ns: 3 * MS, switched_ns: 0, completed: 3 });
    assert_eq!(
        device.spans().collect::<Vec<_>>(),
        [Span { process: 1, from_ns: 0, to_ns: 3 * MS }]
    );
}

#[test]
fn small_kernels_of_one_context_run_together_and_large_ones_do_not() {
    let mut device = Device::new(A100);
    let context = device.open(1).unwrap();
    for stream in 0..4 {
        device.submit(context, stream, small(MS)).unwrap();
    }
    assert_eq!(device.advance(MS).len(), 4);
    for stream in 0..4 {
        device.submit(context, stream, kernel(MS)).unwrap();
    }
    assert_eq!(device.advance(2 * MS).len(), 1);
    assert_eq!(device.advance(5 * MS).len(), 3);
    assert_eq!(device.truth(1).ran_ns, 5 * MS);
}

#[test]
fn contexts_that_compete_take_turns_and_the_change_costs() {
    let mut device = Device::new(H100);
    for process in 1..=2 {
        let context = device.open(process).unwrap();
        device.submit(context, 0, kernel(SEC)).unwrap();
    }
    device.advance(SEC);
    let (one, two) = (device.truth(1), device.truth(2));
    assert!(one.ran_ns.abs_diff(two.ran_ns) <= H100.slice_ns, "{one:?} {two:?}");
    assert_eq!(one.ran_ns + two.ran_ns + one.switched_ns + two.switched_ns, SEC);
    let part = (one.switched_ns + two.switched_ns) * 1000 / SEC;
    assert!((40..60).contains(&part), "{part} thousandths of the time were lost by changing");
    // The first kernel is only over when it has had its second.
    assert_eq!(device.advance(2 * SEC + 200 * MS).len(), 2);
}

#[test]
fn blocks_follow_each_other_in_waves() {
    let wave =
        Kernel { blocks: 132 * 8, threads: 256, length: Length::Block(10), cooperative: false };
    assert_eq!(wave.length_ns(&H200), 10);
    assert_eq!(Kernel { blocks: 132 * 8 + 1, ..wave }.length_ns(&H200), 20);
    assert_eq!(wave.length_ns(&T4), 70);
}

#[test]
fn a_cooperative_kernel_must_be_resident_as_a_whole() {
    let fits = Kernel { cooperative: true, ..Kernel::scripted(132 * 8, 256, MS) };
    assert!(fits.fits(&H200) && !fits.fits(&T4));
    let mut device = Device::new(T4);
    let context = device.open(1).unwrap();
    assert_eq!(device.submit(context, 0, Work::Kernel(fits)), Err(SubmitError::TooLarge));
}

#[test]
fn a_graph_is_its_nodes_and_copies_pass_beside_kernels() {
    let mut device = Device::new(H200);
    let context = device.open(1).unwrap();
    let node = Kernel::scripted(132, 128, 10 * US);
    device.submit(context, 0, Work::Graph { node, nodes: 200 }).unwrap();
    let copy = Copy { bytes: 50 << 20, direction: Direction::ToDevice };
    device.submit(context, 1, Work::Copy(copy)).unwrap();
    let done = device.advance(5 * MS);
    assert_eq!(done.iter().map(|it| it.stream).collect::<Vec<_>>(), [1, 0]);
    assert_eq!((done[1].at_ns, device.truth(1).ran_ns), (2 * MS, 2 * MS));
}

#[test]
fn utilisation_is_that_of_the_last_second_in_whole_percent() {
    let mut device = Device::new(H200);
    let context = device.open(7).unwrap();
    device.advance(2 * SEC);
    device.submit(context, 0, kernel(300 * MS)).unwrap();
    device.advance(2 * SEC + 500 * MS);
    assert_eq!((device.utilisation(7), device.utilisation(8)), (30, 0));
    device.advance(4 * SEC);
    assert_eq!(device.utilisation(7), 0);
}

#[test]
fn memory_is_rounded_bounded_and_comes_back_with_its_process() {
    let mut device = Device::new(T4);
    let context = device.open(1).unwrap();
    assert_eq!(device.allocate(1, 1), Ok(2 << 20));
    assert!(matches!(device.allocate(2, 16 << 30), Err(MemoryError::Out { .. })));
    assert_eq!(device.free(2, 1), Err(MemoryError::NotHeld));
    device.submit(context, 0, kernel(SEC)).unwrap();
    device.advance(MS);
    device.exit(1);
    assert_eq!((device.memory_used(), device.next_event()), (0, None));
    assert_eq!(device.submit(context, 0, kernel(1)), Err(SubmitError::NoContext));
}

#[test]
fn a_fault_takes_its_context_and_a_lost_device_takes_all() {
    let mut device = Device::new(H100);
    let (one, two) = (device.open(1).unwrap(), device.open(2).unwrap());
    device.submit(one, 0, kernel(MS)).unwrap();
    device.submit(two, 0, kernel(MS)).unwrap();
    device.fail(Fault::Address, Some(1));
    assert_eq!(device.submit(one, 0, kernel(1)), Err(SubmitError::Lost(Fault::Address)));
    let done = device.advance(10 * MS);
    let ends: Vec<_> = done.iter().map(|done| (done.context, done.outcome)).collect();
    assert_eq!(ends, [(one, Outcome::Failed(Fault::Address)), (two, Outcome::Completed)]);
    device.fail(Fault::FellOff, None);
    assert_eq!(device.submit(two, 0, kernel(1)), Err(SubmitError::Lost(Fault::FellOff)));
    assert_eq!(device.open(3), Err(SubmitError::Lost(Fault::FellOff)));
    assert_eq!(device.xids().iter().map(|it| it.1.xid()).collect::<Vec<_>>(), [31, 79]);
}

#[test]
fn a_fence_holds_its_stream_and_no_other_until_it_is_opened() {
    let mut device = Device::new(H100);
    let context = device.open(1).unwrap();
    for work in [Work::Fence(1), kernel(MS), Work::Fence(2), kernel(MS)] {
        device.submit(context, 0, work).unwrap();
    }
    device.submit(context, 1, kernel(MS)).unwrap();
    assert_eq!(device.advance(10 * MS).len(), 1);
    // The second before the stream has come to it.
    device.open_fence(2);
    device.open_fence(1);
    let ends: Vec<_> = device.advance(20 * MS).iter().map(|done| done.at_ns).collect();
    assert_eq!(ends, [10 * MS, 11 * MS, 11 * MS, 12 * MS]);
}

#[test]
fn a_throttled_device_takes_longer() {
    let mut device = Device::new(H100);
    device.set_throttle(Throttle { reasons: 4, speed: 500 });
    let context = device.open(1).unwrap();
    device.submit(context, 0, kernel(MS)).unwrap();
    assert_eq!(device.advance(10 * MS)[0].at_ns, 2 * MS);
}

#[test]
fn what_is_full_says_so() {
    let mut device = Device::new(H100);
    let context = device.open(1).unwrap();
    for _ in 0..device::DEPTH_MAX {
        device.submit(context, 0, kernel(MS)).unwrap();
    }
    assert_eq!(device.submit(context, 0, kernel(MS)), Err(SubmitError::Full));
    assert_eq!(device.submit(context, device::STREAMS_MAX, kernel(MS)), Err(SubmitError::Full));
}

proptest! {
    /// Whatever is put in: nothing is lost, nothing runs twice, the engine is never two processes'
    /// at once, and the log adds up to no more than the clock.
    #[test]
    fn the_log_tells_of_everything_once(
        steps in prop::collection::vec((0u32..4, 0usize..3, 0u8..4, 1u64..4_000, 0u64..3_000), 1..200),
    ) {
        let mut device = Device::new(A100);
        let contexts: Vec<_> = (0..4).map(|process| device.open(process).unwrap()).collect();
        let (mut now_ns, mut put, mut over) = (0, Vec::new(), Vec::new());
        for (process, stream, what, length_us, passed_us) in steps {
            let length_ns = length_us * US;
            let work = match what {
                0 => small(length_ns),
                1 => kernel(length_ns),
                2 => Work::Graph { node: Kernel::scripted(108, 64, length_ns / 10 + 1), nodes: 10 },
                _ => Work::Copy(Copy { bytes: length_ns, direction: Direction::ToHost }),
            };
            put.push(device.submit(contexts[process as usize], stream, work).unwrap());
            now_ns += passed_us * US;
            over.extend(device.advance(now_ns).into_iter().map(|done| done.ticket));
        }
        over.extend(device.advance(now_ns + 100 * SEC).into_iter().map(|done| done.ticket));
        over.sort_unstable();
        prop_assert_eq!(over, put);
        let truths = (0..4).map(|process| device.truth(process));
        let all: u64 = truths.map(|truth| truth.ran_ns + truth.switched_ns).sum();
        prop_assert!(all <= device.now_ns());
        let spans: Vec<_> = device.spans().collect();
        prop_assert!(spans.windows(2).all(|pair| pair[0].to_ns <= pair[1].from_ns));
    }
}
