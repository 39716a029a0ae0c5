//! The tests that come with PoCL, natively and under a lease: every one must end the same way.
//!
//! They are C and C++ programs that call nothing but OpenCL. Debian's source package of a newer
//! PoCL than the one installed is taken, so not all of them pass natively; what is compared is how
//! each ends.

use super::figures::{Figures, Target};
use super::tenants::Bench;
use crate::packages::{self, Package, package};
use crate::{build, say};
use anyhow::{Context, Result, bail};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

const ARCHIVE: &str = "https://deb.debian.org/debian/pool/main/p/pocl/pocl_6.0.orig.tar.gz";
const SHA256: &str = "de9710223fc1855f833dbbf42ea2681e06aa8ec0464f0201104dc80a74dfd1f2";
/// What compiles and links them.
const COMPILERS: &[Package] = &[
    package("curl", "/usr/bin/curl"),
    package("g++", "/usr/bin/g++"),
    package("opencl-clhpp-headers", "/usr/include/CL/opencl.hpp"),
    package("ocl-icd-opencl-dev", "/usr/lib/ARCH/libOpenCL.so"),
];
/// Longest that one program may take, seconds: then it counts as ended by that.
const SECONDS_MAX: &str = "120";
/// Runs the kernel of a file that it is given the name of.
const KERNEL: &str = "kernel";
/// It looks for libraries in the folder in which PoCL itself is built.
const LEFT_OUT: &[&str] = &["test_dlopen"];
/// Files whose kernels are for programs of their own.
const KERNELS_OF_OTHERS: &[&str] = &["test_sampler_address_clamp", "test_image_query_funcs"];
/// So that the lease is not the whole device, bytes.
const LESS: u64 = 64 << 20;

/// A program and its arguments, by the name in which it is reported.
struct Test {
    name: String,
    words: Vec<String>,
}

/// Every program, natively and under a lease that has nearly the whole memory of the device.
pub(crate) fn run(bench: &mut Bench, figures: &mut Figures) -> Result<()> {
    packages::install(COMPILERS)?;
    let place = Place::new();
    place.fetch()?;
    let tests = place.build()?;
    let memory = (device_memory(bench)? - LESS).to_string();
    let (mut same, mut passed) = (0, 0);
    bench.step(&format!("{} of PoCL's tests, natively and under a lease", tests.len()));
    for test in &tests {
        let native = ended(place.prepare(&mut timeout()).args(&test.words).output()?.status);
        let line =
            ["run", "--quiet", "--tenant", "a", "--compute", "50%", "--memory", &memory, "--"];
        let mut leased = bench.pool.command(line);
        leased.args(["timeout", SECONDS_MAX]);
        let leased = ended(place.prepare(&mut leased).args(&test.words).output()?.status);
        if native == leased {
            same += 1;
        } else {
            say::note(format!("  {}: {native} natively, {leased} under a lease", test.name));
        }
        passed += usize::from(leased == PASSED);
    }
    let all = tests.len() as f64;
    let name = "PoCL's tests: programs that end as they do natively";
    figures.add(name.to_owned(), f64::from(same), "programs", Some(all), Target::AtLeast(all));
    let name = "PoCL's tests: programs that pass";
    figures.add(name.to_owned(), passed as f64, "programs", Some(all), Target::Shown);
    Ok(())
}

fn timeout() -> Command {
    let mut command = Command::new("timeout");
    command.arg(SECONDS_MAX);
    command
}

const PASSED: &str = "passed";

/// How a program ended, in the words of the tests: 77 means that it found nothing to test.
fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(0), _) => PASSED.to_owned(),
        (Some(77), _) => "skipped".to_owned(),
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("exit {}", 128 + signal),
        (None, None) => "unknown".to_owned(),
    }
}

/// Bytes of the device's memory.
fn device_memory(bench: &Bench) -> Result<u64> {
    let devices = bench.pool.json(["devices"])?;
    let memory = devices["devices"][0]["device"]["memory"].as_u64();
    memory.filter(|memory| *memory > LESS).with_context(|| format!("no device in {devices}"))
}

/// Where they lie.
struct Place {
    folder: PathBuf,
}

impl Place {
    fn new() -> Self {
        Self { folder: build::target().join("pocl-tests") }
    }

    fn source(&self) -> PathBuf {
        self.folder.join("source")
    }

    fn built(&self) -> PathBuf {
        self.folder.join("built")
    }

    fn prepare<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.current_dir(self.source()).env("POCL_CACHE_DIR", self.folder.join("cache"))
    }

    /// Downloads and unpacks the source, if it is not there.
    fn fetch(&self) -> Result<()> {
        std::fs::create_dir_all(self.folder.join("cache"))?;
        if self.source().join("tests").is_dir() {
            return Ok(());
        }
        let archive = self.folder.join("pocl.tar.gz");
        say::note(format!("fetching {ARCHIVE}"));
        said(
            Command::new("curl")
                .args(["-fsSL", "--max-time", "300", "-o"])
                .arg(&archive)
                .arg(ARCHIVE),
        )?;
        let sum = said(Command::new("sha256sum").arg(&archive))?;
        if !String::from_utf8_lossy(&sum.stdout).starts_with(SHA256) {
            bail!("{ARCHIVE} is not the archive that was expected: its SHA-256 is not {SHA256}");
        }
        let part = self.folder.join("part");
        std::fs::create_dir_all(&part)?;
        let unpack = ["--strip-components=1", "-xzf"];
        said(Command::new("tar").args(unpack).arg(&archive).arg("-C").arg(&part))?;
        std::fs::rename(part, self.source()).context("moving what was unpacked")
    }

    /// Compiles what is not compiled yet, and tells what there is to run.
    fn build(&self) -> Result<Vec<Test>> {
        let built = self.built();
        std::fs::create_dir_all(&built)?;
        let source = self.source();
        let header = |name: &str, text: &str| std::fs::write(built.join(name), text);
        header("pocl_opencl.h", "#include <CL/opencl.h>\n#include <poclu.h>\n")?;
        header(
            "pocl_version.h",
            "#define POCL_VERSION_BASE \"\"\n#define POCL_VERSION_FULL \"\"\n",
        )?;
        let places = format!(
            "#define SRCDIR \"{}\"\n#define BUILDDIR \"{}\"\n#define HAVE_DLFCN_H 1\n",
            source.display(),
            built.display()
        );
        header("config.h", &places)?;
        let helpers = ["misc", "bswap", "cl_half"].map(|name| format!("poclu/{name}.c"));
        let mut tests = Vec::new();
        let mut unbuilt = Vec::new();
        for folder in ["tests/runtime", "tests/regression", "tests/kernel"] {
            for file in files(&source.join(folder))? {
                let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                let compiler = match file.extension().and_then(|extension| extension.to_str()) {
                    Some("c") => "gcc",
                    Some("cpp") => "g++",
                    _ => continue,
                };
                if LEFT_OUT.contains(&name.as_str()) {
                    continue;
                }
                let program = built.join(&name);
                if !program.exists() && self.compile(compiler, &file, &helpers, &program).is_err() {
                    unbuilt.push(name);
                    continue;
                }
                let program = program.display().to_string();
                if name == KERNEL {
                    tests.extend(self.kernels(&program)?);
                } else {
                    tests.push(Test { name, words: vec![program] });
                }
            }
        }
        if !unbuilt.is_empty() {
            say::note(format!("  not compiled with these headers: {}", unbuilt.join(", ")));
        }
        if tests.is_empty() {
            bail!("none of PoCL's tests could be compiled in {}", built.display());
        }
        Ok(tests)
    }

    fn compile(&self, compiler: &str, file: &Path, with: &[String], to: &Path) -> Result<Output> {
        let mut command = Command::new(compiler);
        command.current_dir(self.source()).args(["-O1", "-w", "-include", "config.h", "-I"]);
        command.arg(self.built()).args(["-I.", "-Iinclude", "-Ipoclu"]);
        command.args(["-DCL_TARGET_OPENCL_VERSION=300", "-DCL_HPP_TARGET_OPENCL_VERSION=300"]);
        command.args(["-DCL_HPP_MINIMUM_OPENCL_VERSION=200", "-DCL_HPP_ENABLE_EXCEPTIONS"]);
        // The helpers are C for either compiler.
        command.arg(file).args(["-x", "c"]).args(with).args(["-x", "none", "-o"]).arg(to);
        said(command.args(["-lOpenCL", "-lm", "-lpthread", "-ldl"]))
    }

    /// A test for each file with a kernel of its own.
    fn kernels(&self, program: &str) -> Result<Vec<Test>> {
        let files = files(&self.source().join("tests/kernel"))?.into_iter();
        let names = files.filter(|file| file.extension().is_some_and(|end| end == "cl"));
        let names = names.filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned()));
        let own = names.filter(|name| {
            name.starts_with("test_") && !KERNELS_OF_OTHERS.contains(&name.as_str())
        });
        let test = |name: String| Test { words: vec![program.to_owned(), name.clone()], name };
        Ok(own.map(test).collect())
    }
}

/// The files of a folder, by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("{}", folder.display()))?;
    let mut files: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    files.sort();
    Ok(files)
}

/// Runs a command to its end; an error has what it said.
fn said(command: &mut Command) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        bail!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_the_same_whether_a_shell_or_the_kernel_tells_them() {
        let raw = |status| ended(ExitStatus::from_raw(status));
        assert_eq!((raw(0), raw(77 << 8)), (PASSED.to_owned(), "skipped".to_owned()));
        assert_eq!(
            (raw(1 << 8), raw(139 << 8), raw(11)),
            ("exit 1".into(), "exit 139".into(), "exit 139".into())
        );
    }
}
