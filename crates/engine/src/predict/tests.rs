//! Histories short and long, cut and contradictory.

use super::*;
use polder_model::Timestamp;
use proptest::prelude::*;

fn traits(user: &'static str, name: &'static str) -> Traits<'static> {
    Traits { user, name: Some(name), shape: 7, ..Traits::default() }
}

fn second(seconds: u64) -> Micros {
    Micros::from_secs(seconds)
}

fn ran(seconds: u64) -> Outturn {
    Outturn { ran: second(seconds), was_cut: false, memory_peak: None, was_starved: false }
}

fn learned(runs: &[(&'static str, &'static str, u64)]) -> Predictor {
    let mut predictor = Predictor::default();
    for (user, name, seconds) in runs {
        predictor.observe(&traits(user, name).subject(), None, ran(*seconds));
    }
    predictor
}

fn p50(predictor: &Predictor, user: &'static str, name: &'static str) -> Option<u64> {
    let forecast = predictor.time(&traits(user, name).subject(), None);
    forecast.quantile(500).map(|value| value / 1_000_000)
}

#[test]
fn the_most_alike_history_speaks_first() {
    let mut runs = vec![("ada", "train", 100); 9];
    runs.extend(vec![("ada", "test", 5); 9]);
    runs.extend(vec![("bob", "train", 7000); 9]);
    let predictor = learned(&runs);
    assert_eq!(p50(&predictor, "ada", "train"), Some(100));
    assert_eq!(p50(&predictor, "ada", "test"), Some(5));
    assert_eq!(p50(&predictor, "bob", "what"), Some(7000), "the user's own");
    assert_eq!(p50(&predictor, "eve", "train"), Some(100), "anybody's median");
    assert_eq!(p50(&Predictor::default(), "eve", "train"), None);
}

#[test]
fn numbered_names_are_one_work() {
    let predictor = learned(&[("ada", "fold-1", 60), ("ada", "fold-2", 60), ("ada", "sweep", 9)]);
    assert_eq!(p50(&predictor, "ada", "fold-31"), Some(60));
}

#[test]
fn doubt_is_honest() {
    let subject = traits("ada", "train").subject();
    let doubt = |runs: &[(&'static str, &'static str, u64)]| {
        let limit = Some(second(86_400));
        let outlook = learned(runs).outlook(&subject, limit, polder_model::Bytes(1));
        let time = outlook.expect("there is a limit").time;
        (time.doubt, time.observations, time.level)
    };
    assert_eq!(doubt(&[]), (1000, 0, None));
    let few = doubt(&[("ada", "train", 60)]);
    let many = doubt(&[("ada", "train", 60); 40]);
    let wild: Vec<_> = (0..40).map(|i| ("ada", "train", 1 << (i % 12))).collect();
    let wild = doubt(&wild);
    assert_eq!((few.1, many.1), (1, 32));
    assert_eq!(many.2, Some(Level::Same));
    assert!(many.0 < few.0 && few.0 < wild.0, "{many:?} {few:?} {wild:?}");
}

#[test]
fn what_was_cut_short_would_have_run_longer() {
    let subject = traits("ada", "train").subject();
    let mut predictor = Predictor::default();
    for _ in 0..8 {
        predictor.observe(&subject, None, Outturn { was_cut: true, ..ran(3600) });
    }
    // A user who doubles the limit is believed to need it.
    let forecast = predictor.time(&subject, Some(second(7200)));
    assert_eq!(forecast.quantile(500), Some(7_200_000_000));
    assert_eq!(forecast.prediction().map(|prediction| prediction.doubt), Some(1000));
    assert_eq!(predictor.time(&subject, None).quantile(500), Some(3_600_000_000));
}

#[test]
fn who_outlives_a_prediction_is_predicted_anew() {
    let predictor = learned(&[("ada", "train", 60), ("ada", "train", 60), ("ada", "train", 600)]);
    let subject = traits("ada", "train").subject();
    let longer = |elapsed, limit| predictor.longer(&subject, limit, second(elapsed));
    assert_eq!(longer(61, None), second(600), "as those that lasted longer");
    assert_eq!(longer(600, None), second(1024), "longer than anything known: the next octave");
    assert_eq!(longer(600, Some(second(700))), second(700));
    assert_eq!(next_octave(second(1023)), second(1024));
    assert_eq!(next_octave(second(1024)), second(2048));
    assert_eq!(next_octave(Micros(0)), second(1));
}

#[test]
fn the_upper_quantile_covers_nine_of_ten_even_when_times_grow() {
    let (mut predictor, mut covered, mut told) = (Predictor::default(), 0, 0);
    let subject = traits("ada", "train").subject();
    let mut state = 7u64;
    for turn in 0..4000u64 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let seconds = 100 + turn / 10 + (state >> 33) % 300;
        let outlook = predictor.outlook(&subject, Some(second(1 << 30)), polder_model::Bytes(1));
        if turn >= 1000 {
            told += 1;
            let p90 = outlook.map(|outlook| outlook.time.p90);
            covered += u32::from(p90.is_some_and(|p90| p90 >= second(seconds).0));
        }
        predictor.observe(&subject, outlook.as_ref(), ran(seconds));
    }
    let share = covered * 1000 / told;
    assert!((880..=920).contains(&share), "{share} of 1000 covered");
}

#[test]
fn memory_is_learned_where_it_is_known() {
    let subject = traits("ada", "train").subject();
    let mut predictor = Predictor::default();
    let gib = |n: u64| polder_model::Bytes(n << 30);
    for _ in 0..8 {
        let outturn = Outturn { memory_peak: Some(gib(3)), ..ran(10) };
        predictor.observe(&subject, None, outturn);
    }
    let outlook = predictor.outlook(&subject, None, gib(16)).expect("there is history");
    assert_eq!((outlook.memory.p50, outlook.memory.p90), (gib(3).0, gib(3).0));
}

#[test]
fn the_least_recently_used_are_forgotten() {
    let mut book = Book::default();
    let subject = |n: u64| Traits { user: "ada", shape: n, ..Traits::default() }.subject();
    for n in 0..30_000 {
        book.observe(&subject(n), n, false, None);
        book.observe(&subject(0), 1, false, None);
        assert!(book.len() <= HISTORIES_MAX);
    }
    let level = |n| book.forecast(&subject(n), None).prediction().and_then(|p| p.level);
    assert_eq!(level(0), Some(Level::Same), "it was used again and again");
    assert_eq!(level(1), Some(Level::User));
    assert_eq!(level(29_999), Some(Level::Same));
}

#[test]
fn demand_follows_days_and_weeks() {
    let mut demand = Demand::new(Micros(0));
    let hour = |hour: u64| Timestamp(hour * 3_600_000_000);
    // Four weeks: 5 by night, 50 by day, nothing on the sixth and seventh day. Hour 0 is a Monday.
    let monday = 4 * 24;
    let amount = |h: u64| match (h / 24 % 7, h % 24) {
        (5.., _) => 0,
        (_, 8..18) => 50,
        _ => 5,
    };
    for h in 0..4 * 168 {
        demand.arrived(hour(monday + h), amount(h));
    }
    let now = monday + 4 * 168 - 1;
    let ahead = demand.ahead(hour(now), 168);
    let error: u64 = ahead.iter().zip(0..).map(|(got, h)| got.abs_diff(amount(h))).sum();
    let total: u64 = (0..168).map(amount).sum();
    assert!(error * 4 < total, "off by {error} of {total}");
    assert!(ahead[9] > 2 * ahead[3] && ahead[9] > 2 * ahead[5 * 24 + 9], "{ahead:?}");
    assert_eq!(demand.ahead(hour(now), 9999).len(), HOURS_AHEAD_MAX);
}

#[test]
fn nine_of_ten_hours_bring_no_more_than_is_said() {
    let mut demand = Demand::new(Micros(0));
    let hour = |hour: u64| Timestamp(hour * 3_600_000_000);
    // Like dice, by a fixed rule: 10 to 90 by day, 0 to 20 by night.
    let mut state = 7u64;
    let mut amount = |h: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let draw = state >> 33;
        if (8..18).contains(&(h % 24)) { 10 + draw % 81 } else { draw % 21 }
    };
    let monday = 4 * 24;
    for h in 0..4 * 168 {
        demand.arrived(hour(monday + h), amount(h));
    }
    let (mut within, mut half, mut hours) = (0u32, 0u32, 0u32);
    for h in 4 * 168..8 * 168 {
        let said = demand.expected(hour(monday + h - 1), 1)[0];
        let came = amount(h);
        within += u32::from(came <= said.p90.unwrap());
        half += u32::from(came <= said.p50.unwrap());
        hours += 1;
        assert!(said.p50 <= said.p90 && said.p90 <= said.p99);
        demand.arrived(hour(monday + h), came);
    }
    let part = |number: u32| number * 100 / hours;
    assert!((84..=96).contains(&part(within)), "{} of 100 hours", part(within));
    assert!((40..=65).contains(&part(half)), "{} of 100 hours", part(half));
    assert_eq!(Demand::new(Micros(0)).expected(hour(0), 1)[0].p90, None);
}

#[test]
fn demand_survives_gaps_and_clocks_that_go_back() {
    let mut demand = Demand::new(Micros::from_secs(7200));
    demand.arrived(Timestamp(u64::MAX / 2), u64::MAX);
    demand.arrived(Timestamp(0), 3);
    demand.advance(Timestamp(u64::MAX));
    assert_eq!(demand.ahead(Timestamp(u64::MAX), 3), [0, 0, 0]);
}

proptest! {
    /// Quantiles are ordered, within the limit, and survive a snapshot.
    #[test]
    fn predictions_are_ordered_and_bounded(
        runs in prop::collection::vec((0u64..4, 0u64..100_000, any::<bool>()), 0..80),
        user in 0u64..4,
        limit in prop::option::of(1u64..50_000),
    ) {
        let subject = |user| Traits { user: "u", shape: user, ..Traits::default() }.subject();
        let mut predictor = Predictor::default();
        for (user, seconds, was_cut) in runs {
            let outturn = Outturn { was_cut, ..ran(seconds) };
            predictor.observe(&subject(user), None, outturn);
        }
        let limit = limit.map(second);
        let forecast = predictor.time(&subject(user), limit);
        let quantiles: Vec<_> = (0..=10).map(|n| forecast.quantile(n * 100)).collect();
        prop_assert!(quantiles.is_sorted(), "{quantiles:?}");
        if let Some(prediction) = forecast.prediction() {
            prop_assert!(prediction.p50 <= prediction.p90 && prediction.doubt <= 1000);
            prop_assert!(limit.is_none_or(|limit| prediction.p90 <= limit.0));
        }
        let text = serde_json::to_string(&predictor).unwrap();
        prop_assert_eq!(serde_json::from_str::<Predictor>(&text).unwrap(), predictor);
    }
}
