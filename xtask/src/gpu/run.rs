//! Runs a program to its end or its bound, and reads what it measured.

use crate::polder::check_interrupt;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Most bytes of a program's output that are kept, of each kind.
const OUTPUT_BYTES_MAX: u64 = 1 << 20;
/// Most characters of its last words that an error repeats.
const WORDS_MAX: usize = 600;

/// What a program said.
pub(crate) struct Said {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    /// The last line of its output that is JSON.
    pub(crate) fn figures(&self) -> Result<Value> {
        let lines = self.stdout.lines().rev();
        let found = lines
            .filter(|line| line.starts_with('{'))
            .find_map(|line| serde_json::from_str(line).ok());
        found.with_context(|| format!("it measured nothing ({}): {}", self.status, self.words()))
    }

    /// Its last words.
    pub(crate) fn words(&self) -> String {
        let said = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let said = said.trim();
        let skip = said.chars().count().saturating_sub(WORDS_MAX);
        said.chars().skip(skip).collect()
    }
}

/// A number of what a program measured.
pub(crate) fn number(figures: &Value, name: &str) -> Result<f64> {
    figures[name].as_f64().with_context(|| format!("no {name} in {figures}"))
}

/// A program at work, ended with this.
pub(crate) struct Running {
    child: Child,
    output: [Option<JoinHandle<String>>; 2],
    from: Instant,
    limit: Duration,
    name: String,
}

/// Starts a program that may take so long.
pub(crate) fn start(command: &mut Command, limit: Duration) -> Result<Running> {
    let name = command.get_program().to_string_lossy().into_owned();
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    let name = format!("{name} {}", words.join(" "));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().with_context(|| format!("cannot run {name}"))?;
    let output = [child.stdout.take().map(keep), child.stderr.take().map(keep)];
    Ok(Running { child, output, from: Instant::now(), limit, name })
}

/// Reads on, so that the program never waits for a reader; keeps the first of it.
fn keep(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        // What cannot be read any more is the end of it.
        let _ = from.by_ref().take(OUTPUT_BYTES_MAX).read_to_end(&mut kept);
        let _ = std::io::copy(&mut from, &mut std::io::sink());
        String::from_utf8_lossy(&kept).into_owned()
    })
}

impl Running {
    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Result<Said> {
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if self.from.elapsed() > self.limit {
                bail!("{} has not ended within {} s", self.name, self.limit.as_secs());
            }
            check_interrupt()?;
            std::thread::sleep(Duration::from_millis(20));
        };
        let mut text = self
            .output
            .iter_mut()
            .map(|thread| thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default());
        let (stdout, stderr) = (text.next().unwrap_or_default(), text.next().unwrap_or_default());
        Ok(Said { status, stdout, stderr })
    }

    /// Waits for its end, which must be a good one.
    pub(crate) fn finish_well(self) -> Result<Said> {
        let name = self.name.clone();
        let said = self.finish()?;
        if !said.status.success() {
            bail!("{name} ended with {}: {}", said.status, said.words());
        }
        Ok(said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
            if let Some(group) = group {
                // One that has ended meanwhile needs no signal.
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = self.child.wait();
        }
    }
}
