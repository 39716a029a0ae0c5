//! Jobs through the queue: submitted, explained, limited, cancelled, adopted.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;
#[path = "jobs/daemon.rs"]
mod daemon;
#[path = "jobs/logs.rs"]
mod logs;

use common::{Pool, say, soon};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::process::Stdio;

const SMALL: [&str; 4] = ["--compute", "1%", "--memory", "1MiB"];
const HALF: [&str; 4] = ["--compute", "60%", "--memory", "1MiB"];

#[test]
fn a_queue_forms_is_explained_and_drains() {
    let Some(pool) = Pool::start() else { return };
    let go = pool.file("go");
    let wait = format!("while [ ! -e {} ]; do sleep 0.05; done", go.display());
    let first = pool.submit(&HALF, &wait);
    let second = pool.submit(&HALF, "echo second");
    let third = pool.submit(&[&["--name", "third"], &HALF[..]].concat(), "echo third");
    pool.wait_state(&first, "running");
    let queue = pool.json(&["queue"]);
    let places: Vec<_> = queue["waiting"].as_array().unwrap().iter().map(|e| &e["job"]).collect();
    assert_eq!(places, [2, 3]);
    let text = pool.ok(&["queue"]);
    assert!(text.contains("third") && text.contains("60% 1 MiB"), "{text}");
    let text = pool.ok(&["explain", &second]);
    assert!(text.starts_with("job 2: queued, place 1 in the queue\n  why   "), "{text}");
    assert!(text.contains("20% of compute") && text.contains("when job 1 ends"), "{text}");
    let explained = pool.json(&["explain", &third]);
    assert_eq!(explained["state"], "queued");
    fs::write(&go, "").unwrap();
    assert_eq!(pool.say(&["wait", &first, &second, &third]).code, 0);
    assert_eq!(pool.ok(&["queue"]), "nothing runs and nothing waits\n");
    assert_eq!(pool.ok(&["logs", &third]), "third\n");
    let usage = pool.json(&["usage", "--by", "job"]);
    assert_eq!(usage["rows"].as_array().unwrap().len(), 3);
}

#[test]
fn submit_prints_the_number_alone_and_wait_gives_the_exit_code() {
    let Some(pool) = Pool::shared() else { return };
    let job = pool.submit(&SMALL, "exit 9");
    assert!(job.parse::<u64>().is_ok(), "{job:?}");
    let said = pool.say(&["wait", &job]);
    assert_eq!((said.code, said.stdout.as_str()), (9, ""));
    let slow = pool.submit(&SMALL, "sleep 1000");
    let said = pool.say(&["wait", &slow, "--timeout", "200ms"]);
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.stderr.contains(&format!("job {slow} is not over yet")), "{said:?}");
    pool.ok(&["cancel", &slow]);
    assert_eq!(pool.say(&["wait", &slow]).code, 130);
}

#[test]
fn what_does_not_exist_is_exit_code_3() {
    let Some(pool) = Pool::shared() else { return };
    for words in [
        &["show", "999"][..],
        &["wait", "999"],
        &["explain", "999"],
        &["logs", "999"],
        &["cancel", "999"],
        &["admin", "tenant", "remove", "nobody"],
        &["admin", "quota", "set", "nobody", "--devices", "1"],
        &["admin", "user", "remove", "nobody"],
    ] {
        let said = pool.say(words);
        assert_eq!((said.code, said.stdout.as_str()), (3, ""), "{words:?} {said:?}");
        let name = if words[0] == "admin" { "nobody" } else { "999" };
        assert!(said.stderr.starts_with("error: ") && said.stderr.contains(name), "{said:?}");
    }
}

#[test]
fn job_files_in_both_languages_say_the_same() {
    let Some(pool) = Pool::shared() else { return };
    let toml = "name = \"both\"\ncommand = [\"sh\", \"-c\", \"echo $A $B; pwd\"]\n\
                directory = \"/tmp\"\n[environment]\nA = 1\nB = \"two\"\n[devices]\n\
                compute = \"2%\"\nmemory = \"2MiB\"\n[when]\ntime_limit = \"1m\"\n";
    let yaml = "name: both\ncommand: [sh, -c, echo $A $B; pwd]\ndirectory: /tmp\n\
                environment:\n  A: 1\n  B: two\ndevices:\n  compute: 2%\n  memory: 2MiB\n\
                when:\n  time_limit: 1m\n";
    let mut asks = Vec::new();
    for (name, text) in [("job.toml", toml), ("job.yaml", yaml)] {
        let path = pool.file(name);
        fs::write(&path, text).unwrap();
        let job = pool.ok(&["submit", "--file", path.to_str().unwrap()]).trim().to_owned();
        assert_eq!(pool.say(&["wait", &job]).code, 0);
        assert_eq!(pool.ok(&["logs", &job]), "1 two\n/tmp\n");
        asks.push(pool.json(&["show", &job])["job"]["ask"].clone());
    }
    assert_eq!(asks[0], asks[1]);
    assert_eq!(asks[0]["devices"]["compute"], 20);
    let mut command = pool.polder(["submit", "--file", "-", "--compute", "3%", "--env", "B=3"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(yaml.as_bytes()).unwrap();
    let job = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let ask = pool.json(&["show", job.trim()])["job"]["ask"].clone();
    assert_eq!(
        (&ask["devices"]["compute"], &ask["devices"]["memory"]),
        (&30.into(), &(2 << 20).into())
    );
    assert_eq!(pool.say(&["wait", job.trim()]).code, 0);
    assert_eq!(pool.ok(&["logs", job.trim()]), "1 3\n/tmp\n");
}

#[test]
fn a_gang_starts_together_and_knows_its_places() {
    let Some(pool) = Pool::shared() else { return };
    let meet = pool.file("gang");
    fs::create_dir(&meet).unwrap();
    let script = format!(
        "touch {0}/$RANK; n=0; while [ $(ls {0} | wc -l) -lt 3 ]; do sleep 0.02; n=$((n+1)); \
         [ $n -gt 2000 ] && exit 1; done; \
         echo $RANK/$WORLD_SIZE $LOCAL_RANK ${{MASTER_ADDR:+addr}} ${{MASTER_PORT:+port}}",
        meet.display()
    );
    let job = pool.submit(&[&["--tasks", "3"], &SMALL[..]].concat(), &script);
    assert_eq!(pool.say(&["wait", &job]).code, 0, "{}", pool.ok(&["logs", "--stderr", &job]));
    for rank in 0..3 {
        let said = pool.ok(&["logs", "--task", &rank.to_string(), &job]);
        assert_eq!(said, format!("{rank}/3 {rank} addr port\n"));
    }
}

#[test]
fn a_failing_member_ends_the_gang() {
    let Some(pool) = Pool::shared() else { return };
    let script = "[ $RANK = 1 ] && exit 8; sleep 1000";
    let job = pool.submit(&[&["--tasks", "2"], &SMALL[..]].concat(), script);
    assert_eq!(pool.say(&["wait", &job]).code, 8);
}

#[test]
fn a_whole_device_is_shared_with_nobody() {
    let Some(pool) = Pool::start() else { return };
    let go = pool.file("go");
    let wait = format!(
        "echo ${{OCL_ICD_VENDORS-native}}; while [ ! -e {} ]; do sleep 0.05; done",
        go.display()
    );
    let whole = pool.submit(&["--whole"], &wait);
    pool.wait_state(&whole, "running");
    let next = pool.submit(&SMALL, "true");
    let devices = pool.json(&["devices"]);
    assert_eq!(devices["devices"][0]["whole"], true);
    assert!(pool.ok(&["devices"]).contains("whole"));
    assert_eq!(pool.state(&next), "queued");
    let lease = &pool.json(&["show", &whole])["leases"][0]["lease"];
    assert_eq!(lease["slices"][0]["mechanism"], "whole");
    for words in [&["show", &whole][..], &["top", "--once"]] {
        let screen = pool.ok(words);
        assert!(screen.contains("exclusive"), "{screen}");
    }
    fs::write(&go, "").unwrap();
    assert_eq!(pool.say(&["wait", &whole, &next]).code, 0);
    assert_eq!(pool.ok(&["logs", &whole]), "native\n");
}

#[test]
fn a_job_without_devices_finds_none_whatever_it_sets() {
    let Some(pool) = Pool::shared() else { return };
    let probe = common::program("probe");
    let none = ["--devices", "0"];
    let found = |flags: &[&str], before: &str| {
        let said = say(pool.run(flags, &format!("{before} {probe} devices; echo end")));
        assert_eq!(said.code, 0, "{said:?}");
        said.stdout
    };
    assert!(found(&SMALL, "").contains("1 devices"), "one with a share finds its device");
    assert_eq!(found(&none, ""), "end\n");
    let script = "echo $CUDA_VISIBLE_DEVICES$NVIDIA_VISIBLE_DEVICES$ROCR_VISIBLE_DEVICES.";
    assert_eq!(say(pool.run(&none, script)).stdout, ".\n");
    let job = pool.submit(&none, "true");
    assert_eq!(pool.say(&["wait", &job]).code, 0);
    let isolation = pool.json(&["show", &job])["leases"][0]["lease"]["isolation"].clone();
    let shown = pool.ok(&["show", &job]);
    let row = shown.lines().last().unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!((row[5], row[7]), ("none", isolation.as_str().unwrap()), "{shown}");
    if isolation == "soft" {
        for before in ["env -u OCL_ICD_VENDORS", "env OCL_ICD_VENDORS=/etc/OpenCL/vendors"] {
            assert_eq!(found(&none, before), "end\n", "{before}");
        }
    }
}

#[test]
fn a_quota_holds_and_is_explained() {
    let Some(pool) = Pool::start() else { return };
    pool.ok(&["admin", "tenant", "set", "lab", "--default-compute", "5%"]);
    pool.ok(&["admin", "tenant", "set", "lab/vision"]);
    pool.ok(&["admin", "quota", "set", "lab", "--compute", "50%", "--devices", "3"]);
    pool.ok(&["admin", "quota", "set", "lab", "--devices", "none", "--memory", "1GiB"]);
    let tenants = pool.json(&["admin", "tenant", "list"]);
    let lab = tenants["tenants"].as_array().unwrap().iter().find(|t| t["tenant"]["path"] == "lab");
    let expect: Value = serde_json::json!({"compute": 500, "memory": 1 << 30});
    assert_eq!(lab.unwrap()["tenant"]["quota"], expect);
    let ask = ["--tenant", "lab/vision", "--compute", "40%", "--memory", "1MiB"];
    let first = pool.submit(&ask, "sleep 1000");
    let second = pool.submit(&ask, "sleep 1000");
    pool.wait_state(&first, "running");
    assert_eq!(pool.state(&second), "queued");
    let text = pool.ok(&["explain", &second]);
    assert!(text.contains("tenant lab may hold 0.500 devices of compute"), "{text}");
    let small = pool.submit(&["--tenant", "lab", "--memory", "1MiB"], "true");
    assert_eq!(pool.json(&["show", &small])["job"]["ask"]["devices"]["compute"], 50);
    assert_eq!(pool.say(&["admin", "tenant", "remove", "lab"]).code, 1);
    let said = pool.say(&["submit", "--tenant", "other", "--", "true"]);
    assert_ne!(said.code, 0);
    assert!(said.stderr.contains("other"), "{said:?}");
}

#[test]
fn more_than_the_largest_device_has_is_refused_with_its_size() {
    let Some(pool) = Pool::shared() else { return };
    let said = pool.say(&["submit", "--memory", "900TiB", "--", "true"]);
    assert_eq!((said.code, said.stdout.as_str()), (2, ""), "{said:?}");
    assert!(said.stderr.contains("900 TiB") && said.stderr.contains("GiB"), "{said:?}");
    let said = pool.say(&["submit", "--model", "H200", "--", "true"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.stderr.to_uppercase().contains("H200"), "{said:?}");
}

#[test]
fn every_command_speaks_json() {
    let Some(pool) = Pool::shared() else { return };
    let words = [&["submit"], &SMALL[..], &["--", "true"]].concat();
    let job = pool.json(&words)["id"].to_string();
    assert_eq!(pool.json(&["wait", &job])[0]["state"]["state"], "finished");
    for words in [
        &["queue"][..],
        &["queue", "--all"],
        &["show"],
        &["show", "--live"],
        &["show", &job],
        &["nodes"],
        &["devices"],
        &["devices", "--local"],
        &["top"],
        &["explain", &job],
        &["usage"],
        &["usage", "--by", "user", "--since", "1h"],
        &["admin", "tenant", "list"],
        &["admin", "user", "list"],
    ] {
        assert!(pool.json(words).is_object(), "{words:?}");
    }
    let backup = pool.file("backup.db");
    assert!(pool.json(&["admin", "backup", backup.to_str().unwrap()])["seq"].is_u64());
    assert!(backup.exists());
    assert_eq!(pool.say(&["admin", "backup", backup.to_str().unwrap()]).code, 1);
    let said = pool.say(&["admin", "backup", "/nonexist/b.db"]);
    assert!(said.stderr.contains("/nonexist/b.db") && said.code != 0, "{said:?}");
    assert!(said.stderr.contains("help: choose a folder that is there"), "{said:?}");
}

#[test]
fn users_are_added_and_removed() {
    let Some(pool) = Pool::shared() else { return };
    pool.ok(&["admin", "user", "add", "ada", "--tenant", "default", "--role", "tenant-admin"]);
    let text = pool.ok(&["admin", "user", "list"]);
    let is_admin = |text: &str| {
        text.lines().any(|line| line.starts_with("ada") && line.contains("tenant-admin"))
    };
    assert!(is_admin(&text), "{text}");
    // A role that is not said stays.
    pool.ok(&["admin", "user", "add", "ada", "--tenant", "default"]);
    let text = pool.ok(&["admin", "user", "list"]);
    assert!(is_admin(&text), "{text}");
    pool.ok(&["admin", "user", "remove", "ada"]);
    assert!(!pool.ok(&["admin", "user", "list"]).contains("ada"));
}

#[test]
fn a_user_whom_this_machine_does_not_know_is_set_with_a_warning() {
    let Some(pool) = Pool::shared() else { return };
    let add = |user| pool.say(&["admin", "user", "add", user, "--tenant", "default"]);
    let said = add("no-such-user");
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stderr.contains("user no-such-user is set"), "{said:?}");
    assert!(
        said.stderr.contains("warning: /etc/passwd") && said.stderr.contains("`uid-N`"),
        "{said:?}"
    );
    for user in ["nobody", "uid-4711"] {
        assert!(!add(user).stderr.contains("warning"), "{user}");
        pool.ok(&["admin", "user", "remove", user]);
    }
    pool.ok(&["admin", "user", "remove", "no-such-user"]);
}

#[test]
fn a_job_outlives_its_contact_limit_while_the_server_answers() {
    let folder = tempfile::tempdir().unwrap();
    let rack = folder.path().join("rack.toml");
    fs::write(&rack, common::RACK).unwrap();
    let flags = ["--no-listen", "--simulate", rack.to_str().unwrap()];
    let Some(pool) = Pool::start_with(&flags) else { return };
    let policy = pool.file("policy.toml");
    fs::write(&policy, "contact_limit = \"16s\"").unwrap();
    pool.ok(&["admin", "policy", "set", policy.to_str().unwrap()]);
    // It has something new to report every second, and would be ended after eight without contact.
    let job = pool.submit(&["--whole"], "sleep 1000");
    soon("ten seconds of device time, or its end", || {
        let shown = pool.json(&["show", &job]);
        let time = shown["leases"][0]["sample"]["devices"][0]["device_time"].as_u64().unwrap_or(0);
        (time >= 10_000_000 || pool.state(&job) == "finished").then_some(())
    });
    assert_eq!(pool.state(&job), "running", "{}", pool.log());
}

#[test]
fn simulated_devices_are_labelled_on_every_screen() {
    let folder = tempfile::tempdir().unwrap();
    let rack = folder.path().join("rack.toml");
    fs::write(&rack, common::RACK).unwrap();
    let rack = rack.to_str().unwrap();
    let Some(pool) = Pool::start_with(&["--no-listen", "--simulate", rack]) else { return };
    soon("a word of the daemon", || pool.log().contains("simulated").then_some(()));
    assert!(pool.ok(&["devices"]).contains("simulated"));
    assert!(pool.ok(&["top", "--once"]).contains("simulated"));
    assert!(pool.ok(&["nodes"]).contains(" 2(simulated) "));
    assert_eq!(pool.json(&["nodes"])["nodes"][0]["devices_simulated"], 2);
    let job = pool.submit(&["--whole"], "sleep 1000");
    pool.wait_state(&job, "running");
    for words in [&["show", &job][..], &["top", "--once"]] {
        let screen = pool.ok(words);
        assert!(screen.contains("sim-0(simulated)"), "{screen}");
    }
    let devices = pool.json(&["devices"]);
    assert_eq!(devices["devices"][0]["device"]["simulated"], true);
}

#[test]
fn isolation_that_a_node_does_not_give_is_refused_with_what_it_gives() {
    let folder = tempfile::tempdir().unwrap();
    let rack = folder.path().join("rack.toml");
    let card = "[[device]]\nmodel = \"NVIDIA A100-SXM4-80GB\"\nmemory = \"80GiB\"\n\
                mechanisms = [\"mig\", \"whole\"]\n";
    fs::write(&rack, card).unwrap();
    let flags = ["--no-listen", "--simulate", rack.to_str().unwrap()];
    let Some(pool) = Pool::start_with(&flags) else { return };
    let part = ["--compute", "14%", "--memory", "9GiB", "--model", "A100"];
    let run = |flags: &[&str]| pool.say(&[&["run"], &part[..], flags, &["--", "true"]].concat());
    for level in ["driver", "hardware"] {
        let said = run(&["--isolation", level]);
        let expect =
            format!("{level} isolation was asked for, and a part of sim-0 by mig has none");
        assert_eq!(said.code, 127, "{}", said.stderr);
        assert!(said.stderr.contains(&expect), "{}", said.stderr);
    }
    assert_eq!(run(&["--mechanism", "mig"]).code, 0, "who does not ask for it gets the part");
}
