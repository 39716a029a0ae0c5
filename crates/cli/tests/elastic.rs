//! Services and gangs that change their size, on a real pool.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use common::{Pool, soon};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Tells where it runs, and waits.
fn script(folder: &Path) -> String {
    let line = "echo $$ $RANK $WORLD_SIZE $MASTER_PORT";
    format!("{line} > {}/$POLDER_TASK-$POLDER_LEASE; exec sleep 1000", folder.display())
}

/// Task and number of a job's leases that run.
fn running(pool: &Pool, job: &str) -> Vec<(u64, u64)> {
    let shown = pool.json(&["show", job]);
    let leases = shown["leases"].as_array().unwrap().iter();
    let runs =
        leases.filter(|view| view["lease"]["state"] == "started" && view["ending"].is_null());
    let number = |view: &serde_json::Value, key: &str| view["lease"][key].as_u64().unwrap();
    let mut tasks: Vec<(u64, u64)> =
        runs.map(|view| (number(view, "task"), number(view, "id"))).collect();
    tasks.sort_unstable();
    tasks
}

fn tasks(pool: &Pool, job: &str) -> Vec<u64> {
    running(pool, job).into_iter().map(|(task, _)| task).collect()
}

/// What a task said of itself.
fn said(folder: &Path, (task, lease): (u64, u64)) -> Vec<String> {
    let file = folder.join(format!("{task}-L{lease}"));
    let text =
        soon("a task speaks", || fs::read_to_string(&file).ok().filter(|t| t.ends_with('\n')));
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_service_replaces_what_ends_and_is_scaled() {
    let Some(pool) = Pool::start() else { return };
    let folder = pool.file("said");
    fs::create_dir(&folder).unwrap();
    let flags = ["--service", "--replicas", "2", "--compute", "1%", "--memory", "1MiB"];
    let job = pool.submit(&flags, &script(&folder));
    let two = soon("two replicas", || Some(running(&pool, &job)).filter(|all| all.len() == 2));
    let first = said(&folder, two[0]);
    assert_eq!(&first[1..3], ["0", "1"], "to itself a replica is alone");
    assert!(pool.ok(&["show", &job]).contains("2 service"));
    let killed = Command::new("kill").args(["-KILL", &first[0]]).status().unwrap();
    assert!(killed.success());
    let next = soon("a successor", || {
        let all = running(&pool, &job);
        let same = all.len() == 2 && all[1] == two[1];
        (same && all[0].0 == 0 && all[0].1 > two[1].1).then_some(all)
    });
    assert_eq!(said(&folder, next[0])[1..3], ["0", "1"]);
    assert_eq!(pool.state(&job), "running");
    pool.ok(&["scale", &job, "3"]);
    soon("a third", || (tasks(&pool, &job) == [0, 1, 2]).then_some(()));
    pool.ok(&["scale", &job, "1"]);
    soon("one alone", || (running(&pool, &job) == next[..1]).then_some(()));
    pool.ok(&["cancel", &job]);
    assert_eq!(pool.say(&["wait", &job]).code, 130);
    let other = pool.submit(&["--compute", "1%", "--memory", "1MiB"], "sleep 1000");
    let refused = pool.say(&["scale", &other, "2"]);
    assert!(refused.code != 0 && refused.stderr.contains("is no service"), "{refused:?}");
    pool.ok(&["cancel", &other]);
}

#[test]
fn an_elastic_gang_grows_and_makes_room() {
    let Some(pool) = Pool::start() else { return };
    let folder = pool.file("said");
    fs::create_dir(&folder).unwrap();
    let policy = pool.file("policy.toml");
    fs::write(&policy, "[elastic]\npause = \"1s\"\n").unwrap();
    pool.ok(&["admin", "policy", "set", policy.to_str().unwrap()]);
    let share = ["--compute", "40%", "--memory", "1MiB"];
    let first = pool.submit(&share, "sleep 1000");
    pool.wait_state(&first, "running");
    let gang =
        pool.submit(&[&["--tasks", "1..2", "--elastic"], &share[..]].concat(), &script(&folder));
    let one = soon("one task", || Some(running(&pool, &gang)).filter(|all| all.len() == 1));
    let meets = said(&folder, one[0])[3].clone();
    pool.ok(&["cancel", &first]);
    let two = soon("a second", || Some(running(&pool, &gang)).filter(|all| all.len() == 2));
    assert_eq!(two[0], one[0], "the first goes on");
    assert_eq!(said(&folder, two[1])[1..], ["1".to_owned(), "2".to_owned(), meets]);
    let third = pool.submit(&share, "true");
    assert_eq!(pool.say(&["wait", &third]).code, 0, "the second has made room for it");
    let again = soon("it comes back", || Some(running(&pool, &gang)).filter(|all| all.len() == 2));
    assert!(again[0] == one[0] && again[1].1 > two[1].1, "{again:?}");
    pool.ok(&["cancel", &gang]);
}
