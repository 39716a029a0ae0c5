//! `polder run`: a command with a share of a device, as if it ran here.

use super::{Context, Done};
use crate::failure::Failure;
use clap::Args;

/// Flags of `polder run`.
#[derive(Debug, Args)]
pub(crate) struct Run {}

impl Run {
    pub(super) async fn execute(self, _context: &Context) -> Done {
        Err(Failure::failed("not here yet"))
    }
}
