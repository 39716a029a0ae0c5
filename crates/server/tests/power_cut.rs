//! The power fails, again and again, under load. With the journal's syncs, nothing that was
//! acknowledged is lost; without them the same test must see a loss, or it proves nothing.
//!
//! The server is this same test binary, run as a child over a file layer that keeps unsynced
//! writes to itself (`support/power.rs`); killing it is the cut.

#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

#[path = "support/power.rs"]
mod power;
mod support;

use polder_model::JobId;
use polder_server::{OpenOptions, ServeOptions, Storage, open, serve};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Client, job};
use tokio::time::Instant;

const CUTS: u64 = 50;
const SUBMITTERS: u64 = 4;
const CHILD: &str = "POLDER_TEST_POWER_CHILD";
const UNSYNCED: &str = "POLDER_TEST_POWER_UNSYNCED";

/// The child: serves the folder that the variable names, until the power fails.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    power::register();
    let unsynced = std::env::var_os(UNSYNCED).is_some();
    let storage = Storage { vfs: Some(power::NAME.into()), unsynced };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let pool = open(OpenOptions { storage, ..OpenOptions::new(folder) }).await.unwrap();
        serve(pool, ServeOptions::default()).await.unwrap().wait().await.unwrap();
    });
}

fn spawn(folder: &Path, unsynced: bool) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]).env(CHILD, folder).stdout(Stdio::null());
    if unsynced {
        command.env(UNSYNCED, "1");
    }
    command.spawn().unwrap()
}

type Acknowledged = Arc<Mutex<BTreeSet<u64>>>;

async fn submit(client: Client, acknowledged: Acknowledged) {
    loop {
        let body = Some(job(100).to_string());
        match client.try_call(hyper::Method::POST, "/api/v1/jobs", &[], body).await {
            Ok((status, body)) => {
                assert!(status.is_success(), "{status}: {body}");
                acknowledged.lock().unwrap().insert(body["id"].as_u64().unwrap());
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(3)).await,
        }
    }
}

/// One life of the server: ends after so many more acknowledgements, in the middle of the next.
async fn live_until_the_cut(folder: &Path, unsynced: bool, more: usize) -> BTreeSet<u64> {
    let mut server = spawn(folder, unsynced);
    let acknowledged = Acknowledged::default();
    let client = Client { socket: folder.join("polder.sock"), uid: None };
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..SUBMITTERS {
        clients.spawn(submit(client.clone(), Arc::clone(&acknowledged)));
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    while acknowledged.lock().unwrap().len() < more {
        assert!(Instant::now() < deadline, "the server does not answer");
        assert_eq!(server.try_wait().unwrap(), None, "the server ended by itself");
        tokio::time::sleep(Duration::from_micros(300)).await;
    }
    server.kill().unwrap();
    server.wait().unwrap();
    clients.shutdown().await;
    let acknowledged = acknowledged.lock().unwrap();
    acknowledged.clone()
}

/// How many acknowledged jobs are gone; all of them when the journal cannot be opened.
async fn lost(folder: &Path, acknowledged: &BTreeSet<u64>) -> usize {
    let Ok(pool) = open(OpenOptions::new(folder)).await else { return acknowledged.len() };
    assert_eq!(pool.engine().check(), []);
    let lost = acknowledged.iter().filter(|id| pool.engine().job(JobId(**id)).is_none()).count();
    pool.close().await;
    lost
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    for cut in 0..CUTS {
        let more = usize::try_from(1 + cut * 7 % 23).unwrap();
        let fresh = live_until_the_cut(folder.path(), false, more).await;
        assert!(acknowledged.is_disjoint(&fresh), "a number was handed out twice");
        acknowledged.extend(fresh);
        assert_eq!(lost(folder.path(), &acknowledged).await, 0, "after cut {cut}");
    }
}

/// The negative control: shows that the file layer drops what was not synced, and that the test
/// above would notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_syncs_the_same_cut_loses_what_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let acknowledged = live_until_the_cut(folder.path(), true, 20).await;
    assert!(
        lost(folder.path(), &acknowledged).await > 0,
        "the cut is too gentle to prove anything"
    );
}
