use super::*;
use crate::pool;
use crate::workload::{WorkJob, Workload, ask_share, ask_whole};
use crate::world::{Setup, World};
use polder_engine::Policy;
use polder_model::{Bytes, Micros, Permille};
use std::collections::BTreeMap;

/// A run of two tenants; one has a name that is not HTML.
fn run() -> (Summary, Records) {
    let mut world =
        World::new(Setup::new(pool::preset("2x2").unwrap(), Policy::default())).unwrap();
    let mut jobs = Vec::new();
    for n in 0..20 {
        let tenant = if n % 3 == 0 { "org/a" } else { "lab" };
        let mut ask = ask_whole(tenant.parse().unwrap(), "ada".parse().unwrap(), 1);
        ask.name = Some("</script><b>".to_owned());
        if n % 2 == 0 {
            ask = ask_share(ask, Permille(400), Bytes(1 << 30));
        }
        jobs.push(WorkJob::new(Micros::from_secs(n * 30), ask, Micros::from_secs(400)));
    }
    world.load(Workload { name: "twenty <jobs>".into(), jobs, notes: vec![] });
    let records = world.finish(None).unwrap();
    let about = About {
        workload: "twenty <jobs>".into(),
        policy: "default".into(),
        seed: 1,
        nodes: 2,
        notes: vec!["a & b".into()],
        price_hour: 1_000_000,
        weights: BTreeMap::new(),
    };
    (Summary::new(about, &records), records)
}

#[test]
fn two_runs_stand_on_one_page() {
    let (summary, records) = run();
    let mut other = summary.clone();
    other.about.policy = "new <one>".into();
    let folder = tempfile::tempdir().unwrap();
    let sides = [&summary, &other].map(|summary| Side { summary, records: &records });
    let rows = [["wait, mean", "9s", "3s", "-66.7%"].map(str::to_owned)];
    write_compared(folder.path(), sides, &rows).unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let json: serde_json::Value = serde_json::from_str(&read("compare.json")).unwrap();
    assert_eq!(
        (&json["a"]["policy"], &json["b"]["policy"]),
        (&"default".into(), &"new <one>".into())
    );
    let html = read("compare.html");
    for part in ["default", "new &lt;one&gt;", "-66.7%", "a/report.html", "b/report.html"] {
        assert!(html.contains(part), "{part}");
    }
    assert!(!html.contains("new <one>") && !html.contains("http://"), "it loads nothing");
}

#[test]
fn a_folder_holds_everything_and_the_same_bytes_each_time() {
    let (summary, records) = run();
    let read = |folder: &tempfile::TempDir, name: &str| {
        std::fs::read_to_string(folder.path().join("run").join(name)).unwrap()
    };
    let write_once = || {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("run"), &summary, &records).unwrap();
        folder
    };
    let (one, two) = (write_once(), write_once());
    for name in ["jobs.csv", "leases.csv", "series.csv", "summary.json", "report.html"] {
        assert_eq!(read(&one, name), read(&two, name), "{name}");
    }
    assert_eq!(read(&one, "jobs.csv").lines().count(), 21);
    assert_eq!(read(&one, "leases.csv").lines().count(), 21);
    let html = read(&one, "report.html");
    assert!(html.contains("twenty &lt;jobs&gt;") && html.contains("a &amp; b"));
    assert!(!html.contains("</script><b>") && !html.contains("http://"), "it loads nothing");
    let json: serde_json::Value = serde_json::from_str(&read(&one, "summary.json")).unwrap();
    assert_eq!(json["states"]["succeeded"], 20);
}

#[test]
fn sums_agree_with_each_other() {
    let (summary, records) = run();
    let held: f64 = summary.tenants.iter().map(|tenant| tenant.held_hours).sum();
    let series = summary.held * 4.0 * summary.span_seconds / 3600.0;
    assert!((held - series).abs() < 1e-6 * held, "{held} by tenant, {series} over time");
    let asked: f64 = summary.tenants.iter().map(|tenant| tenant.asked_hours).sum();
    assert!((summary.carried_hours - asked).abs() < 1e-9, "everything succeeded");
    assert!(summary.cost > 0 && summary.jain > 0.9 && summary.jain <= 1.0);
    assert_eq!(records.jobs.len(), 20);
    let shares: f64 = summary.tenants.iter().map(|tenant| tenant.share).sum();
    assert!((shares - 1.0).abs() < 1e-9);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let (summary, records) = run();
    let error = write(Path::new("/proc/no/such"), &summary, &records).unwrap_err().to_string();
    assert!(error.starts_with("/proc/no/such: "), "{error}");
}
