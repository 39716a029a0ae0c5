//! Jobs that run on their caller's own descriptors.

use crate::kit::{Stage, order};
use polder_agent::Inherited;
use polder_agent::client::{Attachment, ClientError};
use polder_model::{JobId, LeaseOrder, Outcome, Phase, Stdio, StopReason};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

fn client_order(lease: u64, script: &str) -> LeaseOrder {
    let mut order = order(lease, script);
    order.work.stdio = Stdio::Client;
    order
}

/// The job of a lease of these tests.
fn job(lease: u64) -> JobId {
    JobId(lease + 100)
}

struct Caller {
    attachment: Attachment,
    input: std::io::PipeWriter,
    output: std::io::PipeReader,
}

async fn attach(stage: &Stage, lease: u64) -> Caller {
    let socket = stage.paths.agent_socket();
    stage.until("the agent's socket", |_| socket.exists()).await;
    let (theirs, input) = std::io::pipe().unwrap();
    let (output, ours) = std::io::pipe().unwrap();
    let fds = [theirs.as_fd(), ours.as_fd(), ours.as_fd()];
    let attachment =
        Attachment::open(&stage.paths.0, job(lease), false, fds, &Inherited::default()).unwrap();
    Caller { attachment, input, output }
}

async fn read(mut output: std::io::PipeReader) -> String {
    let read = move || {
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        text
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_runs_its_job_on_its_own_descriptors() {
    let stage = Stage::new();
    let Caller { attachment, mut input, output } = attach(&stage, 1).await;
    stage.run(client_order(1, "read word; echo got $word; exit 9")).await;
    let mut following = attachment.launched().await.unwrap();
    input.write_all(b"this\n").unwrap();
    assert_eq!(following.ended().await.unwrap(), Outcome::Failed { code: 9 });
    drop(following);
    assert_eq!(read(output).await, "got this\n");
    assert_eq!(stage.end_of(1).await.outcome, Outcome::Failed { code: 9 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_after_the_start_was_ordered_is_in_time() {
    let stage = Stage::new();
    stage.run(client_order(1, "exit 0")).await;
    stage.settle().await;
    assert!(matches!(stage.report(1).unwrap().phase, Phase::Prepared { .. }));
    let caller = attach(&stage, 1).await;
    let mut following = caller.attachment.launched().await.unwrap();
    assert_eq!(following.ended().await.unwrap(), Outcome::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_reach_the_task() {
    let stage = Stage::new();
    let caller = attach(&stage, 1).await;
    stage.run(client_order(1, "trap 'exit 11' USR1; while :; do sleep 0.05; done")).await;
    let mut following = caller.attachment.launched().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    following.signal(rustix::process::Signal::USR1.as_raw()).unwrap();
    assert_eq!(following.ended().await.unwrap(), Outcome::Failed { code: 11 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_survives_the_agent_before_and_after_the_start() {
    let mut stage = Stage::new();
    let Caller { attachment, mut input, output } = attach(&stage, 1).await;
    let launched = tokio::spawn(attachment.launched());
    stage.kill_agent();
    stage.start_agent();
    stage.run(client_order(1, "read word; echo $word; exit 12")).await;
    let mut following = launched.await.unwrap().unwrap();
    stage.kill_agent();
    input.write_all(b"on\n").unwrap();
    assert_eq!(following.ended().await.unwrap(), Outcome::Failed { code: 12 });
    drop(following);
    assert_eq!(read(output).await, "on\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_answer_was_lost_asks_again() {
    let mut stage = Stage::new();
    let first = attach(&stage, 1).await;
    stage.run(client_order(1, "sleep 600")).await;
    stage.until_started(1).await;
    stage.kill_agent();
    stage.start_agent();
    let next = |stage: &Stage| stage.server.look(|script| script.incarnation) == 2;
    stage.until("the next agent calls", next).await;
    let again = attach(&stage, 1).await;
    let mut following = again.attachment.launched().await.unwrap();
    stage.bury(1, StopReason::Cancelled { by: "ada".parse().unwrap() });
    assert_eq!(following.ended().await.unwrap(), Outcome::Cancelled);
    drop(first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_without_its_client_can_be_cancelled() {
    let stage = Stage::new();
    stage.run(client_order(1, "exit 0")).await;
    stage.settle().await;
    stage.bury(1, StopReason::Cancelled { by: "ada".parse().unwrap() });
    let end = stage.end_of(1).await;
    assert_eq!((end.outcome, end.ran.0), (Outcome::Cancelled, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_client_never_comes_is_not_started() {
    let stage = Stage::new();
    stage.run(client_order(1, "exit 0")).await;
    match stage.end_of(1).await.outcome {
        Outcome::NotStarted { why } => assert!(why.contains("no client brought"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_agent_the_client_is_told() {
    let stage = Stage::without_agent();
    let file = tempfile::tempfile().unwrap();
    let fds = [file.as_fd(), file.as_fd(), file.as_fd()];
    let refused = Attachment::open(&stage.paths.0, job(1), false, fds, &Inherited::default());
    let refused = refused.unwrap_err();
    assert!(matches!(refused, ClientError::NoAgent { .. }));
    assert!(refused.to_string().contains("is `polder up` running?"), "{refused}");
}
