//! The programs of the demo: a password cracker and a Fourier transform that nobody here wrote.

use crate::polder::check_interrupt;
use crate::say;
use anyhow::{Context, Result, bail};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// An MD5 sum without a known preimage: the search saturates the device for as long as it is let.
const TARGET: &str = "51b160c57cad35dc6b90c59bc7b7e986";

/// hashcat, searching for `seconds` and reporting each second how far it is. It is told how large its
/// commands are: what it would choose, once, while a neighbour is at work, differs from run to run by so
/// much that the same device time holds half as many hashes again.
pub(crate) fn hashcat(session: &str, seconds: u32) -> Vec<String> {
    let fixed = "hashcat --potfile-disable --logfile-disable --restore-disable -D 1 --force -m 0 \
                 -a 3 -O -n 256 -u 256 --quiet --status --status-json --status-timer 1";
    let mut words: Vec<String> = fixed.split_whitespace().map(str::to_owned).collect();
    words.extend(["--session".into(), session.into()]);
    words.extend([
        "--runtime".into(),
        seconds.to_string(),
        TARGET.into(),
        "?a?a?a?a?a?a?a?a".into(),
    ]);
    words
}

/// clFFT's own client, transforming so many points; it needs 8 bytes a point.
pub(crate) fn fft(points: u32, times: u32) -> Vec<String> {
    format!("clFFT-client -c -x {points} -p {times}")
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// How many hashes a search says it has tried, from its last status line.
pub(crate) fn hashes_tried(log: &str) -> Option<u64> {
    log.lines().rev().find_map(|line| {
        let status: serde_json::Value = serde_json::from_str(line.trim()).ok()?;
        status.get("progress")?.get(0)?.as_u64()
    })
}

/// Compiles the programs' kernels into `cache` before anybody watches a clock.
pub(crate) fn warm_up(cache: &Path) -> Result<()> {
    let done = cache.join("polder-demo-warm");
    if done.exists() {
        return Ok(());
    }
    say::note("the programs compile their OpenCL kernels, once (about a minute)");
    std::fs::create_dir_all(cache)?;
    for words in [hashcat("polder-warm-up", 2), fft(1 << 20, 1), fft(1 << 22, 1)] {
        let child = Command::new(&words[0])
            .args(&words[1..])
            .env("POCL_CACHE_DIR", cache)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", words[0]))?;
        finish(child, &words[0])?;
    }
    std::fs::write(done, "")?;
    Ok(())
}

/// Waits, but ends the program when Ctrl-C is pressed.
fn finish(mut child: Child, name: &str) -> Result<()> {
    loop {
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        if let Err(interrupt) = check_interrupt() {
            child.kill()?;
            child.wait()?;
            bail!("{name}: {interrupt}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_status_counts() {
        let log = "{\"progress\": [5, 9]}\nwarning\n{\"progress\": [7, 9]}\n";
        assert_eq!(hashes_tried(log), Some(7));
        assert_eq!(hashes_tried("nothing"), None);
    }
}
