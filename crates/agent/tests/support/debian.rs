//! Programs from Debian's packages (component non-free), for tests that nobody's programs but their vendor's
//! will do for.
#![allow(unreachable_pub, reason = "tests of several packages use it")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Fetches a package of a suite into `folder`, with lists of its own, and unpacks it there: the program of
/// that path in it. None where it cannot be had.
pub fn fetch(suite: &str, package: &str, program: &str, folder: &Path) -> Option<PathBuf> {
    let state = folder.join("apt");
    for part in ["lists/partial", "cache/archives/partial"] {
        std::fs::create_dir_all(state.join(part)).ok()?;
    }
    let keys = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let line = format!("deb [signed-by={keys}] http://deb.debian.org/debian {suite} non-free\n");
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
    apt(&["download", package])?;
    let files = std::fs::read_dir(folder).ok()?.filter_map(Result::ok);
    let package = files
        .map(|file| file.path())
        .find(|path| path.extension().is_some_and(|it| it == "deb"))?;
    let unpacked = Command::new("dpkg-deb").arg("-x").arg(package).arg(folder).status().ok()?;
    let program = folder.join(program);
    (unpacked.success() && program.exists()).then_some(program)
}
