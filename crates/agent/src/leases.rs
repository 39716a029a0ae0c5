//! One lease's life on this node, from its order to the moment the server has noted its end.
//!
//! Each lease is one task of the runtime. It talks to the lease's shim and tells the node's loop
//! what became of it; the loop tells it what the server wants. When the loop is gone the task ends
//! and touches nothing: the shim goes on by itself.

use crate::cards::{Cards, Clearing};
use crate::clients::{Client, Clients};
use crate::folder::Folder;
use crate::known::take_terms;
use crate::paths::StatePaths;
use crate::prepare::{self, Live, Stands, Unreached};
use crate::runner::{
    Account, RUNTIME_FAILED, container_failed, container_refusal, remove_container,
};
use crate::sample::{sample, takes_turns, within};
use crate::shim::{
    ShimClient, ShimError, ShimPhase, ShimState, boot_micros, read_plan, read_status,
};
use crate::spatial::Spatial;
use crate::spatial::units::Masks;
use crate::watchman::{Ward, Watchman};
use crate::{AgentOptions, arbiter::ArbiterHandle};
use polder_devices::{CLEAR_LIMIT, PROBE_SUBCOMMAND, clear_in_child};
use polder_model::{
    DeviceId, Finding, Health, Inventory, Lease, LeaseEnd, LeaseId, LeaseOrder, LeaseSample,
    Micros, Outcome, Phase, Stdio, StopReason,
};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;

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

/// A lease under its shim.
struct Running {
    room: Arc<Room>,
    live: Live,
    told: Option<Phase>,
    /// When its program started, on the boot clock.
    started: Option<Micros>,
    /// The start that was ordered, until it is under way.
    wanted: Option<Wanted>,
    /// A request was not answered.
    out_of_reach: bool,
}

/// A start that was ordered.
struct Wanted {
    master: Option<String>,
    /// Until when its client may come.
    until: Instant,
}

/// What a lease waits for.
enum Step {
    Command(Option<Command>),
    State(Option<Box<ShimState>>),
    Client(Option<Client>),
}

impl Running {
    fn new(room: Arc<Room>, live: Live) -> Self {
        Self { room, live, told: None, started: None, wanted: None, out_of_reach: false }
    }

    fn lease(&self) -> LeaseId {
        self.live.plan.order.lease.id
    }

    /// To the end, or until its shim is out of reach; `None` when the loop is gone first.
    async fn run(mut self, commands: &mut mpsc::Receiver<Command>) -> Option<Stands> {
        self.be_watched();
        let mut state = Some(self.live.state.clone());
        loop {
            if let Some(state) = state
                && let Some(end) = self.take(state).await
            {
                return Some(Stands::Over(end));
            }
            state = match self.step(commands).await {
                Step::Command(None) => return None,
                Step::Command(Some(command)) => self.obey(command).await,
                Step::Client(client) => self.start_for(client).await,
                Step::State(Some(state)) => Some(*state),
                Step::State(None) => return Some(self.recover().await),
            };
            if self.out_of_reach {
                return Some(self.recover().await);
            }
        }
    }

    fn be_watched(&self) {
        let Live { plan, folder, state, evidence, .. } = &self.live;
        let inventory = self.room.inventory.borrow().clone();
        let folder = folder.path().to_owned();
        let ward = Ward::new(plan, folder, evidence.clone(), &inventory, state);
        self.room.watchman.watch(self.lease(), ward);
    }

    fn runs(&self) -> bool {
        matches!(self.told, Some(Phase::Started | Phase::Stopping))
    }

    async fn step(&mut self, commands: &mut mpsc::Receiver<Command>) -> Step {
        let room = Arc::clone(&self.room);
        let order = &self.live.plan.order;
        let (job, user) = (order.lease.job, order.lease.user.clone());
        let wanted = self.wanted.as_ref().map(|wanted| wanted.until);
        // A client whose agent died in the very moment of the start comes again to ask for it.
        let runs = self.runs();
        let client = async {
            if order.work.stdio != Stdio::Client || !(runs || wanted.is_some()) {
                return std::future::pending().await;
            }
            let owner = blocking(move || Account::find(user.as_str())).await;
            let owner = owner.and_then(Result::ok).map(|account| account.uid);
            let own = rustix::process::geteuid().as_raw();
            let may = move |uid| uid == 0 || uid == own || Some(uid) == owner;
            let client = room.clients.take(job, may);
            match wanted {
                Some(until) => tokio::time::timeout_at(until, client).await.ok(),
                None => Some(client.await),
            }
        };
        tokio::select! {
            command = commands.recv() => Step::Command(command),
            state = self.live.watched.next() => Step::State(state.map(Box::new)),
            client = client => Step::Client(client),
        }
    }

    async fn obey(&mut self, command: Command) -> Option<ShimState> {
        match command {
            Command::Forget => None,
            Command::Start { .. } if self.runs() => None,
            Command::Start { master } => {
                self.wanted =
                    Some(Wanted { master, until: Instant::now() + self.room.options.client_wait });
                if self.live.plan.order.work.stdio == Stdio::Client {
                    return None; // `step` waits for the client from now on
                }
                self.start(None).await
            }
            Command::Resize { to } => {
                self.resize(&to).await;
                None
            }
            Command::Stop { outcome, grace } => {
                self.wanted = None;
                self.stop(outcome, grace).await
            }
        }
    }

    /// Gives the lease other terms: its pages say so at once, and its turns from the next on.
    async fn resize(&mut self, to: &Lease) {
        take_terms(&mut self.live.plan.order.lease, to);
        let (room, folder) = (Arc::clone(&self.room), self.live.folder.clone());
        let (plan, metered) = (self.live.plan.clone(), self.live.metered);
        let resizes = plan.order.lease.resizes;
        let done = blocking(move || prepare::resize(&room, &folder, &plan, metered)).await;
        if done == Some(true) {
            tell(&self.room, self.lease(), What::Resized(resizes)).await;
        }
    }

    /// Starts the task, on a client's descriptors if it has one.
    async fn start(&mut self, client: Option<&Client>) -> Option<ShimState> {
        let master = self.wanted.take()?.master;
        let terminal = client.is_some_and(|client| client.terminal);
        let copies = client.map(|client| Ok((copy_stdio(client)?, client.inherited.try_clone()?)));
        let (stdio, inherited) = match copies.transpose() {
            Ok(copies) => copies.unzip(),
            Err::<_, std::io::Error>(error) => {
                let why = format!("the client's descriptors cannot be handed on: {error}");
                return self.stop(Outcome::NotStarted { why }, Micros(0)).await;
            }
        };
        let started = self
            .ask(move |shim| {
                let fds = stdio.as_ref().map(|fds| fds.each_ref().map(AsFd::as_fd));
                shim.lend(&inherited.unwrap_or_default())?;
                shim.start(master, terminal, fds)
            })
            .await;
        match started {
            Err(ShimError::Refused { why, .. }) => {
                self.stop(Outcome::NotStarted { why }, Micros(0)).await
            }
            other => self.heard(other),
        }
    }

    async fn start_for(&mut self, client: Option<Client>) -> Option<ShimState> {
        let Some(client) = client else {
            self.wanted = None;
            let why = format!(
                "no client brought its descriptors within {} s: is `polder run` still there?",
                self.room.options.client_wait.as_secs()
            );
            return self.stop(Outcome::NotStarted { why }, Micros(0)).await;
        };
        // Of a task that runs already, the client only wants to know where.
        let state = match self.wanted {
            Some(_) => self.start(Some(&client)).await,
            None => None,
        };
        // Also a program that could not be started is the shim's to tell of.
        client.launched(self.lease(), self.live.folder.path());
        state
    }

    async fn stop(&mut self, outcome: Outcome, grace: Micros) -> Option<ShimState> {
        let stopped = self.ask(move |shim| shim.stop(grace, outcome)).await;
        self.heard(stopped)
    }

    /// One request on a connection of its own: none waits behind another.
    async fn ask(
        &self,
        request: impl FnOnce(&mut ShimClient) -> Result<ShimState, ShimError> + Send + 'static,
    ) -> Result<ShimState, ShimError> {
        let folder = self.live.folder.clone();
        let dir = folder.path().to_owned();
        let asked = blocking(move || {
            let mut shim = ShimClient::connect(folder.path())?;
            shim.hello()?;
            request(&mut shim)
        });
        let broke_off = || Err(ShimError::Refused { dir, why: BROKE_OFF.to_owned() });
        asked.await.unwrap_or_else(broke_off)
    }

    fn heard(&mut self, answer: Result<ShimState, ShimError>) -> Option<ShimState> {
        match answer {
            Ok(state) => Some(state),
            Err(error) => {
                tracing::warn!(lease = %self.lease(), %error, "asking a shim");
                self.out_of_reach |= !matches!(error, ShimError::Refused { .. });
                None
            }
        }
    }

    /// Takes a state in. Returns the end when it is one.
    async fn take(&mut self, state: ShimState) -> Option<LeaseEnd> {
        self.room.watchman.hear(self.lease(), &state);
        let phase = state.node_phase();
        let started = match state.phase {
            ShimPhase::Ended { end } => return Some(self.close(end).await),
            ShimPhase::Started { boot_micros, .. } | ShimPhase::Stopping { boot_micros, .. } => {
                Some(Micros(boot_micros))
            }
            ShimPhase::Prepared { .. } => None,
        };
        self.started = self.started.or(started);
        // Only a change is news; a state also comes when a process attaches.
        if self.told.as_ref() != Some(&phase) {
            self.told = Some(phase.clone());
            tell(&self.room, self.lease(), What::Phase { phase, started }).await;
        }
        None
    }

    /// The shim is gone without a word, or does not answer any more.
    async fn recover(self) -> Stands {
        self.room.watchman.forget(self.lease());
        let folder = self.live.folder.clone();
        match blocking(move || prepare::end_without_shim(&folder)).await.flatten() {
            Some(end) => Stands::Over(self.close(end).await),
            None => {
                if self.live.metered {
                    let (arbiter, lease) = (self.room.arbiter.clone(), self.lease());
                    blocking(move || arbiter.remove(lease)).await;
                }
                tell(&self.room, self.lease(), What::Unreached).await;
                Stands::Unreached(Box::new(Unreached::lost_touch(self.live)))
            }
        }
    }

    /// The exit code of a container whose program did not end with this one, and a word where the runtime failed.
    async fn refused(&self, code: i32, ran: Micros) -> Option<i32> {
        let (plan, dir) = (self.live.plan.clone(), self.live.folder.path().to_owned());
        let shim = self.live.state.shim;
        let look = move || container_refusal(&plan, (&dir, shim), (code, ran));
        let code = blocking(look).await.flatten();
        if code == Some(RUNTIME_FAILED) {
            tell(&self.room, self.lease(), What::Found(container_failed(&self.live.plan))).await;
        }
        code
    }

    /// The end with the last figures: the arbiter's where it counted.
    async fn close(&self, mut end: LeaseEnd) -> LeaseEnd {
        self.room.watchman.forget(self.lease());
        // A program may end with some codes, and so does what starts one in a container when it cannot.
        if let Outcome::Failed { code } = end.outcome
            && let Some(code) = self.refused(code, end.ran).await
        {
            end.outcome = Outcome::Failed { code };
        }
        let lease = &self.live.plan.order.lease;
        if self.live.metered {
            let (arbiter, id) = (self.room.arbiter.clone(), lease.id);
            if let Some(last) = blocking(move || arbiter.remove(id)).await.flatten() {
                let memory_kills = end.sample.memory_kills;
                // What its main process left behind lived longer than that ran.
                let lived = self.started.map_or(end.ran, ran_since).max(end.ran);
                let last = within(last, lived);
                let shims = std::mem::replace(
                    &mut end.sample,
                    LeaseSample { processes: 0, memory_kills, ..last },
                );
                end.sample.raise_to(&shims);
            }
        } else if !takes_turns(lease) {
            let memory_kills = end.sample.memory_kills;
            end.sample = LeaseSample { memory_kills, ..sample(lease, None, end.ran) };
        }
        end
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

fn copy_stdio(client: &Client) -> std::io::Result<[std::os::fd::OwnedFd; 3]> {
    let [input, output, error] = &client.stdio;
    Ok([input.try_clone()?, output.try_clone()?, error.try_clone()?])
}

/// How long a lease has run by the boot clock.
pub(crate) fn ran_since(started: Micros) -> Micros {
    Micros(boot_micros().saturating_sub(started.0))
}
