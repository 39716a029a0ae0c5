//! The control socket against whoever may connect to it.

use crate::kit::{Lease, is_root, plan, script, skip};
use polder_agent::shim::{
    PACKET_BYTES_MAX, Reply, Request, SHIM_PROTOCOL, ShimClient, ShimError, ShimPhase,
};
use polder_model::{Micros, Outcome};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;

fn connect(lease: &Lease) -> OwnedFd {
    let kind = SocketType::SEQPACKET;
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None).unwrap();
    let address = SocketAddrUnix::new(lease.file("shim.sock")).unwrap();
    rustix::net::connect(&socket, &address).unwrap();
    socket
}

fn answer(socket: &OwnedFd) -> Option<Reply> {
    let mut bytes = vec![0; PACKET_BYTES_MAX];
    let (_, length) = rustix::net::recv(socket, &mut bytes[..], RecvFlags::empty()).unwrap();
    (length > 0).then(|| serde_json::from_slice(&bytes[..length]).unwrap())
}

/// Sends one packet on a new connection: it must be refused with these words.
fn check(lease: &Lease, packet: &[u8], expect: &str) {
    let socket = connect(lease);
    rustix::net::send(&socket, packet, SendFlags::NOSIGNAL).unwrap();
    match answer(&socket) {
        Some(Reply::Refused { why }) => assert!(why.contains(expect), "{why}"),
        other => panic!("{other:?}, not {expect:?}"),
    }
}

#[test]
fn nonsense_is_refused_and_harms_nobody() {
    let lease = Lease::started(&script("sleep 600"));
    check(&lease, b"\xff\xfe nonsense", "not a request of this protocol");
    check(&lease, b"{\"request\":\"unheard\"}", "not a request of this protocol");
    check(&lease, &vec![b'['; PACKET_BYTES_MAX + 1], "too long");
    check(&lease, &vec![b'['; 100_000], "not a request of this protocol");
    check(&lease, br#"{"request":"forget"}"#, "say hello first");
    check(&lease, br#"{"request":"hello","protocol":0}"#, "install its version");
    let mut client = lease.client();
    let unknown = client.signal(12345).unwrap_err().to_string();
    assert!(unknown.contains("no signal that can be sent"), "{unknown}");
    let early = client.forget().unwrap_err().to_string();
    assert!(early.contains("stop it first"), "{early}");
    assert!(matches!(lease.state().phase, ShimPhase::Started { .. }));
}

#[test]
fn a_connection_that_watches_cannot_ask() {
    let lease = Lease::prepared(&plan(&["true"]));
    let socket = connect(&lease);
    let say = |request: &Request| {
        let packet = serde_json::to_vec(request).unwrap();
        rustix::net::send(&socket, &packet, SendFlags::NOSIGNAL).unwrap();
        answer(&socket).unwrap()
    };
    assert!(matches!(say(&Request::Hello { protocol: SHIM_PROTOCOL }), Reply::State { .. }));
    assert!(matches!(say(&Request::Watch), Reply::State { .. }));
    let Reply::Refused { why } = say(&Request::Forget) else { panic!("it asked") };
    assert!(why.contains("open another"), "{why}");
}

#[test]
fn a_watcher_that_reads_late_gets_the_last_state() {
    let lease = Lease::started(&script("sleep 600"));
    let mut watch = lease.client().watch().unwrap();
    for epoch in 1..2000 {
        let _page = lease.give_limits(epoch);
    }
    lease.stop(Micros(0));
    lease.end();
    let mut phases = Vec::new();
    while !matches!(phases.last(), Some(ShimPhase::Ended { .. })) {
        phases.push(watch.next_state().unwrap().unwrap().phase);
    }
    assert!(phases.len() < 2000, "every state in between was kept: {}", phases.len());
}

#[test]
fn a_watch_tells_every_phase() {
    let lease =
        Lease::prepared(&script("trap 'exit 0' TERM; echo on; while :; do sleep 0.02; done"));
    let mut watch = lease.client().watch().unwrap();
    let mut next = || watch.next_state().unwrap().unwrap().phase;
    assert!(matches!(next(), ShimPhase::Prepared { .. }));
    lease.client().start(None, false, None).unwrap();
    assert!(matches!(next(), ShimPhase::Started { .. }));
    lease.line("on");
    lease.stop(Micros::from_secs(10));
    assert!(matches!(next(), ShimPhase::Stopping { .. }));
    let ShimPhase::Ended { end } = next() else { panic!("no end") };
    assert_eq!(end.outcome, Outcome::Cancelled);
}

/// What a process of another user gets on the lease's control socket.
fn as_user(lease: &Lease, uid: u32) -> String {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "entry::peer_entry", "--nocapture"])
        .arg(lease.dir())
        .uid(uid)
        .gid(uid)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_leases_user_may_watch_and_signal_and_others_nothing() {
    if !is_root() {
        return skip("only root may play another user");
    }
    let mut plan = script("sleep 600");
    plan.order.lease.user = "uid-65534".parse().unwrap();
    let lease = Lease::started(&plan);
    let user = as_user(&lease, 65534);
    for line in ["pages: Ok(false)", "only the node's agent may ask", "signal: done", "watch: done"]
    {
        assert!(user.contains(line), "{line} in {user}");
    }
    let other = as_user(&lease, 65533);
    assert!(other.contains("belongs to another user") && !other.contains("done"), "{other}");
    assert!(matches!(lease.state().phase, ShimPhase::Started { .. }));
}

#[test]
fn a_shim_that_is_gone_is_named_so() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(ShimClient::connect(dir.path()), Err(ShimError::Gone { .. })));
    let long = dir.path().join("x".repeat(120));
    let error = ShimClient::connect(&long).unwrap_err().to_string();
    assert!(error.contains("too long for a socket"), "{error}");
}
