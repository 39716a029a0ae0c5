//! Packing: openb's pods arrive one by one until 130 % of the devices' compute has been asked for;
//! how much of it is given out in the end.
//!
//! The procedure is the published one (Weng et al., ATC 2023, tune 1.3): nothing ever leaves, and a
//! pod that fits nowhere is dropped. *A pod that fits somewhere on arrival is placed*: to refuse
//! would pay here, and no rule may. What is Polder's own is `polder_engine::fleet`; this room reads,
//! replays, moves and bounds.

pub mod bound;
pub mod moves;
pub mod openb;
pub mod published;
pub mod replay;
