//! `polder up`: the daemon.

use super::{Context, Done};
use crate::failure::Failure;
use clap::Args;

/// Flags of `polder up`.
#[derive(Debug, Args)]
pub(crate) struct Up {}

impl Up {
    pub(super) async fn execute(self, context: &Context) -> Done {
        Err(Failure::failed(format!("no daemon for {}", context.daemon_folder()?.display())))
    }
}
