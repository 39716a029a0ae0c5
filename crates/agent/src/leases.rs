//! One lease's life on this node, from its order to the moment the server has noted its end.
//!
//! Each lease is one task of the runtime. It talks to the lease's shim and tells the node's loop
//! what became of it; the loop tells it what the server wants. When the loop is gone the task ends
//! and touches nothing: the shim goes on by itself.

mod running;

use crate::cards::{Cards, Clearing};
use crate::clients::Clients;
use crate::folder::Folder;
use crate::paths::StatePaths;
use crate::prepare::{self, Stands};
use crate::runner::remove_container;
use crate::shim::{ShimClient, ShimError, boot_micros, read_plan, read_status};
use crate::spatial::Spatial;
use crate::spatial::units::Masks;
use crate::watchman::Watchman;
use crate::{AgentOptions, arbiter::ArbiterHandle};
use polder_devices::{CLEAR_LIMIT, PROBE_SUBCOMMAND, clear_in_child};
use polder_model::{
    DeviceId, Finding, Health, Inventory, Lease, LeaseEnd, LeaseId, LeaseOrder, LeaseSample,
    Micros, Outcome, Phase, StopReason,
};
use running::Running;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};

/// How often a shim that is there and does not answer is tried again.
const REACH_PERIOD: Duration = Duration::from_secs(5);
/// How often MPS's control daemons are looked after, while there are any.
const DAEMONS_PERIOD: Duration = Duration::from_secs(1);
/// How long a child that clears a card may take to go once it was ended.
const CLEAR_SLACK: Duration = Duration::from_secs(5);
/// Commands a lease has not heard yet; the loop gives each at most twice, but for resizes, which it
/// repeats when there is room again.
pub(crate) const COMMANDS_MAX: usize = 8;

/// What every lease of this node needs.
pub(crate) struct Room {
    pub(crate) options: Arc<AgentOptions>,
    pub(crate) paths: StatePaths,
    pub(crate) arbiter: ArbiterHandle,
    pub(crate) watchman: Watchman,
    /// Seats of leases that share a card spatially.
    pub(crate) spatial: Spatial,
    /// Compute units of leases that share one of AMD's.
    pub(crate) masks: Masks,
    /// What NVIDIA's cards say.
    pub(crate) cards: Cards,
    /// Who is on which of them, and which are being cleared.
    pub(crate) clearing: Clearing,
    pub(crate) clients: Arc<Clients>,
    pub(crate) inventory: watch::Receiver<Arc<Inventory>>,
    /// The kernel's boot id.
    pub(crate) boot: String,
    pub(crate) news: mpsc::Sender<News>,
    /// A permit for each lease that is being prepared.
    pub(crate) preparing: Semaphore,
}

/// What the loop tells a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// All members are prepared.
    Start {
        /// `address:port` of rank 0.
        master: Option<String>,
    },
    /// It has other slices of its devices from now on, or is more or less urgent.
    Resize {
        /// As the server has it; the slices in the order of those it had.
        to: Box<Lease>,
    },
    /// End it.
    Stop {
        /// How it will have ended.
        outcome: Outcome,
        /// Between SIGTERM and SIGKILL.
        grace: Micros,
    },
    /// The server has noted its end.
    Forget,
}

/// What a lease tells the loop.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) lease: LeaseId,
    pub(crate) what: What,
}

/// What became of a lease.
#[derive(Debug)]
pub(crate) enum What {
    /// It has come so far.
    Phase {
        phase: Phase,
        /// When its program started, on the boot clock.
        started: Option<Micros>,
    },
    /// So many of its resizes are in its pages, and in the plan that a successor of this agent reads.
    Resized(u32),
    /// It breaks a rule.
    Found(Finding),
    /// What it stands on is gone for good: it must end.
    Groundless(String),
    /// Its shim is out of reach: what it was told may not have been heard.
    Unreached,
    /// Nothing of it is left but logs.
    Forgotten,
}

/// How a lease ends that was ended for `why`.
pub(crate) fn outcome_of(why: &StopReason) -> Outcome {
    match why {
        StopReason::Cancelled { .. } | StopReason::GangMemberEnded { .. } => Outcome::Cancelled,
        StopReason::Returned | StopReason::Preempted { .. } | StopReason::Shrunk { .. } => {
            Outcome::Returned
        }
        StopReason::DeviceLost { why } => Outcome::Lost { why: why.clone() },
        StopReason::Unknown => {
            Outcome::Lost { why: "the server does not know this lease any more".to_owned() }
        }
    }
}

/// The end of a lease that never ran.
pub(crate) fn never_ran(outcome: Outcome) -> LeaseEnd {
    LeaseEnd { outcome, ran: Micros(0), sample: LeaseSample::default() }
}

/// Runs blocking work beside the loop. `None` when it panicked, which is logged.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Some(done),
        Err(error) => {
            tracing::error!(%error, "a lease's blocking work broke off");
            None
        }
    }
}

/// A lease ordered now: prepares it and follows it to its end.
pub(crate) async fn begin(
    room: Arc<Room>,
    order: Box<LeaseOrder>,
    commands: mpsc::Receiver<Command>,
) {
    let lease = order.lease.id;
    room.clearing.wait(lease).await;
    let prepared = {
        // It is never closed, and without a permit the lease would be prepared all the same.
        let _permit = room.preparing.acquire().await;
        let room = Arc::clone(&room);
        blocking(move || prepare::prepare(&room, *order)).await
    };
    let stands = match prepared {
        Some(Ok(live)) => Stands::Live(Box::new(live)),
        Some(Err(end)) => Stands::Over(end),
        None => Stands::Over(never_ran(Outcome::NotStarted { why: BROKE_OFF.to_owned() })),
    };
    follow(room, lease, stands, commands).await;
}

const BROKE_OFF: &str = "the agent failed at it: see its log";

/// Follows a lease, prepared or adopted or over, until it may be forgotten.
pub(crate) async fn follow(
    room: Arc<Room>,
    lease: LeaseId,
    mut stands: Stands,
    mut commands: mpsc::Receiver<Command>,
) {
    let end = loop {
        match stands {
            Stands::Over(end) => break end,
            Stands::Live(live) => {
                let running = Running::new(Arc::clone(&room), *live);
                match running.run(&mut commands).await {
                    Some(next) => stands = next,
                    None => return,
                }
            }
            Stands::Unreached(unreached) => {
                tokio::time::sleep(REACH_PERIOD).await;
                if commands.is_closed() {
                    return;
                }
                let room = Arc::clone(&room);
                let tried = blocking(move || prepare::reach_again(&room, *unreached)).await;
                let why = BROKE_OFF.to_owned();
                stands = tried.unwrap_or(Stands::Over(never_ran(Outcome::Lost { why })));
            }
        }
    };
    let spatial = room.spatial.clone();
    let _ = blocking(move || spatial.release(lease)).await;
    room.masks.release(lease);
    room.clearing.leave(lease, end.ran > Micros(0), |card| clear(Arc::clone(&room), card)).await;
    tell(&room, lease, What::Phase { phase: Phase::Ended { end: end.clone() }, started: None })
        .await;
    loop {
        match commands.recv().await {
            None => return,
            Some(Command::Forget) => break,
            Some(Command::Start { .. } | Command::Resize { .. } | Command::Stop { .. }) => {}
        }
    }
    let folder = Folder::of(&room.paths, lease);
    let _ = blocking(move || {
        clear_away(&folder);
        forget(&folder, &end);
    })
    .await;
    tell(&room, lease, What::Forgotten).await;
}

/// Clears a card that nobody is on any more, where the node has CUDA. One that has failed is left alone: its
/// driver may hang.
async fn clear(room: Arc<Room>, card: DeviceId) {
    let failed = {
        let inventory = room.inventory.borrow();
        let known = inventory.devices.iter().find(|device| device.id == card);
        known.is_none_or(|device| matches!(device.health, Health::Failed(_)))
    };
    if failed {
        return tracing::warn!(%card, "has failed and is not cleared");
    }
    let options = Arc::clone(&room.options);
    let cleared = blocking(move || {
        let vendor = &options.cuda_libraries.as_ref()?.vendor;
        let (exe, probe) = (&options.exe, &options.probe);
        let card = card.as_str();
        let arguments = [PROBE_SUBCOMMAND];
        Some((card.to_owned(), clear_in_child(exe, &arguments, probe, card, vendor)))
    });
    // A child that hangs in its driver cannot be ended, and nobody's end waits for it.
    match tokio::time::timeout(CLEAR_LIMIT + CLEAR_SLACK, cleared).await.map(Option::flatten) {
        Ok(Some((card, Ok(bytes)))) => {
            tracing::info!(card, bytes, "cleared for whoever is next");
        }
        Ok(Some((_, Err(error)))) => tracing::error!("{error}"),
        Ok(None) => {}
        Err(_) => tracing::error!("what clears a card hangs in its driver: it is not cleared"),
    }
}

async fn tell(room: &Room, lease: LeaseId, what: What) {
    // A loop that is gone hears nothing, and needs nothing.
    let _ = room.news.send(News { lease, what }).await;
}

/// Removes what is kept of a container that did not end by itself.
fn clear_away(folder: &Folder) {
    let Ok(Some(plan)) = read_plan(folder.path()) else { return };
    let Ok(Some(state)) = read_status(folder.path()) else { return };
    if plan.order.work.image.is_some()
        && let Err(error) = remove_container(&plan, state.shim)
    {
        tracing::warn!(lease = %plan.order.lease.id, %error, "its container may be left");
    }
}

/// Lets the shim go, and keeps the logs.
fn forget(folder: &Folder, end: &LeaseEnd) {
    let shim = ShimClient::connect(folder.path()).and_then(|mut shim| {
        shim.hello()?;
        shim.forget()
    });
    match shim {
        Ok(()) | Err(ShimError::Gone { .. }) => {}
        Err(error) => tracing::warn!(%error, "a shim whose lease is over does not go"),
    }
    if let Err(error) = folder.close(end) {
        let folder = folder.path().display();
        tracing::warn!(%folder, %error, "what is left of a lease cannot be removed");
    }
}

/// Looks after MPS's control daemons until dropped.
pub(crate) async fn keep_daemons(spatial: Spatial, news: mpsc::Sender<News>) {
    loop {
        tokio::time::sleep(DAEMONS_PERIOD).await;
        if spatial.is_idle() {
            continue;
        }
        let looked = spatial.clone();
        let ended = blocking(move || looked.tick(Micros(boot_micros()))).await;
        for (lease, why) in ended.into_iter().flatten() {
            // A loop that is gone hears nothing, and needs nothing.
            let _ = news.send(News { lease, what: What::Groundless(why) }).await;
        }
    }
}

/// How long a lease has run by the boot clock.
pub(crate) fn ran_since(started: Micros) -> Micros {
    Micros(boot_micros().saturating_sub(started.0))
}
