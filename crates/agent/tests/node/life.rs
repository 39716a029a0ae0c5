//! A lease from its order to the moment the server has noted its end.

use crate::kit::{Stage, order};
use polder_model::{Mechanism, Outcome, Phase, StopReason};

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_prepared_started_reported_and_forgotten() {
    let stage = Stage::new();
    stage.order(order(1, "echo hello; exit 3"));
    let prepared = |phase: &Phase| matches!(phase, Phase::Prepared { .. });
    stage.until_phase(1, prepared).await;
    stage.settle().await;
    assert!(prepared(&stage.report(1).unwrap().phase), "it waits for the start");
    stage.start(1);
    assert_eq!(stage.end_of(1).await.outcome, Outcome::Failed { code: 3 });
    stage.until_forgotten(1).await;
    assert_eq!(stage.output(1), "hello\n", "the logs stay");
    stage.settle().await;
    assert_eq!(stage.server.look(|script| script.noted.len()), 1, "an end that is noted is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_reported_until_it_is_noted() {
    let stage = Stage::new();
    stage.server.want(|script| script.acknowledges = false);
    stage.run(order(1, "exit 0")).await;
    stage.end_of(1).await;
    stage.settle().await;
    stage.server.want(|script| {
        script.reports.clear();
        script.orders.clear();
    });
    assert_eq!(stage.end_of(1).await.outcome, Outcome::Succeeded);
    stage.server.want(|script| script.acknowledges = true);
    stage.until_forgotten(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_run_ends_with_words() {
    let check =
        async |stage: &Stage, lease: u64, words: &str| match stage.end_of(lease).await.outcome {
            Outcome::NotStarted { why } | Outcome::Lost { why } => {
                assert!(why.contains(words), "{why}");
            }
            other => panic!("{other:?}"),
        };
    let stage = Stage::new();
    let mut absent = order(1, "");
    absent.work.command = vec!["no-such-program".into()];
    stage.run(absent).await;
    check(&stage, 1, "no-such-program").await;
    let mut stranger = order(2, "true");
    stranger.lease.user = "nobody-of-that-name".parse().unwrap();
    stage.order(stranger);
    check(&stage, 2, "is not known on this node").await;
    let mut elsewhere = order(3, "true");
    elsewhere.lease.slices[0].device = "sim-9".parse().unwrap();
    stage.order(elsewhere);
    check(&stage, 3, "device sim-9 is not on this node any more").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_lease_is_sampled_and_a_whole_device_is_charged_by_the_clock() {
    let stage = Stage::new();
    let mut whole = order(1, "sleep 0.5");
    whole.lease.slices[0].mechanism = Mechanism::Whole;
    stage.run(whole).await;
    stage.run(order(2, "sleep 600")).await;
    let sampled = |stage: &Stage| stage.report(2).is_some_and(|report| report.sample.is_some());
    stage.until("a sample", sampled).await;
    let sample = stage.report(2).unwrap().sample.unwrap();
    assert_eq!(sample.devices[0].device.as_str(), "sim-0");
    let end = stage.end_of(1).await;
    // The clock starts when the shim hears that the program runs, a moment after its first step.
    assert!(end.ran.0 >= 400_000, "{end:?}");
    assert_eq!(end.sample.devices[0].device_time, end.ran);
    stage.bury(2, StopReason::Cancelled { by: "ada".parse().unwrap() });
    assert_eq!(stage.end_of(2).await.outcome, Outcome::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_a_gang_learn_where_they_meet() {
    let stage = Stage::new();
    for rank in 0..2 {
        let mut member = order(1 + u64::from(rank), "echo $RANK of $WORLD_SIZE at $MASTER_ADDR");
        member.gang.rank = rank;
        member.gang.size = 2;
        stage.order(member);
    }
    let port = |phase: &Phase| match phase {
        Phase::Prepared { master_port, .. } => *master_port,
        _ => None,
    };
    let first = stage.until_phase(1, |phase| port(phase).is_some()).await;
    stage.until_phase(2, |phase| matches!(phase, Phase::Prepared { master_port: None, .. })).await;
    let master = format!("10.0.0.7:{}", port(&first).unwrap());
    stage.server.want(|script| {
        for order in &mut script.orders {
            order.gang.master = Some(master.clone());
            order.start = true;
        }
    });
    stage.until_forgotten(1).await;
    stage.until_forgotten(2).await;
    assert_eq!(stage.output(2), "1 of 2 at 10.0.0.7\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_do_not_wait_behind_a_waiting_call() {
    let stage = Stage::new();
    let file = stage.paths.0.join("go");
    let script = format!("until [ -e {} ]; do sleep 0.01; done", file.display());
    stage.run(order(1, &script)).await;
    stage.until_started(1).await;
    // The server wants nothing new and so holds the call; the end is told by a newer one.
    stage.until("a call waits", |stage| stage.server.look(|script| script.waiting > 0)).await;
    let before = stage.server.look(|script| script.superseded);
    std::fs::write(&file, "").unwrap();
    stage.end_of(1).await;
    // The held call learns of the newer one by itself, maybe after that one is answered.
    let gave_way = |stage: &Stage| stage.server.look(|script| script.superseded > before);
    stage.until("the call that waited gives way", gave_way).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_vanishes_is_reported_once_a_lease_has_failed() {
    let stage = Stage::new();
    let devices = |stage: &Stage| {
        stage.server.look(|script| script.inventory.as_ref().map(|all| all.devices.len()))
    };
    stage.until("the inventory", |stage| devices(stage) == Some(2)).await;
    let file = stage.paths.0.join("devices.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("count = 2", "count = 1")).unwrap();
    stage.settle().await;
    assert_eq!(devices(&stage), Some(2), "nothing gave cause to look again");
    stage.run(order(1, "exit 1")).await;
    stage.until("the inventory without it", |stage| devices(stage) == Some(1)).await;
}
