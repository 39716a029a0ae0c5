//! Nodes, devices, leases, and who is talking to what.

use super::LeaseView;
use polder_model::{
    Bytes, Device, Micros, NodeFacts, NodeId, Permille, PoolId, Role, TenantPath, Timestamp,
    UserName,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Answer of `/healthz` and `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// `ok`.
    pub status: String,
}

/// Which program answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VersionInfo {
    /// The program's version.
    pub version: String,
    /// The API's major version.
    pub api: u32,
    /// The engine's version: replay equality holds within one.
    pub engine: u32,
    /// The agents' protocol.
    pub sync_protocol: u32,
    /// The server's process.
    pub pid: u32,
}

/// Who the server takes the caller for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhoAmI {
    /// The name.
    pub user: UserName,
    /// What it may do.
    pub role: Role,
    /// Tenants it may ask for, and all below them; the first is used when an ask names none.
    pub tenants: Vec<TenantPath>,
    /// The pool.
    pub pool: PoolId,
    /// The server's time, from which deadlines and the like are to count: it never goes back, and a
    /// client's clock may.
    pub now: Timestamp,
}

/// The pool's nodes, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeList {
    /// The nodes.
    pub nodes: Vec<NodeView>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeView {
    /// Its name.
    pub id: NodeId,
    /// Whether its agent calls.
    pub reachable: bool,
    /// Its agent's incarnation.
    pub incarnation: u64,
    /// The machine.
    pub facts: NodeFacts,
    /// Its devices.
    pub devices: u32,
    /// How many of them are simulated: no such hardware is there.
    #[serde(default)]
    pub devices_simulated: u32,
    /// Leases it holds.
    pub leases: u32,
    /// How long ago its agent last called, if it did since this server started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_contact: Option<Micros>,
    /// Leases its agent holds that this server does not know. They are kept running.
    pub orphans: Vec<polder_model::LeaseId>,
}

/// The pool's devices, by node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceList {
    /// The devices.
    pub devices: Vec<DeviceView>,
}

/// One device and what is held of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceView {
    /// Its node.
    pub node: NodeId,
    /// Whether its node's agent calls.
    pub reachable: bool,
    /// What it is. `simulated` says that no such hardware is there.
    pub device: Device,
    /// Guaranteed compute of its leases.
    pub compute_held: Permille,
    /// Memory of its leases.
    pub memory_held: Bytes,
    /// Whether one lease has it whole.
    pub whole: bool,
    /// Leases on it.
    pub leases: Vec<polder_model::LeaseId>,
}

/// Which live leases to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct LeaseQuery {
    /// Only those of this tenant and all below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantPath>,
    /// Only those on this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// At most this many; 100 when absent, never more than 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Where the page before ended: its `cursor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// One page of live leases, oldest first, with their latest samples.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeaseList {
    /// The leases.
    pub leases: Vec<LeaseView>,
    /// Server time when the list was made, to turn `started_at` into a length.
    pub now: Timestamp,
    /// Ask again with this for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}
