//! What tasks wrote: followed, through retries and restarts, and what was dropped of it.

use super::{HALF, SMALL};
use crate::common::{self, Pool, read_until};
use serde_json::Value;
use std::fs;
use std::io::Read;
use std::process::Stdio;

#[test]
fn logs_follow_until_the_end() {
    let Some(pool) = Pool::shared() else { return };
    let go = pool.file("logs-go");
    let script = format!(
        "echo one; echo bad >&2; while [ ! -e {} ]; do sleep 0.05; done; echo two",
        go.display()
    );
    let job = pool.submit(&SMALL, &script);
    pool.wait_state(&job, "running");
    let mut follow = pool.polder(["logs", "-f", &job]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = follow.stdout.take().unwrap();
    assert_eq!(read_until(&mut out, "one\n"), "one\n");
    fs::write(&go, "").unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "two\n");
    assert!(common::ended(&mut follow).success());
    assert_eq!(pool.ok(&["logs", "--stderr", &job]), "bad\n");
    assert_eq!(pool.ok(&["logs", "--tail", "4", &job]), "two\n");
    for (flag, number, expect) in [
        ("--task", "5", "has task 0 alone: there is no task 5"),
        ("--try", "9", "has had try 1 alone: there is no try 9"),
        ("--try", "0", "has had try 1 alone: there is no try 0"),
    ] {
        for follow in [&[][..], &["-f"]] {
            let said = pool.say(&[&["logs", flag, number, &job], follow].concat());
            assert_eq!((said.code, said.stdout.as_str()), (3, ""), "{said:?}");
            assert!(said.stderr.contains(expect), "{said:?}");
        }
    }
    let lines = pool.ok(&["--output", "json", "logs", &job]);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let number: u64 = job.parse().unwrap();
    let line = |text| {
        serde_json::json!({
            "job": number, "task": 0, "try": 1, "stream": "stdout", "text": text,
        })
    };
    assert_eq!(lines, [line("one"), line("two")]);
}

#[test]
fn logs_wait_for_the_start_and_follow_through_retries_and_restarts() {
    let Some(pool) = Pool::start() else { return };
    let go = pool.file("go");
    let wait = format!("while [ ! -e {} ]; do sleep 0.05; done", go.display());
    let holder = pool.submit(&["--compute", "100%", "--memory", "1MiB"], &wait);
    pool.wait_state(&holder, "running");
    let again = pool.file("again");
    let script = format!(
        "echo begin; while [ ! -e {0} ]; do sleep 0.05; done; echo end; [ -e {0}2 ] || {{ touch \
         {0}2; exit 4; }}",
        again.display()
    );
    let job = pool.submit(&[&["--retries", "3"], &HALF[..]].concat(), &script);
    let mut follow = pool.polder(["logs", "-f", &job]);
    let mut follow = follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut waiting = pool.polder(["wait", &job]).stderr(Stdio::piped()).spawn().unwrap();
    pool.say(&["logs", &job]);
    let cancelled = pool.submit(&HALF, "echo never");
    let mut never = pool.polder(["logs", "-f", &cancelled]);
    let mut never = never.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    pool.ok(&["cancel", &cancelled]);
    assert_eq!(common::ended(&mut never).code(), Some(3));
    let why = read_until(never.stderr.as_mut().unwrap(), "\n");
    assert!(why.contains(&format!("task 0 of job {cancelled} never started: cancelled")), "{why}");
    fs::write(&go, "").unwrap();
    let mut out = follow.stdout.take().unwrap();
    assert_eq!(read_until(&mut out, "begin\n"), "begin\n");
    pool.crash();
    let err = follow.stderr.as_mut().unwrap();
    read_until(err, "waiting for it to come back");
    read_until(waiting.stderr.as_mut().unwrap(), "waiting for it to come back");
    fs::write(&again, "").unwrap();
    pool.restart();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "end\nbegin\nend\n");
    assert_eq!(common::ended(&mut follow).code(), Some(0));
    assert_eq!(common::ended(&mut waiting).code(), Some(0));
}

#[test]
fn what_a_log_dropped_is_said() {
    let Some(pool) = Pool::shared() else { return };
    let script = "head -c 90000000 /dev/zero | tr '\\0' 'x'; echo; echo end";
    let job = pool.submit(&SMALL, script);
    assert_eq!(pool.say(&["wait", &job]).code, 0);
    let said = pool.say(&["logs", &job]);
    let dropped = 90_000_005 - said.stdout.len();
    assert!((20_000_000..90_000_000).contains(&dropped), "{dropped}");
    let expect = format!(
        "warning: job {job}: the first {dropped} bytes of stdout are dropped: only the end of a \
         long output is kept\n"
    );
    assert_eq!(said.stderr, expect);
    let said = pool.say(&["logs", "--tail", "4", &job]);
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("end\n", ""));
}
