//! `polder admin backup`: a complete copy of the journal.

use super::tenant::told;
use super::{Context, Done};
use crate::failure::Failure;
use clap::Args;
use polder_server::api::{BackupDone, BackupRequest};
use std::path::PathBuf;
use std::time::Duration;

/// Longest wait for a copy.
const BACKUP_MAX: Duration = Duration::from_secs(3600);

/// Flags of `polder admin backup`.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// A file that does not exist yet, on the daemon's machine.
    file: PathBuf,
}

impl Backup {
    pub(super) async fn execute(self, context: &Context) -> Done {
        let path = std::path::absolute(&self.file)
            .map_err(|error| Failure::usage(format!("{}: {error}", self.file.display())))?;
        let path = path.into_os_string().into_string();
        let path = path.map_err(|path| {
            Failure::usage(format!("{} is not UTF-8: choose another name", path.display()))
        })?;
        let client = context.client()?;
        let done: BackupDone =
            client.send_slow("backup", &BackupRequest { path }, BACKUP_MAX).await?;
        let line = format!("{}: {}, up to event {}", done.path, done.bytes, done.seq);
        told(context, &done, &line)?;
        Ok(0)
    }
}
