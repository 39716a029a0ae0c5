//! What is fed: each target takes any bytes and must return. What it asserts besides is in its words.

use polder_ledger::attach::Message;
use polder_ledger::{DEVICES_MAX, SLOTS_MAX, Usage, gate, memory};
use polder_model::{
    Ask, BitRate, Bytes, DeviceId, Enforcement, Envelope, FINDINGS_MAX, Finding, Inventory,
    LeaseId, LeaseReport, Micros, MilliCpu, Permille, Policy, Reservation, SyncRequest,
    SyncResponse, TenantPath, UserName,
};
use polder_profile::record::{Budget, Log};
use polder_profile::{Run, Timeline, report, summarise, trace};
use polder_sim::workload::{self, BadRows};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::Ordering;

/// A target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its folder in `corpus/`.
    pub name: &'static str,
    /// Feeds it.
    pub feed: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 11] = [
    Target { name: "traces", feed: traces },
    Target { name: "pool", feed: pool },
    Target { name: "simulate", feed: simulate },
    Target { name: "policy", feed: policy },
    Target { name: "ask", feed: ask },
    Target { name: "sync", feed: sync },
    Target { name: "journal", feed: journal },
    Target { name: "attach", feed: attach },
    Target { name: "shim", feed: shim },
    Target { name: "page", feed: page },
    Target { name: "record", feed: record },
];

/// Traces of other schedulers: with bad rows refused or left out.
fn traces(bytes: &[u8]) {
    let refused = workload::any::read(bytes, BadRows::Refuse);
    if workload::any::read(bytes, BadRows::LeaveOut).is_err() {
        assert!(refused.is_err(), "what is read strictly is read leniently");
    }
    let _ = workload::any::read_first(bytes, BadRows::LeaveOut, 2);
}

/// Pool files of `polder sim`, and its short spelling.
fn pool(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = polder_sim::pool::parse(&text);
    let _ = polder_sim::pool::preset(&text);
}

/// Files of `polder up --simulate`.
fn simulate(bytes: &[u8]) {
    let _ = polder_devices::parse_simulated(Path::new("f"), &String::from_utf8_lossy(bytes));
}

/// Policies, as TOML and as JSON: one that is accepted is written and read again as it was.
fn policy(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let read = toml::from_str::<Policy>(&text).ok();
    for policy in [read, serde_json::from_slice::<Policy>(bytes).ok()].into_iter().flatten() {
        if policy.check().is_ok() && policy.check_written().is_ok() {
            again(&policy);
        }
    }
}

/// Asks, reservations and every word and number of the command line.
fn ask(bytes: &[u8]) {
    if let Ok(ask) = serde_json::from_slice::<Ask>(bytes)
        && ask.check().is_ok()
    {
        again(&ask);
    }
    if let Ok(reservation) = serde_json::from_slice::<Reservation>(bytes)
        && reservation.check().is_ok()
    {
        again(&reservation);
    }
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim();
    spelled::<Bytes>(text);
    spelled::<Permille>(text);
    spelled::<Micros>(text);
    spelled::<MilliCpu>(text);
    spelled::<BitRate>(text);
    spelled::<LeaseId>(text);
    spelled::<DeviceId>(text);
    spelled::<TenantPath>(text);
    spelled::<UserName>(text);
    spelled::<Enforcement>(text);
    let _ = polder_model::label(text);
    let _ = polder_model::partition(text);
}

/// What agent and server say to each other.
fn sync(bytes: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<SyncRequest>(bytes) {
        again(&request);
        for LeaseReport { findings, .. } in request.leases {
            let kept = Finding::bounded(findings);
            assert!(kept.len() <= FINDINGS_MAX);
            let lines = kept.iter().map(|one| one.line(LeaseId(1)));
            assert!(lines.map(|line| line.len()).sum::<usize>() < 64 << 10);
        }
    }
    if let Ok(response) = serde_json::from_slice::<SyncResponse>(bytes) {
        again(&response);
    }
    if let Ok(inventory) = serde_json::from_slice::<Inventory>(bytes) {
        again(&inventory);
    }
}

/// Rows of the journal, and a history made of them.
fn journal(bytes: &[u8]) {
    if let Ok(envelope) = serde_json::from_slice::<Envelope>(bytes) {
        again(&envelope);
    }
    let _ = workload::journal::read(&String::from_utf8_lossy(bytes));
}

/// Packets at a lease's door: one that is read is written as it came.
fn attach(bytes: &[u8]) {
    if let Ok(message) = Message::decode(bytes) {
        // A welcome without CUDA may come in either of its two forms.
        let written = Message::decode(&message.encode());
        assert_eq!(written.as_ref().ok(), Some(&message), "{written:?}");
    }
}

/// Packets on a shim's control socket, its plan and its state.
fn shim(bytes: &[u8]) {
    use polder_agent::shim::{Plan, Reply, Request, ShimState};
    if let Ok(request) = serde_json::from_slice::<Request>(bytes) {
        again(&request);
    }
    if let Ok(reply) = serde_json::from_slice::<Reply>(bytes) {
        again(&reply);
    }
    if let Ok(plan) = serde_json::from_slice::<Plan>(bytes) {
        again(&plan);
    }
    if let Ok(state) = serde_json::from_slice::<ShimState>(bytes) {
        again(&state);
    }
}

/// A usage page that says anything, beside the calls that read it: sums saturate, counts are cut, and
/// what is handed out stays within its slot.
fn page(bytes: &[u8]) {
    let usage = Usage::new(1);
    let mut words = bytes.chunks(10);
    let mut write = |usage: &Usage| {
        for chunk in words.by_ref().take(64) {
            let [field, slot, rest @ ..] = chunk else { continue };
            let mut value = [0; 8];
            value[..rest.len()].copy_from_slice(rest);
            let value = u64::from_le_bytes(value);
            let slot = &usage.slot[usize::from(*slot) % SLOTS_MAX];
            let short = u32::try_from(value & 0xffff_ffff).expect("it was cut to 32 bits");
            let device = &slot.device[usize::from(*field >> 4) % DEVICES_MAX];
            match field % 10 {
                0 => slot.pid.store(short, Ordering::Relaxed),
                1 => slot.inflight.store(short, Ordering::Relaxed),
                2 => slot.waiting.store(short, Ordering::Relaxed),
                3 => slot.completed.store(value, Ordering::Relaxed),
                4 => slot.launched.store(value, Ordering::Relaxed),
                5 => slot.longest_ns.store(value, Ordering::Relaxed),
                6 => device.held.store(value, Ordering::Relaxed),
                7 => device.claim.store(value, Ordering::Relaxed),
                8 => usage.high_water.store(short, Ordering::Relaxed),
                _ => usage.peak[0].store(value, Ordering::Relaxed),
            }
        }
    };
    write(&usage);
    let census = gate::census(&usage);
    let slots = u64::try_from(SLOTS_MAX).expect("a few hundred");
    assert!(census.inflight <= slots * u64::from(gate::COUNT_MAX));
    assert!(census.waiting <= slots * u64::from(gate::COUNT_MAX));
    let before = memory::held(&usage, 0);
    let limit = before.saturating_add(4096);
    if memory::reserve(&usage, 3, 0, 4096, || limit, || ()).is_ok() {
        assert!(memory::held(&usage, 0) <= limit.max(before), "no more than its limit");
    }
    memory::free(&usage, 3, 0, u64::MAX);
    assert_eq!(usage.slot[3].device[0].held.load(Ordering::Relaxed), 0, "never below zero");
    write(&usage);
    for index in [0, 3, SLOTS_MAX - 1] {
        usage.claim_slot(index, 7);
        usage.retire_slot(index);
        assert_eq!(usage.slot[index].pid.load(Ordering::Relaxed), 0);
    }
}

/// What a profiled process wrote down: whatever it is, the parts of a run add up to it.
fn record(bytes: &[u8]) {
    let Ok(log) = Log::read(bytes, &mut Budget::of(vec![bytes.len() as u64])) else { return };
    let word = |at: usize| {
        let word = bytes.get(at..at + 8).map(|word| word.try_into().expect("eight bytes"));
        word.map_or(0, u64::from_le_bytes)
    };
    // Before, within and after what the records tell, as they have it.
    let run = Run {
        command: vec!["fuzz".into()],
        compute: Permille(300),
        memory: Bytes(1 << 30),
        began_ns: word(24),
        ended_ns: word(24).saturating_add(word(160).max(1 << 20)),
        logs: vec![log.clone(), log],
        unread: 0,
        words: vec!["polder".into(), "run".into()],
    };
    let timeline = Timeline::of(&run);
    let (summary, picture) = summarise(&run, &timeline);
    assert_eq!(summary.parts.values().sum::<u64>(), summary.length_ns);
    let _ = report(&summary, &picture);
    trace(&run, &timeline, &mut std::io::sink()).expect("a sink takes everything");
}

/// What was read is written and read again as it was.
fn again<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
    let written = serde_json::to_string(value).expect("what was read can be written");
    let read = serde_json::from_str::<T>(&written);
    assert_eq!(read.as_ref().ok(), Some(value), "{read:?} of {written}");
}

/// A word that is understood is spelled in a way that is understood.
fn spelled<T: FromStr + Display>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let spelled = value.to_string();
        assert!(spelled.parse::<T>().is_ok(), "{text:?} is spelled {spelled:?}");
    }
}
