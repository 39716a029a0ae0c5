//! What the server's tests share: a server in a folder of its own, a client, and a scripted agent
//! that stands in for a real one.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests fail and skip out loud")]

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use polder_server::{OpenOptions, ServeOptions, Server, open, serve};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::net::UnixStream;

/// A server over a folder that goes away with it.
pub struct Fixture {
    pub folder: TempDir,
    pub server: Option<Server>,
}

impl Fixture {
    pub async fn start() -> Self {
        Self::start_with(ServeOptions::default()).await
    }

    pub async fn start_with(options: ServeOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = launch(folder.path(), options).await;
        Self { folder, server: Some(server) }
    }

    pub fn client(&self) -> Client {
        Client { socket: self.folder.path().join("polder.sock"), uid: None }
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("it is running")
    }

    pub async fn stop(&mut self) {
        let server = self.server.take().expect("it is running");
        server.shutdown();
        server.wait().await.unwrap();
    }

    pub async fn restart(&mut self) {
        self.stop().await;
        self.server = Some(launch(self.folder.path(), ServeOptions::default()).await);
    }
}

pub async fn launch(folder: &Path, options: ServeOptions) -> Server {
    let pool = open(OpenOptions::new(folder)).await.unwrap();
    serve(pool, options).await.unwrap()
}

/// Calls a server over its Unix socket.
#[derive(Clone)]
pub struct Client {
    pub socket: PathBuf,
    /// Calls as this user instead of the test's own.
    pub uid: Option<u32>,
}

pub type Answer = (StatusCode, Value);

impl Client {
    pub fn as_user(&self, uid: u32) -> Self {
        Self { uid: Some(uid), ..self.clone() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &[], None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, &[], Some(body.to_string())).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, path, &[], Some(body.to_string())).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, &[], None).await
    }

    pub async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Answer {
        self.try_call(method, path, headers, body).await.unwrap()
    }

    pub async fn try_call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let stream = self.connect()?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = headers
            .iter()
            .fold(Request::builder().method(method).uri(path), |request, (name, value)| {
                request.header(*name, *value)
            })
            .body(Full::new(Bytes::from(body.unwrap_or_default())))?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
        Ok((status, serde_json::from_slice(&body).unwrap_or_else(|_| text())))
    }

    fn connect(&self) -> std::io::Result<UnixStream> {
        let (socket, uid) = (self.socket.clone(), self.uid);
        // The kernel notes who connects by the calling thread, so one thread can be another user.
        let connect = move || {
            if let Some(uid) = uid {
                let uid = rustix::process::Uid::from_raw(uid);
                rustix::thread::set_thread_res_uid(uid, uid, uid)?;
            }
            std::os::unix::net::UnixStream::connect(socket)
        };
        let stream = match uid {
            Some(_) => std::thread::spawn(connect).join().expect("it does not panic")?,
            None => connect()?,
        };
        stream.set_nonblocking(true)?;
        UnixStream::from_std(stream)
    }
}

/// Whether the test may act as other users. Says loudly when it may not.
pub fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: this test calls as other users, which only root can");
    }
    root
}

/// A small job: a share of one device.
pub fn job(compute: u32) -> Value {
    json!({
        "tenant": "default",
        "work": { "command": ["true"], "directory": "/", "environment": { "SECRET": "s" } },
        "devices": { "count": 1, "compute": compute, "memory": 1 << 20 },
    })
}

/// Stands in for a real agent: a scripted one, with one made-up device, that runs nothing.
pub struct FakeAgent {
    pub client: Client,
    pub node: String,
    pub incarnation: u64,
    pub sequence: u64,
    pub seen: Value,
}

impl FakeAgent {
    pub fn new(client: Client) -> Self {
        Self { client, node: "box".into(), incarnation: 1, sequence: 0, seen: Value::Null }
    }

    pub fn inventory() -> Value {
        json!({
            "node": { "address": "127.0.0.1", "cpu": 8000, "memory": 1u64 << 34, "agent": "fake" },
            "devices": [{
                "id": "sim-0", "api": "simulated", "kind": "gpu", "vendor": "none",
                "model": "Made-up", "driver": "0", "memory": 1u64 << 30, "granularity": 1,
                "compute_units": 4, "features": [], "health": { "state": "healthy" },
                "address": { "api": "simulated" }, "mechanisms": ["whole", "time_slice"],
                "simulated": true,
            }],
        })
    }

    /// One call. Keeps what it was told.
    pub async fn sync(&mut self, inventory: Option<Value>, leases: Value, wait_ms: u64) -> Answer {
        let request = self.request(inventory, leases, wait_ms);
        let answer = self.client.post("/api/v1/agent/sync", request).await;
        if answer.0 == StatusCode::OK {
            self.seen = answer.1["version"].clone();
        }
        answer
    }

    pub fn request(&mut self, inventory: Option<Value>, leases: Value, wait_ms: u64) -> Value {
        self.sequence += 1;
        json!({
            "protocol": 1, "node": self.node, "incarnation": self.incarnation,
            "sequence": self.sequence, "seen": self.seen, "inventory": inventory,
            "leases": leases, "wait": wait_ms * 1000,
        })
    }

    /// Reports its device.
    pub async fn join(&mut self) {
        let (status, answer) = self.sync(Some(Self::inventory()), json!([]), 0).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
}

pub fn prepared(lease: u64) -> Value {
    json!({ "lease": lease, "phase": { "phase": "prepared", "isolation": "soft" } })
}

pub fn started(lease: u64) -> Value {
    json!({ "lease": lease, "phase": { "phase": "started" }, "sample": sample(10) })
}

pub fn sample(device_time_ms: u64) -> Value {
    json!({
        "devices": [{
            "device": "sim-0", "device_time": device_time_ms * 1000, "contended_time": 0,
            "memory": 4096, "memory_peak": 8192, "refused": 0,
        }],
        "processes": 1, "launches": 3, "waited": 5,
    })
}

pub fn ended(lease: u64, code: i32) -> Value {
    let outcome = if code == 0 { "succeeded" } else { "failed" };
    json!({ "lease": lease, "phase": { "phase": "ended", "end": {
        "outcome": outcome, "code": code, "ran": 2_000_000, "sample": sample(1500),
    } } })
}
