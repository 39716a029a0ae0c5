//! Values as people read them: commands, moments, lengths.

use polder_model::{
    Bytes, DeviceAsk, DeviceId, Gang, GangKind, HostAsk, Job, JobState, Late, Lease, Mechanism,
    Resized, Slice, Timestamp,
};
use polder_server::api::LeaseView;
use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

/// Longest command shown in a table.
const COMMAND_CHARS_MAX: usize = 40;

/// This machine's clock, to say how long ago something was.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// `2026-11-22T15:04:05Z`.
pub(crate) fn moment(at: Timestamp) -> String {
    let seconds = i64::try_from(at.0 / 1_000_000).ok();
    let at = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    at.map_or_else(|| "?".to_owned(), |at| at.to_string())
}

/// A name by which to sort as people count: `sim-2` before `sim-10`.
pub(crate) fn counted(name: &str) -> Vec<(String, u64)> {
    let (mut parts, mut rest) = (Vec::new(), name);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(digits);
        let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let (number, after) = after.split_at(end);
        parts.push((word.to_owned(), number.parse().unwrap_or(u64::MAX)));
        rest = after;
    }
    parts
}

/// A deadline that will not be met.
pub(crate) fn late(late: &Late) -> String {
    let Late { deadline, over_at, by_estimate } = late;
    let by = match (by_estimate, over_at <= &now()) {
        (_, true) => return format!("its deadline, {}, has passed", moment(*deadline)),
        (true, _) => "by its user's estimate",
        (false, _) => "as such jobs did",
    };
    let (late, deadline) = (over_at.since(*deadline), moment(*deadline));
    format!("its deadline is {deadline}; at the soonest it is over {late} later, {by}")
}

/// What was changed of a job's size, when and by whom.
pub(crate) fn resized(resized: &Resized) -> String {
    format!("{} at {} by {}", resized, moment(resized.at), resized.by)
}

/// A command as it would be typed, cut where it gets long.
pub(crate) fn command(words: &[String]) -> String {
    let text = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    if text.chars().count() <= COMMAND_CHARS_MAX {
        return text;
    }
    text.chars().take(COMMAND_CHARS_MAX - 1).chain(['…']).collect()
}

/// A word as a shell would need it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=+,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// `4`, or `2..4`, and what kind of gang it is if not a rigid one.
pub(crate) fn gang(gang: Gang) -> String {
    let kind = match gang.kind {
        GangKind::Rigid => "",
        GangKind::Elastic => " elastic",
        GangKind::Service => " service",
    };
    if gang.min == gang.max {
        format!("{}{kind}", gang.max)
    } else {
        format!("{}..{}{kind}", gang.min, gang.max)
    }
}

/// How many tasks a job has: of one whose number may change, how many run.
pub(crate) fn tasks(job: &Job) -> String {
    let may_change = job.ask.gang.kind != GangKind::Rigid;
    match job.state {
        JobState::Running if may_change => format!("{} of {}", job.running, gang(job.ask.gang)),
        _ => gang(job.ask.gang),
    }
}

/// What a task asks of devices: `30% 1 GiB`, `2 x whole`, `no device`.
pub(crate) fn devices(ask: &DeviceAsk) -> String {
    if ask.count == 0 {
        return "no device".to_owned();
    }
    let behind = ask.backing.map_or_else(String::new, |size| format!(" + {size} on the host"));
    let one = if ask.whole {
        "whole".to_owned()
    } else {
        format!("{} {}{behind}", ask.compute, ask.memory)
    };
    if ask.count == 1 { one } else { format!("{} x {one}", ask.count) }
}

/// `1 task`, `2 tasks`.
pub(crate) fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// A device as screens name it: one that is not there is called simulated, without a space that
/// would make two columns of it.
pub(crate) fn device(id: &DeviceId) -> String {
    let simulated = id.as_str().starts_with(polder_devices::SIMULATED_ID_PREFIX);
    if simulated { format!("{id}(simulated)") } else { id.to_string() }
}

/// How many devices a node has, with how many of them are simulated.
pub(crate) fn devices_of(all: u32, simulated: u32) -> String {
    match simulated {
        0 => all.to_string(),
        _ if simulated == all => format!("{all}(simulated)"),
        _ => format!("{all}({simulated}-simulated)"),
    }
}

/// What keeps a lease's slice to itself. A whole device has no neighbour, which no level says: they
/// tell how a neighbour is held.
pub(crate) fn isolation(lease: &Lease, slice: Option<&Slice>) -> String {
    match (lease.isolation, slice) {
        (None, _) => String::new(),
        (Some(_), Some(Slice { mechanism: Mechanism::Whole, .. })) => "exclusive".to_owned(),
        (Some(isolation), _) => isolation.to_string(),
    }
}

/// Which limits of the ask its nodes could not set, each with what stands against it; alike ones of
/// several tasks once.
pub(crate) fn not_enforced<'a>(leases: impl Iterator<Item = &'a Lease>) -> Vec<String> {
    let all = leases.flat_map(|lease| lease.not_enforced.iter().map(|one| (one, &lease.node)));
    let unlike: BTreeSet<_> = all.collect();
    let line = |(one, node): (&polder_model::NotEnforced, &polder_model::NodeId)| {
        plain(&format!("the {} limit is not enforced on {node}: {}", one.limit, one.why))
    };
    unlike.into_iter().map(line).collect()
}

/// Why a device of a live lease runs slower than it could; empty when it does not.
pub(crate) fn throttle(view: &LeaseView, device: &DeviceId) -> String {
    let used = view.sample.iter().flat_map(|sample| &sample.devices);
    let of = used.filter(|used| used.device == *device).flat_map(|used| &used.throttle);
    of.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The devices of live leases that run slower than they could, and why.
pub(crate) fn slowed(leases: &[LeaseView]) -> Vec<String> {
    let slices = leases.iter().flat_map(|view| view.lease.slices.iter().map(move |s| (view, s)));
    let all = slices.map(|(view, slice)| (slice, view, throttle(view, &slice.device)));
    let slowed = all.filter(|(_, _, reasons)| !reasons.is_empty());
    slowed
        .map(|(slice, view, reasons)| {
            format!("{}/{} of lease {}: {reasons}", view.lease.node, slice.device, view.lease.id)
        })
        .collect()
}

/// What the programs of a live lease have pinned of their node's host memory; nothing when it is none.
pub(crate) fn pinned(view: &LeaseView) -> String {
    let pinned = view.sample.as_ref().map(|sample| sample.host_pinned);
    pinned.filter(|pinned| !pinned.is_zero()).map_or_else(String::new, |it| it.to_string())
}

/// The live leases whose programs have pinned host memory, and how much.
pub(crate) fn all_pinned(leases: &[LeaseView]) -> Vec<String> {
    let all = leases.iter().map(|view| (view, pinned(view))).filter(|(_, it)| !it.is_empty());
    all.map(|(view, it)| {
        format!("{it} of {}'s host memory, by lease {}", view.lease.node, view.lease.id)
    })
    .collect()
}

/// What a live lease has to pay back of a device before its next turn; nothing when it is none.
pub(crate) fn owed(view: &LeaseView, device: &DeviceId) -> String {
    let used = view.sample.iter().flat_map(|sample| &sample.devices);
    let owed = used.filter(|used| used.device == *device).map(|used| used.owed.0).max();
    owed.filter(|owed| *owed > 0)
        .map_or_else(String::new, |owed| format!("{}.{} s", owed / 1_000_000, owed / 100_000 % 10))
}

/// The live leases that have to pay back device time, and what that means for them.
pub(crate) fn all_owed(leases: &[LeaseView]) -> Vec<String> {
    let slices = leases.iter().flat_map(|view| view.lease.slices.iter().map(move |s| (view, s)));
    let all = slices.map(|(view, slice)| (slice, view, owed(view, &slice.device)));
    all.filter(|(_, _, owed)| !owed.is_empty())
        .map(|(slice, view, owed)| {
            format!(
                "{owed} of {}/{}, by lease {}: used beyond share or cap, by it or by an earlier lease of \
                 its user; its turns begin when that is paid",
                view.lease.node, slice.device, view.lease.id
            )
        })
        .collect()
}

/// What resizes took from live leases and is nobody else's yet, and why.
pub(crate) fn leaving(leases: &[LeaseView]) -> Vec<String> {
    let of = |view: &LeaseView| {
        let (lease, leaving) = (&view.lease, view.lease.leaving);
        let left = lease.slices.first().map_or(Bytes(0), |slice| slice.memory);
        let devices = view.sample.iter().flat_map(|sample| &sample.devices);
        let held = devices.map(|used| used.memory).max().filter(|held| *held > left);
        let until = match held {
            Some(held) => format!("its programs have freed it: they hold {held}"),
            None => "its node says that no more can be held".to_owned(),
        };
        let node = &lease.node;
        (view.ending.is_none() && !leaving.is_zero()).then(|| {
            format!("lease {} on {node} keeps {leaving} of each device until {until}", lease.id)
        })
    };
    leases.iter().filter_map(of).collect()
}

/// What nodes found that breaks the rules.
pub(crate) fn findings(leases: &[LeaseView]) -> Vec<String> {
    let of = |view: &LeaseView| {
        let id = view.lease.id;
        view.lease.findings.iter().map(move |one| plain(&one.line(id))).collect::<Vec<_>>()
    };
    leases.iter().flat_map(of).collect()
}

/// What a task asks for beside its devices.
pub(crate) fn beside(host: &HostAsk) -> String {
    let cpu = host.cpu.map(|cpu| format!("{cpu} CPUs"));
    let memory = host.memory.map(|memory| format!("{memory} of memory"));
    let nic = host.nic.map(|nic| format!("{nic} of network"));
    let pids = host.pids.map(|pids| format!("{pids} processes"));
    [cpu, memory, nic, pids].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Which tasks the kernel ended processes of, for passing their host memory.
pub(crate) fn memory_kills(leases: &[LeaseView]) -> Vec<String> {
    let kills = |view: &LeaseView| {
        let kills = view.ending.as_ref()?.end.sample.memory_kills;
        let (task, attempt) = (view.lease.task, view.lease.attempt);
        (kills > 0).then(|| {
            format!(
                "for passing its host memory the kernel ended {kills} of the processes of task {task} \
                 (try {attempt}): ask for more with --host-memory"
            )
        })
    };
    leases.iter().filter_map(kills).collect()
}

/// A bandwidth, where it is known.
pub(crate) fn bandwidth(each_second: Option<Bytes>) -> String {
    each_second.map_or_else(String::new, |bytes| format!("{bytes}/s"))
}

/// Text from elsewhere, without what could move the cursor or turn the order of what is read.
pub(crate) fn plain(text: &str) -> String {
    text.split('\n').map(one_line).collect::<Vec<_>>().join("\n")
}

/// The same on one line.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            _ if character.is_control() => line.push(' '),
            _ if polder_model::misleads(character) => line.extend(character.escape_unicode()),
            _ => line.push(character),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_typed_again() {
        let check = |words: &[&str], expect: &str| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(command(&words), expect);
        };
        check(&["python", "x.py", "--lr=0.1"], "python x.py --lr=0.1");
        check(&["sh", "-c", "echo 'a b'"], "sh -c 'echo '\\''a b'\\'''");
        check(&["a", ""], "a ''");
        let long = "x".repeat(100);
        check(&[&long], &format!("{}…", "x".repeat(39)));
    }

    #[test]
    fn names_are_sorted_as_people_count() {
        let mut names = ["sim-10", "sim-2", "sim-1", "gpu", "sim-02x", "7", ""];
        names.sort_by_cached_key(|name| counted(name));
        assert_eq!(names, ["", "7", "gpu", "sim-1", "sim-2", "sim-02x", "sim-10"]);
    }

    #[test]
    fn nothing_moves_the_cursor_or_turns_the_text() {
        assert_eq!(plain("a\u{1b}[31m\nb\u{202e}c\u{7}"), "a [31m\nb\\u{202e}c ");
        assert_eq!(one_line("a\nb\u{2068}"), "a b\\u{2068}");
    }

    #[test]
    fn simulated_devices_are_called_so() {
        assert_eq!(device(&"sim-3".parse().unwrap()), "sim-3(simulated)");
        assert_eq!(device(&"opencl-0-0".parse().unwrap()), "opencl-0-0");
        assert_eq!(devices_of(4, 0), "4");
        assert_eq!(devices_of(4, 4), "4(simulated)");
        assert_eq!(devices_of(4, 1), "4(1-simulated)");
    }

    #[test]
    fn moments_are_in_utc() {
        assert_eq!(moment(Timestamp(1_700_000_000_123_456)), "2023-11-14T22:13:20Z");
        assert_eq!(moment(Timestamp(u64::MAX)), "?");
    }
}
