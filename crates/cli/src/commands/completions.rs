//! `polder completions`: a script that teaches a shell the flags.

use super::{Context, Done};
use crate::args::Cli;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Flags of `polder completions`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub(super) fn execute(self, context: &Context) -> Done {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "polder", &mut script);
        context.out.bytes(&script)?;
        Ok(0)
    }
}
