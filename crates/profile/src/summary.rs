//! A run in numbers: where its time went, by name and direction, what it held, and what that means.

use crate::advice::{Advice, Verdict, advise, judge};
use crate::parts::{Part, divide};
use crate::picture::Picture;
use crate::timeline::{Piece, Run, Timeline};
use polder_ledger::record::{Log, OTHER, SpanKind};
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
    /// What of the records was not read, for it was too much.
    pub left_out: LeftOut,
    /// The processes that used a device.
    pub processes: Vec<Process>,
    /// What else should be known.
    pub notes: Vec<String>,
}

/// What of a run's records was not read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Processes of which only the first records were read.
    pub processes_cut: u64,
    /// Processes whose records were not read at all.
    pub processes: u64,
    /// Parts of names.
    pub names: u64,
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

/// Sums a run up, and draws how it went.
#[must_use]
pub fn summarise(run: &Run, timeline: &Timeline) -> (Summary, Picture) {
    let (mut gaps, mut picture) = (Gap::default(), Picture::new(timeline.length));
    let parts = divide(timeline, |stretch| {
        gaps.take(stretch);
        picture.take(stretch);
    });
    let (from, to) = timeline.active();
    let active_ns = to - from;
    let pieces = &timeline.pieces;
    let busy_ns = busy(pieces);
    let commands = || pieces.iter().filter(|piece| piece.kind != SpanKind::Wait);
    let count = |which: &dyn Fn(&&Piece) -> bool| commands().filter(which).count() as u64;
    let waits = pieces.iter().filter(|piece| waits(piece)).count() as u64;
    let sum = |of: fn(&Log) -> u64| run.logs.iter().map(of).fold(0, u64::saturating_add);
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
        left_out: LeftOut {
            processes_cut: sum(|log| log.cut.into()),
            processes: run.unread,
            names: sum(|log| log.names_left_out),
        },
        processes: processes(run, pieces),
        notes: Vec::new(),
    };
    summary.advice = advise(&summary, run);
    summary.notes = notes(&summary, run);
    (summary, picture)
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

/// All spans of one name, without it.
#[derive(Debug, Clone, Copy)]
struct Sum {
    count: u64,
    total_ns: u64,
    shortest_ns: u64,
    longest_ns: u64,
    bytes: u64,
}

impl Sum {
    const NOTHING: Self =
        Self { count: 0, total_ns: 0, shortest_ns: u64::MAX, longest_ns: 0, bytes: 0 };

    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.total_ns = self.total_ns.saturating_add(other.total_ns);
        self.shortest_ns = self.shortest_ns.min(other.shortest_ns);
        self.longest_ns = self.longest_ns.max(other.longest_ns);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    fn of(piece: &Piece) -> Self {
        let ran = if piece.kind == SpanKind::Wait { Some(piece.call) } else { piece.ran };
        let nothing = Self { count: 1, bytes: piece.bytes, ..Self::NOTHING };
        ran.map_or(nothing, |(start, end)| {
            let length = end - start;
            Self { total_ns: length, shortest_ns: length, longest_ns: length, ..nothing }
        })
    }

    fn named(self, name: &str, kind: &'static str) -> Named {
        let Self { count, total_ns, shortest_ns, longest_ns, bytes } = self;
        let shortest_ns = shortest_ns.min(longest_ns);
        Named { name: name.to_owned(), kind, count, total_ns, shortest_ns, longest_ns, bytes }
    }
}

/// By number first: a text is looked at once for each number, not for each piece.
fn names(run: &Run, pieces: &[Piece]) -> Vec<Named> {
    let mut by_number: BTreeMap<(SpanKind, usize, u32), Sum> = BTreeMap::new();
    for piece in pieces {
        let number = (piece.kind, piece.process, piece.name);
        by_number.entry(number).or_insert(Sum::NOTHING).add(Sum::of(piece));
    }
    let mut by_name: BTreeMap<(&'static str, &str), Sum> = BTreeMap::new();
    for ((kind, process, number), sum) in by_number {
        let name = run.logs.get(process).and_then(|log| log.names.get(&number));
        let name = name.map_or(OTHER, String::as_str);
        by_name.entry((kind_word(kind), name)).or_insert(Sum::NOTHING).add(sum);
    }
    let mut names: Vec<_> = by_name.into_iter().collect();
    names.sort_by_key(|(_, sum)| std::cmp::Reverse((sum.total_ns, sum.count)));
    let others = names.split_off(names.len().min(NAMES_SHOWN_MAX));
    let mut shown: Vec<Named> =
        names.into_iter().map(|((kind, name), sum)| sum.named(name, kind)).collect();
    if !others.is_empty() {
        let mut rest = Sum::NOTHING;
        others.into_iter().for_each(|(_, sum)| rest.add(sum));
        shown.push(rest.named(OTHER, "others"));
    }
    shown
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

/// Most bytes held on one device at one time, over all processes that were still at work. Each call of
/// a process says what it holds on that device; behind its last call it holds nothing.
fn memory_peak(pieces: &[Piece]) -> u64 {
    let mut last: BTreeMap<usize, u64> = BTreeMap::new();
    for piece in pieces {
        last.insert(piece.process, piece.call.1);
    }
    let mut ends: Vec<(u64, usize)> = last.into_iter().map(|(process, at)| (at, process)).collect();
    ends.sort_unstable();
    let mut ends = ends.into_iter().peekable();
    let mut held: BTreeMap<usize, BTreeMap<u16, u64>> = BTreeMap::new();
    let mut sums: BTreeMap<u16, u128> = BTreeMap::new();
    let mut peak = 0;
    for piece in pieces {
        while let Some((_, over)) = ends.next_if(|(at, _)| *at < piece.call.0) {
            for (device, bytes) in held.remove(&over).into_iter().flatten() {
                *sums.entry(device).or_default() -= u128::from(bytes);
            }
        }
        let before = held.entry(piece.process).or_default().insert(piece.device, piece.held);
        let sum = sums.entry(piece.device).or_default();
        *sum = *sum - u128::from(before.unwrap_or(0)) + u128::from(piece.held);
        peak = peak.max(*sum);
    }
    u64::try_from(peak).unwrap_or(u64::MAX)
}

fn processes(run: &Run, pieces: &[Piece]) -> Vec<Process> {
    let mut commands = vec![0; run.logs.len()];
    for piece in pieces.iter().filter(|piece| piece.kind != SpanKind::Wait) {
        if let Some(count) = commands.get_mut(piece.process) {
            *count += 1;
        }
    }
    let process = |(log, commands): (&Log, u64)| {
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
        (
            summary.left_out.processes_cut,
            "processes wrote more records than are read of so many: what is said of them is of their \
             first ones, and what came after counts as no work",
        ),
        (
            summary.left_out.processes,
            "processes' records are not read: they are too many, or no records",
        ),
        (summary.left_out.names, "parts of names are left out: they are too many"),
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
    summarise(&run, &Timeline::of(&run)).0
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
    use proptest::prelude::*;

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
            summarise(&run, &Timeline::of(&run)).0.memory_peak_bytes
        };
        assert_eq!(two(vec![at(10, 30)]), 40);
        assert_eq!(two(vec![at(50, 30)]), 30);
    }

    #[test]
    fn what_is_missing_is_told() {
        let mut run =
            run(10, vec![Span { failed: true, start_ns: 0, ..span(SpanKind::Kernel, 1, 0, 0) }]);
        (run.logs[0].unfinished, run.logs[0].header.dropped, run.logs[0].malformed) = (1, 2, 3);
        let (summary, _) = summarise(&run, &Timeline::of(&run));
        assert_eq!((summary.failed, summary.unfinished, summary.dropped), (1, 1, 2));
        assert_eq!(summary.notes.len(), 5, "{:?}", summary.notes);
        (run.logs[0].cut, run.logs[0].names_left_out, run.unread) = (true, 4, 5);
        let (summary, _) = summarise(&run, &Timeline::of(&run));
        let expect = LeftOut { processes_cut: 1, processes: 5, names: 4 };
        assert_eq!((summary.left_out, summary.notes.len()), (expect, 8), "{:?}", summary.notes);
    }

    #[test]
    fn names_beyond_the_shown_are_summed_in_one() {
        let many = NAMES_SHOWN_MAX as u64 + 5;
        let at = |name: u64| Span {
            name: name.try_into().unwrap(),
            ..span(SpanKind::Kernel, name, name + 1, name + 2)
        };
        let mut run = run(many + 2, (0..many).map(at).collect());
        run.logs[0].names = (0..).zip((0..many).map(|name| format!("k{name}"))).collect();
        let names = summarise(&run, &Timeline::of(&run)).0.names;
        assert_eq!(names.len(), NAMES_SHOWN_MAX + 1);
        let last = names.last().unwrap();
        assert_eq!((last.kind, last.count, last.total_ns), ("others", 5, 5 * MS));
    }

    /// As it is defined, looking at every process at every call.
    fn memory_peak_slowly(pieces: &[Piece]) -> u64 {
        let is_over = |process: usize, at: u64| {
            let last = pieces.iter().rfind(|piece| piece.process == process).unwrap();
            last.call.1 < at
        };
        let at = |end: usize| {
            let now = &pieces[end];
            let mut held = BTreeMap::new();
            for piece in pieces[..=end].iter().filter(|piece| piece.device == now.device) {
                held.insert(piece.process, piece.held);
            }
            held.retain(|process, _| !is_over(*process, now.call.0));
            held.into_values().fold(0, u64::saturating_add)
        };
        (0..pieces.len()).map(at).max().unwrap_or(0)
    }

    proptest! {
        #[test]
        fn most_memory_is_what_looking_at_every_process_finds(
            calls in prop::collection::vec(
                (0..4_usize, 0..2_u16, 0..40_u64, 0..9_u64, prop_oneof![0..50_u64, Just(u64::MAX)]),
                0..60,
            ),
        ) {
            let mut run = run(100, vec![]);
            run.logs = vec![log(vec![]); 4];
            for (process, device, called, length, held_bytes) in calls {
                let (called_ns, returned_ns) = (called * MS, (called + length) * MS);
                let none = span(SpanKind::Wait, 0, 0, 0);
                run.logs[process].spans.push(Span { device, called_ns, returned_ns, held_bytes, ..none });
            }
            let pieces = Timeline::of(&run).pieces;
            prop_assert_eq!(memory_peak(&pieces), memory_peak_slowly(&pieces));
        }
    }
}
