//! What one tenant does to itself reaches no other: real programs on PoCL that crash, fault, leak and fork
//! without end, beside one that checks its own results.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Pool, program, soon};
use std::fs;
use std::path::PathBuf;

/// A third of the device, with room for 64 buffers of a MiB.
const SHARE: [&str; 4] = ["--compute", "30%", "--memory", "64MiB"];
/// Half of that, in bytes.
const SECRET: usize = 32 << 20;
const FORKS: u32 = 10_000;

/// A neighbour that keeps to the rules and ends with success only if all its results are right.
struct Honest<'a> {
    pool: &'a Pool,
    job: String,
    beats: PathBuf,
    until: PathBuf,
}

impl<'a> Honest<'a> {
    fn start(pool: &'a Pool) -> Self {
        let (beats, until) = (pool.file("honest.beats"), pool.file("honest.until"));
        let script = format!(
            "exec {} --beats {} --until {} --iterations 200000",
            program("steady"),
            beats.display(),
            until.display()
        );
        let job = pool.submit(&SHARE, &script);
        let honest = Self { pool, job, beats, until };
        honest.goes_on(20);
        honest
    }

    fn goes_on(&self, beats: usize) {
        let count = || fs::read_to_string(&self.beats).unwrap_or_default().lines().count();
        let before = count();
        soon("the honest neighbour goes on", || (count() > before + beats).then_some(()));
    }

    fn ends_well(self) {
        self.goes_on(20);
        fs::write(&self.until, "").unwrap();
        let said = self.pool.say(&["wait", &self.job, "--timeout", "60s"]);
        assert_eq!(said.code, 0, "its results are right: {said:?}");
    }
}

fn wait(pool: &Pool, job: &str) -> i32 {
    pool.say(&["wait", job, "--timeout", "300s"]).code
}

#[test]
fn a_neighbour_that_crashes_faults_or_leaks_changes_nothing() {
    let Some(pool) = Pool::start() else { return };
    let honest = Honest::start(&pool);
    let ruin = program("ruin");
    for end in ["crash", "fault"] {
        let job = pool.submit(&SHARE, &format!("{ruin} {end}; [ $? -gt 128 ] && exit 5"));
        assert_eq!(wait(&pool, &job), 5, "{end}: a signal ends it");
        honest.goes_on(5);
    }
    // Everything it may have is leaked, and it is killed: the next finds all of it.
    for _ in 0..2 {
        let job = pool.submit(&SHARE, &format!("exec {ruin} leak"));
        let leaked: u64 = soon("all is leaked", || {
            let log = pool.say(&["logs", &job]).stdout;
            log.lines().find_map(|line| line.strip_prefix("leaked ")?.parse().ok())
        });
        assert_eq!(leaked, 64, "what it may have, of a MiB each");
        honest.goes_on(5);
        pool.ok(&["cancel", &job]);
        wait(&pool, &job);
    }
    honest.ends_well();
}

#[test]
fn a_tenant_that_forks_ten_thousand_times_leaves_nothing_behind() {
    let Some(pool) = Pool::start_with(&["--no-listen", "--enforcement", "strict"]) else { return };
    let honest = Honest::start(&pool);
    let (ruin, storm) = (program("ruin"), program("storm"));
    let job = pool.submit(&SHARE, &format!("{ruin} forks {FORKS} && {storm} --cap"));
    assert_eq!(wait(&pool, &job), 0, "{:?}", pool.say(&["logs", "--stderr", &job]).stdout);
    let shown = pool.json(&["show", &job]);
    let lease = &shown["leases"][0];
    let sample = &lease["ending"]["end"]["sample"];
    assert_eq!(sample["processes"], 0);
    let peak = sample["devices"][0]["memory_peak"].as_u64().unwrap();
    assert!(peak <= 64 << 20, "{peak} bytes passed the cap");
    assert!(lease["lease"]["findings"].is_null(), "nobody is blamed: {lease}");
    honest.ends_well();
}

#[test]
fn processes_that_fork_become_others_and_are_killed_never_pass_the_cap_and_leave_nothing() {
    let Some(pool) = Pool::start() else { return };
    let storm = program("storm");
    let job = pool.submit(&SHARE, &format!("{storm} --steps 400 --processes 6"));
    assert_eq!(wait(&pool, &job), 0, "{:?}", pool.say(&["logs", "--stderr", &job]).stdout);
    let log = pool.ok(&["logs", &job]);
    let told: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    let number = |name: &str| told[name].as_u64().unwrap();
    assert!(number("most_held") <= number("limit_bytes"), "{told}");
    assert_eq!(number("held_at_end"), 0, "{told}");
    assert!(["killed", "execs", "forks"].iter().all(|what| number(what) > 0), "{told}");
}

#[test]
fn new_memory_holds_nothing_of_another_tenants() {
    let Some(pool) = Pool::start() else { return };
    let ruin = program("ruin");
    for _ in 0..3 {
        let job = pool.submit(&SHARE, &format!("{ruin} secret {SECRET}"));
        assert_eq!(wait(&pool, &job), 0);
        assert!(pool.ok(&["logs", &job]).contains("written"));
        let job = pool.submit(&SHARE, &format!("{ruin} peek {SECRET}"));
        assert_eq!(wait(&pool, &job), 0);
        let log = pool.ok(&["logs", &job]);
        assert!(log.contains(&format!("found 0 of {}", SECRET / 8)), "{log}");
    }
}
