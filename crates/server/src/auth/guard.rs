//! What a request over loopback HTTP must show: any web page can send one to any local port.

use axum::http::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use axum::http::{HeaderMap, Uri};
use std::hint::black_box;
use thiserror::Error;

/// Why a request over loopback HTTP is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum LoopbackRefusal {
    #[error("the Host header is {found:?}: only {expected} is served here")]
    Host { found: String, expected: String },
    #[error("the Origin header is {found:?}: other sites' pages may not call this server")]
    Origin { found: String },
    #[error("the Authorization header is missing or wrong")]
    Token,
}

/// Checks requests that came over loopback HTTP.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    hosts: [String; 3],
    token: String,
}

/// Paths that need no token.
const OPEN_PATHS: [&str; 2] = ["/healthz", "/api/v1/version"];

impl Guard {
    pub(crate) fn new(port: u16, token: String) -> Self {
        let hosts = ["127.0.0.1", "localhost", "[::1]"].map(|host| format!("{host}:{port}"));
        Self { hosts, token }
    }

    /// Whether the request may go on.
    pub(crate) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), LoopbackRefusal> {
        let host = single(headers, &HOST);
        if !self.hosts.iter().any(|own| host == Some(own)) {
            let found = host.unwrap_or("").to_owned();
            return Err(LoopbackRefusal::Host { found, expected: self.hosts.join(", ") });
        }
        if headers.contains_key(ORIGIN) {
            let origin = single(headers, &ORIGIN).unwrap_or("");
            let own = origin.strip_prefix("http://");
            if !self.hosts.iter().any(|host| own == Some(host)) {
                return Err(LoopbackRefusal::Origin { found: origin.to_owned() });
            }
        }
        if OPEN_PATHS.contains(&uri.path()) {
            return Ok(());
        }
        let token = single(headers, &AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        match token {
            Some(token) if same(token.trim().as_bytes(), self.token.as_bytes()) => Ok(()),
            _ => Err(LoopbackRefusal::Token),
        }
    }
}

/// The one value of a header; `None` when it is absent, repeated or not text.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Compares in a time that does not tell how much is right.
fn same(left: &[u8], right: &[u8]) -> bool {
    let differing = left.iter().zip(right).fold(0u8, |sum, (a, b)| black_box(sum | (a ^ b)));
    left.len() == right.len() && black_box(differing) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, headers: &[(&'static str, &str)], expect: &str) {
        let guard = Guard::new(7000, "s3cret".into());
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let got = guard.check(&path.parse().unwrap(), &map);
        let got = got.err().map(|refusal| refusal.to_string()).unwrap_or_default();
        assert!(got.contains(expect) && got.is_empty() == expect.is_empty(), "{path}: {got:?}");
    }

    #[test]
    fn a_page_cannot_pass_for_the_cli() {
        let host = ("host", "127.0.0.1:7000");
        let token = ("authorization", "Bearer s3cret");
        check("/api/v1/jobs", &[host, token], "");
        check("/api/v1/jobs", &[("host", "localhost:7000"), token], "");
        check("/api/v1/jobs", &[("host", "[::1]:7000"), token], "");
        check("/healthz", &[host], "");
        check("/api/v1/version", &[host], "");
        check("/api/v1/jobs", &[host], "Authorization");
        check("/readyz", &[host], "Authorization");
        check("/api/v1/version/", &[host], "Authorization");
        check("/api/v1/jobs", &[host, ("authorization", "Bearer s3creT")], "Authorization");
        check("/api/v1/jobs", &[host, ("authorization", "Bearer s3cre")], "Authorization");
        check("/api/v1/jobs", &[host, ("authorization", "Bearer ")], "Authorization");
        check("/api/v1/jobs", &[host, token, token], "Authorization");
        check("/api/v1/jobs", &[token], "Host");
        check("/api/v1/jobs", &[("host", "evil.example:7000"), token], "Host");
        check("/api/v1/jobs", &[("host", "127.0.0.1"), token], "Host");
        check("/api/v1/jobs", &[("host", "127.0.0.1:7001"), token], "Host");
        check("/healthz", &[("host", "evil.example")], "Host");
        check("/api/v1/jobs", &[host, token, ("origin", "http://127.0.0.1:7000")], "");
        check("/api/v1/jobs", &[host, token, ("origin", "http://evil.example")], "Origin");
        check("/api/v1/jobs", &[host, token, ("origin", "null")], "Origin");
        check("/healthz", &[host, ("origin", "https://127.0.0.1:7000")], "Origin");
    }
}
