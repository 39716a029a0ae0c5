//! Daemons whose disk fills, and whose port strangers knock at.

use crate::common::{RACK, ended, may_mount, polder, say, soon};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command};

/// A daemon's place: a state folder for a pool of devices that do not exist.
struct Place {
    above: tempfile::TempDir,
    mounted: bool,
}

impl Place {
    fn new() -> Self {
        let place = Self { above: tempfile::tempdir().unwrap(), mounted: false };
        fs::create_dir(place.state()).unwrap();
        fs::set_permissions(place.state(), PermissionsExt::from_mode(0o700)).unwrap();
        fs::write(place.above.path().join("rack.toml"), RACK).unwrap();
        place
    }

    /// One on a small disk with something on it that can be thrown away; says loudly when it cannot.
    fn on_small_disk() -> Option<Self> {
        if !may_mount() {
            return None;
        }
        let mut place = Self::new();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=40m,mode=700", "small"]).arg(place.state());
        place.mounted = mount.status().unwrap().success();
        assert!(place.mounted, "a tmpfs is mounted");
        fs::write(place.ballast(), vec![1; 32 << 20]).unwrap();
        Some(place)
    }

    fn state(&self) -> PathBuf {
        self.above.path().join("state")
    }

    fn ballast(&self) -> PathBuf {
        self.state().join("ballast")
    }

    fn polder(&self, words: &[&str]) -> Command {
        let mut command = polder(["--state"]);
        command.arg(self.state()).args(words);
        command
    }

    fn json(&self, words: &[&str]) -> Value {
        let said = say(self.polder(&[&["--output", "json"], words].concat()));
        serde_json::from_str(&said.stdout).unwrap_or_default()
    }

    /// Starts a daemon; what it says goes into `log`, which lies beside its state folder.
    fn up(&self, log: &str, flags: &[&str]) -> Child {
        let log = fs::File::create(self.above.path().join(log)).unwrap();
        let mut up = self.polder(&["up", "--simulate"]);
        up.arg(self.above.path().join("rack.toml")).args(flags);
        up.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    }

    fn log(&self, log: &str) -> String {
        fs::read_to_string(self.above.path().join(log)).unwrap()
    }

    fn serves(&self) {
        soon("a pool with devices", || {
            let nodes = self.json(&["nodes"]);
            nodes["nodes"].as_array().is_some_and(|nodes| !nodes.is_empty()).then_some(())
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A test that fails leaves a daemon with tasks behind.
        let _ = say(self.polder(&["down", "--all"]));
        if self.mounted {
            let _ = Command::new("umount").arg("--lazy").arg(self.state()).status();
        }
    }
}

fn state(job: &Value) -> (u64, &str) {
    (job["id"].as_u64().unwrap(), job["state"]["state"].as_str().unwrap())
}

#[test]
fn a_disk_that_fills_under_a_daemon_is_named_and_loses_nothing() {
    let Some(disk) = Place::on_small_disk() else { return };
    let mut up = disk.up("first.log", &["--no-listen"]);
    disk.serves();
    // Two hold the two devices; the others wait.
    let padding = "x".repeat(60_000);
    let submit = ["submit", "--whole", "--", "sh", "-c", "exec sleep 100", "sh", &padding];
    let mut acknowledged = Vec::new();
    loop {
        let said = say(disk.polder(&submit));
        if said.code != 0 {
            assert_eq!(said.stdout, "", "a number is an acknowledgement");
            break;
        }
        acknowledged.push(said.stdout.trim().parse::<u64>().unwrap());
        assert!(acknowledged.len() < 1000, "the disk never fills");
    }
    assert!(acknowledged.len() > 2, "{}", disk.log("first.log"));
    assert_eq!(ended(&mut up).code(), Some(1), "{}", disk.log("first.log"));
    let journal = disk.state().join("journal.db");
    for part in [
        &*format!("error: cannot append to {}: ", journal.display()),
        "the disk is full: free space there and start again",
        "nothing it acknowledged is lost and running tasks go on",
    ] {
        let log = disk.log("first.log");
        assert!(log.contains(part), "{part:?} is not in {log}");
    }
    // Not a byte is left, whatever the daemon's end set free.
    let mut rest = fs::File::create(disk.state().join("rest")).unwrap();
    let full = std::io::copy(&mut std::io::repeat(1), &mut rest).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let mut early = disk.up("early.log", &["--no-listen"]);
    assert_eq!(ended(&mut early).code(), Some(1), "nothing was freed: {}", disk.log("early.log"));
    let log = disk.log("early.log");
    assert!(log.contains(disk.state().to_str().unwrap()) && log.contains("free space"), "{log}");

    fs::remove_file(disk.state().join("rest")).unwrap();
    fs::remove_file(disk.ballast()).unwrap();
    let mut up = disk.up("freed.log", &["--no-listen"]);
    disk.serves();
    let all = disk.json(&["show", "--limit", "1000"]);
    let mut known: Vec<(u64, &str)> = all["jobs"].as_array().unwrap().iter().map(state).collect();
    known.sort_unstable();
    let numbers: Vec<u64> = known.iter().map(|(id, _)| *id).collect();
    assert_eq!(numbers, acknowledged, "what was acknowledged is there, and nothing else");
    assert!(known.iter().all(|(_, state)| ["running", "queued"].contains(state)), "{known:?}");
    let down = say(disk.polder(&["down", "--all"]));
    assert_eq!(down.code, 0, "{down:?}: {}", disk.log("freed.log"));
    assert_eq!(ended(&mut up).code(), Some(0), "{}", disk.log("freed.log"));
}

/// One request by hand, to the loopback port: the status of the answer, and all of it.
fn knock(address: &str, lines: &[&str], body: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(address).unwrap();
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let length = body.len();
    let end = format!("content-length: {length}\r\nconnection: close\r\n\r\n{body}");
    socket.write_all((lines + &end).as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

#[test]
fn pages_and_users_without_the_token_get_nothing_at_the_port() {
    let place = Place::new();
    let mut up = place.up("up.log", &["--listen", "127.0.0.1:0"]);
    place.serves();
    // It says where once its devices have called.
    let address = soon("the address it listens at", || {
        let log = place.log("up.log");
        let (_, address) = log.split_once("http://")?;
        Some(address.split_once(' ')?.0.to_owned())
    });
    let address = address.as_str();
    let token = fs::read_to_string(place.state().join("token")).unwrap();
    let host = format!("host: {address}");
    let bearer = format!("authorization: Bearer {}", token.trim());
    let json = "content-type: application/json";
    let job = serde_json::json!({
        "tenant": "default",
        "work": { "command": ["sleep", "100"], "directory": "/" },
        "devices": { "count": 1, "compute": 100, "memory": 1 << 20 },
    })
    .to_string();
    let (_, port) = address.split_once(':').unwrap();
    let rebound = format!("host: evil.example:{port}");
    for refused in [
        // Another local user, who can reach the port and cannot read the token.
        [&host, json, "", ""],
        [&host, json, "authorization: Bearer 00000000", ""],
        // A page of another site whose name was made to mean this machine.
        [&rebound, json, &bearer, ""],
        // A page of another site, and one that hides its own, even with the token.
        [&host, json, &bearer, "origin: http://evil.example"],
        [&host, json, &bearer, "origin: null"],
        // What a page may send without asking first.
        [&host, "content-type: text/plain", "", "origin: http://evil.example"],
    ] {
        let headers = refused.into_iter().filter(|line| !line.is_empty());
        for (request, body) in
            [("POST /api/v1/jobs HTTP/1.1", &*job), ("POST /api/v1/shutdown HTTP/1.1", "{}")]
        {
            let lines: Vec<&str> = std::iter::once(request).chain(headers.clone()).collect();
            let (status, answer) = knock(address, &lines, body);
            assert!([401, 403].contains(&status), "{lines:?}: {answer}");
            assert!(answer.contains("\"help\""), "it says what to do: {answer}");
            assert!(!answer.to_lowercase().contains("access-control-allow"), "{answer}");
        }
    }
    assert_eq!(place.json(&["show"])["jobs"], serde_json::json!([]), "nothing was done");
    let (status, answer) =
        knock(address, &["POST /api/v1/jobs HTTP/1.1", &host, json, &bearer], &job);
    assert_eq!(status, 201, "the same with all of it: {answer}");
    assert_eq!(say(place.polder(&["down", "--all"])).code, 0);
    assert_eq!(ended(&mut up).code(), Some(0), "{}", place.log("up.log"));
}
