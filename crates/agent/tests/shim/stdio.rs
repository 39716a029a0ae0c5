//! Where a task's input and output go.

use crate::kit::{Lease, fds, plan, script};
use polder_agent::Inherited;
use polder_agent::shim::{LOG_FILE_BYTES_MAX, LOG_FILES_MAX, Plan, Stream, read_log};
use polder_model::{Outcome, Stdio};
use rustix::pty::OpenptFlags;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

fn on_client(mut plan: Plan) -> Lease {
    plan.order.work.stdio = Stdio::Client;
    Lease::prepared(&plan)
}

#[test]
fn output_and_errors_are_kept_apart() {
    let (lease, _) = Lease::run(&script("echo out; echo err >&2; echo more"));
    assert_eq!(lease.stream(Stream::Output), "out\nmore\n");
    assert_eq!(lease.stream(Stream::Error), "err\n");
}

#[test]
fn logs_have_a_cap() {
    let bytes = LOG_FILE_BYTES_MAX * (LOG_FILES_MAX + 1) + 5;
    let (lease, outcome) = Lease::run(&script(&format!("head -c {bytes} /dev/zero; echo end")));
    assert_eq!(outcome, Outcome::Succeeded);
    let files = std::fs::read_dir(lease.dir()).unwrap().flatten();
    let logs = files.filter(|file| file.file_name().to_str().unwrap().starts_with("stdout.log"));
    let sizes: Vec<u64> = logs.map(|file| file.metadata().unwrap().len()).collect();
    assert_eq!(sizes.len() as u64, LOG_FILES_MAX);
    assert!(sizes.iter().all(|size| *size <= LOG_FILE_BYTES_MAX), "{sizes:?}");
    let part = read_log(lease.dir(), Stream::Output, bytes, 100).unwrap();
    assert_eq!((part.offset, part.bytes.as_slice()), (bytes, &b"end\n"[..]));
    assert_eq!(lease.state().log_bytes_lost, 0);
}

#[test]
fn a_client_hands_over_its_own_descriptors() {
    let lease = on_client(plan(&["cat"]));
    let (input, mut to) = std::io::pipe().unwrap();
    let (mut from, output) = std::io::pipe().unwrap();
    let error = output.try_clone().unwrap();
    let all: [OwnedFd; 3] = [input.into(), output.into(), error.into()];
    lease.client().start(None, false, Some(fds(&all))).unwrap();
    drop(all);
    to.write_all(b"through").unwrap();
    drop(to);
    let mut got = String::new();
    // It ends although the shim still runs: the shim has kept no descriptor.
    from.read_to_string(&mut got).unwrap();
    assert_eq!((got.as_str(), lease.end().outcome), ("through", Outcome::Succeeded));
}

#[test]
fn a_terminal_becomes_the_controlling_one() {
    let lease = on_client(script("test -t 0 && echo it is > /dev/tty; read line; exit 9"));
    let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    rustix::pty::grantpt(&master).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    let open = || rustix::fs::open(&name, flags, rustix::fs::Mode::empty()).unwrap();
    let all = [open(), open(), open()];
    lease.client().start(None, true, Some(fds(&all))).unwrap();
    let mut master = File::from(master);
    let mut seen = Vec::new();
    while !seen.ends_with(b"it is\r\n") {
        let mut chunk = [0; 64];
        let read = master.read(&mut chunk).unwrap();
        seen.extend(&chunk[..read]);
    }
    // What a terminal makes of ^C reaches the task.
    master.write_all(&[3]).unwrap();
    assert_eq!(lease.end().outcome, Outcome::Signalled { signal: 2 });
}

#[test]
fn what_a_caller_lends_is_the_tasks_under_its_number() {
    let lease = on_client(script("cat /proc/self/fd/300; cat <&7; grep SigIgn /proc/self/status"));
    let pipe = |text: &str| {
        let (from, mut to) = std::io::pipe().unwrap();
        to.write_all(text.as_bytes()).unwrap();
        OwnedFd::from(from)
    };
    let descriptors = vec![(7, pipe("seven ")), (300, pipe("three hundred "))];
    let inherited = Inherited { ignored: (1 << 0) | (1 << 8), descriptors };
    let (mut from, output) = std::io::pipe().unwrap();
    let null = File::open("/dev/null").unwrap();
    let all: [OwnedFd; 3] = [null.into(), output.try_clone().unwrap().into(), output.into()];
    let mut client = lease.client();
    // What another peer lends is not for this one's start.
    let mut other = lease.client();
    let foreign = Inherited { ignored: 1 << 1, descriptors: Vec::new() };
    other.lend(&foreign).unwrap();
    client.lend(&inherited).unwrap();
    client.start(None, false, Some(fds(&all))).unwrap();
    drop((all, inherited));
    let mut got = String::new();
    from.read_to_string(&mut got).unwrap();
    // SIGKILL is bit 8: nobody can ignore it.
    assert_eq!(got, "three hundred seven SigIgn:\t0000000000000001\n");
    let mut twice = lease.client();
    let two = Inherited { ignored: 0, descriptors: vec![(2, pipe(""))] };
    let why = twice.lend(&two).unwrap_err().to_string();
    assert!(why.contains("descriptor 2 cannot be handed over"), "{why}");
}

#[test]
fn descriptors_must_match_the_order() {
    let lease = on_client(plan(&["true"]));
    let none = lease.client().start(None, false, None).unwrap_err().to_string();
    assert!(none.contains("send three"), "{none}");
    let logged = Lease::prepared(&plan(&["true"]));
    let null = || File::open("/dev/null").unwrap().into();
    let all = [null(), null(), null()];
    let some = logged.client().start(None, false, Some(fds(&all))).unwrap_err().to_string();
    assert!(some.contains("send no descriptors"), "{some}");
}
