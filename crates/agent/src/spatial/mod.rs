//! Spatial sharing of NVIDIA cards: leases side by side on one card under the vendor's
//! Multi-Process Service (MPS).
//!
//! [`offer`] says which cards are shared so. [`words`] and [`partition`] say a lease's part in MPS's own
//! terms and know no process. [`control`] speaks to one control daemon, [`daemon`] starts, finds again and ends it,
//! [`backoff`] says when a dead one is begun anew, and [`Spatial`] owns them all: one control daemon for
//! each card and user, from that user's first lease on the card to the last.
//!
//! **What MPS holds, and what it does not.** Each process of a lease computes on no more than its part
//! of the multiprocessors, and allocates no more device memory than the lease's: the vendor's driver
//! holds it, for each process by itself and not for their sum. The part is told to a program in its
//! environment, so a program that clears it is not held: the isolation is `none`. All programs of one
//! daemon share one server, and a fault of one ends the work of all; that is why each user has a daemon
//! of their own. Programs of two users on one card take turns as the vendor's driver has it.
//!
//! Where the node was told so, a daemon cuts its card into static partitions instead: no two leases of a
//! user compute on the same multiprocessors, and a program of theirs that names no partition is turned
//! away by the daemon. They go with the daemon that made them, so its death ends its leases.
//!
//! AMD's cards are shared so by masks of their compute units ([`units`]), which take no daemon.
//!
//! What this does not do: change a card's settings (compute mode, MIG, clocks), or look into what the
//! programs do.

pub mod backoff;
pub mod control;
pub mod daemon;
mod manager;
pub mod offer;
pub mod partition;
pub mod units;
pub mod words;

pub use manager::{Seat, Spatial, SpatialError};
