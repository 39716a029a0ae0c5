//! Who may start now without delaying those ahead: EASY and conservative backfill, calendar
//! reservations and maintenance windows, over whatever counts as free capacity.
//!
//! [`Ends`] keeps what runs and when it ends. [`Lookahead`] is one moment's view of the future:
//! what runs gives back, windows take away, jobs that must wait are given a start of their own.
//! [`Planned`] walks a queue over it. A depth of one reservation is EASY, as many as there are
//! jobs (at most [`RESERVATIONS_MAX`]) is conservative.
//!
//! What holds:
//! * Nothing starts where it would touch what a reservation needs before the job is expected to
//!   have ended, so no start delays a reservation as computed.
//! * Nothing starts where it could touch a window before its time limit has passed, so a window
//!   is kept whatever the predictions, as long as limits are kept.
//! * With true lengths, planning anew at each event keeps the first reservation's start or makes
//!   it earlier, over any fleet; over a flat pool it keeps every reservation's.
//!
//! Nothing is remembered from one moment to the next but what runs: a plan leaves no state behind.

mod ends;
mod look;
mod pass;
mod space;
#[cfg(test)]
mod tests;

pub use ends::{Ends, Running, Span};
pub use look::{Lookahead, SWEEP_MAX, Window};
pub use pass::{Planned, RESERVATIONS_MAX, Reserved, SCAN_MAX, Start, Wanted};
pub use space::{Flat, Space};
