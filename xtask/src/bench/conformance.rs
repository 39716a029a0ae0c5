//! pyopencl's own tests, natively and under a lease: every test must end the same way.

use super::figures::{Figures, Target};
use super::tenants::Bench;
use crate::python::{self, Python};
use crate::say;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::process::Command;

/// Files of tests that take seconds each.
const SHORT: &[&str] =
    &["test_wrapper.py", "test_enqueue_copy.py", "test_arrays_in_structs.py", "test_clrandom.py"];
/// Files of tests that compile hundreds of kernels: minutes each.
const LONG: &[&str] = &["test_clmath.py", "test_algorithm.py", "test_array.py"];
/// Longest that one file may take, seconds.
const FILE_SECONDS_MAX: &str = "3600";
/// The lease's memory, bytes: enough for the tests that allocate most, and not what the device has, so that a
/// test can see whose it is.
const MEMORY: u64 = 8 << 30;

/// How a test ended, by its name.
type Outcomes = BTreeMap<String, String>;

/// Every file, natively and under a lease.
pub(crate) fn run(bench: &mut Bench, figures: &mut Figures) -> Result<()> {
    let python = python::install()?;
    is_leased(bench, &python)?;
    let files: Vec<_> = match bench.quick {
        true => SHORT.to_vec(),
        false => SHORT.iter().chain(LONG).copied().collect(),
    };
    for file in files {
        bench.step(&format!("{file}, natively"));
        let native = outcomes(native(&python), &python, file)?;
        bench.step(&format!("{file}, under a lease"));
        let leased = outcomes(leased(bench, &python), &python, file)?;
        let other = differing(&native, &leased);
        for name in &other {
            let end = |outcomes: &Outcomes| {
                outcomes.get(*name).map_or("absent", String::as_str).to_owned()
            };
            say::note(format!("  {name}: {} natively, {}", end(&native), end(&leased)));
        }
        let all = native.len() as f64;
        let same = native.len().saturating_sub(other.len()) as f64;
        let name = format!("pyopencl's {file}: tests that end as they do natively");
        figures.add(name, same, "tests", Some(all), Target::AtLeast(all));
        let passed = leased.values().filter(|end| *end == "PASSED").count() as f64;
        let name = format!("pyopencl's {file}: tests that pass");
        figures.add(name, passed, "tests", Some(all), Target::Shown);
    }
    Ok(())
}

/// Fails unless pyopencl under a lease sees the lease: a comparison of native with native would
/// prove nothing.
fn is_leased(bench: &Bench, python: &Python) -> Result<()> {
    let program =
        "import pyopencl as c; print(c.get_platforms()[0].get_devices()[0].global_mem_size)";
    let size = |mut command: Command| -> Result<u64> {
        let output = command.args(["-c", program]).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().with_context(|| {
            format!("pyopencl found no device: {}", String::from_utf8_lossy(&output.stderr).trim())
        })
    };
    let (without, with) = (size(native(python))?, size(leased(bench, python))?);
    if with != MEMORY || without == MEMORY {
        bail!("pyopencl sees {with} bytes under a lease of {MEMORY}, and {without} without");
    }
    Ok(())
}

/// The interpreter with its caches in a place of their own.
fn native(python: &Python) -> Command {
    let mut command = Command::new("timeout");
    command.args([FILE_SECONDS_MAX.as_ref(), python.program().as_os_str()]);
    caches(&mut command, python);
    command
}

fn leased(bench: &Bench, python: &Python) -> Command {
    let memory = MEMORY.to_string();
    let line = ["run", "--quiet", "--tenant", "a", "--compute", "50%", "--memory", &memory, "--"];
    let mut command = bench.pool.command(line);
    command.args(["timeout".as_ref(), FILE_SECONDS_MAX.as_ref(), python.program().as_os_str()]);
    caches(&mut command, python);
    command
}

fn caches(command: &mut Command, python: &Python) {
    for variable in ["POCL_CACHE_DIR", "XDG_CACHE_HOME"] {
        command.env(variable, python.cache());
    }
    command.current_dir(python.pyopencl_tests());
}

/// Runs the tests of a file.
fn outcomes(mut command: Command, python: &Python, file: &str) -> Result<Outcomes> {
    let quiet = ["-m", "pytest", "-q", "--tb=no", "-rA", "-p", "no:cacheprovider"];
    let output = command.args(quiet).arg(python.pyopencl_tests().join(file)).output()?;
    let found = read(&String::from_utf8_lossy(&output.stdout));
    if found.is_empty() {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("no test of {file} ran ({}): {}", output.status, why.trim());
    }
    Ok(found)
}

/// The summary that pytest prints with `-rA`: a line for each test, how it ended and its name, and
/// why if it did not pass.
fn read(text: &str) -> Outcomes {
    const ENDS: &[&str] = &["PASSED", "FAILED", "ERROR", "SKIPPED", "XFAIL", "XPASS"];
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(end, _)| ENDS.contains(end))
        .map(|(end, rest)| {
            let name = rest.split_once(" - ").map_or(rest, |(name, _)| name);
            (name.to_owned(), end.to_owned())
        })
        .collect()
}

/// Names of tests that did not end the same way in both runs.
fn differing<'a>(one: &'a Outcomes, other: &'a Outcomes) -> Vec<&'a str> {
    let changed = one.iter().filter(|(name, end)| other.get(*name) != Some(end));
    let new = other.keys().filter(|name| !one.contains_key(*name));
    changed.map(|(name, _)| name.as_str()).chain(new.map(String::as_str)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_read_and_compared() {
        let text = "....x [100%]\n=== short test summary info ===\nPASSED t.py::one[<a 'b c'>]\n\
                    FAILED t.py::two - OSError: no - such\nXFAIL t.py::three\n\
                    SKIPPED [1] t.py:7: no SVM\n3 passed in 2 s\n";
        let one = read(text);
        let end = |name: &str| one.get(name).map(String::as_str);
        assert_eq!(end("t.py::one[<a 'b c'>]"), Some("PASSED"));
        assert_eq!(end("t.py::two"), Some("FAILED"));
        assert_eq!(end("[1] t.py:7: no SVM"), Some("SKIPPED"));
        assert_eq!(one.len(), 4);
        assert!(differing(&one, &one).is_empty());
        let other = read(&text.replace("PASSED", "ERROR").replace("three", "four"));
        assert_eq!(differing(&one, &other), ["t.py::one[<a 'b c'>]", "t.py::three", "t.py::four"]);
    }
}
