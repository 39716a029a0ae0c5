//! The typed client of the REST API, over the daemon's Unix socket or loopback HTTP.
//!
//! One connection for each request: local connections cost little, and none can go stale.

mod endpoint;
mod query;

pub(crate) use endpoint::Endpoint;
pub(crate) use query::Query;

use crate::failure::{Exit, Failure};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderMap;
use hyper::{Method, Request, Response, StatusCode};
use polder_server::api::{API_HEADER, API_MAJOR, IDEMPOTENCY_HEADER, Problem};
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;

/// Longest answer that is read whole.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Longest a daemon may take to begin an answer, beyond what the request itself asks it to wait.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// A client of one daemon.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    endpoint: Endpoint,
}

impl Client {
    /// A client of what answers there. Connects with the first request.
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
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
            Err(failure) if failure.unreachable => self.answer(call, ANSWER_WAIT).await,
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
        Err(self.refusal(response).await)
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
            return Err(self.refusal(response).await);
        }
        let body = self.body(response).await?;
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
        match tokio::time::timeout(limit, sender.send_request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(self.endpoint.broken(&error)),
            Err(_) => Err(Failure::new(
                Exit::Timeout,
                format!("{} has not answered for {} seconds", self.endpoint, limit.as_secs()),
            )),
        }
    }

    async fn body(&self, response: Response<Incoming>) -> Result<Bytes, Failure> {
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let whole = body.collect().await;
        whole
            .map(http_body_util::Collected::to_bytes)
            .map_err(|error| self.endpoint.broken(&*error))
    }

    /// What the daemon says against a request.
    async fn refusal(&self, response: Response<Incoming>) -> Failure {
        let status = response.status();
        let body = match self.body(response).await {
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
