//! Live changes as server-sent events.

use super::{ApiError, App, sees};
use crate::api::Change;
use crate::auth::{Caller, Principal};
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt as _};
use std::convert::Infallible;
use std::time::Duration;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

/// How often an idle stream shows that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Changes of the caller's jobs and leases, as they become durable.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "jobs",
    responses((status = 200, description = "A stream of changes", body = Change,
        content_type = "text/event-stream"))
)]
pub(super) async fn events(
    State(app): State<App>,
    caller: Caller,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let changes = BroadcastStream::new(app.handle.changes.subscribe());
    let who = app.principal(caller).await?;
    let stream = changes
        .filter_map(move |change| std::future::ready(shown(&who, change)))
        .map(|change| Ok(render(&change)))
        .take_until(Box::pin(async move { app.stopped().await }));
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

fn shown(who: &Principal, change: Result<Change, BroadcastStreamRecvError>) -> Option<Change> {
    match change {
        Err(BroadcastStreamRecvError::Lagged(count)) => Some(Change::Missed { count }),
        Ok(change) => {
            let seen = match &change {
                Change::Job { tenant, .. } | Change::Lease { tenant, .. } => sees(who, tenant),
                Change::Missed { .. } => true,
            };
            seen.then_some(change)
        }
    }
}

fn render(change: &Change) -> Event {
    let event = Event::default().event(match change {
        Change::Job { .. } => "job",
        Change::Lease { .. } => "lease",
        Change::Missed { .. } => "missed",
    });
    let event = match change {
        Change::Job { seq, .. } | Change::Lease { seq, .. } => event.id(seq.to_string()),
        Change::Missed { .. } => event,
    };
    event.data(serde_json::to_string(change).unwrap_or_default())
}
