//! A small synthetic trace, rows that make no sense, and worlds worked out by hand.

use super::*;
use crate::learn::{Search, Split};

const SMALL: &str = include_str!("small.swf");

fn trace(text: &str) -> Trace {
    read(text.as_bytes()).unwrap()
}

/// Jobs of (submitted, run, processors, estimate, queue) on 10 processors.
fn jobs(jobs: &[(u64, u64, u32, u64, u32)]) -> Trace {
    let row = |(id, job): (usize, &(u64, u64, u32, u64, u32))| {
        let (submitted, run, processors, estimate, queue) = job;
        format!(
            "{} {submitted} 0 {run} {processors} -1 -1 {processors} {estimate} -1 1 1 1 1 {queue} -1 -1 -1\n",
            id + 1
        )
    };
    let rows: String = jobs.iter().enumerate().map(row).collect();
    trace(&format!("; MaxProcs: 10\n{rows}"))
}

fn rules(name: &str) -> Rules {
    Rules::table().into_iter().find(|rules| rules.name == name).unwrap()
}

fn starts(trace: &Trace, name: &str) -> Vec<Option<u64>> {
    replay(trace, &rules(name)).outcome.started
}

#[test]
fn a_trace_is_read_and_its_rows_are_judged() {
    let small = trace(SMALL);
    assert_eq!((small.processors, small.zone_seconds, small.refused_lines.len()), (64, 7200, 0));
    assert_eq!(small.jobs.len(), 240);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, SMALL.as_bytes()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.swf.gz");
    std::fs::write(&path, packed.finish().unwrap()).unwrap();
    assert_eq!(read_file(&path).unwrap(), small);
}

#[test]
fn a_start_that_no_clock_shows_is_passed_over() {
    let rows = "; MaxProcs: 10\n1 0 0 5 2 -1 -1 2 9 -1 1 1 1 1 1 -1 -1 -1\n";
    let zone = |start: &str| trace(&format!("; StartTime: {start}\n{rows}")).zone_seconds;
    assert_eq!(zone("Sat Oct 12 10:57:59 MEST"), 10 * 3600 + 57 * 60 + 59);
    let most = u64::MAX;
    for wrong in [format!("{most}:0:0"), format!("0:{most}:0"), format!("1714:64:{most}")] {
        assert_eq!(zone(&wrong), 0, "{wrong}");
        assert_eq!(zone(&format!("{wrong} 00:00:07")), 7, "{wrong}");
    }
}

#[test]
fn rows_that_make_no_sense_are_left_out_and_named() {
    let rows = [
        ("1 0 0 5 2 -1 -1 2 9 -1 1 1 1 1 1 -1 -1 -1", ""),
        ("2 0 0 5 2", "has 5 columns where 18 are expected"),
        ("2 0 0 x 2 -1 -1 2 9 -1 1 1 1 1 1 -1 -1 -1", "run time is \"x\", which is not a number"),
        ("2 0 0 -1 2 -1 -1 2 9 -1 1 1 1 1 1 -1 -1 -1", "run time is missing"),
        ("2 0 0 5 -1 -1 -1 -1 9 -1 1 1 1 1 1 -1 -1 -1", "requested processors is missing"),
        ("2 0 0 5 0 -1 -1 0 9 -1 1 1 1 1 1 -1 -1 -1", "processors is missing"),
        ("2 0 0 5 4.5 -1 -1 4 9 -1 1 1 1 1 1 -1 -1 -1", "processors is \"4.5\": only whole ones"),
        ("2 0 0 5 2 -1 -1 2 9 -1 77 1 1 1 1 -1 -1 -1", "status is 77: at most 5 is believed"),
        ("2 -7 0 5 2 -1 -1 2 9 -1 1 1 1 1 1 -1 -1 -1", "submit time is -7: it cannot be negative"),
        (
            "2 0 0 999999999999 2 -1 -1 2 9 -1 1 1 1 1 1 -1 -1 -1",
            "run time is 999999999999: at most",
        ),
        ("2 0 0 5 2000 -1 -1 2 9 -1 1 1 1 1 1 -1 -1 -1", "asks for 2000 of 10 processors"),
        ("1 0 0 5 2 -1 -1 2 9 -1 1 1 1 1 1 -1 -1 -1", "job 1 stands here for the second time"),
        (
            "2 0 0 5.7 2 -1 -1 2 9 -1 1 1 1 1 1 -1 -1 -1",
            "run time is \"5.7\": only whole ones can be",
        ),
        ("2 1.5 0 5 2 -1 -1 2 9 -1 1 1 1 1 1 -1 -1 -1", "submit time is \"1.5\": only whole ones"),
        ("2 0 0 5 2 -1 -9 2 9 -1 1 1 1 1 1 -1 -1 -1", "used memory is -9: it cannot be negative"),
        (
            "2 0 0 5 2 -1 -1 2 9 99999999999999 1 1 1 1 1 -1 -1 -1",
            "requested memory is 99999999999999: at most 4398046511104 is believed",
        ),
        ("3 8 0 5.0 2 12.5 640.25 2 -1 -1 1 -1 1 -1 1 -1 -1 -1", ""),
        ("4 7 0 5 2 -1 -1 2 9 -1 1 1 1 1 1 -1 -1 -1", ""),
    ];
    let text: String = rows.iter().map(|(row, _)| format!("{row}\n")).collect();
    let read = trace(&format!("; MaxProcs: 10\n{text}"));
    assert_eq!(read.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [1, 4, 3]);
    assert_eq!(read.jobs[2].estimate, None);
    let expected: Vec<_> = rows.iter().map(|(_, why)| *why).filter(|why| !why.is_empty()).collect();
    assert_eq!(read.refused_lines.len(), expected.len());
    for ((line, error), expected) in read.refused.iter().zip(expected) {
        assert!(error.to_string().contains(expected), "line {line}: {error}, not {expected}");
    }
    let none = super::read("1 0 0 5 2 -1 -1 2 9 -1 1 1 1 1 1 -1 -1 -1\n".as_bytes());
    assert!(none.unwrap_err().to_string().contains("no `; MaxProcs:` line"));
}

#[test]
fn a_header_with_no_number_of_processors_is_told_what_is_wrong_with_it() {
    for value in ["0", "-4", "many", "", "1e3", "100000001", "99999999999"] {
        let text = format!("; Version: 2\n; MaxProcs: {value}\n");
        let said = super::read(text.as_bytes()).unwrap_err().to_string();
        let expected = format!("line 2, MaxProcs: {value:?} is no number of processors: write one");
        assert!(said.contains(&expected), "{said}");
    }
}

#[test]
fn rules_decide_who_overtakes() {
    // The second needs all; the third would fit beside the first until 50, the fourth until 90.
    let trace =
        jobs(&[(0, 60, 6, 60, 1), (1, 10, 10, 10, 1), (2, 40, 4, 50, 1), (3, 80, 4, 90, 1)]);
    let at = |seconds: [u64; 4]| seconds.map(Some).to_vec();
    assert_eq!(starts(&trace, "FCFS"), at([0, 60, 70, 70]));
    assert_eq!(starts(&trace, "EASY, users' estimates"), at([0, 60, 2, 70]));
    assert_eq!(starts(&trace, "conservative, users' estimates"), at([0, 60, 2, 70]));
    assert_eq!(starts(&trace, "mark: shortest first, true run times"), at([0, 60, 2, 70]));
}

#[test]
fn best_effort_yields_and_starts_again() {
    // The first yields to the second, whose end gives it its place back.
    let trace = jobs(&[(0, 100, 8, 100, 2), (30, 20, 5, 20, 1)]);
    let outcome = replay(&trace, &rules("EASY, users' estimates")).outcome;
    assert_eq!(outcome.started, [Some(50), Some(30)]);
    assert_eq!(outcome.ended, [Some(150), Some(50)]);
    assert_eq!((outcome.preemptions, outcome.lost_processor_seconds), (1, 30 * 8));
    // The run that was lost counts as waiting.
    let summary = replay(&trace, &rules("EASY, users' estimates")).summary;
    assert!((summary.queues[2].wait_mean_seconds() - 50.0).abs() < 1e-9);
}

/// Never more than there is, never before its time, everything ends, and firm work is not touched.
#[test]
fn every_rule_keeps_the_pool_whole() {
    let small = trace(SMALL);
    for rules in Rules::table() {
        let Outcome { started, ended, .. } = replay(&small, &rules).outcome;
        let mut changes = Vec::new();
        for (place, job) in small.jobs.iter().enumerate() {
            let (start, end) = (started[place].unwrap(), ended[place].unwrap());
            assert!(start >= job.submitted, "{}: job {}", rules.name, job.id);
            assert_eq!(end - start, job.run.min(job.estimate.unwrap()), "{}", rules.name);
            changes.push((end, -i64::from(job.processors)));
            changes.push((start, i64::from(job.processors)));
        }
        changes.sort_unstable();
        let most = changes.iter().scan(0, |used, (_, change)| {
            *used += change;
            Some(*used)
        });
        assert!(most.max().unwrap() <= i64::from(small.processors), "{}", rules.name);
    }
}

#[test]
fn a_replay_repeats_itself() {
    let small = trace(SMALL);
    for rules in Rules::table() {
        assert_eq!(replay(&small, &rules), replay(&small, &rules), "{}", rules.name);
    }
}

#[test]
fn predictions_beat_the_users_estimates() {
    let small = trace(SMALL);
    let ratio = |oracle| accuracy(&small, oracle).ratio_median;
    assert!(ratio(Oracle::Engine) * 2.0 < ratio(Oracle::Estimates));
    let engine = accuracy(&small, Oracle::Engine);
    let (sure, unsure) = engine.ratio_by_doubt.unwrap();
    assert!(sure < unsure, "less doubt, less error: {sure} {unsure}");
    assert!(engine.covered.unwrap() > 0.75, "{engine:?}");
}

#[test]
fn weights_are_tuned_and_judged_on_other_days() {
    let small = trace(SMALL);
    let search = Search { seed: 1, generations: 2, children: 3 };
    let split = Split { train: 0..10, held_out: 10..25, shadow: 25..34 };
    let (record, _) = learned(&small, search, &split);
    assert_eq!(record.found.tried, 7);
    assert!(record.found.cost <= record.found.cost_at_start);
    assert_eq!(record.held_out.map(|paired| paired.pairs), Some(15));
    assert_eq!(record.beside.len(), 10);
}
