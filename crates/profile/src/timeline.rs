//! The records of all processes on one clock: nanoseconds since the run began.
//!
//! A device tells times of its own clock. When a driver takes a command, its clock shows `queued_ns`
//! while the host's lies between the passed gate and the return; so each command bounds how far the
//! clocks are apart. Where one distance fits all bounds of a process it is taken for all; where clocks
//! drift, it is followed from command to command, moved no further than each bound asks. It is off by
//! no more than one call took.

use polder_ledger::record::{Log, Span, SpanKind};
use polder_model::{Bytes, Permille};
use std::collections::BTreeMap;

/// A profiled run, as its client saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The command line.
    pub command: Vec<String>,
    /// Share of the device that the run was guaranteed.
    pub compute: Permille,
    /// Memory that the run might hold on each device.
    pub memory: Bytes,
    /// When it was started, nanoseconds of the monotonic clock.
    pub began_ns: u64,
    /// When it was over.
    pub ended_ns: u64,
    /// What its processes wrote down.
    pub logs: Vec<Log>,
    /// Processes of which nothing was read.
    pub unread: u64,
    /// The words of `polder` that ran it: with them and another slice it is run again.
    pub words: Vec<String>,
}

/// One span, in nanoseconds since the run began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Which process, in the order of [`Run::logs`].
    pub process: usize,
    /// The thread that called.
    pub thread: u32,
    /// Device of the lease.
    pub device: u16,
    /// Its queue or stream.
    pub lane: u64,
    /// What it was.
    pub kind: SpanKind,
    /// Number of its name in the process's log.
    pub name: u32,
    /// Whether the driver says that it failed.
    pub failed: bool,
    /// When the program called, and when the call returned.
    pub call: (u64, u64),
    /// How much of the call the thread waited for the lease's turn.
    pub waited: u64,
    /// When the device began and was done; none where it is not known, or nothing ran.
    pub ran: Option<(u64, u64)>,
    /// Bytes moved.
    pub bytes: u64,
    /// Bytes of device memory that the process held at the call.
    pub held: u64,
    /// CPU time of the thread at the call, and at the return.
    pub cpu: (u64, u64),
}

/// All pieces of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// How long the run took.
    pub length: u64,
    /// By the moment of their call.
    pub pieces: Vec<Piece>,
}

impl Timeline {
    /// Brings the records of a run onto its clock. What lies outside of the run is cut to it.
    #[must_use]
    pub fn of(run: &Run) -> Self {
        let length = run.ended_ns.saturating_sub(run.began_ns);
        let mut pieces = Vec::with_capacity(run.logs.iter().map(|log| log.spans.len()).sum());
        for (process, log) in run.logs.iter().enumerate() {
            let mut spans: Vec<&Span> = log.spans.iter().collect();
            spans.sort_by_key(|span| span.called_ns);
            let mut clocks = clocks(&spans);
            for span in spans {
                let to_run = |host: i128| {
                    let since = host - i128::from(run.began_ns);
                    u64::try_from(since.clamp(0, i128::from(length))).unwrap_or(0)
                };
                let host = |ns: u64| to_run(i128::from(ns));
                let ran = ran(span, &mut clocks).map(|(start, end)| (to_run(start), to_run(end)));
                pieces.push(Piece {
                    process,
                    thread: span.thread,
                    device: span.device,
                    lane: span.lane,
                    kind: span.kind,
                    name: span.name,
                    failed: span.failed,
                    call: (host(span.called_ns), host(span.returned_ns)),
                    waited: span.waited_ns.min(span.returned_ns.saturating_sub(span.called_ns)),
                    ran,
                    bytes: span.bytes,
                    held: span.held_bytes,
                    cpu: (span.cpu_called_ns, span.cpu_returned_ns),
                });
            }
        }
        pieces.sort_by_key(|piece| piece.call);
        Self { length, pieces }
    }

    /// From the first call to the last moment that anything was done.
    #[must_use]
    pub fn active(&self) -> (u64, u64) {
        let from = self.pieces.first().map_or(0, |piece| piece.call.0);
        let last = |piece: &Piece| piece.ran.map_or(0, |(_, end)| end).max(piece.call.1);
        (from, self.pieces.iter().map(last).max().unwrap_or(from))
    }
}

/// When the device worked on a span, on the host's clock.
fn ran(span: &Span, clocks: &mut BTreeMap<u16, i128>) -> Option<(i128, i128)> {
    if span.start_ns == 0 || span.kind == SpanKind::Wait {
        return None;
    }
    let (start, end) = (i128::from(span.start_ns), i128::from(span.end_ns));
    if !span.device_clock {
        return Some((start, end));
    }
    let (least, most) = bounds(span);
    let known = clocks.entry(span.device).or_insert(least);
    *known = (*known).clamp(least, most);
    Some((start + *known, end + *known))
}

/// How far the host's clock is ahead of the device's, at least and at most, as a command bounds it.
fn bounds(span: &Span) -> (i128, i128) {
    let queued = i128::from(span.queued_ns);
    let passed = span.called_ns.saturating_add(span.waited_ns).min(span.returned_ns);
    (i128::from(passed) - queued, i128::from(span.returned_ns) - queued)
}

/// Where the distances of a process's devices begin: what fits all bounds, or the first of them.
fn clocks(spans: &[&Span]) -> BTreeMap<u16, i128> {
    let mut all: BTreeMap<u16, (i128, i128, i128)> = BTreeMap::new();
    for span in spans.iter().filter(|span| span.device_clock) {
        let (least, most) = bounds(span);
        let known = all.entry(span.device).or_insert((least, least, most));
        (known.1, known.2) = (known.1.max(least), known.2.min(most));
    }
    let begin = |(first, least, most)| if least <= most { least } else { first };
    all.into_iter().map(|(device, bounds)| (device, begin(bounds))).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use polder_ledger::record::LogHeader;

    pub(crate) const MS: u64 = 1_000_000;

    pub(crate) fn log(spans: Vec<Span>) -> Log {
        let comm = *b"train\0\0\0\0\0\0\0\0\0\0\0";
        let header = LogHeader { pid: 7, comm, begun_ns: 0, dropped: 0, dropped_ns: 0, taken: 0 };
        let names = [(0, "gemm".to_owned()), (1, "clEnqueueWriteBuffer".to_owned())].into();
        Log { header, names, spans, unfinished: 0, malformed: 0, cut: false, names_left_out: 0 }
    }

    pub(crate) fn run(length_ms: u64, spans: Vec<Span>) -> Run {
        Run {
            command: vec!["train".into()],
            compute: Permille(300),
            memory: Bytes(1 << 30),
            began_ns: 0,
            ended_ns: length_ms * MS,
            logs: vec![log(spans)],
            unread: 0,
            words: vec!["polder".into(), "run".into()],
        }
    }

    /// A call at `call` ms that returns at once, and what the device does from `start` to `end` ms.
    pub(crate) fn span(kind: SpanKind, call: u64, start: u64, end: u64) -> Span {
        Span {
            kind,
            failed: false,
            device_clock: false,
            device: 0,
            name: 0,
            thread: 1,
            lane: 1,
            called_ns: call * MS,
            returned_ns: call * MS,
            waited_ns: 0,
            cpu_called_ns: 0,
            cpu_returned_ns: 0,
            queued_ns: call * MS,
            start_ns: start * MS,
            end_ns: end * MS,
            bytes: 0,
            held_bytes: 0,
        }
    }

    #[test]
    fn a_clock_that_is_elsewhere_and_drifts_is_followed() {
        // The device's clock begins 5 s late and loses a part in a thousand.
        let device = |host: u64| 9_000 * MS + host - host / 1000;
        let spans = (0..1000).map(|at| {
            let called = at * 10 * MS;
            Span {
                device_clock: true,
                called_ns: called,
                returned_ns: called + MS,
                queued_ns: device(called + MS / 2),
                start_ns: device(called + 2 * MS),
                end_ns: device(called + 8 * MS),
                ..span(SpanKind::Kernel, 0, 0, 0)
            }
        });
        let timeline = Timeline::of(&run(20_000, spans.collect()));
        for (at, piece) in (0_u64..).zip(&timeline.pieces) {
            let (start, end) = piece.ran.unwrap();
            assert!(start.abs_diff((at * 10 + 2) * MS) <= MS, "{at}: {start}");
            assert!(end.abs_diff((at * 10 + 8) * MS) <= MS, "{at}: {end}");
        }
    }

    #[test]
    fn calls_that_wait_for_their_command_do_not_move_it() {
        // Each call is over when its copy is; the device's clock is 7 ms behind.
        let spans = (0..5_u64).map(|at| {
            let called = (100 + at * 30) * MS;
            Span {
                device_clock: true,
                called_ns: called,
                returned_ns: called + 28 * MS,
                queued_ns: called - 7 * MS,
                start_ns: called - 6 * MS,
                end_ns: called + 20 * MS,
                ..span(SpanKind::ToHost, 0, 0, 0)
            }
        });
        let timeline = Timeline::of(&run(1000, spans.collect()));
        for (at, piece) in (0_u64..).zip(&timeline.pieces) {
            let from = (100 + at * 30) * MS;
            assert_eq!(piece.ran, Some((from + MS, from + 27 * MS)));
        }
    }

    #[test]
    fn what_lies_outside_of_the_run_is_cut_to_it() {
        let mut early = span(SpanKind::Kernel, 0, 1, 9);
        early.end_ns = u64::MAX;
        let timeline = Timeline::of(&Run { began_ns: 5 * MS, ..run(10, vec![early]) });
        assert_eq!(timeline.length, 5 * MS);
        assert_eq!(timeline.pieces[0].ran, Some((0, 5 * MS)));
        assert_eq!(timeline.active(), (0, 5 * MS));
    }
}
