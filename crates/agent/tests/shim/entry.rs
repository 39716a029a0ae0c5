//! The parts that the test program plays when it is started as another process.

use polder_agent::shim::{ShimClient, shim_main};
use polder_ledger::attach::{Message, receive, send};
use polder_ledger::{LAYOUT, Mapped, Usage, map_limits, map_usage, memory};
use polder_model::{Micros, Outcome};
use rustix::net::{AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The folder that this process was given as its last argument, if it plays a part.
fn folder() -> Option<PathBuf> {
    std::env::args().next_back().map(PathBuf::from).filter(|path| path.join("plan.json").exists())
}

#[test]
fn shim_entry() {
    if let Some(dir) = folder() {
        let done = shim_main(&dir) == std::process::ExitCode::SUCCESS;
        std::process::exit(i32::from(!done));
    }
}

/// Starts a shim and waits to be killed.
#[test]
fn spawner_entry() {
    if let Some(dir) = folder() {
        let exe = std::env::current_exe().unwrap();
        let args = ["--exact", crate::kit::SHIM, "--nocapture"];
        polder_agent::shim::spawn_shim(&exe, &args, &dir).unwrap();
        println!("spawned");
        std::thread::sleep(Duration::from_secs(600));
    }
}

/// A signal that does nothing by default.
const SIGWINCH: i32 = 28;

/// Tries all that a peer may try on the control socket, and prints what it got.
#[test]
fn peer_entry() {
    let Some(dir) = folder() else { return };
    let say = |what: &str, got: Result<(), String>| {
        println!("{what}: {}", got.err().unwrap_or_else(|| "done".to_owned()));
    };
    let mut client = ShimClient::connect(&dir).unwrap();
    let hello = client.hello().map_err(|error| error.to_string());
    let pages = hello.as_ref().map(|greeting| greeting.pages.is_some());
    println!("pages: {pages:?}");
    let words = |error: polder_agent::shim::ShimError| error.to_string();
    say("stop", client.stop(Micros(0), Outcome::Cancelled).map(drop).map_err(words));
    say("signal", client.signal(SIGWINCH).map(drop).map_err(words));
    let first = client.watch().and_then(|mut watch| watch.next_state()).map_err(words);
    say("watch", first.and_then(|state| state.map(drop).ok_or_else(|| "closed".to_owned())));
}

struct Place {
    usage: Mapped<Usage>,
    slot: usize,
    socket: OwnedFd,
}

/// Connects to the lease's door as the driver library does.
pub(crate) fn knock(path: &str) -> OwnedFd {
    let kind = SocketType::SEQPACKET;
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None).unwrap();
    rustix::net::connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    // One that is refused at the door may find it shut already.
    let _ = send(&socket, &Message::Hello { layout: LAYOUT }, &[]);
    socket
}

fn attach() -> Result<Place, String> {
    let socket = knock(&std::env::var("POLDER_SOCKET").unwrap());
    match receive(&socket, RecvFlags::empty()).unwrap().unwrap() {
        (Message::Welcome { slot, lease, .. }, fds) => {
            let [limits, usage, _doorbell] = <[OwnedFd; 3]>::try_from(fds).unwrap();
            assert_eq!(map_limits(limits).unwrap().lease(), lease);
            Ok(Place { usage: map_usage(usage).unwrap(), slot: slot as usize, socket })
        }
        (Message::Refused { why }, _) => Err(why),
        other => panic!("{other:?}"),
    }
}

/// A program of the lease that uses a device.
#[expect(clippy::zombie_processes, reason = "the shim ends whatever this leaves")]
#[test]
fn tenant_entry() {
    let Ok(role) = std::env::var("TENANT_ROLE") else { return };
    let place = attach().unwrap();
    memory::reserve(&place.usage, place.slot, 0, 1000, || 1 << 30, || ()).unwrap();
    println!("\nholds {}", place.slot);
    match role.as_str() {
        "hold" => {}
        "exec" => {
            let error = Command::new("sleep").arg("600").exec();
            panic!("{error}");
        }
        // The child keeps the connection open, so only a new attachment tells of the exec.
        "exec-again" => {
            let kept = rustix::io::dup(&place.socket).unwrap();
            let child = Command::new("sleep").arg("600").stdin(kept).spawn().unwrap();
            println!("\nchild {}", child.id());
            let mut again = Command::new(std::env::current_exe().unwrap());
            let again = again.args(["--exact", "entry::tenant_entry", "--nocapture"]);
            panic!("{}", again.env("TENANT_ROLE", "hold").exec());
        }
        "close" => drop(place.socket),
        "child" => {
            let mut child = Command::new(std::env::current_exe().unwrap());
            let child = child.args(["--exact", "entry::tenant_entry", "--nocapture"]);
            let child = child.env("TENANT_ROLE", "hold").spawn().unwrap();
            println!("\nchild {}", child.id());
        }
        "many" => {
            let all: Vec<_> = (0..polder_ledger::SLOTS_MAX).map(|_| attach()).collect();
            let refused = all.iter().filter_map(|place| place.as_ref().err());
            println!("\nrefused {:?}", refused.collect::<Vec<_>>());
            std::thread::sleep(Duration::from_secs(600));
        }
        "listen" => {
            let (message, fds) = receive(&place.socket, RecvFlags::empty()).unwrap().unwrap();
            assert_eq!(message, Message::NewLimits);
            println!("\nepoch {}", map_limits(&fds[0]).unwrap().epoch());
        }
        "babble" => {
            send(&place.socket, &Message::Hello { layout: 0 }, &[]).unwrap();
            assert!(receive(&place.socket, RecvFlags::empty()).unwrap().is_none());
            println!("\nshut");
        }
        other => panic!("no role {other}"),
    }
    std::thread::sleep(Duration::from_secs(600));
}
