//! What a run leaves on disk: `jobs.csv`, `leases.csv`, `series.csv`, `summary.json` and
//! `report.html`, one page that needs nothing else. The same run writes the same bytes. What was
//! learned is written alike, and two runs beside each other (`compare.json`, `compare.html`).

mod chart;
mod compared;
mod gantt;
mod html;
mod learned;
mod summary;
mod tables;

pub use compared::{Compared, Side, write_compared};
pub use learned::write_learned;
pub use summary::{About, Spread, Summary, TenantSummary};

use crate::world::Records;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a run's folder could not be written.
#[derive(Debug, Error)]
#[error("{}: {source}: choose another folder with --out", path.display())]
pub struct WriteError {
    path: PathBuf,
    source: io::Error,
}

/// Writes everything into a folder, which is made if it is not there.
///
/// # Errors
/// Names the file that could not be written.
pub fn write(folder: &Path, summary: &Summary, records: &Records) -> Result<(), WriteError> {
    std::fs::create_dir_all(folder).map_err(wrong(folder))?;
    let json = serde_json::to_vec_pretty(summary).map_err(io::Error::other);
    for (name, bytes) in [
        ("jobs.csv", tables::jobs(records)),
        ("leases.csv", tables::leases(records, summary.about.price_hour)),
        ("series.csv", tables::series(records)),
        ("summary.json", json),
        ("report.html", Ok(html::page(summary, records).into_bytes())),
    ] {
        let path = folder.join(name);
        bytes.and_then(|bytes| std::fs::write(&path, bytes)).map_err(wrong(&path))?;
    }
    Ok(())
}

/// Names the file that could not be written.
fn wrong(path: &Path) -> impl FnOnce(io::Error) -> WriteError {
    let path = path.to_owned();
    move |source| WriteError { path, source }
}

#[cfg(test)]
mod tests;
