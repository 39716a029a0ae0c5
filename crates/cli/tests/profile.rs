//! `polder profile` with real programs on PoCL: what bounds each is found, what is told agrees with
//! what the programs' own events say, and what is written opens elsewhere.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests; skips must be heard")]

mod common;

use common::{Pool, has_namespaces, program, read_until, soon};
use polder_profile::record::{LogHeader, READ_RECORDS_MAX, RECORD_BYTES, RECORDS_MAX};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Trace times are microseconds to the nanosecond; a float may be off by less than one.
const ROUNDING_US: f64 = 0.001;

/// Profiles `bounds`: what it says itself, and the folder.
fn profiled(pool: &Pool, words: &[&str]) -> (Value, PathBuf) {
    let folder = pool.file(&format!("out-{}", words.join("-")));
    let (bounds, out) = (program("bounds"), folder.display().to_string());
    let flags = ["profile", "--memory", "256MiB", "--devices", "1", "--out", &out, "--", &bounds];
    let said = pool.say(&[&flags[..], words].concat());
    assert_eq!(said.code, 0, "{said:?}\n{}", pool.log());
    assert!(said.stderr.contains("WHERE THE TIME GOES"), "{}", said.stderr);
    assert!(said.stderr.contains(" run --devices 1 --compute "), "{}", said.stderr);
    assert!(!folder.join("records").exists(), "records are forgotten");
    let own = said.stdout.lines().last().unwrap();
    (serde_json::from_str(own).expect("standard output is the program's own"), folder)
}

fn read(folder: &Path, name: &str) -> Value {
    serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap()
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("{name} in {value}"))
}

/// The sum of a kind in the summary, and in the trace.
fn sums(folder: &Path, kinds: &[&str]) -> (u64, f64, u64) {
    let (summary, trace) = (read(folder, "profile.json"), read(folder, "trace.json"));
    let names = summary["names"].as_array().unwrap().iter();
    let told = names.filter(|named| kinds.contains(&named["kind"].as_str().unwrap()));
    let told = told.map(|named| number(named, "total_ns")).sum();
    let events = trace["traceEvents"].as_array().unwrap().iter();
    let shown =
        events.filter(|event| event["cat"].as_str().is_some_and(|cat| kinds.contains(&cat)));
    let lengths: Vec<f64> = shown.map(|event| event["dur"].as_f64().unwrap()).collect();
    (told, lengths.iter().sum(), lengths.len() as u64)
}

#[track_caller]
fn agrees(folder: &Path, kinds: &[&str], count: u64, ns: u64) {
    let (told, shown_us, shown) = sums(folder, kinds);
    assert_eq!(told, ns, "the summary tells what the events say");
    assert_eq!(shown, count);
    let off = (shown_us - ns as f64 / 1000.0).abs();
    // An event may be cut where the run ends, by what lies between the clocks' bounds.
    assert!(off <= ROUNDING_US * (count + 1) as f64, "the trace is off by {off} us");
}

#[track_caller]
fn bound(folder: &Path, expect: &[&str]) -> Value {
    let summary = read(folder, "profile.json");
    let found = summary["verdict"]["bound"].as_str().unwrap();
    assert!(expect.contains(&found), "{found}: {summary:#}");
    let parts = summary["parts"].as_object().unwrap();
    let sum: u64 = parts.values().map(|part| part.as_u64().unwrap()).sum();
    assert_eq!(sum, number(&summary, "length_ns"), "every moment is in one part");
    summary
}

#[test]
fn what_bounds_a_program_is_found() {
    let Some(pool) = Pool::shared() else { return };
    let (own, folder) = profiled(&pool, &["device", "40"]);
    agrees(&folder, &["kernel"], 40, number(&own, "kernel_ns"));
    let summary = bound(&folder, &["device"]);
    assert!(number(&summary["advice"], "compute_thousandths") >= 500, "{summary:#}");
    assert!(number(&summary, "memory_peak_bytes") >= 64 << 20);

    let (own, folder) = profiled(&pool, &["transfer", "10"]);
    agrees(&folder, &["to_device", "to_host"], 20, number(&own, "copy_ns"));
    let summary = bound(&folder, &["transfer"]);
    let moved: u64 =
        ["to_device", "to_host"].map(|way| number(&summary["moved"][way], "bytes")).iter().sum();
    assert_eq!(moved, number(&own, "bytes"));

    let (own, folder) = profiled(&pool, &["memory", "20"]);
    agrees(&folder, &["within"], 20, number(&own, "copy_ns"));
    bound(&folder, &["memory"]);

    let (own, folder) = profiled(&pool, &["cpu", "60"]);
    // Where the machine is busy the thread may wait for a CPU for longer than it has one.
    let summary = bound(&folder, &["cpu", "elsewhere"]);
    let (cpu, burned) = (number(&summary["parts"], "cpu"), number(&own, "burned_ns"));
    assert!(cpu > burned * 8 / 10 && cpu < burned * 13 / 10, "{cpu} of {burned}");
    assert!(number(&summary["advice"], "compute_thousandths") < 500, "{summary:#}");

    let (_, folder) = profiled(&pool, &["sleep", "60"]);
    bound(&folder, &["elsewhere"]);
}

#[test]
fn all_processes_of_a_program_are_in_one_profile() {
    let Some(pool) = Pool::shared() else { return };
    let (_, folder) = profiled(&pool, &["fork", "5"]);
    let summary = read(&folder, "profile.json");
    let processes = summary["processes"].as_array().unwrap();
    assert_eq!(processes.len(), 2, "{summary:#}");
    assert_eq!(number(&summary, "commands"), 10);
    let trace = read(&folder, "trace.json");
    let named = trace["traceEvents"].as_array().unwrap().iter();
    let named = named.filter(|event| event["name"] == "process_name" && event["ph"] == "M");
    assert_eq!(named.count(), 3, "two processes and a device");
}

/// Whoever clears the environment is recorded as the lease's mount leads to the folder; who only takes the
/// variable away is not.
#[test]
fn a_program_whose_environment_was_cleared_is_in_the_profile() {
    let Some(pool) = Pool::shared().filter(|pool| has_namespaces(pool)) else { return };
    let (bounds, folder) = (program("bounds"), pool.file("out-cleared"));
    let script = format!(
        "env -i PATH=/usr/bin:/bin {bounds} device 5; env -u POLDER_PROFILE {bounds} device 7"
    );
    let out = folder.display().to_string();
    let flags = ["profile", "--memory", "256MiB", "--out", &out, "--", "sh", "-c", &script];
    let said = pool.say(&flags);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(number(&read(&folder, "profile.json"), "commands"), 5);
}

#[test]
fn the_page_opens_in_a_browser() {
    let Some(pool) = Pool::shared() else { return };
    let (_, folder) = profiled(&pool, &["device", "5"]);
    let browser = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| {
        Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success())
    });
    let Some(browser) = browser else {
        eprintln!("SKIPPED: no browser here; on Debian: apt install chromium");
        return;
    };
    let page = format!("file://{}", folder.join("report.html").display());
    let profile = format!("--user-data-dir={}", pool.file("browser").display());
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", &profile, &page]);
    let output = command.output().unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    assert!(dom.contains("bound by the device") && dom.contains("grind"), "{output:?}");
    assert!(dom.contains("</main>") && dom.matches("<rect").count() > 100, "it is whole");
}

#[test]
fn the_exit_code_is_the_commands_and_a_program_without_a_device_is_told_so() {
    let Some(pool) = Pool::shared() else { return };
    let out = pool.file("nothing").display().to_string();
    let said = pool.say(&["profile", "--out", &out, "--", "sh", "-c", "echo mine; exit 7"]);
    assert_eq!((said.code, said.stdout.as_str()), (7, "mine\n"), "{said:?}");
    assert!(said.stderr.contains("it used no device of its lease: no command"), "{}", said.stderr);
    let said = pool.say(&["profile", "--output", "json", "--out", &out, "--", "true"]);
    let summary: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(summary["verdict"]["bound"], "no_device");
    // Who runs within a profiled program, or beside it, is not profiled.
    let script = "test -z \"$POLDER_PROFILE\"";
    let mut run = pool.run(&[], script);
    assert!(run.env("POLDER_PROFILE", &out).status().unwrap().success());
}

#[test]
fn what_cannot_be_profiled_says_why() {
    let Some(pool) = Pool::shared() else { return };
    let out = pool.file("refused").display().to_string();
    let refused = |flags: &[&str], why: &str| {
        let said = pool.say(&[&["profile", "--out", &out][..], flags, &["--", "true"]].concat());
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.stderr.contains(why), "{}", said.stderr);
        assert!(!Path::new(&out).exists(), "nothing is left behind");
    };
    refused(&["--whole"], "ask for --compute 100%");
    refused(&["--devices", "0"], "nothing to profile");
    refused(&["--mechanism", "spatial"], "leave out --mechanism spatial");
    refused(&["--mechanism", "whole"], "instead of --whole or --mechanism whole");
    refused(&["--isolation", "hardware"], "leave out --mechanism mig and --isolation");
    refused(&["--image", "debian"], "leave out --image");
    let own = pool.file("own");
    fs::create_dir(&own).unwrap();
    fs::write(own.join("thesis.tex"), "mine").unwrap();
    let said = pool.say(&["profile", "--out", &own.display().to_string(), "--", "true"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.stderr.contains("holds thesis.tex"), "{}", said.stderr);
    assert_eq!(fs::read_to_string(own.join("thesis.tex")).unwrap(), "mine");
}

#[test]
fn what_a_command_leaves_in_the_place_of_records_and_pages_is_neither_waited_for_nor_followed() {
    let Some(pool) = Pool::shared() else { return };
    let (out, other) = (pool.file("planted"), pool.file("precious"));
    fs::write(&other, "precious").unwrap();
    let script = format!(
        "cd \"$POLDER_PROFILE\" && mkfifo 1.rec && mkdir 2.rec && ln -s {other} 3.rec && ln -s {other} ../report.html",
        other = other.display()
    );
    let said =
        pool.say(&["profile", "--out", &out.display().to_string(), "--", "sh", "-c", &script]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
    assert!(fs::read_to_string(out.join("report.html")).unwrap().contains("</main>"));
}

/// Writes a file of records whose places are all taken and empty, and returns the script that copies it.
fn flood(pool: &Pool, files: u32) -> String {
    let comm = *b"flood\0\0\0\0\0\0\0\0\0\0\0";
    let header = LogHeader { pid: 7, comm, begun_ns: 1, dropped: 0, dropped_ns: 0, taken: 0 };
    let path = pool.file("flood.rec");
    fs::write(&path, header.encode()).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len((RECORDS_MAX + 1) * RECORD_BYTES as u64).unwrap();
    format!(
        "for i in $(seq {files}); do cp --sparse=always {} \"$POLDER_PROFILE\"/$i.rec; done; echo written",
        path.display()
    )
}

#[test]
fn of_too_many_records_the_first_of_each_process_are_read_and_that_is_told() {
    let Some(pool) = Pool::start() else { return };
    let (out, script) = (pool.file("flooded"), flood(&pool, 5));
    let shown = out.display().to_string();
    let said = pool.say(&["profile", "--out", &shown, "--", "sh", "-c", &script]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stderr.contains("5 processes wrote more records than are read"), "{said:?}");
    let summary = read(&out, "profile.json");
    assert_eq!(number(&summary["left_out"], "processes_cut"), 5);
    assert_eq!(number(&summary, "unfinished"), READ_RECORDS_MAX / 5 * 5);
}

#[test]
fn who_interrupts_the_making_of_a_profile_has_it_end_and_keeps_the_earlier_one() {
    let Some(pool) = Pool::start() else { return };
    let (out, script) = (pool.file("interrupted"), flood(&pool, 4));
    let shown = out.display().to_string();
    assert_eq!(pool.say(&["profile", "--out", &shown, "--", "true"]).code, 0);
    let before = fs::read(out.join("report.html")).unwrap();
    let mut profile = pool.polder(["profile", "--out", &shown, "--", "sh", "-c", &script]);
    let mut profile = profile.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    read_until(profile.stdout.as_mut().unwrap(), "written\n");
    // While the command ends it is the command's, and afterwards the profile's.
    let pid = Pid::from_child(&profile);
    let status = soon("the profile's end", || {
        kill_process(pid, Signal::INT).unwrap();
        profile.try_wait().unwrap()
    });
    let mut said = String::new();
    profile.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("the profile was interrupted"), "{said}");
    assert_eq!(status.code(), Some(130), "{said}");
    assert_eq!(fs::read(out.join("report.html")).unwrap(), before);
    assert!(!out.join("records").exists());
}

#[test]
fn an_earlier_profile_stays_when_the_command_never_begins() {
    let Some(pool) = Pool::shared() else { return };
    let out = pool.file("earlier");
    let shown = out.display().to_string();
    let profile = |words: &[&str]| pool.say(&[&["profile", "--out", &shown][..], words].concat());
    assert_eq!(profile(&["--", "true"]).code, 0);
    let before = fs::read(out.join("profile.json")).unwrap();
    let absent = profile(&["--", "/no/such/program"]);
    assert_eq!(absent.code, 127, "{absent:?}");
    assert!(!absent.stderr.contains("used no device"), "{}", absent.stderr);
    assert_eq!(profile(&["--memory", "900TiB", "--", "true"]).code, 2);
    assert_eq!(fs::read(out.join("profile.json")).unwrap(), before);
    assert!(!out.join("records").exists());
}

#[test]
fn two_profiles_at_once_do_not_share_a_folder() {
    let Some(pool) = Pool::shared() else { return };
    let (shown, state) =
        (pool.file("both").display().to_string(), pool.path().display().to_string());
    // The second is asked for by the first's own command, which then surely runs.
    let polder = env!("CARGO_BIN_EXE_polder");
    let inner = [polder, "--state", &state, "profile", "--out", &shown, "--", "true"];
    let said = pool.say(&[&["profile", "--out", &shown, "--"][..], &inner].concat());
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.stderr.contains("whose command still runs"), "{}", said.stderr);
}
