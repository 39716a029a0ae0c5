//! Where a daemon listens, and what to say when it does not.

use crate::failure::{Exit, Failure};
use crate::place;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::fmt;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// A place where a daemon listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// The socket of this state folder.
    Folder(PathBuf),
    /// Loopback HTTP.
    Http {
        /// `127.0.0.1:7437`.
        authority: String,
        /// What the daemon asks for.
        token: Option<String>,
    },
}

/// Whether a host names this machine whatever a resolver says.
fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Endpoint {
    /// The endpoint of a `--server` URL.
    pub(crate) fn parse(url: &str, token: Option<String>) -> Result<Self, Failure> {
        let wrong = |why: &str| {
            Failure::usage(format!("--server {url:?}: {why}"))
                .help("write http://127.0.0.1:PORT, as `polder up` printed it")
        };
        let rest = url.strip_prefix("http://").ok_or_else(|| wrong("not an http:// URL"))?;
        let authority = rest.trim_end_matches('/');
        if authority.contains(['/', '?', '#', '@']) {
            return Err(wrong("only a host and a port belong here"));
        }
        match authority.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p > 0) => {
                if !is_loopback(host) {
                    return Err(wrong(
                        "that is another host: a daemon is reached on its own machine alone, and \
                         the token would cross the network in clear text",
                    ));
                }
                Ok(Self::Http { authority: authority.to_owned(), token })
            }
            _ => Err(wrong("a host and a port from 1 to 65535 are needed")),
        }
    }

    /// The `Host` header.
    pub(super) fn host(&self) -> &str {
        match self {
            Self::Folder(_) => "localhost",
            Self::Http { authority, .. } => authority,
        }
    }

    /// What goes with every request.
    pub(super) fn token(&self) -> Option<&str> {
        match self {
            Self::Folder(_) => None,
            Self::Http { token, .. } => token.as_deref(),
        }
    }

    /// Opens a connection.
    pub(super) async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        match self {
            Self::Folder(folder) => {
                let stream = UnixStream::connect(folder.join(place::SOCKET)).await;
                self.handshake(stream.map_err(|error| self.absent(&error))?).await
            }
            Self::Http { authority, .. } => {
                // A resolver might name another machine.
                let address = authority.replacen("localhost", "127.0.0.1", 1);
                let stream = TcpStream::connect(address).await;
                self.handshake(stream.map_err(|error| self.absent(&error))?).await
            }
        }
    }

    async fn handshake(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(&error))?;
        // It ends with the sender or with an error that the request reports too.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(sender)
    }

    /// Nobody listens, or the caller may not connect.
    fn absent(&self, error: &std::io::Error) -> Failure {
        match (self, error.kind()) {
            (Self::Folder(folder), ErrorKind::PermissionDenied) => Failure::new(
                Exit::Denied,
                format!("you may not use the daemon of {}: {error}", folder.display()),
            )
            .help("ask its owner to add you, or start your own with `polder up --state DIR`"),
            (Self::Folder(folder), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                match polder_server::holder(folder) {
                    Some(pid) => Failure::unreachable(format!(
                        "process {pid} has {}, but nobody listens at its socket",
                        folder.display()
                    ))
                    .help(format!(
                        "if it is just starting, try again; if its socket was removed, end it with \
                         `kill {pid}` and start it again with `polder up`: what runs goes on"
                    )),
                    None => {
                        let what = format!("no polder is running for {}", folder.display());
                        Failure::unreachable(what).help(
                            "start it with `polder up`, or name another state folder with --state",
                        )
                    }
                }
            }
            (Self::Folder(folder), _) => {
                let socket = folder.join(place::SOCKET);
                Failure::unreachable(format!("cannot connect to {}: {error}", socket.display()))
            }
            (Self::Http { authority, .. }, _) => {
                Failure::unreachable(format!("no polder answers at {authority}: {error}"))
                    .help("start it with `polder up`, or correct --server")
            }
        }
    }

    /// Somebody listens and does not answer.
    pub(super) fn silent(&self, limit: Duration) -> Failure {
        let seconds = limit.as_secs();
        let what = format!("{self} has not answered for {seconds} seconds");
        let failure = Failure { unreachable: true, ..Failure::new(Exit::Timeout, what) };
        let pid = match self {
            Self::Folder(folder) => polder_server::holder(folder),
            Self::Http { .. } => None,
        };
        failure.help(match pid {
            Some(pid) => format!(
                "its process is {pid}: if something stopped it, `kill -CONT {pid}` lets it go on; \
                 else see what it waits for (a disk, memory), or end it and start it again with \
                 `polder up`: what runs goes on"
            ),
            None => {
                "see on its machine whether it was stopped, or waits for a disk or memory".into()
            }
        })
    }

    /// The connection ended before the answer did.
    pub(super) fn broken(&self, error: &dyn std::error::Error) -> Failure {
        Failure::unreachable(format!("{self} stopped in the middle of an answer: {error}"))
            .help("see whether it still runs with `polder nodes`, or start it with `polder up`")
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "the daemon of {}", folder.display()),
            Self::Http { authority, .. } => write!(f, "the daemon at {authority}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_host_and_port_make_a_server() {
        let check = |url: &str, expect: Option<&str>| match (Endpoint::parse(url, None), expect) {
            (Ok(Endpoint::Http { authority, .. }), Some(expect)) => assert_eq!(authority, expect),
            (Err(failure), None) => {
                assert!(failure.message.contains(url), "{failure:?}");
                assert_eq!(failure.exit, Exit::Usage);
            }
            (got, _) => panic!("{url}: {got:?}"),
        };
        check("http://127.0.0.1:7437", Some("127.0.0.1:7437"));
        check("http://localhost:80/", Some("localhost:80"));
        check("http://[::1]:80", Some("[::1]:80"));
        check("https://127.0.0.1:7437", None);
        check("http://127.0.0.1", None);
        check("http://:7437", None);
        check("http://127.0.0.1:0", None);
        check("http://127.0.0.1:70000", None);
        check("http://127.9.9.9:80", Some("127.9.9.9:80"));
        // The token goes nowhere else.
        check("http://192.0.2.2:80", None);
        check("http://pool.example:80", None);
        check("http://localhost.example:80", None);
        check("http://127.0.0.1.example:80", None);
        check("http://[::2]:80", None);
        check("http://a@127.0.0.1:80", None);
        check("http://127.0.0.1:80/api", None);
    }
}
