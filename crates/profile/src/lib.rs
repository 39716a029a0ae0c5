//! Where a program's time goes.
//!
//! In: what each process of a profiled run wrote down ([`polder_ledger::record`]), and how long the
//! run took. Out: a [`Summary`] with a verdict and a slice that would suit the program
//! ([`summarise`]), a trace for Perfetto and Chrome ([`trace()`]), and a page ([`report`]).
//!
//! * [`timeline`](Timeline): the records of all processes on one clock.
//! * `parts`: every moment of a run belongs to exactly one part.
//! * [`picture`](Picture): how they lie in time.
//! * `advice`: what the parts mean.
//!
//! Pure: no clock, file or device. Records are the tenant's own and may say anything; whatever they
//! say, the parts add up to the run and nothing panics.

mod advice;
mod html;
mod parts;
mod picture;
mod summary;
mod timeline;
mod trace;

pub use advice::{Advice, Bound, Verdict};
pub use html::{percent, report, time};
pub use parts::{Part, Parts};
pub use picture::Picture;
/// What processes write down.
pub use polder_ledger::record;
pub use summary::{LeftOut, Moved, Named, Process, Summary, summarise};
pub use timeline::{Piece, Run, Timeline};
pub use trace::{TRACE_BYTES_MAX, TRACE_PIECES_MAX, trace};
