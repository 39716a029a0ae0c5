//! A journal that is not as it was written is named, and left as it is.

use super::*;
use polder_model::UserName;

fn user(name: &str) -> Event {
    Event::UserRemoved { user: name.parse::<UserName>().unwrap() }
}

fn batch(events: Vec<Event>) -> Batch {
    let events = (1000..).map(Timestamp).zip(events).collect();
    Batch { events, rows: Vec::new() }
}

fn fence() -> Event {
    Event::Fenced { writer: "test".into(), engine: 1 }
}

/// A journal of a fence and four events.
async fn journal(folder: &Path) -> (PathBuf, Journal) {
    let path = folder.join("journal.db");
    let pool = "pool-test".parse().unwrap();
    let mut journal = Journal::create(&path, &Storage::default(), &pool, 1).await.unwrap();
    journal.append(&batch(vec![fence(), user("a"), user("b")])).await.unwrap();
    journal.append(&batch(vec![user("c"), user("d")])).await.unwrap();
    (path, journal)
}

/// Reads it all: how many events, or what is wrong.
async fn read(path: &Path) -> Result<u64, String> {
    let read = async {
        let mut reader = Reader::open(path, &Storage::default()).await?.expect("it was written");
        while !reader.page().await?.is_empty() {}
        Ok::<_, JournalError>(reader.end().await?.seq)
    };
    read.await.map_err(|error| error.to_string())
}

/// Damages a closed journal with `sql`, expects `wrong` and an unchanged file.
async fn check(sql: &'static str, wrong: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut journal) = journal(folder.path()).await;
    sqlx::raw_sql(sql).execute(journal.connection()).await.unwrap();
    journal.close().await;
    let before = std::fs::read(&path).unwrap();
    let error = read(&path).await.unwrap_err();
    assert!(error.contains(wrong) && error.contains("journal.db"), "{sql}: {error}");
    assert!(error.contains("nothing was changed"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before, "{sql}: the file was changed");
}

#[tokio::test]
async fn what_was_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (path, journal) = journal(folder.path()).await;
    assert_eq!(read(&path).await, Ok(5), "while its writer is there");
    journal.close().await;
    assert_eq!(read(&path).await, Ok(5));
}

#[tokio::test]
async fn damage_is_found_and_named() {
    check("UPDATE events SET body = replace(body, '\"c\"', '\"x\"') WHERE seq = 4", "event 4")
        .await;
    check("UPDATE events SET at = at + 1 WHERE seq = 3", "event 3").await;
    check("UPDATE events SET epoch = 2 WHERE seq = 2", "event 2").await;
    check("UPDATE events SET digest = zeroblob(32) WHERE seq = 5", "event 5").await;
    check("DELETE FROM events WHERE seq = 2", "event 2: it is missing").await;
    check("DELETE FROM events WHERE seq = 5", "event 5: it is missing; the newest was 5").await;
    check("DELETE FROM events", "event 1: it is missing").await;
    check("UPDATE header SET pool = 'other'", "event 1: its digest").await;
}

#[tokio::test]
async fn a_newer_programs_journal_is_left_to_it() {
    check("UPDATE events SET version = 99 WHERE seq = 4", "event 4 of").await;
    check("UPDATE events SET version = 99 WHERE seq = 4", "newer Polder (version 99").await;
    check("PRAGMA user_version = 99", "newer Polder (layout 99").await;
}

#[tokio::test]
async fn other_files_are_not_taken_for_journals() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    std::fs::write(&path, "garbage ".repeat(1000)).unwrap();
    let error = read(&path).await.unwrap_err();
    assert!(error.contains("journal.db is not a Polder journal"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), "garbage ".repeat(1000).as_bytes());
    check("PRAGMA application_id = 7", "is not a Polder journal").await;
}

#[tokio::test]
async fn a_flipped_byte_anywhere_is_never_silent() {
    let folder = tempfile::tempdir().unwrap();
    let (path, journal) = journal(folder.path()).await;
    journal.close().await;
    let whole = std::fs::read(&path).unwrap();
    let body = whole.windows(12).position(|bytes| bytes == b"user_removed").unwrap();
    let mut damaged = whole.clone();
    damaged[body] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    assert!(read(&path).await.unwrap_err().contains("is damaged at event"));
    // A byte that is no longer of any text.
    let mut damaged = whole.clone();
    damaged[body] ^= 0x80;
    std::fs::write(&path, damaged).unwrap();
    let error = read(&path).await.unwrap_err();
    assert!(error.contains("is damaged at event") && error.contains("cannot be read"), "{error}");
    let events = {
        std::fs::write(&path, &whole).unwrap();
        read(&path).await.unwrap()
    };
    // Wherever a bit flips, it is found or does not matter: no event is missing, and none panics.
    let mut found = 0;
    for (at, bit) in (0..whole.len()).step_by(61).flat_map(|at| [(at, 0x80), (at, 0x01)]) {
        let mut damaged = whole.clone();
        damaged[at] ^= bit;
        std::fs::write(&path, damaged).unwrap();
        if let Ok(None) = Reader::open(&path, &Storage::default()).await {
            assert!(mark::check(&path, 0).is_err(), "byte {at}, bit {bit}: taken for a new one");
            found += 1;
            continue;
        }
        match read(&path).await {
            Ok(read) => assert_eq!(read, events, "byte {at}, bit {bit}"),
            Err(_) => found += 1,
        }
    }
    assert!(found > 0);
    std::fs::write(&path, &whole[..whole.len() - 4096]).unwrap();
    assert!(read(&path).await.is_err(), "a file cut short");
}

#[tokio::test]
async fn a_second_writer_is_fenced() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut first) = journal(folder.path()).await;
    let head = first.head().clone();
    let mut second = Journal::resume(&path, &Storage::default(), head).await.unwrap();
    second.append(&batch(vec![fence()])).await.unwrap();
    let error = first.append(&batch(vec![user("late")])).await.unwrap_err().to_string();
    assert!(error.contains("event 6 of epoch 1 is not next"), "{error}");
    second.append(&batch(vec![user("e")])).await.unwrap();
    assert_eq!(second.head().epoch, 2);
    assert_eq!(read(&path).await, Ok(7));
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut journal) = journal(folder.path()).await;
    // SQLite reports a file that may not grow as it reports a full disk.
    let full = sqlx::raw_sql("PRAGMA max_page_count = 1");
    full.execute(journal.connection()).await.unwrap();
    let long = vec![user(&"x".repeat(64)); 500];
    let error = journal.append(&batch(long)).await.unwrap_err().to_string();
    assert!(error.contains("the disk is full: free space there"), "{error}");
    assert!(error.contains("journal.db"), "{error}");
    drop(journal);
    assert_eq!(read(&path).await, Ok(5));
}

#[tokio::test]
async fn a_damaged_snapshot_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut journal) = journal(folder.path()).await;
    journal.snapshot(1, "{\"first\":1}").await.unwrap();
    journal.append(&batch(vec![user("e")])).await.unwrap();
    journal.snapshot(1, "{\"second\":2}").await.unwrap();
    let snapshot = async |engine| {
        let mut reader = Reader::open(&path, &Storage::default()).await.unwrap().unwrap();
        reader.snapshot(engine).await.unwrap().map(|snapshot| (snapshot.seq, snapshot.body))
    };
    assert_eq!(snapshot(1).await, Some((6, "{\"second\":2}".into())));
    assert_eq!(snapshot(2).await, None, "another engine's snapshot is of no use");
    let damage = sqlx::raw_sql("UPDATE snapshots SET body = '{}' WHERE seq = 6");
    damage.execute(journal.connection()).await.unwrap();
    assert_eq!(snapshot(1).await, Some((5, "{\"first\":1}".into())));
}

#[tokio::test]
async fn what_lies_before_a_snapshot_is_proved_too() {
    let skipped = async |damage: Option<&'static str>| {
        let folder = tempfile::tempdir().unwrap();
        let (path, mut journal) = journal(folder.path()).await;
        journal.snapshot(1, "{}").await.unwrap();
        journal.append(&batch(vec![user("e")])).await.unwrap();
        if let Some(sql) = damage {
            sqlx::raw_sql(sql).execute(journal.connection()).await.unwrap();
        }
        let mut reader = Reader::open(&path, &Storage::default()).await.unwrap().unwrap();
        let snapshot = reader.snapshot(1).await.unwrap().unwrap();
        reader.skip_to(&snapshot).await.map_err(|error| error.to_string())?;
        Ok::<_, String>(reader.page().await.unwrap().len())
    };
    assert_eq!(skipped(None).await, Ok(1));
    let error = skipped(Some("UPDATE events SET at = at + 1 WHERE seq = 2")).await.unwrap_err();
    assert!(error.contains("damaged at event 2: its digest"), "{error}");
    let error = skipped(Some("DELETE FROM events WHERE seq = 5")).await.unwrap_err();
    assert!(error.contains("damaged at event 5: it is missing"), "{error}");
    let error = skipped(Some("UPDATE snapshots SET digest = zeroblob(32)")).await.unwrap_err();
    assert!(error.contains("not the one its snapshot was taken at"), "{error}");
}

#[tokio::test]
async fn the_audit_log_only_grows() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut journal) = journal(folder.path()).await;
    let row = Row::Audit {
        at: Timestamp(1),
        user: "ada".parse().unwrap(),
        action: "backup",
        subject: "/b".into(),
        result: "ok".into(),
    };
    journal.append(&Batch { events: vec![], rows: vec![row] }).await.unwrap();
    for sql in ["DELETE FROM audit", "UPDATE audit SET user = 'eve'"] {
        assert!(sqlx::raw_sql(sql).execute(journal.connection()).await.is_err(), "{sql}");
    }
    let archive = Archive::new(&path, &Storage::default());
    assert_eq!(archive.audit(None, None, 10).await.unwrap().len(), 1);
}
