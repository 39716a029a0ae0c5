//! Every moment of a run belongs to exactly one part.
//!
//! **Invariant.** The parts of a run add up to its length, whatever the records say. Where several
//! things happen at one time the moment belongs to the first of them in the order of [`Part::ALL`]:
//! while a kernel runs nobody asks what the host does.

use crate::timeline::{Piece, Timeline};
use polder_ledger::record::SpanKind;
use serde::Serialize;
use std::collections::BTreeMap;

/// What a moment was spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// A kernel ran.
    Kernels,
    /// Bytes were copied or filled within the device.
    Within,
    /// Bytes went between host and device.
    Transfers,
    /// The device was idle, and a thread waited for the lease's turn.
    Turn,
    /// The device was idle, and a thread was in a call of the API.
    Calls,
    /// The device was idle, and a thread that uses it computed.
    Cpu,
    /// The device was idle, and threads that use it slept or waited for something else.
    Elsewhere,
    /// Before the first call and after the last.
    Around,
}

impl Part {
    /// All of them, by rank.
    pub const ALL: [Self; 8] = [
        Self::Kernels,
        Self::Within,
        Self::Transfers,
        Self::Turn,
        Self::Calls,
        Self::Cpu,
        Self::Elsewhere,
        Self::Around,
    ];

    /// What people read.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Kernels => "kernels on the device",
            Self::Within => "copies and fills within the device",
            Self::Transfers => "transfers between host and device",
            Self::Turn => "waiting for its turn",
            Self::Calls => "in the driver, device idle",
            Self::Cpu => "computing on the CPU, device idle",
            Self::Elsewhere => "waiting for something else, device idle",
            Self::Around => "before the first call and after the last",
        }
    }
}

/// How long each part was, nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parts([u64; Part::ALL.len()]);

impl Parts {
    /// One of them.
    #[must_use]
    pub fn get(&self, part: Part) -> u64 {
        self.0[part as usize]
    }

    fn add(&mut self, part: Part, ns: u64) {
        self.0[part as usize] += ns;
    }

    /// Their sum.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// A stretch of a run in which nothing begins or ends: from, to, and how it divides.
pub(crate) type Stretch = (u64, u64, Parts);

/// What may be under way, by rank; the last two are threads between two calls, with how much of the
/// time they compute.
#[derive(Debug, Clone, Copy)]
enum Under {
    Part(Part),
    Between { thousandths: u32 },
}

/// Divides a run. Each stretch is handed to `each`, in order and without gaps.
pub(crate) fn divide(timeline: &Timeline, mut each: impl FnMut(Stretch)) -> Parts {
    let (from, to) = timeline.active();
    let mut edges: Vec<(u64, bool, Under)> = Vec::new();
    let mut put = |(start, end): (u64, u64), what: Under| {
        if start < end {
            edges.push((start, true, what));
            edges.push((end, false, what));
        }
    };
    for piece in &timeline.pieces {
        put(piece.call, Under::Part(Part::Calls));
        let turn = piece.call.0.saturating_add(piece.waited).min(piece.call.1);
        put((piece.call.0, turn), Under::Part(Part::Turn));
        if let Some(ran) = piece.ran {
            put(ran, Under::Part(part_of(piece.kind)));
        }
    }
    for (gap, thousandths) in between(&timeline.pieces) {
        put(gap, Under::Between { thousandths });
    }
    edges.sort_by_key(|edge| edge.0);
    let mut state = State::default();
    let mut all = Parts::default();
    let mut at = 0;
    let mut stretch = |start: u64, end: u64, state: &State| {
        for (start, end) in
            [(start, end.min(from)), (start.max(from), end.min(to)), (start.max(to), end)]
        {
            if start >= end {
                continue;
            }
            let inside = start >= from && end <= to;
            let parts = state.divide(end - start, inside);
            for part in Part::ALL {
                all.add(part, parts.get(part));
            }
            each((start, end, parts));
        }
    };
    for (moment, begins, what) in edges {
        let moment = moment.min(timeline.length);
        if moment > at {
            stretch(at, moment, &state);
            at = moment;
        }
        state.change(begins, what);
    }
    stretch(at, timeline.length, &state);
    all
}

fn part_of(kind: SpanKind) -> Part {
    match kind {
        SpanKind::Kernel => Part::Kernels,
        SpanKind::Within => Part::Within,
        SpanKind::ToDevice | SpanKind::ToHost => Part::Transfers,
        SpanKind::Wait => Part::Calls,
    }
}

/// Where threads are between two of their calls, and how many thousandths of that time they compute.
fn between(pieces: &[Piece]) -> Vec<((u64, u64), u32)> {
    let mut last: BTreeMap<(usize, u32), (u64, u64)> = BTreeMap::new();
    let mut gaps = Vec::new();
    for piece in pieces {
        let before =
            last.entry((piece.process, piece.thread)).or_insert((piece.call.1, piece.cpu.1));
        let (returned, cpu) = *before;
        if piece.call.0 > returned {
            let used = piece.cpu.0.saturating_sub(cpu);
            let part = u128::from(used) * 1000 / u128::from(piece.call.0 - returned);
            let thousandths = u32::try_from(part.min(1000)).unwrap_or(1000);
            gaps.push(((returned, piece.call.0), thousandths));
        }
        *before = (returned.max(piece.call.1), piece.cpu.1);
    }
    gaps
}

/// What is under way at a moment.
#[derive(Debug, Default)]
struct State {
    counts: [u32; Part::ALL.len()],
    /// By thousandths of computing, threads between two calls.
    between: BTreeMap<u32, u32>,
}

impl State {
    fn change(&mut self, begins: bool, what: Under) {
        match what {
            Under::Part(part) => {
                let count = &mut self.counts[part as usize];
                *count = if begins { *count + 1 } else { count.saturating_sub(1) };
            }
            Under::Between { thousandths } if begins => {
                *self.between.entry(thousandths).or_default() += 1;
            }
            Under::Between { thousandths } => {
                if let Some(count) = self.between.get_mut(&thousandths) {
                    *count -= 1;
                    if *count == 0 {
                        self.between.remove(&thousandths);
                    }
                }
            }
        }
    }

    fn divide(&self, ns: u64, inside: bool) -> Parts {
        let mut parts = Parts::default();
        let first = Part::ALL.into_iter().find(|part| self.counts[*part as usize] > 0);
        match first {
            _ if !inside => parts.add(Part::Around, ns),
            Some(part) => parts.add(part, ns),
            None => {
                let busiest =
                    self.between.last_key_value().map_or(0, |(thousandths, _)| *thousandths);
                let cpu = u128::from(ns) * u128::from(busiest.min(1000)) / 1000;
                let cpu = u64::try_from(cpu).unwrap_or(ns).min(ns);
                parts.add(Part::Cpu, cpu);
                parts.add(Part::Elsewhere, ns - cpu);
            }
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::tests::{MS, run, span};
    use polder_ledger::record::Span;
    use proptest::prelude::*;

    #[track_caller]
    fn check(length_ms: u64, spans: Vec<Span>, expect: &[(Part, u64)]) {
        let timeline = Timeline::of(&run(length_ms, spans));
        let parts = divide(&timeline, |_| ());
        let found: Vec<(Part, u64)> = Part::ALL
            .into_iter()
            .map(|part| (part, parts.get(part) / MS))
            .filter(|(_, ms)| *ms > 0)
            .collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn a_moment_belongs_to_the_device_before_the_host() {
        let kernel = span(SpanKind::Kernel, 10, 20, 50);
        let copy = Span { returned_ns: 60 * MS, ..span(SpanKind::ToHost, 12, 40, 55) };
        check(
            100,
            vec![kernel, copy],
            &[
                (Part::Kernels, 30),
                (Part::Transfers, 5),
                (Part::Calls, 13),
                (Part::Elsewhere, 2),
                (Part::Around, 50),
            ],
        );
    }

    #[test]
    fn a_gap_is_the_cpus_as_far_as_the_thread_computed() {
        let first = Span { cpu_returned_ns: 5 * MS, ..span(SpanKind::Kernel, 0, 0, 10) };
        let first = Span { start_ns: 1, ..first };
        let second = Span { cpu_called_ns: 65 * MS, ..span(SpanKind::Kernel, 100, 100, 110) };
        check(
            110,
            vec![first, second],
            &[(Part::Kernels, 19), (Part::Cpu, 54), (Part::Elsewhere, 36)],
        );
    }

    #[test]
    fn waiting_for_a_turn_is_told_from_the_rest_of_the_call() {
        let late =
            Span { returned_ns: 30 * MS, waited_ns: 20 * MS, ..span(SpanKind::Kernel, 5, 30, 40) };
        check(
            40,
            vec![late],
            &[(Part::Kernels, 10), (Part::Turn, 20), (Part::Calls, 5), (Part::Around, 5)],
        );
    }

    #[test]
    fn what_used_no_device_is_all_around() {
        check(70, vec![], &[(Part::Around, 70)]);
    }

    fn any_span() -> impl Strategy<Value = Span> {
        let any_time = || prop_oneof![0..200 * MS, any::<u64>()];
        let times = (any_time(), any_time(), any_time(), any_time(), any_time());
        let more = (0..5_u8, any::<bool>(), 0..3_u16, 0..3_u32, any_time(), any_time());
        (times, more).prop_map(
            |((a, b, c, d, queued), (kind, own, device, thread, cpu, waited))| Span {
                kind: [
                    SpanKind::Kernel,
                    SpanKind::ToDevice,
                    SpanKind::ToHost,
                    SpanKind::Within,
                    SpanKind::Wait,
                ][usize::from(kind)],
                device_clock: own,
                device,
                thread,
                called_ns: a.min(b),
                returned_ns: a.max(b),
                start_ns: c.min(d),
                end_ns: c.max(d),
                queued_ns: queued,
                waited_ns: waited,
                cpu_called_ns: cpu,
                cpu_returned_ns: cpu,
                ..span(SpanKind::Kernel, 0, 0, 0)
            },
        )
    }

    proptest! {
        #[test]
        fn parts_add_up_to_the_run_whatever_the_records_say(
            spans in prop::collection::vec(any_span(), 0..40),
            began_ns in prop_oneof![0..50 * MS, any::<u64>()],
        ) {
            let timeline = Timeline::of(&crate::Run { began_ns, ..run(150, spans) });
            let mut at = 0;
            let parts = divide(&timeline, |(from, to, part)| {
                assert_eq!((from, part.sum()), (at, to - from));
                at = to;
            });
            prop_assert_eq!((parts.sum(), at), (timeline.length, timeline.length));
        }
    }
}
