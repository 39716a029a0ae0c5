//! What a profiled program does is written down: all of it, with the times that its own events tell,
//! and nothing where nobody asks.
#![allow(clippy::unwrap_used)] // all of this is test code

mod support;

use polder_ledger::record::{Budget, Log, PROFILE_VARIABLE, Span, SpanKind};
use std::path::Path;
use support::{Lease, Talk, example};

const MEMORY: u64 = 1 << 28;

fn logs(folder: &Path) -> Vec<Log> {
    let files = std::fs::read_dir(folder).unwrap();
    files
        .map(|file| std::fs::File::open(file.unwrap().path()).unwrap())
        .map(|file| Log::read(file, &mut Budget::of(vec![0])).unwrap())
        .collect()
}

/// Runs `bounds`, and returns what it says and what was written down of each process.
fn recorded(lease: &Lease, words: &[&str]) -> (String, Vec<Log>) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = lease.command(example("bounds"));
    let output = command.args(words).env(PROFILE_VARIABLE, folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (String::from_utf8(output.stdout).unwrap(), logs(folder.path()))
}

fn number(said: &str, name: &str) -> u64 {
    let (_, rest) = said.split_once(&format!("\"{name}\":")).unwrap();
    rest.split([',', '}']).next().unwrap().parse().unwrap()
}

fn sum(log: &Log, kinds: &[SpanKind]) -> (u64, u64, u64) {
    let spans = log.spans.iter().filter(|span| kinds.contains(&span.kind));
    let add = |(count, ns, bytes): (u64, u64, u64), span: &Span| {
        (count + 1, ns + span.end_ns - span.start_ns, bytes + span.bytes)
    };
    spans.fold((0, 0, 0), add)
}

#[test]
fn times_are_those_of_the_programs_own_events() {
    let Some(lease) = Lease::pocl(MEMORY) else { return };
    let (said, logs) = recorded(&lease, &["device", "20"]);
    let [log] = &logs[..] else { panic!("{logs:?}") };
    let (count, ns, _) = sum(log, &[SpanKind::Kernel]);
    assert_eq!((count, ns), (20, number(&said, "kernel_ns")));
    assert_eq!((log.unfinished, log.malformed, log.header.dropped), (0, 0, 0));
    assert!(
        log.spans.iter().filter(|s| s.kind == SpanKind::Kernel).all(|s| log.name(s) == "grind")
    );
    assert!(log.spans.iter().any(|s| log.name(s) == "clFinish"), "{:?}", log.names);
    assert!(log.spans.iter().all(|s| s.held_bytes >= 64 << 20), "two buffers of 32 MiB are held");

    let (said, logs) = recorded(&lease, &["transfer", "3"]);
    let (count, ns, bytes) = sum(&logs[0], &[SpanKind::ToDevice, SpanKind::ToHost]);
    assert_eq!((count, ns, bytes), (6, number(&said, "copy_ns"), number(&said, "bytes")));
    let (said, logs) = recorded(&lease, &["memory", "3"]);
    let (count, ns, bytes) = sum(&logs[0], &[SpanKind::Within]);
    assert_eq!((count, ns, bytes), (3, number(&said, "copy_ns"), 3 * (32 << 20)));
}

#[test]
fn each_process_has_a_file_of_its_own() {
    let Some(lease) = Lease::pocl(MEMORY) else { return };
    let (_, logs) = recorded(&lease, &["fork", "5"]);
    let mut pids: Vec<u32> = logs.iter().map(|log| log.header.pid).collect();
    pids.dedup();
    assert_eq!(pids.len(), 2);
    for log in &logs {
        assert_eq!(sum(log, &[SpanKind::Kernel]).0, 5);
        assert_eq!(log.header.comm, *b"bounds\0\0\0\0\0\0\0\0\0\0");
    }
}

#[test]
fn waiting_for_a_turn_is_written_down_as_that() {
    let Some(lease) = Lease::pocl(MEMORY) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut command = lease.command(example("probe"));
    command.args(["launches", "5"]).env(PROFILE_VARIABLE, folder.path());
    let mut program = Talk::start(&mut command);
    program.expect("ready");
    lease.close();
    program.go();
    lease.until("a thread waits", |census| census.waiting == 1 && census.inflight == 0);
    let begun = std::time::Instant::now();
    assert!(program.is_silent(std::time::Duration::from_millis(200)), "it launched");
    let closed = begun.elapsed();
    lease.open();
    (0..5).for_each(|index| program.expect(&index.to_string()));
    program.expect("done");
    program.end();
    let logs = logs(folder.path());
    let waited: u64 = logs[0].spans.iter().map(|span| span.waited_ns).sum();
    assert!(u128::from(waited) >= closed.as_nanos(), "{waited} of {closed:?}");
    for span in &logs[0].spans {
        assert!(span.waited_ns <= span.returned_ns - span.called_ns, "{span:?}");
    }
}

#[test]
fn a_program_that_ends_with_a_blocking_call_has_waited() {
    let Some(lease) = Lease::pocl(MEMORY) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut command = lease.command(example("probe"));
    command.args(["blocking-read", "0"]).env(PROFILE_VARIABLE, folder.path());
    let mut program = Talk::start(&mut command);
    program.expect("reading");
    program.go();
    program.expect("done");
    program.end();
    let logs = logs(folder.path());
    let reads = logs[0].spans.iter().filter(|span| span.kind == SpanKind::ToHost);
    assert_eq!(reads.filter(|span| span.end_ns > 0).count(), 1, "{logs:?}");
    assert_eq!(logs[0].unfinished, 0);
}

#[test]
fn commands_that_a_program_leaves_behind_at_its_end_are_counted() {
    let Some(lease) = Lease::pocl(MEMORY) else { return };
    let (_, logs) = recorded(&lease, &["leave", "7"]);
    assert_eq!((logs[0].unfinished, sum(&logs[0], &[SpanKind::Kernel]).0), (7, 1), "{logs:?}");
}

#[test]
fn a_folder_that_takes_no_file_costs_the_program_nothing() {
    let Some(lease) = Lease::pocl(MEMORY) else { return };
    let mut command = lease.command(example("bounds"));
    let output =
        command.args(["device", "3"]).env(PROFILE_VARIABLE, "/proc/none").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(number(&String::from_utf8(output.stdout).unwrap(), "kernels"), 3);
}
