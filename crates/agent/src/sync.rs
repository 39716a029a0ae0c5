//! One call to the server: HTTP/1 over its Unix socket.

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use polder_model::{SyncRefusal, SyncRequest, SyncResponse};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use thiserror::Error;
use tokio::net::UnixStream;

/// Where the server answers agents.
pub(crate) const SYNC_PATH: &str = "/api/v1/agent/sync";
/// Largest answer read: a node's leases with their commands and environments.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// Most of a foreign error text that is kept.
const DETAIL_CHARS_MAX: usize = 400;

/// Why a call brought no answer.
#[derive(Debug, Error)]
pub(crate) enum SyncError {
    /// Nobody answers there.
    #[error("server at {socket}: {source}: is `polder up` running?")]
    Unreachable {
        /// Where.
        socket: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The connection ended before the answer.
    #[error("server at {socket} broke off: {source}")]
    Broken {
        /// Where.
        socket: PathBuf,
        /// What happened.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It took longer than any call is held.
    #[error("server at {socket} has not answered within {} s", limit.as_secs())]
    Late {
        /// Where.
        socket: PathBuf,
        /// How long it was given.
        limit: std::time::Duration,
    },
    /// It refuses this agent, or this call.
    #[error("server refuses this agent: {0}")]
    Refused(#[from] SyncRefusal),
    /// It has a problem of its own.
    #[error("server answers {status}: {detail}")]
    Problem {
        /// HTTP status.
        status: StatusCode,
        /// What it says.
        detail: String,
    },
    /// The answer is not one.
    #[error("server's answer is not understood ({0}): install the same version on both")]
    Garbled(serde_json::Error),
}

/// A refusal within a problem: its members lie beside `title` and `detail`.
#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    detail: String,
    #[serde(flatten)]
    refusal: Option<SyncRefusal>,
}

/// Calls once, on a connection of its own: a waiting call never stands in another's way.
pub(crate) async fn call(socket: &Path, request: &SyncRequest) -> Result<SyncResponse, SyncError> {
    let body = serde_json::to_vec(request).expect("a request has only text keys");
    let (status, body) = exchange(socket, Method::POST, SYNC_PATH, body.into()).await?;
    read(status, &body)
}

/// Asks the server something else, with an empty JSON object as the body of what is no reading.
pub(crate) async fn ask<T: serde::de::DeserializeOwned>(
    socket: &Path,
    method: Method,
    path: &str,
) -> Result<T, SyncError> {
    let body = if method == Method::GET { Bytes::new() } else { Bytes::from_static(b"{}") };
    let (status, body) = exchange(socket, method, path, body).await?;
    read(status, &body)
}

async fn exchange(
    socket: &Path,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<(StatusCode, Bytes), SyncError> {
    let unreachable = |source| SyncError::Unreachable { socket: socket.to_owned(), source };
    let broken = |source: Box<dyn std::error::Error + Send + Sync>| SyncError::Broken {
        socket: socket.to_owned(),
        source,
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "polder")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .expect("paths are constant but for numbers");
    let stream = UnixStream::connect(socket).await.map_err(unreachable)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(error.into()))?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|error| broken(error.into()))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        Ok::<_, SyncError>((status, body.map_err(broken)?.to_bytes()))
    };
    // The connection's own end is seen by the exchange, as an error or as the end of the body.
    tokio::pin!(exchange);
    tokio::select! {
        done = &mut exchange => done,
        _ = connection => exchange.await,
    }
}

fn read<T: serde::de::DeserializeOwned>(status: StatusCode, body: &[u8]) -> Result<T, SyncError> {
    if status == StatusCode::OK {
        return serde_json::from_slice(body).map_err(SyncError::Garbled);
    }
    match serde_json::from_slice::<Problem>(body) {
        Ok(Problem { refusal: Some(refusal), .. }) => Err(SyncError::Refused(refusal)),
        Ok(Problem { detail, .. }) => Err(SyncError::Problem { status, detail: short(&detail) }),
        Err(_) => Err(SyncError::Problem { status, detail: short(&String::from_utf8_lossy(body)) }),
    }
}

fn short(text: &str) -> String {
    text.chars().take(DETAIL_CHARS_MAX).filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, body: &str, expect: &str) {
        let status = StatusCode::from_u16(status).unwrap();
        let error = read::<SyncResponse>(status, body.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), expect, "{body}");
    }

    #[test]
    fn refusals_and_problems_are_told_apart() {
        check(
            409,
            r#"{"type":"urn:polder:problem:refused","title":"t","status":409,"detail":"d",
                "refusal":"protocol","agent":1,"server":2}"#,
            "server refuses this agent: agent speaks protocol 1, server 2: install the same \
             version on both",
        );
        check(
            409,
            r#"{"title":"t","detail":"d","refusal":"superseded"}"#,
            "server refuses this agent: a newer call of the same agent has arrived",
        );
        check(
            503,
            r#"{"title":"t","detail":"the disk is full"}"#,
            "server answers 503 Service Unavailable: the disk is full",
        );
        check(502, "no\u{1b}[31m json", "server answers 502 Bad Gateway: no[31m json");
    }

    #[test]
    fn an_answer_of_another_shape_is_named() {
        let error = read::<SyncResponse>(StatusCode::OK, b"{}").unwrap_err().to_string();
        assert!(error.contains("not understood"), "{error}");
    }
}
