//! Makes a lease ready under a shim, or finds it again after a restart. Blocking.

use crate::AgentOptions;
use crate::arbiter::{Share, Terms};
use crate::earlier::limits_before;
use crate::folder::{Folder, Found, Mark};
use crate::leases::{Room, never_ran};
use crate::paths::{StatePaths, lease_folders};
use crate::runner::{Account, container_nodes};
use crate::sample::takes_turns;
use crate::shim::{
    Plan, RecoverError, ShimClient, ShimError, ShimPhase, ShimState, boot_micros, read_plan,
    read_status, recover, spawn_shim, write_plan,
};
use crate::spatial::Seat;
use crate::spatial::control::version;
use crate::spatial::offer::{Offer, capability};
use crate::spatial::partition::{self, Chunks};
use crate::spatial::units::{Mask, UnitsError};
use crate::spatial::words::{Part, Place};
use crate::watched::Watched;
use polder_devices::amd_compute_units;
use polder_ledger::{Limits, Mapped, Usage, adopt_usage, map_limits};
use polder_model::{
    Address, Bytes, Device, Lease, LeaseEnd, LeaseId, LeaseOrder, Mechanism, Micros, Outcome,
    Phase, Slice,
};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

/// The subcommand of the product's binary that is a shim.
const SHIM_SUBCOMMAND: &str = "shim";
/// How often a shim that never came up is begun again.
const SPAWN_TRIES_MAX: u32 = 8;
/// The granularity of a device that is not there any more: a page of host memory.
const GRANULARITY_UNKNOWN: Bytes = Bytes(4096);

/// A lease whose shim answers.
pub(crate) struct Live {
    pub(crate) plan: Plan,
    pub(crate) folder: Folder,
    pub(crate) state: ShimState,
    pub(crate) watched: Watched,
    /// Whether the arbiter counts for it.
    pub(crate) metered: bool,
    /// Its pages, for whoever looks for contradictions in them.
    pub(crate) evidence: Option<Arc<EvidencePages>>,
}

/// A lease's pages, to be compared with what the kernel says.
#[derive(Debug)]
pub(crate) struct EvidencePages {
    pub(crate) usage: Mapped<Usage>,
    pub(crate) limits: Mapped<Limits>,
}

/// Prepares a lease ordered now. An end when it cannot be, or had ended here before.
pub(crate) fn prepare(room: &Room, order: LeaseOrder) -> Result<Live, LeaseEnd> {
    let folder = Folder::of(&room.paths, order.lease.id);
    if let Found::Over(end) = folder.find() {
        tracing::warn!(lease = %order.lease.id, "ordered again after its end: reported once more");
        return Err(end);
    }
    let devices = devices_of(room, &order)?;
    let Seats { mps, units } = seat(room, &order, &devices)?;
    let granularity = devices.iter().map(|device| device.granularity).collect();
    let mark = Mark { boot: room.boot.clone(), granularity };
    // Only a container is shown its devices' nodes; everything else has the machine's.
    let nodes = order.work.image.as_ref().and_then(|_| container_nodes(&devices, Path::new("/")));
    let addresses = devices.into_iter().map(|device| device.address).collect();
    let options = &room.options;
    let (driver, cuda) = (options.driver_library.clone(), options.cuda_libraries.clone());
    let containers = options.containers.clone();
    let plan = Plan { order, addresses, driver, cuda, mps, units, containers, nodes };
    let written = folder.create(&mark).and_then(|()| write_plan(folder.path(), &plan));
    written.map_err(|error| {
        not_started(format!("its folder {} cannot be written: {error}", folder.path().display()))
    })?;
    spawn(room, folder, plan, &mark)
}

fn devices_of(room: &Room, order: &LeaseOrder) -> Result<Vec<Device>, LeaseEnd> {
    let inventory = room.inventory.borrow();
    let find = |slice: &Slice| {
        let found = inventory.devices.iter().find(|device| device.id == slice.device);
        found.cloned().ok_or_else(|| {
            let why = format!("device {} is not on this node any more", slice.device);
            never_ran(Outcome::Lost { why })
        })
    };
    order.lease.slices.iter().map(find).collect()
}

/// What a lease has that shares a card spatially: one of them, and none if it does not.
#[derive(Debug, Default)]
struct Seats {
    /// Its place with MPS.
    mps: Option<Place>,
    /// Its compute units.
    units: Option<Mask>,
}

/// The lease's seat, if it has a spatial part of a card.
fn seat(room: &Room, order: &LeaseOrder, devices: &[Device]) -> Result<Seats, LeaseEnd> {
    let lease = &order.lease;
    let slices = || lease.slices.iter().zip(devices);
    let spatial = |slice: &Slice| slice.mechanism == Mechanism::Spatial;
    // The node may have been started with other words since the server placed it.
    let odd = slices().find(|(slice, device)| {
        let offered = device.mechanisms.contains(&Mechanism::Spatial);
        if spatial(slice) { !offered } else { offered && slice.mechanism != Mechanism::Whole }
    });
    if let Some((slice, device)) = odd {
        let why = format!("{} is not shared by {} on this node now", device.id, slice.mechanism);
        return Err(never_ran(Outcome::Lost { why }));
    }
    let Some((slice, device)) = slices().find(|(slice, _)| spatial(slice)) else {
        return Ok(Seats::default());
    };
    if let Address::Opencl { .. } = device.address {
        let mask = mask(room, lease.id, slice, device);
        let seats = |mask| Seats { units: Some(mask), ..Seats::default() };
        return mask.map(seats).map_err(|error| not_started(error.to_string()));
    }
    let uuid = device.id.to_string();
    let part =
        Part::of(slice.compute, slice.memory).map_err(|error| not_started(error.to_string()))?;
    let Account { uid, gid, .. } = Account::find(lease.user.as_str()).map_err(not_started)?;
    let capability = capability(device).unwrap_or_default();
    let chunks = Chunks::of(slice.compute, device.compute_units, capability);
    let seat = Seat { uuid, uid, gid, part, chunks };
    let place = room.spatial.seat(lease.id, &seat, Micros(boot_micros()));
    let seats = |place| Seats { mps: Some(place), ..Seats::default() };
    place.map(seats).map_err(|error| not_started(error.to_string()))
}

/// The lease's compute units of a card.
fn mask(room: &Room, lease: LeaseId, slice: &Slice, device: &Device) -> Result<Mask, UnitsError> {
    let all = amd_compute_units(&room.options.root);
    let units = device.pci_address.as_ref().and_then(|place| all.get(place));
    let units = units.ok_or_else(|| UnitsError::Unknown(device.id.clone()))?;
    room.masks.take(lease, &device.id, units, slice.compute)
}

/// Takes the seat over that an earlier agent gave a lease.
fn keep_seat(room: &Room, plan: &Plan) {
    let lease = &plan.order.lease;
    if let Some(mask) = &plan.units {
        room.masks.adopt(lease.id, mask.clone());
    }
    let Some(place) = &plan.mps else { return };
    let kept = Account::find(lease.user.as_str()).and_then(|account| {
        let who = (account.uid, account.gid);
        let kept = room.spatial.adopt(lease.id, place, who, Micros(boot_micros()));
        kept.map_err(|error| error.to_string())
    });
    if let Err(error) = kept {
        tracing::error!(lease = %lease.id, error, "its seat with MPS is not known any more");
    }
}

/// How leases from before have the devices of this node, by the plans that are left.
pub(crate) fn offer(paths: &StatePaths, options: &AgentOptions) -> Offer {
    let mut offer = Offer {
        wanted: options.spatial.clone(),
        program: options.mps_program.is_some(),
        partitions: options.spatial_partitions.then(|| {
            let program = options.mps_program.as_deref();
            program.is_some_and(|program| partition::knows(&version(program)))
        }),
        units: amd_compute_units(&options.root).into_keys().collect(),
        ..Offer::default()
    };
    for lease in lease_folders(paths).unwrap_or_default() {
        let folder = Folder::of(paths, lease);
        let held = matches!(folder.find(), Found::Held(_)) && end_of(&folder).is_none();
        let plan = read_plan(folder.path()).ok().flatten().filter(|_| held);
        for slice in plan.iter().flat_map(|plan| &plan.order.lease.slices) {
            match slice.mechanism {
                // Nobody is beside it, however the card is shared.
                Mechanism::Whole => continue,
                Mechanism::Spatial => &mut offer.spatially,
                Mechanism::TimeSlice | Mechanism::Mig => &mut offer.otherwise,
            }
            .insert(slice.device.clone());
        }
    }
    offer
}

fn not_started(why: String) -> LeaseEnd {
    never_ran(Outcome::NotStarted { why })
}

/// Starts the shim of a lease that has never had one, or whose shim never came up.
fn spawn(room: &Room, folder: Folder, plan: Plan, mark: &Mark) -> Result<Live, LeaseEnd> {
    let args = room.options.shim_arguments.iter().map(String::as_str).chain([SHIM_SUBCOMMAND]);
    spawn_shim(&room.options.exe, &args.collect::<Vec<_>>(), folder.path())
        .map_err(|error| not_started(error.to_string()))?;
    connect(room, &folder, plan, mark).map_err(|error| match end_of(&folder) {
        Some(end) => end,
        None => {
            dismiss(&folder);
            not_started(format!("its shim came up and cannot be used: {error}"))
        }
    })
}

/// Ends a shim that prepared a lease which nobody can use.
fn dismiss(folder: &Folder) {
    let outcome = Outcome::NotStarted { why: "its shim cannot be used".to_owned() };
    let stopped = ShimClient::connect(folder.path()).and_then(|mut shim| {
        shim.hello()?;
        shim.stop(Micros(0), outcome)
    });
    if let Err(error) = stopped {
        tracing::warn!(%error, "a shim that cannot be used is left");
    }
}

/// Connects to the shim, lets the lease take turns, and begins to watch.
fn connect(room: &Room, folder: &Folder, plan: Plan, mark: &Mark) -> Result<Live, ConnectError> {
    let mut shim = ShimClient::connect(folder.path())?;
    let greeting = shim.hello()?;
    let lease = &plan.order.lease;
    let over = matches!(greeting.state.phase, ShimPhase::Ended { .. });
    let metered = takes_turns(lease) && !over;
    let mut state = greeting.state;
    let mut evidence = None;
    if metered {
        let pages = greeting.pages.ok_or(ConnectError::NoPages)?;
        let usage = adopt_usage(&pages.usage, state.layout)?;
        let mut before = limits_before(state.shim, lease.id);
        if let (None, Some(epoch)) = (&before, state.limits_epoch) {
            before = Some(crate::arbiter::Before { epoch, ..crate::arbiter::Before::default() });
        }
        let terms = terms(lease, &mark.granularity);
        let (limits, epoch) = room.arbiter.add(lease.id, terms, usage, pages.doorbell, before)?;
        match shim.send_limits(limits.as_fd(), epoch) {
            Ok(now) => {
                state = now;
                // Without them nothing is compared; the lease itself works.
                let mapped = adopt_usage(&pages.usage, state.layout)
                    .and_then(|usage| Ok((usage, map_limits(&limits)?)));
                evidence =
                    mapped.ok().map(|(usage, limits)| Arc::new(EvidencePages { usage, limits }));
            }
            Err(error) => {
                room.arbiter.remove(lease.id);
                return Err(error.into());
            }
        }
    }
    let watched = shim
        .watch()
        .map_err(ConnectError::from)
        .and_then(|watch| Watched::new(watch).map_err(ConnectError::Watch));
    if watched.is_err() && metered {
        room.arbiter.remove(lease.id);
    }
    Ok(Live { watched: watched?, plan, folder: folder.clone(), state, metered, evidence })
}

/// Why a shim that is there cannot be used.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error(transparent)]
    Shim(#[from] ShimError),
    #[error("it hands out no pages: does another user own it?")]
    NoPages,
    #[error(transparent)]
    Page(#[from] polder_ledger::PageError),
    #[error(transparent)]
    Arbiter(#[from] crate::arbiter::ArbiterError),
    #[error("watching it: {0}")]
    Watch(#[source] std::io::Error),
}

/// What the arbiter is to give a lease; `granularity` is of its devices, in the lease's order.
pub(crate) fn terms(lease: &Lease, granularity: &[Bytes]) -> Terms {
    let granularity = granularity.iter().copied().chain(std::iter::repeat(GRANULARITY_UNKNOWN));
    let share = |(slice, granularity): (&Slice, Bytes)| Share {
        device: slice.device.clone(),
        compute: slice.compute,
        compute_max: slice.compute_max,
        memory: slice.memory,
        backing: slice.backing,
        granularity,
    };
    Terms {
        devices: lease.slices.iter().zip(granularity).map(share).collect(),
        class: lease.class,
        priority: lease.priority,
        owner: Some((lease.tenant.clone(), lease.user.clone())),
    }
}

/// Makes the slices of a lease those of its plan, which a successor of this agent will read. False when
/// it, or a successor, may go by those that it had.
pub(crate) fn resize(room: &Room, folder: &Folder, plan: &Plan, metered: bool) -> bool {
    let mut done = true;
    let lease = plan.order.lease.id;
    if metered {
        let mark = match folder.find() {
            Found::Held(Some(mark)) => mark,
            _ => Mark { boot: String::new(), granularity: Vec::new() },
        };
        if let Err(error) = room.arbiter.resize(lease, terms(&plan.order.lease, &mark.granularity))
        {
            tracing::error!(%lease, %error, "the lease keeps the slices that it had");
            done = false;
        }
    }
    if let Err(error) = write_plan(folder.path(), plan) {
        // The server tells a successor again what differs from the plan that it finds.
        tracing::warn!(%lease, %error, "the lease's new slices are not written down");
        done = false;
    }
    done
}

/// A lease found in its folder at the start of the agent.
pub(crate) enum Adopted {
    /// Not held: nothing was ordered, or the server knows its end.
    NotHeld,
    /// Held, and this is how it stands.
    Held(Box<LeaseOrder>, Box<Stands>),
    /// Over, and what was ordered cannot be read any more.
    Unreadable(LeaseEnd),
}

/// How a lease stands.
pub(crate) enum Stands {
    /// Its shim answers.
    Live(Box<Live>),
    /// It is over.
    Over(LeaseEnd),
    /// Its shim is there and cannot be reached now: it is kept as it is, and tried again.
    Unreached(Box<Unreached>),
}

/// A lease whose shim is there and does not answer.
pub(crate) struct Unreached {
    folder: Folder,
    plan: Plan,
    mark: Option<Mark>,
    tries: u32,
    /// How far it had come when the shim last wrote it down.
    pub(crate) phase: Phase,
}

/// Finds out how a lease stands that an earlier agent held.
pub(crate) fn adopt(room: &Room, lease: LeaseId) -> Adopted {
    let folder = Folder::of(&room.paths, lease);
    let mark = match folder.find() {
        Found::Over(end) => {
            // The earlier agent may have been cut short in the middle of this.
            if let Err(error) = folder.close(&end) {
                tracing::warn!(%lease, %error, "what is left of a lease cannot be removed");
            }
            return Adopted::NotHeld;
        }
        Found::Nothing => return Adopted::NotHeld,
        Found::Held(mark) => mark,
    };
    let plan = match read_plan(folder.path()) {
        Ok(Some(plan)) if plan.order.lease.id == lease => plan,
        read => {
            let read = read.map(|plan| plan.map(|plan| plan.order.lease.id));
            tracing::error!(%lease, ?read, "the lease's plan is damaged; it counts as lost");
            let damaged = || never_ran(Outcome::Lost { why: "its plan is damaged".to_owned() });
            return Adopted::Unreadable(end_without_shim(&folder).unwrap_or_else(damaged));
        }
    };
    keep_seat(room, &plan);
    let order = Box::new(plan.order.clone());
    Adopted::Held(order, Box::new(reach(room, folder, plan, mark, 0)))
}

/// Tries again to reach a shim.
pub(crate) fn reach_again(room: &Room, unreached: Unreached) -> Stands {
    let Unreached { folder, plan, mark, tries, .. } = unreached;
    reach(room, folder, plan, mark, tries)
}

impl Unreached {
    /// A lease whose shim was reached until now.
    pub(crate) fn lost_touch(live: Live) -> Self {
        let Live { plan, folder, state, .. } = live;
        let mark = match folder.find() {
            Found::Held(mark) => mark,
            Found::Nothing | Found::Over(_) => None,
        };
        Self { folder, plan, mark, tries: 0, phase: state.node_phase() }
    }
}

fn reach(room: &Room, folder: Folder, plan: Plan, mark: Option<Mark>, tries: u32) -> Stands {
    let none = Mark { boot: String::new(), granularity: Vec::new() };
    let error = match connect(room, &folder, plan.clone(), mark.as_ref().unwrap_or(&none)) {
        Ok(live) => return Stands::Live(Box::new(live)),
        Err(error) => error,
    };
    let status = read_status(folder.path());
    if matches!(error, ConnectError::Shim(ShimError::Gone { .. })) {
        match (&status, &mark) {
            // The order was written down, and no shim ever came up: nothing has run.
            (Ok(None), Some(mark)) if mark.boot == room.boot => {
                match spawn(room, folder.clone(), plan.clone(), mark) {
                    Ok(live) => return Stands::Live(Box::new(live)),
                    // A shim that the earlier agent began may still be on its way.
                    Err(end) if tries + 1 >= SPAWN_TRIES_MAX => return Stands::Over(end),
                    Err(_) => {}
                }
            }
            _ => {
                if let Some(end) = end_without_shim(&folder) {
                    return Stands::Over(end);
                }
            }
        }
    }
    let lease = plan.order.lease.id;
    tracing::warn!(%lease, %error, "a shim cannot be reached; its lease is kept, and tried again");
    let phase = match status {
        Ok(Some(state)) => state.node_phase(),
        _ => Phase::Preparing,
    };
    Stands::Unreached(Box::new(Unreached { folder, plan, mark, tries: tries + 1, phase }))
}

/// The end that the folder tells, if it tells one.
fn end_of(folder: &Folder) -> Option<LeaseEnd> {
    match read_status(folder.path()) {
        Ok(Some(ShimState { phase: ShimPhase::Ended { end }, .. })) => Some(end),
        _ => None,
    }
}

/// The end of a lease whose shim is gone; `None` when a shim is at work there after all.
pub(crate) fn end_without_shim(folder: &Folder) -> Option<LeaseEnd> {
    let why = match recover(folder.path()) {
        Ok(ShimState { phase: ShimPhase::Ended { end }, .. }) => return Some(end),
        Err(RecoverError::Alive { .. }) => return None,
        Ok(_) => "its shim is gone".to_owned(),
        Err(error) => format!("its shim is gone: {error}"),
    };
    Some(never_ran(Outcome::Lost { why }))
}
