//! What handlers take from a request. Every failure is a problem.

use super::problem::ApiError;
use crate::api::{BODY_BYTES_MAX, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX};
use crate::auth::Caller;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use hyper::body::Bytes;
use polder_model::IdError;
use serde::de::DeserializeOwned;
use std::str::FromStr;

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| ApiError::internal("the connection has no known user"))
    }
}

/// The query of the address.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let parsed = Query::<T>::try_from_uri(&parts.uri);
        parsed.map(|Query(value)| Self(value)).map_err(|rejection| {
            ApiError::bad_request(format!("in the query of the address: {}", rejection.body_text()))
                .help("GET /openapi.json lists what each path takes")
        })
    }
}

/// A body as it came.
pub(super) struct RawBody(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        Bytes::from_request(request, state).await.map(Self).map_err(body_error)
    }
}

/// A body of JSON. An empty one reads as `{}`.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let RawBody(bytes) = RawBody::from_request(request, state).await?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        serde_json::from_slice(text).map(Self).map_err(|error| {
            ApiError::bad_request(format!("in the body: {error}"))
                .help("GET /openapi.json shows what the body must look like")
        })
    }
}

fn body_error(rejection: BytesRejection) -> ApiError {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let title = "The request is too large";
        let detail = format!("a request's body may have {BODY_BYTES_MAX} bytes");
        return ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", title, detail)
            .help("shorten the command and the environment, or put them in a file");
    }
    ApiError::bad_request(format!("the body did not arrive: {}", rejection.body_text()))
}

/// A name or number from the path.
pub(super) fn parse<T: FromStr<Err = IdError>>(text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|error: IdError| ApiError::bad_request(error.to_string()))
}

/// How many rows a list gives.
pub(super) fn limit(asked: Option<u32>) -> u32 {
    asked.unwrap_or(LIST_LIMIT_DEFAULT).clamp(1, LIST_LIMIT_MAX)
}

/// Where the page before ended.
pub(super) fn cursor(text: Option<&str>) -> Result<Option<u64>, ApiError> {
    let bad = |text| {
        ApiError::bad_request(format!("cursor {text:?} is none of this list's"))
            .help("give back the `cursor` of the page before, unchanged")
    };
    text.map(|text| {
        text.strip_prefix("c").and_then(|number| number.parse().ok()).ok_or_else(|| bad(text))
    })
    .transpose()
}

/// The cursor behind this page of at most `limit` rows; none when it is the last.
pub(super) fn cursor_after<T>(page: &[T], limit: u32, id: impl Fn(&T) -> u64) -> Option<String> {
    let full = u32::try_from(page.len()).is_ok_and(|rows| rows >= limit);
    page.last().filter(|_| full).map(|last| format!("c{}", id(last)))
}
