-- How many rows of what is over were ever written: a row that is gone is missed. No such row is ever taken
-- away, so the count only grows, in the same transaction.
CREATE TABLE tally (
    name    TEXT    NOT NULL PRIMARY KEY,
    written INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO tally SELECT 'jobs', count(*) FROM jobs;
INSERT INTO tally SELECT 'leases', count(*) FROM leases;
INSERT INTO tally SELECT 'usage', count(*) FROM usage;
CREATE TRIGGER jobs_are_counted AFTER INSERT ON jobs
BEGIN
    UPDATE tally SET written = written + 1 WHERE name = 'jobs';
END;
CREATE TRIGGER leases_are_counted AFTER INSERT ON leases
BEGIN
    UPDATE tally SET written = written + 1 WHERE name = 'leases';
END;
CREATE TRIGGER usage_is_counted AFTER INSERT ON usage
BEGIN
    UPDATE tally SET written = written + 1 WHERE name = 'usage';
END;
