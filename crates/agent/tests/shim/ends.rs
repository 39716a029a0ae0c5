//! How a task ends, and that nothing of it stays.

use crate::kit::{Lease, alive, plan, script, skip, wait_for};
use polder_agent::shim::{Plan, RecoverError, ShimPhase, read_status, recover};
use polder_model::{Micros, Outcome};
use rustix::process::{Pid, Signal};

fn check(plan: &Plan, expect: &Outcome) {
    let (_lease, outcome) = Lease::run(plan);
    assert_eq!(&outcome, expect);
}

fn check_not_started(change: impl FnOnce(&mut Plan), expect: &str) {
    let mut plan = plan(&["true"]);
    change(&mut plan);
    match Lease::run(&plan).1 {
        Outcome::NotStarted { why } => assert!(why.contains(expect), "{why}"),
        other => panic!("{other:?}, not {expect:?}"),
    }
}

fn limited(text: &str, limit_ms: u64, grace_ms: u64) -> Plan {
    let mut plan = script(text);
    plan.order.time_limit = Some(Micros::from_millis(limit_ms));
    plan.order.grace = Micros::from_millis(grace_ms);
    plan
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

#[test]
fn the_main_processs_exit_is_the_leases() {
    check(&plan(&["true"]), &Outcome::Succeeded);
    check(&script("exit 7"), &Outcome::Failed { code: 7 });
    check(&script("kill -9 $$"), &Outcome::Signalled { signal: 9 });
    check(&script("kill -15 $$"), &Outcome::Signalled { signal: 15 });
}

#[test]
fn what_cannot_start_says_why_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("text");
    std::fs::write(&text, "no program").unwrap();
    let name = text.to_str().unwrap().to_owned();
    let command = |name: &str| {
        let name = name.to_owned();
        move |plan: &mut Plan| plan.order.work.command = vec![name]
    };
    check_not_started(command("no-such-program"), "\"no-such-program\" is not in the job's PATH");
    check_not_started(command("/no/such"), "\"/no/such\" is not there");
    check_not_started(command(&name), "is not executable: chmod +x");
    std::fs::set_permissions(&text, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    check_not_started(command(&name), "nor a script with a #! line");
    std::fs::write(&text, "#!/no/interpreter\n").unwrap();
    check_not_started(command(&name), "the interpreter that it names is missing");
    check_not_started(|p| p.order.work.directory = "/no/dir".into(), "\"/no/dir\" cannot be");
}

#[test]
fn a_lease_that_can_never_start_has_ended_once_prepared() {
    let mut plan = plan(&["true"]);
    plan.order.lease.user = "nobody-of-that-name".parse().unwrap();
    let lease = Lease::prepared(&plan);
    let Outcome::NotStarted { why } = lease.end().outcome else { panic!("it could start") };
    assert!(why.contains("is not known on this node"), "{why}");
}

#[test]
fn the_time_limit_ends_it_with_grace() {
    let polite = "trap 'echo bye; exit 0' TERM; while :; do sleep 0.05; done";
    let (lease, outcome) = Lease::run(&limited(polite, 300, 10_000));
    assert_eq!((outcome, lease.output().as_str()), (Outcome::TimedOut, "bye\n"));
    check(&limited("trap '' TERM; while :; do sleep 0.05; done", 100, 200), &Outcome::TimedOut);
    // One that is stopped hears it too.
    let stopped = "trap 'echo heard; exit 0' TERM; kill -STOP $$; sleep 60";
    assert_eq!(Lease::run(&limited(stopped, 100, 10_000)).0.output(), "heard\n");
}

#[test]
fn a_daemon_that_left_the_session_is_ended_too() {
    let text = "setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' & echo pid $!; exit 3";
    let mut plan = script(text);
    plan.order.grace = Micros::from_millis(100);
    let (lease, outcome) = Lease::run(&plan);
    let daemon: u32 = lease.line("pid ").parse().unwrap();
    assert_eq!(outcome, Outcome::Failed { code: 3 });
    assert!(!alive(daemon));
}

#[test]
fn many_processes_that_keep_forking_are_all_ended() {
    let text = "for i in 1 2 3 4 5; do (while :; do sleep 0.01 & wait; done) & done; echo on; wait";
    let lease = Lease::started(&script(text));
    lease.line("on");
    lease.stop(Micros(0));
    assert_eq!(lease.end().outcome, Outcome::Cancelled);
}

#[test]
fn a_stop_before_the_start_is_the_end() {
    let lease = Lease::prepared(&plan(&["true"]));
    assert!(matches!(lease.state().phase, ShimPhase::Prepared { .. }));
    lease.stop(Micros(0));
    let state = lease.client().start(None, false, None).unwrap();
    let ShimPhase::Ended { end } = state.phase else { panic!("{state:?}") };
    assert_eq!((end.outcome, end.ran), (Outcome::Cancelled, Micros(0)));
}

#[test]
fn a_shim_outlives_its_starter_and_its_end_outlives_the_shim() {
    let lease = Lease::planned(&script("sleep 0.2; exit 5"));
    let mut spawner = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "entry::spawner_entry", "--nocapture"])
        .arg(lease.dir())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_for("a shim", || lease.file("shim.sock").exists().then_some(()));
    wait_for("its status", || read_status(lease.dir()).unwrap());
    spawner.kill().unwrap();
    spawner.wait().unwrap();
    lease.client().start(None, false, None).unwrap();
    assert!(matches!(recover(lease.dir()), Err(RecoverError::Alive { .. })));
    assert_eq!(lease.end().outcome, Outcome::Failed { code: 5 });
    let shim = lease.state().shim;
    lease.client().forget().unwrap();
    wait_for("the shim to exit", || (!alive(shim)).then_some(()));
    let ShimPhase::Ended { end } = recover(lease.dir()).unwrap().phase else { panic!("no end") };
    assert_eq!(end.outcome, Outcome::Failed { code: 5 });
    assert!(end.ran >= Micros::from_millis(150), "{:?}", end.ran);
}

#[test]
fn a_killed_shim_takes_its_task_along_and_the_rest_is_swept() {
    let lease = Lease::started(&script("setsid sleep 600 & echo pid $!; sleep 600"));
    let daemon: u32 = lease.line("pid ").parse().unwrap();
    let state = lease.state();
    let ShimPhase::Started { pid: main, .. } = state.phase else { panic!("{state:?}") };
    kill(state.shim);
    wait_for("the main process to die", || (!alive(main)).then_some(()));
    let state = wait_for("the lock", || recover(lease.dir()).ok());
    let ShimPhase::Ended { end } = state.phase else { panic!("no end") };
    assert!(matches!(end.outcome, Outcome::Lost { .. }), "{end:?}");
    wait_for("the daemon to die", || (!alive(daemon)).then_some(()));
    assert!(read_status(lease.dir()).unwrap().unwrap().cgroups.is_empty());
}

#[test]
fn a_task_is_never_started_twice() {
    let lease = Lease::started(&script("echo once; sleep 600"));
    let second = lease.spawn().unwrap_err().to_string();
    assert!(second.contains("another shim is at work there"), "{second}");
    lease.client().start(None, false, None).unwrap();
    lease.line("once");
    kill(lease.state().shim);
    let third = wait_for("the lock", || {
        let error = lease.spawn().unwrap_err().to_string();
        (!error.contains("another shim")).then_some(error)
    });
    assert!(third.contains("was started before"), "{third}");
    recover(lease.dir()).unwrap();
}

#[test]
fn a_restart_of_the_machine_loses_what_ran() {
    let lease = Lease::started(&plan(&["sleep", "600"]));
    let state = lease.state();
    kill(state.shim);
    wait_for("the shim to die", || (!alive(state.shim)).then_some(()));
    let text = std::fs::read_to_string(lease.file("status.json")).unwrap();
    std::fs::write(lease.file("status.json"), text.replace(&state.boot, "another")).unwrap();
    let ShimPhase::Ended { end } = recover(lease.dir()).unwrap().phase else { panic!("no end") };
    let Outcome::Lost { why } = end.outcome else { panic!("{end:?}") };
    assert!(why.contains("restarted"), "{why}");
    // What a restart would have done.
    for folder in state.cgroups {
        wait_for("an empty cgroup", || std::fs::remove_dir(&folder).ok());
    }
}

#[test]
fn what_ends_other_programs_does_not_end_a_shim() {
    let lease = Lease::started(&script("sleep 600"));
    let shim = Pid::from_raw(i32::try_from(lease.state().shim).unwrap()).unwrap();
    for signal in [Signal::TERM, Signal::HUP, Signal::INT, Signal::QUIT, Signal::PIPE] {
        rustix::process::kill_process(shim, signal).unwrap();
    }
    assert!(matches!(lease.state().phase, ShimPhase::Started { .. }));
    lease.stop(Micros(0));
    lease.end();
    rustix::process::kill_process(shim, Signal::TERM).unwrap();
    wait_for("the shim to exit after the end", || rustix::process::test_kill_process(shim).err());
    assert!(matches!(recover(lease.dir()).unwrap().phase, ShimPhase::Ended { .. }));
}

#[test]
fn a_signal_reaches_the_command_and_from_a_terminal_its_group() {
    let lease = Lease::started(&script(
        "trap 'echo usr' USR1; trap 'echo hup' HUP; \
         sh -c 'trap \"echo child-usr\" USR1; trap \"echo child-hup; exit 3\" HUP; \
         echo child-on; while :; do sleep 0.05; done' & \
         while kill -0 $! 2> /dev/null; do wait $!; done; exit 4",
    ));
    lease.line("child-on");
    lease.client().signal(10).unwrap();
    lease.line("usr");
    lease.client().signal(1).unwrap();
    lease.line("child-hup");
    assert_eq!(lease.end().outcome, Outcome::Failed { code: 4 });
    let output = lease.output();
    assert!(output.contains("\nhup") && !output.contains("child-usr"), "{output}");
    assert!(lease.client().signal(10).unwrap_err().to_string().contains("nothing of it runs"));
}

#[test]
fn what_is_stopped_goes_on_when_whoever_stopped_it_goes() {
    let lease = Lease::started(&script("echo pid $$; exec sleep 600"));
    let task = lease.line("pid ").rsplit(' ').next().unwrap().trim().to_owned();
    let stopped = || {
        let stat = std::fs::read_to_string(format!("/proc/{task}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('T')
    };
    let mut first = lease.client();
    first.signal(19).unwrap();
    wait_for("a stopped task", || stopped().then_some(()));
    // Others come and go.
    drop(lease.client());
    assert!(stopped());
    drop(first);
    wait_for("a task that goes on", || (!stopped()).then_some(()));
}

#[test]
fn host_memory_is_limited_where_permitted() {
    let mut plan = plan(&["sh", "-c", "head -c 200000000 /dev/zero | tail > /dev/null; echo $?"]);
    plan.order.host.memory = Some(polder_model::Bytes(20 << 20));
    let lease = Lease::started(&plan);
    if let Some(without) = lease.state().not_enforced.first() {
        return skip(&format!("the {} limit is not enforced: {}", without.limit, without.why));
    }
    lease.end();
    let notes = lease.state().notes;
    assert!(notes.iter().any(|note| note.contains("passing the lease's host memory")), "{notes:?}");
}
