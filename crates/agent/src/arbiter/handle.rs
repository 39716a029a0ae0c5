//! How the rest of the agent speaks with the arbiter's thread.

use super::core::IN_FLIGHT_NS;
use super::page::{Before, LeasePages, Share, Terms};
use super::thread::{self, Command};
use polder_ledger::{DEVICES_MAX, Mapped, PageError, Usage, monotonic_ns};
use polder_model::{DeviceId, LeaseId, LeaseSample};
use rustix::event::EventfdFlags;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use thiserror::Error;

/// Why the arbiter did not do what it was told.
#[derive(Debug, Error)]
pub enum ArbiterError {
    /// It could not be started, or a descriptor could not be had.
    #[error("arbiter: {what}: {source}")]
    Kernel {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// The lease's page could not be made.
    #[error("lease {lease}: {source}")]
    Page {
        /// Which lease.
        lease: LeaseId,
        /// Why.
        #[source]
        source: PageError,
    },
    /// It holds that lease already.
    #[error("lease {0} is in the arbiter already: remove it first")]
    Twice(LeaseId),
    /// It does not hold that lease.
    #[error("lease {0} is not in the arbiter: add it first")]
    Unknown(LeaseId),
    /// A lease without devices, with too many, or with one twice.
    #[error(
        "lease {lease} names {count} devices, {distinct} of them distinct: give it 1 to {DEVICES_MAX}, each once"
    )]
    Devices {
        /// Which lease.
        lease: LeaseId,
        /// How many were given.
        count: usize,
        /// How many different ones.
        distinct: usize,
    },
    /// A resize names other devices than the lease has.
    #[error("lease {0} cannot change its devices, only its share of them")]
    OtherDevices(LeaseId),
    /// Its thread is gone.
    #[error("the arbiter has stopped: restart the agent")]
    Stopped,
}

pub(super) fn kernel<E: Into<std::io::Error>>(what: &'static str) -> impl Fn(E) -> ArbiterError {
    move |error| ArbiterError::Kernel { what, source: error.into() }
}

/// The arbiter of this node. Clones speak with the same one; the last to go stops it.
#[derive(Debug, Clone)]
pub struct ArbiterHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    control: Arc<OwnedFd>,
    commands: Mutex<Sender<Command>>,
    leases: Mutex<BTreeMap<LeaseId, Arc<LeasePages>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A lock is only ever held for a few lines that cannot leave the value half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ArbiterHandle {
    /// Starts the arbiter's thread.
    ///
    /// # Errors
    /// [`ArbiterError::Kernel`].
    pub fn start() -> Result<Self, ArbiterError> {
        Self::start_with(0)
    }

    /// Starts one that holds nobody up: what leases use is still charged to them, as their drivers count
    /// it and as looks ten times a second show it.
    ///
    /// # Errors
    /// [`ArbiterError::Kernel`].
    pub fn start_ungated() -> Result<Self, ArbiterError> {
        Self::start_with(polder_ledger::gate::UNGATED)
    }

    /// `always` stands in every gate, whoever's turn it is.
    fn start_with(always: u32) -> Result<Self, ArbiterError> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let control =
            Arc::new(rustix::event::eventfd(0, flags).map_err(kernel("creating an eventfd"))?);
        let (sender, receiver) = channel();
        let thread = thread::start(Arc::clone(&control), receiver, always)?;
        let shared = Shared {
            control,
            commands: Mutex::new(sender),
            leases: Mutex::default(),
            thread: Mutex::new(Some(thread)),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Creates the lease's `Limits` page, under the epoch after `before`'s, fills it, and begins
    /// to arbitrate. Returns the page's descriptor, for the shim to hand out, and its epoch.
    ///
    /// # Errors
    /// [`ArbiterError`]; nothing has changed then.
    pub fn add(
        &self,
        lease: LeaseId,
        terms: Terms,
        usage: Mapped<Usage>,
        doorbell: OwnedFd,
        before: Option<Before>,
    ) -> Result<(OwnedFd, u64), ArbiterError> {
        check_devices(lease, &terms.devices)?;
        let mut leases = lock(&self.shared.leases);
        if leases.contains_key(&lease) {
            return Err(ArbiterError::Twice(lease));
        }
        let pages = LeasePages::create(
            lease,
            &terms.devices,
            usage,
            doorbell,
            before.as_ref(),
            IN_FLIGHT_NS,
        )
        .map_err(|source| ArbiterError::Page { lease, source })?;
        let fd = rustix::io::fcntl_dupfd_cloexec(pages.limits.fd(), 0)
            .map_err(kernel("duplicating a page's descriptor"))?;
        let epoch = pages.limits.epoch();
        let pages = Arc::new(pages);
        let handed = Arc::clone(&pages);
        self.tell(|reply| Command::Add { lease, terms, pages: handed, reply })??;
        leases.insert(lease, pages);
        Ok((fd, epoch))
    }

    /// Changes what a lease may have of its devices, and how urgently. It holds from one quantum
    /// after the call: a turn that has begun keeps its end unless the new terms end it earlier.
    ///
    /// # Errors
    /// [`ArbiterError`]; nothing has changed then.
    pub fn resize(&self, lease: LeaseId, terms: Terms) -> Result<(), ArbiterError> {
        check_devices(lease, &terms.devices)?;
        let leases = lock(&self.shared.leases);
        let pages = leases.get(&lease).ok_or(ArbiterError::Unknown(lease))?;
        if !pages.devices().iter().eq(terms.devices.iter().map(|share| &share.device)) {
            return Err(ArbiterError::OtherDevices(lease));
        }
        pages.fill(&terms.devices);
        self.tell(|reply| Command::Resize { lease, terms, reply })
    }

    /// A device's driver says what each process has of its memory, bytes, and which processes it knows at
    /// all. What leases' own processes have beyond what they allocated, such as their contexts, comes off
    /// what they may allocate.
    pub fn used(&self, device: &DeviceId, used: &[(u32, u64)], named: &[u32]) {
        for pages in lock(&self.shared.leases).values() {
            pages.used(device, used, named);
        }
    }

    /// Stops arbitrating a lease; its gate stays closed. Returns what it has used.
    pub fn remove(&self, lease: LeaseId) -> Option<LeaseSample> {
        let pages = lock(&self.shared.leases).remove(&lease)?;
        // A thread that is gone has nothing left to remove.
        let _ = self.tell(|reply| Command::Remove { lease, reply });
        Some(pages.sample())
    }

    /// What a lease has used so far.
    #[must_use]
    pub fn sample(&self, lease: LeaseId) -> Option<LeaseSample> {
        lock(&self.shared.leases).get(&lease).map(|pages| pages.sample())
    }

    /// Whether a lease's processes hold no more memory than its terms give it, and can come to hold no
    /// more until it is given other terms. Not at once where an earlier agent's page may still be gone by,
    /// and not as long as more is held, or being reserved, than a resize has left to the lease.
    #[must_use]
    pub fn is_in_force(&self, lease: LeaseId) -> bool {
        lock(&self.shared.leases).get(&lease).is_some_and(|pages| pages.is_in_force(monotonic_ns()))
    }

    /// Stops the arbiter; programs keep to their last share by themselves. Later calls fail.
    pub fn shutdown(&self) {
        self.shared.stop();
    }

    fn tell<T>(&self, command: impl FnOnce(SyncSender<T>) -> Command) -> Result<T, ArbiterError> {
        let (reply, answer) = sync_channel(1);
        self.shared.send(command(reply))?;
        answer.recv().map_err(|_| ArbiterError::Stopped)
    }
}

fn check_devices(lease: LeaseId, shares: &[Share]) -> Result<(), ArbiterError> {
    let mut distinct: Vec<&DeviceId> = shares.iter().map(|share| &share.device).collect();
    distinct.sort_unstable();
    distinct.dedup();
    let (count, distinct) = (shares.len(), distinct.len());
    if count == 0 || count > DEVICES_MAX || distinct < count {
        return Err(ArbiterError::Devices { lease, count, distinct });
    }
    Ok(())
}

impl Shared {
    fn send(&self, command: Command) -> Result<(), ArbiterError> {
        lock(&self.commands).send(command).map_err(|_| ArbiterError::Stopped)?;
        rustix::io::write(self.control.as_fd(), &1u64.to_ne_bytes())
            .map_err(kernel("waking the arbiter"))?;
        Ok(())
    }

    fn stop(&self) {
        let Some(thread) = lock(&self.thread).take() else { return };
        // When it cannot be told, it is gone already.
        let _ = self.send(Command::Stop);
        let _ = thread.join();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop();
    }
}
