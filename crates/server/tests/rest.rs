//! The REST API over a real Unix socket, with a scripted agent in place of a real one.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod support;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use support::{Client, FakeAgent, Fixture, ended, is_root, job, prepared, started};

const NOBODY: u32 = 65534;

/// Expects a problem of this status whose `detail` or `help` says this.
fn refused((status, body): (StatusCode, Value), expect: u16, says: &str) {
    assert_eq!(status.as_u16(), expect, "{body}");
    assert!(body["type"].as_str().is_some_and(|kind| kind.starts_with("urn:polder:")), "{body}");
    assert_eq!(body["status"], expect);
    let text = format!("{} {}", body["detail"], body["help"]);
    assert!(text.contains(says), "{says:?} is not in {text}");
}

/// Microseconds since 1970.
fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(now.as_micros()).unwrap()
}

fn fine((status, body): (StatusCode, Value)) -> Value {
    assert!(status.is_success(), "{status}: {body}");
    body
}

#[tokio::test]
async fn a_job_goes_its_whole_way() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    let mut agent = FakeAgent::new(client.clone());
    agent.join().await;
    let submitted = fine(client.post("/api/v1/jobs", job(300)).await);
    assert_eq!(submitted["id"], 1);
    let orders = fine(agent.sync(None, json!([]), 5000).await);
    assert_eq!(orders["leases"][0]["lease"]["job"], 1);
    assert_eq!(orders["leases"][0]["start"], false);
    let orders = fine(agent.sync(None, json!([prepared(1)]), 5000).await);
    assert_eq!(orders["leases"][0]["start"], true);
    fine(agent.sync(None, json!([started(1)]), 0).await);
    let shown = fine(client.get("/api/v1/jobs/1").await);
    assert_eq!(shown["job"]["state"]["state"], "running");
    assert_eq!(shown["leases"][0]["sample"]["launches"], 3);
    let devices = fine(client.get("/api/v1/devices").await);
    assert_eq!(devices["devices"][0]["compute_held"], 300);
    assert_eq!(devices["devices"][0]["device"]["simulated"], true);
    let live = fine(client.get("/api/v1/usage").await);
    assert_eq!(
        (&live["rows"][0]["running"], &live["rows"][0]["device_time"]),
        (&json!(1), &json!(10_000))
    );
    let answer = fine(agent.sync(None, json!([ended(1, 0)]), 5000).await);
    assert_eq!(answer["acknowledged"], json!([1]));
    let waited = fine(client.get("/api/v1/jobs/1/wait").await);
    assert_eq!(waited["job"]["state"]["outcome"]["outcome"], "succeeded");
    assert_eq!(waited["reached"], true);
    let shown = fine(client.get("/api/v1/jobs/1").await);
    assert_eq!(shown["leases"][0]["ending"]["end"]["ran"], 2_000_000);
    let usage = fine(client.get("/api/v1/usage?by=job").await);
    assert_eq!(usage["rows"][0]["leased"], 600_000, "30% of a device for two seconds");
    assert_eq!(usage["rows"][0]["device_time"], 1_500_000);
    assert_eq!(usage["rows"][0]["memory_mib_seconds"], 2);
    assert_eq!(usage["rows"][0]["running"], 0);
}

#[tokio::test]
async fn the_queue_tells_places_and_reasons() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    FakeAgent::new(client.clone()).join().await;
    for _ in 0..3 {
        fine(client.post("/api/v1/jobs", job(800)).await);
    }
    let queue = fine(client.get("/api/v1/queue").await);
    assert_eq!(queue["total"], 2);
    assert_eq!(queue["entries"][0]["job"], 2);
    assert!(queue["entries"][0]["reason"]["reason"].is_string(), "{queue}");
    let explained = fine(client.get("/api/v1/jobs/3/explain").await);
    assert_eq!(explained["position"], 2);
    let waited = fine(client.get("/api/v1/jobs/3/wait?timeout_ms=1&until=started").await);
    assert_eq!((&waited["position"], &waited["reached"]), (&json!(2), &json!(false)));
    let seen = waited["seen"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/jobs/3/wait?timeout_ms=20000&until=started&seen={seen}");
    let (moved, cancelled) =
        tokio::join!(client.get(&path), client.post("/api/v1/jobs/2/cancel", json!({})));
    fine(cancelled);
    let moved = fine(moved);
    assert_eq!((&moved["position"], &moved["changed"]), (&json!(1), &json!(true)));
}

#[tokio::test]
async fn a_repeated_submission_makes_one_job() {
    let mut fixture = Fixture::start().await;
    let client = fixture.client();
    FakeAgent::new(client.clone()).join().await;
    let submit = async |client: &Client, body: Value| {
        let key = [("Idempotency-Key", "k-1")];
        client.call(Method::POST, "/api/v1/jobs", &key, Some(body.to_string())).await
    };
    let (first, body) = submit(&client, job(300)).await;
    assert_eq!((first, &body["id"]), (StatusCode::CREATED, &json!(1)));
    let (again, body) = submit(&client, job(300)).await;
    assert_eq!((again, &body["id"]), (StatusCode::OK, &json!(1)));
    refused(submit(&client, job(301)).await, 409, "already stands for job 1");
    fixture.restart().await;
    let (again, body) = submit(&client, job(300)).await;
    assert_eq!((again, &body["id"]), (StatusCode::OK, &json!(1)));
    let (left, right) = tokio::join!(submit(&client, job(300)), submit(&client, job(300)));
    assert_eq!((left.1["id"].as_u64(), right.1["id"].as_u64()), (Some(1), Some(1)));
    let long = "k".repeat(201);
    let headers = [("Idempotency-Key", long.as_str())];
    let answer = client.call(Method::POST, "/api/v1/jobs", &headers, Some(job(1).to_string()));
    refused(answer.await, 400, "1 to 200");
}

#[tokio::test]
async fn bad_requests_are_named() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    refused(client.get("/api/v1/nothing").await, 404, "/api/v1/nothing");
    refused(client.delete("/api/v1/queue").await, 405, "/api/v1/queue");
    refused(client.get("/api/v1/jobs/abc").await, 400, "abc");
    refused(client.get("/api/v1/jobs/7").await, 404, "7");
    refused(client.get("/api/v1/jobs?limit=many").await, 400, "limit");
    refused(client.get("/api/v1/jobs?sort=up").await, 400, "sort");
    refused(client.get("/api/v1/jobs?cursor=xyz").await, 400, "xyz");
    refused(client.post("/api/v1/jobs/7/cancel", json!({})).await, 404, "7");
    refused(client.post("/api/v1/jobs", json!([])).await, 400, "JSON object");
    refused(client.post("/api/v1/jobs", json!({ "wrk": 1 })).await, 400, "wrk");
    let mut unknown = job(100);
    unknown["tenant"] = json!("nowhere");
    refused(client.post("/api/v1/jobs", unknown).await, 422, "nowhere");
    let mut zero = job(100);
    zero["devices"]["memory"] = json!(0);
    refused(client.post("/api/v1/jobs", zero).await, 422, "devices.memory is 0");
    FakeAgent::new(client.clone()).join().await;
    let mut huge = job(100);
    huge["devices"]["memory"] = json!(1u64 << 40);
    refused(client.post("/api/v1/jobs", huge).await, 422, "could ever serve");
    let late = async |deadline: u64, estimate: u64, says: &str| {
        let mut late = job(100);
        late["when"] = json!({ "deadline": deadline, "estimate": estimate });
        refused(client.post("/api/v1/jobs", late).await, 422, says);
    };
    late(1, 1, "when.deadline has passed").await;
    let hour = 3_600_000_000;
    let ahead = now() + hour;
    late(ahead, 2 * hour, "and when.estimate 2h00m: it would be late even if it started now").await;
    let mut soon = job(100);
    soon["when"] = json!({ "deadline": ahead, "estimate": hour });
    fine(client.post("/api/v1/jobs", soon).await);
    let mut long = job(100);
    long["work"]["command"] = json!(["x".repeat(2 << 20)]);
    refused(client.post("/api/v1/jobs", long).await, 413, "1048576");
    let version = [("Polder-Api", "2.0")];
    let answer = client.call(Method::GET, "/api/v1/queue", &version, None).await;
    refused(answer, 400, "version 2.0 of the API, this server (polder 0.1.0) version 1");
    let same = client.call(Method::GET, "/api/v1/queue", &[("Polder-Api", "1")], None).await;
    fine(same);
}

#[tokio::test]
async fn users_see_their_tenants_and_no_more() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::start().await;
    let admin = fixture.client();
    let nobody = admin.as_user(NOBODY);
    std::fs::set_permissions(
        fixture.folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o711),
    )
    .unwrap();
    FakeAgent::new(admin.clone()).join().await;
    let help = "polder admin user add nobody --tenant T";
    refused(nobody.get("/api/v1/whoami").await, 403, help);
    refused(nobody.post("/api/v1/jobs", job(100)).await, 403, help);
    refused(
        nobody.post("/api/v1/agent/sync", json!({})).await,
        403,
        "does not run this pool's agent",
    );
    fine(admin.put("/api/v1/tenants/lab", json!({})).await);
    fine(admin.put("/api/v1/tenants/lab/ocr", json!({ "quota": { "devices": 2 } })).await);
    let user = json!({ "role": "user", "tenants": ["lab/ocr"] });
    fine(admin.put("/api/v1/users/nobody", user).await);
    let me = fine(nobody.get("/api/v1/whoami").await);
    assert_eq!((&me["user"], &me["tenants"]), (&json!("nobody"), &json!(["lab/ocr"])));
    fine(admin.post("/api/v1/jobs", job(100)).await);
    let mut own = job(100);
    own.as_object_mut().unwrap().remove("tenant");
    own["user"] = json!("root");
    let own = fine(nobody.post("/api/v1/jobs", own).await);
    assert_eq!((&own["ask"]["user"], &own["ask"]["tenant"]), (&json!("nobody"), &json!("lab/ocr")));
    let jobs = fine(nobody.get("/api/v1/jobs").await);
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 1);
    refused(nobody.get("/api/v1/jobs/1").await, 404, "1");
    refused(nobody.get("/api/v1/jobs/1/explain").await, 404, "1");
    refused(nobody.post("/api/v1/jobs/1/cancel", json!({})).await, 404, "1");
    refused(nobody.get("/api/v1/audit").await, 403, "nobody is a user");
    refused(nobody.post("/api/v1/backup", json!({ "path": "/b" })).await, 403, "take a backup");
    refused(nobody.post("/api/v1/shutdown", json!({})).await, 403, "stop the server");
    refused(nobody.put("/api/v1/tenants/lab/ocr", json!({})).await, 403, "change tenant");
    refused(nobody.post("/api/v1/jobs", job(100)).await, 403, "ask for tenant default");
    let request = FakeAgent::new(nobody.clone()).request(None, json!([]), 0);
    refused(nobody.post("/api/v1/agent/sync", request).await, 403, "agent");
    fine(nobody.post("/api/v1/jobs/2/cancel", json!({})).await);
    let seen = fine(admin.get("/api/v1/jobs/2").await);
    assert_eq!(seen["job"]["ask"]["work"]["environment"]["SECRET"], "s");
}

#[tokio::test]
async fn tenants_and_users_come_and_go() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    refused(client.put("/api/v1/tenants/lab/ocr", json!({})).await, 422, "lab first");
    fine(client.put("/api/v1/tenants/lab", json!({ "quota": { "compute": 500 } })).await);
    fine(client.put("/api/v1/tenants/lab/ocr", json!({})).await);
    let tenant = fine(client.get("/api/v1/tenants/lab/ocr").await);
    assert_eq!(tenant["tenant"]["path"], "lab/ocr");
    refused(client.put("/api/v1/tenants/a/..", json!({})).await, 400, "..");
    refused(client.put("/api/v1/tenants/x", json!({ "quotas": {} })).await, 400, "quotas");
    let weightless = json!({ "share": { "weight": 0 } });
    refused(client.put("/api/v1/tenants/x", weightless).await, 422, "weight of 0");
    refused(client.delete("/api/v1/tenants/lab").await, 409, "lab/ocr below it");
    refused(client.delete("/api/v1/tenants/none").await, 404, "none");
    let user = json!({ "role": "viewer", "tenants": ["lab/ocr"] });
    fine(client.put("/api/v1/users/ada", user).await);
    refused(client.delete("/api/v1/tenants/lab/ocr").await, 409, "user ada belongs");
    fine(client.delete("/api/v1/users/ada").await);
    refused(client.delete("/api/v1/users/ada").await, 404, "ada");
    fine(client.delete("/api/v1/tenants/lab/ocr").await);
    let own = fine(client.get("/api/v1/users").await)["users"][0]["name"].clone();
    let own = format!("/api/v1/users/{}", own.as_str().unwrap());
    refused(client.delete(&own).await, 409, "who is its admin whatever");
    let user = json!({ "role": "viewer", "tenants": ["default"] });
    refused(client.put(&own, user).await, 409, "who is its admin whatever");
    let user = json!({ "role": "admin", "tenants": ["default", "lab"] });
    fine(client.put(&own, user).await);
    let audit = fine(client.get("/api/v1/audit?limit=6").await);
    let actions: Vec<_> =
        audit["rows"].as_array().unwrap().iter().map(|row| row["action"].clone()).collect();
    let own = ["user.set", "user.set", "user.remove"];
    assert_eq!(actions[..3], own);
    assert_eq!(actions[3..], ["tenant.remove", "user.remove", "user.remove"]);
    assert_eq!(audit["rows"][0]["result"], "ok");
    assert!(audit["rows"][2]["result"].as_str().unwrap().contains("admin whatever"));
    assert!(audit["rows"][4]["result"].as_str().unwrap().contains("ada does not exist"));
    let next = format!("/api/v1/audit?cursor={}", audit["cursor"].as_str().unwrap());
    assert_eq!(fine(client.get(&next).await)["rows"][0]["action"], "tenant.remove");
}

#[tokio::test]
async fn lists_go_on_where_the_page_before_ended() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    FakeAgent::new(client.clone()).join().await;
    for _ in 0..7 {
        fine(client.post("/api/v1/jobs", job(900)).await);
    }
    for id in [3, 5] {
        fine(client.post(&format!("/api/v1/jobs/{id}/cancel"), json!({})).await);
    }
    let mut seen = Vec::new();
    let mut path = String::from("/api/v1/jobs?limit=2");
    loop {
        let page = fine(client.get(&path).await);
        let jobs = page["jobs"].as_array().unwrap();
        seen.extend(jobs.iter().map(|job| job["id"].as_u64().unwrap()));
        assert_eq!(
            jobs.iter().find(|job| job["ask"]["work"]["environment"]["SECRET"] == "s"),
            None
        );
        let Some(cursor) = page["cursor"].as_str() else { break };
        path = format!("/api/v1/jobs?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, [7, 6, 5, 4, 3, 2, 1]);
    let over = fine(client.get("/api/v1/jobs?state=finished").await);
    assert_eq!(over["jobs"].as_array().unwrap().len(), 2);
    refused(client.post("/api/v1/jobs/3/cancel", json!({})).await, 409, "cancelled");
}

#[tokio::test]
async fn a_backup_is_a_journal_of_its_own() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    FakeAgent::new(client.clone()).join().await;
    fine(client.post("/api/v1/jobs", job(300)).await);
    let copy = tempfile::tempdir().unwrap();
    let path = copy.path().join("journal.db");
    let ask = json!({ "path": path });
    let done = fine(client.post("/api/v1/backup", ask.clone()).await);
    assert_eq!(done["bytes"], std::fs::metadata(&path).unwrap().len());
    refused(client.post("/api/v1/backup", ask).await, 409, "exists already");
    refused(client.post("/api/v1/backup", json!({ "path": "b" })).await, 400, "absolute");
    refused(client.post("/api/v1/backup", json!({ "path": "/no/b" })).await, 400, "/no/b");
    let restored = support::launch(copy.path(), Default::default()).await;
    let client = Client { socket: restored.socket().to_owned(), uid: None };
    assert_eq!(fine(client.get("/api/v1/jobs/1").await)["job"]["id"], 1);
    restored.shutdown();
    restored.wait().await.unwrap();
}

#[tokio::test]
async fn a_shutdown_ends_tasks_only_when_asked_to() {
    let mut fixture = Fixture::start().await;
    let client = fixture.client();
    let mut agent = FakeAgent::new(client.clone());
    agent.join().await;
    fine(client.post("/api/v1/jobs", job(300)).await);
    let done = fine(client.post("/api/v1/shutdown", json!({})).await);
    assert_eq!((&done["cancelled"], &done["leases_left"]), (&json!(0), &json!(1)));
    fixture.restart().await;
    fine(agent.sync(None, json!([prepared(1)]), 0).await);
    let ending = tokio::spawn({
        let client = client.clone();
        async move { client.post("/api/v1/shutdown", json!({ "end_tasks": true })).await }
    });
    let told = fine(agent.sync(None, json!([prepared(1)]), 10_000).await);
    assert_eq!(told["tombstones"][0]["lease"], 1);
    refused(client.post("/api/v1/jobs", job(1)).await, 503, "polder up");
    let end = json!({ "outcome": "cancelled", "ran": 0, "sample": support::sample(0) });
    let report = json!([{ "lease": 1, "phase": { "phase": "ended", "end": end } }]);
    agent.sync(None, report, 0).await;
    let done = fine(ending.await.unwrap());
    assert_eq!((&done["cancelled"], &done["leases_left"]), (&json!(1), &json!(0)));
    fixture.server.take().unwrap().wait().await.unwrap();
    assert!(!client.socket.exists());
}
