//! Whom an agent obeys, and what ends a lease.

use crate::kit::{Stage, order};
use polder_model::{LeaseState, NodeId, Outcome, Phase, StopReason, SyncRefusal};

async fn running() -> Stage {
    let stage = Stage::new();
    stage.run(order(1, "sleep 600")).await;
    stage.until_started(1).await;
    stage
}

fn runs(stage: &Stage) -> bool {
    let started = matches!(stage.report(1).unwrap().phase, Phase::Started);
    started && matches!(stage.shim(1).node_phase(), Phase::Started)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_ends_a_lease() {
    let stage = running().await;
    stage.bury(1, StopReason::Cancelled { by: "ada".parse().unwrap() });
    assert_eq!(stage.end_of(1).await.outcome, Outcome::Cancelled);
    stage.until_forgotten(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_not_mentioned_is_kept_and_reported() {
    let stage = running().await;
    stage.server.want(|script| {
        script.orders.clear();
        script.reports.clear();
    });
    stage.until_started(1).await;
    assert!(runs(&stage));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_answer_is_passed_over() {
    let stage = running().await;
    stage.server.want(|script| (script.epoch, script.version) = (0, 99));
    stage.bury(1, StopReason::Unknown);
    stage.settle().await;
    assert!(runs(&stage));
    stage.server.want(|script| (script.epoch, script.version) = (2, 0));
    assert!(matches!(stage.end_of(1).await.outcome, Outcome::Lost { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_pool_is_refused_and_nothing_is_ended() {
    let mut stage = running().await;
    stage.server.want(|script| {
        script.pool = "south".into();
        script.epoch = 9;
    });
    stage.bury(1, StopReason::Unknown);
    stage.order(order(2, "true"));
    tokio::time::sleep(crate::kit::WATCHFUL).await;
    assert!(runs(&stage));
    // Nor does the next agent of this node.
    stage.kill_agent();
    stage.start_agent();
    stage.until("a call of the next", |s| s.server.look(|script| script.incarnation) == 2).await;
    tokio::time::sleep(crate::kit::WATCHFUL).await;
    assert!(runs(&stage));
    assert_eq!(stage.report(2), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_here_is_buried_or_lost_but_not_run() {
    let stage = Stage::new();
    stage.bury(1, StopReason::Returned);
    assert_eq!(stage.end_of(1).await.outcome, Outcome::Returned);
    let mut prepared = order(2, "true");
    prepared.lease.state = LeaseState::Prepared;
    prepared.start = true;
    stage.order(prepared);
    assert!(matches!(stage.end_of(2).await.outcome, Outcome::Lost { .. }));
    assert_eq!(stage.shims().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_ordered_again_after_its_end_does_not_run_again() {
    let stage = Stage::new();
    stage.run(order(1, "echo once; exit 4")).await;
    stage.end_of(1).await;
    stage.until_forgotten(1).await;
    stage.server.want(|script| script.reports.clear());
    stage.order(order(1, "echo twice"));
    assert_eq!(stage.end_of(1).await.outcome, Outcome::Failed { code: 4 });
    assert_eq!(stage.output(1), "once\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_has_a_successor_gives_up_and_its_leases_run_on() {
    let mut stage = running().await;
    let node: NodeId = "here".parse().unwrap();
    let refusal = SyncRefusal::OldIncarnation { node, current: 9, this: 1 };
    stage.server.want(|script| script.refuses = Some(refusal));
    let words = stage.agent_words().await;
    assert!(words.contains("has a newer agent (incarnation 9, this is 1)"), "{words}");
    assert!(matches!(stage.shim(1).node_phase(), Phase::Started));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_agents_do_not_share_a_folder() {
    let stage = running().await;
    let words = stage.words_of_a_second_agent().await;
    assert!(words.contains("another agent works in"), "{words}");
    assert_eq!(stage.server.look(|script| script.incarnation), 1);
    assert!(runs(&stage));
}
