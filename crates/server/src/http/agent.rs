//! The one call of an agent.

use super::extract::Body;
use super::{ApiError, App};
use crate::auth::Caller;
use axum::Json;
use axum::extract::State;
use polder_model::{SyncRequest, SyncResponse};

/// Takes in what a node observes and answers with what it should hold, once that is new. A
/// refusal is a problem of status 409 that also has the members of the refusal itself.
#[utoipa::path(
    post, path = "/api/v1/agent/sync", tag = "agent", request_body = SyncRequest,
    responses(
        (status = 200, description = "What the node should hold", body = SyncResponse),
        (status = 409, description = "The call is refused, and `refusal` says why",
            body = crate::api::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn sync(
    State(app): State<App>,
    caller: Caller,
    Body(request): Body<SyncRequest>,
) -> Result<Json<SyncResponse>, ApiError> {
    if !caller.agent {
        let detail = format!("{} does not run this pool's agent", caller.user);
        return Err(ApiError::forbidden("agent", detail)
            .help("agents call over the Unix socket, as the server's own user"));
    }
    tokio::select! {
        answer = app.handle.sync(request) => Ok(Json(answer?)),
        () = app.stopped() => Err(ApiError::stopping()),
    }
}
