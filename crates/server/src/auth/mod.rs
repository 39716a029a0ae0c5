//! Who is calling, and what they may do.

mod caller;
mod decide;
mod guard;

pub use caller::is_nobody_here;
pub(crate) use caller::{Caller, Principal, UnknownUser, principal};
pub(crate) use decide::{Action, Denied, decide};
pub(crate) use guard::{Guard, LoopbackRefusal};
