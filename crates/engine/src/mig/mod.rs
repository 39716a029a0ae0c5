//! Multi-instance cards: which instances fit a card, and where the next one goes.
//!
//! A card is a row of memory slots. An instance covers slots next to each other, may start only
//! at some of them, and takes its part of what the whole card shares out (compute slices, media
//! engines). Instances that exist do not move. Where the next one starts therefore decides what
//! still fits later, and a careless start refuses work that a careful one would have carried.
//!
//! The arrangements of one card are few, so [`Layouts`] works all of them out once per
//! [`Table`]: what may follow each, which sets of instances still fit, and what the card is then
//! still good for. Every question after that is a look into a table.
//!
//! Promises, checked in the tests against searches that know nothing of these tables, over every
//! arrangement of every card:
//! * a set of instances is refused only if no start for each of them exists;
//! * whatever is placed overlaps nothing, and passes no limit of the card;
//! * of all starts, one that leaves the card worth most is taken ([`Layouts::worth`]).
//!
//! Nothing here knows devices, leases or time: it deals in places of profiles and starts.

mod fit;
mod layouts;
mod repack;
mod sets;
mod tables;

pub use fit::Wants;
pub use layouts::{Card, Instance, Layouts, MigError};
pub use repack::{Repack, Tenancy};
pub use sets::Set;
pub use tables::{Extra, Profile, Table};

#[cfg(test)]
mod oracle;
