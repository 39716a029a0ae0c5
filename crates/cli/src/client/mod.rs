//! The typed client of the REST API, over the daemon's Unix socket or loopback HTTP.
//!
//! One connection for each request: local connections cost little, and none can go stale.

mod endpoint;
mod query;

pub(crate) use endpoint::Endpoint;
pub(crate) use query::Query;

use crate::failure::Failure;
use crate::output::Output;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderMap;
use hyper::{Method, Request, Response, StatusCode};
use polder_server::api::{API_HEADER, API_MAJOR, IDEMPOTENCY_HEADER, Problem};
use serde::{Serialize, de::DeserializeOwned};
use std::future::Future;
use std::time::Duration;

/// Longest answer that is read whole.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Longest a daemon may take to begin an answer, beyond what the request itself asks it to wait.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// After how much of it the caller is told that nothing has come.
const SILENT_AFTER: Duration = Duration::from_secs(5);

/// A client of one daemon.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    endpoint: Endpoint,
    /// Where it says that it waits.
    out: Output,
}

impl Client {
    /// A client of what answers there. Connects with the first request.
    pub(crate) fn new(endpoint: Endpoint, out: Output) -> Self {
        Self { endpoint, out }
    }

    /// Reads.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: impl Into<Query>,
    ) -> Result<T, Failure> {
        let call = Call { method: Method::GET, path: path.into(), body: Bytes::new(), key: None };
        self.answer(call, ANSWER_WAIT).await
    }

    /// Reads something that the daemon may hold back for up to `held`.
    pub(crate) async fn get_held<T: DeserializeOwned>(
        &self,
        path: impl Into<Query>,
        held: Duration,
    ) -> Result<T, Failure> {
        let call = Call { method: Method::GET, path: path.into(), body: Bytes::new(), key: None };
        self.answer(call, ANSWER_WAIT + held).await
    }

    /// Writes.
    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: impl Into<Query>,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let call = Call { method, path: path.into(), body: encode(body)?, key: None };
        self.answer(call, ANSWER_WAIT).await
    }

    /// Writes something that may be sent again under the same key without being done twice.
    pub(crate) async fn send_once<T: DeserializeOwned>(
        &self,
        path: impl Into<Query>,
        body: &impl Serialize,
        key: &str,
    ) -> Result<T, Failure> {
        let call = Call {
            method: Method::POST,
            path: path.into(),
            body: encode(body)?,
            key: Some(key.to_owned()),
        };
        match self.answer(call.clone(), ANSWER_WAIT).await {
            // The answer was lost on the way: with the key, asking again does no harm.
            Err(failure) if failure.is_broken() => self.answer(call, ANSWER_WAIT).await,
            answer => answer,
        }
    }

    /// Writes something that takes as long as it takes.
    pub(crate) async fn send_slow<T: DeserializeOwned>(
        &self,
        path: impl Into<Query>,
        body: &impl Serialize,
        limit: Duration,
    ) -> Result<T, Failure> {
        let body = encode(body)?;
        self.answer(Call { method: Method::POST, path: path.into(), body, key: None }, limit).await
    }

    /// Reads bytes as they come, after the answer's headers.
    pub(crate) async fn stream(
        &self,
        path: impl Into<Query>,
    ) -> Result<(HeaderMap, Incoming), Failure> {
        let call = Call { method: Method::GET, path: path.into(), body: Bytes::new(), key: None };
        let response = self.call(call, ANSWER_WAIT).await?;
        if response.status().is_success() {
            let (head, body) = response.into_parts();
            return Ok((head.headers, body));
        }
        Err(self.refusal(response, ANSWER_WAIT).await)
    }

    /// The next bytes of a stream; `None` at its end.
    pub(crate) async fn next(&self, stream: &mut Incoming) -> Result<Option<Bytes>, Failure> {
        loop {
            match stream.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(self.endpoint.broken(&error)),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    async fn answer<T: DeserializeOwned>(&self, call: Call, limit: Duration) -> Result<T, Failure> {
        let response = self.call(call, limit).await?;
        if !response.status().is_success() {
            return Err(self.refusal(response, limit).await);
        }
        let body = self.body(response, limit).await?;
        serde_json::from_slice(&body).map_err(|error| {
            Failure::failed(format!(
                "{} answers with something else than Polder {} does: {error}",
                self.endpoint,
                env!("CARGO_PKG_VERSION")
            ))
            .help("install the same version of polder for the daemon and for its clients")
        })
    }

    async fn call(&self, call: Call, limit: Duration) -> Result<Response<Incoming>, Failure> {
        let mut sender = self.endpoint.connect().await?;
        let mut request = Request::builder()
            .method(call.method)
            .uri(call.path.as_str())
            .header("host", self.endpoint.host())
            .header(API_HEADER, API_MAJOR.to_string())
            .header("content-type", "application/json");
        if let Some(token) = self.endpoint.token() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(key) = call.key {
            request = request.header(IDEMPOTENCY_HEADER, key);
        }
        let request = request
            .body(Full::new(call.body))
            .map_err(|error| Failure::usage(format!("{:?}: {error}", call.path.as_str())))?;
        let response = self.patiently(limit, sender.send_request(request)).await?;
        response.map_err(|error| self.endpoint.broken(&error))
    }

    /// Waits for something of the daemon's, no longer than `limit`, and says so once that is longer than
    /// a daemon takes that is well.
    async fn patiently<T>(
        &self,
        limit: Duration,
        coming: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        let mut coming = std::pin::pin!(coming);
        let quiet = limit.saturating_sub(ANSWER_WAIT - SILENT_AFTER).max(SILENT_AFTER.min(limit));
        let left = limit.saturating_sub(quiet);
        if let Ok(come) = tokio::time::timeout(quiet, &mut coming).await {
            return Ok(come);
        }
        let (seconds, left_seconds) = (quiet.as_secs(), left.as_secs());
        self.out.note(&format!(
            "{} has not answered for {seconds} seconds; waiting {left_seconds} more",
            self.endpoint
        ));
        let come = tokio::time::timeout(left, coming).await;
        come.map_err(|_| self.endpoint.silent(limit))
    }

    async fn body(&self, response: Response<Incoming>, limit: Duration) -> Result<Bytes, Failure> {
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let whole = self.patiently(limit, body.collect()).await?;
        whole
            .map(http_body_util::Collected::to_bytes)
            .map_err(|error| self.endpoint.broken(&*error))
    }

    /// What the daemon says against a request.
    async fn refusal(&self, response: Response<Incoming>, limit: Duration) -> Failure {
        let status = response.status();
        let body = match self.body(response, limit).await {
            Ok(body) => body,
            Err(failure) => return failure,
        };
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => problem.into(),
            Err(_) => self.foreign(status),
        }
    }

    fn foreign(&self, status: StatusCode) -> Failure {
        Failure::failed(format!("{} answers {status}, and not as Polder does", self.endpoint))
            .help("is another program listening there? check --server and --state")
    }
}

/// One request.
#[derive(Debug, Clone)]
struct Call {
    method: Method,
    path: Query,
    body: Bytes,
    key: Option<String>,
}

fn encode(body: &impl Serialize) -> Result<Bytes, Failure> {
    serde_json::to_vec(body)
        .map(Bytes::from)
        .map_err(|error| Failure::failed(format!("the request is not JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;
    use crate::output::Format;
    use crate::place;

    #[tokio::test]
    async fn a_daemon_that_listens_and_never_answers_ends_the_call_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let _listens = std::os::unix::net::UnixListener::bind(folder.path().join(place::SOCKET));
        let out = Output { format: Format::Table, quiet: true };
        let client = Client::new(Endpoint::Folder(folder.path().to_owned()), out);
        let limit = Duration::from_millis(100);
        let call = client.send_slow::<serde_json::Value>(Query::new(&["nodes"]), &(), limit);
        let failure = call.await.unwrap_err();
        assert_eq!((failure.exit, failure.unreachable), (Exit::Timeout, true), "{failure:?}");
        assert!(!failure.is_broken(), "nobody sends again what may have been heard");
        let expect = format!("the daemon of {} has not answered", folder.path().display());
        assert!(failure.message.starts_with(&expect), "{failure:?}");
    }
}
