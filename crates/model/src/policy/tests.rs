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
    check(|p| p.order.by = vec![Term::Blend(BTreeMap::new())], "has 0 entries");
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
    for bad in ["8:00", "25:00", "24:01", "08:60", "noon", "+8:00", "é0:00"] {
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
