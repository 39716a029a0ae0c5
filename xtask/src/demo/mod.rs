//! The demo: real programs of several tenants on one real device, told on the terminal.

mod act;
mod programs;
mod watch;

use crate::polder::{Pool, catch_interrupts};
use crate::{build, packages, say};
use anyhow::{Context, Result};
use std::path::Path;
use std::time::Instant;

/// Tells the story; with `keep`, the pool stays.
pub(crate) fn run(keep: bool) -> Result<()> {
    packages::install(packages::ALL)?;
    catch_interrupts()?;
    say::heading("Polder: one device, shared");
    say::note("building the release binary (minutes the first time)");
    let products = build::release()?;
    let cache = std::env::temp_dir().join("polder-kernel-cache");
    programs::warm_up(&cache)?;

    let folder = tempfile::Builder::new().prefix("polder-demo-").tempdir()?;
    let state = folder.path().join("state");
    let pool = Pool::start(&products.polder, &state, &cache, &["--no-listen"])?;
    let start = Instant::now();
    act::tell(&pool).context("the demo stopped")?;
    say::note(format!("\nthe story took {:.0} s", start.elapsed().as_secs_f64()));
    if keep {
        let _ = folder.keep();
        try_yourself(&products.polder, &state);
        pool.keep();
        return Ok(());
    }
    pool.stop()
}

fn try_yourself(polder: &Path, state: &Path) {
    let polder = polder.display();
    say::heading("It is still running. Try");
    say::line(format!("  export POLDER_STATE={}", state.display()));
    for words in [
        "devices",
        "run --compute 30% --memory 256MiB -- clinfo",
        "run --compute 30% --memory 64MiB -- clpeak --kernel-latency",
        "run --whole -- clpeak --kernel-latency",
        "submit --compute 50% --memory 1GiB -- clpeak --compute-sp",
        "queue",
        "top",
        "usage",
        "down --all",
    ] {
        say::line(format!("  {polder} {words}"));
    }
    say::line(format!("and when done: rm -r {}", state.display()));
}
