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

pub use compared::{Compared, Side, only_comparisons, write_compared};
pub use learned::write_learned;
pub use summary::{About, Spread, Summary, TenantSummary};

use crate::world::Records;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a run's folder could not be written.
#[derive(Debug, Error)]
#[error("{}: {source}: choose another folder with --out", path.display())]
pub struct WriteError {
    path: PathBuf,
    source: io::Error,
}

/// By what a folder is known to be a run's.
const SUMMARY: &str = "summary.json";
/// What a run leaves.
const FILES: [&str; 5] = [SUMMARY, "jobs.csv", "leases.csv", "series.csv", "report.html"];
/// Longest summary that is looked at, in bytes: 64 MiB.
const SUMMARY_BYTES_MAX: u64 = 64 << 20;

/// Finds out whether a folder, which is made if it is not there, could be written into: before the
/// work, not after it.
///
/// # Errors
/// Names the folder.
pub fn check_writable(folder: &Path) -> Result<(), WriteError> {
    std::fs::create_dir_all(folder).map_err(wrong(folder))?;
    let probe = folder.join(format!(".polder-{}", std::process::id()));
    std::fs::File::create_new(&probe).map_err(wrong(folder))?;
    std::fs::remove_file(&probe).map_err(wrong(&probe))
}

/// Writes everything into a folder, which is made if it is not there. Another run is written over;
/// files of these names that are no run's are not.
///
/// # Errors
/// Names the file that could not be written.
pub fn write(folder: &Path, summary: &Summary, records: &Records) -> Result<(), WriteError> {
    std::fs::create_dir_all(folder).map_err(wrong(folder))?;
    only_runs(folder)?;
    let bytes = [
        // First, so that a run that was cut off is known as one.
        serde_json::to_vec_pretty(summary).map_err(io::Error::other),
        tables::jobs(records),
        tables::leases(records, summary.about.price_hour),
        tables::series(records),
        Ok(html::page(summary, records).into_bytes()),
    ];
    for (name, bytes) in FILES.into_iter().zip(bytes) {
        let path = folder.join(name);
        bytes.and_then(|bytes| std::fs::write(&path, bytes)).map_err(wrong(&path))?;
    }
    Ok(())
}

/// Refuses a folder that has one of the files without being a run's.
///
/// # Errors
/// Names the file that would be lost.
pub fn only_runs(folder: &Path) -> Result<(), WriteError> {
    only_ours(folder, &FILES, |json| is_summary(Some(json)))
}

/// Whether these are the numbers of a run.
fn is_summary(json: Option<&serde_json::Value>) -> bool {
    json.is_some_and(|json| json.get("measured").is_some() && json.get("seed").is_some())
}

/// Refuses a folder that has one of the files, unless the first of them is there and `is_ours`.
fn only_ours(
    folder: &Path,
    files: &[&str],
    is_ours: impl Fn(&serde_json::Value) -> bool,
) -> Result<(), WriteError> {
    let paths: Vec<_> = files.iter().map(|name| folder.join(name)).collect();
    let there = paths.iter().find(|path| path.exists());
    let (Some(path), Some(first)) = (there, paths.first()) else { return Ok(()) };
    let ours = std::fs::File::open(first).is_ok_and(|file| {
        let file = io::BufReader::new(file.take(SUMMARY_BYTES_MAX));
        let json: Result<serde_json::Value, _> = serde_json::from_reader(file);
        json.is_ok_and(|json| is_ours(&json))
    });
    let foreign = || io::Error::new(io::ErrorKind::AlreadyExists, "no run of polder sim left it");
    if ours { Ok(()) } else { Err(wrong(path)(foreign())) }
}

/// Names the file that could not be written.
fn wrong(path: &Path) -> impl FnOnce(io::Error) -> WriteError {
    let path = path.to_owned();
    move |source| WriteError { path, source }
}

#[cfg(test)]
mod tests;
