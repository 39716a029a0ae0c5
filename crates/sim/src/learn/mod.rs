//! Policy parameters tuned on a pool's own history, and let in only by proof.
//!
//! [`learn`] searches on the blocks of time it may see (days, weeks), then compares what it found
//! with what is in force, block by block, on later ones it has not seen. Only a candidate that wins
//! there (its 95 % interval lies below nothing) and does not lose in a shadow run on the blocks
//! after those is admitted. Otherwise it is refused, with the numbers. A [`Record`] says which, and
//! a [`Records`] can be rolled back. What is being tuned is not known there: it is a function from
//! parameters and blocks to costs. [`tune()`] is that for a whole policy: its [`Knobs`], and costs from
//! replays of a pool's [`Past`].

mod evolve;
mod knobs;
mod paired;
mod past;
mod record;
#[cfg(test)]
mod tests;
mod tune;

pub use evolve::{EVALUATIONS_MAX, Found, Parameter, Search, evolve};
pub use knobs::{Knobs, ORDERS_TUNED_MAX};
pub use paired::Paired;
pub use past::{BLOCKS_MAX, Block, Goal, Past};
pub use record::{Beside, RECORDS_MAX, Record, Records, Split, Verdict, learn};
pub use tune::{BLOCKS_MIN, Learned, Plain, Row, Shadowed, TuneError, shadow, split, tune};
