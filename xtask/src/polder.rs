//! A pool of its own, started for a demo or a benchmark and ended with it.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C sets a flag instead of ending the process, so that everything started can be
/// ended first.
pub(crate) fn catch_interrupts() -> Result<()> {
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed)).context("signal handler")
}

/// Fails when Ctrl-C was pressed.
pub(crate) fn check_interrupt() -> Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}

/// Sleeps, but not through Ctrl-C.
pub(crate) fn pause(length: Duration) -> Result<()> {
    let end = Instant::now() + length;
    while Instant::now() < end {
        check_interrupt()?;
        std::thread::sleep(Duration::from_millis(20).min(length));
    }
    check_interrupt()
}

/// A running `polder up` with a state folder of its own.
pub(crate) struct Pool {
    polder: PathBuf,
    state: PathBuf,
    cache: PathBuf,
    variables: Vec<(String, String)>,
    up: Option<Child>,
    remove: bool,
}

impl Pool {
    /// Starts one in `state`, which must not hold a pool; programs keep compiled kernels in `cache`.
    pub(crate) fn start(
        polder: &Path,
        state: &Path,
        cache: &Path,
        arguments: &[&str],
    ) -> Result<Self> {
        Self::start_in(polder, state, cache, arguments, Vec::new())
    }

    /// The same with these variables, for the daemon and all that is run.
    pub(crate) fn start_in(
        polder: &Path,
        state: &Path,
        cache: &Path,
        arguments: &[&str],
        variables: Vec<(String, String)>,
    ) -> Result<Self> {
        std::fs::create_dir_all(state)?;
        std::fs::create_dir_all(cache)?;
        let log = File::create(state.join("up.log"))?;
        let up = Command::new(polder)
            .arg("--state")
            .arg(state)
            .arg("up")
            .args(arguments)
            .env("POCL_CACHE_DIR", cache)
            .envs(variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", polder.display()))?;
        let mut pool = Self {
            polder: polder.into(),
            state: state.into(),
            cache: cache.into(),
            variables,
            up: Some(up),
            remove: true,
        };
        pool.wait_until_ready()?;
        Ok(pool)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let limit = Instant::now() + Duration::from_secs(60);
        while Instant::now() < limit {
            pause(Duration::from_millis(100))?;
            if let Some(status) = self.up.as_mut().and_then(|up| up.try_wait().ok().flatten()) {
                let log = std::fs::read_to_string(self.state.join("up.log")).unwrap_or_default();
                bail!("polder up ended ({status}): {}", log.trim());
            }
            let ready = self.json(["devices"]).is_ok_and(|answer| {
                items(&answer).iter().any(|device| device.get("node").is_some())
            });
            if ready {
                return Ok(());
            }
        }
        bail!(
            "polder up shows no device after a minute: see {}",
            self.state.join("up.log").display()
        )
    }

    /// `polder --state ...`, in a process group of its own so that Ctrl-C reaches only the caller.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(&self.polder);
        command
            .arg("--state")
            .arg(&self.state)
            .args(words)
            .env("POCL_CACHE_DIR", &self.cache)
            .envs(self.variables.iter().cloned())
            .stdin(Stdio::null())
            .process_group(0);
        command
    }

    /// Runs a command to its end and returns what it printed.
    pub(crate) fn text<S: AsRef<OsStr>>(
        &self,
        words: impl IntoIterator<Item = S>,
    ) -> Result<String> {
        let mut command = self.command(words);
        let output = command.output().context("cannot run polder")?;
        if !output.status.success() {
            let words: Vec<_> = command.get_args().skip(2).map(OsStr::to_string_lossy).collect();
            let error = String::from_utf8_lossy(&output.stderr);
            bail!("polder {}: {}", words.join(" "), error.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The same with `--output json`, parsed.
    pub(crate) fn json<S: AsRef<OsStr>>(
        &self,
        words: impl IntoIterator<Item = S>,
    ) -> Result<Value> {
        let words: Vec<_> = words.into_iter().map(|word| word.as_ref().to_os_string()).collect();
        let text = self.text([vec!["--output".into(), "json".into()], words].concat())?;
        serde_json::from_str(&text).context("polder printed no JSON")
    }

    /// The state folder.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// Process id of `polder up`.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.up.as_ref().map(Child::id)
    }

    /// Leaves it running and its folder in place.
    pub(crate) fn keep(mut self) {
        self.up = None;
        self.remove = false;
    }

    /// Ends every task and the pool.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let Some(mut up) = self.up.take() else { return Ok(()) };
        let asked = self.text(["down", "--all"]);
        let limit = Instant::now() + Duration::from_secs(if asked.is_ok() { 30 } else { 1 });
        while Instant::now() < limit {
            if up.try_wait()?.is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if up.try_wait()?.is_none() {
            up.kill()?;
            up.wait()?;
        }
        asked.map(drop)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Nothing more can be done about a failure while another error is on its way.
        let _ = self.end();
        if self.remove {
            let _ = std::fs::remove_dir_all(&self.state);
        }
    }
}

/// The rows of a list answer: the array, or the first array among its fields.
pub(crate) fn items(answer: &Value) -> &[Value] {
    answer
        .as_array()
        .or_else(|| answer.as_object()?.values().find_map(Value::as_array))
        .map_or(&[], Vec::as_slice)
}
