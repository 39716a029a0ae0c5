//! The agents' call: newer ends older, an older agent is refused, and no server state, however
//! old or empty, ends a lease.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod support;

use hyper::StatusCode;
use polder_server::ServeOptions;
use serde_json::{Value, json};
use std::time::Duration;
use support::{Answer, Client, FakeAgent, Fixture, ended, job, prepared, started};

fn fine((status, body): Answer) -> Value {
    assert_eq!(status, StatusCode::OK, "{body}");
    body
}

/// A server and an agent with one running lease.
async fn running() -> (Fixture, FakeAgent) {
    let fixture = Fixture::start().await;
    let mut agent = FakeAgent::new(fixture.client());
    agent.join().await;
    let (status, body) = fixture.client().post("/api/v1/jobs", job(300)).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    fine(agent.sync(None, json!([prepared(1)]), 0).await);
    fine(agent.sync(None, json!([started(1)]), 0).await);
    (fixture, agent)
}

async fn state_of(client: &Client, job: u64) -> Value {
    client.get(&format!("/api/v1/jobs/{job}")).await.1["job"]["state"].clone()
}

#[tokio::test]
async fn a_newer_call_ends_the_one_that_waits() {
    let (_fixture, mut agent) = running().await;
    let waiting = agent.request(None, json!([started(1)]), 30_000);
    let late = agent.request(None, json!([started(1)]), 0);
    let newest = agent.request(None, json!([started(1)]), 0);
    let client = agent.client.clone();
    let held = tokio::spawn(async move { client.post("/api/v1/agent/sync", waiting).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    fine(agent.client.post("/api/v1/agent/sync", newest).await);
    let (status, body) = held.await.unwrap();
    assert_eq!((status, &body["refusal"]), (StatusCode::CONFLICT, &json!("superseded")));
    let (status, body) = agent.client.post("/api/v1/agent/sync", late).await;
    assert_eq!((status, &body["refusal"]), (StatusCode::CONFLICT, &json!("superseded")));
}

#[tokio::test]
async fn an_older_agent_and_another_protocol_are_refused() {
    let (mut fixture, agent) = running().await;
    let mut newer = FakeAgent { incarnation: 7, ..FakeAgent::new(agent.client.clone()) };
    newer.join().await;
    fixture.restart().await;
    let mut older = FakeAgent { incarnation: 6, ..FakeAgent::new(agent.client.clone()) };
    let (status, body) = older.sync(Some(FakeAgent::inventory()), json!([]), 0).await;
    assert_eq!((status, &body["refusal"]), (StatusCode::CONFLICT, &json!("old_incarnation")));
    assert_eq!((&body["current"], &body["this"]), (&json!(7), &json!(6)));
    let mut other = newer.request(None, json!([]), 0);
    other["protocol"] = json!(99);
    let (status, body) = newer.client.post("/api/v1/agent/sync", other).await;
    assert_eq!((status, &body["refusal"]), (StatusCode::CONFLICT, &json!("protocol")));
    assert!(body["detail"].as_str().unwrap().contains("agent speaks protocol 99, server 1"));
}

#[tokio::test]
async fn a_call_waits_until_there_is_something_new() {
    let fixture = Fixture::start().await;
    let mut agent = FakeAgent::new(fixture.client());
    agent.join().await;
    let request = agent.request(None, json!([]), 30_000);
    let client = agent.client.clone();
    let held = tokio::spawn(async move { client.post("/api/v1/agent/sync", request).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!held.is_finished(), "nothing is new yet");
    fixture.client().post("/api/v1/jobs", job(300)).await;
    assert_eq!(fine(held.await.unwrap())["leases"][0]["lease"]["id"], 1);
    let timed = fine(agent.sync(None, json!([]), 0).await);
    assert_eq!(timed["leases"][0]["lease"]["id"], 1, "told again until it is acted on");
}

#[tokio::test]
async fn reports_are_taken_in_once_each() {
    let (fixture, mut agent) = running().await;
    for _ in 0..3 {
        fine(agent.sync(Some(FakeAgent::inventory()), json!([started(1)]), 0).await);
    }
    let seq = || fixture.server().handle();
    let before = seq().inspect(|engine| format!("{engine:?}")).await.unwrap();
    fine(agent.sync(None, json!([started(1)]), 0).await);
    assert_eq!(seq().inspect(|engine| format!("{engine:?}")).await.unwrap(), before);
    for _ in 0..2 {
        let answer = fine(agent.sync(None, json!([ended(1, 3)]), 0).await);
        assert_eq!(answer["acknowledged"], json!([1]), "an end is acknowledged as often as told");
    }
    assert_eq!(state_of(&agent.client, 1).await["outcome"]["code"], 3);
    let shown = agent.client.get("/api/v1/jobs/1").await.1;
    assert_eq!(shown["leases"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn limits_that_a_node_could_not_set_are_shown_and_bounded() {
    let mut fixture = Fixture::start().await;
    let mut agent = FakeAgent::new(fixture.client());
    agent.join().await;
    fixture.client().post("/api/v1/jobs", job(300)).await;
    let mut report = prepared(1);
    let without = |limit: &str, why: &str| json!({ "limit": limit, "why": why });
    let long = "x".repeat(100_000);
    report["phase"]["not_enforced"] = json!([
        without("memory", &long),
        without("cpu", "no such controller"),
        without("cpu", "z")
    ]);
    fine(agent.sync(None, json!([report]), 0).await);
    let shown = async |fixture: &Fixture| {
        let shown = fixture.client().get("/api/v1/jobs/1").await.1;
        shown["leases"][0]["lease"]["not_enforced"].clone()
    };
    let kept = json!([
        without("cpu", "no such controller"),
        without("memory", &long[..polder_model::NOT_ENFORCED_WHY_BYTES_MAX]),
    ]);
    assert_eq!(shown(&fixture).await, kept);
    fixture.restart().await;
    assert_eq!(shown(&fixture).await, kept, "they are in the journal");
    let mut agent = FakeAgent { incarnation: 2, ..FakeAgent::new(fixture.client()) };
    fine(agent.sync(None, json!([ended(1, 0)]), 0).await);
    assert_eq!(shown(&fixture).await, kept, "an ended lease tells them too");
}

#[tokio::test]
async fn what_a_node_found_is_journaled_once_and_a_flood_of_it_is_bounded() {
    let (mut fixture, mut agent) = running().await;
    let finding = |pid: u64, evidence: &str| {
        json!({
            "rule": "no_slot", "pid": pid, "program": "sh", "evidence": evidence, "ended": true,
        })
    };
    let mut report = started(1);
    report["findings"] = (1..1000).map(|pid| finding(pid, "first")).collect();
    fine(agent.sync(None, json!([report]), 0).await);
    let engine = || fixture.server().handle();
    let before = engine().inspect(|engine| format!("{engine:?}")).await.unwrap();
    // The same processes again, with other words, and none of them.
    for again in [json!([finding(1, "again"), finding(2000, "new")]), json!([])] {
        report["findings"] = again;
        fine(agent.sync(None, json!([report]), 0).await);
    }
    let after = engine().inspect(|engine| format!("{engine:?}")).await.unwrap();
    assert_eq!(after, before, "nothing more is kept");
    let kept: Value = (1..=16).map(|pid| finding(pid, "first")).collect();
    let shown = async |fixture: &Fixture| {
        let shown = fixture.client().get("/api/v1/jobs/1").await.1;
        shown["leases"][0]["lease"]["findings"].clone()
    };
    assert_eq!(shown(&fixture).await, kept);
    fixture.restart().await;
    assert_eq!(shown(&fixture).await, kept, "they are in the journal");
    let mut agent = FakeAgent { incarnation: 2, ..FakeAgent::new(fixture.client()) };
    fine(agent.sync(None, json!([ended(1, 0)]), 0).await);
    assert_eq!(shown(&fixture).await, kept, "an ended lease tells them too");
}

#[tokio::test]
async fn a_lost_try_is_told_by_explain() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    let mut agent = FakeAgent::new(client.clone());
    agent.join().await;
    let mut again = job(300);
    again["yields"] = json!({ "grace": 0, "retries": 1 });
    client.post("/api/v1/jobs", again).await;
    for report in [prepared(1), started(1)] {
        fine(agent.sync(None, json!([report]), 0).await);
    }
    let reasons = async || client.get("/api/v1/jobs/1/explain").await.1["reasons"].clone();
    assert_eq!(reasons().await, json!([]), "it runs, and nothing was lost");
    let mut lost = ended(1, 1);
    lost["phase"]["end"]["outcome"] = json!("lost");
    lost["phase"]["end"]["why"] = json!("its shim is gone");
    fine(agent.sync(None, json!([lost]), 0).await);
    let told = json!({ "reason": "lost", "attempt": 1, "why": "its shim is gone" });
    let reasons = reasons().await;
    assert!(reasons.as_array().unwrap().contains(&told), "{reasons}");
}

#[tokio::test]
async fn a_task_that_was_over_before_it_was_seen_to_run_is_billed() {
    let fixture = Fixture::start().await;
    let mut agent = FakeAgent::new(fixture.client());
    agent.join().await;
    fixture.client().post("/api/v1/jobs", job(300)).await;
    fine(agent.sync(None, json!([prepared(1)]), 0).await);
    fine(agent.sync(None, json!([ended(1, 0)]), 0).await);
    let shown = agent.client.get("/api/v1/jobs/1").await.1;
    assert!(shown["job"]["started_at"].is_u64(), "{shown}");
    assert_eq!(shown["job"]["state"]["outcome"]["outcome"], "succeeded");
}

#[tokio::test]
async fn a_restarted_server_goes_on_with_what_runs() {
    let (mut fixture, mut agent) = running().await;
    let old = agent.seen.clone();
    fixture.restart().await;
    let answer = fine(agent.sync(None, json!([started(1)]), 0).await);
    assert!(answer["version"]["epoch"].as_u64() > old["epoch"].as_u64());
    assert_eq!(answer["leases"][0]["lease"]["id"], 1);
    assert_eq!(answer["tombstones"], json!([]));
    assert_eq!(state_of(&agent.client, 1).await["state"], "running");
}

#[tokio::test]
async fn a_restored_older_server_ends_nothing() {
    let fixture = Fixture::start().await;
    let mut agent = FakeAgent::new(fixture.client());
    agent.join().await;
    let copy = tempfile::tempdir().unwrap();
    let backup = json!({ "path": copy.path().join("journal.db") });
    fine(fixture.client().post("/api/v1/backup", backup).await);
    let mut fixture = fixture;
    for _ in 0..3 {
        fixture.restart().await;
    }
    fixture.client().post("/api/v1/jobs", job(300)).await;
    fine(agent.sync(None, json!([prepared(1)]), 0).await);
    fine(agent.sync(None, json!([started(1)]), 0).await);
    fixture.stop().await;
    let restored = support::launch(copy.path(), ServeOptions::default()).await;
    agent.client = Client { socket: restored.socket().to_owned(), uid: None };
    let before = agent.seen.clone();
    let answer = fine(agent.sync(None, json!([started(1), ended(9, 0)]), 100).await);
    assert_eq!((&answer["tombstones"], &answer["acknowledged"]), (&json!([]), &json!([])));
    assert!(answer["version"]["epoch"].as_u64() < before["epoch"].as_u64(), "and is not heeded");
    let nodes = agent.client.get("/api/v1/nodes").await.1;
    assert_eq!(nodes["nodes"][0]["orphans"], json!([1, 9]));
    restored.shutdown();
    restored.wait().await.unwrap();
}

#[tokio::test]
async fn an_empty_server_ends_nothing() {
    let (fixture, mut agent) = running().await;
    drop(fixture);
    let empty = Fixture::start().await;
    agent.client = empty.client();
    let inventory = Some(FakeAgent::inventory());
    let answer = fine(agent.sync(inventory, json!([started(1)]), 100).await);
    assert_eq!((&answer["tombstones"], &answer["leases"]), (&json!([]), &json!([])));
}

#[tokio::test]
async fn a_silent_node_is_noticed_and_welcomed_back() {
    let silent_after = Duration::from_millis(300);
    let options = ServeOptions { silent_after, ..ServeOptions::default() };
    let fixture = Fixture::start_with(options).await;
    let mut agent = FakeAgent::new(fixture.client());
    agent.join().await;
    let reachable =
        async || fixture.client().get("/api/v1/nodes").await.1["nodes"][0]["reachable"].clone();
    // A call that is held is contact, however long.
    let seen = agent.seen.clone();
    fine(agent.sync(None, json!([]), 1800).await);
    assert_eq!(reachable().await, json!(true));
    agent.seen = seen;
    let gone = async {
        while reachable().await == json!(true) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
    fine(agent.sync(None, json!([]), 0).await);
    assert_eq!(reachable().await, json!(true));
}

#[tokio::test]
async fn a_bad_inventory_is_refused_by_name() {
    let fixture = Fixture::start().await;
    let mut agent = FakeAgent::new(fixture.client());
    let mut inventory = FakeAgent::inventory();
    let device = inventory["devices"][0].clone();
    inventory["devices"].as_array_mut().unwrap().push(device);
    let (status, body) = agent.sync(Some(inventory), json!([]), 0).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(body["detail"].as_str().unwrap().contains("sim-0 twice"), "{body}");
}
