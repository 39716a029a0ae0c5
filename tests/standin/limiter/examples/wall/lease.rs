//! A lease with a hard cap: a real arbiter's thread with its pages, and a shim that lets in whoever
//! asks and remembers nobody who leaves.

use polder_agent::arbiter::{ArbiterHandle, Share, Terms};
use polder_ledger::attach::{Cuda, Message, Route, receive, send};
use polder_ledger::{Mapped, Usage, create_usage, map_usage};
use polder_model::{Bytes, LeaseId, Permille};
use rustix::event::EventfdFlags;
use rustix::net::{
    AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen,
    socket_with,
};
use std::error::Error;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

const LEASE: u64 = 1;
/// What `cuDeviceGetUuid` of the stand-in says.
const UUID: [u8; 16] = *b"stand-in device0";

/// The lease.
pub(crate) struct Lease {
    folder: tempfile::TempDir,
    // Kept so that its thread goes on.
    _arbiter: ArbiterHandle,
}

struct Shim {
    limits: OwnedFd,
    usage: OwnedFd,
    doorbell: OwnedFd,
    page: Mapped<Usage>,
    route: Route,
}

impl Lease {
    /// A lease of `share` percent and no more of a device whose driver is `library`.
    pub(crate) fn start(share: u32, library: &Path) -> Result<Self, Box<dyn Error>> {
        let arbiter = ArbiterHandle::start()?;
        let compute = Permille(share * 10);
        let device = Share {
            device: "stand-in".parse().map_err(|_| "no device's name")?,
            compute,
            compute_max: compute,
            memory: Bytes(1 << 34),
            backing: Bytes(0),
            granularity: Bytes(2 << 20),
        };
        let (usage, page) = create_usage(LEASE)?;
        let doorbell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let heard = doorbell.try_clone()?;
        let (limits, _) =
            arbiter.add(LeaseId(LEASE), Terms::batch(vec![device]), page, heard, None)?;
        let cuda = Cuda { library: library.display().to_string(), nvml: String::new(), uuid: UUID };
        let route = Route { cuda: Some(cuda), ..Route::default() };
        let page = map_usage(&usage)?;
        let lease = Self { folder: tempfile::tempdir()?, _arbiter: arbiter };
        lease.serve(Shim { limits, usage, doorbell, page, route })?;
        Ok(lease)
    }

    /// Where its shim listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("shim")
    }

    fn serve(&self, shim: Shim) -> Result<(), Box<dyn Error>> {
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let listener = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
        bind(&listener, &SocketAddrUnix::new(self.socket())?)?;
        listen(&listener, 64)?;
        std::thread::spawn(move || {
            let mut clients = Vec::new();
            while let Ok(client) = accept_with(&listener, SocketFlags::CLOEXEC) {
                if shim.welcome(&client, clients.len()) {
                    clients.push(client);
                }
            }
        });
        Ok(())
    }
}

impl Shim {
    fn welcome(&self, client: &OwnedFd, slot: usize) -> bool {
        let Ok(Some((Message::Hello { .. }, _))) = receive(client, RecvFlags::empty()) else {
            return false;
        };
        let number = u32::try_from(slot).unwrap_or(u32::MAX);
        let generation = self.page.claim_slot(slot, 1000 + number);
        let routes = vec![self.route.clone()];
        let welcome = Message::Welcome { lease: LEASE, slot: number, generation, routes };
        let fds = [self.limits.as_fd(), self.usage.as_fd(), self.doorbell.as_fd()];
        send(client, &welcome, &fds).is_ok()
    }
}
