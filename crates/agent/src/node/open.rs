//! A node's beginning: its devices looked at, its helpers started, the leases of an earlier agent found.

use super::{Node, PRUNE_EVERY};
use crate::backing::Offering;
use crate::cards::{self, Clearing, Ears, FAULTS_MAX, Failed};
use crate::clients::{self, Clients};
use crate::contact::Contact;
use crate::inventory;
use crate::leases::{self, Room};
use crate::memory::Memory;
use crate::pace::Pace;
use crate::paths::{StatePaths, lease_folders};
use crate::prepare::{self, Adopted, Stands};
use crate::shim::{boot_id, boot_micros};
use crate::spatial::Spatial;
use crate::spatial::units::Masks;
use crate::watchman::Watchman;
use crate::{AgentError, AgentOptions, arbiter::ArbiterHandle};
use polder_model::{Enforcement, LeaseId, Micros, Phase};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// News of leases that the loop has not heard yet; a lease waits beyond it.
const NEWS_MAX: usize = 1024;
/// Leases adopted at the same time at the start.
const ADOPTED_AT_ONCE: usize = 16;
/// Leases prepared at the same time: each begins a process.
const PREPARED_AT_ONCE: usize = 32;

impl Node {
    /// Makes everything ready: devices looked at, earlier leases found, sockets open.
    pub(crate) async fn open(options: AgentOptions) -> Result<Self, AgentError> {
        let options = Arc::new(options);
        let paths = StatePaths(options.state_dir.clone());
        let memory = Memory::open(&paths)?;
        let listener = clients::listen(&paths.agent_socket())
            .map_err(|source| AgentError::Socket { path: paths.agent_socket(), source })?;
        let boot = boot_id().map_err(|source| AgentError::Boot { source })?;
        let offer = prepare::offer(&paths, &options);
        let looked = {
            let (options, offer) = (Arc::clone(&options), offer.clone());
            leases::blocking(move || inventory::look(&options, &offer, None)).await
        };
        let found = looked.ok_or(AgentError::Broken { what: "looking at devices" })??;
        let (found, inventory) = watch::channel(Arc::new(found));
        let (news, heard) = mpsc::channel(NEWS_MAX);
        let clients = Arc::new(Clients::of_server(paths.server_socket()));
        let doubt = Arc::new(Notify::new());
        let mut helpers = JoinSet::new();
        helpers.spawn(Arc::clone(&clients).serve(listener));
        let failed = Failed::default();
        helpers.spawn(inventory::keep_looking(
            Arc::clone(&options),
            offer,
            found.clone(),
            Arc::clone(&doubt),
            failed.clone(),
        ));
        let (said, cards) = watch::channel(Arc::default());
        let (told, faults) = mpsc::channel(FAULTS_MAX);
        let arbiter = match options.enforcement {
            Enforcement::Off => ArbiterHandle::start_ungated()?,
            Enforcement::Strict | Enforcement::Permissive => ArbiterHandle::start()?,
        };
        let ears =
            Ears { inventory: found, failed, faults: told, cards: said, arbiter: arbiter.clone() };
        let (leased, wanted) = watch::channel(false);
        helpers.spawn(cards::keep_watching(Arc::clone(&options), ears, wanted));
        let watchman = Watchman::new();
        let watching = watchman.clone();
        helpers.spawn(watching.keep_looking(options.enforcement, cards.clone(), news.clone()));
        let program = options.mps_program.clone();
        let spatial = Spatial::with(program, paths.mps(), options.spatial_partitions);
        helpers.spawn(leases::keep_daemons(spatial.clone(), news.clone()));
        let inventory_of_room = inventory.clone();
        let backing = options.backing;
        let room = Room {
            options,
            paths,
            arbiter,
            watchman,
            spatial,
            masks: Masks::default(),
            cards,
            clearing: Clearing::default(),
            clients,
            inventory: inventory_of_room,
            boot,
            news,
            preparing: Semaphore::new(PREPARED_AT_ONCE),
        };
        let mut node = Self {
            room: Arc::new(room),
            memory,
            known: BTreeMap::new(),
            news: heard,
            faults,
            inventory,
            inventory_told: false,
            offering: Offering::new(backing),
            watching: leased,
            doubt,
            sequence: 0,
            calls: JoinSet::new(),
            in_flight: Vec::new(),
            pace: Pace::default(),
            born: Instant::now(),
            contact: Contact::new(Micros(boot_micros())),
            complaint: String::new(),
            failing_since: None,
            forgotten: PRUNE_EVERY,
            _helpers: helpers,
        };
        node.adopt_all().await?;
        let spatial = node.room.spatial.clone();
        let _ = leases::blocking(move || spatial.sweep()).await;
        node.offer();
        tracing::info!(
            node = %node.room.options.node, incarnation = node.memory.incarnation(),
            leases = node.known.len(), devices = node.inventory.borrow().devices.len(),
            obeys = %node.memory, "the agent is up"
        );
        Ok(node)
    }

    /// Finds every lease that an earlier agent held: all of them are in the first call.
    async fn adopt_all(&mut self) -> Result<(), AgentError> {
        let leases = lease_folders(&self.room.paths)
            .map_err(|source| AgentError::State { path: self.room.paths.leases(), source })?;
        let mut adopting = JoinSet::new();
        for lease in leases {
            if adopting.len() >= ADOPTED_AT_ONCE {
                self.adopted(adopting.join_next().await)?;
            }
            let room = Arc::clone(&self.room);
            adopting.spawn_blocking(move || (lease, prepare::adopt(&room, lease)));
        }
        while let Some(done) = adopting.join_next().await {
            self.adopted(Some(done))?;
        }
        Ok(())
    }

    fn adopted(
        &mut self,
        done: Option<Result<(LeaseId, Adopted), tokio::task::JoinError>>,
    ) -> Result<(), AgentError> {
        let (lease, adopted) = match done {
            Some(Ok(done)) => done,
            Some(Err(_)) => return Err(AgentError::Broken { what: "finding earlier leases" }),
            None => return Ok(()),
        };
        let (order, stands) = match adopted {
            Adopted::NotHeld => return Ok(()),
            Adopted::Held(order, stands) => (Some(order), *stands),
            Adopted::Unreadable(end) => (None, Stands::Over(end)),
        };
        let phase = match &stands {
            Stands::Live(live) => live.state.node_phase(),
            Stands::Over(end) => Phase::Ended { end: end.clone() },
            Stands::Unreached(unreached) => unreached.phase.clone(),
        };
        let commands = self.hold(lease, order.as_deref(), phase);
        tokio::spawn(leases::follow(Arc::clone(&self.room), lease, stands, commands));
        Ok(())
    }
}
