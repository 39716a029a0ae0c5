//! `polder sim`, from the command line to the folder it leaves.

mod common;

use common::{Said, polder, say};
use polder_model::{EVENT_VERSION, Envelope, Gang, GangKind, Micros, Outcome, Policy};
use polder_sim::pool;
use polder_sim::workload::{WorkJob, Workload, ask_whole};
use polder_sim::world::{Setup, World};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Four jobs as sacct prints them, one of which never ran.
const TRACE: &str = "JobID|JobName|User|Account|Submit|ElapsedRaw|TimelimitRaw|State|AllocTRES\n\
    1|train|ada|lab|2024-05-01T12:00:00|600|60|COMPLETED|cpu=8,gres/gpu=4,node=2\n\
    2|probe|ada|lab|2024-05-01T12:00:30|60|10|FAILED|cpu=2,gres/gpu=1,node=1\n\
    3|none|eve|shop|2024-05-01T12:01:00|0|10|CANCELLED by 1|\n\
    4|big|eve|shop|2024-05-01T12:01:00|300|10|COMPLETED|cpu=8,gres/gpu=4,node=1\n";

fn sim(folder: &Path, words: &[&str]) -> Said {
    let mut command = polder(["sim"]);
    command.args(words).current_dir(folder);
    say(command)
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("trace.txt"), TRACE).expect("the trace is written");
    folder
}

#[test]
fn a_trace_becomes_a_table_and_a_folder_that_repeats_itself() {
    let folder = folder();
    let run = |out: &str| {
        let words = ["trace.txt", "--nodes", "2x2", "--faults", "--seed", "7", "--out", out];
        let said = sim(folder.path(), &words);
        assert_eq!(said.code, 0, "{}", said.stderr);
        said.stdout
    };
    let table = run("one");
    assert!(table.contains("wait, p95") && table.contains("fairness (Jain)"), "{table}");
    let said = sim(folder.path(), &["trace.txt", "--nodes", "2x2"]);
    let bars = said.stderr.lines().filter(|line| line.contains('\u{2591}')).count();
    assert_eq!(bars, 0, "how far it has come is for terminals: {}", said.stderr);
    assert_eq!(table, run("two"));
    for name in ["jobs.csv", "leases.csv", "series.csv", "summary.json", "report.html"] {
        let of = |out: &str| fs::read(folder.path().join(out).join(name)).expect("it was written");
        assert_eq!(of("one"), of("two"), "{name}");
    }
    let said = sim(folder.path(), &["trace.txt", "--nodes", "2x2", "--output", "json"]);
    let summary: Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!(summary["jobs"], 3);
    assert_eq!(summary["states"]["failed"], 1, "{summary}");
    assert!(said.stderr.contains("left out 1 row: ElapsedRaw is zero"), "{}", said.stderr);
}

#[test]
fn two_policies_stand_side_by_side() {
    let folder = folder();
    fs::write(folder.path().join("now.toml"), "").expect("written");
    fs::write(folder.path().join("new.toml"), "order.by = [\"shortest\"]\n").expect("written");
    let words = ["trace.txt", "--nodes", "1x4", "--compare", "now.toml", "new.toml"];
    let said = sim(folder.path(), &words);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stdout.contains("now") && said.stdout.contains("B TO A"), "{}", said.stdout);
}

/// A journal with a service that was cancelled, one that was not, and a job that failed.
fn journal() -> String {
    let mut setup = Setup::new(pool::preset("1x4").expect("a pool"), Policy::default());
    setup.journal = true;
    let mut world = World::new(setup).expect("a world");
    let ask = |devices| {
        ask_whole("lab".parse().expect("a tenant"), "ada".parse().expect("a user"), devices)
    };
    let service = |at, leaves| {
        let mut job = WorkJob::new(Micros::from_secs(at), ask(1), Micros::from_secs(leaves));
        job.ask.gang = Gang { min: 1, max: 2, kind: GangKind::Service };
        job.leaves = Some(job.runs);
        job
    };
    let mut fails = WorkJob::new(Micros::from_secs(900), ask(1), Micros::from_secs(60));
    fails.outcome = Outcome::Failed { code: 1 };
    let jobs = vec![service(0, 500), service(600, 90_000), fails];
    world.load(Workload { name: "w".into(), jobs, notes: vec![] });
    world.run_until(world.begin().after(Micros::from_secs(3600))).expect("an hour");
    let events = (1u64..).zip(world.take_journal());
    let line = |(seq, (at, event))| {
        let envelope = Envelope { seq, epoch: 1, at, version: EVENT_VERSION, event };
        serde_json::to_string(&envelope).expect("JSON") + "\n"
    };
    events.map(line).collect()
}

#[test]
fn a_journal_with_services_comes_to_an_end() {
    let folder = folder();
    fs::write(folder.path().join("journal.jsonl"), journal()).expect("written");
    for faults in [&[][..], &["--faults"]] {
        let words = [&["journal.jsonl", "--output", "json"], faults].concat();
        let said = sim(folder.path(), &words);
        assert_eq!(said.code, 0, "{}", said.stderr);
        let summary: Value = serde_json::from_str(&said.stdout).expect("JSON");
        assert_eq!(summary["states"]["cancelled"], 2, "{summary}");
        assert_eq!(summary["states"]["failed"], 1, "{summary}");
        assert_eq!(summary["restarts"], 0, "what fails by itself is not tried again: {summary}");
        assert!(said.stderr.contains("1 job still ran at the end of the journal"));
    }
}

/// Noon in the trace is noon for the policy.
#[test]
fn hours_are_those_of_the_trace() {
    let folder = folder();
    let rows = "JobID|User|Account|Submit|ElapsedRaw|TimelimitRaw|State|AllocTRES\n\
        1|ada|lab|2024-05-01T12:00:00|600|10|COMPLETED|gres/gpu=1\n\
        2|ada|long|2024-05-01T12:00:01|6000|100|COMPLETED|gres/gpu=1\n\
        3|ada|short|2024-05-01T12:00:02|60|1|COMPLETED|gres/gpu=1\n";
    fs::write(folder.path().join("noon.txt"), rows).expect("written");
    let policy = "[[times]]\nfrom = \"12:00\"\nuntil = \"13:00\"\norder.by = [\"shortest\"]\n";
    fs::write(folder.path().join("noon.toml"), policy).expect("written");
    let words = ["noon.txt", "--nodes", "1x1", "--policy", "noon.toml", "--output", "json"];
    let said = sim(folder.path(), &words);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let summary: Value = serde_json::from_str(&said.stdout).expect("JSON");
    let waits = |tenant: &str| {
        let tenants = summary["tenants"].as_array().expect("tenants").iter();
        let of = tenants.filter(|one| one["tenant"] == tenant);
        of.map(|one| one["wait_seconds_mean"].as_f64().expect("a mean")).sum::<f64>()
    };
    assert!(waits("short") < 700.0 && waits("long") > 650.0, "{summary}");
    assert!(!said.stderr.contains("it says no dates"), "{}", said.stderr);
}

/// A trace without devices brings its machine, and its figures count CPUs.
#[test]
fn a_trace_without_devices_counts_cpus() {
    let folder = folder();
    let rows = "; MaxProcs: 8\n; UnixStartTime: 1400749079\n\
        1 10 0 3600 4 -1 -1 4 7200 -1 1 7 1 3 1 -1 -1 -1\n\
        2 20 0 3600 8 -1 -1 8 7200 -1 1 8 1 3 1 -1 -1 -1\n";
    fs::write(folder.path().join("small.swf"), rows).expect("written");
    let said = sim(folder.path(), &["small.swf", "--out", "run"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stdout.contains("held, of CPUs") && said.stdout.contains("12.0 CPU h"));
    assert!(!said.stdout.contains("fragmentation"), "{}", said.stdout);
    assert!(said.stderr.contains("each job is one task, with all its CPUs on one node"));
    let leases = fs::read_to_string(folder.path().join("run/leases.csv")).expect("leases");
    assert_eq!(leases.matches(",machine,").count(), 2, "{leases}");
    let said = sim(folder.path(), &["small.swf", "--nodes", "1x1"]);
    let expect = "a node of this pool has more than anything asks for: give --nodes FILE with cpus";
    assert!(said.stderr.contains(expect), "{}", said.stderr);
}

/// What the pool refuses is said where the figures are.
#[test]
fn refused_jobs_are_counted_with_the_reason() {
    let folder = folder();
    let said = sim(folder.path(), &["trace.txt", "--nodes", "1x1"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stderr.contains("2 jobs were refused"), "{}", said.stderr);
    let said = sim(folder.path(), &["trace.txt", "--nodes", "2x4"]);
    assert!(said.code == 0 && !said.stderr.contains("refused"), "{}", said.stderr);
}

/// Work that yields makes room at what it costs, and a rule that can do nothing says so.
#[test]
fn reclaim_can_be_tried_on_a_trace() {
    let folder = folder();
    let rows = "JobID|User|Account|Submit|ElapsedRaw|TimelimitRaw|State|AllocTRES\n\
        1|ada|low|2024-05-01T12:00:00|3600|100|COMPLETED|gres/gpu=1\n\
        2|eve|high|2024-05-01T12:30:30|60|10|COMPLETED|gres/gpu=1\n";
    fs::write(folder.path().join("two.txt"), rows).expect("written");
    let policy = "[order]\nby = [\"shortest\"]\n[reclaim]\norder = true\n";
    fs::write(folder.path().join("order.toml"), policy).expect("written");
    let run = |flags: &[&str]| -> (Value, String) {
        let words = ["two.txt", "--nodes", "1x1", "--policy", "order.toml", "--output", "json"];
        let said = sim(folder.path(), &[&words[..], flags].concat());
        assert_eq!(said.code, 0, "{}", said.stderr);
        (serde_json::from_str(&said.stdout).expect("JSON"), said.stderr)
    };
    let lost = |summary: &Value| summary["lost_hours"].as_f64().expect("a number");
    let (kept, notes) = run(&[]);
    assert!(notes.contains("no job yields, so reclaim.order can do nothing"), "{notes}");
    assert_eq!(kept["restarts"], 0, "{kept}");
    let (all_lost, notes) = run(&["--yielding", "low"]);
    assert!(!notes.contains("no job yields"), "{notes}");
    assert_eq!(all_lost["restarts"], 1, "{all_lost}");
    assert!(lost(&all_lost) > 0.5, "{all_lost}");
    let (little, _) = run(&["--yielding", "low", "--checkpoint", "10m", "--restart", "30s"]);
    assert_eq!(little["restarts"], 1, "{little}");
    assert!(lost(&little) < 0.05 && lost(&little) > 30.0 / 3600.0, "{little}");
    let check = |flags: &[&str], expect: &str| {
        let said = sim(folder.path(), &[&["two.txt", "--nodes", "1x1"], flags].concat());
        assert_eq!(said.code, 2, "{}", said.stderr);
        assert!(said.stderr.contains(expect), "{}", said.stderr);
    };
    check(&["--yielding", "none"], "no job is of none");
    check(&["--checkpoint", "0s"], "--checkpoint is 0s");
}

#[test]
fn a_comparison_leaves_one_page_and_one_file_that_name_both() {
    let folder = folder();
    let policies = [("old/p.toml", ""), ("new/p.toml", "order.by = [\"shortest\"]\n")];
    for (name, text) in policies {
        let path = folder.path().join(name);
        fs::create_dir(path.parent().expect("it has a folder")).expect("made");
        fs::write(path, text).expect("written");
    }
    let compare = |a: &str, b: &str| {
        let pool = ["trace.txt", "--nodes", "1x4", "--out", "out"];
        let said = sim(folder.path(), &[&pool[..], &["--compare", a, b]].concat());
        assert_eq!(said.code, 0, "{}", said.stderr);
        assert!(said.stderr.contains("out/compare.html"), "{}", said.stderr);
        let read = |name: &str| fs::read_to_string(folder.path().join("out").join(name));
        let json: Value =
            serde_json::from_str(&read("compare.json").expect("it is there")).expect("it is JSON");
        let name = |side: &str| json[side]["policy"].as_str().expect("a name").to_owned();
        let names = [name("a"), name("b")];
        let page = read("compare.html").expect("it is there");
        for part in names.iter().map(String::as_str).chain(["wait, p95", "a/report.html"]) {
            assert!(page.contains(part) && said.stdout.contains(&names[0]), "{part}");
        }
        names
    };
    // Two files of one name are told apart by their folders.
    assert_eq!(compare("old/p.toml", "new/p.toml"), ["old/p.toml", "new/p.toml"]);
    assert_eq!(compare("old/p.toml", "old/p.toml"), ["p (A)", "p (B)"]);
}

#[test]
fn what_cannot_be_replayed_is_named() {
    let folder = folder();
    let bad = TRACE.replace("|60|10|FAILED", "|-60|10|FAILED");
    fs::write(folder.path().join("bad.txt"), bad).expect("written");
    fs::write(folder.path().join("policy.toml"), "order.by = [\"priority\", \"priority\"]")
        .expect("written");
    let check = |words: &[&str], expect: &str| {
        let said = sim(folder.path(), words);
        assert_ne!(said.code, 0, "{words:?}");
        assert!(said.stderr.contains(expect), "{words:?}: {}", said.stderr);
    };
    check(&["bad.txt", "--nodes", "2x2"], "bad.txt: line 3, ElapsedRaw: \"-60\" is negative");
    fs::create_dir(folder.path().join("empty")).expect("made");
    check(&["empty"], "empty is a folder without a journal.db: name a trace, or the state folder");
    check(&["trace.txt"], "which nodes?");
    check(&["trace.txt", "--nodes", "lots"], "write guides, muri, NxM");
    check(&["none.txt", "--nodes", "2x2"], "none.txt: ");
    check(&["policy.toml", "--nodes", "2x2"], "no trace that Polder knows");
    check(&["trace.txt", "--nodes", "2x2", "--policy", "policy.toml"], "names priority twice");
    let check_flag = |flag: &str, value: &str, expect: &str| {
        check(&["trace.txt", "--nodes", "2x2", flag, value], expect);
    };
    check_flag("--stretch", "-1", "--stretch is -1: give 0.000001 to 1000000");
    check_flag("--stretch", "0", "--stretch is 0: give 0.000001 to 1000000");
    check_flag("--stretch", "1e300", "--stretch is 1e300: give 0.000001 to 1000000");
    check_flag("--stretch", "1e-300", "--stretch is 1e-300: give 0.000001 to 1000000");
    check_flag("--stretch", "nan", "--stretch is NaN: give 0.000001 to 1000000");
    check_flag("--until", "99999d", "is out of range: a length of time lies between 0s and 3660d");
    check_flag("--slowdown", "-1", "--slowdown is -1: give 0 to 100");
    check_flag("--price", "-1", "--price is -1: give 0 to 1000000");
    check_flag("--seed", "-1", "'--seed <N>': write a whole number, 0 or more");
    check_flag("--jobs", "-1", "'--jobs <N>': write a whole number, 0 or more");
    check_flag("--jobs", "0", "--jobs is 0: give 1 or more");
    check_flag("--check", "-1", "write a whole number, 0 or more");
    check_flag("--until", "-1h", "is not a length of time");
    check(&["trace.txt", "--nodes", "-1x8"], "\"-1x8\" is no pool: write guides, muri, NxM");
    check(&["learn", "trace.txt", "--nodes", "2x2", "--rounds", "-1"], "write a whole number");
    for block in ["0s", "1us", "59s"] {
        let words = ["learn", "trace.txt", "--nodes", "2x2", "--block", block];
        check(&words, "give 1m or more");
    }
    // Seen before the run, which would say that the history is too short.
    fs::write(folder.path().join("file"), "").expect("written");
    for words in [&["learn", "trace.txt"][..], &["trace.txt"]] {
        check(&[words, &["--nodes", "2x2", "--out", "file"]].concat(), "choose another folder");
    }
    fs::write(folder.path().join("default.toml"), "").expect("written");
    fs::create_dir(folder.path().join("two")).expect("made");
    fs::write(folder.path().join("two/b"), "").expect("written");
    let two = ["--compare", "default.toml", "default.toml", "--out", "two"];
    check(&[&["trace.txt", "--nodes", "2x2"], &two[..]].concat(), "two/b: ");
    assert!(!folder.path().join("two/a/report.html").exists(), "nothing was run before");
    let said = sim(folder.path(), &["bad.txt", "--nodes", "2x2", "--skip-bad"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stderr.contains("left out 1 row: ElapsedRaw is negative"), "{}", said.stderr);
}

#[test]
fn a_pool_file_says_where_classes_go() {
    let folder = folder();
    let write =
        |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
    let card = "[[node.device]]\nmodel = \"T4\"\nmemory = \"15GiB\"\ncount = 4\n";
    let pool =
        |partition: &str| format!("[[node]]\nname = \"a\"\npartitions = [\"{partition}\"]\n{card}");
    write("train.toml", &pool("train"));
    write("other.toml", &pool("other"));
    write("policy.toml", "[classes.batch]\npartition = \"train\"\n");
    let said = |pool: &str| {
        let words = ["trace.txt", "--nodes", pool, "--policy", "policy.toml", "--output", "json"];
        let said = sim(folder.path(), &words);
        assert_eq!(said.code, 0, "{}", said.stderr);
        said
    };
    let (train, other) = (said("train.toml"), said("other.toml"));
    let summary = |said: &Said| serde_json::from_str::<Value>(&said.stdout).expect("JSON");
    assert_eq!(summary(&train)["states"]["succeeded"], 2, "{}", train.stdout);
    assert_eq!(summary(&other)["states"]["succeeded"], Value::Null, "{}", other.stdout);
    assert!(!train.stderr.contains("no node is in"), "{}", train.stderr);
    let expect = "no node is in partition train, where class batch goes: give it one in a file for \
                  --nodes, with partitions = [\"train\"]";
    assert!(other.stderr.contains(expect), "{}", other.stderr);
    write("bad.toml", "[[node]]\nname = \"a\"\nlabels = [\"rack\"]\n");
    let said = sim(folder.path(), &["trace.txt", "--nodes", "bad.toml"]);
    assert!(
        said.stderr.contains("--nodes: bad.toml: no list of nodes: TOML parse error at line 3")
    );
    assert!(said.stderr.contains("\"rack\" is no label"), "{}", said.stderr);
}
