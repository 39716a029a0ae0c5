//! The index against a brute-force one, and its promises.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use super::*;
use polder_model::JobId;
use proptest::prelude::*;

fn class(devices: u32, kind: u64, hour: u64) -> ServiceClass {
    ServiceClass { devices, kind, submitted_at: Timestamp(hour * 3_600_000_000) }
}

fn history(jobs: &[(ServiceClass, u64)]) -> ServiceHistory {
    let mut history = ServiceHistory::default();
    jobs.iter().for_each(|(class, service)| history.observe(class, 0, *service, true));
    history
}

/// The index by its definition, over all jobs and all places to stop: no counters, no tables.
fn brute_force(jobs: &[(ServiceClass, u64)], class: &ServiceClass, attained: u64) -> f64 {
    let epoch = |class: &ServiceClass| class.submitted_at.0 / SERVICE_EPOCH_MICROS;
    let alike: [&dyn Fn(&ServiceClass) -> bool; 4] = [
        &|_| true,
        &|other| other.devices == class.devices,
        &|other| other.devices == class.devices && other.kind == class.kind,
        &|other| other.devices == class.devices && epoch(other) == epoch(class),
    ];
    let start = |octave: usize| if octave == 0 { 0 } else { FIRST << (octave - 1) };
    let ending = |octave: usize| {
        let part = alike.iter().fold(PRIOR, |coarser, alike| {
            let (mut ended, mut reached) = (0.0, 0.0);
            for near in octave.saturating_sub(1)..(octave + 2).min(LEVELS) {
                for (_, service) in jobs.iter().filter(|(class, _)| alike(class)) {
                    reached += f64::from(u8::from(*service >= start(near)));
                    let ends_here = *service >= start(near) && *service < start(near + 1);
                    ended += f64::from(u8::from(ends_here));
                }
            }
            (ended + TRUST * coarser) / (reached + TRUST)
        });
        part.min(CERTAIN)
    };
    let first = (0..LEVELS).rev().find(|&octave| start(octave) <= attained).unwrap();
    let costs = (first..=first + AHEAD).map(|stop| {
        let (mut alive, mut spent) = (1.0, 0.0);
        for octave in first..=stop {
            let length = (start(octave + 1) - start(octave)) as f64;
            spent += alive * length * (1.0 - ending(octave) / 2.0);
            alive *= 1.0 - ending(octave);
        }
        spent / (1.0 - alive)
    });
    costs.fold(f64::INFINITY, f64::min)
}

#[test]
fn octaves_meet() {
    assert_eq!((level(0), level(FIRST - 1), level(FIRST), level(2 * FIRST)), (0, 0, 1, 2));
    assert_eq!(level(u64::MAX), LEVELS - 1);
    for octave in 0..LEVELS - 1 {
        let end = end(octave).unwrap();
        assert_eq!((level(end - 1), level(end)), (octave, octave + 1));
        assert_eq!(ServiceHistory::next_change(end - 1), end);
    }
    assert_eq!(ServiceHistory::next_change(u64::MAX), u64::MAX);
}

#[test]
fn without_a_history_the_least_served_goes_first() {
    let history = ServiceHistory::default();
    let mut before = 0;
    let mut attained = 0;
    // Beyond, in a million device years, indexes meet at the largest number.
    while attained < 1 << 58 {
        let index = history.index(&class(8, 1, 0), attained);
        assert!(index > before || attained == FIRST, "{attained}: {index} after {before}");
        (before, attained) = (index, ServiceHistory::next_change(attained));
    }
}

#[test]
fn who_is_near_the_end_of_its_kind_goes_first() {
    const HOUR: u64 = 3_600_000_000;
    let mut jobs: Vec<_> = (0..200).map(|hour| (class(8, 1, hour * 9), 40 * HOUR)).collect();
    jobs.extend((0..200).map(|hour| (class(1, 2, hour * 9), HOUR)));
    let history = history(&jobs);
    let near = history.index(&class(8, 1, 9_000), 38 * HOUR);
    let begins = history.index(&class(8, 1, 9_000), 0);
    let ought_to_be_over = history.index(&class(1, 2, 9_000), 30 * HOUR);
    assert!(near < begins, "{near} {begins}");
    assert!(near < ought_to_be_over, "{near} {ought_to_be_over}");
}

#[test]
fn those_that_came_together_tell_of_each_other() {
    const HOUR: u64 = 3_600_000_000;
    let mut history = history(&[(class(1, 1, 0), HOUR), (class(1, 1, 100), 100 * HOUR)]);
    let before = [0, 100].map(|hour| history.index(&class(1, 1, hour), HOUR / 2));
    assert!(before[0] < before[1], "the epoch of short ones is cheaper: {before:?}");
    // Passing octaves counts before any end does.
    (0..8).for_each(|_| history.observe(&class(1, 1, 100), 0, 64 * HOUR, false));
    assert!(history.index(&class(1, 1, 100), 0) > before[1] / 64);
    assert!(history.stamp(&class(1, 1, 100)) > 2);
}

#[test]
fn absurd_services_overflow_nothing() {
    let mut history = ServiceHistory::default();
    let strange =
        ServiceClass { devices: u32::MAX, kind: u64::MAX, submitted_at: Timestamp(u64::MAX) };
    for to in [0, 1, FIRST, u64::MAX / 2, u64::MAX] {
        history.observe(&strange, to, 0, true);
        history.observe(&strange, 0, to, true);
        history.observe(&strange, u64::MAX, to, false);
        for attained in [0, 1, FIRST, u64::MAX / 2, u64::MAX] {
            assert!(history.index(&strange, attained) > 0);
        }
    }
}

#[test]
fn history_is_bounded_and_fades() {
    let mut history = ServiceHistory::default();
    for job in 0..SERVICE_TABLES_MAX as u64 + 100 {
        history.observe(&class(1, job, job * 6), 0, 1 << 40, true);
    }
    assert_eq!(history.tables.len(), SERVICE_TABLES_MAX);
    assert!(history.tables.values().all(|table| table.ends <= SERVICE_ENDS_MAX));
    // What was learned first is outweighed: jobs now end an octave after their start.
    for job in 0..4 * u64::from(SERVICE_ENDS_MAX) {
        history.observe(&class(1, job % 8, job), 0, FIRST, true);
    }
    let fresh = history.index(&class(1, 0, 1 << 30), 0);
    assert!(fresh < 4 * FIRST, "{fresh}");
}

#[test]
fn lots_are_a_permutation_with_no_runs() {
    let mut lots: Vec<u64> = (0..1000).map(lot).collect();
    let rising = lots.windows(2).filter(|pair| pair[0] < pair[1]).count();
    assert!((400..600).contains(&rising), "{rising}");
    lots.sort_unstable();
    lots.dedup();
    assert_eq!(lots.len(), 1000);
    assert_ne!(lot(JobId(1).0), lot(JobId(2).0));
}

fn any_job() -> impl Strategy<Value = (ServiceClass, u64)> {
    let service = (0_u32..62, 0_u64..1 << 20).prop_map(|(octave, rest)| (1_u64 << octave) + rest);
    (
        (0_u32..3, 0_u64..3, 0_u64..60)
            .prop_map(|(width, kind, hour)| class(1 << width, kind, hour)),
        service,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The counters give what counting the jobs gives. Up to 16 jobs everything is shown at once.
    #[test]
    fn the_index_is_the_definition(
        jobs in prop::collection::vec(any_job(), 0..16),
        (asked, attained) in any_job(),
    ) {
        let attained = attained.min(FIRST << (LEVELS - AHEAD - 4));
        let ours = history(&jobs).index(&asked, attained) as f64;
        let theirs = brute_force(&jobs, &asked, attained);
        prop_assert!((ours / theirs - 1.0).abs() < 1e-6, "{} {}", ours, theirs);
    }

    /// Growth told in parts is the same as told at once, and a snapshot forgets nothing.
    #[test]
    fn parts_and_snapshots_change_nothing(
        jobs in prop::collection::vec((any_job(), 0_u64..1 << 62), 0..40),
        (asked, attained) in any_job(),
    ) {
        let (mut parts, mut whole) = (ServiceHistory::default(), ServiceHistory::default());
        for ((class, to), middle) in &jobs {
            parts.observe(class, 0, *middle.min(to), false);
            parts.observe(class, *middle.min(to), *to, true);
            whole.observe(class, 0, *to, true);
        }
        let counts = |history: &ServiceHistory| -> Vec<Vec<Count>> {
            history.tables.values().map(|table| table.now.clone()).collect()
        };
        prop_assert_eq!(counts(&parts), counts(&whole));
        let text = serde_json::to_string(&parts).unwrap();
        let back: ServiceHistory = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(back.index(&asked, attained), parts.index(&asked, attained));
        prop_assert_eq!(back, parts);
    }

    /// Within an octave and without news the index stays.
    #[test]
    fn an_octave_has_one_index(
        jobs in prop::collection::vec(any_job(), 0..20),
        (asked, attained) in any_job(),
    ) {
        let history = history(&jobs);
        let last = ServiceHistory::next_change(attained) - 1;
        prop_assert_eq!(history.index(&asked, attained), history.index(&asked, last));
    }
}
