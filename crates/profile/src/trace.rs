//! A trace in the event format that Perfetto and Chrome open: one track for each thread that called,
//! one for each queue on its device, and how much memory was held.

use crate::summary::kind_word;
use crate::timeline::{Piece, Run, Timeline};
use polder_ledger::record::{OTHER, SpanKind};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Most pieces in a trace, about 200 MB of text: viewers open no more with ease. The first are kept.
pub const TRACE_PIECES_MAX: usize = 300_000;
/// Most bytes of a trace, where names are long; what one more piece takes may come on top.
pub const TRACE_BYTES_MAX: u64 = 256 << 20;

/// Numbers of devices and of their tracks begin here: no process or thread has so high a number, and
/// readers keep them in 32 bits.
const DEVICES_FROM: u64 = 1 << 24;
/// Tracks of one queue, for commands that ran at one time; what overlaps more is on the last.
const ROWS_MAX: usize = 16;

/// Writes the trace. Returns how many pieces are not in it.
///
/// # Errors
/// What `out` says.
pub fn trace(run: &Run, timeline: &Timeline, out: &mut impl Write) -> io::Result<usize> {
    trace_within(TRACE_BYTES_MAX, run, timeline, out)
}

fn trace_within(
    bytes: u64,
    run: &Run,
    timeline: &Timeline,
    out: &mut impl Write,
) -> io::Result<usize> {
    let mut events = Events { out: Counted { out, bytes: 0 }, first: true };
    events.begin()?;
    for log in &run.logs {
        let name = String::from_utf8_lossy(&log.header.comm);
        let name = format!("{} ({})", name.trim_end_matches('\0'), log.header.pid);
        events.put(&json!({
            "ph": "M", "name": "process_name", "pid": log.header.pid, "args": { "name": name },
        }))?;
    }
    let mut rows = Rows::default();
    let mut written = 0;
    for (number, piece) in timeline.pieces.iter().take(TRACE_PIECES_MAX).enumerate() {
        if events.out.bytes >= bytes {
            break;
        }
        written += 1;
        call(run, (number, piece), &mut events)?;
        if piece.ran.is_some() {
            device(run, (number, piece), &mut rows, &mut events)?;
        }
    }
    let left_out = timeline.pieces.len() - written;
    events.end(run, left_out)?;
    Ok(left_out)
}

fn names<'a>(run: &'a Run, piece: &Piece) -> (u32, &'a str) {
    let log = run.logs.get(piece.process);
    let name = log.and_then(|log| log.names.get(&piece.name));
    (log.map_or(0, |log| log.header.pid), name.map_or(OTHER, String::as_str))
}

/// The thread's own track: the call, the wait for a turn within it, and what the process holds.
fn call<W: Write>(
    run: &Run,
    (number, piece): (usize, &Piece),
    events: &mut Events<'_, W>,
) -> io::Result<()> {
    let (pid, name) = names(run, piece);
    let (from, to) = piece.call;
    let title = match piece.kind {
        SpanKind::Kernel => format!("launch {name}"),
        _ => name.to_owned(),
    };
    events.put(&json!({
        "ph": "X", "name": title, "cat": "call", "pid": pid, "tid": piece.thread,
        "ts": micros(from), "dur": micros(to - from),
        "args": { "bytes": piece.bytes, "failed": piece.failed },
    }))?;
    if piece.waited > 0 {
        events.put(&json!({
            "ph": "X", "name": "waits for its turn", "cat": "turn", "pid": pid, "tid": piece.thread,
            "ts": micros(from), "dur": micros(piece.waited.min(to - from)),
        }))?;
    }
    if piece.ran.is_some() {
        events.put(&json!({
            "ph": "s", "id": number, "name": "runs", "cat": "flow", "pid": pid,
            "tid": piece.thread, "ts": micros(from),
        }))?;
    }
    let held = format!("memory held on device {}", piece.device);
    events.put(&json!({
        "ph": "C", "name": held, "pid": pid, "ts": micros(to), "args": { "bytes": piece.held },
    }))
}

/// The device's track.
fn device<W: Write>(
    run: &Run,
    (number, piece): (usize, &Piece),
    rows: &mut Rows,
    events: &mut Events<'_, W>,
) -> io::Result<()> {
    let Some((from, to)) = piece.ran else { return Ok(()) };
    let (pid, name) = names(run, piece);
    let at = DEVICES_FROM + u64::from(piece.device);
    let (row, new) = rows.place(piece, from, to);
    if rows.devices.insert(piece.device, ()).is_none() {
        let name = format!("device {}", piece.device);
        events.put(&json!({
            "ph": "M", "name": "process_name", "pid": at, "args": { "name": name },
        }))?;
    }
    if new {
        let name = format!("{pid}, queue {:x}", piece.lane);
        events.put(&json!({
            "ph": "M", "name": "thread_name", "pid": at, "tid": row, "args": { "name": name },
        }))?;
    }
    events.put(&json!({
        "ph": "X", "name": name, "cat": kind_word(piece.kind), "pid": at, "tid": row,
        "ts": micros(from), "dur": micros(to - from),
        "args": { "bytes": piece.bytes, "process": pid },
    }))?;
    events.put(&json!({
        "ph": "f", "bp": "e", "id": number, "name": "runs", "cat": "flow", "pid": at, "tid": row,
        "ts": micros(from),
    }))
}

/// Microseconds, to the nanosecond.
fn micros(ns: u64) -> Value {
    json!(ns as f64 / 1000.0)
}

/// Tracks of the devices: what overlaps is never on one.
#[derive(Debug, Default)]
struct Rows {
    devices: BTreeMap<u16, ()>,
    /// By device, process and queue: for each of its tracks its number and until when it is taken.
    lanes: BTreeMap<(u16, usize, u64), Vec<(u64, u64)>>,
    last: u64,
}

impl Rows {
    /// The track of a piece, and whether it is new.
    fn place(&mut self, piece: &Piece, from: u64, to: u64) -> (u64, bool) {
        let rows = self.lanes.entry((piece.device, piece.process, piece.lane)).or_default();
        if let Some(row) = rows.iter_mut().find(|row| row.1 <= from) {
            row.1 = to;
            return (row.0, false);
        }
        if rows.len() >= ROWS_MAX
            && let Some(last) = rows.last()
        {
            return (last.0, false);
        }
        self.last += 1;
        let number = DEVICES_FROM + self.last;
        rows.push((number, to));
        (number, true)
    }
}

struct Events<'a, W> {
    out: Counted<'a, W>,
    first: bool,
}

/// Counts what is written.
struct Counted<'a, W> {
    out: &'a mut W,
    bytes: u64,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> Events<'_, W> {
    fn begin(&mut self) -> io::Result<()> {
        self.out.write_all(b"{\"displayTimeUnit\":\"ms\",\"traceEvents\":[")
    }

    fn put(&mut self, event: &Value) -> io::Result<()> {
        self.out.write_all(if self.first { b"\n" } else { b",\n" })?;
        self.first = false;
        serde_json::to_writer(&mut self.out, event)?;
        Ok(())
    }

    fn end(&mut self, run: &Run, left_out: usize) -> io::Result<()> {
        let other =
            json!({ "command": run.command, "left_out": left_out, "made_by": "polder profile" });
        writeln!(self.out, "\n],\"otherData\":{other}}}")?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::tests::{run, span};

    #[test]
    fn the_trace_is_json_whose_device_tracks_never_overlap_and_add_up() {
        let spans = vec![
            span(SpanKind::Kernel, 0, 1, 10),
            span(SpanKind::Kernel, 1, 5, 12),
            span(SpanKind::ToHost, 2, 12, 14),
        ];
        let run = run(20, spans);
        let mut text = Vec::new();
        assert_eq!(trace(&run, &Timeline::of(&run), &mut text).unwrap(), 0);
        let value: Value = serde_json::from_slice(&text).unwrap();
        let events = value["traceEvents"].as_array().unwrap();
        let on_device: Vec<(u64, f64, f64)> = events
            .iter()
            .filter(|event| event["ph"] == "X" && event["pid"].as_u64() >= Some(DEVICES_FROM))
            .map(|event| {
                let number = |name: &str| event[name].as_f64().unwrap();
                (event["tid"].as_u64().unwrap() - DEVICES_FROM, number("ts"), number("dur"))
            })
            .collect();
        assert_eq!(on_device, [(1, 1e3, 9e3), (2, 5e3, 7e3), (1, 12e3, 2e3)]);
        let flows = |ph: &str| events.iter().filter(|event| event["ph"] == ph).count();
        assert_eq!((flows("s"), flows("f"), flows("C")), (3, 3, 3));
        assert_eq!(value["otherData"]["left_out"], 0);
    }

    #[test]
    fn a_trace_ends_where_it_has_enough_bytes_and_is_json_all_the_same() {
        let spans = (0..100).map(|at| span(SpanKind::Kernel, at, at, at + 1)).collect();
        let run = run(200, spans);
        let (timeline, mut text) = (Timeline::of(&run), Vec::new());
        let left_out = trace_within(20_000, &run, &timeline, &mut text).unwrap();
        assert!((1..90).contains(&left_out), "{left_out}");
        let value: Value = serde_json::from_slice(&text).unwrap();
        let calls = value["traceEvents"].as_array().unwrap().iter();
        assert_eq!(calls.filter(|event| event["cat"] == "call").count(), 100 - left_out);
        assert!(text.len() < 21_000, "{}", text.len());
    }
}
