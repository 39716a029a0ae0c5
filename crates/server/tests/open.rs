//! Opening a pool: once at a time, and only what is whole.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod support;

use hyper::StatusCode;
use polder_model::Timestamp;
use polder_server::{OpenOptions, Pool, open};
use serde_json::json;
use sqlx::Connection as _;
use std::path::Path;
use std::sync::Arc;
use support::{FakeAgent, Fixture, ended, job, prepared, started};

async fn try_open(folder: &Path) -> Result<Pool, String> {
    open(OpenOptions::new(folder)).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_second_server_is_told_who_has_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let first = try_open(folder.path()).await.unwrap();
    let error = try_open(folder.path()).await.err().unwrap();
    assert!(error.contains(&format!("in use by process {}", std::process::id())), "{error}");
    assert!(error.contains("polder down"), "{error}");
    first.close().await;
    try_open(folder.path()).await.unwrap().close().await;
}

#[tokio::test]
async fn every_start_is_a_new_epoch_of_the_same_pool() {
    let folder = tempfile::tempdir().unwrap();
    let first = try_open(folder.path()).await.unwrap();
    let (id, seq) = (first.id().clone(), first.seq());
    assert_eq!(first.epoch(), 1);
    assert_eq!(first.engine().tenants().count(), 1);
    first.close().await;
    let second = try_open(folder.path()).await.unwrap();
    assert_eq!((second.id(), second.epoch(), second.seq()), (&id, 2, seq + 1));
    second.close().await;
}

#[tokio::test]
async fn a_clock_that_went_back_is_journaled_and_time_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let at = |seconds: u64| {
        let clock: polder_server::Clock = Arc::new(move || Timestamp(seconds * 1_000_000));
        open(OpenOptions { clock, ..OpenOptions::new(folder.path()) })
    };
    let first = at(2_000_000_000).await.unwrap();
    let (seq, now) = (first.seq(), first.engine().now());
    first.close().await;
    let second = at(1_000_000_000).await.unwrap();
    assert_eq!(second.seq(), seq + 2, "a fence and the clock's step");
    assert!(second.engine().now() > now);
    second.close().await;
}

#[tokio::test]
async fn clients_are_told_the_time_that_goes_on_when_the_clock_went_back() {
    let folder = tempfile::tempdir().unwrap();
    let at = |seconds: u64| {
        let clock: polder_server::Clock = Arc::new(move || Timestamp(seconds * 1_000_000));
        open(OpenOptions { clock, ..OpenOptions::new(folder.path()) })
    };
    at(2_000_000_000).await.unwrap().close().await;
    let pool = at(1_000_000_000).await.unwrap();
    let server = polder_server::serve(pool, polder_server::ServeOptions::default()).await.unwrap();
    let client = support::Client { socket: server.socket().to_owned(), uid: None };
    let (status, me) = client.get("/api/v1/whoami").await;
    assert_eq!(status, StatusCode::OK, "{me}");
    assert!(me["now"].as_u64() > Some(2_000_000_000_000_000), "{me}");
    server.shutdown();
    server.wait().await.unwrap();
}

#[tokio::test]
async fn a_folder_that_cannot_be_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = try_open(&file.join("state")).await.err().unwrap();
    assert!(error.contains("file") && error.contains("--state"), "{error}");
}

#[tokio::test]
async fn a_damaged_journal_is_named_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    try_open(folder.path()).await.unwrap().close().await;
    let path = folder.path().join("journal.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let place = bytes.windows(10).position(|found| found == b"tenant_set").unwrap();
    bytes[place] ^= 0x20;
    std::fs::write(&path, &bytes).unwrap();
    let error = try_open(folder.path()).await.err().unwrap();
    assert!(error.contains("journal.db is damaged at event 3"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    std::fs::write(&path, b"not a database, but longer than a header would have to be").unwrap();
    let error = try_open(folder.path()).await.err().unwrap();
    assert!(error.contains("is not a Polder journal"), "{error}");
}

/// The files of a server that has acknowledged jobs and then dies: copied while it lives, changed by
/// `damage`, and left for the next server.
async fn after_a_death(damage: impl Fn(&Path)) -> (tempfile::TempDir, Result<Pool, String>) {
    let fixture = Fixture::start().await;
    for _ in 0..8 {
        let (status, body) = fixture.client().post("/api/v1/jobs", job(100)).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
    }
    let folder = tempfile::tempdir().unwrap();
    for file in ["journal.db", "journal.db-wal", "journal.db-mark"] {
        std::fs::copy(fixture.folder.path().join(file), folder.path().join(file)).unwrap();
    }
    damage(folder.path());
    let opened = try_open(folder.path()).await;
    (folder, opened)
}

async fn check_lost(damage: impl Fn(&Path)) {
    let (folder, opened) = after_a_death(damage).await;
    let error = opened.err().unwrap();
    assert!(error.contains("journal.db ends at event"), "{error}");
    assert!(error.contains("was acknowledged") && error.contains("nothing was changed"), "{error}");
    let again = try_open(folder.path()).await.err().unwrap();
    assert_eq!(again, error, "looking at it changed it");
}

#[tokio::test]
async fn a_death_alone_loses_nothing() {
    let (_folder, opened) = after_a_death(|_| ()).await;
    let pool = opened.unwrap();
    assert_eq!(pool.engine().jobs().count(), 8);
    pool.close().await;
}

#[tokio::test]
async fn a_damaged_tail_is_named_and_kept() {
    let wal = |folder: &Path| folder.join("journal.db-wal");
    // A byte in the middle of the log, which SQLite takes for the log's end.
    check_lost(|folder| {
        let mut bytes = std::fs::read(wal(folder)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(wal(folder), bytes).unwrap();
    })
    .await;
    check_lost(|folder| {
        let bytes = std::fs::read(wal(folder)).unwrap();
        std::fs::write(wal(folder), &bytes[..bytes.len() / 2]).unwrap();
    })
    .await;
    check_lost(|folder| std::fs::remove_file(wal(folder)).unwrap()).await;
    check_lost(|folder| {
        std::fs::remove_file(wal(folder)).unwrap();
        std::fs::remove_file(folder.join("journal.db")).unwrap();
    })
    .await;
}

/// The journal of a server where a job ran to its end, closed.
async fn after_a_job() -> tempfile::TempDir {
    let mut fixture = Fixture::start().await;
    let mut agent = FakeAgent::new(fixture.client());
    agent.join().await;
    assert_eq!(fixture.client().post("/api/v1/jobs", job(300)).await.0, StatusCode::CREATED);
    for report in [prepared(1), started(1), ended(1, 0)] {
        agent.sync(None, json!([report]), 0).await;
    }
    fixture.stop().await;
    fixture.folder
}

/// Changes a closed journal behind its back.
async fn change(folder: &Path, sql: &'static str) {
    let url = format!("sqlite://{}", folder.join("journal.db").display());
    let mut conn = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
}

#[tokio::test]
async fn a_damaged_row_of_what_is_over_is_named_and_kept() {
    for (sql, named) in [
        ("UPDATE jobs SET body = replace(body, '300', '301')", "row 1 of its table jobs"),
        ("UPDATE jobs SET finished_at = finished_at + 1", "row 1 of its table jobs"),
        ("UPDATE leases SET node = 'bax'", "row 1 of its table leases"),
        ("UPDATE usage SET device_time = device_time + 1", "row 1/0/0 of its table usage"),
        ("UPDATE usage SET started_at = NULL", "row 1/0/0 of its table usage"),
        ("UPDATE usage SET digest = x''", "row 1/0/0 of its table usage"),
        ("UPDATE usage SET tenant = user, user = tenant", "row 1/0/0 of its table usage"),
        ("DELETE FROM jobs", "its table jobs has 0 rows, and 1 were written"),
        ("DELETE FROM leases", "its table leases has 0 rows, and 1 were written"),
        ("DELETE FROM usage", "its table usage has 0 rows, and 1 were written"),
        ("DELETE FROM tally", "its table jobs has 1 rows, and 0 were written"),
        ("UPDATE tally SET written = 2 WHERE name = 'usage'", "1 rows, and 2 were written"),
    ] {
        let folder = after_a_job().await;
        change(folder.path(), sql).await;
        let before = std::fs::read(folder.path().join("journal.db")).unwrap();
        let error = try_open(folder.path()).await.err().unwrap();
        assert!(error.contains(named) && error.contains("nothing was changed"), "{sql}: {error}");
        assert_eq!(std::fs::read(folder.path().join("journal.db")).unwrap(), before, "{sql}");
    }
}

#[tokio::test]
async fn rows_of_an_older_program_are_given_digests() {
    let folder = after_a_job().await;
    let older = "DROP TABLE tally; DROP TRIGGER jobs_are_counted; DROP TRIGGER leases_are_counted; \
                 DROP TRIGGER usage_is_counted; ALTER TABLE jobs DROP COLUMN digest; \
                 ALTER TABLE leases DROP COLUMN digest; ALTER TABLE usage DROP COLUMN digest; \
                 PRAGMA user_version = 2";
    change(folder.path(), older).await;
    try_open(folder.path()).await.unwrap().close().await;
    try_open(folder.path()).await.unwrap().close().await;
    change(folder.path(), "UPDATE usage SET ran = ran + 1").await;
    let error = try_open(folder.path()).await.err().unwrap();
    assert!(error.contains("row 1/0/0 of its table usage"), "{error}");
    change(folder.path(), "DELETE FROM usage").await;
    let error = try_open(folder.path()).await.err().unwrap();
    assert!(error.contains("usage has 0 rows, and 1 were written"), "it was counted: {error}");
}

#[tokio::test]
async fn an_old_backup_is_taken_once_the_mark_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    try_open(folder.path()).await.unwrap().close().await;
    let path = folder.path().join("journal.db");
    let backup = std::fs::read(&path).unwrap();
    try_open(folder.path()).await.unwrap().close().await;
    std::fs::write(&path, &backup).unwrap();
    let error = try_open(folder.path()).await.err().unwrap();
    assert!(error.contains("put a backup in its place (without"), "{error}");
    assert!(error.contains("-mark"), "{error}");
    std::fs::remove_file(folder.path().join("journal.db-mark")).unwrap();
    let pool = try_open(folder.path()).await.unwrap();
    assert_eq!(pool.epoch(), 2);
    pool.engine().tenants().next().expect("the backup's tenant");
    pool.close().await;
}
