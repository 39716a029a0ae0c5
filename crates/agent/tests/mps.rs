//! The manager of MPS against NVIDIA's own `nvidia-cuda-mps-control`, which runs without a GPU.
//!
//! What needs a card is not shown here: no MPS server starts without one, so no program is ever held.

#![allow(clippy::print_stderr, reason = "a skip is said aloud")]
#![allow(clippy::unwrap_used, reason = "a test")]

use polder_agent::spatial::backoff::RESTARTS_MAX;
use polder_agent::spatial::control::{Control, version};
use polder_agent::spatial::daemon::{Daemon, Reach};
use polder_agent::spatial::partition::{self, Chunks};
use polder_agent::spatial::words::{Part, Place};
use polder_agent::spatial::{Seat, Spatial, SpatialError};
use polder_model::{LeaseId, Micros, Permille};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

#[path = "support/mps_program.rs"]
mod mps_program;

const UUID: &str = "GPU-57a4d141-0000-4000-8000-000000000000";
const OTHER: &str = "GPU-57a4d141-0000-4000-8000-000000000001";
const NOW: Micros = Micros::from_secs(1000);

/// A folder for daemons, which are all gone when it goes.
struct Ground {
    folder: tempfile::TempDir,
    program: &'static Path,
}

impl Ground {
    fn new() -> Option<Self> {
        Some(Self { folder: tempfile::tempdir().unwrap(), program: mps_program::find()? })
    }

    fn spatial(&self) -> Spatial {
        Spatial::new(Some(self.program.to_owned()), self.folder.path().join("mps"))
    }

    fn control(&self, number: u32) -> Control {
        Control::new(self.program, &self.folder.path().join("mps").join(number.to_string()))
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.spatial().sweep();
    }
}

fn seat(uuid: &str, compute: u32, memory_mib: u64) -> Seat {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    let part = Part { compute: Permille(compute), memory_mib };
    let chunks = Chunks::of(part.compute, 132, 90);
    Seat { uuid: uuid.to_owned(), uid, gid, part, chunks }
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut fds, None).unwrap();
}

fn limits(control: &Control) -> (String, String) {
    let percentage = control.say("get_default_active_thread_percentage").unwrap();
    let memory = control.say("get_default_device_pinned_mem_limit 0").unwrap();
    (percentage.join(""), memory.join(""))
}

/// One daemon from the first lease to the last, which holds programs to the largest lease.
#[test]
fn leases_of_a_card_share_one_daemon_that_ends_with_the_last() {
    let Some(ground) = Ground::new() else { return };
    let spatial = ground.spatial();
    let first = spatial.seat(LeaseId(1), &seat(UUID, 300, 4096), NOW).unwrap();
    let control = ground.control(0);
    assert_eq!(limits(&control), ("30.0".to_owned(), "4G".to_owned()));
    assert_eq!(first.pipe, ground.folder.path().join("mps/0"));
    assert_eq!(first.part.percentage(), "30");

    let second = spatial.seat(LeaseId(2), &seat(UUID, 455, 1024), NOW).unwrap();
    assert_eq!(second.pipe, first.pipe, "one server for the card");
    assert_eq!(limits(&control), ("45.5".to_owned(), "4G".to_owned()));
    assert_eq!(spatial.daemon_of(LeaseId(1)), spatial.daemon_of(LeaseId(2)));

    spatial.release(LeaseId(2));
    assert_eq!(limits(&control), ("30.0".to_owned(), "4G".to_owned()));
    let folder = std::fs::metadata(&first.pipe).unwrap().permissions().mode() & 0o777;
    let root = rustix::process::geteuid().is_root();
    assert_eq!(folder, if root { 0o750 } else { 0o700 }, "no other user's program gets in");

    let daemon = spatial.daemon_of(LeaseId(1)).unwrap();
    spatial.release(LeaseId(1));
    assert!(!Path::new(&format!("/proc/{daemon}/exe")).exists(), "it has ended");
    assert!(!first.pipe.exists() && spatial.is_idle());
    assert!(control.answers().unwrap_err().to_string().contains("no MPS control daemon listens"));
}

/// Cards and users have daemons of their own: a fault goes no further than its user.
#[test]
fn another_card_or_user_has_another_daemon() {
    let Some(ground) = Ground::new() else { return };
    let spatial = ground.spatial();
    let place = |lease, seat: &Seat| spatial.seat(LeaseId(lease), seat, NOW).unwrap().pipe;
    let mine = seat(UUID, 500, 1024);
    let theirs = Seat { uid: mine.uid + 1, ..mine.clone() };
    let pipes = [place(1, &mine), place(2, &theirs), place(3, &seat(OTHER, 100, 512))];
    assert_eq!(pipes.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
    spatial.release(LeaseId(2));
    assert_eq!(place(4, &seat(OTHER, 100, 512)), pipes[2]);
    for lease in [1, 3, 4] {
        assert!(spatial.daemon_of(LeaseId(lease)).is_some());
        spatial.release(LeaseId(lease));
    }
    assert!(spatial.is_idle());
}

/// A successor of the agent finds the daemon by what the kernel says, and ends what nobody has.
#[test]
fn a_new_agent_goes_on_with_the_daemon_and_sweeps_the_rest() {
    let Some(ground) = Ground::new() else { return };
    let before = ground.spatial();
    let kept = before.seat(LeaseId(1), &seat(UUID, 300, 4096), NOW).unwrap();
    let left = before.seat(LeaseId(2), &seat(OTHER, 300, 4096), NOW).unwrap();
    let (pid, left_pid) =
        (before.daemon_of(LeaseId(1)).unwrap(), before.daemon_of(LeaseId(2)).unwrap());
    drop(before);

    let after = ground.spatial();
    let who = (seat(UUID, 1, 1).uid, seat(UUID, 1, 1).gid);
    after.adopt(LeaseId(1), &kept, who, NOW).unwrap();
    after.sweep();
    assert_eq!(after.daemon_of(LeaseId(1)), Some(pid), "the very same");
    assert!(!left.pipe.exists() && !Path::new(&format!("/proc/{left_pid}/exe")).exists());
    assert_eq!(after.tick(NOW), []);

    let elsewhere = Place { pipe: "/tmp/7".into(), ..kept };
    let refused = after.adopt(LeaseId(3), &elsewhere, who, NOW);
    assert!(matches!(refused, Err(SpatialError::Elsewhere { .. })));
    after.release(LeaseId(1));
    assert!(!Path::new(&format!("/proc/{pid}/exe")).exists());
}

/// One that dies comes back with its limits; one that cannot come back ends its leases, once.
#[test]
fn a_daemon_that_dies_comes_back_and_one_that_cannot_is_told() {
    let Some(ground) = Ground::new() else { return };
    let spatial = ground.spatial();
    let place = spatial.seat(LeaseId(1), &seat(UUID, 300, 4096), NOW).unwrap();
    let first = spatial.daemon_of(LeaseId(1)).unwrap();
    kill(first);
    assert_eq!(spatial.tick(NOW), [], "its lease goes on");
    let full = spatial.seat(LeaseId(2), &seat(UUID, 300, 4096), NOW);
    assert!(matches!(full, Err(SpatialError::Down { .. })), "and nobody joins meanwhile");
    let mut now = Micros(NOW.0 + 1_000_000);
    assert_eq!(spatial.tick(now), []);
    let second = spatial.daemon_of(LeaseId(1)).unwrap();
    assert_ne!(first, second);
    assert_eq!(limits(&ground.control(0)), ("30.0".to_owned(), "4G".to_owned()));

    // From now on none can start: its folder cannot be made.
    kill(second);
    std::fs::remove_dir_all(&place.pipe).unwrap();
    std::fs::write(&place.pipe, "").unwrap();
    let mut told = Vec::new();
    for _ in 0..RESTARTS_MAX + 2 {
        told.extend(spatial.tick(now));
        now = Micros(now.0 + 60_000_000);
    }
    let leases: Vec<LeaseId> = told.iter().map(|(lease, _)| *lease).collect();
    assert_eq!(leases, [LeaseId(1)], "{told:?}");
    assert!(told[0].1.contains(UUID), "{told:?}");
    std::fs::remove_file(&place.pipe).unwrap();
    spatial.release(LeaseId(1));
    assert!(spatial.is_idle());
}

/// What lies in its folder is never believed: its programs can write to the file with its number.
#[test]
fn no_other_process_is_taken_for_the_daemon() {
    let Some(ground) = Ground::new() else { return };
    let pipe = ground.folder.path().join("mps/0");
    let gid = rustix::process::getegid().as_raw();
    let daemon =
        Daemon::start(ground.program, &pipe, UUID, Reach { gid, partitions: false }).unwrap();
    let file = pipe.join("nvidia-cuda-mps-control.pid");
    let named = std::fs::read_to_string(&file).unwrap();
    assert_eq!(named.trim(), daemon.pid().to_string());
    let this = std::process::id().to_string();
    for other in ["1", &this, "", "-1", "0", "4294967295", "99999999999", "x", "\0"] {
        std::fs::write(&file, other).unwrap();
        assert!(Daemon::find(ground.program, &pipe).is_none(), "{other:?}");
    }
    // A daemon of another folder is none of this one's.
    let beside = ground.folder.path().join("mps/1");
    let other =
        Daemon::start(ground.program, &beside, OTHER, Reach { gid, partitions: false }).unwrap();
    std::fs::write(&file, other.pid().to_string()).unwrap();
    assert!(Daemon::find(ground.program, &pipe).is_none());
    std::fs::write(&file, named).unwrap();
    assert_eq!(Daemon::find(ground.program, &pipe).unwrap().pid(), daemon.pid());
    daemon.stop().unwrap();
    other.stop().unwrap();
}

/// The daemon keeps what it refuses to itself: what it then has is read back.
#[test]
fn what_a_daemon_does_not_take_is_an_error() {
    let Some(ground) = Ground::new() else { return };
    let pipe = ground.folder.path().join("mps/0");
    let gid = rustix::process::getegid().as_raw();
    let daemon =
        Daemon::start(ground.program, &pipe, UUID, Reach { gid, partitions: false }).unwrap();
    let control = daemon.control();
    control.hold_to(&Part { compute: Permille(1), memory_mib: 1 }).unwrap();
    control.hold_to(&Part { compute: Permille(1000), memory_mib: 141 << 10 }).unwrap();
    assert_eq!(control.servers().unwrap(), [] as [u32; 0], "no server without a card");
    let odd = Part { compute: Permille(1001), memory_mib: 1 };
    let error = control.hold_to(&odd).unwrap_err().to_string();
    assert!(error.contains("was told") && error.contains("100.1"), "{error}");
    assert_eq!(limits(&control).0, "100.0");
    daemon.stop().unwrap();
}

/// Programs that are not there, or are no MPS, fail by name.
#[test]
fn a_program_that_is_no_mps_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let none = Spatial::new(None, folder.path().join("mps"));
    let error = none.seat(LeaseId(1), &seat(UUID, 300, 1), NOW).unwrap_err().to_string();
    assert!(error.contains("install it"), "{error}");
    for (program, words) in [("/bin/true", "did not start"), ("/nowhere/mps", "/nowhere/mps")] {
        let spatial = Spatial::new(Some(program.into()), folder.path().join("mps"));
        let error = spatial.seat(LeaseId(1), &seat(UUID, 300, 1), NOW).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(spatial.is_idle());
    }
}

/// The stand-in for a control program that cuts partitions, under the vendor's name.
fn newer() -> Ground {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut cargo = std::process::Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "-p", "polder-standin-host", "--bin", "standin-mps-control"]);
    assert!(cargo.arg("--target-dir").arg(target).status().unwrap().success(), "it builds");
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("nvidia-cuda-mps-control");
    std::fs::copy(target.join("debug/standin-mps-control"), &program).unwrap();
    Ground { folder, program: program.leak() }
}

/// Partitions are cut and given back with their leases, and never more of them than the card has. On a
/// STAND-IN for the vendor's program: the newest that Debian has is older.
#[test]
fn leases_of_a_cut_card_have_partitions_of_their_own() {
    let ground = newer();
    assert!(partition::knows(&version(ground.program)));
    let mps = ground.folder.path().join("mps");
    let spatial = Spatial::with(Some(ground.program.to_owned()), mps.clone(), true);
    let place = |lease, compute| spatial.seat(LeaseId(lease), &seat(UUID, compute, 1024), NOW);
    let (first, second) = (place(1, 300).unwrap(), place(2, 600).unwrap());
    let cut = |place: &Place| {
        let partition = place.partition.as_ref().unwrap();
        (partition.name().to_owned(), partition.units)
    };
    // 39 and 79 of 132 multiprocessors, in chunks of eight.
    assert_eq!((cut(&first).1, cut(&second).1), (32, 72));
    let variable = format!("{UUID}/{}", cut(&second).0);
    assert_eq!(second.variables()[1], ("CUDA_MPS_SM_PARTITION", variable));
    let control = ground.control(0);
    // The daemon's own table: two lines of heading, one of the card.
    let listed = || control.say("lspart").unwrap()[3..].to_vec();
    assert_eq!(listed().len(), 2);
    assert_eq!(control.say("get_default_active_thread_percentage").unwrap(), ["100.0"]);
    assert_eq!(control.say("get_default_device_pinned_mem_limit 0").unwrap(), ["1024M"]);

    let full = place(3, 400).unwrap_err().to_string();
    assert!(full.contains("cut 6 chunks") && full.contains("Failed to fulfill"), "{full}");
    let small = place(3, 50).unwrap_err().to_string();
    assert!(small.contains("ask for 6.1%"), "{small}");
    assert_eq!(listed().len(), 2, "they have cut nothing");

    // What a program still computes in is given back when it has gone.
    let busy = mps.join("0/busy");
    std::fs::write(&busy, "").unwrap();
    spatial.release(LeaseId(2));
    assert_eq!((spatial.tick(NOW), listed().len()), (Vec::new(), 2));
    assert!(place(3, 600).is_err(), "nobody else has it meanwhile");
    std::fs::remove_file(&busy).unwrap();
    spatial.tick(NOW);
    assert_eq!(listed(), [format!("GPU-57a4d141 {} - 4 - 32 No", cut(&first).0)]);

    // A successor goes on with what is cut, and partitions do not come back with a daemon.
    let after = ground.spatial();
    let who = (seat(UUID, 1, 1).uid, seat(UUID, 1, 1).gid);
    after.adopt(LeaseId(1), &first, who, NOW).unwrap();
    let third = after.seat(LeaseId(4), &seat(UUID, 400, 1024), NOW).unwrap();
    assert_eq!(cut(&third).1, 48, "the daemon cuts, whatever new ones would do");
    kill(after.daemon_of(LeaseId(1)).unwrap());
    let told = after.tick(NOW);
    assert_eq!(told.iter().map(|(lease, _)| lease.0).collect::<Vec<_>>(), [1, 4], "{told:?}");
    assert!(told[0].1.contains("partitions with it"), "{told:?}");
    assert_eq!(after.tick(Micros(NOW.0 + 60_000_000)), [], "once");
    after.release(LeaseId(1));
    after.release(LeaseId(4));
    assert!(after.is_idle());
}

/// The vendor's own program of an older driver cuts none, says so, and leaves nothing behind.
#[test]
fn an_older_program_that_cuts_no_partitions_is_known_and_refused() {
    let Some(ground) = Ground::new() else { return };
    assert!(!partition::knows(&version(ground.program)), "{}", version(ground.program));
    let folder = ground.folder.path().join("mps");
    let spatial = Spatial::with(Some(ground.program.to_owned()), folder.clone(), true);
    let error = spatial.seat(LeaseId(1), &seat(UUID, 300, 1024), NOW).unwrap_err();
    assert!(error.to_string().contains("did not start"), "{error}");
    assert!(spatial.is_idle());
    let gid = rustix::process::getegid().as_raw();
    let reach = Reach { gid, partitions: false };
    let daemon = Daemon::start(ground.program, &folder.join("0"), UUID, reach).unwrap();
    let chunks = Chunks { count: 2, units: 8 };
    let error = daemon.control().cut(UUID, chunks).unwrap_err().to_string();
    assert!(error.contains("Unknown command"), "{error}");
    daemon.stop().unwrap();
}
