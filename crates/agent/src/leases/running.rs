//! A lease under its shim: what the loop and the shim say of it, until it is over or its shim is out of reach.

use super::{BROKE_OFF, Command, Room, What, blocking, ran_since, tell};
use crate::clients::Client;
use crate::known::take_terms;
use crate::prepare::{self, Live, Stands, Unreached};
use crate::runner::{Account, RUNTIME_FAILED, container_failed, container_refusal};
use crate::sample::{sample, takes_turns, within};
use crate::shim::{ShimClient, ShimError, ShimPhase, ShimState};
use crate::watchman::Ward;
use polder_model::{Lease, LeaseEnd, LeaseId, LeaseSample, Micros, Outcome, Phase, Stdio};
use std::os::fd::AsFd;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// A lease under its shim.
pub(super) struct Running {
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
    pub(super) fn new(room: Arc<Room>, live: Live) -> Self {
        Self { room, live, told: None, started: None, wanted: None, out_of_reach: false }
    }

    fn lease(&self) -> LeaseId {
        self.live.plan.order.lease.id
    }

    /// To the end, or until its shim is out of reach; `None` when the loop is gone first.
    pub(super) async fn run(mut self, commands: &mut mpsc::Receiver<Command>) -> Option<Stands> {
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

fn copy_stdio(client: &Client) -> std::io::Result<[std::os::fd::OwnedFd; 3]> {
    let [input, output, error] = &client.stdio;
    Ok([input.try_clone()?, output.try_clone()?, error.try_clone()?])
}
