use super::*;
use crate::pool;
use crate::workload::{WorkJob, Workload, ask_share, ask_whole};
use crate::world::{Setup, Unit, World};
use polder_engine::Policy;
use polder_model::{Bytes, Micros, MilliCpu, Permille};
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
    (Summary::new(about(), &records), records)
}

fn about() -> About {
    About {
        workload: "twenty <jobs>".into(),
        policy: "default".into(),
        seed: 1,
        nodes: 2,
        notes: vec!["a & b".into()],
        price_hour: 1_000_000,
        weights: BTreeMap::new(),
    }
}

#[test]
fn what_no_run_left_is_not_written_over() {
    let (summary, records) = run();
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("jobs.csv");
    std::fs::write(&table, "mine").unwrap();
    let error = write(folder.path(), &summary, &records).unwrap_err().to_string();
    assert!(error.contains("jobs.csv: no run of polder sim left it: choose another"), "{error}");
    assert_eq!(std::fs::read_to_string(&table).unwrap(), "mine");
    super::check_writable(folder.path()).unwrap();
    assert!(super::check_writable(&table).is_err(), "a file is no folder");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no trace is left");
    std::fs::remove_file(&table).unwrap();
    // Another run's are written over.
    write(folder.path(), &summary, &records).unwrap();
    write(folder.path(), &summary, &records).unwrap();
}

#[test]
fn two_runs_stand_on_one_page() {
    let (summary, records) = run();
    let mut other = summary.clone();
    other.about.policy = "new <one>".into();
    let folder = tempfile::tempdir().unwrap();
    let sides = [&summary, &other].map(|summary| Side { summary, records: &records });
    let rows = [["wait, mean", "9s", "3s", "-66.7%"].map(str::to_owned)];
    // What no comparison left stays.
    let html = folder.path().join("compare.html");
    std::fs::write(&html, "mine").unwrap();
    let error = write_compared(folder.path(), sides, &rows).unwrap_err().to_string();
    assert!(
        error.contains("compare.html: no run of polder sim left it: choose another"),
        "{error}"
    );
    assert_eq!(std::fs::read_to_string(&html).unwrap(), "mine");
    std::fs::remove_file(&html).unwrap();
    // Another comparison is written over.
    write_compared(folder.path(), sides, &rows).unwrap();
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

/// When all work is done in the end, everybody held what they asked for under any order; who waited
/// for it still differs.
#[test]
fn fairness_tells_orders_apart() {
    let run = |order: &str| {
        let policy: Policy = toml::from_str(order).unwrap();
        let mut world = World::new(Setup::new(pool::preset("1x1").unwrap(), policy)).unwrap();
        let job = |n: u64, tenant: &str, runs| {
            let ask = ask_whole(tenant.parse().unwrap(), "ada".parse().unwrap(), 1);
            let mut job = WorkJob::new(Micros::from_secs(n), ask, Micros::from_secs(runs));
            job.ask.when.estimate = Some(job.runs);
            job
        };
        let long = (0..6).map(|n| job(n, "long", 600));
        let jobs = long.chain((0..8).map(|n| job(10 + n, "short", 60))).collect();
        world.load(Workload { name: "w".into(), jobs, notes: vec![] });
        let records = world.finish(None).unwrap();
        Summary::new(About { price_hour: 0, nodes: 1, ..about() }, &records)
    };
    let (first, shortest) = (run("order.by = []"), run("order.by = [\"shortest\"]"));
    assert!((first.jain - shortest.jain).abs() < 0.01);
    assert!(shortest.jain_slowdown > first.jain_slowdown + 0.1, "{first:?} {shortest:?}");
    assert!(shortest.jain_slowdown_users > first.jain_slowdown_users + 0.1);
    assert_eq!(first.tenants[0].tenant.as_str(), "long");
    assert!(first.tenants[1].slowdown_mean > 40.0, "{:?}", first.tenants);
}

/// A run that is cut off counts what runs and waits up to then; one that is over ends before.
#[test]
fn books_close_at_the_time_given() {
    let run = |seconds| {
        let setup = Setup::new(pool::preset("1x1").unwrap(), Policy::default());
        let mut world = World::new(setup).unwrap();
        let ask = ask_whole("lab".parse().unwrap(), "ada".parse().unwrap(), 1);
        let job = WorkJob::new(Micros(0), ask, Micros::from_secs(200_000));
        world.load(Workload { name: "w".into(), jobs: vec![job], notes: vec![] });
        let until = world.begin().after(Micros::from_secs(seconds));
        let records = world.finish(Some(until)).unwrap();
        let series = tables::series(&records).unwrap();
        (Summary::new(about(), &records), String::from_utf8(series).unwrap())
    };
    let (day, series) = run(86_400);
    assert_eq!(day.span_seconds, 86_400.0);
    assert!(day.held > 0.99 && day.states["running"] == 1, "{day:?}");
    assert_eq!(day.carried_hours.to_bits(), 0.0f64.to_bits(), "not below zero");
    let cells =
        |line: &str| -> Vec<f64> { line.split(',').map(|cell| cell.parse().unwrap()).collect() };
    let last = cells(series.lines().last().unwrap());
    assert!((last[0] + last[1] - 86_400.0).abs() < 1e-3, "the last stretch ends with the run");
    let (all, _) = run(1_000_000);
    assert!(all.span_seconds < 200_010.0, "{}", all.span_seconds);
}

/// Where no job asks for a device, CPUs are held, busy and paid, and leases have their nodes.
#[test]
fn without_devices_cpus_are_counted() {
    let cpu = pool::node(MilliCpu(8000), Bytes(1 << 40), Vec::new());
    let nodes = vec![("a".parse().unwrap(), cpu.clone()), ("b".parse().unwrap(), cpu)];
    let mut world = World::new(Setup::new(nodes, Policy::default())).unwrap();
    let job = |at, cpus: u32, runs| {
        let ask = ask_whole("lab".parse().unwrap(), "ada".parse().unwrap(), 0);
        let mut ask = ask_share(ask, Permille(0), Bytes(0));
        ask.host.cpu = Some(MilliCpu(cpus * 1000));
        WorkJob::new(Micros::from_secs(at), ask, Micros::from_secs(runs))
    };
    let jobs = vec![job(0, 8, 3600), job(0, 4, 3600), job(1, 6, 1800)];
    world.load(Workload { name: "w".into(), jobs, notes: vec![] });
    let records = world.finish(None).unwrap();
    let summary = Summary::new(about(), &records);
    assert_eq!(summary.measured, Unit::Cpus);
    // 8 and 4 CPUs for an hour, then 6 for half of one, of 16.
    assert!((summary.carried_hours - 15.0).abs() < 1e-9, "{summary:?}");
    let held = 15.0 / (16.0 * summary.span_seconds / 3600.0);
    assert!((summary.held - held).abs() < 0.01 && summary.busy > summary.held * 0.99);
    assert!((summary.cost as f64 / 1e6 - 15.0).abs() < 0.01, "{}", summary.cost);
    let leases = String::from_utf8(tables::leases(&records, 1_000_000).unwrap()).unwrap();
    let nodes: Vec<&str> = leases.lines().skip(1).filter_map(|row| row.split(',').nth(3)).collect();
    assert_eq!(nodes.len(), 3);
    assert!(nodes.contains(&"a") && nodes.contains(&"b"), "{leases}");
    let page = html::page(&summary, &records);
    assert!(page.contains("<h2>Nodes</h2>") && page.contains("of the pool's CPU time"));
    assert!(page.matches("<title>job ").count() == 3 && !page.contains("Fragmentation"));
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let (summary, records) = run();
    let error = write(Path::new("/proc/no/such"), &summary, &records).unwrap_err().to_string();
    assert!(error.starts_with("/proc/no/such: "), "{error}");
}
