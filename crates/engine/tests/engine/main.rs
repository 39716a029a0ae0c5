//! The engine from outside: scenarios, an oracle for small cases, and properties of any history.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod admission;
mod backfills;
mod backing;
mod elastic;
mod explanations;
mod gangs;
mod history;
mod lives;
mod oracle;
mod order;
mod orders;
mod parts;
mod placement;
mod places;
mod policies;
mod properties;
mod resizes;
mod rules;
mod scale;
mod shares;
mod together;
mod turns;
mod what_if;
mod world;
mod yields;
