use super::*;
use crate::{Bytes, Isolation, Mechanism, Micros, Permille};
use std::collections::BTreeSet;

fn ask() -> Ask {
    Ask {
        tenant: "lab".parse().unwrap(),
        user: "ada".parse().unwrap(),
        name: None,
        work: Work {
            command: vec!["true".into()],
            directory: "/".into(),
            environment: BTreeMap::new(),
            stdio: Stdio::Logs,
            umask: None,
            image: None,
        },
        gang: Gang::default(),
        devices: DeviceAsk {
            count: 1,
            whole: false,
            compute: Permille(300),
            compute_max: None,
            memory: Bytes(1 << 30),
            backing: None,
            models: vec![],
            features: BTreeSet::new(),
            isolation: None,
            mechanism: None,
            bandwidth: None,
        },
        host: HostAsk::default(),
        when: When::default(),
        yields: Yields::default(),
        place: PlaceAsk::default(),
        hints: Hints::default(),
    }
}

fn check(change: impl FnOnce(&mut Ask), expect: &str) {
    let mut ask = ask();
    change(&mut ask);
    let got = ask.check().err().map(|error| error.to_string()).unwrap_or_default();
    assert!(got.contains(expect) && got.is_empty() == expect.is_empty(), "{got:?}");
}

#[test]
fn an_estimate_of_a_service_is_refused_of_who_asks_and_read_in_a_journal() {
    let mut service = ask();
    service.gang = Gang { min: 2, max: 2, kind: GangKind::Service };
    assert_eq!(service.check_written(), Ok(()));
    service.when.estimate = Some(Micros::from_secs(60));
    assert_eq!(service.check(), Ok(()));
    let refused = service.check_written().unwrap_err().to_string();
    assert_eq!(refused, "a service runs until it is cancelled: leave out when.estimate");
    service.gang.kind = GangKind::Elastic;
    assert_eq!(service.check_written(), Ok(()));
    service.work.command.clear();
    assert!(service.check_written().is_err(), "what is nonsense anywhere is so here");
}

#[test]
fn nonsense_is_named() {
    check(|_| (), "");
    check(|a| a.work.command.clear(), "command is empty");
    check(|a| a.work.directory = "here".into(), "not absolute");
    check(|a| a.name = Some("n".repeat(129)), "the name is 129 bytes");
    for (name, expect) in
        [("a\nb", "\\u{a}"), ("a\u{202e}b", "\\u{202e}"), ("\u{2067}", "\\u{2067}")]
    {
        let expect = format!("the name holds {expect}, which would mislead");
        check(|a| a.name = Some(name.into()), &expect);
    }
    let backed = |backing| move |a: &mut Ask| a.devices.backing = Some(Bytes(backing));
    check(backed(1 << 30), "");
    check(backed(0), "devices.backing (--host-backed) is 0 B");
    check(backed(u64::MAX), "devices.backing (--host-backed) is");
    check(
        |a| (a.devices.count, a.devices.backing) = (9, Some(Bytes(1))),
        "devices.count (with --host-backed) is 9: it must lie between 1 and 8",
    );
    let whole = |a: &mut Ask| {
        (a.devices.whole, a.devices.compute, a.devices.memory) = (true, Permille(1000), Bytes(0));
        a.devices.backing = Some(Bytes(1));
    };
    check(
        whole,
        "host memory behind devices (--host-backed) is for devices shared in turns, and this ask is for whole",
    );
    check(
        |a| (a.devices.isolation, a.devices.backing) = (Some(Isolation::Hardware), Some(Bytes(1))),
        "this ask is for mig",
    );
    check(|a| a.work.umask = Some(0o1000), "work.umask is 512");
    for image in ["", "--privileged", "a b", "a\nb", "/tmp/x", "x\u{202e}", &"x".repeat(513)] {
        check(|a| a.work.image = Some(image.to_owned()), "is no image");
    }
    check(|a| a.work.image = Some("docker.io/library/debian:12@sha256:0a".to_owned()), "");
    check(|a| a.work.command.push("a\0b".into()), "command holds a character");
    check(|a| drop(a.work.environment.insert("A=B".into(), String::new())), "environment");
    check(|a| a.work.command.push("x".repeat(TEXT_BYTES_MAX)), "at most 262144");
    check(|a| a.gang = Gang { min: 0, ..Gang::default() }, "gang.min is 0");
    check(|a| a.gang = Gang { min: 3, max: 2, ..Gang::default() }, "gang.max is 2");
    check(|a| a.devices.count = 0, "and yet something is asked of devices");
    check(
        |a| {
            a.devices.count = 0;
            a.devices.compute = Permille(0);
            a.devices.memory = Bytes(0);
        },
        "",
    );
    check(|a| a.place.partition = Some(String::new()), "place.partition is not a name");
    check(|a| a.hints.script = Some("a\nb".into()), "hints.script is not a name");
    check(|a| a.when.estimate = Some(Micros(0)), "when.estimate is 0");
    check(|a| a.devices.memory = Bytes(0), "devices.memory is 0");
    check(|a| a.devices.compute = Permille(0), "is 0: it must lie between 1 and 1000");
    check(|a| a.devices.compute_max = Some(Permille(100)), "below the guaranteed");
    check(|a| a.devices.whole = true, "leave out devices.compute");
    let spatial = Some(Mechanism::Spatial);
    check(|a| a.devices.mechanism = spatial, "");
    check(
        |a| (a.devices.mechanism, a.devices.count) = (spatial, 2),
        "spatial part of one device, and 2 are asked for",
    );
    check(
        |a| (a.devices.mechanism, a.devices.compute_max) = (spatial, Some(Permille(1000))),
        "leave out devices.compute_max",
    );
    check(|a| a.when.priority = 5000, "when.priority is 5000");
    check(
        |a| {
            a.work.stdio = Stdio::Client;
            a.gang = Gang { min: 2, max: 2, ..Gang::default() };
        },
        "cannot share one terminal",
    );
}

#[test]
fn the_mechanism_follows_from_the_isolation() {
    let mechanism = |whole, isolation| DeviceAsk { whole, isolation, ..ask().devices }.mechanism();
    assert_eq!(mechanism(false, None), Mechanism::TimeSlice);
    assert_eq!(mechanism(false, Some(Isolation::Soft)), Mechanism::TimeSlice);
    for more in [Isolation::Brokered, Isolation::Driver, Isolation::Hardware] {
        assert_eq!(mechanism(false, Some(more)), Mechanism::Mig);
    }
    assert_eq!(mechanism(true, Some(Isolation::Hardware)), Mechanism::Whole);
}

#[test]
fn an_ask_survives_json_and_unknown_keys_do_not() {
    let text = serde_json::to_string(&ask()).unwrap();
    assert_eq!(serde_json::from_str::<Ask>(&text).unwrap(), ask());
    let more = text.replacen('{', "{\"gpus\":1,", 1);
    assert!(serde_json::from_str::<Ask>(&more).unwrap_err().to_string().contains("gpus"));
}
