//! Tenants, users, the audit log, backups and the end of the server.

use super::extract::{Body, Params, cursor, cursor_after, limit, parse};
use super::{ApiError, App, sees};
use crate::api::{
    AuditList, AuditQuery, BackupDone, BackupRequest, Removed, ShutdownAnswer, ShutdownRequest,
    TenantChange, TenantList, TenantView, UserChange, UserList,
};
use crate::auth::{Action, Caller, decide};
use crate::writer::{View, Write, Written};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use polder_model::{Tenant, TenantPath, User, UserName};
use rustix::fs::{CWD, RenameFlags};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Component, Path as FilePath, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// Where callers other than the server's own user may put backups, within the state folder.
const BACKUP_FOLDER: &str = "backups";
/// How long a shutdown with `end_tasks` waits for tasks to end.
const END_TASKS_MAX: Duration = Duration::from_secs(60);
/// How often it looks.
const END_TASKS_POLL: Duration = Duration::from_millis(50);

fn tenant_view(view: &View<'_>, tenant: &Tenant) -> TenantView {
    let held = view.engine.held_by(&tenant.path);
    TenantView {
        tenant: tenant.clone(),
        devices_held: held.devices,
        compute_held: held.compute,
        memory_held: held.memory,
    }
}

/// The tenants that the caller may see.
#[utoipa::path(
    get, path = "/api/v1/tenants", tag = "admin",
    responses((status = 200, description = "By path", body = TenantList))
)]
pub(super) async fn tenants(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<TenantList>, ApiError> {
    let tenants = app.read(caller, |view, who| {
        let seen = view.engine.tenants().filter(|tenant| sees(who, &tenant.path));
        Ok(seen.map(|tenant| tenant_view(view, tenant)).collect())
    });
    Ok(Json(TenantList { tenants: tenants.await? }))
}

/// One tenant.
#[utoipa::path(
    get, path = "/api/v1/tenants/{path}", tag = "admin",
    params(("path" = String, Path, description = "The tenant's path; '/' stays as it is")),
    responses((status = 200, description = "The tenant and what it holds", body = TenantView))
)]
pub(super) async fn tenant(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
) -> Result<Json<TenantView>, ApiError> {
    let path: TenantPath = parse(&path)?;
    let tenant = app.read(caller, move |view, who| {
        decide(who, Action::SeeTenant(&path))?;
        let found = view.engine.tenants().find(|tenant| tenant.path == path);
        let view = found.map(|tenant| tenant_view(view, tenant));
        view.ok_or_else(|| ApiError::not_found(format!("there is no tenant {path}")))
    });
    Ok(Json(tenant.await?))
}

/// Adds a tenant, or sets what it may hold.
#[utoipa::path(
    put, path = "/api/v1/tenants/{path}", tag = "admin", request_body = TenantChange,
    params(("path" = String, Path, description = "The tenant's path; '/' stays as it is")),
    responses((status = 200, description = "As it now is", body = TenantView))
)]
pub(super) async fn set_tenant(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
    Body(change): Body<TenantChange>,
) -> Result<Json<TenantView>, ApiError> {
    let TenantChange { quota, default_compute, share, user_quota } = change;
    let tenant = Tenant { path: parse(&path)?, quota, default_compute, share, user_quota };
    app.handle.write(caller, Write::TenantSet { tenant: tenant.clone() }).await?;
    Ok(Json(app.handle.query(move |view| tenant_view(view, &tenant)).await?))
}

/// Removes a tenant that has no job, no user and no tenant below it.
#[utoipa::path(
    delete, path = "/api/v1/tenants/{path}", tag = "admin",
    params(("path" = String, Path, description = "The tenant's path; '/' stays as it is")),
    responses((status = 200, description = "It is gone", body = Removed))
)]
pub(super) async fn remove_tenant(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
) -> Result<Json<Removed>, ApiError> {
    let write = Write::TenantRemove { path: parse(&path)? };
    app.handle.write(caller, write).await.map_err(|error| missing(error, "tenant", &path))?;
    Ok(Json(Removed { removed: path }))
}

/// A removal of what is not there is "not found", whatever the engine calls it.
fn missing(error: crate::writer::WriteError, what: &str, name: &str) -> ApiError {
    use crate::writer::WriteError::Refused;
    match error {
        Refused(polder_engine::Refusal::UnknownTenant { .. }) => {
            ApiError::not_found(format!("there is no {what} {name}"))
        }
        error => error.into(),
    }
}

/// The users that the caller may see.
#[utoipa::path(
    get, path = "/api/v1/users", tag = "admin",
    responses((status = 200, description = "By name", body = UserList))
)]
pub(super) async fn users(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<UserList>, ApiError> {
    let users = app.read(caller, |view, who| {
        let seen = |user: &&User| decide(who, Action::SeeUser(user)).is_ok();
        Ok(view.engine.users().filter(seen).cloned().collect())
    });
    Ok(Json(UserList { users: users.await? }))
}

/// One user.
#[utoipa::path(
    get, path = "/api/v1/users/{name}", tag = "admin",
    params(("name" = String, Path, description = "The user's name")),
    responses((status = 200, description = "The user", body = User))
)]
pub(super) async fn user(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<User>, ApiError> {
    let name: UserName = parse(&name)?;
    let user = app.read(caller, move |view, who| {
        let seen = |user: &&User| decide(who, Action::SeeUser(user)).is_ok();
        let found = view.engine.users().find(|user| user.name == name).filter(seen);
        found
            .cloned()
            .ok_or_else(|| ApiError::not_found(format!("there is no user {name} that you may see")))
    });
    Ok(Json(user.await?))
}

/// Adds a user, or sets their role and tenants.
#[utoipa::path(
    put, path = "/api/v1/users/{name}", tag = "admin", request_body = UserChange,
    params(("name" = String, Path, description = "The user's name")),
    responses((status = 200, description = "As it now is", body = User))
)]
pub(super) async fn set_user(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Body(change): Body<UserChange>,
) -> Result<Json<User>, ApiError> {
    let write = Write::UserSet { name: parse(&name)?, change };
    match app.handle.write(caller, write).await? {
        Written::User(user) => Ok(Json(*user)),
        _ => Err(ApiError::other_answer("a user's change")),
    }
}

/// Removes a user. Their jobs stay.
#[utoipa::path(
    delete, path = "/api/v1/users/{name}", tag = "admin",
    params(("name" = String, Path, description = "The user's name")),
    responses((status = 200, description = "It is gone", body = Removed))
)]
pub(super) async fn remove_user(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Removed>, ApiError> {
    let write = Write::UserRemove { name: parse(&name)? };
    app.written(caller, write, Removed { removed: name }).await
}

/// Every write, newest first.
#[utoipa::path(
    get, path = "/api/v1/audit", tag = "admin", params(AuditQuery),
    responses((status = 200, description = "One page", body = AuditList))
)]
pub(super) async fn audit(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<AuditQuery>,
) -> Result<Json<AuditList>, ApiError> {
    decide(&app.principal(caller).await?, Action::SeeAudit)?;
    let (before, wanted) = (cursor(query.cursor.as_deref())?, limit(query.limit));
    let rows = app.archive.audit(query.user.as_ref(), before, wanted).await?;
    let cursor = cursor_after(&rows, wanted, |row| row.id);
    Ok(Json(AuditList { rows, cursor }))
}

/// Copies the journal, whole and as of now, to a new file.
#[utoipa::path(
    post, path = "/api/v1/backup", tag = "admin", request_body = BackupRequest,
    responses((status = 200, description = "It is complete and on disk", body = BackupDone))
)]
pub(super) async fn backup(
    State(app): State<App>,
    caller: Caller,
    Body(request): Body<BackupRequest>,
) -> Result<Json<BackupDone>, ApiError> {
    let path = request.path;
    let owner = caller.owner;
    app.handle.write(caller, Write::Backup { path: path.clone() }).await?;
    let target = backup_target(&app.state_dir, &path, owner)?;
    let mut draft = target.clone().into_os_string();
    draft.push(".partial");
    let draft = PathBuf::from(draft);
    let done = copy(&app, &draft, &target).await;
    if done.is_err() {
        // What is left of a copy that failed is of no use; that it is absent is as well.
        let _ = std::fs::remove_file(&draft);
    }
    let (bytes, seq) = done?;
    Ok(Json(BackupDone { path, bytes, seq }))
}

async fn copy(
    app: &App,
    draft: &FilePath,
    target: &FilePath,
) -> Result<(polder_model::Bytes, u64), ApiError> {
    let help = "choose a folder that is there, that the server can write to and that has room";
    let failed = |error: std::io::Error| {
        ApiError::bad_request(format!("backup to {target:?}: {error}")).help(help)
    };
    crate::state::make_private(draft).map_err(failed)?;
    let text = draft.to_str().ok_or_else(|| ApiError::bad_request("the path is not text"))?;
    let copied = app.archive.copy_to(text).await;
    let copied = copied.map_err(|error| {
        ApiError::bad_request(format!("backup to {draft:?}: {error}")).help(help)
    })?;
    let renamed = rustix::fs::renameat_with(CWD, draft, CWD, target, RenameFlags::NOREPLACE);
    renamed.map_err(|error| failed(error.into()))?;
    let folder = target.parent().and_then(|folder| std::fs::File::open(folder).ok());
    folder.map_or(Ok(()), |folder| folder.sync_all()).map_err(failed)?;
    Ok(copied)
}

/// Where a backup may go. An administrator who is not the server's own user must not make the
/// server write files for them just anywhere.
fn backup_target(state: &FilePath, path: &str, owner: bool) -> Result<PathBuf, ApiError> {
    let target = PathBuf::from(path);
    let plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    if !target.is_absolute() || !target.components().all(plain) || target.file_name().is_none() {
        return Err(ApiError::bad_request(format!(
            "path {path:?} is not an absolute path without '..'"
        )));
    }
    let folder = state.join(BACKUP_FOLDER);
    if target.starts_with(&folder) {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|error| ApiError::internal(format!("{folder:?}: {error}")))?;
    } else if !owner {
        let detail = format!("{path:?} is outside {folder:?}");
        return Err(ApiError::forbidden("forbidden", detail)
            .help("only root and the server's own user choose other folders"));
    }
    if target.symlink_metadata().is_ok() {
        let detail = format!("{path:?} exists already");
        return Err(ApiError::conflict("exists", detail).help("name a file that does not exist"));
    }
    Ok(target)
}

/// Stops the server, and every task first if asked to.
#[utoipa::path(
    post, path = "/api/v1/shutdown", tag = "admin", request_body = ShutdownRequest,
    responses((status = 200, description = "It stops right after", body = ShutdownAnswer))
)]
pub(super) async fn shutdown(
    State(app): State<App>,
    caller: Caller,
    Body(request): Body<ShutdownRequest>,
) -> Result<(StatusCode, Json<ShutdownAnswer>), ApiError> {
    let end_tasks = request.end_tasks;
    let written = app.handle.write(caller, Write::Shutdown { end_tasks }).await?;
    let cancelled = if let Written::Stopped { cancelled } = written { cancelled } else { 0 };
    let deadline = Instant::now() + END_TASKS_MAX;
    let leases_left = loop {
        let left = app.handle.query(|view| view.engine.leases().count()).await?;
        if left == 0 || !end_tasks || Instant::now() >= deadline {
            break u64::try_from(left).unwrap_or(u64::MAX);
        }
        tokio::time::sleep(END_TASKS_POLL).await;
    };
    app.stop.send_replace(true);
    Ok((StatusCode::OK, Json(ShutdownAnswer { cancelled, leases_left })))
}
