//! Opening a pool: once at a time, and only what is whole.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

use polder_model::Timestamp;
use polder_server::{OpenOptions, Pool, open};
use std::path::Path;
use std::sync::Arc;

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
