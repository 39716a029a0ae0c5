//! Everything a lease needs before its task can start.

use super::control::Control;
use super::door::Door;
use super::poller::{Poller, Token};
use super::protocol::{
    CONTROL_SOCKET, DRIVER_SOCKET, ICD_FOLDER, Plan, SHIM_PROTOCOL, ShimPhase, ShimState,
};
use super::server::{Ground, Shim};
use super::signals::Signals;
use super::status::{boot_id, read_plan, read_status};
use super::timer::Timer;
use super::wire;
use crate::runner::{
    Account, Below, Binds, Cgroup, Namespace, Probe, Runtime, barred_from_images, cgroups_below,
    cuda, has_no_device, hides_opencl, intercepts_opencl, probe, shares_opencl,
};
use polder_ledger::attach::Route;
use polder_ledger::record::{PROFILE_LINK, PROFILE_VARIABLE};
use polder_model::{
    Address, Isolation, LeaseEnd, LeaseSample, Mechanism, Micros, Outcome, Slice, Stdio,
};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Resource, Rlimit};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Held by a shim for as long as it lives.
const LOCK_FILE: &str = "shim.lock";
/// Connections the kernel holds until they are accepted.
const BACKLOG: i32 = 128;

/// Adds to an error what was being done.
fn doing(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Prepares the lease whose folder is `dir`. When this returns the shim listens.
///
/// # Errors
/// What went wrong, in words for the agent's log.
pub(super) fn prepare(dir: &Path) -> io::Result<Shim> {
    let lock = lock(dir)?.ok_or_else(|| io::Error::other("another shim is at work there"))?;
    let plan = read_plan(dir).map_err(doing("reading the plan"))?;
    let plan = plan.ok_or_else(|| io::Error::other("there is no plan: write it first"))?;
    if let Some(earlier) = read_status(dir).map_err(doing("reading the last state"))?
        && !matches!(earlier.phase, ShimPhase::Prepared { .. })
    {
        return Err(io::Error::other("its task was started before: it is not started twice"));
    }
    let open_files = raise_open_files();
    let signals = Signals::new()?;
    make_icd_folder(dir, &plan).map_err(doing("making the ICD folder"))?;
    if let Some(libraries) = cuda::intercepts_cuda(&plan) {
        cuda::make_folder(dir, libraries).map_err(doing("making the folder for CUDA"))?;
    }
    link_records(dir, &plan);
    // The probe binds it.
    let for_drivers = listen(&dir.join(DRIVER_SOCKET))?;
    let found = probe(plan.order.lease.user.as_str(), &Binds::of(&plan, dir))?;
    let poller = Poller::new()?;
    let timer = Timer::new()?;
    poller.add(signals.fd(), Token::Signals)?;
    poller.add(timer.fd(), Token::Timer)?;
    let user = found.account.as_ref().ok().map(|account| account.uid);
    let control = Control::new(listen(&dir.join(CONTROL_SOCKET))?, user, &poller)?;
    let lease = plan.order.lease.id.0;
    // A container has its own mounts, and always ours in them.
    let image = plan.order.work.image.is_some();
    let bound = image || (hides_opencl(&plan) && found.namespace.is_ok());
    let mut door = Door::new(for_drivers, lease, routes(&plan, dir, bound), &poller)?;
    let port = if plan.order.gang.rank == 0 { Some(reserve_port()?) } else { None };
    let (phase, namespace, notes) = judge(&plan, &found, port.as_ref());
    let below = found.account.as_ref().map_or(Below::Nobody, |it| cgroups_below(&plan, it));
    let (cgroup, not_enforced) = match phase {
        ShimPhase::Ended { .. } => Default::default(),
        _ => Cgroup::create(plan.order.lease.id, &plan.order.host, below),
    };
    if below == Below::Elsewhere {
        door.let_in_from(cgroup.place());
    }
    let state = ShimState {
        protocol: SHIM_PROTOCOL,
        layout: polder_ledger::LAYOUT,
        lease: plan.order.lease.id,
        boot: boot_id()?,
        shim: std::process::id(),
        phase,
        attached: Vec::new(),
        limits_epoch: None,
        log_bytes_lost: 0,
        not_enforced,
        notes,
        cgroups: cgroup.paths(),
    };
    let account = found.account.ok();
    let ground = Ground { account, namespace, cgroup, port, open_files, _lock: lock };
    let waits = (poller, timer, signals);
    let mut shim = Shim::new(dir.to_owned(), plan, state, ground, waits, control, door);
    shim.save();
    Ok(shim)
}

/// What the probe's findings mean for the lease.
fn judge(
    plan: &Plan,
    found: &Probe,
    port: Option<&(OwnedFd, u16)>,
) -> (ShimPhase, Option<Namespace>, Vec<String>) {
    let barred = match &found.account {
        Ok(account) => barred(account).or_else(|| mismatch(plan)).or_else(|| no_container(plan)),
        Err(why) => Some(why.clone()),
    };
    if let Some(why) = barred {
        return (not_started(why), None, Vec::new());
    }
    let mut notes = Vec::new();
    if plan.driver.is_none() && shares_opencl(plan) {
        notes.push(
            "its programs are not held on this node: Polder's OpenCL driver is not there: install \
             libpolder_opencl.so beside polder"
                .to_owned(),
        );
    }
    if plan.cuda.is_none() && cuda::shares_cuda(plan) {
        notes.push(
            "its CUDA programs are not held on this node: install libpolder_cuda.so beside polder, \
             and the vendor's libcuda.so.1"
                .to_owned(),
        );
    }
    if cuda::intercepts_cuda(plan).is_some_and(|libraries| libraries.nvml.is_none()) {
        notes.push(
            "its monitors see the whole machine: install libpolder_nvml.so beside polder, and the \
             vendor's libnvidia-ml.so.1"
                .to_owned(),
        );
    }
    if let Some(cut) = plan.mps.as_ref().and_then(|place| place.partition.as_ref()) {
        notes.push(format!(
            "its part of the card is {} multiprocessors of its own, the most whole chunks in its share",
            cut.units
        ));
    }
    if let Some(mask) = &plan.units {
        notes.push(format!(
            "its processes are told {} compute units of the card in their environment; nothing holds \
             one that clears it, and nothing holds memory",
            mask.count()
        ));
    }
    if plan.mps.is_some() {
        notes.push(
            "its processes are told their part of the card in their environment, each by itself, and a \
             fault of any program that shares MPS with them ends their work too"
                .to_owned(),
        );
    }
    let (namespace, isolation) = match &found.namespace {
        _ if !hides_opencl(plan) => (None, Isolation::None),
        // The container has its own mounts, and no ICD but ours in them.
        _ if plan.order.work.image.is_some() => (None, Isolation::Soft),
        Ok(namespace) => (Some(*namespace), Isolation::Soft),
        Err(why) => {
            let happens =
                if has_no_device(plan) { "finds the devices of" } else { "is not held on" };
            notes.push(format!(
                "a program that clears OCL_ICD_VENDORS {happens} this node: {why}: run the \
                 agent as root, or permit user namespaces"
            ));
            (None, Isolation::None)
        }
    };
    if let Some(why) = too_weak(plan, isolation) {
        return (not_started(why), None, Vec::new());
    }
    let master_port = port.map(|(_, port)| *port);
    (ShimPhase::Prepared { isolation, master_port }, namespace, notes)
}

fn not_started(why: String) -> ShimPhase {
    let outcome = Outcome::NotStarted { why };
    ShimPhase::Ended { end: LeaseEnd { outcome, ran: Micros(0), sample: LeaseSample::default() } }
}

/// Why the isolation that its parts of devices have here is not what was asked for, if it is not.
fn too_weak(plan: &Plan, has: Isolation) -> Option<String> {
    let wanted = plan.order.isolation.filter(|wanted| has < *wanted)?;
    let slices = &plan.order.lease.slices;
    let part = slices.iter().find(|slice| slice.mechanism != Mechanism::Whole)?;
    let (mechanism, device) = (part.mechanism, &part.device);
    let help = match mechanism {
        Mechanism::Mig => {
            "instances are cut on simulated devices alone so far: ask for whole devices"
        }
        _ => "ask for whole devices, or run the agent as root or permit user namespaces",
    };
    Some(format!(
        "{wanted} isolation was asked for, and a part of {device} by {mechanism} has {has} on this \
         node: {help}, or leave isolation out"
    ))
}

/// Why this agent cannot run the user's programs, if it cannot.
fn barred(account: &Account) -> Option<String> {
    let mine = rustix::process::geteuid();
    (!mine.is_root() && mine.as_raw() != account.uid).then(|| {
        format!(
            "this node's agent runs as uid {} and so can run nothing as uid {}: run the agent as \
             root, or ask as its own user",
            mine.as_raw(),
            account.uid
        )
    })
}

/// Why its container cannot be started here, if it has one and cannot.
fn no_container(plan: &Plan) -> Option<String> {
    plan.order.work.image.as_ref()?;
    Runtime::find(&plan.containers).err().or_else(|| barred_from_images(plan))
}

/// Why the plan makes no sense, if it makes none.
fn mismatch(plan: &Plan) -> Option<String> {
    let (slices, addresses) = (plan.order.lease.slices.len(), plan.addresses.len());
    (slices != addresses).then(|| format!("the plan has {addresses} addresses for {slices} slices"))
}

/// Takes the folder's lock. `None` when another process holds it.
///
/// # Errors
/// What the system says.
pub(super) fn lock(dir: &Path) -> io::Result<Option<OwnedFd>> {
    let path = dir.join(LOCK_FILE);
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|errno| doing(path.display())(errno.into()))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Lets the shim hold two descriptors for each process of a full lease, and returns what was
/// before: that is what the task gets.
fn raise_open_files() -> Rlimit {
    let before = rustix::process::getrlimit(Resource::Nofile);
    // A lower limit serves smaller leases as well.
    let raised = Rlimit { current: before.maximum, maximum: before.maximum };
    let _ = rustix::process::setrlimit(Resource::Nofile, raised);
    before
}

/// The folder that `OCL_ICD_VENDORS` names: readable for the lease's user, and empty when nothing
/// is to be found in it.
fn make_icd_folder(dir: &Path, plan: &Plan) -> io::Result<()> {
    let folder = dir.join(ICD_FOLDER);
    match std::fs::create_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755))?;
    if let Some(driver) = plan.driver.as_ref().filter(|_| intercepts_opencl(plan)) {
        let file = folder.join("polder.icd");
        std::fs::write(&file, format!("{}\n", driver.display()))?;
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644))?;
    }
    Ok(())
}

/// Leads programs of a profiled task whose environment was cleared to the folder of its records. A folder that
/// no link can name costs them their records.
fn link_records(dir: &Path, plan: &Plan) {
    let link = dir.join(PROFILE_LINK);
    // One that a shim left which died before the start.
    let _ = std::fs::remove_file(&link);
    if let Some(folder) = plan.order.work.environment.get(PROFILE_VARIABLE) {
        let _ = std::os::unix::fs::symlink(folder, &link);
    }
}

/// Listens on a socket that everyone may connect to: who may stay is decided by who they are. One
/// left by a shim that is dead (we hold the lock) is replaced.
fn listen(path: &Path) -> io::Result<OwnedFd> {
    let address = wire::address(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => other?,
    }
    let at = |errno: rustix::io::Errno| doing(path.display())(errno.into());
    rustix::net::bind(&socket, &address).map_err(at)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o666))?;
    rustix::net::listen(&socket, BACKLOG).map_err(at)?;
    Ok(socket)
}

/// A port that nobody else gets as long as the socket lives. It does not listen, so that a member
/// of the gang that is early finds nobody rather than somebody who never answers.
fn reserve_port() -> io::Result<(OwnedFd, u16)> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
    let bound = SocketAddrV4::try_from(rustix::net::getsockname(&socket)?)?;
    Ok((socket, bound.port()))
}

/// How the lease's programs reach its devices, for their driver library.
fn routes(plan: &Plan, dir: &Path, bound: bool) -> Vec<Route> {
    let route = |(slice, address): (&Slice, &Address)| {
        let cuda = cuda::route(plan, (slice, address), dir, bound);
        match address {
            Address::Opencl { library, platform, index } => {
                Route { library: library.clone(), platform: platform.clone(), index: *index, cuda }
            }
            Address::Nvml { .. } | Address::Simulated => Route { cuda, ..Route::default() },
        }
    };
    plan.order.lease.slices.iter().zip(&plan.addresses).map(route).collect()
}

/// Whether the task's descriptors come from a client.
pub(super) fn wants_client(plan: &Plan) -> bool {
    plan.order.work.stdio == Stdio::Client
}
