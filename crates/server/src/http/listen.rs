//! Where the API is served, and to whom: a Unix socket whose callers the kernel names, and
//! optionally loopback HTTP.

use super::{App, router};
use crate::auth::Caller;
use crate::stop::signalled;
use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

/// Connections at once.
const CONNECTIONS_MAX: usize = 8192;
/// Connections at once of one user who is neither root nor the server's own.
const CONNECTIONS_OF_USER_MAX: usize = 512;
/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests may take to finish once the server stops.
const DRAIN: Duration = Duration::from_secs(5);
/// How long to wait after the system refuses another connection, before trying again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where a connection came from.
#[derive(Debug, Clone)]
pub(crate) enum Peer {
    /// The Unix socket, from this user.
    Unix(Caller),
    /// Loopback HTTP: from anybody on this machine, any web page included.
    Loopback,
}

/// The sockets that the API is served on.
pub(crate) struct Listeners {
    pub(crate) unix: UnixListener,
    pub(crate) loopback: Option<TcpListener>,
}

/// How many connections each user has.
type PerUser = Arc<Mutex<BTreeMap<u32, usize>>>;

/// One connection's place; given back when dropped.
struct Place {
    _permit: OwnedSemaphorePermit,
    user: Option<(u32, PerUser)>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((uid, users)) = &self.user {
            let mut users = users.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(count) = users.get_mut(uid) {
                *count -= 1;
                if *count == 0 {
                    users.remove(uid);
                }
            }
        }
    }
}

impl Listeners {
    /// Serves until told to stop, then lets running requests finish for a while.
    pub(crate) async fn serve(self, app: App) {
        let mut stop = app.stop.subscribe();
        let router = router(app);
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let users = PerUser::default();
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.unix.accept() => match accepted {
                    Ok((stream, _)) => {
                        let Ok(uid) = stream.peer_cred().map(|peer| peer.uid()) else { continue };
                        let Some(place) = place(&places, Some((uid, &users))) else { continue };
                        let peer = Peer::Unix(Caller::from_uid(uid));
                        connections.spawn(
                            connection(stream, peer, router.clone(), stop.clone(), place));
                    }
                    Err(error) => pause(&error).await,
                },
                accepted = accept(self.loopback.as_ref()) => match accepted {
                    Ok((stream, _)) => {
                        let Some(place) = place(&places, None) else { continue };
                        connections.spawn(
                            connection(stream, Peer::Loopback, router.clone(), stop.clone(), place));
                    }
                    Err(error) => pause(&error).await,
                },
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                () = signalled(&mut stop) => break,
            }
        }
        drop(self);
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            tracing::warn!("some requests did not finish in time");
        }
    }
}

async fn accept(
    listener: Option<&TcpListener>,
) -> std::io::Result<(tokio::net::TcpStream, std::net::SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

/// Out of descriptors, most likely: connections that end make room.
async fn pause(error: &std::io::Error) {
    tracing::warn!(%error, "cannot accept a connection");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// Says at most once in [`REFUSED_PERIOD`] that connections are refused: who floods the socket must
/// not fill the log too.
struct Seldom(Mutex<Option<Instant>>);

static REFUSED: Seldom = Seldom(Mutex::new(None));
const REFUSED_PERIOD: Duration = Duration::from_secs(10);

impl Seldom {
    fn speak(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| last.elapsed() >= REFUSED_PERIOD);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}

/// A place for a connection, if there is one; without, it is closed at once.
fn place(places: &Arc<Semaphore>, user: Option<(u32, &PerUser)>) -> Option<Place> {
    let permit = Arc::clone(places).try_acquire_owned();
    let Ok(permit) = permit else {
        if REFUSED.speak() {
            tracing::warn!("more than {CONNECTIONS_MAX} connections: refusing others");
        }
        return None;
    };
    let own = rustix::process::geteuid().as_raw();
    let Some((uid, users)) = user.filter(|(uid, _)| *uid != 0 && *uid != own) else {
        return Some(Place { _permit: permit, user: None });
    };
    let mut counts = users.lock().unwrap_or_else(PoisonError::into_inner);
    let count = counts.entry(uid).or_default();
    if *count >= CONNECTIONS_OF_USER_MAX {
        if REFUSED.speak() {
            tracing::warn!(
                uid,
                "a user has {CONNECTIONS_OF_USER_MAX} connections: refusing others"
            );
        }
        return None;
    }
    *count += 1;
    Some(Place { _permit: permit, user: Some((uid, Arc::clone(users))) })
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    router: Router,
    mut stop: watch::Receiver<bool>,
    place: Place,
) {
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(peer.clone());
        router.clone().oneshot(request)
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = signalled(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
    drop(place);
}
