//! Jobs whose size is changed: who may, what is refused, what the node is told, what is metered.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod support;

use hyper::StatusCode;
use serde_json::{Value, json};
use support::{Answer, FakeAgent, Fixture, ended, is_root, job, prepared, started};

const NOBODY: u32 = 65534;
const RESIZE: &str = "/api/v1/jobs/1/resize";

fn refused((status, body): Answer, expect: u16, says: &str) {
    assert_eq!(status.as_u16(), expect, "{body}");
    let text = format!("{} {}", body["detail"], body["help"]);
    assert!(text.contains(says), "{says:?} is not in {text}");
}

fn fine((status, body): Answer) -> Value {
    assert!(status.is_success(), "{status}: {body}");
    body
}

/// A server, and an agent that runs job 1: 30 % of its one device.
async fn running() -> (Fixture, FakeAgent) {
    let fixture = Fixture::start().await;
    let mut agent = FakeAgent::new(fixture.client());
    agent.join().await;
    fine(fixture.client().post("/api/v1/jobs", job(300)).await);
    fine(agent.sync(None, json!([prepared(1)]), 0).await);
    fine(agent.sync(None, json!([started(1)]), 0).await);
    (fixture, agent)
}

#[tokio::test]
async fn the_node_is_told_at_once_and_the_job_says_what_changed() {
    let (mut fixture, mut agent) = running().await;
    let client = fixture.client();
    let held = agent.request(None, json!([started(1)]), 30_000);
    let waits = agent.client.clone();
    let held = tokio::spawn(async move { waits.post("/api/v1/agent/sync", held).await });
    let size = json!({ "compute": 600, "compute_max": 800, "memory": 1u64 << 29, "priority": 4 });
    let resized = fine(client.post(RESIZE, size.clone()).await);
    assert_eq!(resized["ask"]["devices"]["compute"], 600);
    let told = fine(held.await.unwrap());
    let slice = &told["leases"][0]["lease"]["slices"][0];
    assert_eq!(
        (&slice["compute"], &slice["compute_max"], &slice["memory"]),
        (&json!(600), &json!(800), &json!(1u64 << 29))
    );
    let again = fine(client.post(RESIZE, size).await);
    assert_eq!(again["resizes"], resized["resizes"], "the same again changes nothing");
    assert_eq!(again["resizes"].as_array().unwrap().len(), 1);
    fixture.restart().await;
    let client = fixture.client();
    let shown = fine(client.get("/api/v1/jobs/1").await);
    assert_eq!(shown["leases"][0]["lease"]["slices"][0]["compute"], 600);
    assert_eq!(shown["job"]["resizes"][0]["from"]["compute"], 300);
    let explained = fine(client.get("/api/v1/jobs/1/explain").await);
    assert_eq!(explained["resized"]["to"]["priority"], 4);
    let devices = fine(client.get("/api/v1/devices").await);
    assert_eq!(devices["devices"][0]["compute_held"], 600);
    let audit = fine(client.get("/api/v1/audit").await);
    let rows = audit["rows"].as_array().unwrap();
    assert!(rows.iter().any(|row| row["action"] == "job.resize"), "{audit}");
}

#[tokio::test]
async fn what_makes_no_sense_or_does_not_fit_is_refused_and_changes_nothing() {
    let (fixture, mut agent) = running().await;
    let client = fixture.client();
    fine(client.post("/api/v1/jobs", job(400)).await);
    for (size, status, says) in [
        (json!({}), 400, "says nothing that is to change"),
        (json!({ "compute": -1 }), 400, "-1"),
        (json!({ "color": 1 }), 400, "color"),
        (json!({ "compute": 0 }), 422, "devices.compute"),
        (json!({ "compute": 1001 }), 422, "1001"),
        (json!({ "memory": 0 }), 422, "devices.memory"),
        (json!({ "compute_max": 100 }), 422, "10%"),
        (json!({ "priority": 5000 }), 422, "priority"),
        (json!({ "compute": 700 }), 409, "60% at most"),
        (json!({ "memory": 1u64 << 31 }), 409, "at most"),
        (json!({ "memory": 100 }), 409, "holds 4 KiB on sim-0"),
    ] {
        let answer = client.post(RESIZE, size).await;
        refused(answer, status, says);
    }
    let shown = fine(client.get("/api/v1/jobs/1").await);
    assert_eq!(shown["job"]["ask"]["devices"]["compute"], 300);
    assert!(shown["job"]["resizes"].is_null());
    refused(client.post("/api/v1/jobs/99/resize", json!({ "compute": 1 })).await, 404, "99");
    refused(client.post("/api/v1/jobs/x/resize", json!({ "compute": 1 })).await, 400, "x");
    fine(client.post("/api/v1/jobs/1/cancel", json!({})).await);
    refused(client.post(RESIZE, json!({ "compute": 100 })).await, 409, "being ended");
    fine(agent.sync(None, json!([ended(1, 0)]), 0).await);
    refused(client.post(RESIZE, json!({ "compute": 100 })).await, 409, "already over");
}

#[tokio::test]
async fn a_job_is_resized_by_whoever_may_end_it() {
    if !is_root() {
        return;
    }
    let (fixture, _agent) = running().await;
    let admin = fixture.client();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    std::fs::set_permissions(fixture.folder.path(), open).unwrap();
    let nobody = admin.as_user(NOBODY);
    let priority = json!({ "priority": 1 });
    refused(nobody.post(RESIZE, priority.clone()).await, 403, "does not know user nobody");
    fine(admin.put("/api/v1/tenants/other", json!({})).await);
    let user = |role: &str, tenant: &str| json!({ "role": role, "tenants": [tenant] });
    for (role, tenant, status) in [
        ("user", "other", 404),
        ("viewer", "default", 403),
        ("user", "default", 403),
        ("tenant_admin", "other", 404),
        ("tenant_admin", "default", 200),
        ("operator", "other", 200),
        ("admin", "other", 200),
    ] {
        fine(admin.put("/api/v1/users/nobody", user(role, tenant)).await);
        let (found, body) = nobody.post(RESIZE, priority.clone()).await;
        assert_eq!(found.as_u16(), status, "{role} of {tenant}: {body}");
        if status == 403 {
            assert!(body["detail"].as_str().unwrap().contains("resize a job of"), "{body}");
        }
    }
}

/// A job that asks for so many MiB of the one device, which has 1024.
fn of_memory(mebibytes: u64) -> Value {
    let mut job = job(100);
    job["devices"]["memory"] = json!(mebibytes << 20);
    job
}

#[tokio::test]
async fn memory_given_back_is_nobodys_until_the_node_has_the_lower_cap_in_force() {
    let mut fixture = Fixture::start().await;
    let mut agent = FakeAgent::new(fixture.client());
    agent.join().await;
    let client = fixture.client();
    fine(client.post("/api/v1/jobs", of_memory(700)).await);
    fine(agent.sync(None, json!([prepared(1)]), 0).await);
    fine(agent.sync(None, json!([started(1)]), 0).await);
    fine(client.post("/api/v1/jobs", of_memory(600)).await);
    for memory in [600u64, 400, 300] {
        fine(client.post(RESIZE, json!({ "memory": memory << 20 })).await);
    }
    let leaving = |shown: &Value| shown["leases"][0]["lease"]["leaving"].clone();
    let waits = async |client: &support::Client, why: &str| {
        let second = fine(client.get("/api/v1/jobs/2").await);
        assert_eq!(second["job"]["state"]["state"], "queued", "{why}: {second}");
        let first = fine(client.get("/api/v1/jobs/1").await);
        assert_eq!(leaving(&first), 400u64 << 20, "{why}: {first}");
    };
    waits(&client, "its node has not heard of it").await;
    let told = fine(agent.sync(None, json!([started(1)]), 0).await);
    assert_eq!(told["leases"][0]["lease"]["resizes"], 3, "{told}");
    let mut in_force = started(1);
    for resizes in [0, 1, 2, 4] {
        in_force["resizes"] = json!(resizes);
        fine(agent.sync(None, json!([in_force]), 0).await);
        waits(&client, "another resize is in force there").await;
    }
    let explained = fine(client.get("/api/v1/jobs/1/explain").await);
    assert_eq!(explained["reasons"][0]["reason"], "leaving", "{explained}");
    let devices = fine(client.get("/api/v1/devices").await);
    assert_eq!(devices["devices"][0]["memory_held"], 700u64 << 20, "{devices}");
    fixture.restart().await;
    let client = fixture.client();
    waits(&client, "a restart forgets nothing").await;
    in_force["resizes"] = json!(3);
    let told = fine(agent.sync(None, json!([in_force.clone()]), 0).await);
    assert_eq!(told["leases"][1]["lease"]["id"], 2, "it is granted: {told}");
    fine(agent.sync(None, json!([in_force, prepared(2)]), 0).await);
    let first = fine(client.get("/api/v1/jobs/1").await);
    assert!(leaving(&first).is_null(), "{first}");
    fixture.restart().await;
    let devices = fine(fixture.client().get("/api/v1/devices").await);
    assert_eq!(devices["devices"][0]["memory_held"], 900u64 << 20, "{devices}");
}

#[tokio::test]
async fn each_term_is_metered_at_its_own_size() {
    let (fixture, mut agent) = running().await;
    let client = fixture.client();
    let resized = fine(client.post(RESIZE, json!({ "compute": 600 })).await);
    let live = fine(client.get("/api/v1/usage?by=job").await);
    let row = &live["rows"][0];
    assert_eq!((&row["leases"], &row["running"]), (&json!(1), &json!(1)), "{live}");
    assert_eq!(row["device_time"], 10_000, "counted in the first term and not again");
    let (at, shown) = (&resized["resizes"][0]["at"], client.get("/api/v1/jobs/1").await.1);
    let started = &shown["leases"][0]["lease"]["started_at"];
    let first = at.as_u64().unwrap() - started.as_u64().unwrap();
    fine(agent.sync(None, json!([ended(1, 0)]), 5000).await);
    let (status, over) = client.get("/api/v1/usage?by=job").await;
    assert_eq!(status, StatusCode::OK);
    let row = &over["rows"][0];
    assert_eq!((&row["leases"], &row["running"]), (&json!(1), &json!(0)), "{over}");
    assert_eq!(row["device_time"], 1_500_000);
    let second = 2_000_000u64.saturating_sub(first);
    assert_eq!(row["leased"], (300 * first + 600 * second) / 1000, "{first} and {second} us");
}
