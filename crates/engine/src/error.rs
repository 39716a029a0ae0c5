//! Why an event is refused, or a journal makes no sense.

use crate::resize::shown;
use polder_model::{
    AskError, DeviceId, GANG_MAX, JobId, LeaseId, Mechanism, NodeId, PolicyError, ReservationError,
    Resource, TenantPath, Timestamp, UserName, none_of,
};
use thiserror::Error;

/// Why an event cannot be accepted now. Names the thing and says what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The ask contradicts itself.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The policy contradicts itself.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Nothing to go back to.
    #[error("no policy is known to have been in force before this one: set one with a file")]
    NoPolicyBefore,
    /// Nothing stands in the shadow.
    #[error("no policy is in the shadow: put one there with `polder admin policy shadow FILE`")]
    NoShadow,
    /// The reservation contradicts itself.
    #[error(transparent)]
    Reservation(#[from] ReservationError),
    /// No such reservation.
    #[error("there is no reservation {name}: `polder admin reservation list` names them")]
    UnknownReservation {
        /// Which.
        name: String,
    },
    /// Two reservations of one node at one time.
    #[error("reservation {name} wants {node}, which {other} has then: choose another node or time")]
    ReservedTwice {
        /// The new one.
        name: String,
        /// The one that is there.
        other: String,
        /// The node both want.
        node: NodeId,
    },
    /// `mechanism` and `whole` say different things.
    #[error("mechanism {mechanism} contradicts `whole`: leave one of them out")]
    MechanismContradicts {
        /// What was insisted on.
        mechanism: polder_model::Mechanism,
    },
    /// No such tenant.
    #[error("tenant {tenant} does not exist: add it with `polder admin tenant`, or name another")]
    UnknownTenant {
        /// Which.
        tenant: TenantPath,
    },
    /// A tenant's parent does not exist.
    #[error("tenant {tenant} needs {parent} above it: add {parent} first")]
    NoParent {
        /// Which.
        tenant: TenantPath,
        /// What is missing.
        parent: TenantPath,
    },
    /// A weight that would leave a tenant nothing for ever.
    #[error(
        "tenant {tenant} cannot have a weight of 0: give it 1 or more; a quota of 0 keeps it from \
         getting anything"
    )]
    NoWeight {
        /// Which.
        tenant: TenantPath,
    },
    /// The tenant still has jobs.
    #[error(
        "tenant {tenant} still has jobs ({jobs}): cancel them or wait for them, then remove it"
    )]
    TenantHasJobs {
        /// Which.
        tenant: TenantPath,
        /// How many.
        jobs: u64,
    },
    /// The tenant has tenants below it.
    #[error("tenant {tenant} has {child} below it: remove that first")]
    TenantHasChildren {
        /// Which.
        tenant: TenantPath,
        /// One below it.
        child: TenantPath,
    },
    /// A user belongs to the tenant.
    #[error(
        "user {user} belongs to tenant {tenant}: give them another tenant or remove them first"
    )]
    TenantHasUsers {
        /// Which.
        tenant: TenantPath,
        /// One of its users.
        user: UserName,
    },
    /// No such user.
    #[error("user {user} does not exist: `polder admin user list` shows who does")]
    UnknownUser {
        /// Who.
        user: UserName,
    },
    /// No such job, or it is over.
    #[error("job {job} is over or never was: `polder queue` lists the jobs that are not")]
    UnknownJob {
        /// Which.
        job: JobId,
    },
    /// The job was cancelled before.
    #[error("job {job} was already cancelled by {by}: it is being ended")]
    AlreadyCancelled {
        /// Which.
        job: JobId,
        /// Who.
        by: UserName,
    },
    /// A number that was handed out before.
    #[error("job number {job} was used before: the next is {next}")]
    JobIdUsed {
        /// Which.
        job: JobId,
        /// The next free one.
        next: JobId,
    },
    /// No such lease, or it has ended.
    #[error("lease {lease} has ended or never was")]
    UnknownLease {
        /// Which.
        lease: LeaseId,
    },
    /// The lease is not where this step begins.
    #[error("lease {lease} is {state:?}: it cannot be {step} now")]
    LeaseOutOfStep {
        /// Which.
        lease: LeaseId,
        /// Where it is.
        state: polder_model::LeaseState,
        /// What was said of it.
        step: &'static str,
    },
    /// Nothing is leaving the lease.
    #[error("lease {lease} has no more memory than its slices: nothing is leaving it")]
    NothingLeaves {
        /// Which.
        lease: LeaseId,
    },
    /// No such node.
    #[error("node {node} never reported: start its agent with `polder up`")]
    UnknownNode {
        /// Which.
        node: NodeId,
    },
    /// An ask names or avoids nodes so that none is left.
    #[error(
        "{} may serve it: {}: one that there is: {known}",
        none_of(*nodes as u64, "node"),
        named.as_ref().map_or_else(
            || "it avoids, or does not name, all of them".to_owned(),
            |node| format!("node {node}, which it names, never reported"),
        )
    )]
    NoNodeLeft {
        /// A node that it names and that is not there.
        named: Option<NodeId>,
        /// One that is.
        known: NodeId,
        /// How many there are.
        nodes: usize,
    },
    /// A newer agent of the node has reported.
    #[error("node {node} reported as incarnation {current} before: {this} is older")]
    OldIncarnation {
        /// Which.
        node: NodeId,
        /// The newest.
        current: u64,
        /// The caller's.
        this: u64,
    },
    /// Two devices of one node have the same id.
    #[error("node {node} reports device {device} twice: give each its own id")]
    DeviceTwice {
        /// Which node.
        node: NodeId,
        /// Which device.
        device: DeviceId,
    },
    /// Only a service has replicas to count.
    #[error("job {job} is no service: it keeps the tasks it asked for")]
    NoService {
        /// Which.
        job: JobId,
    },
    /// A number of replicas that makes no sense.
    #[error("{min} to {max} replicas cannot be: ask for 1 to {GANG_MAX}, the fewest first")]
    Replicas {
        /// Fewest.
        min: u32,
        /// Most.
        max: u32,
    },
    /// A job that is being ended has no size to change.
    #[error("job {job} is being ended: nothing of it can be changed any more")]
    ResizeEnding {
        /// Which.
        job: JobId,
    },
    /// A job whose part of its devices is fixed.
    #[error(
        "job {job} has {}, whose size is fixed: its priority and class can be changed; to have \
         another size, cancel it and submit it again",
        match mechanism {
            None => "no device".to_owned(),
            Some(Mechanism::Whole) => "whole devices".to_owned(),
            Some(mechanism) => format!("slices of mechanism {mechanism}"),
        }
    )]
    ResizeFixed {
        /// Which.
        job: JobId,
        /// How its devices are cut, if it has any.
        mechanism: Option<Mechanism>,
    },
    /// A node that could not hear of a resize, or lost the device that it is about.
    #[error(
        "node {node}, where job {job} has tasks, does not answer or has lost a device of theirs: \
         nothing was changed; try again when it is back"
    )]
    ResizeAway {
        /// Which job.
        job: JobId,
        /// Which node.
        node: NodeId,
    },
    /// A job cannot grow by more than is free beside it.
    #[error(
        "job {job} cannot have {} of {resource} on {device} of node {node}: with what is free \
         there it can have {} at most; nothing was changed, and nothing waits: ask for that, or \
         again when others have ended",
        shown(*resource, *wanted), shown(*resource, *most)
    )]
    GrowPastRoom {
        /// Which job.
        job: JobId,
        /// Where.
        node: NodeId,
        /// The device with the least room.
        device: DeviceId,
        /// Which resource.
        resource: Resource,
        /// What was wanted of each device.
        wanted: u64,
        /// What it could have.
        most: u64,
    },
    /// A job cannot grow past what its device has.
    #[error(
        "job {job} cannot have {} of {resource} on {device} of node {node}: with nobody else on it, it \
         has {} at most for each task that is there; nothing was changed: ask for no more than that, \
         or submit another job for larger devices",
        shown(*resource, *wanted), shown(*resource, *ever)
    )]
    GrowPastDevice {
        /// Which job.
        job: JobId,
        /// Where.
        node: NodeId,
        /// The device.
        device: DeviceId,
        /// Which resource.
        resource: Resource,
        /// What was wanted of each device.
        wanted: u64,
        /// What each of its tasks there could have of an empty one.
        ever: u64,
    },
    /// A job cannot grow past its quota.
    #[error(
        "job {job} cannot have {} of {resource}: tenant {tenant} may hold {} at once, which leaves \
         it {} of each device; nothing was changed: ask for that, or have the quota raised",
        shown(*resource, *wanted), resource.show(*limit), shown(*resource, *most)
    )]
    GrowPastQuota {
        /// Which job.
        job: JobId,
        /// Whose quota.
        tenant: TenantPath,
        /// Which resource.
        resource: Resource,
        /// The most allowed at once.
        limit: u64,
        /// What was wanted of each device.
        wanted: u64,
        /// What it could have.
        most: u64,
    },
    /// A job does not grow into what another waits for.
    #[error(
        "job {waiting} waits for such devices, and job {job} would pass it by growing: nothing was \
         changed; ask again when nobody waits, or submit another job"
    )]
    GrowPastWaiting {
        /// Which job.
        job: JobId,
        /// The first that waits and could use what it would grow into.
        waiting: JobId,
    },
    /// Could not be served even if the tenant held nothing.
    #[error(
        "{}tenant {tenant} may hold {} at once and this needs {}: \
         ask for less, or have the quota raised",
        if user.is_some() { "each user of " } else { "" },
        resource.named(*limit), resource.show(*asked)
    )]
    PastQuota {
        /// Whose quota.
        tenant: TenantPath,
        /// The user, where it is what the tenant allows each of its users.
        user: Option<UserName>,
        /// Which.
        resource: Resource,
        /// The most allowed.
        limit: u64,
        /// What the smallest gang needs.
        asked: u64,
    },
    /// Could not be served even if the pool were empty.
    #[error("{} could ever serve this: {nearest}", none_of(*number, what))]
    PastPool {
        /// How many were looked at.
        number: u64,
        /// `device`, or `node` where devices are not what is lacking or there are none.
        what: &'static str,
        /// The nearest miss, in words.
        nearest: String,
    },
    /// Could not be served whole even if the pool were empty.
    #[error(
        "the whole pool has room for {room} such {} and the gang needs {needed}: lower it",
        if *room == 1 { "task" } else { "tasks" }
    )]
    GangPastPool {
        /// Tasks that an empty pool could hold.
        room: u64,
        /// The fewest that make sense.
        needed: u32,
    },
    /// A limit of the engine.
    #[error("the pool already has {limit} {what}: {help}")]
    Full {
        /// Of what.
        what: &'static str,
        /// How many.
        limit: usize,
        /// What to do.
        help: &'static str,
    },
}

/// Why a journal makes no sense. The state is as it was before the event.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ApplyError {
    /// An event before its predecessor.
    #[error("an event at {} follows one at {}: the journal is out of order", at.0, now.0)]
    BackInTime {
        /// Its time.
        at: Timestamp,
        /// Its predecessor's.
        now: Timestamp,
    },
    /// A pool is opened once.
    #[error("the pool is opened twice: two journals were joined")]
    OpenedTwice,
    /// Written by a newer program.
    #[error("engine version {version} decided this: run that version, this is {this}")]
    NewerEngine {
        /// The journal's.
        version: u32,
        /// This program's.
        this: u32,
    },
    /// The fact cannot be true now.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The decision cannot be carried out now.
    #[error("the decision about job {job} cannot be carried out: {why}")]
    Decision {
        /// Whose.
        job: JobId,
        /// What is wrong with it.
        why: DecisionError,
    },
}

/// What is wrong with a decision.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecisionError {
    /// Room is promised where there is none.
    #[error("node {node}, or a device of it, that is promised is not there or faulty")]
    NoPlace {
        /// Which node.
        node: NodeId,
    },
    /// A job cannot yield.
    #[error("job {victim} cannot yield: {why}")]
    NoVictim {
        /// Which.
        victim: JobId,
        /// Why not.
        why: &'static str,
    },
    /// A member that its gang cannot do without.
    #[error("its gang cannot do without lease {lease}, or it is not one of its members")]
    NoSpare {
        /// Which.
        lease: LeaseId,
    },
    /// No such job, or it is over.
    #[error("it is over or never was")]
    UnknownJob,
    /// The job does not wait.
    #[error("it is not queued")]
    NotQueued,
    /// The job holds nothing.
    #[error("it holds no lease")]
    HoldsNothing,
    /// The job has been told to start, stop or return.
    #[error("it was already told to start, stop or return")]
    TooLate,
    /// Not all members are ready.
    #[error("{prepared} of {members} members are prepared")]
    NotPrepared {
        /// Ready.
        prepared: u32,
        /// In all.
        members: u32,
    },
    /// Leases remain.
    #[error("{live} of its leases have not ended")]
    StillHeld {
        /// How many.
        live: u32,
    },
    /// Not the try that follows.
    #[error("try {attempt} does not follow try {current}")]
    WrongAttempt {
        /// The decision's.
        attempt: u32,
        /// The job's.
        current: u32,
    },
    /// The gang has a wrong size.
    #[error("{size} tasks were granted where {min} to {max} were asked")]
    GangSize {
        /// Granted.
        size: usize,
        /// Fewest asked.
        min: u32,
        /// Most asked.
        max: u32,
    },
    /// A lease's number was used before, or its fields are not the job's.
    #[error("lease {lease} does not belong to it: {field} differs")]
    ForeignLease {
        /// Which.
        lease: LeaseId,
        /// What differs.
        field: &'static str,
    },
    /// A device cannot carry what was granted on it.
    #[error("{device} on {node} cannot carry lease {lease}: {lacks}")]
    NoRoom {
        /// Which lease.
        lease: LeaseId,
        /// Which node.
        node: NodeId,
        /// Which device.
        device: DeviceId,
        /// What is missing.
        lacks: &'static str,
    },
    /// A node is not known, or does not answer.
    #[error("{node}, which lease {lease} is on, does not answer or never reported")]
    NodeAway {
        /// Which lease.
        lease: LeaseId,
        /// Which node.
        node: NodeId,
    },
    /// The machine beside the devices cannot carry what was granted on it.
    #[error("{node} has too little CPU or memory left for lease {lease}")]
    NoHostRoom {
        /// Which lease.
        lease: LeaseId,
        /// Which node.
        node: NodeId,
    },
    /// A quota would be passed.
    #[error("tenant {tenant} would pass its quota of {resource}")]
    PastQuota {
        /// Whose.
        tenant: TenantPath,
        /// Which.
        resource: Resource,
    },
}
