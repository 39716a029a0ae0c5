//! The arbiter's thread: doorbells and timers in, gates out.

use super::handle::{ArbiterError, kernel};
use super::page::{LeasePages, Share};
use polder_ledger::gate;
use polder_model::LeaseId;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread::JoinHandle;

/// What the rest of the agent asks of the thread.
pub(super) enum Command {
    Add {
        lease: LeaseId,
        shares: Vec<Share>,
        pages: Arc<LeasePages>,
        reply: SyncSender<Result<(), ArbiterError>>,
    },
    Resize {
        lease: LeaseId,
        shares: Vec<Share>,
        reply: SyncSender<()>,
    },
    Remove {
        lease: LeaseId,
        reply: SyncSender<()>,
    },
    Stop,
}

/// Starts it.
pub(super) fn start(
    control: Arc<OwnedFd>,
    commands: Receiver<Command>,
) -> Result<JoinHandle<()>, ArbiterError> {
    let body = move || {
        let mut leases = BTreeMap::new();
        while let Ok(command) = commands.recv() {
            match command {
                Command::Add { lease, pages, reply, .. } => {
                    pages.limits.deadline_ns.store(u64::MAX, Ordering::Release);
                    gate::set(&pages.limits, gate::OPEN);
                    pages.limits.wake();
                    leases.insert(lease, pages);
                    let _ = reply.send(Ok(()));
                }
                Command::Resize { reply, .. } => drop(reply.send(())),
                Command::Remove { lease, reply } => {
                    if let Some(pages) = leases.remove(&lease) {
                        gate::set(&pages.limits, 0);
                    }
                    let _ = reply.send(());
                }
                Command::Stop => break,
            }
        }
        drop(control);
    };
    std::thread::Builder::new()
        .name("arbiter".into())
        .spawn(body)
        .map_err(kernel("starting a thread"))
}
