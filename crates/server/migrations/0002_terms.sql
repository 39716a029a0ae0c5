-- A lease whose slices were changed while it ran leased them in terms, one after the other: each has
-- rows of its own.
CREATE TABLE usage_by_term (
    lease          INTEGER NOT NULL,
    place          INTEGER NOT NULL,
    term           INTEGER NOT NULL,
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
    PRIMARY KEY (lease, place, term)
) STRICT, WITHOUT ROWID;
INSERT INTO usage_by_term
    SELECT lease, place, 0, job, tenant, user, node, device, model, mechanism, compute, memory,
           started_at, ended_at, ran, device_time, contended_time, memory_peak, refused
    FROM usage;
DROP TABLE usage;
ALTER TABLE usage_by_term RENAME TO usage;
CREATE INDEX usage_by_tenant ON usage (tenant, ended_at);
