//! NVIDIA's own `nvidia-cuda-mps-control`, for tests.
//!
//! `POLDER_MPS_CONTROL` names the program; else Debian's is fetched (component non-free) and unpacked
//! in a folder of its own. Where neither can be had the tests are skipped, and say so.
#![allow(unreachable_pub, reason = "tests of several packages use it")]

#[path = "debian.rs"]
mod debian;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Where the package has it.
const PROGRAM: &str = "usr/bin/nvidia-cuda-mps-control";

/// The vendor's program, fetched once for all tests here.
pub fn find() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        let named = std::env::var_os("POLDER_MPS_CONTROL").map(PathBuf::from);
        let found = named.or_else(|| {
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nvidia-cuda-mps");
            let before = folder.join(PROGRAM);
            let fetch = || debian::fetch("stable", "nvidia-cuda-mps", PROGRAM, &folder);
            if before.exists() { Some(before) } else { fetch() }
        });
        if found.is_none() {
            eprintln!(
                "SKIPPED: no nvidia-cuda-mps-control: set POLDER_MPS_CONTROL, or let apt-get reach \
                 deb.debian.org"
            );
        }
        found
    };
    FOUND.get_or_init(find).as_deref()
}
