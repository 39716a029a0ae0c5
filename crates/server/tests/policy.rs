//! The policy, reservations and questions of what would happen, over a real Unix socket.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod support;

use serde_json::{Value, json};
use support::{Client, FakeAgent, Fixture, is_root, job};

fn fine((status, body): support::Answer) -> Value {
    assert!(status.is_success(), "{status}: {body}");
    body
}

fn refused((status, body): support::Answer, expect: u16, says: &str) {
    assert_eq!(status.as_u16(), expect, "{body}");
    assert!(body["detail"].as_str().unwrap().contains(says), "{says:?} is not in {body}");
}

async fn pool() -> (Fixture, Client) {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    FakeAgent::new(client.clone()).join().await;
    (fixture, client)
}

#[tokio::test]
async fn a_policy_is_changed_live_and_survives_a_restart() {
    let (mut fixture, client) = pool().await;
    let before = fine(client.get("/api/v1/policy").await);
    assert_eq!(before["order"]["by"], json!(["priority"]));
    for limit in ["2h", "1h"] {
        let mut ask = job(1000);
        ask["when"] = json!({ "time_limit": limit });
        fine(client.post("/api/v1/jobs", ask).await);
    }
    let mut third = job(1000);
    third["when"] = json!({ "time_limit": "5m" });
    fine(client.post("/api/v1/jobs", third).await);
    let queue = fine(client.get("/api/v1/queue").await);
    assert_eq!(queue["entries"][0]["job"], 2);
    let wanted = json!({ "order": { "by": ["shortest"], "wait_max": "2d" } });
    fine(client.put("/api/v1/policy", wanted).await);
    let queue = fine(client.get("/api/v1/queue").await);
    assert_eq!(queue["entries"][0]["job"], 3);
    fixture.restart().await;
    let after = fine(fixture.client().get("/api/v1/policy").await);
    assert_eq!(after["order"]["by"], json!(["shortest"]));
    let queue = fine(fixture.client().get("/api/v1/queue").await);
    assert_eq!(queue["entries"][0]["job"], 3);
}

#[tokio::test]
async fn a_policy_is_rolled_back_and_one_is_looked_at_in_the_shadow() {
    let (mut fixture, client) = pool().await;
    let by = |policy: &Value| policy["order"]["by"].clone();
    refused(client.post("/api/v1/policy/rollback", json!({})).await, 409, "in force before");
    refused(client.get("/api/v1/policy/shadow").await, 404, "no policy is in the shadow");
    let shortest = json!({ "order": { "by": ["shortest"] } });
    let shadow = fine(client.put("/api/v1/policy/shadow", shortest.clone()).await);
    assert_eq!(by(&shadow["policy"]), json!(["shortest"]));
    assert_eq!(by(&fine(client.get("/api/v1/policy").await)), json!(["priority"]));
    fine(client.put("/api/v1/policy", shortest).await);
    fixture.restart().await;
    let client = fixture.client();
    assert_eq!(fine(client.get("/api/v1/policy/shadow").await), shadow);
    let now = fine(client.post("/api/v1/policy/rollback", json!({})).await);
    assert_eq!(by(&now), json!(["priority"]));
    assert_eq!(by(&fine(client.get("/api/v1/policy").await)), json!(["priority"]));
    // What is in force already is no step to go back from.
    refused(client.post("/api/v1/policy/rollback", json!({})).await, 409, "in force before");
    let least = json!({ "order": { "by": ["least_service"] } });
    fine(client.put("/api/v1/policy", least.clone()).await);
    fine(client.put("/api/v1/policy", least).await);
    let now = fine(client.post("/api/v1/policy/rollback", json!({})).await);
    assert_eq!(by(&now), json!(["priority"]));
    fine(client.delete("/api/v1/policy/shadow").await);
    refused(client.delete("/api/v1/policy/shadow").await, 404, "no policy is in the shadow");
    let twice = json!({ "order": { "by": ["shortest", "shortest"] } });
    refused(client.put("/api/v1/policy/shadow", twice).await, 422, "shortest twice");
}

#[tokio::test]
async fn the_hours_ahead_are_told() {
    let (_fixture, client) = pool().await;
    let ahead = fine(client.get("/api/v1/demand?hours=3").await);
    let hours = ahead["hours"].as_array().unwrap();
    let begins: Vec<u64> = hours.iter().map(|hour| hour["from"].as_u64().unwrap()).collect();
    let hour = 3_600_000_000;
    assert_eq!(begins, [begins[0], begins[0] + hour, begins[0] + 2 * hour]);
    assert_eq!(begins[0] % hour, 0);
    // No such hour was seen yet: nothing is said of it.
    assert!(hours[0].get("mean").is_none() && hours[0].get("p90").is_none());
    assert!(ahead["devices"].as_u64().unwrap() > 0);
    assert_eq!(fine(client.get("/api/v1/demand").await)["hours"].as_array().unwrap().len(), 24);
    refused(client.get("/api/v1/demand?hours=337").await, 400, "between 1 and 336");
}

#[tokio::test]
async fn a_policy_that_makes_no_sense_changes_nothing() {
    let (_fixture, client) = pool().await;
    let twice = json!({ "order": { "by": ["shortest", "shortest"] } });
    refused(client.put("/api/v1/policy", twice).await, 422, "shortest twice");
    let nothing = json!({ "classes": { "training": {} } });
    refused(client.put("/api/v1/policy", nothing.clone()).await, 422, "training says nothing");
    refused(client.put("/api/v1/policy/shadow", nothing).await, 422, "training says nothing");
    let unknown = json!({ "order": { "bye": [] } });
    refused(client.put("/api/v1/policy", unknown).await, 400, "bye");
    let now = fine(client.get("/api/v1/policy").await);
    assert_eq!(now["order"]["by"], json!(["priority"]));
}

#[tokio::test]
async fn nodes_are_reserved_once_at_a_time() {
    let (_fixture, client) = pool().await;
    let node = fine(client.get("/api/v1/nodes").await)["nodes"][0]["id"].clone();
    let day = 86_400_000_000u64;
    let from = |days: u64, until: u64| json!({ "nodes": [node], "from": days * day, "until": until * day });
    let far = 40_000;
    fine(client.put("/api/v1/reservations/repair", from(far, far + 2)).await);
    let clash = client.put("/api/v1/reservations/demo", from(far + 1, far + 3)).await;
    refused(clash, 422, "which repair has then");
    fine(client.put("/api/v1/reservations/demo", from(far + 2, far + 3)).await);
    refused(client.put("/api/v1/reservations/odd", from(far, far)).await, 422, "before it begins");
    let strange = json!({ "nodes": ["nowhere"], "from": 1, "until": 2 });
    refused(client.put("/api/v1/reservations/odd", strange).await, 404, "nowhere");
    fine(client.delete("/api/v1/reservations/repair").await);
    refused(client.delete("/api/v1/reservations/repair").await, 404, "no reservation repair");
    let list = fine(client.get("/api/v1/reservations").await);
    assert_eq!(list["reservations"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_would_happen_does_not() {
    let (_fixture, client) = pool().await;
    let answer = fine(client.post("/api/v1/what-if", json!({ "ask": job(300) })).await);
    assert_eq!(
        (&answer["starts"][0]["asked"], &answer["starts"][0]["job"]),
        (&json!(true), &json!(1))
    );
    let jobs = fine(client.get("/api/v1/jobs").await);
    assert_eq!(jobs["jobs"], json!([]));
    fine(client.post("/api/v1/jobs", job(1000)).await);
    let answer = fine(client.post("/api/v1/what-if", json!({ "ask": job(300) })).await);
    assert_eq!(answer["starts"], json!([]));
    assert_eq!(answer["waits"]["position"], 1);
    let mut never = job(300);
    never["devices"]["models"] = json!(["H200"]);
    let refusal = client.post("/api/v1/what-if", json!({ "ask": never })).await;
    refused(refusal, 422, "is not a h200");
}

#[tokio::test]
async fn only_admins_change_the_policy() {
    if !is_root() {
        eprintln!("SKIPPED only_admins_change_the_policy: needs root to act as another user");
        return;
    }
    let (_fixture, client) = pool().await;
    fine(
        client.put("/api/v1/users/nobody", json!({ "role": "user", "tenants": ["default"] })).await,
    );
    let nobody = client.as_user(65534);
    let (status, _) = nobody.put("/api/v1/policy", json!({})).await;
    assert_eq!(status.as_u16(), 403);
    let (status, _) = nobody.post("/api/v1/what-if", json!({ "policy": {} })).await;
    assert_eq!(status.as_u16(), 403);
    let (status, _) = nobody.put("/api/v1/policy/shadow", json!({})).await;
    assert_eq!(status.as_u16(), 403);
    let (status, _) = nobody.post("/api/v1/policy/rollback", json!({})).await;
    assert_eq!(status.as_u16(), 403);
}
