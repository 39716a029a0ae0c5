-- Rows of what is over carry a digest of what they hold, so that a damaged one is not read as if nothing
-- were wrong. Those that are there are given theirs in the same transaction.
ALTER TABLE jobs ADD COLUMN digest BLOB NOT NULL DEFAULT x'';
ALTER TABLE leases ADD COLUMN digest BLOB NOT NULL DEFAULT x'';
ALTER TABLE usage ADD COLUMN digest BLOB NOT NULL DEFAULT x'';
