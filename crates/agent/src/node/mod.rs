//! The node's loop: one task that knows every lease, calls the server, and tells the leases what
//! the server wants.

mod open;

use crate::AgentError;
use crate::backing::Offering;
use crate::cards::{self, ProgramFault};
use crate::contact::Contact;
use crate::folder;
use crate::known::Known;
use crate::leases::{self, COMMANDS_MAX, Command, News, Room, What, never_ran, outcome_of};
use crate::memory::{Memory, Verdict};
use crate::pace::{Pace, Went};
use crate::prepare::Stands;
use crate::reconcile::{Action, Held, reconcile};
use crate::shim::boot_micros;
use crate::sync::{self, SyncError};
use polder_model::{
    Inventory, Lease, LeaseEnd, LeaseId, LeaseOrder, Micros, Outcome, Phase, SYNC_PROTOCOL,
    SyncRefusal, SyncRequest, SyncResponse,
};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

/// How much longer than the server may hold a call it may take before it is given up.
const CALL_SLACK: Duration = Duration::from_secs(20);
/// Most calls that have not come back at one time; the oldest is given up beyond it.
const CALLS_MAX: usize = 8;
/// How often samples are taken, contact is checked and logs are pruned.
const TICK: Duration = Duration::from_secs(1);
/// Logs are pruned once so many leases have been forgotten since.
const PRUNE_EVERY: u32 = 100;
/// How long calls fail before it is said: a server that restarts is back sooner.
const COMPLAIN_AFTER: Duration = Duration::from_secs(2);

/// A call that has come back.
struct Back {
    sequence: u64,
    /// When it was sent, on the boot clock.
    sent: Micros,
    with_inventory: bool,
    answer: Result<SyncResponse, SyncError>,
}

/// The loop's state.
pub(crate) struct Node {
    room: Arc<Room>,
    memory: Memory,
    known: BTreeMap<LeaseId, Known>,
    news: mpsc::Receiver<News>,
    /// Faults of programs on cards.
    faults: mpsc::Receiver<ProgramFault>,
    inventory: watch::Receiver<Arc<Inventory>>,
    inventory_told: bool,
    /// The host memory that is offered to stand behind devices.
    offering: Offering,
    /// Says whether leases have cards that are to be watched.
    watching: watch::Sender<bool>,
    doubt: Arc<Notify>,
    sequence: u64,
    calls: JoinSet<Back>,
    in_flight: Vec<tokio::task::AbortHandle>,
    pace: Pace,
    born: Instant,
    /// Up to when the server is known to have heard from here.
    contact: Contact,
    complaint: String,
    /// When calls began to fail, if the last one did.
    failing_since: Option<Instant>,
    forgotten: u32,
    /// Everything that ends with the loop.
    _helpers: JoinSet<()>,
}

impl Node {
    /// Notes a lease as held here; returns where it hears its commands.
    fn hold(
        &mut self,
        lease: LeaseId,
        order: Option<&LeaseOrder>,
        phase: Phase,
    ) -> mpsc::Receiver<Command> {
        let (commands, heard) = mpsc::channel(COMMANDS_MAX);
        let held = Held {
            start: matches!(phase, Phase::Started | Phase::Stopping),
            stop: false,
            ended: matches!(phase, Phase::Ended { .. }),
        };
        let known = Known {
            held,
            phase,
            started: None,
            sample: None,
            findings: Vec::new(),
            lease: order.map(|order| order.lease.clone()),
            resized: order.map_or(0, |order| order.lease.resizes),
            in_force: 0,
            resize: None,
            grace: order.map_or(Micros(0), |order| order.grace),
            noted: false,
            commands,
        };
        if let Some(lease) = known.lease.as_ref().filter(|_| !known.held.ended) {
            self.room.clearing.join(lease.id, &lease.slices);
        }
        self.known.insert(lease, known);
        self.watch_cards();
        heard
    }

    /// Runs until `shutdown`, or until a newer agent of this node is at work.
    pub(crate) async fn run(
        mut self,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), AgentError> {
        tokio::pin!(shutdown);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.pace.due().map(|due| self.born + due);
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                Some(back) = self.calls.join_next() => self.came_back(back)?,
                Some(news) = self.news.recv() => self.heard(news),
                Some(fault) = self.faults.recv() => self.faulted(&fault),
                Ok(()) = self.inventory.changed() => {
                    self.inventory_told = false;
                    self.pace.news();
                }
                _ = tick.tick() => self.tick(),
                () = sleep_until(due), if due.is_some() => self.call(),
            }
        }
    }

    /// Sends everything that is known here.
    fn call(&mut self) {
        self.sequence += 1;
        let with_inventory = !self.inventory_told;
        let inventory = with_inventory.then(|| {
            let mut now = Inventory::clone(&self.inventory.borrow_and_update());
            now.node.backing = now.node.backing.min(self.offering.now());
            now
        });
        let told = self.known.iter().filter(|(_, known)| !known.noted);
        let leases = told.map(|(lease, known)| known.report(*lease)).collect();
        let request = SyncRequest {
            protocol: SYNC_PROTOCOL,
            node: self.room.options.node.clone(),
            incarnation: self.memory.incarnation(),
            sequence: self.sequence,
            seen: self.memory.seen(),
            inventory,
            leases,
            wait: self.wait(),
        };
        let (sequence, sent) = (self.sequence, Micros(boot_micros()));
        let socket = self.room.paths.server_socket();
        let limit = request.wait.to_duration() + CALL_SLACK;
        self.in_flight.retain(|call| !call.is_finished());
        if self.in_flight.len() >= CALLS_MAX {
            self.in_flight.remove(0).abort();
        }
        let call = self.calls.spawn(async move {
            let called = tokio::time::timeout(limit, sync::call(&socket, &request)).await;
            let answer = called.unwrap_or_else(|_| Err(SyncError::Late { socket, limit }));
            Back { sequence, sent, with_inventory, answer }
        });
        self.in_flight.push(call);
        self.pace.called(self.born.elapsed());
    }

    /// How long the server may hold a call: well below every contact limit.
    fn wait(&mut self) -> Micros {
        let limits = self.known.values().filter_map(|known| known.lease.as_ref());
        let shortest = limits.map(|lease| lease.contact_limit).min();
        self.contact.hold(Micros(boot_micros()), shortest)
    }

    fn came_back(&mut self, back: Result<Back, tokio::task::JoinError>) -> Result<(), AgentError> {
        // Calls that are given up were overtaken by others.
        let Ok(Back { sequence, sent, with_inventory, answer }) = back else { return Ok(()) };
        let newest = sequence == self.sequence;
        let went = match answer {
            Ok(answer) => {
                self.pace.heard();
                self.contact.answered(Micros(boot_micros()));
                self.failing_since = None;
                // An inventory that has changed since is sent again by the mark of its change.
                self.inventory_told |= with_inventory && newest;
                self.obey(&answer, sent)
            }
            Err(SyncError::Refused(SyncRefusal::Superseded)) if !newest => return Ok(()),
            Err(SyncError::Refused(refusal @ SyncRefusal::OldIncarnation { .. })) => {
                return Err(AgentError::Refused(refusal));
            }
            Err(error) if !newest => {
                tracing::debug!(%error, "an overtaken call failed");
                return Ok(());
            }
            Err(error) => match error {
                SyncError::Refused(SyncRefusal::Protocol { .. }) => {
                    self.complain(error.to_string());
                    Went::Refused
                }
                _ => {
                    let since = *self.failing_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= COMPLAIN_AFTER {
                        self.complain(error.to_string());
                    }
                    Went::Failed
                }
            },
        };
        if newest {
            self.pace.over(self.born.elapsed(), went, random());
        }
        Ok(())
    }

    /// Says what is wrong, once.
    fn complain(&mut self, complaint: String) {
        if self.complaint != complaint {
            tracing::error!("{complaint}; the leases here are kept");
            self.complaint = complaint;
        }
    }

    fn obey(&mut self, answer: &SyncResponse, sent: Micros) -> Went {
        match self.memory.judge(answer) {
            Ok(Verdict::Obey) => {}
            // What cannot be remembered is not acted on; a full disk may have room again.
            Err(error) => {
                self.complain(error.to_string());
                return Went::Failed;
            }
            Ok(Verdict::Older) => {
                tracing::debug!(version = ?answer.version, "an older answer is passed over");
                let restored = format!(
                    "the server answers with an older state than it once gave (epoch {}; this \
                     agent obeys {}): was it restored from a backup?",
                    answer.version.epoch, self.memory
                );
                if self.memory.is_newer_epoch_than(&answer.version) {
                    self.complain(restored);
                    return Went::Failed;
                }
                return Went::Answered;
            }
            Ok(Verdict::Foreign) => {
                self.complain(format!(
                    "the server at {} belongs to pool {}, and this node to {}: nothing is ended \
                     here; to move the node, end its tasks and remove {}",
                    self.room.paths.server_socket().display(),
                    answer.version.pool,
                    self.memory,
                    self.room.paths.memory().display()
                ));
                return Went::Refused;
            }
        }
        self.complaint.clear();
        self.contact.heard(sent);
        let held = self.known.iter().map(|(lease, known)| (*lease, known.held)).collect();
        let known = &self.known;
        let differs = |to: &Lease| known.get(&to.id).is_some_and(|known| known.differs(to));
        for action in reconcile(&held, differs, answer) {
            self.act(action);
        }
        Went::Answered
    }

    fn act(&mut self, action: Action<'_>) {
        match action {
            Action::Prepare(order) => {
                let lease = order.lease.id;
                let commands = self.hold(lease, Some(order), Phase::Preparing);
                let order = Box::new(order.clone());
                tokio::spawn(leases::begin(Arc::clone(&self.room), order, commands));
                self.pace.news();
            }
            Action::Start(order) => {
                let lease = order.lease.id;
                self.command(lease, Command::Start { master: order.gang.master.clone() });
                if let Some(known) = self.known.get_mut(&lease) {
                    known.held.start = true;
                }
            }
            Action::Resize(order) => {
                if let Some(known) = self.known.get_mut(&order.lease.id) {
                    known.resize = Some(Box::new(order.lease.clone()));
                    known.resize();
                }
            }
            Action::Stop(tombstone) => {
                self.stop(tombstone.lease, outcome_of(&tombstone.why), tombstone.grace);
            }
            Action::Bury(tombstone) => {
                self.over(tombstone.lease, never_ran(outcome_of(&tombstone.why)));
            }
            Action::Missing(order) => {
                let lease = order.lease.id;
                tracing::error!(%lease, "the server believes this lease here, and nothing is \
                    known of it: reported as lost");
                let why = "the node has lost its record of this lease".to_owned();
                self.over(lease, never_ran(Outcome::Lost { why }));
            }
            Action::Forget(lease) => {
                self.command(lease, Command::Forget);
                if let Some(known) = self.known.get_mut(&lease) {
                    known.noted = true;
                }
            }
        }
    }

    /// Holds a lease only to report its end.
    fn over(&mut self, lease: LeaseId, end: LeaseEnd) {
        let commands = self.hold(lease, None, Phase::Ended { end: end.clone() });
        let stands = Stands::Over(end);
        tokio::spawn(leases::follow(Arc::clone(&self.room), lease, stands, commands));
        self.pace.news();
    }

    fn stop(&mut self, lease: LeaseId, outcome: Outcome, grace: Micros) {
        self.command(lease, Command::Stop { outcome, grace });
        if let Some(known) = self.known.get_mut(&lease) {
            known.held.stop = true;
        }
    }

    fn command(&mut self, lease: LeaseId, command: Command) {
        let Some(known) = self.known.get(&lease) else { return };
        if let Err(error) = known.commands.try_send(command) {
            // Each kind of command is given once or twice, so the room suffices; a lease whose
            // task is gone has ended.
            tracing::debug!(%lease, %error, "a command is not heard");
        }
    }

    /// A lease has something to tell; all that wait are heard before the next call.
    fn heard(&mut self, first: News) {
        let mut next = Some(first);
        while let Some(News { lease, what }) = next {
            match what {
                What::Forgotten => {
                    self.known.remove(&lease);
                    self.forgotten += 1;
                }
                What::Unreached => {
                    if let Some(known) = self.known.get_mut(&lease) {
                        // The next answer tells it again; a start that was heard is not repeated.
                        known.held = Held { ended: known.held.ended, ..Held::NEW };
                    }
                }
                What::Resized(resizes) => {
                    let known = self.known.get_mut(&lease);
                    if known.is_some_and(|known| {
                        known.resized = resizes;
                        known.settle(lease, &self.room.arbiter)
                    }) {
                        self.pace.news();
                    }
                }
                What::Found(finding) => {
                    let known = self.known.get_mut(&lease);
                    if known.is_some_and(|known| known.found(finding.clone())) {
                        tracing::warn!("{}", finding.line(lease));
                        self.pace.news();
                    }
                }
                What::Groundless(why) => {
                    tracing::error!(%lease, why, "the lease is ended");
                    let grace = self.known.get(&lease).map_or(Micros(0), |known| known.grace);
                    self.stop(lease, Outcome::Lost { why }, grace);
                }
                What::Phase { phase, started } => self.came_to(lease, phase, started),
            }
            next = self.news.try_recv().ok();
        }
    }

    /// A program had a fault of its own on a card: whose it is, is known where one lease has the card.
    fn faulted(&mut self, fault: &ProgramFault) {
        if let Some(lease) = cards::alone_on(&fault.device, self.live()).map(|lease| lease.id) {
            self.heard(News { lease, what: What::Found(fault.finding()) });
        }
    }

    fn came_to(&mut self, lease: LeaseId, phase: Phase, started: Option<Micros>) {
        let Some(known) = self.known.get_mut(&lease) else { return };
        if let Phase::Ended { end } = &phase {
            known.held.ended = true;
            known.sample = None;
            let failed = matches!(end.outcome, Outcome::Failed { .. } | Outcome::Signalled { .. });
            if failed && known.may_have_lost_a_device(&self.inventory.borrow()) {
                self.doubt.notify_one();
            }
        }
        known.started = started.or(known.started);
        if known.phase != phase {
            known.phase = phase;
            self.pace.news();
        }
    }

    /// The leases that have not ended, as far as they are known.
    fn live(&self) -> impl Iterator<Item = &Lease> {
        let live = self.known.values().filter(|known| !known.held.ended);
        live.filter_map(|known| known.lease.as_ref())
    }

    /// Looks how much host memory can be put behind devices, and tells the server when that changes.
    fn offer(&mut self) {
        let memory = self.inventory.borrow().node.memory;
        let live = self.known.values().filter(|known| !known.held.ended);
        if self.offering.look(memory, live.filter_map(|known| known.lease.as_ref())) {
            self.inventory_told = false;
            self.pace.news();
        }
    }

    /// Says whether cards are to be watched.
    fn watch_cards(&self) {
        let wanted = cards::are_leased(&self.inventory.borrow(), self.live());
        self.watching.send_if_modified(|known| std::mem::replace(known, wanted) != wanted);
    }

    fn tick(&mut self) {
        let now = Micros(boot_micros());
        let mut changed = false;
        let cards = Arc::clone(&self.room.cards.borrow());
        for (lease, known) in &mut self.known {
            known.resize();
            let mut fresh = known.sample_now(*lease, &self.room.arbiter);
            for device in fresh.iter_mut().flat_map(|sample| &mut sample.devices) {
                device.throttle = cards::throttle_of(&cards, &device.device);
            }
            changed |= known.settle(*lease, &self.room.arbiter) | (fresh != known.sample);
            known.sample = fresh;
        }
        if changed {
            self.pace.news();
        }
        self.offer();
        self.watch_cards();
        let silence = self.contact.look(now);
        if self.contact.is_unasked() {
            tracing::info!(
                "this node did not run for a while: it asks its server where things stand"
            );
            self.pace.news();
        }
        let cut_off: Vec<_> = self
            .known
            .iter()
            .filter_map(|(lease, known)| Some((*lease, known.cut_off(silence)?)))
            .collect();
        for (lease, (outcome, grace)) in cut_off {
            tracing::error!(%lease, %silence, "no contact with the server: the lease is ended");
            self.stop(lease, outcome, grace);
        }
        if self.forgotten >= PRUNE_EVERY {
            self.forgotten = 0;
            let paths = self.room.paths.clone();
            tokio::task::spawn_blocking(move || {
                if let Err(error) = folder::prune(&paths) {
                    tracing::warn!(%error, "old logs cannot be removed");
                }
            });
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due).await;
    }
}

/// A number that differs between agents and calls; nothing depends on its quality.
fn random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}
