//! What is replayed: jobs with the times they came and, hidden from the engine, how long each
//! really runs. Every reader ends here.

pub mod any;
mod first;
pub mod journal;
pub mod muri;
pub mod openb;
mod row;
pub mod slurm;
pub mod swf;

pub(crate) use first::first;
pub use row::{BadRows, LINE_BYTES_MAX, ReadError, Wrong};
pub(crate) use row::{counted, plain};

use polder_model::{
    Ask, Bytes, DeviceAsk, Gang, Hints, HostAsk, Market, Micros, Outcome, Permille, PlaceAsk,
    Stdio, TenantPath, UserName, When, Work, Yields,
};
use std::collections::{BTreeMap, BTreeSet};

/// Most jobs in one workload.
pub const JOBS_MAX: usize = 4_000_000;
/// Longest time between the first and the last job, and longest run of one: about a hundred years.
pub const SPAN_MAX: Micros = Micros::from_secs(3_155_760_000);

/// Jobs to replay.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Workload {
    /// What it is called in reports.
    pub name: String,
    /// Its jobs, by time of arrival.
    pub jobs: Vec<WorkJob>,
    /// What a reader changed or left out, and why.
    pub notes: Vec<String>,
}

/// One job of a workload.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkJob {
    /// When it comes, from the start of the workload.
    pub arrives: Micros,
    /// What it asks for.
    pub ask: Ask,
    /// How long it runs when nothing slows it and it has its largest gang; of a service, how long it
    /// was wanted. The engine is not told.
    pub runs: Micros,
    /// How long after its arrival its user cancels it, if it is not over before: how a service ends.
    pub leaves: Option<Micros>,
    /// How much of each of its devices it keeps busy when alone there. The engine is not told.
    pub uses: Permille,
    /// The most device memory it ever holds, if not all it asks for. The engine is not told.
    pub memory_peak: Option<Bytes>,
    /// How it ends when nothing ends it before.
    pub outcome: Outcome,
}

impl WorkJob {
    /// A job that keeps its devices as busy as it asks for and succeeds.
    #[must_use]
    pub fn new(arrives: Micros, ask: Ask, runs: Micros) -> Self {
        let uses = ask.devices.compute;
        Self {
            arrives,
            ask,
            runs,
            leaves: None,
            uses,
            memory_peak: None,
            outcome: Outcome::Succeeded,
        }
    }
}

impl Workload {
    /// Puts jobs in the order of their arrival; of equals, the one first in the list goes first.
    pub fn sort(&mut self) {
        self.jobs.sort_by_key(|job| job.arrives);
    }

    /// Counts times from the arrival of the first job, and gives when that was.
    pub fn start_at_zero(&mut self) -> Micros {
        let first = self.jobs.iter().map(|job| job.arrives).min().unwrap_or_default();
        self.jobs.iter_mut().for_each(|job| job.arrives = Micros(job.arrives.0 - first.0));
        first
    }

    /// Every tenant that its jobs name, and all above them.
    #[must_use]
    pub fn tenants(&self) -> BTreeSet<TenantPath> {
        self.jobs.iter().flat_map(|job| job.ask.tenant.lineage()).collect()
    }
}

/// An ask for whole devices: what readers start from.
#[must_use]
pub fn ask_whole(tenant: TenantPath, user: UserName, devices: u32) -> Ask {
    Ask {
        tenant,
        user,
        name: None,
        work: Work {
            command: vec!["replayed".to_owned()],
            directory: "/".to_owned(),
            environment: BTreeMap::new(),
            stdio: Stdio::Logs,
            umask: None,
            image: None,
        },
        gang: Gang::default(),
        devices: DeviceAsk {
            count: devices,
            whole: true,
            compute: Permille::WHOLE,
            compute_max: None,
            memory: Bytes(0),
            backing: None,
            models: Vec::new(),
            features: BTreeSet::new(),
            isolation: None,
            mechanism: None,
            bandwidth: None,
        },
        host: HostAsk::default(),
        when: When::default(),
        yields: Yields::default(),
        place: PlaceAsk::default(),
        hints: Hints::default(),
    }
}

/// The same for a share of each device.
#[must_use]
pub fn ask_share(mut ask: Ask, compute: Permille, memory: Bytes) -> Ask {
    ask.devices.whole = false;
    ask.devices.compute = compute;
    ask.devices.memory = memory;
    ask
}

/// Makes an ask yield to whatever is not like it, and says so wherever a policy may look.
pub(crate) fn yields_to_all(ask: &mut Ask) {
    ask.yields.preemptible = true;
    ask.when.market = Market::Spot;
}

/// A name that can stand for a tenant or user, from whatever a trace calls them: characters that
/// may not be used become `-`; nothing at all becomes `fallback`.
#[must_use]
pub fn name_from(text: &str, fallback: &str) -> String {
    const LENGTH_MAX: usize = 48;
    let plain = |c: char| if c.is_ascii_alphanumeric() || "_-".contains(c) { c } else { '-' };
    let name: String = text.trim().chars().take(LENGTH_MAX).map(plain).collect();
    if name.chars().any(|c| c.is_ascii_alphanumeric()) { name } else { fallback.to_owned() }
}
