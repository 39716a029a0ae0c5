//! Small pools in whole seconds, every moment and every place tried.

use super::*;
use polder_model::{Micros, Timestamp};
use proptest::prelude::*;

/// A fleet of a few nodes: free CPU and free devices of each.
#[derive(Clone, Debug, PartialEq)]
struct Fleet(Vec<[i64; 2]>);

/// So many equal tasks.
#[derive(Clone, Debug, PartialEq)]
struct Tasks {
    count: u32,
    each: [i64; 2],
}

/// What is taken, by node.
type Places = Vec<(usize, [i64; 2])>;

impl Space for Fleet {
    type Need = Tasks;
    type Spots = Places;

    fn find(&self, need: &Tasks) -> Option<Places> {
        let mut places = Places::new();
        let mut left = i64::from(need.count);
        for (node, free) in self.0.iter().enumerate() {
            let by = free.iter().zip(&need.each).filter(|(_, each)| **each > 0);
            let room = by.map(|(free, each)| free.div_euclid(*each)).min().unwrap_or(left);
            let tasks = room.clamp(0, left);
            if tasks > 0 {
                places.push((node, need.each.map(|each| each * tasks)));
                left -= tasks;
            }
        }
        (left == 0).then_some(places)
    }

    fn take(&mut self, spots: &Places) {
        for (node, taken) in spots {
            (0..2).for_each(|r| self.0[*node][r] -= taken[r]);
        }
    }

    fn give(&mut self, spots: &Places) {
        for (node, taken) in spots {
            (0..2).for_each(|r| self.0[*node][r] += taken[r]);
        }
    }

    fn copy(&mut self, other: &Self, spots: &Places) {
        spots.iter().for_each(|(node, _)| self.0[*node] = other.0[*node]);
    }

    fn meet(&mut self, other: &Self, spots: &Places) {
        for (node, _) in spots {
            (0..2).for_each(|r| self.0[*node][r] = self.0[*node][r].min(other.0[*node][r]));
        }
    }
}

fn at(second: u64) -> Timestamp {
    Timestamp(second * 1_000_000)
}

fn second(at: Timestamp) -> u64 {
    at.0 / 1_000_000
}

fn span(expected: u64, latest: u64) -> Span {
    Span::new(Micros::from_secs(expected), Micros::from_secs(latest))
}

fn tasks(count: u32, cpu: i64, devices: i64) -> Tasks {
    Tasks { count, each: [cpu, devices] }
}

/// Last second that an oracle looks at: everything has ended by then.
const END: u64 = 80;

/// What is held from a second up to another.
type Held = (u64, u64, Places);

/// What is free in each second, if these hold what they hold.
fn seconds(fleet: &Fleet, held: &[Held]) -> Vec<Fleet> {
    let free = |second: &u64| {
        let mut free = fleet.clone();
        let now = held.iter().filter(|(from, to, _)| (*from..*to).contains(second));
        now.for_each(|(_, _, places)| free.take(places));
        free
    };
    (0..END).map(|second| free(&second)).collect()
}

/// What is free at each spot over all of these seconds.
fn least(free: &[Fleet]) -> Fleet {
    let all = |free: &Fleet| (0..free.0.len()).map(|node| (node, [0, 0])).collect::<Places>();
    free.iter().skip(1).fold(free[0].clone(), |mut least, free| {
        least.meet(free, &all(free));
        least
    })
}

/// The first second from which there is room for so long.
fn earliest(fleet: &Fleet, held: &[Held], need: &Tasks, length: u64) -> Option<u64> {
    let free = seconds(fleet, held);
    let over = |from: u64| {
        let to = (from + length.max(1)).min(END);
        free.get(usize::try_from(from).ok()?..usize::try_from(to).ok()?).map(least)
    };
    (0..END - length).find(|from| over(*from).is_some_and(|free| free.find(need).is_some()))
}

/// A job of a small world.
#[derive(Clone, Debug)]
struct Case {
    need: Tasks,
    span: Span,
}

fn lengths(span: Span) -> (u64, u64) {
    (span.expected.0 / 1_000_000, span.latest.0 / 1_000_000)
}

fn case() -> impl Strategy<Value = Case> {
    (1u32..=3, 0i64..=4, 0i64..=2, 1u64..=6, 0u64..=4).prop_map(
        |(count, cpu, devices, expected, more)| Case {
            need: tasks(count, cpu.max(i64::from(devices == 0)), devices),
            span: span(expected, expected + more),
        },
    )
}

fn cases(most: usize) -> impl Strategy<Value = Vec<Case>> {
    prop::collection::vec(case(), 0..most)
}

fn fleets() -> impl Strategy<Value = Fleet> {
    prop::collection::vec((1i64..=6, 0i64..=3).prop_map(|(cpu, devices)| [cpu, devices]), 1..4)
        .prop_map(Fleet)
}

/// Windows of whole nodes.
fn windows(most: usize) -> impl Strategy<Value = Vec<(usize, u64, u64)>> {
    prop::collection::vec((0usize..4, 0u64..12, 1u64..8), 0..most)
}

/// Starts what fits in an empty fleet beside the windows, as a pass of before would have.
fn run(
    fleet: &Fleet,
    before: &[Case],
    windows: &[Window<Places>],
    ends: &mut Ends<Places, usize>,
) -> (Fleet, Vec<Held>, Vec<Held>) {
    let mut planned = Planned::default();
    let none = Ends::default();
    let mut look = Lookahead::new(at(0), fleet.clone(), &none, windows);
    let wanted =
        before.iter().enumerate().map(|(key, c)| Wanted { key, need: &c.need, span: c.span });
    planned.fill(&mut look, wanted);
    let (mut free, mut expected, mut latest) = (fleet.clone(), Vec::new(), Vec::new());
    for start in planned.starts {
        free.take(&start.spots);
        let (until, at_most) = lengths(start.span);
        expected.push((0, until, start.spots.clone()));
        latest.push((0, at_most, start.spots.clone()));
        ends.started(start.key, at(0), start.span, start.spots);
    }
    (free, expected, latest)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Each promise is the earliest there is, starts delay none of them, and windows are kept
    /// although everything takes as long as it may.
    #[test]
    fn promises_are_earliest_and_kept(
        fleet in fleets(),
        before in cases(6),
        queue in cases(7),
        wanted_windows in windows(3),
        depth in 1usize..=4,
    ) {
        let windows: Vec<Window<Places>> = wanted_windows
            .iter()
            .filter(|(node, ..)| *node < fleet.0.len())
            .map(|(node, from, length)| Window {
                from: at(*from), to: at(from + length), spots: vec![(*node, fleet.0[*node])],
            })
            .collect();
        // Windows of one node that overlap would take it twice.
        let overlap = |a: &Window<Places>, b: &Window<Places>| {
            a.spots == b.spots && a.from < b.to && b.from < a.to
        };
        prop_assume!((0..windows.len()).all(|i| (0..i).all(|j| !overlap(&windows[i], &windows[j]))));
        let of_window = |w: &Window<Places>| (second(w.from), second(w.to), w.spots.clone());

        let mut ends = Ends::default();
        let (free, mut expected, mut latest) = run(&fleet, &before, &windows, &mut ends);
        expected.extend(windows.iter().map(of_window));
        latest.extend(windows.iter().map(of_window));

        let mut look = Lookahead::new(at(0), free, &ends, &windows);
        let mut planned = Planned::default();
        let mut rest = queue.iter().enumerate().map(|(key, case)| {
            Wanted { key: 100 + key, need: &case.need, span: case.span }
        });
        let (mut starts, mut reserved) = (0, 0);
        // One job at a time, so that each promise can be compared with its moment.
        while planned.reserved.len() < depth {
            let Some(one) = rest.next() else { break };
            let case = &queue[one.key - 100];
            let (length, limit) = lengths(one.span);
            planned.walk(&mut look, &mut std::iter::once(one), depth);
            for start in &planned.starts[starts..] {
                expected.push((0, length, start.spots.clone()));
                latest.push((0, limit, start.spots.clone()));
            }
            if let Some(promise) = planned.reserved.get(reserved) {
                if windows.is_empty() {
                    let first = earliest(&fleet, &expected, &case.need, length);
                    prop_assert_eq!(Some(second(promise.at)), first);
                }
                let from = second(promise.at);
                expected.push((from, from + length, promise.spots.clone()));
            }
            (starts, reserved) = (planned.starts.len(), planned.reserved.len());
        }
        planned.fill(&mut look, rest);
        for start in &planned.starts[starts..] {
            let (length, limit) = lengths(start.span);
            expected.push((0, length, start.spots.clone()));
            latest.push((0, limit, start.spots.clone()));
        }
        for free in seconds(&fleet, &expected).into_iter().chain(seconds(&fleet, &latest)) {
            prop_assert!(free.0.iter().flatten().all(|free| *free >= 0), "{planned:?} {free:?}");
        }
    }

    /// A job starts now whenever nothing promised would be touched.
    #[test]
    fn a_start_that_harms_nobody_is_found(
        fleet in fleets(),
        before in cases(5),
        queue in cases(4),
        last in case(),
    ) {
        let mut ends = Ends::default();
        let (free, mut held, _) = run(&fleet, &before, &[], &mut ends);
        let mut look = Lookahead::new(at(0), free, &ends, &[]);
        let mut planned = Planned::default();
        let mut wanted = queue.iter().enumerate().map(|(key, case)| {
            Wanted { key: 100 + key, need: &case.need, span: case.span }
        });
        planned.walk(&mut look, &mut wanted, RESERVATIONS_MAX);
        for start in &planned.starts {
            held.push((0, lengths(start.span).0, start.spots.clone()));
        }
        for promise in &planned.reserved {
            let (from, length) = (second(promise.at), lengths(queue[promise.key - 100].span).0);
            held.push((from, from + length, promise.spots.clone()));
        }
        let length = lengths(last.span).0;
        let first = earliest(&fleet, &held, &last.need, length);
        let got = look.earliest(&last.need, last.span).map(|(at, _)| second(at));
        prop_assert_eq!(got, first);
        prop_assert_eq!(look.find_now(&last.need, last.span).is_some(), first == Some(0));
    }

    /// With true lengths a promise is never broken by planning anew: the first of any fleet, all
    /// of a flat pool.
    #[test]
    fn promises_never_move_back_with_true_lengths(
        fleet in fleets(),
        jobs in prop::collection::vec((0u64..10, case()), 0..10),
        depth in prop::sample::select(vec![1usize, 2, RESERVATIONS_MAX]),
        is_flat in any::<bool>(),
    ) {
        let fleet = if is_flat { Fleet(vec![[8, 0]]) } else { fleet };
        let mut jobs: Vec<(u64, Case)> = jobs
            .into_iter()
            .map(|(arrives, case)| {
                let Case { mut need, span } = case;
                if is_flat {
                    need.each = [need.each[0].max(1), 0];
                }
                (arrives, Case { need, span: Span::exactly(span.expected) })
            })
            .filter(|(_, case)| fleet.find(&case.need).is_some())
            .collect();
        jobs.sort_by_key(|(arrives, _)| *arrives);
        let (mut free, mut ends) = (fleet, Ends::default());
        let mut promised: Vec<Option<Timestamp>> = vec![None; jobs.len()];
        let mut waiting: Vec<usize> = Vec::new();
        let mut running: Vec<(u64, usize)> = Vec::new();
        for now in 0..END {
            running.retain(|(until, key)| {
                if *until == now {
                    let ended = ends.ended(*key).expect("it runs");
                    free.give(&ended.spots);
                }
                *until > now
            });
            waiting.extend((0..jobs.len()).filter(|key| jobs[*key].0 == now));
            let mut look = Lookahead::new(at(now), free.clone(), &ends, &[]);
            let mut planned = Planned::default();
            let mut queue = waiting.iter().map(|key| {
                let (_, case) = &jobs[*key];
                Wanted { key: *key, need: &case.need, span: case.span }
            });
            planned.walk(&mut look, &mut queue, depth);
            planned.fill(&mut look, queue);
            for (place, promise) in planned.reserved.iter().enumerate() {
                let before = promised[promise.key];
                if is_flat || place == 0 {
                    prop_assert!(before.is_none_or(|before| promise.at <= before), "{promise:?} {before:?}");
                }
                promised[promise.key] = (is_flat || place == 0).then_some(promise.at);
            }
            for start in planned.starts {
                prop_assert!(promised[start.key].is_none_or(|promise| at(now) <= promise));
                waiting.retain(|key| *key != start.key);
                running.push((now + lengths(start.span).0, start.key));
                free.take(&start.spots);
                ends.started(start.key, at(now), start.span, start.spots);
            }
        }
        prop_assert!(waiting.is_empty(), "left waiting: {waiting:?}");
    }
}

/// What starts, and what is promised when, of jobs of (units, seconds) in a pool of 10.
fn flat(
    running: &[(u32, u64)],
    queue: &[(u32, u64)],
    depth: usize,
) -> (Vec<usize>, Vec<(usize, u64)>) {
    let (mut free, mut ends) = (Flat::new(10), Ends::default());
    for (key, (units, until)) in running.iter().enumerate() {
        free.take(units);
        ends.started(1000 + key, at(0), span(*until, *until), *units);
    }
    let mut look = Lookahead::new(at(0), free, &ends, &[]);
    let mut planned = Planned::default();
    let mut queue = queue.iter().enumerate().map(|(key, (units, length))| Wanted {
        key,
        need: units,
        span: span(*length, *length),
    });
    planned.walk(&mut look, &mut queue, depth);
    if depth > 0 {
        planned.fill(&mut look, queue);
    }
    let starts = planned.starts.iter().map(|start| start.key).collect();
    (starts, planned.reserved.iter().map(|r| (r.key, second(r.at))).collect())
}

#[test]
fn depth_decides_who_may_overtake() {
    let running = [(6, 10)];
    // The head needs 8 at 10; then 2 are left for those who stay longer.
    let queue = [(8, 5), (2, 20), (4, 10), (2, 99), (2, 10)];
    assert_eq!(flat(&running, &queue, 0), (vec![], vec![]));
    assert_eq!(flat(&running, &queue, 1), (vec![1, 4], vec![(0, 10)]));
    let all = RESERVATIONS_MAX;
    assert_eq!(flat(&running, &queue, all), (vec![1, 4], vec![(0, 10), (2, 15), (3, 15)]));
    // First come, first served goes as far as it can.
    assert_eq!(flat(&running, &[(2, 1), (2, 1), (1, 1)], 0), (vec![0, 1], vec![]));
}

#[test]
fn who_asks_for_more_than_there_is_is_passed_over() {
    assert_eq!(flat(&[(4, 3)], &[(11, 1), (10, 1), (6, 3)], 1), (vec![2], vec![(1, 3)]));
}

#[test]
fn a_window_counts_limits_and_a_promise_counts_expectations() {
    let ends: Ends<u32, u32> = Ends::default();
    let window = Window { from: at(10), to: at(20), spots: 10 };
    let look = Lookahead::new(at(0), Flat::new(10), &ends, &[window]);
    assert_eq!(look.find_now(&1, span(10, 10)), Some(1));
    assert_eq!(look.find_now(&1, span(2, 11)), None, "it could touch the window");
    assert_eq!(look.earliest(&1, span(2, 11)), Some((at(20), 1)));
    let forever = Span::new(Micros::from_secs(1), Span::FOREVER);
    assert_eq!(look.find_now(&1, forever), None);

    let mut look = Lookahead::new(at(0), Flat::new(10), &ends, &[]);
    look.start(&6, span(5, 100));
    assert_eq!(look.reserve(&8, span(5, 100)), Some((at(5), 8)));
    assert_eq!(look.find_now(&4, span(5, 100)), Some(4), "expected to end before the promise");
    assert_eq!(look.find_now(&4, span(6, 100)), None);
}

#[test]
fn an_open_window_is_not_there_and_its_end_is_waited_for() {
    let ends: Ends<u32, u32> = Ends::default();
    let window = Window { from: at(0), to: at(20), spots: 7 };
    let look = Lookahead::new(at(5), Flat::new(10), &ends, &[window]);
    assert_eq!(look.find_now(&4, span(1, 1)), None);
    assert_eq!(look.earliest(&4, span(1, 1)), Some((at(20), 4)));
}

#[test]
fn what_outlives_its_end_is_overdue_until_its_limit() {
    let mut ends: Ends<u32, u32> = Ends::default();
    ends.started(1, at(0), span(5, 20), 3);
    ends.started(2, at(0), span(5, 5), 3);
    let overdue =
        |ends: &Ends<u32, u32>, now| ends.overdue(at(now)).map(|(key, _)| key).collect::<Vec<_>>();
    assert!(overdue(&ends, 4).is_empty());
    assert_eq!(overdue(&ends, 5), [1], "the other is being ended");
    ends.expect(1, at(99));
    assert_eq!(ends.get(1).map(|running| running.expected), Some(at(20)), "never past the limit");
    assert_eq!(ends.ended(2).map(|running| running.spots), Some(3));
    assert_eq!((ends.len(), ends.first_expected()), (1, Some(at(20))));
}
