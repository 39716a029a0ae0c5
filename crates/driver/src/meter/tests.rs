use super::flight::*;
use super::*;

const MS: u64 = 1_000_000;
const KERNEL: Kind = Kind { what: 1, size: 10, guess_ns: 0 };

fn alone(now_ns: u64) -> Moment {
    Moment { single: true, ..Moment::at(now_ns, 4 * MS) }
}

fn turn(now_ns: u64, deadline_ns: u64) -> Moment {
    Moment { deadline_ns: Some(deadline_ns), ..alone(now_ns) }
}

/// A flight that knows kernels of `length_ns`, of which many have just completed.
fn taught(length_ns: u64) -> Flight {
    let mut flight = Flight::default();
    flight.launch(0, 0);
    flight.complete(length_ns, 0, 0, KERNEL);
    Flight { lately: [INFLIGHT_MAX, 0], lately_since_ns: length_ns, ..flight }
}

fn launched(flight: &mut Flight, moment: Moment) -> usize {
    (0..100_000).take_while(|_| matches!(flight.admit(moment, KERNEL), Verdict::Go { .. })).count()
}

#[test]
fn a_quantum_is_in_flight_and_no_more() {
    assert_eq!(launched(&mut taught(MS / 10), alone(MS)), 40);
    assert_eq!(launched(&mut taught(30 * MS), alone(100 * MS)), 1);
    assert_eq!(launched(&mut taught(1), alone(MS)), INFLIGHT_MAX as usize);
}

#[test]
fn beside_a_lease_that_is_waited_for_one_command_is_in_flight_or_a_few_short_ones() {
    let beside = |now_ns| Moment { quantum_ns: MS / 5, one: true, ..alone(now_ns) };
    let mut long = taught(10 * MS);
    assert_eq!(launched(&mut long, beside(20 * MS)), 1);
    assert_eq!(launched(&mut long, beside(40 * MS)), 0, "it is overdue and not over");
    long.complete(41 * MS, 20 * MS, 10 * MS, KERNEL);
    assert_eq!(launched(&mut long, beside(41 * MS)), 1);
    assert_eq!(launched(&mut taught(MS / 20), beside(MS)), 4);
    assert_eq!(launched(&mut Flight::default(), beside(MS)), 4, "of an unknown kernel a few");
}

#[test]
fn of_an_unknown_kernel_only_a_few_go_before_the_first_is_known() {
    assert_eq!(launched(&mut Flight::default(), alone(MS)), 4);
}

#[test]
fn more_may_be_in_flight_the_more_has_completed_lately() {
    let mut flight = Flight { lately: [0; 2], ..taught(1) };
    assert_eq!(launched(&mut flight, alone(MS)), INFLIGHT_FREE as usize);
    for _ in 0..10 {
        flight.complete(2 * MS, MS, 1, KERNEL);
    }
    assert_eq!(flight.commands_max(), INFLIGHT_FREE + 20);
    flight.complete(2 * MS + LATELY_NS, MS, 1, KERNEL);
    assert_eq!(flight.commands_max(), INFLIGHT_FREE + 22);
    flight.complete(5 * LATELY_NS, MS, 1, KERNEL);
    assert_eq!(flight.commands_max(), INFLIGHT_FREE + 2);
}

#[test]
fn what_the_oldest_has_done_makes_room() {
    let mut flight = taught(6 * MS);
    assert_eq!(launched(&mut flight, alone(10 * MS)), 1);
    assert_eq!(launched(&mut flight, alone(12 * MS)), 0);
    assert_eq!(launched(&mut flight, alone(12 * MS + 1)), 1);
}

#[test]
fn an_impatient_command_goes_whatever_is_in_flight() {
    let mut flight = taught(30 * MS);
    assert_eq!(launched(&mut flight, alone(100 * MS)), 1);
    let moment = Moment { impatient: true, ..alone(100 * MS) };
    assert!(matches!(flight.admit(moment, KERNEL), Verdict::Go { .. }));
}

#[test]
fn a_turn_takes_what_ends_by_its_deadline() {
    let mut flight = taught(MS);
    assert_eq!(launched(&mut flight, turn(10 * MS, 13 * MS)), 3);
    assert_eq!(flight.admit(turn(10 * MS, 13 * MS), KERNEL), Verdict::Turn);
}

#[test]
fn one_command_goes_in_each_turn_that_is_not_over() {
    let mut flight = taught(30 * MS);
    assert_eq!(launched(&mut flight, turn(100 * MS, 104 * MS)), 1);
    flight.complete(101 * MS, 100 * MS, 30 * MS, KERNEL);
    assert_eq!(launched(&mut flight, turn(101 * MS, 104 * MS)), 0);
    assert_eq!(launched(&mut flight, turn(110 * MS, 110 * MS)), 0);
    assert_eq!(launched(&mut flight, turn(110 * MS, 114 * MS)), 1);
}

#[test]
fn lengths_are_learned_between_completions() {
    let mut flight = Flight::default();
    for _ in 0..3 {
        flight.launch(0, 0);
    }
    assert_eq!(flight.complete(2 * MS, 0, 0, KERNEL), 2 * MS);
    assert_eq!(flight.complete(4 * MS, 0, 0, KERNEL), 2 * MS);
    assert_eq!(flight.estimate(KERNEL, MS), 2 * MS);
    assert_eq!(flight.complete(10 * MS, 0, 0, KERNEL), 6 * MS);
    assert_eq!((flight.estimate(KERNEL, MS), flight.left_ns(20 * MS)), (4 * MS, 0));
}

fn told(done: Done) -> (u64, u64) {
    (done.from_ns, done.to_ns)
}

#[test]
fn each_moment_with_commands_in_flight_is_told_once() {
    let meter = Meter::default();
    let launch = |now_ns| meter.launch(now_ns, KERNEL, MS);
    let complete = |now_ns, launched_ns| meter.complete(now_ns, launched_ns, 0, KERNEL, false);
    launch(10);
    launch(15);
    assert_eq!(meter.busy_since(), Some(10));
    assert_eq!(told(complete(16, 15)), (10, 16), "whichever of them ends first");
    assert_eq!(told(complete(20, 10)), (16, 20));
    assert_eq!(meter.busy_since(), None);
    launch(30);
    assert_eq!(told(complete(34, 30)), (30, 34), "and none without");
    // Two threads hear of ends in another order than they happened.
    launch(40);
    launch(40);
    assert_eq!(told(complete(46, 40)), (40, 46));
    let late = told(complete(45, 40));
    assert_eq!(late.1.saturating_sub(late.0), 0);
    launch(50);
    assert_eq!(told(complete(51, 50)), (50, 51));
    // Those that were counted out at once, and are heard of together.
    let dust = Member {
        kind: KERNEL,
        count: 3,
        launched_ns: 60,
        estimate_ns: 1,
        counted: false,
        paid: false,
    };
    assert_eq!(told(meter.complete_together(69, &[dust])), (60, 69));
}

#[test]
fn a_moment_in_which_two_devices_have_commands_is_counted_once() {
    let counted = AtomicU64::new(0);
    let done = |from_ns, to_ns| Done { longest_ns: 1, from_ns, to_ns };
    // A short command on one within a long one on the other, then one after it.
    assert_eq!(done(15, 16).uncounted_ns([10].into_iter(), &counted), 6);
    assert_eq!(done(10, 20).uncounted_ns([].into_iter(), &counted), 4);
    assert_eq!(done(22, 25).uncounted_ns([].into_iter(), &counted), 3);
    // Both at once.
    assert_eq!(done(30, 39).uncounted_ns([31].into_iter(), &counted), 9);
    assert_eq!(done(31, 40).uncounted_ns([].into_iter(), &counted), 1);
}

#[test]
fn a_batch_shares_its_time_in_the_proportion_of_what_was_expected() {
    let other = Kind { what: 2, ..KERNEL };
    let mut flight = Flight::default();
    flight.launch(0, MS);
    flight.launch(0, 3 * MS);
    let member = |kind, estimate_ns, counted| Member {
        kind,
        count: 1,
        launched_ns: 0,
        estimate_ns,
        counted,
        paid: false,
    };
    let batch = [member(KERNEL, MS, true), member(other, 3 * MS, true), member(KERNEL, MS, false)];
    flight.count_out(10 * MS, &batch);
    assert_eq!(flight.learn_together(End::heard(10 * MS), &batch), [2 * MS, 6 * MS, 2 * MS]);
    assert_eq!((flight.commands, flight.estimate_ns), (0, 0));
    assert_eq!((flight.estimate(KERNEL, MS), flight.estimate(other, MS)), (2 * MS, 6 * MS));
}

#[test]
fn commands_told_together_count_as_many() {
    let mut flight = taught(MS / 10);
    let most = Room { commands: 8, estimate_ns: MS };
    assert_eq!(flight.take(MS, 4 * MS, most), most);
    let of = |count, kind, estimate_ns| Member {
        kind,
        count,
        launched_ns: MS,
        estimate_ns,
        counted: true,
        paid: false,
    };
    let other = Kind { what: 2, ..KERNEL };
    let batch = [of(6, KERNEL, MS / 10), of(2, other, MS / 5)];
    flight.count_out(3 * MS, &batch);
    assert_eq!(flight.learn_together(End::heard(3 * MS), &batch), [MS / 5, 2 * MS / 5]);
    assert_eq!((flight.commands, flight.estimate_ns), (0, 0));
    assert_eq!(flight.lately[0], INFLIGHT_MAX + 8);
}

#[test]
fn ahead_a_part_of_the_room_is_taken_and_given_back() {
    let mut flight = Flight { lately: [0; 2], ..taught(MS / 10) };
    let most = Room { commands: 100, estimate_ns: 100 * MS };
    let room = flight.take(MS, 4 * MS, most);
    assert_eq!(room, Room { commands: INFLIGHT_FREE / AHEAD_PARTS, estimate_ns: MS });
    flight.give_back(room);
    assert_eq!((flight.commands, flight.estimate_ns), (0, 0));
    while !matches!(flight.admit(alone(MS), KERNEL), Verdict::Room(_)) {}
    assert_eq!(flight.take(MS, 4 * MS, most), Room::default(), "none is left");
}

#[test]
fn what_was_counted_out_before_its_end_still_fills_the_turn() {
    let meter = Meter::default();
    let taught = meter.launch(0, KERNEL, 4 * MS);
    meter.complete(MS, 0, taught, KERNEL, false);
    let go = Verdict::Go { estimate_ns: MS };
    for _ in 0..2 {
        assert_eq!(meter.admit(turn(10 * MS, 12 * MS), KERNEL, false), go);
        meter.leave_early(10 * MS, MS);
    }
    assert_eq!(meter.admit(turn(10 * MS, 12 * MS), KERNEL, false), Verdict::Turn);
    assert_eq!(meter.admit(turn(10 * MS, 13 * MS), KERNEL, false), go);
    assert_eq!(meter.admit(turn(10 * MS, 13 * MS), KERNEL, false), Verdict::Turn);
}

#[test]
fn an_end_heard_of_late_is_learned_as_it_was_and_late_ones_leave_room() {
    let meter = Meter::default();
    let member = |launched_ns| Member {
        kind: KERNEL,
        count: 1,
        launched_ns,
        estimate_ns: MS,
        counted: true,
        paid: false,
    };
    for end in 1..=8 {
        meter.launch((end - 1) * MS, KERNEL, 4 * MS);
        // Each took one millisecond and is heard of three later.
        meter.heard_together((end + 3) * MS, &[member((end - 1) * MS)]);
        let members = [member((end - 1) * MS)];
        assert_eq!(meter.learn_late(End::heard(end * MS), (end + 3) * MS, &members), MS);
    }
    let flight = lock(&meter.flight);
    assert_eq!((flight.estimate(KERNEL, 4 * MS), flight.unheard_ns), (MS, 4 * MS));
    drop(flight);
    // Two of those in flight may be over by now.
    let busy: Vec<_> = (0..4).map(|_| meter.admit(alone(20 * MS), KERNEL, false)).collect();
    assert!(busy.iter().all(|verdict| matches!(verdict, Verdict::Go { .. })), "{busy:?}");
    assert!(matches!(meter.admit(alone(20 * MS), KERNEL, false), Verdict::Room(_)));
    assert!(matches!(meter.admit(alone(22 * MS), KERNEL, false), Verdict::Go { .. }));
    assert!(matches!(meter.admit(alone(22 * MS), KERNEL, false), Verdict::Go { .. }));
    assert!(matches!(meter.admit(alone(22 * MS), KERNEL, false), Verdict::Room(_)));
}

#[test]
fn without_an_arbiter_a_process_keeps_its_share() {
    let meter = Meter::default();
    let (mut now, mut used) = (0, 0);
    while now < 1000 * MS {
        match meter.pay(alone(now), KERNEL, 300) {
            Ok(estimate) => {
                now += 3 * MS;
                used += 3 * MS;
                meter.complete(now, now - 3 * MS, estimate, KERNEL, true);
            }
            Err(wait) => now += u64::try_from(wait.as_nanos()).unwrap(),
        }
    }
    assert!((280 * MS..330 * MS).contains(&used), "{used}");
}

#[test]
fn a_callback_finds_room_for_a_few_and_goes_no_faster_than_the_device_beyond_them() {
    let meter = Meter::default();
    let mut now_ns = 0;
    let estimate = meter.launch(now_ns, KERNEL, MS);
    now_ns += 50 * MS;
    meter.complete(now_ns, 0, estimate, KERNEL, false);
    let called = Moment { called_back: true, ..alone(now_ns) };
    let go = Verdict::Go { estimate_ns: 50 * MS };
    for _ in 0..4 {
        assert_eq!(meter.admit(called, KERNEL, false), go);
    }
    // It waits for as long as the device would take for it.
    assert_eq!(meter.admit(called, KERNEL, false), Verdict::Room(50 * MS));
    let impatient = Moment { impatient: true, ..called };
    assert_eq!(meter.admit(impatient, KERNEL, false), go);
    // What is paused takes room all the same.
    (0..5).for_each(|_| meter.pause(50 * MS));
    assert_eq!(meter.busy_since(), None);
    assert_eq!(meter.admit(called, KERNEL, false), Verdict::Room(50 * MS));
}

#[test]
fn what_is_paused_takes_no_time_and_tells_its_own_length_in_the_end() {
    let meter = Meter::default();
    let estimate = meter.launch(0, KERNEL, MS);
    meter.pause(estimate);
    assert_eq!(meter.busy_since(), None, "nothing is in flight");
    meter.resume(500 * MS, estimate);
    assert_eq!(meter.busy_since(), Some(500 * MS));
    let done = meter.complete(504 * MS, 500 * MS, estimate, KERNEL, false);
    assert_eq!((done.from_ns, done.to_ns, done.longest_ns), (500 * MS, 504 * MS, 4 * MS));
    // Under way while a callback waited for which it stood still.
    let estimate = meter.launch(600 * MS, KERNEL, MS);
    meter.go_on(900 * MS);
    let done = meter.complete(904 * MS, 600 * MS, estimate, KERNEL, false);
    assert_eq!((done.from_ns, done.longest_ns), (600 * MS, 4 * MS), "counted, and not learned");
}

#[test]
fn a_callback_is_held_to_the_turn_by_its_own_command_alone() {
    let meter = Meter::default();
    let estimate = meter.launch(0, KERNEL, MS);
    meter.complete(4 * MS, 0, estimate, KERNEL, false);
    for _ in 0..3 {
        meter.launch(10 * MS, KERNEL, MS);
    }
    let called = Moment { called_back: true, ..turn(10 * MS, 20 * MS) };
    assert_eq!(meter.admit(called, KERNEL, false), Verdict::Go { estimate_ns: 4 * MS });
    let late = Moment { now_ns: 17 * MS, ..called };
    assert_eq!(meter.admit(late, KERNEL, false), Verdict::Turn);
}
