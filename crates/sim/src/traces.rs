//! Where public traces lie. They are not part of the repository.

use std::path::{Path, PathBuf};

/// The variable that names the folder of the traces.
pub const VARIABLE: &str = "POLDER_TRACES";

/// The folder of the traces: what `POLDER_TRACES` says, else `../shared/traces` beside the
/// repository; `None` when it is not there, and then who needs it skips and says so.
#[must_use]
pub fn folder() -> Option<PathBuf> {
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    let beside = || {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
        Some(repository.parent()?.join("shared/traces"))
    };
    named.or_else(beside).filter(|folder| folder.is_dir())
}

/// One file of the traces, or what to say when it is not there.
///
/// # Errors
/// Names the file and the variable that leads to it.
pub fn file(name: &str) -> Result<PathBuf, String> {
    let path = folder().map(|folder| folder.join(name)).filter(|path| path.is_file());
    path.ok_or_else(|| format!("{name} is not there: set {VARIABLE} to the folder of the traces"))
}
