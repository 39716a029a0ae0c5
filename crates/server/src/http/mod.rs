//! The REST API: handlers parse, ask the writer or the archive, and render. None of them acts.

mod admin;
mod agent;
mod events;
mod extract;
mod jobs;
mod listen;
mod logs;
mod openapi;
mod policy;
mod pool;
mod problem;
mod usage;
mod wait;

pub(crate) use listen::{Listeners, Peer};
pub use logs::{LogChunks, LogOutput, LogRequest, Logs, LogsError, NoLogs};
pub use openapi::openapi_json;
pub(crate) use problem::ApiError;

use crate::api::{API_HEADER, API_MAJOR, BODY_BYTES_MAX};
use crate::auth::{Action, Caller, Guard, Principal, decide, principal};
use crate::journal::Archive;
use crate::stop::signalled;
use crate::writer::{Handle, View, Write};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router, http::StatusCode};
use futures_util::FutureExt as _;
use polder_model::TenantPath;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// Largest body of an agent's call: it carries every lease of its node.
const SYNC_BODY_BYTES_MAX: usize = 16 << 20;

/// What handlers share.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) handle: Handle,
    pub(crate) archive: Archive,
    pub(crate) logs: Arc<dyn Logs>,
    pub(crate) state_dir: PathBuf,
    /// Turns true when the server stops.
    pub(crate) stop: watch::Sender<bool>,
    /// Guards loopback HTTP, where that is served.
    pub(crate) guard: Option<Arc<Guard>>,
}

impl App {
    /// Writes, and answers with this once it is durable.
    async fn written<T>(
        &self,
        caller: Caller,
        write: Write,
        answer: T,
    ) -> Result<Json<T>, ApiError> {
        self.handle.write(caller, write).await?;
        Ok(Json(answer))
    }

    /// Reads the durable state as a known caller.
    async fn read<T: Send + 'static>(
        &self,
        caller: Caller,
        read: impl FnOnce(&View<'_>, &Principal) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let read = move |view: &View<'_>| read(view, &principal(view.engine, &caller)?);
        self.handle.query(read).await?
    }

    /// What the pool knows of a caller.
    async fn principal(&self, caller: Caller) -> Result<Principal, ApiError> {
        self.read(caller, |_, who| Ok(who.clone())).await
    }

    /// Returns when the server stops.
    async fn stopped(&self) {
        signalled(&mut self.stop.subscribe()).await;
    }
}

/// The tenants a caller may see: `None` means all.
fn visible(who: &Principal) -> Option<Vec<TenantPath>> {
    (who.role < polder_model::Role::Operator).then(|| who.tenants.clone())
}

fn sees(who: &Principal, tenant: &TenantPath) -> bool {
    decide(who, Action::SeeTenant(tenant)).is_ok()
}

/// Every path of the API.
pub(crate) fn router(app: App) -> Router {
    let sync = post(agent::sync).layer(DefaultBodyLimit::max(SYNC_BODY_BYTES_MAX));
    let tenant = get(admin::tenant).put(admin::set_tenant).delete(admin::remove_tenant);
    let user = get(admin::user).put(admin::set_user).delete(admin::remove_user);
    let shadow = get(policy::shadow).put(policy::set_shadow).delete(policy::remove_shadow);
    let reservation = put(policy::set_reservation).delete(policy::remove_reservation);
    Router::new()
        .route("/healthz", get(pool::healthz))
        .route("/readyz", get(pool::readyz))
        .route("/openapi.json", get(openapi::document))
        .route("/api/v1/version", get(pool::version))
        .route("/api/v1/whoami", get(pool::whoami))
        .route("/api/v1/jobs", get(jobs::list).post(jobs::submit))
        .route("/api/v1/jobs/{id}", get(jobs::show))
        .route("/api/v1/jobs/{id}/wait", get(wait::wait))
        .route("/api/v1/jobs/{id}/cancel", post(jobs::cancel))
        .route("/api/v1/jobs/{id}/scale", post(jobs::scale))
        .route("/api/v1/jobs/{id}/resize", post(jobs::resize))
        .route("/api/v1/jobs/{id}/explain", get(jobs::explain))
        .route("/api/v1/jobs/{id}/logs", get(logs::logs))
        .route("/api/v1/queue", get(jobs::queue))
        .route("/api/v1/nodes", get(pool::nodes))
        .route("/api/v1/devices", get(pool::devices))
        .route("/api/v1/leases", get(pool::leases))
        .route("/api/v1/usage", get(usage::usage))
        .route("/api/v1/events", get(events::events))
        .route("/api/v1/audit", get(admin::audit))
        .route("/api/v1/tenants", get(admin::tenants))
        .route("/api/v1/tenants/{*path}", tenant)
        .route("/api/v1/users", get(admin::users))
        .route("/api/v1/users/{name}", user)
        .route("/api/v1/policy", get(policy::policy).put(policy::set_policy))
        .route("/api/v1/policy/rollback", post(policy::roll_back))
        .route("/api/v1/policy/shadow", shadow)
        .route("/api/v1/demand", get(usage::demand))
        .route("/api/v1/reservations", get(policy::reservations))
        .route("/api/v1/reservations/{name}", reservation)
        .route("/api/v1/what-if", post(policy::what_if))
        .route("/api/v1/backup", post(admin::backup))
        .route("/api/v1/shutdown", post(admin::shutdown))
        .route("/api/v1/agent/sync", sync)
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(app.clone(), gate))
        .with_state(app)
}

/// Every request passes here first: where it came from, which version it speaks. A panic in one
/// request is that request's alone.
async fn gate(State(app): State<App>, mut request: Request, next: Next) -> Response {
    match admit(&app, request.extensions().get(), request.uri(), request.headers()) {
        Ok(caller) => drop(request.extensions_mut().insert(caller)),
        Err(refusal) => return refusal.into_response(),
    }
    let path = request.uri().path().to_owned();
    AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!(path, "a request panicked");
        ApiError::internal(format!("{path} could not be served")).into_response()
    })
}

fn admit(
    app: &App,
    peer: Option<&Peer>,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Caller, ApiError> {
    let caller = match (peer, &app.guard) {
        (Some(Peer::Unix(caller)), _) => caller.clone(),
        (Some(Peer::Loopback), Some(guard)) => {
            guard.check(uri, headers)?;
            Caller::from_token()
        }
        _ => return Err(ApiError::internal("the connection has no known origin")),
    };
    if let Some(found) = headers.get(API_HEADER) {
        let found = found.to_str().unwrap_or("(unreadable)");
        let major = found.split('.').next().unwrap_or(found);
        if major.parse() != Ok(API_MAJOR) {
            return Err(ApiError::other_version(found));
        }
    }
    Ok(caller)
}

async fn no_such_path(uri: Uri) -> ApiError {
    ApiError::not_found(format!("{} is no path of this API", uri.path()))
        .help("GET /openapi.json lists them")
}

async fn no_such_method(uri: Uri) -> ApiError {
    let title = "The path is served, but not with this method";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method", title, uri.path())
        .help("GET /openapi.json lists the methods of each path")
}
