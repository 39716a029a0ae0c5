//! The daemon itself: it ends and comes again, is one per folder, and answers on its socket and port.

use super::SMALL;
use crate::common::{self, Pool, polder, say, soon};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

#[test]
fn tasks_of_a_killed_daemon_are_adopted_with_their_exit_codes() {
    let Some(pool) = Pool::start() else { return };
    let go = pool.file("go");
    let script =
        format!("echo begun; while [ ! -e {} ]; do sleep 0.05; done; exit 21", go.display());
    let goes_on = pool.submit(&SMALL, &script);
    let ends_alone = pool.submit(&SMALL, "sleep 0.5; exit 22");
    pool.wait_state(&goes_on, "running");
    pool.wait_state(&ends_alone, "running");
    pool.crash();
    let said = pool.say(&["queue"]);
    assert_eq!(said.code, 1);
    assert!(said.stderr.contains("no polder is running for"), "{said:?}");
    std::thread::sleep(std::time::Duration::from_millis(700));
    pool.restart();
    assert_eq!(pool.say(&["wait", &ends_alone]).code, 22);
    assert_eq!(pool.state(&goes_on), "running");
    fs::write(&go, "").unwrap();
    assert_eq!(pool.say(&["wait", &goes_on]).code, 21);
    assert_eq!(pool.ok(&["logs", &goes_on]), "begun\n", "it ran once");
}

#[test]
fn down_leaves_tasks_running_and_down_all_ends_them() {
    let Some(pool) = Pool::start() else { return };
    let job = pool.submit(&SMALL, "sleep 1000");
    pool.wait_state(&job, "running");
    let said = pool.say(&["down"]);
    let expect = "stopped; 1 task runs on, and the next `polder up` adopts it\n";
    assert_eq!((said.code, said.stderr.as_str()), (0, expect));
    assert!(pool.wait_down().success());
    assert!(pool.log().ends_with(expect), "{}", pool.log());
    pool.restart();
    assert_eq!(pool.state(&job), "running");
    let said = pool.say(&["down", "--all"]);
    assert_eq!((said.code, said.stderr.as_str()), (0, "stopped; 1 job ended\n"));
    assert!(pool.wait_down().success());
    pool.restart();
    assert_eq!(pool.say(&["wait", &job]).code, 130);
}

#[test]
fn a_second_daemon_on_the_same_folder_is_told_of_the_first() {
    let Some(pool) = Pool::shared() else { return };
    let said = pool.say(&["up", "--no-listen"]);
    assert_eq!(said.code, 1);
    let expect = format!("in use by process {}", pool.pid());
    assert!(said.stderr.contains(&expect) && said.stderr.contains("--state"), "{said:?}");
    pool.ok(&["nodes"]);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let up = |state: &std::path::Path, address: &str| {
        let mut command = polder(["up", "--listen", address, "--state"]);
        command.arg(state);
        say(command)
    };
    let said = up(&state, &address);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stderr.contains(&format!("cannot listen on {address}")), "{said:?}");
    assert!(said.stderr.contains("--listen 127.0.0.1:PORT"), "{said:?}");
    assert!(!state.exists(), "it left a folder behind");
    // Of a folder in use with its port, the folder is what is told.
    let Some(pool) = Pool::shared() else { return };
    let said = up(pool.path(), &address);
    assert!(said.stderr.contains(&format!("in use by process {}", pool.pid())), "{said:?}");
}

/// One request by hand: status and body.
fn request(pool: &Pool, path: &str, headers: &str) -> (u16, Value) {
    let mut socket = UnixStream::connect(pool.file("polder.sock")).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n").unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    let body = text.split_once("\r\n\r\n").unwrap().1;
    (status, serde_json::from_str(body).unwrap())
}

#[test]
fn a_client_of_another_version_is_told_both() {
    let Some(pool) = Pool::shared() else { return };
    let (status, problem) = request(&pool, "/api/v1/queue", "polder-api: 7\r\n");
    assert!((400..500).contains(&status), "{problem}");
    let detail = format!("{} {}", problem["detail"], problem["help"]);
    assert!(detail.contains('7') && detail.contains('1'), "{detail}");
    assert_eq!(request(&pool, "/api/v1/queue", "polder-api: 1\r\n").0, 200);
}

#[test]
fn over_http_the_token_is_needed() {
    let Some(pool) = Pool::start() else { return };
    pool.ok(&["down"]);
    pool.wait_down();
    pool.restart_with(&["--listen", "127.0.0.1:0"]);
    let url = soon("an address", || {
        let log = pool.log();
        let at = log.rfind("http://127.0.0.1:")?;
        log[at..].split_whitespace().next().map(str::to_owned)
    });
    let jobs = |token: &str| {
        let mut command =
            polder(["--server", &url, "--state", "/no/such", "admin", "user", "list"]);
        command.env("POLDER_TOKEN", token);
        say(command)
    };
    let token = fs::read_to_string(pool.file("token")).unwrap();
    assert_eq!(jobs(token.trim()).code, 0);
    let said = jobs("wrong");
    assert_eq!(said.code, 4, "{said:?}");
    // Whoever can read the state folder needs nothing more.
    assert_eq!(pool.say(&["--server", &url, "submit", "--memory", "1MiB", "--", "true"]).code, 0);
}

#[test]
fn a_daemon_says_in_json_that_it_is_ready() {
    if !common::has_device() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    let words = ["--state", state, "--output", "json", "up", "--detach", "--listen", "0"];
    let said = say(polder(words));
    assert_eq!(said.code, 0, "{said:?}");
    let facts: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((&facts["state"], facts["devices"][0]["id"].is_string()), (&state.into(), true));
    let http = facts["http"].as_str().unwrap();
    let said = say(polder(["--state", state, "--server", http, "nodes"]));
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(say(polder(["--state", state, "down"])).code, 0);
}

#[test]
fn a_detached_daemon_is_ready_when_up_returns_and_down_stops_it() {
    if !common::has_device() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    let words = |words: &[&str]| say(polder([&["--state", state], words].concat()));
    let said = words(&["up", "--detach", "--no-listen"]);
    assert_eq!((said.code, said.stdout.as_str()), (0, ""), "{said:?}");
    assert!(said.stderr.contains("runs in the background as process"), "{said:?}");
    let run = [&["run"], &SMALL[..], &["--", "echo", "hello"]].concat();
    let ran = words(&run);
    let again = words(&["up", "--detach", "--no-listen"]);
    let down = words(&["down", "--all"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "hello\n"), "{ran:?}");
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("in use by process"), "{again:?}");
    assert_eq!(down.code, 0, "{down:?}");
}

#[test]
fn a_terminated_daemon_says_what_runs_on_and_exits_well() {
    let Some(pool) = Pool::start() else { return };
    let job = pool.submit(&SMALL, "sleep 1000");
    pool.wait_state(&job, "running");
    pool.terminate();
    assert_eq!(pool.wait_down().code(), Some(0));
    let expect = "stopped; 1 task runs on, and the next `polder up` adopts it\n";
    assert!(pool.log().ends_with(expect), "{}", pool.log());
    pool.restart();
    assert_eq!(pool.state(&job), "running");
}
