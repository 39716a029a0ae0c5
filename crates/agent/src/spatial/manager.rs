//! Which control daemons there are, and for whom.
//!
//! **Invariants.** A lease that was given a seat has a daemon, or one that is being begun anew, or is
//! named by [`Spatial::tick`] as one that must end. A daemon runs only while a lease has a seat with
//! it. Two users never share one. What the daemon holds every program to at most is the largest of its
//! leases' parts. Where it cuts its card, each lease has a partition of its own there: what two leases
//! have is disjoint by the daemon's word, and is given back with the lease.

use super::backoff::{Backoff, Next, RESTARTS_MAX};
use super::control::{Control, ControlError};
use super::daemon::{Daemon, DaemonError, Reach, remove};
use super::partition::{Chunks, Partition, PartitionError};
use super::words::{Part, Place};
use polder_model::{LeaseId, Micros};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thiserror::Error;

/// Most control daemons of one node: sixteen cards, sixteen users on each.
pub(super) const DAEMONS_MAX: usize = 256;
/// Most partitions of one daemon that are given back in one turn.
const RETURNS_MAX: usize = 16;

/// Why a lease has no seat.
#[derive(Debug, Error)]
pub enum SpatialError {
    /// The vendor's program is not there.
    #[error("nvidia-cuda-mps-control is not on this node: install it (Debian: nvidia-cuda-mps)")]
    NoProgram,
    /// There are as many daemons as there may be.
    #[error("this node has {DAEMONS_MAX} MPS control daemons: wait until some leases are over")]
    Full,
    /// The daemon has died and is not back.
    #[error("the MPS control daemon of {uuid} has died and is not back yet: try again")]
    Down {
        /// Which card.
        uuid: String,
    },
    /// The plan names another folder than this node's.
    #[error("its MPS folder {} is not this node's", pipe.display())]
    Elsewhere {
        /// Which.
        pipe: PathBuf,
    },
    /// The daemon could not be started.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// It does not have what it was told.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The card, or the lease's part of it, is none that can be cut.
    #[error(transparent)]
    Partition(#[from] PartitionError),
}

/// Where a lease is to sit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// The card, `GPU-...`.
    pub uuid: String,
    /// The lease's user.
    pub uid: u32,
    /// That user's first group.
    pub gid: u32,
    /// The lease's part of the card.
    pub part: Part,
    /// The same in chunks, for a daemon that cuts its card, or why it is none.
    pub chunks: Result<Chunks, PartitionError>,
}

/// A card as one user has it.
#[derive(Debug)]
struct Served {
    uuid: String,
    uid: u32,
    gid: u32,
    daemon: Option<Daemon>,
    deaths: Backoff,
    /// What is next where there is no daemon; nothing once its leases were told.
    next: Option<Next>,
    leases: BTreeMap<LeaseId, Held>,
    /// Its daemon cuts the card into static partitions.
    partitions: bool,
    /// Partitions of leases that are over, which are still to be given back.
    left: Vec<Partition>,
}

/// What a lease has of a card.
#[derive(Debug)]
struct Held {
    part: Part,
    partition: Option<Partition>,
}

impl Served {
    fn most(&self) -> Option<Part> {
        self.leases.values().map(|held| held.part).reduce(Part::or)
    }

    /// Holds every program to the largest of the leases' parts.
    fn hold(&self) -> Result<(), ControlError> {
        match (&self.daemon, self.most()) {
            (Some(daemon), Some(most)) if self.partitions => daemon.control().hold_memory_to(&most),
            (Some(daemon), Some(most)) => daemon.control().hold_to(&most),
            _ => Ok(()),
        }
    }

    fn control(&self) -> Result<Control, SpatialError> {
        let down = || SpatialError::Down { uuid: self.uuid.clone() };
        self.daemon.as_ref().map(Daemon::control).ok_or_else(down)
    }

    /// Gives a lease its part: the whole of the daemon's limits with it or, where the card is cut, a
    /// partition.
    fn give(&mut self, lease: LeaseId, seat: &Seat) -> Result<Option<Partition>, SpatialError> {
        let control = self.control()?;
        self.give_back();
        let partition = match &seat.chunks {
            Ok(chunks) if self.partitions => Some(control.cut(&self.uuid, *chunks)?),
            Err(error) if self.partitions => return Err(error.clone().into()),
            _ => None,
        };
        self.leases.insert(lease, Held { part: seat.part, partition: partition.clone() });
        self.hold()?;
        Ok(partition)
    }

    /// Gives back what leases that are over had. What the daemon keeps is tried again: its server may not
    /// have noticed yet that a program has gone.
    fn give_back(&mut self) {
        let Ok(control) = self.control() else { return self.left.clear() };
        let mut tried = std::mem::take(&mut self.left).into_iter();
        for partition in tried.by_ref().take(RETURNS_MAX) {
            match control.give_back(&self.uuid, &partition) {
                Ok(()) => {}
                Err(error) => {
                    tracing::warn!(%error, "a partition of a card that no lease has");
                    self.left.push(partition);
                    if !matches!(error, ControlError::Otherwise { .. }) {
                        break;
                    }
                }
            }
        }
        // Those that were not tried are the first next time.
        self.left.splice(0..0, tried);
    }
}

/// The control daemons of one node.
#[derive(Debug, Clone)]
pub struct Spatial {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    program: Option<PathBuf>,
    folder: PathBuf,
    /// Whether new daemons cut their cards.
    partitions: bool,
    /// By the number that names its folder.
    served: Mutex<BTreeMap<u32, Served>>,
}

impl Spatial {
    /// `program` is the vendor's `nvidia-cuda-mps-control`; `folder` is where daemons have theirs, and
    /// nobody else writes there.
    #[must_use]
    pub fn new(program: Option<PathBuf>, folder: PathBuf) -> Self {
        Self::with(program, folder, false)
    }

    /// The same; `partitions`: the daemons that it starts cut their cards into static partitions.
    #[must_use]
    pub fn with(program: Option<PathBuf>, folder: PathBuf, partitions: bool) -> Self {
        let served = Mutex::default();
        Self { shared: Arc::new(Shared { program, folder, partitions, served }) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Served>> {
        // No code panics while it holds the lock; the map is whole in any case.
        self.shared.served.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pipe(&self, number: u32) -> PathBuf {
        self.shared.folder.join(number.to_string())
    }

    fn program(&self) -> Result<&Path, SpatialError> {
        self.shared.program.as_deref().ok_or(SpatialError::NoProgram)
    }

    /// Gives a lease a seat, and starts the daemon if it is the first. Blocking.
    ///
    /// # Errors
    /// [`SpatialError`]; then it has none.
    pub fn seat(&self, lease: LeaseId, seat: &Seat, now: Micros) -> Result<Place, SpatialError> {
        let program = self.program()?;
        let mut served = self.lock();
        let same = |one: &Served| (one.uuid.as_str(), one.uid) == (seat.uuid.as_str(), seat.uid);
        let known = served.iter().find(|(_, one)| same(one)).map(|(number, _)| *number);
        let number = match known {
            Some(number) => number,
            None => (0..).find(|number| !served.contains_key(number)).ok_or(SpatialError::Full)?,
        };
        let pipe = self.pipe(number);
        if known.is_none() {
            if served.len() >= DAEMONS_MAX {
                return Err(SpatialError::Full);
            }
            let partitions = self.shared.partitions;
            let reach = Reach { gid: seat.gid, partitions };
            let daemon = Daemon::start(program, &pipe, &seat.uuid, reach)?;
            tracing::info!(
                uuid = seat.uuid,
                pid = daemon.pid(),
                "an MPS control daemon was started"
            );
            let mut deaths = Backoff::default();
            deaths.began(now);
            let Seat { uuid, uid, gid, .. } = seat.clone();
            let (daemon, next, leases) = (Some(daemon), None, BTreeMap::new());
            let left = Vec::new();
            let new = Served { uuid, uid, gid, daemon, deaths, next, leases, partitions, left };
            served.insert(number, new);
        }
        let one = served.get_mut(&number).ok_or(SpatialError::Full)?;
        match one.give(lease, seat) {
            Ok(partition) => {
                Ok(Place { pipe, uuid: seat.uuid.clone(), part: seat.part, partition })
            }
            Err(error) => {
                take_out(&mut served, &self.shared.folder, lease);
                end_unused(&mut served, &self.shared.folder, number);
                Err(error)
            }
        }
    }

    /// Takes a lease in that an earlier agent gave a seat.
    ///
    /// # Errors
    /// [`SpatialError::Elsewhere`] for a place that is not this node's.
    pub fn adopt(
        &self,
        lease: LeaseId,
        place: &Place,
        (uid, gid): (u32, u32),
        now: Micros,
    ) -> Result<(), SpatialError> {
        let name = place.pipe.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.parse().ok());
        let number: u32 = number
            .filter(|number| place.is_in(&self.pipe(*number)))
            .ok_or_else(|| SpatialError::Elsewhere { pipe: place.pipe.clone() })?;
        let mut served = self.lock();
        let one = served.entry(number).or_insert_with(|| {
            let program = self.shared.program.as_deref();
            let daemon = program.and_then(|program| Daemon::find(program, &place.pipe));
            let mut deaths = Backoff::default();
            let next = if daemon.is_some() {
                deaths.began(now);
                None
            } else {
                tracing::error!(
                    uuid = place.uuid,
                    "an MPS control daemon has died while no agent was here; it is begun anew"
                );
                Some(deaths.died(now))
            };
            let (uuid, leases) = (place.uuid.clone(), BTreeMap::new());
            let (partitions, left) = (place.partition.is_some(), Vec::new());
            Served { uuid, uid, gid, daemon, deaths, next, leases, partitions, left }
        });
        let (part, partition) = (place.part, place.partition.clone());
        one.leases.insert(lease, Held { part, partition });
        Ok(())
    }

    /// Takes a lease's seat back, if it has one; with the last, the daemon ends. Blocking.
    pub fn release(&self, lease: LeaseId) {
        take_out(&mut self.lock(), &self.shared.folder, lease);
    }

    /// Whether no lease has a seat.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.lock().is_empty()
    }

    /// The process of the daemon that serves a lease, if it runs.
    #[must_use]
    pub fn daemon_of(&self, lease: LeaseId) -> Option<u32> {
        let served = self.lock();
        let one = served.values().find(|one| one.leases.contains_key(&lease))?;
        one.daemon.as_ref().filter(|daemon| daemon.is_alive()).map(Daemon::pid)
    }

    /// Ends what an earlier agent left and no lease has a seat with: call it once all leases are
    /// adopted. Blocking.
    pub fn sweep(&self) {
        let served = self.lock();
        let Ok(entries) = std::fs::read_dir(&self.shared.folder) else { return };
        let numbers =
            entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        for number in numbers.filter(|number: &u32| !served.contains_key(number)) {
            let pipe = self.pipe(number);
            let program = self.shared.program.as_deref();
            let removed = match program.and_then(|program| Daemon::find(program, &pipe)) {
                Some(daemon) => daemon.stop(),
                None => remove(&pipe),
            };
            if let Err(error) = removed {
                tracing::warn!(%error, "what is left of an MPS control daemon");
            }
        }
    }

    /// Looks after the daemons: begins dead ones anew, each after its wait. Returns the leases that
    /// must end because theirs has died too often, and why. Blocking.
    pub fn tick(&self, now: Micros) -> Vec<(LeaseId, String)> {
        let mut served = self.lock();
        let mut ended = Vec::new();
        for (number, one) in served.iter_mut() {
            let pipe = self.pipe(*number);
            match &one.daemon {
                Some(daemon) if daemon.is_alive() => {
                    daemon.keep_logs_short();
                    one.give_back();
                    continue;
                }
                Some(daemon) => {
                    tracing::error!(
                        uuid = one.uuid,
                        pid = daemon.pid(),
                        leases = one.leases.len(),
                        "an MPS control daemon has died under its leases; it is begun anew"
                    );
                    one.daemon = None;
                    one.next = Some(one.deaths.died(now));
                }
                None => {}
            }
            if one.partitions && one.daemon.is_none() && one.next.take().is_some() {
                let why = format!(
                    "the MPS control daemon of {} has died, and its leases' partitions with it",
                    one.uuid
                );
                ended.extend(one.leases.keys().map(|lease| (*lease, why.clone())));
            }
            if let Some(Next::Again(at)) = one.next
                && now >= at
            {
                one.next = self.begin_anew(one, &pipe, now);
            }
            if one.next == Some(Next::GiveUp) {
                one.next = None;
                let why = format!(
                    "the MPS control daemon of {} has died and {RESTARTS_MAX} more did: its new \
                     programs would be held by nothing; see the agent's log",
                    one.uuid
                );
                ended.extend(one.leases.keys().map(|lease| (*lease, why.clone())));
            }
        }
        ended
    }

    /// What is next after another start.
    fn begin_anew(&self, one: &mut Served, pipe: &Path, now: Micros) -> Option<Next> {
        let started = self.program().and_then(|program| {
            let reach = Reach { gid: one.gid, partitions: false };
            Ok(Daemon::start(program, pipe, &one.uuid, reach)?)
        });
        match started {
            Ok(daemon) => {
                tracing::info!(
                    uuid = one.uuid,
                    pid = daemon.pid(),
                    "an MPS control daemon is back"
                );
                one.daemon = Some(daemon);
                one.deaths.began(now);
                if let Err(error) = one.hold() {
                    tracing::warn!(%error, "an MPS control daemon without its limits");
                }
                None
            }
            Err(error) => {
                tracing::error!(%error, "an MPS control daemon does not come back");
                Some(one.deaths.died(now))
            }
        }
    }
}

/// Takes a lease's seat back; with the last, the daemon ends.
fn take_out(served: &mut BTreeMap<u32, Served>, folder: &Path, lease: LeaseId) {
    let Some((number, one)) = served.iter_mut().find(|(_, one)| one.leases.contains_key(&lease))
    else {
        return;
    };
    let held = one.leases.remove(&lease);
    if !one.leases.is_empty() {
        one.left.extend(held.and_then(|held| held.partition));
        one.give_back();
        if let Err(error) = one.hold() {
            tracing::warn!(%error, "an MPS control daemon keeps limits that are too wide");
        }
        return;
    }
    let number = *number;
    end_unused(served, folder, number);
}

/// Ends a daemon that no lease has.
fn end_unused(served: &mut BTreeMap<u32, Served>, folder: &Path, number: u32) {
    if served.get(&number).is_none_or(|one| !one.leases.is_empty()) {
        return;
    }
    let daemon = served.remove(&number).and_then(|one| one.daemon);
    let removed = match daemon {
        Some(daemon) => daemon.stop(),
        None => remove(&folder.join(number.to_string())),
    };
    if let Err(error) = removed {
        tracing::warn!(%error, "what is left of an MPS control daemon");
    }
}
