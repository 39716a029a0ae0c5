//! What the environment says of how the stand-in behaves. This is for tests: they set it for the
//! programs that they start.
//!
//! * `STANDIN_SOCKET`: where the device is served; without it there is none.
//! * `STANDIN_LOG`: a file to which the name of every call is appended.
//! * `STANDIN_FAIL`: `NAME:CODE[:AFTER]`, several divided by commas: the call fails with this result
//!   once it has been made so many times.
//! * `STANDIN_LACKS`: names that `cuGetProcAddress` does not know.

use polder_gpuapi::cuda::consts::CUDA_ERROR_NOT_SUPPORTED;
use std::ffi::CStr;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug)]
struct Failure {
    name: String,
    code: u32,
    after: u64,
    made: AtomicU64,
}

#[derive(Debug, Default)]
struct Script {
    log: Option<File>,
    failures: Vec<Failure>,
    lacks: Vec<String>,
}

fn words(name: &str) -> Vec<String> {
    let text = std::env::var(name).unwrap_or_default();
    text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn failure(word: &str) -> Option<Failure> {
    let mut parts = word.split(':');
    let (name, code) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
    let after = parts.next().map_or(Some(0), |text| text.parse().ok())?;
    Some(Failure { name, code, after, made: AtomicU64::new(0) })
}

fn script() -> &'static Script {
    static SCRIPT: OnceLock<Script> = OnceLock::new();
    SCRIPT.get_or_init(|| {
        let log = std::env::var_os("STANDIN_LOG").map(PathBuf::from);
        let open = |path| File::options().append(true).create(true).open(path).ok();
        Script {
            log: log.and_then(open),
            failures: words("STANDIN_FAIL").iter().filter_map(|word| failure(word)).collect(),
            lacks: words("STANDIN_LACKS"),
        }
    })
}

/// A call begins: it is logged, and told to fail where the script says so.
pub(crate) fn begins(name: &str) -> Option<u32> {
    let script = script();
    if let Some(mut log) = script.log.as_ref() {
        // One write, so that lines of several processes do not mix; a full disk fails no call.
        let _ = log.write_all(format!("{name}\n").as_bytes());
    }
    let failure = script.failures.iter().find(|failure| failure.name == name)?;
    let made = failure.made.fetch_add(1, Ordering::Relaxed);
    (made >= failure.after).then_some(failure.code)
}

/// A call that the stand-in has no code for.
pub(crate) fn lacking(name: &CStr) -> u32 {
    let name = name.to_str().unwrap_or_default();
    begins(name).unwrap_or(CUDA_ERROR_NOT_SUPPORTED)
}

/// Whether the script hides a function.
pub(crate) fn hides(name: &str) -> bool {
    script().lacks.iter().any(|it| it == name)
}

/// Where the device is served.
pub(crate) fn socket() -> Option<PathBuf> {
    std::env::var_os("STANDIN_SOCKET").map(PathBuf::from)
}
