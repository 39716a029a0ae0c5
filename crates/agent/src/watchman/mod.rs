//! Finds who breaks the rules: processes that use a device without a slot of their lease, and pages
//! that contradict the kernel.
//!
//! **Invariants.** What breaks a rule for as long as two looks take is reported within two seconds.
//! Nobody is blamed for what one look showed, or for what the lease's shim, asked afterwards, can
//! account for. Only a process that was held by a pidfd through all of this is ended, so none that
//! has taken over its number. A look costs a few microseconds for each process of a lease, and
//! nothing while no lease is watched.
//!
//! On NVIDIA's cards the driver's own list of processes is evidence too: a process on it that has no slot
//! of any lease is found, whether it is a lease's or nobody's.
//!
//! What belongs to a lease is what is in its cgroup, descends from its shim, or shares the task's
//! mount namespace. A program with the vendor's library linked into itself, or one that has a slot
//! and calls the vendor behind Polder's back, is not seen here: `docs/isolation.md`.

mod driver;
mod look;
mod maps;
mod page;
mod turns;

use crate::cards::Cards;
use crate::leases::{News, What, blocking};
use crate::prepare::EvidencePages;
use crate::runner::{has_no_device, intercepts_opencl};
use crate::shim::{Attached, Plan, ShimPhase, ShimState};
use look::Looker;
use polder_model::{Address, DeviceKind, Enforcement, Inventory, LeaseId, Mechanism};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, mpsc};

/// Between two looks: four of them fit into the two seconds within which everything is found.
pub(crate) const LOOK_PERIOD: Duration = Duration::from_millis(400);

/// A lease that is watched.
#[derive(Debug)]
pub(crate) struct Ward {
    folder: PathBuf,
    /// What nobody without a slot may use: stems of the vendors' libraries. Empty: nobody is looked
    /// for.
    libraries: Vec<String>,
    /// NVIDIA's cards of which it has a share: by UUID.
    cards: Vec<String>,
    /// Its devices are the host's processor.
    on_cpu: bool,
    pages: Option<Arc<EvidencePages>>,
    shim: u32,
    main: Option<u32>,
    cgroups: Vec<PathBuf>,
    attached: Vec<Attached>,
}

impl Ward {
    /// What is watched of a lease. `inventory` names the node's devices.
    pub(crate) fn new(
        plan: &Plan,
        folder: PathBuf,
        pages: Option<Arc<EvidencePages>>,
        inventory: &Inventory,
        state: &ShimState,
    ) -> Self {
        let slices = &plan.order.lease.slices;
        let own = |kind| {
            slices.iter().any(|slice| {
                inventory.devices.iter().any(|it| it.id == slice.device && it.kind == kind)
            })
        };
        // Where Polder's driver stands in for the vendors', or no device is to be found.
        let guarded = intercepts_opencl(plan) || has_no_device(plan);
        let libraries = if guarded { libraries(plan, inventory) } else { Vec::new() };
        let on_cpu = own(DeviceKind::Cpu) && !own(DeviceKind::Gpu) && !own(DeviceKind::Accelerator);
        let shared = slices.iter().filter(|slice| slice.mechanism == Mechanism::TimeSlice);
        let ids = shared.map(|slice| slice.device.to_string());
        let cards = ids.filter(|id| id.starts_with("GPU-")).collect();
        let mut ward = Self {
            folder,
            libraries,
            cards,
            on_cpu,
            pages,
            shim: 0,
            main: None,
            cgroups: Vec::new(),
            attached: Vec::new(),
        };
        ward.hear(state);
        ward
    }

    fn hear(&mut self, state: &ShimState) {
        self.shim = state.shim;
        self.cgroups.clone_from(&state.cgroups);
        self.attached.clone_from(&state.attached);
        self.main = match state.phase {
            ShimPhase::Started { pid, .. } | ShimPhase::Stopping { pid, .. } => Some(pid),
            ShimPhase::Prepared { .. } | ShimPhase::Ended { .. } => None,
        };
    }
}

/// The wall clock, microseconds since 1970. Only told: no lease's fate depends on it.
fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// The vendors' libraries of the node's devices and of the lease's own, by stem.
fn libraries(plan: &Plan, inventory: &Inventory) -> Vec<String> {
    let addresses = inventory.devices.iter().map(|device| &device.address).chain(&plan.addresses);
    let names = addresses.filter_map(|address| match address {
        Address::Opencl { library, .. } => maps::stem(library),
        Address::Nvml { .. } | Address::Simulated => None,
    });
    let mut stems: Vec<String> = names.map(str::to_owned).collect();
    stems.sort_unstable();
    stems.dedup();
    stems
}

/// Watches the leases of one node.
#[derive(Debug, Clone)]
pub(crate) struct Watchman {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    wards: Mutex<BTreeMap<LeaseId, Ward>>,
    arrival: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<LeaseId, Ward>> {
        // No code panics while it holds the lock; the map is whole in any case.
        self.wards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watchman {
    /// One that watches nobody yet.
    pub(crate) fn new() -> Self {
        Self { shared: Arc::default() }
    }

    /// Watches a lease from now on.
    pub(crate) fn watch(&self, lease: LeaseId, ward: Ward) {
        self.shared.lock().insert(lease, ward);
        self.shared.arrival.notify_one();
    }

    /// A lease's shim has told its state.
    pub(crate) fn hear(&self, lease: LeaseId, state: &ShimState) {
        if let Some(ward) = self.shared.lock().get_mut(&lease) {
            ward.hear(state);
        }
    }

    /// Watches a lease no more.
    pub(crate) fn forget(&self, lease: LeaseId) {
        self.shared.lock().remove(&lease);
    }

    /// Looks until dropped, and tells what it finds.
    pub(crate) async fn keep_looking(
        self,
        enforcement: Enforcement,
        cards: Cards,
        news: mpsc::Sender<News>,
    ) {
        if enforcement == Enforcement::Off {
            return;
        }
        let mut looker = Some(Looker::new(enforcement));
        loop {
            if self.shared.lock().is_empty() {
                self.shared.arrival.notified().await;
            }
            tokio::time::sleep(LOOK_PERIOD).await;
            let mut at_work = looker.take().unwrap_or_else(|| Looker::new(enforcement));
            let shared = Arc::clone(&self.shared);
            let cards = Arc::clone(&cards.borrow());
            let looked = blocking(move || {
                // For whoever wants to know how often it is looked: microseconds since 1970.
                tracing::trace!(at = now_micros(), "a look begins");
                let found = at_work.look(|| look::subjects(&shared.lock()), &cards);
                (at_work, found)
            });
            // One that broke off begins anew, and reports again what it has forgotten.
            let Some((back, found)) = looked.await else { continue };
            looker = Some(back);
            for (lease, finding) in found {
                // A loop that is gone hears nothing, and needs nothing.
                let _ = news.send(News { lease, what: What::Found(finding) }).await;
            }
        }
    }
}
