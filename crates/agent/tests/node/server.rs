//! A server that wants what a test tells it to want, and notes what agents say.

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use polder_model::{
    Inventory, LeaseId, LeaseOrder, LeaseReport, Phase, SyncRefusal, SyncRequest, SyncResponse,
    Tombstone, Version,
};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::net::UnixListener;
use tokio::sync::Notify;

/// What the server wants and has heard.
pub(crate) struct Script {
    pub(crate) pool: String,
    pub(crate) epoch: u64,
    pub(crate) version: u64,
    pub(crate) orders: Vec<LeaseOrder>,
    pub(crate) tombstones: Vec<Tombstone>,
    /// Whether ends are noted.
    pub(crate) acknowledges: bool,
    /// Refuses every call.
    pub(crate) refuses: Option<SyncRefusal>,
    /// The last report of each lease.
    pub(crate) reports: BTreeMap<LeaseId, LeaseReport>,
    /// Ends reported after they had been noted: each is one too many to start with.
    pub(crate) noted: Vec<LeaseId>,
    pub(crate) inventory: Option<Inventory>,
    pub(crate) incarnation: u64,
    pub(crate) sequence: u64,
    pub(crate) calls: u64,
    /// Calls that ended because a newer one came.
    pub(crate) superseded: u64,
    /// Calls that wait for something new.
    pub(crate) waiting: u64,
}

/// The server; dropped, it hangs up.
pub(crate) struct Server {
    pub(crate) script: Arc<Mutex<Script>>,
    change: Arc<Notify>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Server {
    pub(crate) fn new(socket: &Path) -> Self {
        let script = Script {
            pool: "north".into(),
            epoch: 1,
            version: 1,
            orders: vec![],
            tombstones: vec![],
            acknowledges: true,
            refuses: None,
            reports: BTreeMap::new(),
            noted: vec![],
            inventory: None,
            incarnation: 0,
            sequence: 0,
            calls: 0,
            superseded: 0,
            waiting: 0,
        };
        let (script, change) = (Arc::new(Mutex::new(script)), Arc::new(Notify::new()));
        let serving = serve(socket, &script, &change);
        Self { script, change, serving }
    }

    /// Hangs up; `back` answers again.
    pub(crate) fn away(&self) {
        self.serving.abort();
    }

    pub(crate) fn back(&mut self, socket: &Path) {
        self.serving = serve(socket, &self.script, &self.change);
    }

    /// Changes what is wanted, under a new version.
    pub(crate) fn want(&self, change: impl FnOnce(&mut Script)) {
        let mut script = self.script.lock().unwrap();
        script.version += 1;
        change(&mut script);
        drop(script);
        self.change.notify_waiters();
    }

    pub(crate) fn look<T>(&self, look: impl FnOnce(&Script) -> T) -> T {
        look(&self.script.lock().unwrap())
    }
}

fn serve(
    socket: &Path,
    script: &Arc<Mutex<Script>>,
    change: &Arc<Notify>,
) -> tokio::task::JoinHandle<()> {
    let _ = std::fs::remove_file(socket);
    let listener = UnixListener::bind(socket).unwrap();
    let (script, change) = (Arc::clone(script), Arc::clone(change));
    tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (script, change) = (Arc::clone(&script), Arc::clone(&change));
            let service = service_fn(move |request| {
                let (script, change) = (Arc::clone(&script), Arc::clone(&change));
                async move { Ok::<_, Infallible>(answer(request, &script, &change).await) }
            });
            connections.spawn(async move {
                let served = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                // An agent that was killed or gave a call up hangs up without a word.
                let _ = served.await;
            });
        }
    })
}

fn body(status: StatusCode, value: &impl serde::Serialize) -> Response<Full<Bytes>> {
    let body = Full::new(Bytes::from(serde_json::to_vec(value).unwrap()));
    Response::builder().status(status).body(body).unwrap()
}

fn refuse(refusal: &SyncRefusal) -> Response<Full<Bytes>> {
    let mut problem = serde_json::to_value(refusal).unwrap();
    problem["title"] = "refused".into();
    problem["detail"] = refusal.to_string().into();
    body(StatusCode::CONFLICT, &problem)
}

async fn answer(
    request: Request<Incoming>,
    script: &Mutex<Script>,
    change: &Notify,
) -> Response<Full<Bytes>> {
    assert_eq!(request.uri().path(), "/api/v1/agent/sync");
    let bytes = request.into_body().collect().await.unwrap().to_bytes();
    let request: SyncRequest = serde_json::from_slice(&bytes).unwrap();
    let me = (request.incarnation, request.sequence);
    let acknowledged = match take(script, &request) {
        Ok(acknowledged) => acknowledged,
        Err(refusal) => return refuse(&refusal),
    };
    change.notify_waiters();
    let until = tokio::time::Instant::now() + request.wait.to_duration();
    loop {
        let changed = change.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        {
            let mut script = script.lock().unwrap();
            if (script.incarnation, script.sequence) != me {
                script.superseded += 1;
                return refuse(&SyncRefusal::Superseded);
            }
            let heeds = request.seen.as_ref() != Some(&script.told());
            let due = tokio::time::Instant::now() >= until;
            if heeds || due || !acknowledged.is_empty() {
                return body(StatusCode::OK, &script.wanted(acknowledged));
            }
            script.waiting += 1;
        }
        let _ = tokio::time::timeout_at(until, changed).await;
        script.lock().unwrap().waiting -= 1;
    }
}

/// Notes what an agent says; returns the ends that are now noted.
fn take(script: &Mutex<Script>, request: &SyncRequest) -> Result<Vec<LeaseId>, SyncRefusal> {
    let mut script = script.lock().unwrap();
    script.calls += 1;
    if let Some(refusal) = &script.refuses {
        return Err(refusal.clone());
    }
    if request.incarnation < script.incarnation {
        let (current, this) = (script.incarnation, request.incarnation);
        return Err(SyncRefusal::OldIncarnation { node: request.node.clone(), current, this });
    }
    let me = (request.incarnation, request.sequence);
    assert_ne!(me, (script.incarnation, script.sequence), "no call is sent twice");
    if me < (script.incarnation, script.sequence) {
        // Two connections are not in order.
        script.superseded += 1;
        return Err(SyncRefusal::Superseded);
    }
    if request.incarnation > script.incarnation {
        assert!(request.inventory.is_some(), "the first call of an incarnation says all");
    }
    (script.incarnation, script.sequence) = (request.incarnation, request.sequence);
    script.inventory = request.inventory.clone().or(script.inventory.take());
    let mut acknowledged = Vec::new();
    for report in &request.leases {
        script.reports.insert(report.lease, report.clone());
        if script.acknowledges && matches!(report.phase, Phase::Ended { .. }) {
            script.orders.retain(|order| order.lease.id != report.lease);
            script.tombstones.retain(|tombstone| tombstone.lease != report.lease);
            script.noted.push(report.lease);
            acknowledged.push(report.lease);
        }
    }
    Ok(acknowledged)
}

impl Script {
    fn told(&self) -> Version {
        let pool = self.pool.parse().unwrap();
        Version { pool, epoch: self.epoch, version: self.version }
    }

    fn wanted(&self, acknowledged: Vec<LeaseId>) -> SyncResponse {
        SyncResponse {
            version: self.told(),
            leases: self.orders.clone(),
            tombstones: self.tombstones.clone(),
            acknowledged,
        }
    }

    /// The order of a lease, to be changed.
    pub(crate) fn order(&mut self, lease: u64) -> &mut LeaseOrder {
        self.orders.iter_mut().find(|order| order.lease.id.0 == lease).unwrap()
    }
}
