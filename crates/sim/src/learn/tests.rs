//! Costs whose best is known.

use super::*;

fn parameter(name: &str, start: f64) -> Parameter {
    Parameter { name: name.to_owned(), low: -10.0, high: 10.0, start }
}

fn split() -> Split {
    Split { train: 0..10, held_out: 10..20, shadow: 20..25 }
}

const SEARCH: Search = Search { seed: 42, generations: 40, children: 8 };

/// A bowl whose bottom lies at (3, -2), under a block's own level.
fn bowl(values: &[f64], block: u32) -> f64 {
    (values[0] - 3.0).powi(2) + (values[1] + 2.0).powi(2) + f64::from(block % 7)
}

#[test]
fn the_bottom_is_found_and_admitted() {
    let parameters = [parameter("a", 0.0), parameter("b", 0.0)];
    let plain = [("nothing".to_owned(), vec![13.0; 10])];
    let tune = || {
        learn(&parameters, &[], SEARCH, &split(), &plain, "", |values, blocks| {
            blocks.map(|block| bowl(values, block)).collect()
        })
    };
    let record = tune();
    assert_eq!(record.verdict, Verdict::Admitted);
    assert!((record.found.values[0] - 3.0).abs() < 0.1, "{:?}", record.found);
    assert!((record.found.values[1] + 2.0).abs() < 0.1, "{:?}", record.found);
    assert_eq!(record.found.tried, 1 + 40 * 8);
    assert_eq!(record.in_force(), record.found.values);
    assert!(record.beside[0].difference.is_some());
    assert_eq!(record, tune(), "the same seed finds the same");
}

#[test]
fn a_plain_policy_that_is_better_is_offered() {
    let cost = |values: &[f64], blocks: std::ops::Range<u32>| -> Vec<f64> {
        blocks.map(|block| bowl(&[values[0], -2.0], block)).collect()
    };
    // Costs of the judged and the shadow's blocks, the first of them lower by `judged`.
    let plain = |name: &str, judged: f64, shadow: f64| {
        let less = |block: u32| if block < 20 { judged } else { shadow };
        let costs = (10..25).map(|block| bowl(&[3.0, -2.0], block) - less(block));
        (name.to_owned(), costs.collect::<Vec<f64>>())
    };
    let better = |plain: &[(String, Vec<f64>)]| {
        let record = learn(&[parameter("a", 0.0)], &[], SEARCH, &split(), plain, "", cost);
        assert_eq!(record.verdict, Verdict::Admitted);
        record.better().map(|beside| beside.name.clone())
    };
    assert_eq!(better(&[]), None);
    let all = [plain("less", 1.0, 1.0), plain("least", 2.0, 1.0), plain("more", -1.0, -1.0)];
    assert_eq!(better(&all).as_deref(), Some("least"));
    assert_eq!(better(&all[2..]), None, "it wins against what was in force, not against the best");
    assert_eq!(better(&[plain("late", 1.0, -99.0)]), None, "it loses in the shadow run");
    // Better by chance only: the difference goes up and down.
    let (name, mut costs) = plain("chance", 0.0, 0.0);
    costs
        .iter_mut()
        .enumerate()
        .for_each(|(at, cost)| *cost += if at % 2 == 0 { 5.0 } else { -5.5 });
    assert_eq!(better(&[(name, costs)]), None);
    // Without its shadow run nothing is known of it.
    let (name, costs) = plain("short", 1.0, 1.0);
    assert_eq!(better(&[(name, costs[..10].to_vec())]), None);
}

#[test]
fn a_plain_policy_is_offered_where_the_search_found_nothing() {
    // What only fits the past, beside a plain policy that always helps.
    let cost = |values: &[f64], blocks: std::ops::Range<u32>| -> Vec<f64> {
        let sign = |block| if block < 10 { -1.0 } else { 1.0 };
        blocks.map(|block| 100.0 + sign(block) * values[0]).collect()
    };
    let plain = [("shortest".to_owned(), vec![90.0; 15]), ("same".to_owned(), vec![100.0; 15])];
    let record = learn(&[parameter("a", 0.0)], &[], SEARCH, &split(), &plain, "", cost);
    assert!(matches!(record.verdict, Verdict::Refused { .. }));
    assert_eq!(record.better().map(|beside| beside.name.as_str()), Some("shortest"));
    assert_eq!(record.in_force(), [0.0]);
}

#[test]
fn what_is_known_is_looked_at_first() {
    // A hole so narrow that no step of a search falls into it.
    let hole = |values: &[f64], blocks: std::ops::Range<u32>| -> Vec<f64> {
        let deep = values == [7.25];
        blocks.map(|block| f64::from(block % 3) + if deep { 0.0 } else { 100.0 }).collect()
    };
    let learned = |known: &[Vec<f64>]| {
        let parameters = [parameter("a", 0.0)];
        learn(&parameters, known, SEARCH, &split(), &[], "", hole)
    };
    assert!(matches!(learned(&[]).verdict, Verdict::Refused { .. }));
    let record = learned(&[vec![0.0], vec![7.25], vec![f64::NAN]]);
    assert_eq!(
        (record.found.values.as_slice(), &record.verdict),
        (&[7.25][..], &Verdict::Admitted)
    );
    assert_eq!(record.found.tried, 1 + 2 + 40 * 8, "the start is not tried twice");
}

#[test]
fn what_only_fits_the_past_is_refused_with_the_numbers() {
    // What helps on blocks before 10 harms on all later ones.
    let cost = |values: &[f64], blocks: std::ops::Range<u32>| -> Vec<f64> {
        let sign = |block| if block < 10 { -1.0 } else { 1.0 };
        blocks.map(|block| 100.0 + sign(block) * values[0]).collect()
    };
    let record = learn(&[parameter("a", 0.0)], &[], SEARCH, &split(), &[], " s", cost);
    let Verdict::Refused { why } = &record.verdict else { panic!("{:?}", record.verdict) };
    assert!(
        why.contains("on 10 blocks not seen the difference is 10.000 s (95 % between"),
        "{why}"
    );
    assert_eq!(record.in_force(), [0.0]);
}

#[test]
fn a_shadow_run_that_is_worse_refuses() {
    let cost = |values: &[f64], blocks: std::ops::Range<u32>| -> Vec<f64> {
        let sign = |block| if block < 20 { -1.0 } else { 1.0 };
        blocks.map(|block| 100.0 + sign(block) * values[0]).collect()
    };
    let record = learn(&[parameter("a", 0.0)], &[], SEARCH, &split(), &[], " s", cost);
    let Verdict::Refused { why } = &record.verdict else { panic!("{:?}", record.verdict) };
    assert!(why.contains("in the shadow run it was worse by 10.000"), "{why}");
}

#[test]
fn too_little_to_judge_on_is_no_proof() {
    let split = Split { train: 0..3, held_out: 3..4, shadow: 4..5 };
    let cost = |values: &[f64], blocks: std::ops::Range<u32>| -> Vec<f64> {
        blocks.map(|block| bowl(&[values[0], -2.0], block)).collect()
    };
    let record = learn(&[parameter("a", 0.0)], &[], SEARCH, &split, &[], "", cost);
    assert!(matches!(record.verdict, Verdict::Refused { .. }));
}

#[test]
fn a_decision_can_be_taken_back_and_survives_json() {
    let cost = |values: &[f64], blocks: std::ops::Range<u32>| -> Vec<f64> {
        blocks.map(|block| bowl(&[values[0], -2.0], block)).collect()
    };
    let mut records = Records::default();
    assert!(!records.roll_back("nothing there"));
    records.push(learn(&[parameter("a", 0.0)], &[], SEARCH, &split(), &[], " s", cost));
    assert_ne!(records.in_force(), Some([0.0].as_slice()));
    assert!(records.roll_back("waits grew"));
    assert_eq!(records.in_force(), Some([0.0].as_slice()));
    assert!(!records.roll_back("again"), "there is nothing left to take back");
    let text = serde_json::to_string(&records).unwrap();
    assert!(text.contains("\"verdict\":\"rolled_back\",\"why\":\"waits grew\""), "{text}");
    assert_eq!(serde_json::from_str::<Records>(&text).unwrap(), records);
}

#[test]
fn pairs_tell_chance_from_change() {
    let base = [10.0, 20.0, 30.0, 40.0];
    let less = [9.0, 18.9, 29.1, 39.0];
    let paired = Paired::of(&less, &base).unwrap();
    assert!((paired.mean + 1.0).abs() < 1e-9 && paired.is_lower(), "{paired:?}");
    let noisy = [5.0, 30.0, 10.0, 60.0];
    assert!(!Paired::of(&noisy, &base).unwrap().is_lower());
    assert_eq!(Paired::of(&[1.0], &[2.0]), None);
    assert_eq!(Paired::of(&[1.0, f64::NAN], &[2.0, 1.0]), None);
    assert_eq!(Paired::of(&[1.0, 2.0, 3.0], &[2.0, 1.0]), None);
}
