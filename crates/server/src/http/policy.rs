//! The policy, reservations, and questions of what would happen.

use super::extract::Body;
use super::jobs::read_ask;
use super::{ApiError, App, sees};
use crate::api::{
    PolicyShadow, Removed, ReservationChange, ReservationList, WhatIf, WhatIfAnswer, WouldCutOff,
    WouldStart, WouldYield,
};
use crate::auth::{Action, Caller, Principal, decide};
use crate::writer::{View, Write, WriteError};
use axum::Json;
use axum::extract::{Path, State};
use polder_engine::{Outlook, Refusal};
use polder_model::{Event, JobId, Policy, Reservation, TenantPath};
use serde_json::Value;

/// The settings that decisions depend on.
#[utoipa::path(
    get, path = "/api/v1/policy", tag = "admin",
    responses((status = 200, description = "The policy", body = Policy))
)]
pub(super) async fn policy(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<Policy>, ApiError> {
    let policy = app.read(caller, |view, who| {
        decide(who, Action::SeePool)?;
        Ok(view.engine.policy().clone())
    });
    Ok(Json(policy.await?))
}

/// Changes the settings that decisions depend on, from the next decision on.
#[utoipa::path(
    put, path = "/api/v1/policy", tag = "admin", request_body = Policy,
    responses(
        (status = 200, description = "As it now is", body = Policy),
        (status = 422, description = "It contradicts itself", body = crate::api::Problem,
            content_type = "application/problem+json"),
    )
)]
pub(super) async fn set_policy(
    State(app): State<App>,
    caller: Caller,
    Body(policy): Body<Policy>,
) -> Result<Json<Policy>, ApiError> {
    let write = Write::PolicySet { policy: Box::new(policy.clone()) };
    app.written(caller, write, policy).await
}

/// Goes back to the policy that was in force before this one.
#[utoipa::path(
    post, path = "/api/v1/policy/rollback", tag = "admin",
    responses(
        (status = 200, description = "As it now is", body = Policy),
        (status = 409, description = "None is known", body = crate::api::Problem,
            content_type = "application/problem+json"),
    )
)]
pub(super) async fn roll_back(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<Policy>, ApiError> {
    app.handle.write(caller.clone(), Write::PolicyRollBack).await?;
    policy(State(app), caller).await
}

/// The policy that is looked at beside the one in force. Nothing is decided by it.
#[utoipa::path(
    get, path = "/api/v1/policy/shadow", tag = "admin",
    responses(
        (status = 200, description = "The policy, and since when", body = PolicyShadow),
        (status = 404, description = "There is none", body = crate::api::Problem,
            content_type = "application/problem+json"),
    )
)]
pub(super) async fn shadow(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<PolicyShadow>, ApiError> {
    let shadow = app.read(caller, |view, who| {
        decide(who, Action::SeePool)?;
        let shadow = view.engine.shadow().cloned();
        let shadow = shadow.ok_or(WriteError::Refused(Refusal::NoShadow))?;
        Ok(PolicyShadow { policy: shadow.policy, since: shadow.since })
    });
    Ok(Json(shadow.await?))
}

/// Looks at a policy beside the one in force, from now on.
#[utoipa::path(
    put, path = "/api/v1/policy/shadow", tag = "admin", request_body = Policy,
    responses(
        (status = 200, description = "The policy, and since when", body = PolicyShadow),
        (status = 422, description = "It contradicts itself", body = crate::api::Problem,
            content_type = "application/problem+json"),
    )
)]
pub(super) async fn set_shadow(
    State(app): State<App>,
    caller: Caller,
    Body(policy): Body<Policy>,
) -> Result<Json<PolicyShadow>, ApiError> {
    let write = Write::PolicyShadow { policy: Some(Box::new(policy)) };
    app.handle.write(caller.clone(), write).await?;
    shadow(State(app), caller).await
}

/// Looks at it no more.
#[utoipa::path(
    delete, path = "/api/v1/policy/shadow", tag = "admin",
    responses((status = 200, description = "It is gone", body = Removed))
)]
pub(super) async fn remove_shadow(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<Removed>, ApiError> {
    let removed = Removed { removed: "shadow".to_owned() };
    app.written(caller, Write::PolicyShadow { policy: None }, removed).await
}

/// Reservations and maintenance windows.
#[utoipa::path(
    get, path = "/api/v1/reservations", tag = "admin",
    responses((status = 200, description = "By name", body = ReservationList))
)]
pub(super) async fn reservations(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<ReservationList>, ApiError> {
    let reservations = app.read(caller, |view, who| {
        decide(who, Action::SeePool)?;
        Ok(view.engine.reservations().cloned().collect())
    });
    Ok(Json(ReservationList { reservations: reservations.await? }))
}

/// Reserves nodes for a tenant, or for maintenance.
#[utoipa::path(
    put, path = "/api/v1/reservations/{name}", tag = "admin", request_body = ReservationChange,
    params(("name" = String, Path, description = "The reservation's name")),
    responses((status = 200, description = "As it now is", body = Reservation))
)]
pub(super) async fn set_reservation(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Body(change): Body<ReservationChange>,
) -> Result<Json<Reservation>, ApiError> {
    let ReservationChange { tenant, nodes, from, until, why } = change;
    let reservation = Reservation { name, tenant, nodes, from, until, why };
    let write = Write::ReservationSet { reservation: reservation.clone() };
    app.written(caller, write, reservation).await
}

/// Gives a reservation up.
#[utoipa::path(
    delete, path = "/api/v1/reservations/{name}", tag = "admin",
    params(("name" = String, Path, description = "The reservation's name")),
    responses((status = 200, description = "It is gone", body = Removed))
)]
pub(super) async fn remove_reservation(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Removed>, ApiError> {
    let write = Write::ReservationRemove { name: name.clone() };
    app.written(caller, write, Removed { removed: name }).await
}

/// What would happen at once if this were asked, this were the policy, or these nodes were away.
/// Nothing is changed.
#[utoipa::path(
    post, path = "/api/v1/what-if", tag = "jobs", request_body = WhatIf,
    responses(
        (status = 200, description = "What would happen", body = WhatIfAnswer),
        (status = 422, description = "It could never be", body = crate::api::Problem,
            content_type = "application/problem+json"),
    )
)]
pub(super) async fn what_if(
    State(app): State<App>,
    caller: Caller,
    Body(mut body): Body<Value>,
) -> Result<Json<WhatIfAnswer>, ApiError> {
    let ask = match body.get_mut("ask").map(Value::take) {
        None | Some(Value::Null) => None,
        Some(ask) => Some(read_ask(&app, &caller, ask).await?),
    };
    let question: WhatIf = serde_json::from_value(body)
        .map_err(|error| ApiError::bad_request(format!("in the body: {error}")))?;
    let answer = app.read(caller, move |view, who| {
        let mut events = Vec::new();
        if let Some(policy) = question.policy {
            decide(who, Action::ChangePolicy)?;
            events.push(Event::PolicySet { policy: Box::new(policy) });
        }
        events.extend(question.nodes_silent.into_iter().map(|node| Event::NodeSilent { node }));
        let asked = ask.map(|ask| (view.engine.next_job_id(), ask));
        if let Some((job, ask)) = &asked {
            decide(who, Action::Submit(&ask.tenant))?;
            events.push(Event::JobSubmitted { job: *job, ask: ask.clone(), key: None });
        }
        let outlook =
            view.engine.what_if(view.at, &events).map_err(crate::writer::WriteError::Refused)?;
        Ok(shown(view, who, outlook, asked.map(|(job, _)| job)))
    });
    Ok(Json(answer.await?))
}

/// What of it the caller may see.
fn shown(view: &View<'_>, who: &Principal, outlook: Outlook, asked: Option<JobId>) -> WhatIfAnswer {
    let tenant = |job: JobId| -> Option<TenantPath> {
        view.engine.jobs().find(|other| other.id == job).map(|job| job.ask.tenant.clone())
    };
    let seen =
        |job: JobId| Some(job) == asked || tenant(job).is_some_and(|tenant| sees(who, &tenant));
    let starts = outlook.starts.into_iter().filter(|(job, _)| seen(*job));
    let yields = outlook.yields.into_iter().filter(|(job, ..)| seen(*job));
    let cut_off = outlook.cut_off.into_iter().filter(|(job, ..)| seen(*job));
    WhatIfAnswer {
        cut_off: cut_off.map(|(job, node, tasks)| WouldCutOff { job, node, tasks }).collect(),
        starts: starts
            .map(|(job, spots)| WouldStart { job, asked: Some(job) == asked, spots })
            .collect(),
        yields: yields.map(|(job, to, ground)| WouldYield { job, to, ground }).collect(),
        waits: outlook.waits.into_iter().next(),
        more: outlook.more,
    }
}
