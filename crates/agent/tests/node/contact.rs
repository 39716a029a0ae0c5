//! A server that is away.

use crate::kit::{Stage, WATCHFUL, order};
use polder_model::{LeaseId, Micros, Outcome, Phase};

#[tokio::test(flavor = "multi_thread")]
async fn leases_run_on_without_the_server_and_are_reported_when_it_is_back() {
    let mut stage = Stage::new();
    stage.run(order(1, "sleep 0.5; exit 8")).await;
    stage.until_started(1).await;
    stage.server.away();
    tokio::time::sleep(WATCHFUL).await;
    let socket = stage.paths.server_socket();
    stage.server.back(&socket);
    assert_eq!(stage.end_of(1).await.outcome, Outcome::Failed { code: 8 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_out_of_contact_is_over_when_its_limit_has_passed() {
    let mut stage = Stage::new();
    let mut short = order(1, "sleep 600");
    short.lease.contact_limit = Micros::from_secs(4);
    stage.run(short).await;
    stage.run(order(2, "sleep 600")).await;
    stage.until_started(1).await;
    stage.until_started(2).await;
    stage.server.away();
    let status = |lease| {
        let dir = stage.paths.lease(LeaseId(lease));
        polder_agent::shim::read_status(&dir).unwrap().unwrap().node_phase()
    };
    let over = |_: &Stage| matches!(status(1), Phase::Ended { .. });
    stage.until("the lease with the short limit is over", over).await;
    assert!(matches!(status(2), Phase::Started), "the other has longer");
    let socket = stage.paths.server_socket();
    stage.server.back(&socket);
    match stage.end_of(1).await.outcome {
        Outcome::Lost { why } => assert!(why.contains("no contact with the server for"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_protocol_is_asked_rarely_and_leases_are_kept() {
    let stage = Stage::new();
    stage.run(order(1, "sleep 600")).await;
    stage.until_started(1).await;
    let refusal = polder_model::SyncRefusal::Protocol { agent: 1, server: 2 };
    stage.server.want(|script| script.refuses = Some(refusal));
    let calls = || stage.server.look(|script| script.calls);
    let before = calls();
    stage.until("the call that is refused", |_| calls() > before).await;
    tokio::time::sleep(WATCHFUL * 3).await;
    assert!(calls() <= before + 2, "{} calls", calls() - before);
    assert!(matches!(stage.shim(1).node_phase(), Phase::Started));
}
