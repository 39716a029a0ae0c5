//! What this library keeps for the process beside its place in the lease.

use crate::flight::Flights;
use crate::memory::Memory;
use polder_driver::state::PerProcess;

/// The program's objects that are followed.
#[derive(Debug, Default)]
pub(crate) struct Own {
    pub(crate) memory: Memory,
    pub(crate) flights: Flights,
}

static OWN: PerProcess<Own> = PerProcess::new();

/// The process's; the child of a fork begins with nothing.
pub(crate) fn get() -> &'static Own {
    OWN.get()
}
