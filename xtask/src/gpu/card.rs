//! The machine that the suite runs on: a real card with the vendor's driver, or the stand-in.

use super::built;
use crate::build;
use crate::polder::Pool;
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for the stand-in to be there.
const STAND_IN_WAIT: Duration = Duration::from_secs(10);

/// Whether there can be a card: no build is needed to say that there is none.
pub(crate) fn may_be_here() -> bool {
    ["/dev/nvidiactl", "/dev/dxg", "/proc/driver/nvidia/version"]
        .iter()
        .any(|path| Path::new(path).exists())
}

/// One card, as `polder devices` tells of it.
#[derive(Debug, Clone)]
pub(crate) struct Card {
    pub(crate) uuid: String,
    pub(crate) model: String,
    pub(crate) driver: String,
    pub(crate) memory: u64,
}

/// A stand-in for a card.
struct StandIn {
    host: Child,
    folder: tempfile::TempDir,
}

impl Drop for StandIn {
    fn drop(&mut self) {
        // One that has ended by itself needs neither.
        let _ = self.host.kill();
        let _ = self.host.wait();
    }
}

/// What was built, and the card's driver.
pub(crate) struct Machine {
    profile: &'static str,
    stand_in: Option<StandIn>,
}

impl Machine {
    /// Builds what is run, where it is to be built, and starts the stand-in if there is to be one. On it nothing is timed for
    /// itself, so what tests are built as will do.
    pub(crate) fn prepare(stand_in: bool, build: bool) -> Result<Self> {
        if !stand_in {
            if build {
                build::release()?;
            }
            return Ok(Self { profile: "release", stand_in: None });
        }
        if build {
            build::as_tests()?;
            let stand_ins = ["polder-standin-cuda", "polder-standin-nvml", "polder-standin-host"];
            let packages = stand_ins.iter().flat_map(|name| ["--package", name]);
            build::check(build::cargo().arg("build").args(packages))?;
        }
        let folder = tempfile::Builder::new().prefix("polder-gpu-").tempdir()?;
        let debug = built("debug");
        for (ours, name) in
            [("libstandin_cuda.so", "libcuda.so.1"), ("libstandin_nvml.so", "libnvidia-ml.so.1")]
        {
            std::fs::copy(debug.join(ours), folder.path().join(name))?;
        }
        let socket = folder.path().join("device");
        let mut host = Command::new(debug.join("standin-host"));
        host.arg(&socket).arg("H200").stdin(Stdio::piped()).stdout(Stdio::null());
        let host = host.spawn().context("cannot start standin-host")?;
        let stand_in = StandIn { host, folder };
        let until = Instant::now() + STAND_IN_WAIT;
        while !socket.exists() {
            anyhow::ensure!(Instant::now() < until, "the stand-in has not come up");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { profile: "debug", stand_in: Some(stand_in) })
    }

    pub(crate) fn is_stand_in(&self) -> bool {
        self.stand_in.is_some()
    }

    fn polder(&self) -> PathBuf {
        built(self.profile).join("polder")
    }

    /// The tenant's program.
    pub(crate) fn work(&self) -> PathBuf {
        built(self.profile).join("examples/gpu_work")
    }

    /// What the stand-in's programs find it by; nothing where there is a real driver.
    fn variables(&self) -> Vec<(String, String)> {
        let of = |stand_in: &StandIn| {
            let folder = stand_in.folder.path();
            vec![
                ("LD_LIBRARY_PATH".to_owned(), folder.display().to_string()),
                ("STANDIN_SOCKET".to_owned(), folder.join("device").display().to_string()),
            ]
        };
        self.stand_in.as_ref().map(of).unwrap_or_default()
    }

    /// A program without Polder.
    pub(crate) fn native(&self, program: &Path, words: &[String]) -> Command {
        let mut command = Command::new(program);
        command.args(words).envs(self.variables());
        command
    }

    /// The first NVIDIA card, if there is one.
    pub(crate) fn look(&self) -> Result<Option<Card>> {
        let mut command = Command::new(self.polder());
        command.args(["--output", "json", "devices", "--local"]).envs(self.variables());
        let output = command.output().context("cannot run polder")?;
        let answer: Value = serde_json::from_slice(&output.stdout).with_context(|| {
            format!("polder devices: {}", String::from_utf8_lossy(&output.stderr).trim())
        })?;
        let devices = answer["devices"].as_array().cloned().unwrap_or_default();
        let card = |seen: &Value| {
            let device = &seen["device"];
            let text = |name: &str| device[name].as_str().map(str::to_owned);
            let uuid = text("id").filter(|id| id.starts_with("GPU-"))?;
            let healthy = device["health"]["state"] == "healthy";
            let (model, driver) = (text("model")?, text("driver").unwrap_or_default());
            healthy.then_some(Card { uuid, model, driver, memory: device["memory"].as_u64()? })
        };
        Ok(devices.iter().find_map(card))
    }

    /// A pool on this machine.
    pub(crate) fn pool(&self, folder: &Path, flags: &[&str]) -> Result<Pool> {
        let cache = std::env::temp_dir().join("polder-kernel-cache");
        let driver = self.stand_in.as_ref().map(|it| it.folder.path().display().to_string());
        let mut all = vec!["--no-listen"];
        all.extend(flags);
        if let Some(driver) = &driver {
            all.extend(["--driver-folder", driver]);
        }
        Pool::start_in(&self.polder(), &folder.join("state"), &cache, &all, self.variables())
    }
}
