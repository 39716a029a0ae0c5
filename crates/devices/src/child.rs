//! The parent's side: one short-lived child per source.

use crate::{
    Answer, IcdError, ProbeOutcome, ProbeRequest, Problem, Source, WatchRequest, catalogue,
    nvidia::clear::{ClearAnswer, ClearRequest},
    opencl::{icd_libraries, vendor_folder},
    supervise::{self, ChildError},
};
use polder_model::Device;
use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use thiserror::Error;

/// The hidden subcommand of the product's binary that runs [`crate::probe_main`].
pub const PROBE_SUBCOMMAND: &str = "probe-devices";
/// How long one source may take; a driver that initialises a cold card needs a few seconds.
pub const PROBE_LIMIT: Duration = Duration::from_secs(20);
/// How long clearing one card may take: a context, and its memory once over.
pub const CLEAR_LIMIT: Duration = Duration::from_secs(30);
/// What a probe child keeps of its parent's environment. Above all not `OCL_ICD_VENDORS` or
/// `CUDA_VISIBLE_DEVICES`: the catalogue is of what is there, not of what somebody may see.
pub const ENVIRONMENT_KEPT: [&str; 10] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "LD_LIBRARY_PATH",
    "POCL_DEVICES",
    "POCL_CACHE_DIR",
    "POCL_MAX_PTHREAD_COUNT",
    "POCL_MEMORY_LIMIT",
    // Where the stand-in of the tests is; no vendor's library knows it.
    "STANDIN_SOCKET",
];

/// Where to look, and for how long.
#[derive(Debug, Clone)]
pub struct ProbeOptions {
    /// How long each source may take.
    pub time_limit: Duration,
    /// The folder of `.icd` files; by default `OCL_ICD_VENDORS` when it names a folder, else
    /// [`crate::VENDOR_FOLDER`].
    pub vendor_folder: Option<PathBuf>,
    /// NVIDIA's management library; by default the system's.
    pub nvml_library: Option<PathBuf>,
    /// Whether to measure the host's memory bandwidth for CPU devices. It takes about 0.1 s of
    /// every CPU, so an agent does it once, not at every later probe.
    pub measure_bandwidth: bool,
    /// Variables set in the children beside [`ENVIRONMENT_KEPT`].
    pub environment: Vec<(OsString, OsString)>,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self {
            time_limit: PROBE_LIMIT,
            vendor_folder: None,
            nvml_library: None,
            measure_bandwidth: true,
            environment: Vec::new(),
        }
    }
}

/// What the machine has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// The devices, by id.
    pub devices: Vec<Device>,
    /// What kept others from being seen. Not fatal: the devices listed are sound.
    pub problems: Vec<Problem>,
}

/// Why no source could be probed at all.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// The ICD libraries could not be listed.
    #[error(transparent)]
    Icd(#[from] IcdError),
    /// The child could not be started.
    #[error("cannot start {} to look for devices: {source}", exe.display())]
    Start {
        /// The program.
        exe: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Probes every source, each in a child `exe args... REQUEST`, one after another so that no
/// driver's start disturbs another's measurement.
///
/// The child calls [`crate::probe_main`] with its last argument and prints the answer.
pub fn probe_in_child(
    exe: &Path,
    args: &[&str],
    options: &ProbeOptions,
) -> Result<Catalogue, ProbeError> {
    let folder = match &options.vendor_folder {
        Some(folder) => folder.clone(),
        None => vendor_folder(env::var_os("OCL_ICD_VENDORS")),
    };
    let (libraries, folder_problems) = icd_libraries(&folder)?;
    let nvidia = Source::Nvidia { library: options.nvml_library.clone() };
    let sources = libraries.into_iter().map(|library| Source::Opencl { library });
    let mut answers = Vec::new();
    for source in sources.chain([nvidia]) {
        let outcome = match ask(exe, args, &source, options) {
            Ok(outcome) => outcome,
            Err(ChildError::Start(error)) => {
                return Err(ProbeError::Start { exe: exe.to_owned(), source: error });
            }
            Err(error) => ProbeOutcome::failed(Problem::new(&source, error)),
        };
        answers.push(Answer { source, outcome });
    }
    let (devices, problems) = catalogue(answers);
    let problems: Vec<Problem> = folder_problems.into_iter().chain(problems).collect();
    for problem in &problems {
        tracing::warn!(source = %problem.source, "devices may be missing: {}", problem.what);
    }
    Ok(Catalogue { devices, problems })
}

/// The command of a child that watches NVIDIA's cards: it prints one [`crate::CardsNow`] a line, until
/// nobody reads them, of every card but those named `without`. The caller starts it, in a thread that outlives it.
#[must_use]
pub fn watch_in_child(
    exe: &Path,
    args: &[&str],
    options: &ProbeOptions,
    without: Vec<String>,
) -> Option<Command> {
    // Only a path that is not UTF-8 cannot be written as JSON.
    let request =
        WatchRequest { watch_nvidia: true, library: options.nvml_library.clone(), without };
    let request = serde_json::to_string(&request).ok()?;
    Some(child(exe, args, &request, options))
}

/// Why a card was not cleared.
#[derive(Debug, Error)]
pub enum ClearError {
    /// The child could not.
    #[error("{card} is not cleared, and its next programs may read what is left on it: {why}")]
    NotCleared {
        /// The card.
        card: String,
        /// Why.
        why: String,
    },
}

/// Clears what nobody has of an NVIDIA card's memory, in a child that loads the vendor's `library`.
/// Returns how many bytes that was.
///
/// # Errors
/// [`ClearError`]; some of it may have been cleared then.
pub fn clear_in_child(
    exe: &Path,
    args: &[&str],
    options: &ProbeOptions,
    card: &str,
    library: &Path,
) -> Result<u64, ClearError> {
    let not = |why: String| ClearError::NotCleared { card: card.to_owned(), why };
    let request = ClearRequest { clear_nvidia: card.to_owned(), library: library.to_owned() };
    let request = serde_json::to_string(&request).map_err(|error| not(error.to_string()))?;
    let mut command = child(exe, args, &request, options);
    // Of many cards the others need not be woken.
    command.env("CUDA_VISIBLE_DEVICES", card);
    let finished =
        supervise::run(&mut command, CLEAR_LIMIT).map_err(|error| not(format!("it {error}")))?;
    let text = String::from_utf8_lossy(&finished.stdout);
    let said = text.lines().find_map(|line| serde_json::from_str::<ClearAnswer>(line).ok());
    match (said, finished.fault()) {
        (Some(ClearAnswer::Cleared(bytes)), None) => Ok(bytes),
        (Some(ClearAnswer::NotCleared(why)), _) => Err(not(why)),
        (_, Some(fault)) => Err(not(format!("the process that was to do it {fault}"))),
        (None, None) => Err(not("the process that was to do it did not say that it had".into())),
    }
}

/// A child with a request, in the environment of children.
fn child(exe: &Path, args: &[&str], request: &str, options: &ProbeOptions) -> Command {
    let kept = ENVIRONMENT_KEPT.iter().filter_map(|name| Some((name, env::var_os(name)?)));
    let mut command = Command::new(exe);
    command.args(args).arg(request).env_clear().envs(kept);
    command.envs(options.environment.iter().map(|(name, value)| (name, value)));
    command
}

/// Asks one child about one source.
fn ask(
    exe: &Path,
    args: &[&str],
    source: &Source,
    options: &ProbeOptions,
) -> Result<ProbeOutcome, ChildError> {
    let request =
        ProbeRequest { source: source.clone(), measure_bandwidth: options.measure_bandwidth };
    let request = serde_json::to_string(&request).map_err(|error| {
        // Only a path that is not UTF-8 cannot be written as JSON.
        ChildError::Watch(std::io::Error::other(error))
    })?;
    let mut command = child(exe, args, &request, options);
    let finished = supervise::run(&mut command, options.time_limit)?;
    Ok(understand(source, &finished))
}

/// How an answer begins.
const ANSWER_START: &str = "{\"devices\":";

/// The child's answer: the last text on its own line or at a line's end that is one. A driver may
/// print before it, and, where the C library holds output back until the exit, after it.
fn answer(stdout: &[u8]) -> Option<ProbeOutcome> {
    let text = String::from_utf8_lossy(stdout);
    text.lines().rev().find_map(|line| {
        let line = &line[line.find(ANSWER_START)?..];
        serde_json::from_str(line.trim_end()).ok()
    })
}

/// What the child's answer and its end mean together.
fn understand(source: &Source, finished: &supervise::Finished) -> ProbeOutcome {
    let problem = |what: String| Problem::new(source, what);
    match (answer(&finished.stdout), finished.fault()) {
        (Some(outcome), None) => outcome,
        // The answer was complete; the driver failed while the process was ending.
        (Some(mut outcome), Some(fault)) => {
            outcome.problems.push(problem(format!("{fault} after it had listed its devices")));
            outcome
        }
        (None, Some(fault)) => {
            ProbeOutcome::failed(problem(format!("{fault}; its devices are not listed")))
        }
        (None, None) => ProbeOutcome::failed(problem(
            "gave an answer that cannot be understood; its devices are not listed".to_owned(),
        )),
    }
}
