//! A run in numbers: where its time went, by name and direction, what it held, and what that means.

use crate::advice::{Advice, Verdict, advise, judge};
use crate::parts::{Part, divide};
use crate::timeline::{Piece, Run, Timeline};
use polder_ledger::record::SpanKind;
use serde::Serialize;
use std::collections::BTreeMap;

/// Most rows of names in a summary; the others are summed in one.
const NAMES_SHOWN_MAX: usize = 200;

/// A run in numbers. Times are nanoseconds, sizes bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The command line.
    pub command: Vec<String>,
    /// Share of the device that it was guaranteed, in thousandths.
    pub compute_thousandths: u32,
    /// From its start to its end.
    pub length_ns: u64,
    /// From its first call to the last moment that anything was done.
    pub active_ns: u64,
    /// What bounds it.
    pub verdict: Verdict,
    /// A slice that would suit it; none when it used no device.
    pub advice: Option<Advice>,
    /// Each moment of the run once.
    pub parts: BTreeMap<Part, u64>,
    /// By device of the lease: how long anything ran there.
    pub busy_ns: BTreeMap<u16, u64>,
    /// Stretches in which no device worked, between the first call and the last moment.
    pub gaps: Gaps,
    /// By name: kernels, copies and waits, the longest in sum first.
    pub names: Vec<Named>,
    /// By direction.
    pub moved: BTreeMap<&'static str, Moved>,
    /// How long threads waited for the lease's turn, in sum.
    pub waited_ns: u64,
    /// Most device memory held at one time, on one device, as far as seen at calls.
    pub memory_peak_bytes: u64,
    /// How often a thread waited for the device.
    pub waits: u64,
    /// Launches and copies.
    pub commands: u64,
    /// Of those, that the driver says failed.
    pub failed: u64,
    /// Those whose end nobody heard of.
    pub unfinished: u64,
    /// Those without times of the device.
    pub untimed: u64,
    /// Spans that were counted and not written down.
    pub dropped: u64,
    /// Records that made no sense.
    pub malformed: u64,
    /// The processes that used a device.
    pub processes: Vec<Process>,
    /// What else should be known.
    pub notes: Vec<String>,
}

/// Stretches without work on any device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Gaps {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub total_ns: u64,
    /// The longest.
    pub longest_ns: u64,
}

/// All spans of one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// What it was: `kernel`, `to_device`, `to_host`, `within`, `wait`.
    pub kind: &'static str,
    /// How often.
    pub count: u64,
    /// In sum, on the device; of waits, in the call.
    pub total_ns: u64,
    /// The shortest.
    pub shortest_ns: u64,
    /// The longest.
    pub longest_ns: u64,
    /// Bytes moved.
    pub bytes: u64,
}

/// All that went one way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// How often.
    pub count: u64,
    /// As far as the calls say.
    pub bytes: u64,
    /// In sum, on the device.
    pub total_ns: u64,
    /// Bytes by device time; none where no time is known.
    pub bytes_per_second: Option<u64>,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its name, as the kernel has it.
    pub name: String,
    /// Launches and copies.
    pub commands: u64,
}

pub(crate) fn kind_word(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Kernel => "kernel",
        SpanKind::ToDevice => "to_device",
        SpanKind::ToHost => "to_host",
        SpanKind::Within => "within",
        SpanKind::Wait => "wait",
    }
}

/// Sums a run up.
#[must_use]
pub fn summarise(run: &Run, timeline: &Timeline) -> Summary {
    let mut gaps = Gap::default();
    let parts = divide(timeline, |stretch| gaps.take(stretch));
    let (from, to) = timeline.active();
    let active_ns = to - from;
    let pieces = &timeline.pieces;
    let busy_ns = busy(pieces);
    let commands = || pieces.iter().filter(|piece| piece.kind != SpanKind::Wait);
    let count = |which: &dyn Fn(&&Piece) -> bool| commands().filter(which).count() as u64;
    let waits = pieces.iter().filter(|piece| waits(piece)).count() as u64;
    let sum = |of: fn(&polder_ledger::record::Log) -> u64| {
        run.logs.iter().map(of).fold(0, u64::saturating_add)
    };
    let mut summary = Summary {
        command: run.command.clone(),
        compute_thousandths: run.compute.0,
        length_ns: timeline.length,
        active_ns,
        verdict: judge(&parts, active_ns),
        advice: None,
        parts: Part::ALL.into_iter().map(|part| (part, parts.get(part))).collect(),
        busy_ns,
        gaps: gaps.done(),
        names: names(run, pieces),
        moved: moved(pieces),
        waited_ns: pieces.iter().fold(0, |all, piece| all.saturating_add(piece.waited)),
        memory_peak_bytes: memory_peak(pieces),
        waits,
        commands: count(&|_| true),
        failed: count(&|piece| piece.failed),
        unfinished: sum(|log| log.unfinished),
        untimed: count(&|piece| piece.ran.is_none() && !piece.failed),
        dropped: sum(|log| log.header.dropped),
        malformed: sum(|log| log.malformed),
        processes: processes(run, pieces),
        notes: Vec::new(),
    };
    summary.advice = advise(&summary, run);
    summary.notes = notes(&summary, run);
    summary
}

/// Whether the thread waited for the device: a call to do so, or one that returned when the command
/// was over.
fn waits(piece: &Piece) -> bool {
    match piece.ran {
        _ if piece.kind == SpanKind::Wait => true,
        Some((start, end)) => piece.call.1 >= end && end > start,
        None => false,
    }
}

/// Stretches without work, put together.
#[derive(Debug, Default)]
struct Gap {
    open_ns: u64,
    gaps: Gaps,
}

impl Gap {
    fn take(&mut self, (from, to, parts): crate::parts::Stretch) {
        let idle = [Part::Turn, Part::Calls, Part::Cpu, Part::Elsewhere];
        if idle.into_iter().any(|part| parts.get(part) > 0) {
            self.open_ns += to - from;
        } else {
            self.close();
        }
    }

    fn close(&mut self) {
        if self.open_ns > 0 {
            self.gaps.count += 1;
            self.gaps.total_ns += self.open_ns;
            self.gaps.longest_ns = self.gaps.longest_ns.max(self.open_ns);
            self.open_ns = 0;
        }
    }

    fn done(mut self) -> Gaps {
        self.close();
        self.gaps
    }
}

/// By device, how long anything ran there.
fn busy(pieces: &[Piece]) -> BTreeMap<u16, u64> {
    let mut ran: BTreeMap<u16, Vec<(u64, u64)>> = BTreeMap::new();
    for piece in pieces {
        ran.entry(piece.device).or_default().extend(piece.ran);
    }
    let union = |mut ran: Vec<(u64, u64)>| {
        ran.sort_unstable();
        let (mut sum, mut until) = (0, 0);
        for (start, end) in ran {
            sum += end.saturating_sub(start.max(until));
            until = until.max(end);
        }
        sum
    };
    ran.into_iter().map(|(device, ran)| (device, union(ran))).collect()
}

fn names(run: &Run, pieces: &[Piece]) -> Vec<Named> {
    let mut by_number: BTreeMap<(SpanKind, usize, u32), Named> = BTreeMap::new();
    for piece in pieces {
        let named = by_number.entry((piece.kind, piece.process, piece.name)).or_insert_with(|| {
            let names = run.logs.get(piece.process).map(|log| &log.names);
            let name = names.and_then(|names| names.get(&piece.name));
            Named {
                name: name.map_or(polder_ledger::record::OTHER, String::as_str).to_owned(),
                kind: kind_word(piece.kind),
                count: 0,
                total_ns: 0,
                shortest_ns: u64::MAX,
                longest_ns: 0,
                bytes: 0,
            }
        });
        let ran = if piece.kind == SpanKind::Wait { Some(piece.call) } else { piece.ran };
        named.count += 1;
        named.bytes = named.bytes.saturating_add(piece.bytes);
        if let Some((start, end)) = ran {
            named.total_ns = named.total_ns.saturating_add(end - start);
            named.shortest_ns = named.shortest_ns.min(end - start);
            named.longest_ns = named.longest_ns.max(end - start);
        }
    }
    let mut by_name: BTreeMap<(&'static str, String), Named> = BTreeMap::new();
    for named in by_number.into_values() {
        match by_name.entry((named.kind, named.name.clone())) {
            std::collections::btree_map::Entry::Vacant(place) => drop(place.insert(named)),
            std::collections::btree_map::Entry::Occupied(mut known) => known.get_mut().add(&named),
        }
    }
    let mut names: Vec<Named> = by_name.into_values().collect();
    names.sort_by_key(|named| std::cmp::Reverse((named.total_ns, named.count)));
    let mut others = names.split_off(names.len().min(NAMES_SHOWN_MAX)).into_iter();
    if let Some(mut rest) = others.next() {
        others.for_each(|other| rest.add(&other));
        let (name, kind) = (polder_ledger::record::OTHER.to_owned(), "others");
        names.push(Named { name, kind, ..rest });
    }
    names.iter_mut().for_each(|named| named.shortest_ns = named.shortest_ns.min(named.longest_ns));
    names
}

impl Named {
    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.total_ns = self.total_ns.saturating_add(other.total_ns);
        self.shortest_ns = self.shortest_ns.min(other.shortest_ns);
        self.longest_ns = self.longest_ns.max(other.longest_ns);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

fn moved(pieces: &[Piece]) -> BTreeMap<&'static str, Moved> {
    let mut moved: BTreeMap<&'static str, Moved> = BTreeMap::new();
    for piece in pieces {
        if !matches!(piece.kind, SpanKind::ToDevice | SpanKind::ToHost | SpanKind::Within) {
            continue;
        }
        let way = moved.entry(kind_word(piece.kind)).or_default();
        way.count += 1;
        way.bytes = way.bytes.saturating_add(piece.bytes);
        let length = piece.ran.map_or(0, |(start, end)| end - start);
        way.total_ns = way.total_ns.saturating_add(length);
    }
    for way in moved.values_mut() {
        let rate = u128::from(way.bytes) * 1_000_000_000 / u128::from(way.total_ns.max(1));
        way.bytes_per_second = (way.total_ns > 0).then(|| u64::try_from(rate).unwrap_or(u64::MAX));
    }
    moved
}

/// Most bytes held on one device at one time, over all processes that were still at work.
fn memory_peak(pieces: &[Piece]) -> u64 {
    let mut last: BTreeMap<usize, u64> = BTreeMap::new();
    for piece in pieces {
        last.insert(piece.process, piece.call.1);
    }
    let mut held: BTreeMap<u16, BTreeMap<usize, u64>> = BTreeMap::new();
    let mut peak = 0;
    for piece in pieces {
        let on_device = held.entry(piece.device).or_default();
        on_device.insert(piece.process, piece.held);
        if on_device.len() > 1 {
            on_device
                .retain(|process, _| last.get(process).is_some_and(|last| *last >= piece.call.0));
        }
        peak = peak.max(on_device.values().fold(0, |all, held| u64::saturating_add(all, *held)));
    }
    peak
}

fn processes(run: &Run, pieces: &[Piece]) -> Vec<Process> {
    let mut commands = vec![0; run.logs.len()];
    for piece in pieces.iter().filter(|piece| piece.kind != SpanKind::Wait) {
        if let Some(count) = commands.get_mut(piece.process) {
            *count += 1;
        }
    }
    let process = |(log, commands): (&polder_ledger::record::Log, u64)| {
        let name = String::from_utf8_lossy(&log.header.comm);
        let name = name.trim_end_matches('\0').to_owned();
        Process { pid: log.header.pid, name, commands }
    };
    // Each library that was loaded has a file, also where it was not used.
    let used = run.logs.iter().zip(commands).filter(|(log, _)| !log.spans.is_empty());
    used.map(process).collect()
}

fn notes(summary: &Summary, run: &Run) -> Vec<String> {
    let mut notes = Vec::new();
    if run.logs.is_empty() {
        notes.push(
            "no process loaded Polder's driver: none looked for a device, or the job's mechanism runs \
             without it (whole, spatial)"
                .to_owned(),
        );
    }
    let around = summary.parts.get(&Part::Around).copied().unwrap_or(0);
    if summary.commands > 0 && around > summary.length_ns / 2 {
        notes.push(
            "more than half of the run lies before its first call and after its last: what is said \
             of bounds is of the time between"
                .to_owned(),
        );
    }
    for (count, what) in [
        (summary.failed, "commands failed, as the driver says"),
        (summary.unfinished, "commands were left behind: their program did not wait for their end"),
        (
            summary.untimed,
            "commands have no times of the device: they count as launched, and not as work",
        ),
        (summary.dropped, "commands are not in here: a process had too many, or the disk was full"),
        (summary.malformed, "records made no sense and are left out"),
    ] {
        if count > 0 {
            notes.push(format!("{count} {what}"));
        }
    }
    notes
}

impl Summary {
    /// A part of the time between the first call and the last moment, in thousandths.
    #[must_use]
    pub fn thousandths(&self, ns: u64) -> u32 {
        let part = u128::from(ns) * 1000 / u128::from(self.active_ns.max(1));
        u32::try_from(part.min(1000)).unwrap_or(1000)
    }
}

/// The parts as they are summed up, for the advice.
pub(crate) fn part(summary: &Summary, part: Part) -> u64 {
    summary.parts.get(&part).copied().unwrap_or(0)
}

/// The summary of a run of one process.
#[cfg(test)]
pub(crate) fn of(spans: Vec<polder_ledger::record::Span>, length_ms: u64) -> Summary {
    let run = crate::timeline::tests::run(length_ms, spans);
    summarise(&run, &Timeline::of(&run))
}

/// How much of a run's active time each part is; kept here so that the page and the table agree.
pub(crate) fn shares(summary: &Summary) -> impl Iterator<Item = (Part, u64)> + '_ {
    Part::ALL.into_iter().map(|each| (each, part(summary, each))).filter(|(_, ns)| *ns > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::tests::{MS, log, run, span};
    use polder_ledger::record::Span;

    #[test]
    fn names_directions_gaps_and_memory_are_summed() {
        let copy = |call, start, end| Span {
            name: 1,
            bytes: 1000,
            held_bytes: 5000,
            ..span(SpanKind::ToDevice, call, start, end)
        };
        let kernels = [span(SpanKind::Kernel, 11, 12, 20), span(SpanKind::Kernel, 30, 30, 32)];
        let summary = of([copy(0, 1, 11)].into_iter().chain(kernels).collect(), 40);
        let named: Vec<_> = summary
            .names
            .iter()
            .map(|n| (&*n.name, n.count, n.total_ns / MS, n.shortest_ns / MS, n.longest_ns / MS))
            .collect();
        let expect = [("gemm", 2, 10, 2, 8), ("clEnqueueWriteBuffer", 1, 10, 10, 10)];
        assert_eq!(named, expect);
        let way = summary.moved["to_device"];
        assert_eq!((way.bytes, way.bytes_per_second), (1000, Some(100_000)));
        assert_eq!(summary.gaps, Gaps { count: 3, total_ns: 12 * MS, longest_ns: 10 * MS });
        assert_eq!((summary.memory_peak_bytes, summary.commands), (5000, 3));
        assert_eq!(summary.busy_ns, [(0, 20 * MS)].into());
    }

    #[test]
    fn memory_of_processes_counts_together_only_while_they_live() {
        let at =
            |call, held| Span { held_bytes: held, ..span(SpanKind::Kernel, call, call, call + 1) };
        let two = |second: Vec<Span>| {
            let mut run = run(100, vec![at(0, 10), at(20, 10)]);
            run.logs.push(log(second));
            summarise(&run, &Timeline::of(&run)).memory_peak_bytes
        };
        assert_eq!(two(vec![at(10, 30)]), 40);
        assert_eq!(two(vec![at(50, 30)]), 30);
    }

    #[test]
    fn what_is_missing_is_told() {
        let mut run =
            run(10, vec![Span { failed: true, start_ns: 0, ..span(SpanKind::Kernel, 1, 0, 0) }]);
        (run.logs[0].unfinished, run.logs[0].header.dropped, run.logs[0].malformed) = (1, 2, 3);
        let summary = summarise(&run, &Timeline::of(&run));
        assert_eq!((summary.failed, summary.unfinished, summary.dropped), (1, 1, 2));
        assert_eq!(summary.notes.len(), 5, "{:?}", summary.notes);
    }
}
