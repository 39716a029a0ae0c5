//! The words of Polder as types.
//!
//! Every other crate speaks in these values: sizes are [`Bytes`], compute is thousandths of a
//! device ([`Permille`]), time is microseconds since 1970 ([`Timestamp`]) or a length of it
//! ([`Micros`]). The crate holds no clock, file, thread or network, and decides nothing: it only
//! says what may be said, and refuses what may not ([`Ask::check`], the `FromStr` of each unit).

mod ask;
mod device;
mod enforcement;
mod event;
mod explain;
mod ids;
mod job;
mod lease;
mod policy;
mod reservation;
mod size;
mod sync;
mod tenant;
mod throttle;
mod units;
mod written;

pub use ask::{
    Ask, AskError, DeviceAsk, GANG_MAX, Gang, GangKind, Hints, HostAsk, Market, PlaceAsk, Stdio,
    TEXT_BYTES_MAX, When, Wish, Work, WorkClass, Yields, misleads,
};
pub use device::{
    Address, Api, Device, DeviceKind, Health, Inventory, Isolation, Mechanism, NodeFacts,
    parse_pci_address, pci_address,
};
pub use enforcement::{
    Enforcement, EnforcementError, FINDING_BYTES_MAX, FINDINGS_MAX, Finding, Rule,
};
pub use event::{
    Decision, EVENT_VERSION, Envelope, Event, Ground, Move, ReturnReason, Shrink, Spot, StopReason,
};
pub use explain::{Closed, Expected, Explanation, Fit, Help, Late, Reason, Resource, none_of};
pub use ids::{DeviceId, IdError, JobId, LeaseId, NodeId, PoolId, TaskIndex, TenantPath, UserName};
pub use job::{Job, JobState, Outcome};
pub use lease::{
    HostLimit, Instance, Lease, LeaseState, NOT_ENFORCED_WHY_BYTES_MAX, NotEnforced, Slice,
};
pub use policy::{
    BLEND_TERMS_MAX, Backfill, Believe, BlendTerm, ClassPool, DayTime, Elastic, FairShare,
    ORDER_TERMS_MAX, Order, PlaceRule, Placement, Policy, PolicyError, RESERVED_JOBS_MAX, Reclaim,
    TIME_RULES_MAX, Term, TimeRule, WEIGHT_MAX, Weekday,
};
pub use reservation::{RESERVATION_NODES_MAX, Reservation, ReservationError};
pub use size::{RESIZES_KEPT, Resized, Size};
pub use sync::{
    DeviceSample, GangPlace, LeaseEnd, LeaseOrder, LeaseReport, LeaseSample, Phase, SYNC_PROTOCOL,
    SyncRefusal, SyncRequest, SyncResponse, Tombstone, Version,
};
pub use tenant::{Quota, Role, Share, Tenant, User};
pub use throttle::Throttle;
pub use units::{BitRate, Bytes, Micros, MilliCpu, Permille, Timestamp, UnitError};
pub use written::{
    DEVICES_WRITTEN_MAX, DevicesWritten, NODE_WORDS_MAX, NodeWords, WordError, label, partition,
};
