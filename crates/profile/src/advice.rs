//! What the parts of a run mean: what bounds it, and which slice would suit it.
//!
//! What records cannot tell is not told. Without counters of the hardware nobody knows whether a
//! kernel waits for arithmetic or for memory: only copies and fills within the device are known to be
//! bound by memory. A slice is judged from this run alone.

use crate::parts::{Part, Parts};
use crate::summary::{Summary, part};
use crate::timeline::Run;
use polder_model::Bytes;
use serde::Serialize;

/// A part that is at least so many thousandths of the active time is clearly the bound.
const CLEAR: u32 = 500;
/// Room above what the run used, in thousandths of it.
const HEADROOM: u64 = 200;
/// The same of memory, which is known more exactly.
const HEADROOM_MEMORY: u64 = 100;
/// Shares are suggested in such steps, thousandths.
const STEP: u64 = 50;
/// A program that uses a device for so many thousandths of its time would use all of one.
const WHOLE: u64 = 800;
/// Memory is suggested in such steps, bytes.
const STEP_MEMORY: u64 = 64 << 20;
/// Shares whose cost is told.
const SHARES: [u32; 3] = [500, 250, 100];
/// So many waits for the device in a second, and busy neighbours are felt.
const WAITS_MANY: u64 = 20;

/// What bounds a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Its kernels on the device.
    Device,
    /// Memory traffic within the device: copies and fills.
    Memory,
    /// Bytes between host and device.
    Transfer,
    /// Its share: it waits for its turn.
    Turn,
    /// Calls of the driver, while the device is idle.
    Driver,
    /// What it computes between its calls.
    Cpu,
    /// What it waits for between its calls: disk, network, sleep, other threads and programs.
    Elsewhere,
    /// It used no device.
    NoDevice,
}

/// What bounds a run, and how clearly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// What bounds it.
    pub bound: Bound,
    /// How much of the active time that was, in thousandths.
    pub thousandths: u32,
    /// Whether it is at least half of it.
    pub clear: bool,
    /// The same in words.
    pub text: String,
    /// What that means.
    pub detail: String,
}

impl Verdict {
    /// Both in one line, with its share of the active time, which is called `of`, where there is one.
    #[must_use]
    pub fn line(&self, of: &str) -> String {
        match self.bound {
            Bound::NoDevice => self.text.clone(),
            _ => format!("{}, {} {of}", self.text, crate::percent(self.thousandths)),
        }
    }
}

/// Which of the parts means which bound: in short, and in full.
const BOUNDS: [(Part, Bound, &str, &str); 7] = [
    (
        Part::Kernels,
        Bound::Device,
        "bound by the device",
        "its kernels run; whether they wait for arithmetic or for memory cannot be told without counters \
         of the hardware",
    ),
    (
        Part::Within,
        Bound::Memory,
        "bound by the device's memory",
        "copies and fills within the device",
    ),
    (
        Part::Transfers,
        Bound::Transfer,
        "bound by transfers",
        "bytes go between host and device while no kernel runs",
    ),
    (
        Part::Turn,
        Bound::Turn,
        "bound by its share",
        "it waits for its turn while the device does nothing for it",
    ),
    (
        Part::Calls,
        Bound::Driver,
        "bound by calls",
        "it is in the driver while the device is idle: many short commands, or programs being built",
    ),
    (
        Part::Cpu,
        Bound::Cpu,
        "bound by the CPU",
        "it computes between its calls while the device is idle",
    ),
    (
        Part::Elsewhere,
        Bound::Elsewhere,
        "bound by something else",
        "its threads wait for disk, network, sleep or other threads while the device is idle",
    ),
];

/// What bounds a run of these parts.
pub(crate) fn judge(parts: &Parts, active_ns: u64) -> Verdict {
    let most = BOUNDS.iter().rev().max_by_key(|(part, ..)| parts.get(*part));
    let Some((part, bound, words, detail)) = most.filter(|(part, ..)| parts.get(*part) > 0) else {
        let text = "it used no device of its lease".to_owned();
        let detail = "no command reached one through Polder's driver".to_owned();
        return Verdict { bound: Bound::NoDevice, thousandths: 0, clear: true, text, detail };
    };
    let share = u128::from(parts.get(*part)) * 1000 / u128::from(active_ns.max(1));
    let thousandths = u32::try_from(share.min(1000)).unwrap_or(1000);
    let clear = thousandths >= CLEAR;
    let text = if clear { (*words).to_owned() } else { format!("mixed, most of all {words}") };
    Verdict { bound: *bound, thousandths, clear, text, detail: (*detail).to_owned() }
}

/// A slice that would suit a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// Share of a device, in thousandths.
    pub compute_thousandths: u32,
    /// Memory on the device, bytes.
    pub memory_bytes: u64,
    /// How much of its active time it used the busiest device, waiting for turns apart, in
    /// thousandths.
    pub demand_thousandths: u32,
    /// How long it would take at some shares, in thousandths of what it takes with all of a device.
    pub at_shares: Vec<AtShare>,
    /// The line to start it with.
    pub line: String,
    /// Why, and what sharing costs it.
    pub why: Vec<String>,
}

/// What a share would cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct AtShare {
    /// The share, in thousandths.
    pub compute_thousandths: u32,
    /// The time, in thousandths of that with all of a device.
    pub time_thousandths: u32,
}

/// A slice for the program of this run; none when it used no device.
pub(crate) fn advise(summary: &Summary, run: &Run) -> Option<Advice> {
    let busy = summary.busy_ns.values().copied().max().filter(|busy| *busy > 0)?;
    // Without waiting for turns it would have been done so much sooner.
    let alone = summary.active_ns.saturating_sub(part(summary, Part::Turn)).max(busy).max(1);
    let ratio = |of: u64| u64::try_from(u128::from(of) * 1000 / u128::from(alone)).unwrap_or(1000);
    let demand = ratio(busy).min(1000);
    let with_room = (demand * (1000 + HEADROOM) / 1000).next_multiple_of(STEP);
    let compute = if demand >= WHOLE { 1000 } else { with_room.clamp(STEP, 1000) };
    let peak = summary.memory_peak_bytes;
    let room = peak.saturating_add(peak / 1000 * HEADROOM_MEMORY).max(1);
    let memory = room.checked_next_multiple_of(STEP_MEMORY).unwrap_or(room);
    let at_shares = SHARES.map(|share| AtShare {
        compute_thousandths: share,
        time_thousandths: narrow((demand * 1000 / u64::from(share)).max(1000)),
    });
    let words = |words: &[String]| -> String {
        words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
    };
    let line = format!(
        "{} --compute {}% --memory {} -- {}",
        words(&run.words),
        compute / 10,
        whole(memory),
        words(&run.command)
    );
    Some(Advice {
        compute_thousandths: narrow(compute),
        memory_bytes: memory,
        demand_thousandths: narrow(demand),
        at_shares: at_shares.into(),
        line,
        why: why(summary, demand, peak),
    })
}

fn why(summary: &Summary, demand: u64, peak: u64) -> Vec<String> {
    let mut why = vec![format!(
        "it used a device for {} of the time and held at most {} of its memory",
        crate::percent(narrow(demand)),
        Bytes(peak)
    )];
    if demand >= WHOLE {
        why.push(
            "it keeps a device busy by itself: any share will do, and takes longer in proportion"
                .to_owned(),
        );
    } else {
        why.push(format!(
            "sharing leaves {} of the device to others and costs it little while they are idle",
            crate::percent(narrow(1000 - demand))
        ));
    }
    let per_second =
        u128::from(summary.waits) * 1_000_000_000 / u128::from(summary.active_ns.max(1));
    if per_second >= u128::from(WAITS_MANY) && demand < WHOLE {
        why.push(format!(
            "it waits for the device {per_second} times in a second: beside busy neighbours each may \
             take a turn longer (1 to 50 ms); --class interactive lets it go first"
        ));
    }
    why
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A size of whole MiB as a flag takes it, exactly.
fn whole(bytes: u64) -> String {
    match bytes >> 20 {
        mib if mib > 0 && mib.is_multiple_of(1024) => format!("{}GiB", mib / 1024),
        mib => format!("{mib}MiB"),
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let safe: String = word.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("'{}'", safe.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::of;
    use crate::timeline::tests::{MS, span};
    use polder_ledger::record::{Span, SpanKind};

    #[track_caller]
    fn bound(spans: Vec<Span>, expect: Bound, clear: bool) -> Summary {
        let summary = of(spans, 1000);
        assert_eq!((summary.verdict.bound, summary.verdict.clear), (expect, clear), "{summary:?}");
        summary
    }

    #[test]
    fn each_bound_is_found() {
        let one = |kind, start: u64, end| span(kind, 0, start.max(1), end);
        let end = || span(SpanKind::Kernel, 100, 100, 101);
        bound(vec![one(SpanKind::Kernel, 0, 90), end()], Bound::Device, true);
        bound(vec![one(SpanKind::Within, 0, 90), end()], Bound::Memory, true);
        bound(vec![one(SpanKind::ToDevice, 0, 90), end()], Bound::Transfer, true);
        bound(vec![one(SpanKind::ToHost, 0, 90), end()], Bound::Transfer, true);
        let slow = Span { returned_ns: 95 * MS, ..one(SpanKind::Kernel, 95, 96) };
        bound(vec![slow, end()], Bound::Driver, true);
        bound(vec![Span { waited_ns: 80 * MS, ..slow }, end()], Bound::Turn, true);
        let busy = Span { cpu_called_ns: 95 * MS, ..end() };
        bound(vec![one(SpanKind::Kernel, 1, 2), busy], Bound::Cpu, true);
        bound(vec![one(SpanKind::Kernel, 1, 2), end()], Bound::Elsewhere, true);
        bound(
            vec![one(SpanKind::Kernel, 1, 45), one(SpanKind::ToHost, 45, 80), end()],
            Bound::Device,
            false,
        );
        bound(vec![], Bound::NoDevice, true);
    }

    #[track_caller]
    fn suggested(busy_ms: u64, held: u64, compute: u32, memory_mib: u64) -> Advice {
        let kernel = Span { held_bytes: held, ..span(SpanKind::Kernel, 0, 1, 1 + busy_ms) };
        let last = Span { held_bytes: held, ..span(SpanKind::Kernel, 999, 999, 1000) };
        let advice = of(vec![kernel, last], 1000).advice.unwrap();
        let found = (advice.compute_thousandths, advice.memory_bytes >> 20);
        assert_eq!(found, (compute, memory_mib), "{advice:?}");
        advice
    }

    #[test]
    fn a_slice_has_headroom_and_a_line_to_paste() {
        suggested(1, 0, 50, 64);
        let advice = suggested(400, 100 << 20, 500, 128);
        assert_eq!(advice.line, "polder run --compute 50% --memory 128MiB -- train");
        let times: Vec<u32> = advice.at_shares.iter().map(|at| at.time_thousandths).collect();
        assert_eq!(times, [1000, 1604, 4010]);
        suggested(900, u64::MAX, 1000, u64::MAX >> 20);
        let line = suggested(400, 900 << 20, 500, 1024).line;
        assert_eq!(line, "polder run --compute 50% --memory 1GiB -- train");
    }

    #[test]
    fn the_line_keeps_what_else_was_asked_for() {
        let mut run = crate::timeline::tests::run(10, vec![span(SpanKind::Kernel, 0, 1, 9)]);
        run.words.extend(["--devices", "2", "--tenant", "lab/a b"].map(String::from));
        let timeline = crate::Timeline::of(&run);
        let line = crate::summarise(&run, &timeline).0.advice.unwrap().line;
        assert!(line.starts_with("polder run --devices 2 --tenant 'lab/a b' --compute "), "{line}");
    }

    #[test]
    fn waiting_for_turns_is_no_reason_for_less() {
        let first =
            Span { returned_ns: 50 * MS, waited_ns: 50 * MS, ..span(SpanKind::Kernel, 0, 50, 90) };
        let advice = of(vec![first, span(SpanKind::Kernel, 100, 100, 101)], 1000).advice.unwrap();
        assert_eq!(advice.demand_thousandths, 41 * 1000 / 51);
    }

    #[test]
    fn words_survive_a_shell() {
        let check = |word: &str, expect: &str| assert_eq!(quoted(word), expect);
        check("train.py", "train.py");
        check("", "''");
        check("a b", "'a b'");
        check("it's", r"'it'\''s'");
        check("\x1b[2J", "' [2J'");
    }
}
