//! Changes inputs, keeps those that reach new code, and stops at the first that breaks something.

use crate::coverage::Reached;
use crate::mutate::{INPUT_BYTES_MAX, Random, mutate};
use crate::targets::Target;
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Most inputs that are kept in memory.
const KEPT_MAX: usize = 4096;
/// One input that takes more of a CPU has found something: every reader is bounded.
const FEED_MAX: Duration = Duration::from_secs(5);
/// Without counters, every so many changes one is kept all the same.
const BLIND_KEEPS: u64 = 200;

/// How a hunt went.
#[derive(Debug)]
pub struct Told {
    /// Inputs fed.
    pub fed: u64,
    /// Inputs that reached something new, the given ones included.
    pub kept: usize,
    /// Places in the code that were reached; 0 without counters.
    pub places: usize,
    /// The input that broke something, and what broke.
    pub broken: Option<(Vec<u8>, String)>,
}

/// The folder of a target's inputs.
#[must_use]
pub fn corpus(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// A target's inputs, by name.
///
/// # Errors
/// What the system says.
pub fn inputs(target: &Target) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(corpus(target))?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.sort();
    paths.into_iter().map(|path| Ok((path.clone(), fs::read(&path)?))).collect()
}

/// Feeds one input. What broke, if something did.
pub fn feed(target: &Target, input: &[u8]) -> Option<String> {
    let begun = cpu_time();
    let fed = catch_unwind(AssertUnwindSafe(|| (target.feed)(input)));
    let words = |panic: Box<dyn std::any::Any + Send>| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => other.downcast_ref::<&str>().map_or("a panic", |text| text).to_owned(),
    };
    let took = cpu_time().saturating_sub(begun);
    match fed {
        Err(panic) => Some(words(panic)),
        Ok(()) if took > FEED_MAX => Some(format!("it took {took:?}")),
        Ok(()) => None,
    }
}

/// How much of a CPU this thread has had: how busy the machine is does not matter.
fn cpu_time() -> Duration {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    used.try_into().unwrap_or_default()
}

/// Hunts for so long, from `seeds` on.
pub fn hunt(target: &Target, seeds: Vec<Vec<u8>>, time: Duration, seed: u64) -> Told {
    let mut random = Random(seed);
    let mut reached = Reached::default();
    let mut told = Told { fed: 0, kept: 0, places: 0, broken: None };
    let mut kept: Vec<Vec<u8>> = Vec::new();
    let until = Instant::now() + time;
    let mut given = seeds.into_iter().chain([Vec::new()]);
    while Instant::now() < until {
        let (input, is_given) = match given.next() {
            Some(input) => (input, true),
            None => {
                let mut input = kept[random.below(kept.len())].clone();
                let other = kept[random.below(kept.len())].clone();
                mutate(&mut input, &other, &mut random);
                (input, false)
            }
        };
        Reached::clear();
        let broke = feed(target, &input);
        told.fed += 1;
        if let Some(what) = broke {
            told.broken = Some((input, what));
            break;
        }
        let blind = !Reached::is_there() && told.fed.is_multiple_of(BLIND_KEEPS);
        if reached.take() || is_given || blind {
            debug_assert!(input.len() <= INPUT_BYTES_MAX || is_given);
            if kept.len() < KEPT_MAX {
                kept.push(input);
            } else {
                let at = random.below(kept.len());
                kept[at] = input;
            }
        }
    }
    (told.kept, told.places) = (kept.len(), reached.places());
    told
}
