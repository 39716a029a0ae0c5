//! Nodes, devices, live leases, and the server itself.

use super::extract::{Params, cursor, cursor_after, limit};
use super::{ApiError, App, sees};
use crate::api::{
    API_MAJOR, DeviceList, DeviceView, LeaseList, LeaseQuery, LeaseView, NodeList, NodeView,
    Status, VersionInfo, WhoAmI,
};
use crate::auth::{Action, Caller, decide};
use crate::writer::View;
use axum::Json;
use axum::extract::State;
use polder_engine::ENGINE_VERSION;
use polder_model::{Lease, Mechanism, Micros, Permille, SYNC_PROTOCOL};

fn ok() -> Json<Status> {
    Json(Status { status: "ok".to_owned() })
}

/// Whether the process answers.
#[utoipa::path(
    get, path = "/healthz", tag = "server",
    responses((status = 200, description = "It does", body = Status))
)]
pub(super) async fn healthz() -> Json<Status> {
    ok()
}

/// Whether the writer answers.
#[utoipa::path(
    get, path = "/readyz", tag = "server",
    responses((status = 200, description = "It does", body = Status))
)]
pub(super) async fn readyz(State(app): State<App>) -> Result<Json<Status>, ApiError> {
    app.handle.query(|_| ()).await?;
    Ok(ok())
}

/// Which program answers.
#[utoipa::path(
    get, path = "/api/v1/version", tag = "server",
    responses((status = 200, description = "Its versions", body = VersionInfo))
)]
pub(super) async fn version() -> Json<VersionInfo> {
    Json(VersionInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api: API_MAJOR,
        engine: ENGINE_VERSION,
        sync_protocol: SYNC_PROTOCOL,
        pid: std::process::id(),
    })
}

/// Who the server takes the caller for.
#[utoipa::path(
    get, path = "/api/v1/whoami", tag = "server",
    responses((status = 200, description = "Name, role and tenants", body = WhoAmI))
)]
pub(super) async fn whoami(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<WhoAmI>, ApiError> {
    let who = app.read(caller, |view, who| {
        let (user, role, tenants) = (who.user.clone(), who.role, who.tenants.clone());
        Ok(WhoAmI { user, role, tenants, pool: view.pool.clone(), now: view.at })
    });
    Ok(Json(who.await?))
}

/// The pool's nodes.
#[utoipa::path(
    get, path = "/api/v1/nodes", tag = "pool",
    responses((status = 200, description = "By name", body = NodeList))
)]
pub(super) async fn nodes(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<NodeList>, ApiError> {
    let nodes = app.read(caller, |view, who| {
        decide(who, Action::SeePool)?;
        Ok(node_views(view))
    });
    Ok(Json(NodeList { nodes: nodes.await? }))
}

fn node_views(view: &View<'_>) -> Vec<NodeView> {
    let simulated = |node: &polder_engine::NodeView<'_>| {
        node.inventory.devices.iter().filter(|device| device.simulated).count()
    };
    let show = |node: polder_engine::NodeView<'_>| NodeView {
        reachable: !node.silent,
        incarnation: node.incarnation,
        facts: node.inventory.node.clone(),
        devices: u32::try_from(node.inventory.devices.len()).unwrap_or(u32::MAX),
        devices_simulated: u32::try_from(simulated(&node)).unwrap_or(u32::MAX),
        leases: u32::try_from(view.engine.leases_of_node(node.id).count()).unwrap_or(u32::MAX),
        last_contact: view
            .nodes
            .last_contact(node.id)
            .map(|ago| Micros(u64::try_from(ago.as_micros()).unwrap_or(u64::MAX))),
        orphans: view.nodes.orphans(node.id).to_vec(),
        id: node.id.clone(),
    };
    view.engine.nodes().map(show).collect()
}

/// The pool's devices, with what is held of each.
#[utoipa::path(
    get, path = "/api/v1/devices", tag = "pool",
    responses((status = 200, description = "By node", body = DeviceList))
)]
pub(super) async fn devices(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<DeviceList>, ApiError> {
    let devices = app.read(caller, |view, who| {
        decide(who, Action::SeePool)?;
        Ok(device_views(view))
    });
    Ok(Json(DeviceList { devices: devices.await? }))
}

fn device_views(view: &View<'_>) -> Vec<DeviceView> {
    let mut devices = Vec::new();
    for node in view.engine.nodes() {
        for device in &node.inventory.devices {
            let held = node.held.get(&device.id).copied().unwrap_or_default();
            let on_it = |lease: &&Lease| lease.slices.iter().any(|slice| slice.device == device.id);
            let leases: Vec<&Lease> = view.engine.leases_of_node(node.id).filter(on_it).collect();
            let whole = leases
                .iter()
                .flat_map(|lease| &lease.slices)
                .any(|slice| slice.device == device.id && slice.mechanism == Mechanism::Whole);
            devices.push(DeviceView {
                node: node.id.clone(),
                reachable: !node.silent,
                device: device.clone(),
                compute_held: Permille(u32::try_from(held.compute).unwrap_or(u32::MAX)),
                memory_held: held.memory,
                whole,
                leases: leases.iter().map(|lease| lease.id).collect(),
            });
        }
    }
    devices
}

/// A lease that has not ended, with its latest sample.
pub(super) fn live_lease(view: &View<'_>, lease: &Lease) -> LeaseView {
    LeaseView {
        sample: view.nodes.sample(&lease.node, lease.id).cloned(),
        lease: lease.clone(),
        ending: None,
    }
}

/// Live leases with their latest samples.
#[utoipa::path(
    get, path = "/api/v1/leases", tag = "pool", params(LeaseQuery),
    responses((status = 200, description = "Oldest first", body = LeaseList))
)]
pub(super) async fn leases(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<LeaseQuery>,
) -> Result<Json<LeaseList>, ApiError> {
    let after = cursor(query.cursor.as_deref())?;
    let rows = limit(query.limit);
    let list = app.read(caller, move |view, who| {
        let wanted = |lease: &&Lease| {
            after.is_none_or(|after| lease.id.0 > after)
                && query.node.as_ref().is_none_or(|node| lease.node == *node)
                && query.tenant.as_ref().is_none_or(|tenant| lease.tenant.is_within(tenant))
                && (lease.user == who.user || sees(who, &lease.tenant))
        };
        let page = usize::try_from(rows).unwrap_or(usize::MAX);
        let leases = view.engine.leases().filter(wanted).take(page);
        let leases: Vec<LeaseView> = leases.map(|lease| live_lease(view, lease)).collect();
        let cursor = cursor_after(&leases, rows, |shown| shown.lease.id.0);
        Ok(LeaseList { leases, now: view.at, cursor })
    });
    Ok(Json(list.await?))
}
