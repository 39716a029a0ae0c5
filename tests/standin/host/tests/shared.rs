//! Two clients of one host.

use polder_standin_host::{Ask, Client, Hosted, Script, now_ns};
use std::path::PathBuf;

struct Host {
    path: PathBuf,
    _hosted: Hosted,
    _folder: tempfile::TempDir,
}

impl Host {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("device");
        let hosted = Hosted::start(&path, Script { model: 3 });
        Self { path, _hosted: hosted, _folder: folder }
    }

    fn client(&self, pid: u32) -> Client {
        Client::connect(&self.path, pid).expect("it listens")
    }
}

fn kernel(length_ns: u64) -> Ask {
    let (blocks, threads) = (100_000, 256);
    Ask::Launch { stream: 0, blocks, threads, length_ns, nodes: 0, cooperative: false }
}

#[test]
fn work_takes_its_time_and_marks_tell_when_it_was_over() {
    let host = Host::start();
    let client = host.client(1);
    assert_eq!(client.ask(Ask::Open).unwrap()[0], 0);
    let before = client.mark(0).unwrap();
    client.wait(before);
    let from_ns = now_ns();
    (0..20).for_each(|_| client.tell(kernel(1_000_000)).unwrap());
    let after = client.mark(0).unwrap();
    assert!(!client.over(after));
    client.wait(after);
    let took = client.over_at_ns(after) - client.over_at_ns(before);
    assert!(now_ns() - from_ns >= 20_000_000 && took >= 20_000_000, "{took} ns");
    let truth = client.ask(Ask::Truth { pid: 1 }).unwrap();
    assert_eq!(truth[..3], [20_000_000, 0, 20]);
}

#[test]
fn processes_compete_and_one_that_is_gone_leaves_nothing() {
    let host = Host::start();
    let (one, two) = (host.client(1), host.client(2));
    for client in [&one, &two] {
        assert_eq!(client.ask(Ask::Open).unwrap()[0], 0);
        client.tell(kernel(30_000_000)).unwrap();
    }
    let ends = [one.mark(0).unwrap(), two.mark(0).unwrap()];
    one.wait(ends[0]);
    two.wait(ends[1]);
    let truth = one.ask(Ask::Truth { pid: 2 }).unwrap();
    assert!(truth[0] == 30_000_000 && truth[1] > 0, "no changes of context: {truth:?}");
    assert_eq!(two.ask(Ask::Allocate { bytes: 1 << 30 }).unwrap()[0], 0);
    let used = one.ask(Ask::State).unwrap()[1];
    drop(two);
    let left = loop {
        let now = one.ask(Ask::State).unwrap()[1];
        if now != used {
            break now;
        }
    };
    assert_eq!(used - left, (1 << 30) + (400 << 20));
    assert_eq!(one.ask(Ask::Process { index: 0 }).unwrap()[..2], [1, 400 << 20]);
    assert_eq!(one.ask(Ask::Process { index: 1 }).unwrap()[0], 0);
}

#[test]
fn too_much_memory_and_faults_are_told() {
    let host = Host::start();
    let (one, two) = (host.client(1), host.client(2));
    for client in [&one, &two] {
        assert_eq!(client.ask(Ask::Open).unwrap()[0], 0);
    }
    assert_ne!(one.ask(Ask::Allocate { bytes: 1 << 50 }).unwrap()[0], 0);
    one.tell(kernel(u64::MAX / 4)).unwrap();
    let never = one.mark(0).unwrap();
    two.tell(Ask::Fail { xid: 31, pid: 1 }).unwrap();
    one.wait(never);
    assert_eq!((one.fault(), two.fault()), (31, 0));
    assert_eq!(two.ask(Ask::State).unwrap()[3], 1);
}

/// However close the end of the one is to the word that the other waits for it.
#[test]
fn a_stream_that_waits_for_another_always_goes_on() {
    let host = Host::start();
    let client = host.client(1);
    assert_eq!(client.ask(Ask::Open).unwrap()[0], 0);
    for length_ns in (0..300).map(|step| 1 + step * 300) {
        client.tell(kernel(length_ns)).unwrap();
        let first = client.mark(0).unwrap();
        client.after(1, first).unwrap();
        let second = client.mark(1).unwrap();
        let mut seen = 0;
        // Each look waits at most a tenth of a second.
        let over = (0..200).any(|_| {
            seen = client.changed(seen);
            client.over(second)
        });
        assert!(over, "it waits for ever behind a kernel of {length_ns} ns");
        assert!(client.over(first), "the second was over before the first");
    }
}
