//! What this library keeps for the process beside its place in the lease.

use crate::commands_recorded::CommandBuffers;
use crate::flying::Flying;
use crate::graph::Graph;
use crate::paged::Pages;
use crate::queues::Queues;
use crate::svm::Svm;
use polder_driver::state::PerProcess;

/// The program's objects that are followed.
#[derive(Debug, Default)]
pub(crate) struct Own {
    pub(crate) queues: Queues,
    pub(crate) graph: Graph,
    pub(crate) flying: Flying,
    pub(crate) svm: Svm,
    pub(crate) command_buffers: CommandBuffers,
    pub(crate) pages: Pages,
}

static OWN: PerProcess<Own> = PerProcess::new();

/// The process's; the child of a fork begins with nothing.
pub(crate) fn get() -> &'static Own {
    OWN.get()
}
