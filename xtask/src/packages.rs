//! System packages from Debian's archive, installed when missing.

use crate::say;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};

/// A Debian package and a file that tells that it is there.
pub(crate) struct Package {
    name: &'static str,
    file: &'static str,
}

/// A package, and a file of it; `ARCH` stands for the machine's own name in paths of libraries.
pub(crate) const fn package(name: &'static str, file: &'static str) -> Package {
    Package { name, file }
}

/// What demo, test and bench use: a real OpenCL device on any machine, a loader, and programs.
pub(crate) const ALL: &[Package] = &[
    package("pocl-opencl-icd", "/etc/OpenCL/vendors/pocl.icd"),
    package("ocl-icd-libopencl1", "/usr/lib/ARCH/libOpenCL.so.1"),
    package("clinfo", "/usr/bin/clinfo"),
    package("clpeak", "/usr/bin/clpeak"),
    package("hashcat", "/usr/bin/hashcat"),
    package("clfft-client", "/usr/bin/clFFT-client"),
    package("oclgrind", "/usr/bin/oclgrind"),
    package("opencl-headers", "/usr/include/CL/cl_icd.h"),
    // Jobs in containers, without a registry.
    package("podman", "/usr/bin/podman"),
    package("runc", "/usr/sbin/runc"),
    package("catatonit", "/usr/bin/catatonit"),
    package("gdb", "/usr/bin/gdb"),
    package("valgrind", "/usr/bin/valgrind"),
    // The C compiler for SQLite, which the server embeds.
    package("gcc", "/usr/bin/gcc"),
];

fn installed(package: &Package) -> bool {
    let arch = format!("{}-linux-gnu", std::env::consts::ARCH);
    Path::new(&package.file.replace("ARCH", &arch)).exists()
}

/// Installs what is missing.
pub(crate) fn install(packages: &[Package]) -> Result<()> {
    let missing: Vec<&str> =
        packages.iter().filter(|package| !installed(package)).map(|package| package.name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("this machine has no apt-get: install the equivalents of {}", missing.join(", "));
    }
    say::note(format!("installing {}", missing.join(" ")));
    let root = rustix::process::geteuid().is_root();
    let apt = |arguments: &[&str]| -> Result<()> {
        let mut command = Command::new(if root { "apt-get" } else { "sudo" });
        if !root {
            command.arg("apt-get");
        }
        let output = command
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .output()
            .context("cannot run apt-get")?;
        if !output.status.success() {
            bail!(
                "apt-get {} failed: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(())
    };
    apt(&["update", "-qq"])?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(&missing);
    apt(&arguments)
}
