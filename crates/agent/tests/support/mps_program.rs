//! NVIDIA's own `nvidia-cuda-mps-control`, for tests.
//!
//! `POLDER_MPS_CONTROL` names the program; else Debian's is fetched (component non-free) and unpacked
//! in a folder of its own. Where neither can be had the tests are skipped, and say so.
#![allow(unreachable_pub, reason = "tests of several packages use it")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Fetches Debian's package into `folder` and unpacks it there.
fn fetch(folder: &Path) -> Option<PathBuf> {
    let state = folder.join("apt");
    for part in ["lists/partial", "cache/archives/partial"] {
        std::fs::create_dir_all(state.join(part)).ok()?;
    }
    let keys = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let line = format!("deb [signed-by={keys}] http://deb.debian.org/debian stable non-free\n");
    std::fs::write(state.join("sources.list"), line).ok()?;
    let option = |name: &str, value: &Path| format!("-o{name}={}", value.display());
    let apt = |words: &[&str]| {
        let mut command = Command::new("timeout");
        command.args(["60", "apt-get", "-q", "-oAPT::Sandbox::User=root"]);
        command.arg(option("Dir::Etc::SourceList", &state.join("sources.list")));
        command.arg("-oDir::Etc::SourceParts=/dev/null");
        command.arg(option("Dir::State::Lists", &state.join("lists")));
        command.arg(option("Dir::Cache", &state.join("cache")));
        command.args(words).current_dir(folder).output().ok()?.status.success().then_some(())
    };
    apt(&["update"])?;
    apt(&["download", "nvidia-cuda-mps"])?;
    let files = std::fs::read_dir(folder).ok()?.filter_map(Result::ok);
    let package = files
        .map(|file| file.path())
        .find(|path| path.extension().is_some_and(|it| it == "deb"))?;
    let unpacked = Command::new("dpkg-deb").arg("-x").arg(package).arg(folder).status().ok()?;
    let program = folder.join("usr/bin/nvidia-cuda-mps-control");
    (unpacked.success() && program.exists()).then_some(program)
}

/// The vendor's program, fetched once for all tests here.
pub fn find() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        let named = std::env::var_os("POLDER_MPS_CONTROL").map(PathBuf::from);
        let found = named.or_else(|| {
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nvidia-cuda-mps");
            let before = folder.join("usr/bin/nvidia-cuda-mps-control");
            if before.exists() { Some(before) } else { fetch(&folder) }
        });
        if found.is_none() {
            eprintln!(
                "SKIPPED: no nvidia-cuda-mps-control: set POLDER_MPS_CONTROL, or let apt-get reach \
                 deb.debian.org"
            );
        }
        found
    };
    PROGRAM.get_or_init(find).as_deref()
}
