//! What a job is charged, against the stamps of its programs' own events.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may fail, and says what it found"
)]

mod common;

use common::{Pool, program, soon};
use std::fs;

/// Programs of a job, one after the other: each is gone long before the arbiter looks again.
const PROGRAMS: usize = 20;
/// Commands of each.
const COMMANDS: usize = 3;

/// A shell loop over short programs, each with its stamps in a file of its own. `from` and `to` number
/// them.
fn loop_of(pool: &Pool, from: usize, to: usize) -> String {
    format!(
        "for i in $(seq {from} {to}); do {workload} --iterations 200000 --commands {COMMANDS} \
         --stamp-first --stamps {stamps}$i > /dev/null || exit 1; done\n",
        workload = program("workload"),
        stamps = pool.file("stamps").display(),
    )
}

/// What the stamps of these programs say: microseconds that commands ran, and that any was queued or ran.
fn stamped(pool: &Pool, programs: std::ops::RangeInclusive<usize>) -> (u64, u64) {
    let (mut ran, mut busy) = (0, 0);
    for program in programs {
        let text = fs::read_to_string(pool.file(&format!("stamps{program}"))).unwrap();
        let mut until = 0;
        for line in text.lines() {
            let stamps: Vec<u64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
            let [queued, start, end] = stamps[..] else { panic!("{line}") };
            ran += end - start;
            busy += end.saturating_sub(queued.max(until));
            until = until.max(end);
        }
    }
    (ran / 1000, busy / 1000)
}

/// Device time of a job that is over, microseconds, wherever it is told: all places agree.
fn charged(pool: &Pool, job: &str) -> u64 {
    let usage = pool.json(&["usage", "--by", "job"]);
    let id: u64 = job.parse().unwrap();
    let rows = usage["rows"].as_array().unwrap().iter();
    let row = rows.filter(|row| row["job"] == id).collect::<Vec<_>>();
    assert_eq!(row.len(), 1, "{usage}");
    let charged = row[0]["device_time"].as_u64().unwrap();
    let shown = pool.json(&["show", job]);
    let end = &shown["leases"][0]["ending"];
    let sample = &end["end"]["sample"]["devices"][0];
    assert_eq!(sample["device_time"].as_u64(), Some(charged), "{}", shown["leases"]);
    charged
}

/// As much as ran at least, and at most as much as was queued or ran and a fifth more: an end is heard of
/// a little later than it is stamped, and a look that finds work in flight twice running takes it for
/// one piece.
#[track_caller]
fn check_charged(pool: &Pool, job: &str, programs: std::ops::RangeInclusive<usize>) {
    let (ran, busy) = stamped(pool, programs);
    let charged = charged(pool, job);
    assert!(charged >= ran, "{charged} us charged, and {ran} us ran");
    let most = busy + busy / 5 + 20_000;
    assert!(charged <= most, "{charged} us charged, {busy} us in flight, and {ran} us ran");
    println!("{charged} us charged, {busy} us in flight, and {ran} us ran");
}

#[test]
fn a_job_of_many_short_programs_is_charged_what_their_events_say() {
    let Some(pool) = Pool::start() else { return };
    let script = loop_of(&pool, 1, PROGRAMS);
    let job = pool.submit(&["--compute", "50%", "--memory", "64MiB"], &script);
    assert_eq!(pool.say(&["wait", &job]).code, 0, "{:?}", pool.say(&["logs", "--stderr", &job]));
    check_charged(&pool, &job, 1..=PROGRAMS);
}

#[test]
fn what_runs_while_the_agent_is_dead_is_charged_by_the_next() {
    let Some(pool) = Pool::start() else { return };
    let file = |name: &str| pool.file(name).display().to_string();
    let half = PROGRAMS / 2;
    let script = format!(
        "{}until [ -e {go} ]; do sleep 0.05; done\n{}touch {there}\n\
         until [ -e {end} ]; do sleep 0.05; done\n",
        loop_of(&pool, 1, half),
        loop_of(&pool, half + 1, PROGRAMS),
        go = file("go"),
        there = file("there"),
        end = file("end"),
    );
    for ends_alone in [false, true] {
        for name in ["go", "there", "end"] {
            let _ = fs::remove_file(pool.file(name));
        }
        let job = pool.submit(&["--compute", "50%", "--memory", "64MiB"], &script);
        pool.wait_state(&job, "running");
        pool.crash();
        fs::write(pool.file("go"), "").unwrap();
        soon("the second half", || fs::metadata(pool.file("there")).ok());
        if ends_alone {
            fs::write(pool.file("end"), "").unwrap();
            soon("its shim has written its end", || {
                let leases = fs::read_dir(pool.path().join("leases")).ok()?.flatten();
                let mut status =
                    leases.filter_map(|it| fs::read_to_string(it.path().join("status.json")).ok());
                status.any(|text| text.contains("succeeded")).then_some(())
            });
        }
        pool.restart();
        fs::write(pool.file("end"), "").unwrap();
        assert_eq!(pool.say(&["wait", &job]).code, 0);
        check_charged(&pool, &job, 1..=PROGRAMS);
    }
}
