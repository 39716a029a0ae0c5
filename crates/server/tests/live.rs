//! What is live: changes, output, waiting; and what restarts from a snapshot.

#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod support;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use hyper::StatusCode;
use polder_server::{LogOutput, LogRequest, Logs, LogsError, OpenOptions, ServeOptions, open};
use serde_json::json;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;
use support::{FakeAgent, Fixture, ended, job, prepared, started};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// Keeps one line of output for every lease, and goes on when followed.
struct OneLine;

impl Logs for OneLine {
    fn open(&self, request: LogRequest) -> BoxFuture<'static, Result<LogOutput, LogsError>> {
        let line = format!("{:?} of {} on {}\n", request.stream, request.lease, request.node);
        let first = futures_util::stream::iter([Ok(line.into())]);
        let chunks = if request.follow {
            first.chain(futures_util::stream::pending()).boxed()
        } else {
            first.boxed()
        };
        async move { Ok(LogOutput { chunks, offset: 70, dropped: 7, lost: 3 }) }.boxed()
    }
}

async fn running(options: ServeOptions) -> (Fixture, FakeAgent) {
    let fixture = Fixture::start_with(options).await;
    let mut agent = FakeAgent::new(fixture.client());
    agent.join().await;
    assert_eq!(fixture.client().post("/api/v1/jobs", job(300)).await.0, StatusCode::CREATED);
    agent.sync(None, json!([prepared(1)]), 0).await;
    agent.sync(None, json!([started(1)]), 0).await;
    (fixture, agent)
}

/// Sends a GET and reads what comes until it contains `until`, or the end.
async fn read_until(fixture: &Fixture, path: &str, until: &str) -> String {
    let mut stream = UnixStream::connect(fixture.client().socket).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: polder\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    let mut buffer = vec![0; 4096];
    let reading = async {
        while !text.contains(until) {
            let count = stream.read(&mut buffer).await.unwrap();
            if count == 0 {
                break;
            }
            text += std::str::from_utf8(&buffer[..count]).unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.unwrap();
    text
}

#[tokio::test]
async fn output_comes_from_whoever_keeps_it() {
    let options = ServeOptions { logs: Arc::new(OneLine), ..ServeOptions::default() };
    let (mut fixture, _agent) = running(options).await;
    let client = fixture.client();
    let (status, text) = client.get("/api/v1/jobs/1/logs?stream=stderr").await;
    assert_eq!((status, &text), (StatusCode::OK, &json!("Stderr of L1 on box\n")));
    let (status, problem) = client.get("/api/v1/jobs/1/logs?task=3").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let check = |problem: &serde_json::Value, expect: &str| {
        assert_eq!(problem["detail"], expect, "{problem}");
    };
    check(&problem, "job 1 has task 0 alone: there is no task 3");
    for attempt in [0, 9] {
        let (status, problem) = client.get(&format!("/api/v1/jobs/1/logs?attempt={attempt}")).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        check(&problem, &format!("job 1 has had try 1 alone: there is no try {attempt}"));
    }
    let (status, problem) = client.get("/api/v1/jobs/1/logs?tail=1&offset=1").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
    let followed = read_until(&fixture, "/api/v1/jobs/1/logs?follow=true", "on box\n").await;
    assert!(followed.contains("Stdout of L1"), "{followed}");
    for header in ["polder-log-offset: 70", "polder-log-dropped: 7", "polder-log-lost: 3"] {
        assert!(followed.contains(header), "{followed}");
    }
    let following = read_until(&fixture, "/api/v1/jobs/1/logs?follow=true", "never");
    let stop = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        fixture.server().shutdown();
    };
    let (followed, ()) = tokio::join!(following, stop);
    assert!(followed.contains("Stdout of L1"), "{followed}");
    for header in ["polder-log-offset: 70", "polder-log-dropped: 7", "polder-log-lost: 3"] {
        assert!(followed.contains(header), "{followed}");
    }
    fixture.server.take().unwrap().wait().await.unwrap();
}

#[tokio::test]
async fn changes_are_told_as_they_become_durable() {
    let (fixture, mut agent) = running(ServeOptions::default()).await;
    let heard = read_until(&fixture, "/api/v1/events", "\"finished\"");
    let end = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        agent.sync(None, json!([ended(1, 0)]), 0).await;
    };
    let (heard, ()) = tokio::join!(heard, end);
    assert!(heard.contains("text/event-stream") && heard.contains("event: job"), "{heard}");
    assert!(heard.contains("\"outcome\":\"succeeded\""), "{heard}");
}

#[tokio::test]
async fn waiting_ends_with_what_is_waited_for() {
    let (fixture, mut agent) = running(ServeOptions::default()).await;
    let client = fixture.client();
    let started = client.get("/api/v1/jobs/1/wait?until=started").await.1;
    assert_eq!((&started["reached"], &started["changed"]), (&json!(true), &json!(false)));
    let early = client.get("/api/v1/jobs/1/wait?timeout_ms=20").await.1;
    assert_eq!(
        (&early["reached"], &early["job"]["state"]["state"]),
        (&json!(false), &json!("running"))
    );
    let end = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        agent.sync(None, json!([ended(1, 7)]), 0).await;
    };
    let (waited, ()) = tokio::join!(client.get("/api/v1/jobs/1/wait"), end);
    assert_eq!(waited.1["job"]["state"]["outcome"], json!({ "outcome": "failed", "code": 7 }));
}

#[tokio::test]
async fn a_held_call_does_not_hold_up_the_end() {
    let (mut fixture, mut agent) = running(ServeOptions::default()).await;
    let held = agent.request(None, json!([started(1)]), 60_000);
    let client = agent.client.clone();
    let held = tokio::spawn(async move { client.post("/api/v1/agent/sync", held).await });
    let waiting = tokio::spawn({
        let client = fixture.client();
        async move { client.get("/api/v1/jobs/1/wait").await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let stopping = std::time::Instant::now();
    fixture.stop().await;
    assert!(stopping.elapsed() < Duration::from_secs(4), "held calls are ended, not waited for");
    assert_eq!(held.await.unwrap().0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(waiting.await.unwrap().0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_restart_from_a_snapshot_is_the_restart_from_every_event() {
    let (mut fixture, _agent) = running(ServeOptions::default()).await;
    let client = fixture.client();
    let mut jobs = tokio::task::JoinSet::new();
    for number in 2..=300 {
        let client = client.clone();
        jobs.spawn(async move {
            let (status, body) = client.post("/api/v1/jobs", job(1000)).await;
            assert_eq!(status, StatusCode::CREATED, "{body}");
            if number % 2 == 0 {
                client.post(&format!("/api/v1/jobs/{}/cancel", body["id"]), json!({})).await;
            }
        });
    }
    jobs.join_all().await;
    for _ in 0..600 {
        client.put("/api/v1/tenants/default", json!({ "quota": { "devices": 5 } })).await;
    }
    fixture.stop().await;
    let with = copy_of(&fixture, "DELETE FROM keys").await;
    let without = copy_of(&fixture, "DELETE FROM snapshots").await;
    assert!(reopened(&with).await == reopened(&without).await, "the two states differ");
}

/// A copy of a stopped server's journal, changed by `sql`; it must have had one snapshot.
async fn copy_of(fixture: &Fixture, sql: &'static str) -> tempfile::TempDir {
    use sqlx::{ConnectOptions as _, Connection as _};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    std::fs::copy(fixture.folder.path().join("journal.db"), &path).unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let mut conn = options.connect().await.unwrap();
    let count = sqlx::query_scalar("SELECT count(*) FROM snapshots").fetch_one(&mut conn).await;
    let count: i64 = count.unwrap();
    assert_eq!(count, 1, "stopping took a snapshot");
    sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    folder
}

/// The state a journal is replayed into, at a fixed time.
async fn reopened(folder: &tempfile::TempDir) -> String {
    let clock: polder_server::Clock = Arc::new(|| polder_model::Timestamp(1 << 52));
    let pool = open(OpenOptions { clock, ..OpenOptions::new(folder.path()) }).await.unwrap();
    let state = serde_json::to_string(pool.engine()).unwrap();
    pool.close().await;
    state
}

#[tokio::test]
async fn other_users_cannot_read_the_journal() {
    let fixture = Fixture::start().await;
    for file in
        ["journal.db", "journal.db-wal", "journal.db-shm", "journal.db-mark", "token", "lock"]
    {
        let mode =
            std::fs::metadata(fixture.folder.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{file} is {mode:o}");
    }
    let socket = std::fs::metadata(fixture.client().socket).unwrap().permissions().mode();
    assert_eq!(socket & 0o777, 0o666);
}
