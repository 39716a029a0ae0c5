//! What the next agent finds when one is killed.

use crate::kit::{Stage, order};
use polder_model::{LeaseId, Outcome, Phase};

#[tokio::test(flavor = "multi_thread")]
async fn a_running_lease_is_found_again_with_its_exit_code() {
    let mut stage = Stage::new();
    let fifo = stage.paths.0.join("go");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    stage.run(order(1, &format!("read x < {}; exit 5", fifo.display()))).await;
    stage.until_started(1).await;
    let before = stage.shim(1);
    stage.kill_agent();
    stage.server.want(|script| script.reports.clear());
    stage.start_agent();
    stage.until_started(1).await;
    let after = stage.shim(1);
    assert_eq!((before.shim, &before.phase), (after.shim, &after.phase), "the same shim and task");
    let renewed = |stage: &Stage| stage.shim(1).limits_epoch == Some(2);
    stage.until("the second limits page", renewed).await;
    assert_eq!(stage.server.look(|script| script.incarnation), 2);
    std::fs::write(&fifo, "x\n").unwrap();
    assert_eq!(stage.end_of(1).await.outcome, Outcome::Failed { code: 5 });
    stage.until_forgotten(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_no_agent_saw_is_reported_by_the_next() {
    let mut stage = Stage::new();
    stage.run(order(1, "sleep 0.3; exit 6")).await;
    stage.until_started(1).await;
    stage.kill_agent();
    let ended = |stage: &Stage| {
        let status = polder_agent::shim::read_status(&stage.paths.lease(LeaseId(1)));
        matches!(status.unwrap().unwrap().node_phase(), Phase::Ended { .. })
    };
    stage.until("the shim has written the end down", ended).await;
    stage.start_agent();
    assert_eq!(stage.end_of(1).await.outcome, Outcome::Failed { code: 6 });
    stage.until_forgotten(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_lease_is_started_once_by_the_next() {
    let mut stage = Stage::new();
    stage.order(order(1, "echo started"));
    stage.until_phase(1, |phase| matches!(phase, Phase::Prepared { .. })).await;
    stage.kill_agent();
    stage.start(1);
    stage.start_agent();
    assert_eq!(stage.end_of(1).await.outcome, Outcome::Succeeded);
    assert_eq!(stage.output(1), "started\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_any_moment_run_nothing_twice_and_lose_nothing() {
    let mut stage = Stage::new();
    let log = stage.paths.0.join("runs");
    let script = |lease: u64| format!("echo {lease} >> {}; exit 7", log.display());
    for lease in 1..=24u64 {
        // Shifted a little each time, so that the kill meets every step of a lease.
        let mut order = order(lease, &script(lease));
        order.start = true;
        stage.order(order);
        tokio::time::sleep(std::time::Duration::from_millis(lease * 37 % 150)).await;
        if lease % 2 == 0 {
            stage.kill_agent();
            stage.start_agent();
        }
    }
    for lease in 1..=24 {
        assert_eq!(stage.end_of(lease).await.outcome, Outcome::Failed { code: 7 }, "{lease}");
    }
    let runs = std::fs::read_to_string(&log).unwrap();
    let mut runs: Vec<u64> = runs.lines().map(|line| line.parse().unwrap()).collect();
    runs.sort_unstable();
    assert_eq!(runs, (1..=24).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_is_killed_loses_its_lease_and_leaves_no_process() {
    let stage = Stage::new();
    stage.run(order(1, "sleep 600 & echo $!; wait")).await;
    stage.until("the child's number", |stage| stage.output(1).ends_with('\n')).await;
    let child: i32 = stage.output(1).trim().parse().unwrap();
    let shim = i32::try_from(stage.shim(1).shim).unwrap();
    let kill = |pid: i32, signal| {
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal)
    };
    kill(shim, rustix::process::Signal::KILL).unwrap();
    assert!(matches!(stage.end_of(1).await.outcome, Outcome::Lost { .. }));
    let gone = |_: &Stage| {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    };
    stage.until("the child is dead", gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_of_an_earlier_boot_is_lost_and_not_begun_again() {
    let mut stage = Stage::new();
    stage.order(order(1, "echo again"));
    stage.until_phase(1, |phase| matches!(phase, Phase::Prepared { .. })).await;
    stage.kill_agent();
    // As after a power cut: no process, an order that was written, no state that was.
    let folder = stage.paths.lease(LeaseId(1));
    let shim = i32::try_from(stage.shim(1).shim).unwrap();
    let shim = rustix::process::Pid::from_raw(shim).unwrap();
    rustix::process::kill_process(shim, rustix::process::Signal::KILL).unwrap();
    std::fs::remove_file(folder.join("status.json")).unwrap();
    let mark = folder.join("held.json");
    let text = std::fs::read_to_string(&mark).unwrap();
    let boot = polder_agent::shim::boot_id().unwrap();
    std::fs::write(&mark, text.replace(&boot, "another")).unwrap();
    stage.start(1);
    stage.start_agent();
    assert!(matches!(stage.end_of(1).await.outcome, Outcome::Lost { .. }));
    assert_eq!(stage.output(1), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_plan_is_a_lost_lease_and_not_a_dead_agent() {
    let mut stage = Stage::new();
    stage.order(order(1, "true"));
    stage.until_phase(1, |phase| matches!(phase, Phase::Prepared { .. })).await;
    stage.kill_agent();
    let folder = stage.paths.lease(LeaseId(1));
    let shim = i32::try_from(stage.shim(1).shim).unwrap();
    let shim = rustix::process::Pid::from_raw(shim).unwrap();
    rustix::process::kill_process(shim, rustix::process::Signal::KILL).unwrap();
    std::fs::write(folder.join("plan.json"), "{\"order\":{").unwrap();
    stage.start_agent();
    assert!(matches!(stage.end_of(1).await.outcome, Outcome::Lost { .. }));
    stage.run(order(2, "exit 0")).await;
    assert_eq!(stage.end_of(2).await.outcome, Outcome::Succeeded);
}
