use super::*;
use std::collections::BTreeSet;

fn check(change: impl FnOnce(&mut Policy), expect: &str) {
    let mut policy = Policy::default();
    change(&mut policy);
    let got = policy.check().err().map(|error| error.to_string()).unwrap_or_default();
    assert!(got.contains(expect) && got.is_empty() == expect.is_empty(), "{got:?}");
}

#[test]
fn contradictions_are_named() {
    check(|_| (), "");
    check(|p| p.order.by.clear(), "order.by has 0 entries: it may have 1 to 4");
    check(|p| p.order.by = vec![Term::Priority, Term::Priority], "priority twice");
    check(|p| p.order.by = vec![Term::Arrival, Term::Shortest], "shortest after arrival");
    check(|p| p.order.by = vec![Term::Class], "no effect without classes");
    let blend = |weight| Term::Blend(BTreeMap::from([(BlendTerm::Arrival, weight)]));
    check(|p| p.order.by = vec![Term::Blend(BTreeMap::new())], "order.by.blend has 0 entries");
    check(
        |p| p.order.by = vec![blend(9_999_999)],
        "order.by.blend.arrival is 9999999: it must lie",
    );
    check(
        |p| p.order.ageing = Some(Micros(0)),
        "order.ageing is 0s: it must lie between 1.0s and 366d00h",
    );
    check(
        |p| {
            p.order.by = vec![Term::Arrival];
            p.order.ageing = Some(Micros::from_secs(3600));
        },
        "order.ageing has no effect without the term priority",
    );
    check(|p| p.fair_share.half_life = Some(Micros::from_secs(9)), "without the term fair_share");
    check(|p| p.reclaim.class = true, "reclaim.class has no effect without a class with a");
    check(|p| p.backfill.reserved = 5000, "backfill.reserved is 5000");
    check(|p| p.utc_offset_minutes = 9999, "utc_offset_minutes is 9999");
    let at = |text: &str| DayTime::try_from(text.to_owned()).unwrap();
    let rule = |from, until| TimeRule {
        from: at(from),
        until: at(until),
        days: BTreeSet::new(),
        order: Order::default(),
    };
    check(|p| p.times = vec![rule("01:00", "01:00")], "the rule never holds");
    check(|p| p.times = vec![rule("00:00", "00:00")], "a whole day is from 00:00 until 24:00");
    check(|p| p.times = vec![rule("24:00", "00:00")], "the rule never holds");
    check(|p| p.times = vec![rule("00:00", "24:00")], "");
    check(
        |p| {
            let pool = ClassPool { borrow: true, ..ClassPool::default() };
            p.classes.insert(WorkClass::Training, pool);
        },
        "classes.training.borrow has no effect without a partition",
    );
}

/// What somebody writes, as TOML does it, is refused for this; without it, it is not.
fn check_written(json: &str, expect: &str) {
    let read = serde_json::from_str::<Policy>(json).map_err(|error| error.to_string());
    let checked = read.and_then(|policy| policy.check_written().map_err(|e| e.to_string()));
    let got = checked.err().unwrap_or_default();
    assert!(got.contains(expect) && got.is_empty() == expect.is_empty(), "{json}: {got:?}");
}

#[test]
fn what_says_nothing_or_says_it_twice_is_refused_of_who_writes_it() {
    let order = |order: &str| format!(r#"{{"order": {order}}}"#);
    let check_order = |text: &str, expect: &str| check_written(&order(text), expect);
    check_written("{}", "");
    check_order(
        r#"{"by": ["class"], "classes": ["batch", "training", "batch"]}"#,
        "order.classes names batch twice",
    );
    check_order(r#"{"by": ["class"], "classes": ["batch", "training"]}"#, "");
    check_order(
        r#"{"by": [{"blend": {"arrival": 0, "shortest": 1}}]}"#,
        "order.by.blend.arrival is 0, which weighs nothing",
    );
    check_order(
        r#"{"by": [{"blend": {"arrival": 1}}, {"blend": {"shortest": 1}}]}"#,
        "order.by names blend twice",
    );
    check_order(r#"{"by": ["priority", {"blend": {"arrival": 1, "width": -1}}]}"#, "");
    let times = |rules: &str| format!(r#"{{"times": [{rules}]}}"#);
    let rule = |from: &str, until: &str, days: &str| {
        format!(r#"{{"from": "{from}", "until": "{until}", "order": {{}}{days}}}"#)
    };
    let check_times = |rules: &[&str], expect: &str| {
        check_written(&times(&rules.join(",")), expect);
    };
    let (day, night) = (rule("08:00", "20:00", ""), rule("20:00", "08:00", ""));
    let inside = rule("09:00", "10:00", r#", "days": ["monday"]"#);
    let weekend = rule("00:00", "24:00", r#", "days": ["saturday", "sunday"]"#);
    let sunday = rule("22:00", "06:00", r#", "days": ["sunday"]"#);
    check_times(&[&day, &night], "");
    check_times(&[&inside, &day, &night], "");
    check_times(&[&day, &inside], "times[1] never decides: rules before it hold");
    check_times(&[&weekend, &sunday], "");
    let late = rule("24:00", "08:00", "");
    check_times(&[&late], "times[0].from is 24:00, at which no day begins: write 00:00");
    let kept: Policy = serde_json::from_str(&times(&late)).unwrap();
    assert_eq!(kept.check(), Ok(()), "what an older journal holds stays");
    // Sunday's night ends on Monday, where only the night holds; together the two hold always.
    check_times(&[&night, &sunday], "times[1] never decides");
    check_times(&[&day, &night, &weekend], "times[2] never decides");
    check_times(&[&rule("08:00", "20:00", r#", "days": []"#)], "days is empty: leave it out");
    let twice = r#", "days": ["monday", "friday", "monday"]"#;
    check_times(&[&rule("08:00", "20:00", twice)], "days names Monday twice");
    check_written(r#"{"reclaim": {"runtime_min": "5m"}}"#, "reclaim.runtime_min has no effect");
    check_written(r#"{"reclaim": {"runtime_min": "5m", "moves_max": 1}}"#, "");
    let shares = |weights: &str| {
        format!(
            r#"{{"order": {{"by": ["fair_share"]}}, "fair_share": {{"model_weights": {weights}}}}}"#
        )
    };
    check_written(r#"{"backfill": {"believe": "predicted"}}"#, "backfill.believe has no effect");
    check_written(r#"{"backfill": {"believe": "predicted", "reserved": 1}}"#, "");
    check_written(&shares(r#"{"": 5}"#), "fair_share.model_weights has an empty name");
    check_written(
        &shares(r#"{"A100": 5, "A10": 2}"#),
        r#"names "A100", which never counts: "A10""#,
    );
    check_written(&shares(r#"{"A100": 5, "T4": 2}"#), "");
    check_written(&shares(r#"{"T4": 0}"#), r#"fair_share.model_weights."T4" is 0"#);
    check_written(r#"{"classes": {"training": {}}}"#, "classes.training says nothing");
    check_written(
        r#"{"classes": {"training": {"partition": ""}}}"#,
        r#"classes.training.partition names none: "" is no partition"#,
    );
    check_written(r#"{"classes": {"training": {"partition": "train"}}}"#, "");
}

#[test]
fn what_a_journal_holds_is_only_checked_for_contradictions() {
    let text = r#"{"order": {"by": ["class", {"blend": {"arrival": 0}}],
                             "classes": ["batch", "batch"]},
                   "reclaim": {"runtime_min": 300000000},
                   "classes": {"training": {}, "inference": {"partition": ""}}}"#;
    let policy: Policy = serde_json::from_str(text).unwrap();
    policy.check().unwrap();
    assert!(policy.check_written().is_err());
}

#[test]
fn people_can_write_one() {
    let text = r#"{
        "order": {"by": ["priority", "fair_share", {"blend": {"shortest": 700}}],
                  "ageing": "1h", "wait_max": "2d"},
        "times": [{"from": "08:00", "until": "20:00", "days": ["monday"],
                   "order": {"by": ["class", "arrival"], "classes": ["interactive"]}}],
        "fair_share": {"half_life": "7d", "model_weights": {"T4": 250}},
        "place": {"rule": "layered"},
        "backfill": {"reserved": 1, "believe": "predicted"},
        "reclaim": {"priority": true, "runtime_min": "5m"},
        "classes": {"training": {"partition": "train", "borrow": true}}
    }"#;
    let policy: Policy = serde_json::from_str(text).unwrap();
    policy.check().unwrap();
    assert_eq!(policy.order.ageing, Some(Micros::from_secs(3600)));
    let again = serde_json::to_string(&policy).unwrap();
    assert_eq!(serde_json::from_str::<Policy>(&again).unwrap(), policy);
    for bad in ["8:00", "2147483648:00", "25:00", "24:01", "08:60", "noon", "+8:00", "é0:00"] {
        assert!(DayTime::try_from(bad.to_owned()).is_err(), "{bad}");
    }
}

#[test]
fn an_old_policy_reads_as_the_default_and_unknown_keys_are_named() {
    let old = r#"{"prepare_limit":30000000,"contact_limit":600000000,"returns_max":20}"#;
    assert_eq!(serde_json::from_str::<Policy>(old).unwrap(), Policy::default());
    let error = serde_json::from_str::<Policy>(r#"{"fairness":1}"#).unwrap_err().to_string();
    assert!(error.contains("fairness"), "{error}");
}
