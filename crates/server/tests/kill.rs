//! A server that is killed at random points, again and again, under load. Nothing that was
//! acknowledged is lost, nothing is granted twice, and no task is told to start twice.
//!
//! The server is this same test binary, run as a child that serves until it is killed. The agent
//! is a scripted one that lives through every kill, as a real one does.

#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod support;

use hyper::{Method, StatusCode};
use polder_model::JobId;
use polder_server::{OpenOptions, ServeOptions, open, serve};
use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Client, FakeAgent, job};
use tokio::time::Instant;

const KILLS: u32 = 200;
/// Kills before the next ones get a new folder, so that replays stay short.
const KILLS_OF_A_FOLDER: u32 = 40;
const SUBMITTERS: u64 = 6;
const CHILD: &str = "POLDER_TEST_KILL_CHILD";

/// The child: serves the folder that the variable names, until it is killed.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let pool = open(OpenOptions::new(folder)).await.unwrap();
        serve(pool, ServeOptions::default()).await.unwrap().wait().await.unwrap();
    });
}

fn spawn(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// What clients and the agent have been told, over all lives of the server.
#[derive(Default)]
struct Told {
    /// The job that each key was acknowledged as.
    jobs: BTreeMap<String, u64>,
    /// Keys that were sent and not answered: they are sent again.
    open: BTreeSet<String>,
    cancelled: BTreeSet<u64>,
    /// The lease under which each task of each try was told to start.
    starts: BTreeMap<(u64, u64, u64), u64>,
    acknowledgements: u64,
    next_key: u64,
}

type Shared = Arc<Mutex<Told>>;

fn random(seed: &mut u64, below: u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed % below
}

/// Submits, and now and then cancels, until it is aborted.
async fn submit(client: Client, told: Shared, mut seed: u64) {
    loop {
        let key = {
            let mut told = told.lock().unwrap();
            told.open.pop_first().unwrap_or_else(|| {
                told.next_key += 1;
                format!("key-{:06}", told.next_key)
            })
        };
        told.lock().unwrap().open.insert(key.clone());
        let headers = [("Idempotency-Key", key.as_str())];
        // The same key must ask for the same: the share follows from the key.
        let share = key.bytes().map(u32::from).sum::<u32>() % 300 + 1;
        let body = job(share).to_string();
        let answer = client.try_call(Method::POST, "/api/v1/jobs", &headers, Some(body)).await;
        let Ok((status, body)) = answer else {
            tokio::time::sleep(Duration::from_millis(3)).await;
            continue;
        };
        assert!(status.is_success(), "{status}: {body}");
        let id = body["id"].as_u64().unwrap();
        {
            let mut told = told.lock().unwrap();
            told.open.remove(&key);
            told.acknowledgements += 1;
            let before = told.jobs.insert(key.clone(), id);
            assert!(before.is_none_or(|before| before == id), "{key} is {before:?} and {id}");
        }
        if random(&mut seed, 4) == 0 {
            let path = format!("/api/v1/jobs/{id}/cancel");
            let answer = client.try_call(Method::POST, &path, &[], None).await;
            if answer.is_ok_and(|(status, _)| status == StatusCode::OK) {
                told.lock().unwrap().cancelled.insert(id);
            }
        }
    }
}

type SharedRunner = Arc<tokio::sync::Mutex<Runner>>;

/// What the scripted agent holds: each lease's phase, as it reports it.
struct Runner {
    agent: FakeAgent,
    leases: BTreeMap<u64, Value>,
}

impl Runner {
    /// Calls again and again, and plays each lease through to its end.
    async fn run(&mut self, told: &Shared) {
        loop {
            let reports: Vec<Value> = self.leases.values().cloned().collect();
            let inventory = Some(FakeAgent::inventory());
            let request = self.agent.request(inventory, json!(reports), 50);
            let path = "/api/v1/agent/sync";
            let body = Some(request.to_string());
            match self.agent.client.try_call(Method::POST, path, &[], body).await {
                Ok((StatusCode::OK, answer)) => self.obey(&answer, told),
                _ => tokio::time::sleep(Duration::from_millis(3)).await,
            }
        }
    }

    fn obey(&mut self, answer: &Value, told: &Shared) {
        self.agent.seen = answer["version"].clone();
        for id in answer["acknowledged"].as_array().unwrap() {
            self.leases.remove(&id.as_u64().unwrap());
        }
        for order in answer["leases"].as_array().unwrap() {
            let lease = &order["lease"];
            let number = |field: &str| lease[field].as_u64().unwrap();
            let id = number("id");
            let phase = self.leases.get(&id).map(|held| held["phase"]["phase"].clone());
            let next = match phase.as_ref().and_then(Value::as_str) {
                None => support::prepared(id),
                Some("prepared") if order["start"] == true => {
                    let task = (number("job"), number("attempt"), number("task"));
                    let before = told.lock().unwrap().starts.insert(task, id);
                    assert_eq!(before, None, "task {task:?} is told to start twice");
                    support::started(id)
                }
                Some("started") => support::ended(id, 0),
                Some(_) => continue,
            };
            self.leases.insert(id, next);
        }
        for tombstone in answer["tombstones"].as_array().unwrap() {
            let id = tombstone["lease"].as_u64().unwrap();
            self.leases.insert(id, support::ended(id, 1));
        }
    }
}

/// Opens what the kill left and compares it with what was told.
async fn verify(folder: &Path, told: &Shared) {
    let pool = open(OpenOptions::new(folder)).await.unwrap();
    assert_eq!(pool.engine().check(), []);
    let live = |id: u64| pool.engine().job(JobId(id)).is_some();
    let path = folder.join("journal.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).read_only(true);
    let mut conn = options.connect().await.unwrap();
    let seqs = "SELECT count(*), min(seq), max(seq) FROM events";
    let row = sqlx::query(seqs).fetch_one(&mut conn).await.unwrap();
    let (count, min, max): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    assert_eq!((min, max), (1, count), "seq has a gap");
    let ids = sqlx::query_scalar("SELECT id FROM jobs").fetch_all(&mut conn).await.unwrap();
    let over: BTreeSet<u64> = ids.into_iter().map(|id: i64| u64::try_from(id).unwrap()).collect();
    conn.close().await.unwrap();
    let jobs = told.lock().unwrap().jobs.clone();
    for (key, id) in &jobs {
        assert!(live(*id) != over.contains(id), "job {id} of {key} is lost, or there twice");
    }
    let distinct: BTreeSet<&u64> = jobs.values().collect();
    assert_eq!(distinct.len(), jobs.len(), "one job for two keys");
    pool.close().await;
}

/// One life of the server, from its start to its violent end.
async fn live_and_die(folder: &Path, told: &Shared, runner: &SharedRunner, seed: &mut u64) {
    let mut server = spawn(folder);
    let client = Client { socket: folder.join("polder.sock"), uid: None };
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..SUBMITTERS {
        let seed = random(seed, u64::MAX - 1) + number + 1;
        tasks.spawn(submit(client.clone(), Arc::clone(told), seed));
    }
    let (runner, heard) = (Arc::clone(runner), Arc::clone(told));
    tasks.spawn(async move { runner.lock().await.run(&heard).await });
    // Most die after some acknowledgements, some at any moment of their start.
    let acknowledgements = || told.lock().unwrap().acknowledgements;
    let wanted = acknowledgements() + 1 + random(seed, 60);
    let early = random(seed, 8) == 0;
    let patience = if early { random(seed, 60) } else { 20_000 };
    let deadline = Instant::now() + Duration::from_millis(patience);
    while acknowledgements() < wanted && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_micros(200 + random(seed, 800))).await;
        let failed = tasks.try_join_next().map(|ended| ended.unwrap_err().to_string());
        assert_eq!(failed, None);
        assert_eq!(server.try_wait().unwrap(), None, "the server ended by itself");
    }
    assert!(early || acknowledgements() >= wanted, "the server does not answer");
    server.kill().unwrap();
    server.wait().unwrap();
    tasks.abort_all();
    while let Some(ended) = tasks.join_next().await {
        assert!(ended.is_err_and(|error| error.is_cancelled()), "a client failed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_kills_lose_nothing() {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let mut seed = u64::from(now.subsec_nanos()) | 1;
    let (mut acknowledged, mut started, mut cancelled) = (0, 0, 0);
    for _ in 0..KILLS / KILLS_OF_A_FOLDER {
        let folder = tempfile::tempdir().unwrap();
        let path: PathBuf = folder.path().to_owned();
        let told = Shared::default();
        let agent = FakeAgent::new(Client { socket: path.join("polder.sock"), uid: None });
        let runner = SharedRunner::new(Runner { agent, leases: BTreeMap::new() }.into());
        for _ in 0..KILLS_OF_A_FOLDER {
            live_and_die(&path, &told, &runner, &mut seed).await;
            verify(&path, &told).await;
        }
        let told = told.lock().unwrap();
        acknowledged += told.jobs.len();
        started += told.starts.len();
        cancelled += told.cancelled.len();
    }
    assert!(acknowledged > 1000, "too little load to prove anything: {acknowledged} jobs");
    assert!(started > 100 && cancelled > 100, "{started} started, {cancelled} cancelled");
}
