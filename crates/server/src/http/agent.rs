//! The one call of an agent.

use super::extract::RawBody;
use super::{ApiError, App};
use crate::auth::Caller;
use crate::writer::SyncError;
use axum::Json;
use axum::extract::State;
use polder_model::{SYNC_PROTOCOL, SyncRefusal, SyncRequest, SyncResponse};
use serde::Deserialize;

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
    RawBody(body): RawBody,
) -> Result<Json<SyncResponse>, ApiError> {
    if !caller.agent {
        let detail = format!("{} does not run this pool's agent", caller.user);
        return Err(ApiError::forbidden("agent", detail)
            .help("agents call over the Unix socket, as the server's own user"));
    }
    let request = understand(&body)?;
    tokio::select! {
        answer = app.handle.sync(request) => Ok(Json(answer?)),
        () = app.stopped() => Err(ApiError::stopping()),
    }
}

/// What an agent of another version says of itself, whatever else it says.
#[derive(Deserialize)]
struct Spoken {
    protocol: u32,
}

/// A call that cannot be read is one of another version's agent: both are told apart by the protocol, as
/// long as that can be read.
fn understand(body: &[u8]) -> Result<SyncRequest, ApiError> {
    serde_json::from_slice(body).map_err(|error| match serde_json::from_slice::<Spoken>(body) {
        Ok(Spoken { protocol }) if protocol != SYNC_PROTOCOL => {
            let refusal = SyncRefusal::Protocol { agent: protocol, server: SYNC_PROTOCOL };
            SyncError::Refused(refusal).into()
        }
        _ => ApiError::bad_request(format!(
            "this agent's report is not understood by server {}, as between different versions ({error}): \
             install the same version on both",
            env!("CARGO_PKG_VERSION")
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_versions_agent_is_told_so() {
        let said = |body: &str| format!("{:?}", understand(body.as_bytes()).unwrap_err());
        let other = said(r#"{"protocol": 0, "host": "vm"}"#);
        assert!(other.contains("agent speaks protocol 0, server 1"), "{other}");
        for body in [r#"{"protocol": 1, "node": "vm"}"#, "{}", "no json", ""] {
            let said = said(body);
            assert!(said.contains("this agent's report is not understood"), "{said}");
            assert!(said.contains("install the same version on both"), "{said}");
        }
    }
}
