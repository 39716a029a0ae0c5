//! Jobs and the queue.

use super::extract::{Body, Params, cursor, cursor_after, limit, parse};
use super::pool::live_lease;
use super::{ApiError, App, sees, visible};
use crate::api::{
    IDEMPOTENCY_HEADER, IDEMPOTENCY_KEY_MAX, JobDetail, JobList, JobQuery, LIST_LIMIT_MAX,
    LeaseEnding, LeaseView, QueueEntry, QueueView, ResizeRequest, ScaleRequest, StateFilter,
};
use crate::auth::{Action, Caller, Principal, decide};
use crate::journal::{EndedLease, JobFilter};
use crate::writer::{View, Write, WriteError, Written};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use polder_engine::{JobView, Refusal};
use polder_model::{Ask, Explanation, Job, JobId, JobState, Outcome, Reason};
use serde_json::Value;
use std::cmp::Reverse;

/// Jobs at the head of the queue whose reasons are shown.
const QUEUE_REASONS_MAX: u64 = 20;

/// Accepts a job. The user is always the caller; an absent tenant is the caller's first.
#[utoipa::path(
    post, path = "/api/v1/jobs", tag = "jobs", request_body = Ask,
    params((
        "idempotency-key" = Option<String>, Header,
        description = "Sending the same job twice with the same key makes one job"
    )),
    responses(
        (status = 201, description = "Accepted and durable", body = Job),
        (status = 200, description = "The key already stands for this job", body = Job),
        (status = 409, description = "The key stands for another job", body = crate::api::Problem,
            content_type = "application/problem+json"),
        (status = 422, description = "The pool could never serve it", body = crate::api::Problem,
            content_type = "application/problem+json"),
    )
)]
pub(super) async fn submit(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Body(body): Body<Value>,
) -> Result<Response, ApiError> {
    let key = idempotency_key(&headers)?;
    let ask = read_ask(&app, &caller, body).await?;
    let write = Write::Submit { ask: Box::new(ask), key };
    match app.handle.write(caller, write).await? {
        Written::Job { job, created } => {
            let status = if created { StatusCode::CREATED } else { StatusCode::OK };
            let location = format!("/api/v1/jobs/{}", job.id);
            Ok((status, [(header::LOCATION, location)], Json(*job)).into_response())
        }
        _ => Err(ApiError::other_answer("a submission")),
    }
}

pub(super) async fn read_ask(app: &App, caller: &Caller, mut body: Value) -> Result<Ask, ApiError> {
    let Some(members) = body.as_object_mut() else {
        return Err(ApiError::bad_request("in the body: a job is a JSON object"));
    };
    members.insert("user".into(), Value::String(caller.user.to_string()));
    if members.get("tenant").is_none_or(Value::is_null) {
        let who = app.principal(caller.clone()).await?;
        let Some(tenant) = who.tenants.first() else {
            return Err(ApiError::bad_request(format!("{} has no tenant of their own", who.user))
                .help("name one in `tenant`"));
        };
        members.insert("tenant".into(), Value::String(tenant.to_string()));
    }
    serde_json::from_value(body)
        .map_err(|error| ApiError::bad_request(format!("in the body: {error}")))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(IDEMPOTENCY_HEADER) else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=IDEMPOTENCY_KEY_MAX).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err(ApiError::bad_request(format!(
            "Idempotency-Key must be 1 to {IDEMPOTENCY_KEY_MAX} visible ASCII characters"
        ))),
    }
}

/// Jobs, newest first, the finished ones too. Environments are left out of lists.
#[utoipa::path(
    get, path = "/api/v1/jobs", tag = "jobs", params(JobQuery),
    responses(
        (status = 200, description = "One page", body = JobList),
        (status = 404, description = "No such tenant or user", body = crate::api::Problem,
            content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<JobQuery>,
) -> Result<Json<JobList>, ApiError> {
    let before = cursor(query.cursor.as_deref())?.map(JobId);
    let rows = limit(query.limit);
    let wanted = query.clone();
    let (who, unknown, mut jobs) = app
        .read(caller, move |view, who| {
            let unknown = unknown(view, who, &wanted);
            Ok((who.clone(), unknown, live_jobs(view, who, &wanted, before)))
        })
        .await?;
    let own = query.user.as_ref() == Some(&who.user);
    let tenants = if own { None } else { visible(&who) };
    let (tenants, tenant, user) = (tenants.as_deref(), query.tenant.as_ref(), &query.user);
    let filter = JobFilter { before, tenants, tenant, user: user.as_ref(), limit: rows };
    if let Some(unknown) = unknown.filter(|_| jobs.is_empty()) {
        // Who was removed may have left jobs that are over.
        let any = JobFilter { before: None, limit: 1, ..filter };
        if app.archive.jobs(&any).await?.is_empty() {
            return Err(unknown);
        }
    }
    if matches!(query.state, None | Some(StateFilter::Finished)) {
        // A job that was over between the two looks is in both; the later look counts.
        jobs.splice(0..0, app.archive.jobs(&filter).await?);
    }
    jobs.sort_by_key(|job| Reverse(job.id));
    jobs.dedup_by_key(|job| job.id);
    jobs.truncate(usize::try_from(rows).unwrap_or(usize::MAX));
    jobs.iter_mut().for_each(|job| job.ask.work.environment.clear());
    let cursor = cursor_after(&jobs, rows, |job| job.id.0);
    Ok(Json(JobList { jobs, cursor }))
}

/// Whom a query names and nobody knows: a slip of the pen is not to look like an empty queue. The
/// name of a tenant that the caller may not see says nothing either.
fn unknown(view: &View<'_>, who: &Principal, query: &JobQuery) -> Option<ApiError> {
    let engine = view.engine;
    let tenant = query.tenant.as_ref().filter(|tenant| {
        let known = engine.tenants().any(|known| known.path == **tenant);
        let above = who.tenants.iter().any(|own| own.is_within(tenant));
        !known || !(sees(who, tenant) || above)
    });
    let user = query.user.as_ref().filter(|user| !engine.users().any(|known| known.name == **user));
    let what = match (tenant, user) {
        (Some(tenant), _) => format!("there is no tenant {tenant} that you may see"),
        (None, Some(user)) => format!("there is no user {user}"),
        (None, None) => return None,
    };
    Some(ApiError::not_found(what))
}

fn live_jobs(
    view: &View<'_>,
    who: &Principal,
    query: &JobQuery,
    before: Option<JobId>,
) -> Vec<Job> {
    let wanted = |job: &JobView<'_>| {
        let state = match (query.state, &job.state) {
            (None | Some(StateFilter::Live), _) => true,
            (Some(StateFilter::Queued), state) => *state == JobState::Queued,
            (Some(StateFilter::Starting), state) => *state == JobState::Starting,
            (Some(StateFilter::Running), state) => *state == JobState::Running,
            (Some(StateFilter::Stopping), state) => *state == JobState::Stopping,
            (Some(StateFilter::Finished), _) => false,
        };
        state
            && before.is_none_or(|before| job.id < before)
            && query.tenant.as_ref().is_none_or(|tenant| job.ask.tenant.is_within(tenant))
            && query.user.as_ref().is_none_or(|user| job.ask.user == *user)
            && may_see(who, job.ask)
    };
    let mut found: Vec<JobView<'_>> = view.engine.jobs().filter(wanted).collect();
    found.sort_by_key(|job| Reverse(job.id));
    let rows = usize::try_from(limit(query.limit)).unwrap_or(usize::MAX);
    found.iter().take(rows).map(JobView::to_job).collect()
}

/// Whether a caller may see this job: of their tenants, or their own.
pub(super) fn may_see(who: &Principal, ask: &Ask) -> bool {
    ask.user == who.user || sees(who, &ask.tenant)
}

/// A job as this caller may see it.
pub(super) fn show_to(who: &Principal, mut job: Job) -> Job {
    if decide(who, Action::SeeEnvironment { owner: &job.ask.user }).is_err() {
        job.ask.work.environment.clear();
    }
    job
}

/// A finished job, if the caller may see it.
pub(super) async fn finished(app: &App, who: &Principal, id: JobId) -> Result<Job, ApiError> {
    let job = app.archive.job(id).await?.filter(|job| may_see(who, &job.ask));
    job.map(|job| show_to(who, job)).ok_or_else(|| ApiError::no_job(id))
}

/// One job and its leases.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}", tag = "jobs",
    params(("id" = u64, Path, description = "The job's number")),
    responses((status = 200, description = "The job", body = JobDetail))
)]
pub(super) async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<JobDetail>, ApiError> {
    let id: JobId = parse(&id)?;
    Ok(Json(detail(&app, caller, id).await?))
}

/// Everything known of a job, wherever it is.
pub(super) async fn detail(app: &App, caller: Caller, id: JobId) -> Result<JobDetail, ApiError> {
    let (who, live) = app
        .read(caller, move |view, who| {
            let job = view.engine.job(id).filter(|job| may_see(who, &job.ask));
            let live = job.map(|job| {
                let leases = job.leases.iter().filter_map(|lease| view.engine.lease(*lease));
                let leases: Vec<LeaseView> = leases.map(|lease| live_lease(view, lease)).collect();
                let position = view.positions().get(&id).copied();
                JobDetail { job: show_to(who, job), position, leases }
            });
            Ok((who.clone(), live))
        })
        .await?;
    let mut detail = match live {
        Some(live) => live,
        None => {
            let job = finished(app, &who, id).await?;
            JobDetail { job, position: None, leases: Vec::new() }
        }
    };
    for ended in app.archive.leases_of(id).await? {
        detail.leases.retain(|live| live.lease.id != ended.lease.id);
        let ending = Some(LeaseEnding { at: ended.at, end: ended.end });
        detail.leases.push(LeaseView { lease: ended.lease, sample: None, ending });
    }
    detail.leases.sort_by_key(|lease| lease.lease.id);
    Ok(detail)
}

/// Ends a job. Cancelling it again changes nothing.
#[utoipa::path(
    post, path = "/api/v1/jobs/{id}/cancel", tag = "jobs",
    params(("id" = u64, Path, description = "The job's number")),
    responses(
        (status = 200, description = "It is being ended, durably", body = Job),
        (status = 409, description = "It is over", body = crate::api::Problem,
            content_type = "application/problem+json"),
    )
)]
pub(super) async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Job>, ApiError> {
    let job: JobId = parse(&id)?;
    change(&app, caller, job, Write::Cancel { job }, "a cancellation").await
}

/// Changes a job that is not over.
async fn change(
    app: &App,
    caller: Caller,
    job: JobId,
    write: Write,
    what: &'static str,
) -> Result<Json<Job>, ApiError> {
    match app.handle.write(caller.clone(), write).await {
        Ok(Written::Job { job, .. }) => {
            let who = app.principal(caller).await?;
            Ok(Json(show_to(&who, *job)))
        }
        Err(WriteError::Refused(Refusal::UnknownJob { .. })) => {
            let who = app.principal(caller).await?;
            let over = finished(app, &who, job).await?;
            Err(ApiError::conflict("over", format!("job {job} is already over: {}", over.state)))
        }
        Err(error) => Err(error.into()),
        Ok(_) => Err(ApiError::other_answer(what)),
    }
}

/// Changes how many replicas a service has, from now on.
#[utoipa::path(
    post, path = "/api/v1/jobs/{id}/scale", tag = "jobs",
    params(("id" = u64, Path, description = "The job's number")),
    request_body = ScaleRequest,
    responses(
        (status = 200, description = "It has these bounds, durably", body = Job),
        (status = 409, description = "It is over, or no service", body = crate::api::Problem,
            content_type = "application/problem+json"),
    )
)]
pub(super) async fn scale(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Body(request): Body<ScaleRequest>,
) -> Result<Json<Job>, ApiError> {
    let job: JobId = parse(&id)?;
    let ScaleRequest { min, max } = request;
    change(&app, caller, job, Write::Scale { job, min, max }, "a change of size").await
}

/// Changes the share, cap, memory, priority or class of a job that waits or runs: every member of
/// it alike, from now on. Growing beyond what is free is refused; nothing waits for it.
#[utoipa::path(
    post, path = "/api/v1/jobs/{id}/resize", tag = "jobs",
    params(("id" = u64, Path, description = "The job's number")),
    request_body = ResizeRequest,
    responses(
        (status = 200, description = "It has this size, durably", body = Job),
        (status = 409, description = "It is over or being ended, its size is fixed, it holds more \
            memory, or there is no room", body = crate::api::Problem,
            content_type = "application/problem+json"),
        (status = 422, description = "No job can have this size", body = crate::api::Problem,
            content_type = "application/problem+json"),
    )
)]
pub(super) async fn resize(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Body(request): Body<ResizeRequest>,
) -> Result<Json<Job>, ApiError> {
    let job: JobId = parse(&id)?;
    if request == ResizeRequest::default() {
        return Err(ApiError::bad_request("in the body: it says nothing that is to change")
            .help("name one of compute, compute_max, memory, priority and class"));
    }
    change(&app, caller, job, Write::Resize { job, request }, "a resize").await
}

/// Why a job is where it is.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}/explain", tag = "jobs",
    params(("id" = u64, Path, description = "The job's number")),
    responses((status = 200, description = "Typed reasons with numbers", body = Explanation))
)]
pub(super) async fn explain(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Explanation>, ApiError> {
    let id: JobId = parse(&id)?;
    let (who, explanation) = app
        .read(caller, move |view, who| {
            let job = view.engine.job(id).filter(|job| may_see(who, &job.ask));
            let explanation =
                job.and_then(|job| Some((view.engine.explain(view.at, id)?, job.attempt)));
            Ok((who.clone(), explanation))
        })
        .await?;
    if let Some((mut explanation, attempt)) = explanation {
        if attempt > 1 {
            explanation.reasons.extend(lost_before(&app, id, attempt).await?);
        }
        return Ok(Json(explanation));
    }
    let state = finished(&app, &who, id).await?.state;
    Ok(Json(Explanation::bare(id, state)))
}

/// That the try before this one was lost, if it was. Of a gang the first lost member tells it.
async fn lost_before(app: &App, id: JobId, attempt: u32) -> Result<Option<Reason>, ApiError> {
    let before = attempt.saturating_sub(1);
    let ended = app.archive.leases_of(id).await?.into_iter();
    let mut of_it = ended.filter(|ended| ended.lease.attempt == before);
    Ok(of_it.find_map(|EndedLease { end, .. }| match end.outcome {
        Outcome::Lost { why } => Some(Reason::Lost { attempt: before, why }),
        _ => None,
    }))
}

/// The queue, from its head.
#[utoipa::path(
    get, path = "/api/v1/queue", tag = "jobs",
    responses((status = 200, description = "Who waits, in order", body = QueueView))
)]
pub(super) async fn queue(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<QueueView>, ApiError> {
    let queue = app.read(caller, |view, who| Ok(queue_of(view, who))).await?;
    Ok(Json(queue))
}

fn queue_of(view: &View<'_>, who: &Principal) -> QueueView {
    let mut queue = QueueView { entries: Vec::new(), total: 0 };
    let rows_max = usize::try_from(LIST_LIMIT_MAX).unwrap_or(usize::MAX);
    for id in view.engine.queue(view.at) {
        queue.total += 1;
        if queue.entries.len() >= rows_max {
            continue;
        }
        let Some(job) = view.engine.job(id).filter(|job| may_see(who, &job.ask)) else { continue };
        let position = queue.total;
        let explained = (position <= QUEUE_REASONS_MAX).then(|| view.engine.explain(view.at, id));
        let reasons = explained.flatten().map(|explanation| explanation.reasons);
        let expired = job.ask.when.priority_expiry.is_some_and(|expiry| expiry <= view.at);
        queue.entries.push(QueueEntry {
            position,
            job: id,
            name: job.ask.name,
            tenant: job.ask.tenant,
            user: job.ask.user,
            command: job.ask.work.command,
            gang: job.ask.gang,
            devices: job.ask.devices,
            priority: if expired { 0 } else { job.ask.when.priority },
            submitted_at: job.submitted_at,
            attempt: job.attempt,
            reason: reasons.and_then(|reasons| reasons.into_iter().next()),
        });
    }
    queue
}
