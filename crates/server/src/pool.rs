//! Opening a pool: take the folder, prove the journal, replay it, and begin a new epoch.

use crate::clock::{Clock, ServerTime, system_clock};
use crate::journal::{AppendError, Archive, Batch, Journal, JournalError, Reader, Storage, mark};
use crate::state::{self, StateError, StateLock};
use polder_engine::{ENGINE_VERSION, Engine, Policy};
use polder_model::{Event, PoolId, Role, Tenant, TenantPath, Timestamp, User, UserName};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The journal's file within the state folder.
pub const JOURNAL_FILE: &str = "journal.db";
/// The tenant that a new pool begins with.
pub const FIRST_TENANT: &str = "default";

/// Where a pool is kept and how it is opened.
pub struct OpenOptions {
    /// The state folder; made if it is absent.
    pub state_dir: PathBuf,
    /// Where the time comes from.
    pub clock: Clock,
    /// What decisions depend on, for a new pool.
    pub policy: Policy,
    /// How the journal's file is reached.
    pub storage: Storage,
}

impl OpenOptions {
    /// The usual options for a state folder.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            clock: system_clock(),
            policy: Policy::default(),
            storage: Storage::default(),
        }
    }
}

/// Why a pool could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The journal is not whole, not ours or not readable.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal could not be written.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The replayed state breaks a promise.
    #[error(
        "{path} replays into a state that breaks a promise: {what}: please report this; start in \
         another folder with --state; running tasks go on"
    )]
    Violation {
        /// Which journal.
        path: PathBuf,
        /// Which promise.
        what: String,
    },
}

/// An opened pool: proved, replayed, fenced, and nobody else's.
pub struct Pool {
    pub(crate) lock: StateLock,
    pub(crate) state_dir: PathBuf,
    pub(crate) journal: Journal,
    pub(crate) archive: Archive,
    pub(crate) engine: Engine,
    pub(crate) time: ServerTime,
    pub(crate) id: PoolId,
    pub(crate) snapshot_seq: u64,
}

/// Opens the pool of a state folder, or begins a new one there.
///
/// # Errors
/// The folder is in use, or its journal is damaged, newer, or not a journal. Nothing is changed
/// then.
pub async fn open(options: OpenOptions) -> Result<Pool, OpenError> {
    let OpenOptions { state_dir, clock, policy, storage } = options;
    let lock = state::lock(&state_dir)?;
    let path = state_dir.join(JOURNAL_FILE);
    let (journal, mut engine, id, snapshot_seq, fresh) = match Reader::open(&path, &storage).await?
    {
        Some(reader) => {
            let id = reader.pool().clone();
            let (engine, head, snapshot_seq) = replay(reader, policy).await?;
            mark::check(&path, head.seq)?;
            (Journal::resume(&path, &storage, head).await?, engine, id, snapshot_seq, false)
        }
        None => {
            mark::check(&path, 0)?;
            let random = state::random_hex(6);
            let random = random
                .map_err(|source| StateError::Unusable { path: "/dev/urandom".into(), source })?;
            let id: PoolId = format!("pool-{random}").parse().expect("hexadecimal is a name");
            let journal = Journal::create(&path, &storage, &id, ENGINE_VERSION).await?;
            (journal, Engine::new(policy), id, 0, true)
        }
    };
    if let Some(violation) = engine.check().into_iter().next() {
        return Err(OpenError::Violation { path, what: violation.what });
    }
    let mut time = ServerTime::new(clock, journal.head().at);
    let mut journal = journal;
    first_events(&mut journal, &mut engine, &mut time, fresh.then_some(&id)).await?;
    let archive = Archive::new(&path, &storage);
    Ok(Pool { lock, state_dir, journal, archive, engine, time, id, snapshot_seq })
}

/// Proves a journal and rebuilds the engine from its newest snapshot and the events behind it.
/// Decisions are replayed like every event; nothing is decided again.
async fn replay(
    mut reader: Reader,
    policy: Policy,
) -> Result<(Engine, crate::journal::Head, u64), JournalError> {
    let mut engine = Engine::new(policy);
    let mut snapshot_seq = 0;
    if let Some(snapshot) = reader.snapshot(ENGINE_VERSION).await? {
        match serde_json::from_str(&snapshot.body) {
            Ok(restored) => {
                reader.skip_to(&snapshot).await?;
                engine = restored;
                snapshot_seq = snapshot.seq;
            }
            Err(error) => tracing::warn!(%error, "a snapshot is unreadable; replaying all events"),
        }
    }
    loop {
        let page = reader.page().await?;
        if page.is_empty() {
            reader.rows_of_what_is_over().await?;
            return Ok((engine, reader.end().await?, snapshot_seq));
        }
        for envelope in page {
            engine
                .apply(envelope.at, &envelope.event)
                .map_err(|error| reader.refused(envelope.seq, &error))?;
        }
    }
}

/// Opens the pool if it is new, and begins an epoch.
async fn first_events(
    journal: &mut Journal,
    engine: &mut Engine,
    time: &mut ServerTime,
    fresh: Option<&PoolId>,
) -> Result<(), OpenError> {
    let mut events = Vec::new();
    if let Some(pool) = fresh {
        events.push(Event::PoolOpened { pool: pool.clone(), engine: ENGINE_VERSION });
    }
    let writer = format!("polder {} pid {}", env!("CARGO_PKG_VERSION"), std::process::id());
    events.push(Event::Fenced { writer, engine: ENGINE_VERSION });
    events.extend(time.step());
    if fresh.is_some() {
        let path: TenantPath = FIRST_TENANT.parse().expect("the constant is a tenant's name");
        let tenant = Tenant::new(path.clone());
        events.push(Event::TenantSet { tenant });
        let name: UserName = crate::auth::Caller::from_token().user;
        let (role, tenants, added_at) = (Role::Admin, vec![path], time.peek());
        events.push(Event::UserSet { user: User { name, role, tenants, added_at } });
    }
    let events: Vec<(Timestamp, Event)> =
        events.into_iter().map(|event| (time.next(), event)).collect();
    for (at, event) in &events {
        let seq = journal.head().seq + 1;
        engine.apply(*at, event).map_err(|error| JournalError::Replay {
            path: journal.path().to_owned(),
            seq,
            why: error.to_string(),
        })?;
    }
    journal.append(&Batch { events, rows: Vec::new() }).await?;
    Ok(())
}

impl Pool {
    /// The pool's name, drawn at random when its folder was first opened.
    #[must_use]
    pub fn id(&self) -> &PoolId {
        &self.id
    }

    /// The state folder.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// The epoch that this process writes.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.journal.head().epoch
    }

    /// The number of the newest event.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.journal.head().seq
    }

    /// The replayed engine, for those who want to look before it is served.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Closes the journal without serving it.
    pub async fn close(self) {
        self.archive.close().await;
        self.journal.close().await;
        drop(self.lock);
    }
}
