-- The journal, and what is derived from it in the same transactions.

-- One row. `epoch` and `seq` are those of the newest event: every append names both as they were
-- before it and fails when another writer has moved them.
CREATE TABLE header (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    pool   TEXT    NOT NULL,
    engine INTEGER NOT NULL,
    epoch  INTEGER NOT NULL,
    seq    INTEGER NOT NULL
) STRICT;

-- `digest` is the SHA-256 of the digest before and of this row.
CREATE TABLE events (
    seq     INTEGER PRIMARY KEY,
    epoch   INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    version INTEGER NOT NULL,
    body    TEXT    NOT NULL,
    digest  BLOB    NOT NULL
) STRICT;

-- The engine as of event `seq`, whose digest is `digest`.
CREATE TABLE snapshots (
    seq         INTEGER PRIMARY KEY,
    engine      INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    digest      BLOB    NOT NULL,
    body_digest BLOB    NOT NULL,
    body        TEXT    NOT NULL
) STRICT;

-- Jobs that are over.
CREATE TABLE jobs (
    id          INTEGER PRIMARY KEY,
    tenant      TEXT    NOT NULL,
    user        TEXT    NOT NULL,
    finished_at INTEGER NOT NULL,
    body        TEXT    NOT NULL
) STRICT;
CREATE INDEX jobs_by_tenant ON jobs (tenant, id);
CREATE INDEX jobs_by_user ON jobs (user, id);

-- Leases that are over, with how they ended.
CREATE TABLE leases (
    id       INTEGER PRIMARY KEY,
    job      INTEGER NOT NULL,
    node     TEXT    NOT NULL,
    ended_at INTEGER NOT NULL,
    body     TEXT    NOT NULL
) STRICT;
CREATE INDEX leases_by_job ON leases (job, id);

-- What each slice of an ended lease leased and used. Times are microseconds.
CREATE TABLE usage (
    lease          INTEGER NOT NULL,
    place          INTEGER NOT NULL,
    job            INTEGER NOT NULL,
    tenant         TEXT    NOT NULL,
    user           TEXT    NOT NULL,
    node           TEXT    NOT NULL,
    device         TEXT    NOT NULL,
    model          TEXT    NOT NULL,
    mechanism      TEXT    NOT NULL,
    compute        INTEGER NOT NULL,
    memory         INTEGER NOT NULL,
    started_at     INTEGER,
    ended_at       INTEGER NOT NULL,
    ran            INTEGER NOT NULL,
    device_time    INTEGER NOT NULL,
    contended_time INTEGER NOT NULL,
    memory_peak    INTEGER NOT NULL,
    refused        INTEGER NOT NULL,
    PRIMARY KEY (lease, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_by_tenant ON usage (tenant, ended_at);

-- Every write: who, what, when and how it came out.
CREATE TABLE audit (
    id      INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    user    TEXT    NOT NULL,
    action  TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    result  TEXT    NOT NULL
) STRICT;
CREATE INDEX audit_by_user ON audit (user, id);
CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit log only grows');
END;
CREATE TRIGGER audit_is_fixed BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit log only grows');
END;

-- Idempotency keys: which job a user's key stands for, and the digest of what was asked.
CREATE TABLE keys (
    user   TEXT    NOT NULL,
    key    TEXT    NOT NULL,
    job    INTEGER NOT NULL,
    digest BLOB    NOT NULL,
    PRIMARY KEY (user, key)
) STRICT, WITHOUT ROWID;
