//! Who breaks the rules is found, with a real daemon and real programs on PoCL: whoever uses the
//! vendor's library without a slot is reported or ended, in whichever way it came; whoever only looks
//! so is left alone; and a page of nonsense harms only its own lease.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests; skips must be heard")]

mod common;

use common::{Pool, program, soon};
use polder_model::Event;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A third of the device.
const SHARE: [&str; 4] = ["--compute", "30%", "--memory", "64MiB"];
/// What is promised: from the moment when a rule is broken to the event in the journal.
const FOUND_WITHIN: Duration = Duration::from_secs(2);
/// Looks of the watchman that this takes at most, whatever else the machine does: so many are due within
/// what is promised.
const LOOKS_MAX: usize = 5;
/// Between two looks of an agent that has the time.
const LOOK_PERIOD: Duration = Duration::from_millis(400);
/// Between two tries of how busy the machine is.
const TRY_PERIOD: Duration = Duration::from_millis(20);
/// Steps of the way from a look to the journal, each of which waits as long as a try may have to: the
/// look itself, the agent's loop, its call, the server's answer to it, the journal, and back.
const STEPS: u32 = 6;
/// Long enough for several looks.
const LOOKS: Duration = Duration::from_secs(3);

/// One test at a time: each fills the device.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A pool whose log says when each look began.
fn pool(enforcement: &str) -> Option<Pool> {
    let looks = ("POLDER_LOG", "warn,polder_agent::watchman=trace");
    Pool::start_in(&["--no-listen", "--enforcement", enforcement], &[looks])
}

/// The vendor's library, as its ICD file names it.
fn library() -> String {
    let files = fs::read_dir("/etc/OpenCL/vendors").unwrap().flatten();
    let mut names = files.filter_map(|file| fs::read_to_string(file.path()).ok());
    names.next().expect("there is a device, so there is an ICD").trim().to_owned()
}

/// A folder of the test's own that names the vendor's ICD: Polder hides the system's.
fn vendors(pool: &Pool) -> PathBuf {
    let folder = pool.file("vendors");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("vendor.icd"), library()).unwrap();
    folder
}

/// What was found of a job's leases.
fn findings(pool: &Pool, job: &str) -> Vec<Value> {
    let shown = pool.json(&["show", job]);
    let leases = shown["leases"].as_array().unwrap().iter();
    let of = |view: &Value| view["lease"]["findings"].as_array().cloned().unwrap_or_default();
    leases.flat_map(of).collect()
}

/// How busy the machine is: what another process would wait for a moment of a processor and the disk.
struct Tries {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Tries {
    fn begin(pool: &Pool) -> Self {
        let (over, path) = (Arc::new(AtomicBool::new(false)), pool.file("tries"));
        let until = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !until.load(Ordering::Relaxed) {
                let begun = Instant::now();
                std::thread::sleep(TRY_PERIOD);
                let mut file = fs::File::create(&path).unwrap();
                std::io::Write::write_all(&mut file, b"try").unwrap();
                file.sync_all().unwrap();
                longest = longest.max(begun.elapsed() - TRY_PERIOD);
            }
            longest
        });
        Self { over, thread }
    }

    /// The longest that one took.
    fn end(self) -> Duration {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Waits until a rule is found broken in a job that says itself since when it breaks it, and holds the
/// node to what is promised.
fn found(pool: &Pool, job: &str, rule: &str) -> Value {
    found_since(pool, job, rule, |pid| {
        let log = pool.say(&["logs", job]).stdout;
        since(&log, pid)
    })
}

/// Since when a process breaks the rules by its own word, microseconds since 1970; the one process that
/// says so when none is named.
fn since(log: &str, pid: u64) -> Option<u64> {
    let mut said = log.lines().filter_map(|line| {
        let (who, at) = line.strip_prefix("ready ")?.split_once(' ')?;
        Some((who.parse::<u64>().ok()?, at.parse::<u64>().ok()?))
    });
    said.find(|(who, _)| pid == 0 || *who == pid).map(|(_, at)| at)
}

/// The same with another word on that than the job's log.
///
/// Looks are counted, so that a busy machine cannot make it fail and a slow watchman does: they are
/// what the agent is held to. The time is held to the promise too, plus what looks came late and
/// what the machine made everybody wait.
fn found_since(pool: &Pool, job: &str, rule: &str, since: impl Fn(u64) -> Option<u64>) -> Value {
    let tries = Tries::begin(pool);
    let one = soon(&format!("{rule} in job {job}"), || {
        findings(pool, job).into_iter().find(|one| one["rule"] == rule)
    });
    let busy = tries.end();
    let pid = one["pid"].as_u64().unwrap_or(0);
    let begun = soon("who breaks a rule says since when", || since(pid));
    let told = journaled(pool, job, rule);
    let all = looks(pool);
    let within: Vec<usize> =
        (0..all.len()).filter(|at| all[*at] > begun && all[*at] <= told).collect();
    let late = within.iter().filter_map(|at| Some(all[*at] - all[at.checked_sub(1)?]));
    let late = late.map(|gap| Duration::from_micros(gap).saturating_sub(LOOK_PERIOD));
    let late: Duration = late.sum();
    let took = Duration::from_micros(told.saturating_sub(begun));
    let evidence = format!(
        "job {job}: {rule} in the journal after {} ms and {} looks, which came {} ms late; a try took \
         {} ms at most: {}",
        took.as_millis(),
        within.len(),
        late.as_millis(),
        busy.as_millis(),
        one["evidence"]
    );
    eprintln!("{evidence}");
    assert!(within.len() <= LOOKS_MAX, "{evidence}");
    assert!(took < FOUND_WITHIN + late + busy * STEPS, "{evidence}");
    one
}

/// When the journal says that a rule was found broken in a job, microseconds since 1970.
fn journaled(pool: &Pool, job: &str, rule: &str) -> u64 {
    let shown = pool.json(&["show", job]);
    let lease = shown["leases"][0]["lease"]["id"].as_u64().unwrap();
    let copy = pool.file(&format!("journal-{job}-{rule}"));
    pool.ok(&["admin", "backup", copy.to_str().unwrap()]);
    let mut told = None;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let read = runtime.block_on(polder_server::read_journal(&copy, |envelope| {
        if let Event::LeaseFound { lease: found, finding } = &envelope.event
            && (found.0, serde_json::to_value(finding.rule).unwrap()) == (lease, Value::from(rule))
        {
            told = told.or(Some(envelope.at.0));
        }
    }));
    assert!(read.unwrap(), "a backup holds the journal");
    told.expect("what is shown is in the journal")
}

/// When each look began, microseconds since 1970.
fn looks(pool: &Pool) -> Vec<u64> {
    let log = pool.log();
    let begins = log.lines().filter(|line| line.contains("a look begins"));
    let at = |line: &str| line.rsplit_once("at=")?.1.trim().parse().ok();
    begins.map(|line| at(line).unwrap_or_else(|| panic!("no time in {line:?}"))).collect()
}

/// Waits until a job says that it is ready, and returns the process id it names.
fn ready(pool: &Pool, job: &str) -> u32 {
    soon(&format!("job {job} is ready"), || {
        let log = pool.say(&["logs", job]).stdout;
        log.lines().find_map(|line| line.strip_prefix("ready ")?.split(' ').next()?.parse().ok())
    })
}

fn alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Waits for what must not happen.
fn for_some_looks() {
    std::thread::sleep(LOOKS);
}

/// The way around whose program does not say when it begins.
const CLEARED: &str = "a cleared environment";

/// Programs that a lease may start, each with a script that ends with the exit code of what used the
/// device without a slot; and a folder that they need.
fn ways_around(pool: &Pool) -> (Vec<(&'static str, String)>, Option<tempfile::TempDir>) {
    let (rogue, library) = (program("rogue"), library());
    let vendors = vendors(pool);
    let beats = pool.file("around.beats");
    // The path is for the linker of PoCL's compiler.
    let cleared = format!(
        "env -i PATH=/usr/bin:/bin OCL_ICD_VENDORS={} {} --beats {} --iterations 2000000 --commands 100000",
        vendors.display(),
        program("steady"),
        beats.display(),
    );
    let mut ways = vec![
        (CLEARED, cleared),
        ("a loader of its own", format!("{rogue} hold {library}")),
        ("a slot that is given up", format!("{rogue} quit")),
    ];
    let place = other_place(&rogue);
    if let Some((_, path)) = &place {
        let other =
            format!("setpriv --reuid=65534 --clear-groups {} hold {library}", path.display());
        ways.push(("another user", other));
    }
    if let Some(path) = static_loader(pool) {
        ways.push(("a static loader", path.display().to_string()));
    }
    (ways, place.map(|(folder, _)| folder))
}

/// A copy of a program where every user finds it; `None` when this may not become another user.
fn other_place(rogue: &str) -> Option<(tempfile::TempDir, PathBuf)> {
    let tried = Command::new("setpriv").args(["--reuid=65534", "--clear-groups", "true"]).output();
    if !tried.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: another user's process: this needs root and setpriv");
        return None;
    }
    let folder = tempfile::Builder::new().prefix("rogue").tempdir_in("/tmp").unwrap();
    let path = folder.path().join("rogue");
    fs::copy(rogue, &path).unwrap();
    for path in [folder.path(), &path] {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    Some((folder, path))
}

/// When the program with a cleared environment had its queue, microseconds since 1970; now, if it was
/// ended before.
fn first_beat(pool: &Pool) -> u64 {
    let file = fs::metadata(pool.file("around.beats"));
    let begun = file.and_then(|file| file.created().or_else(|_| file.modified()));
    let since = begun.unwrap_or_else(|_| SystemTime::now()).duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_micros()).unwrap()
}

/// A program that is linked statically and maps the vendor's code with a loader of its own, as cheap
/// as one can be.
fn static_loader(pool: &Pool) -> Option<PathBuf> {
    let (source, program) = (pool.file("static.c"), pool.file("static"));
    let place = Command::new("cc").arg(format!("-print-file-name={}", library())).output();
    let place = place.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned());
    let text = format!(
        "#define _GNU_SOURCE\n#include <fcntl.h>\n#include <stdio.h>\n#include <sys/mman.h>\n\
         #include <sys/time.h>\n#include <unistd.h>\n\
         int main(void) {{ int f = open(\"{}\", O_RDONLY);\n\
         char *code = mmap(0, 1 << 20, PROT_READ | PROT_EXEC, MAP_PRIVATE, f, 0);\n\
         if (code == MAP_FAILED || code[1] != 'E') return 3;\n\
         struct timeval now; gettimeofday(&now, 0);\n\
         dprintf(1, \"ready %d %lld\\n\", getpid(), now.tv_sec * 1000000LL + now.tv_usec);\n\
         sleep(120); return 0; }}\n",
        place.unwrap_or_default()
    );
    fs::write(&source, text).unwrap();
    let built = Command::new("cc").arg("-static").arg("-o").arg(&program).arg(&source).output();
    let works = built.is_ok_and(|output| output.status.success());
    if !works {
        eprintln!("SKIPPED: a static loader: cc -static does not work here");
    }
    works.then_some(program)
}

#[test]
fn strict_ends_whoever_uses_the_device_without_a_slot_and_nobody_else() {
    let _alone = alone();
    let Some(pool) = pool("strict") else { return };
    let shown = pool.json(&["nodes"]);
    assert_eq!(shown["nodes"][0]["facts"]["enforcement"], "strict");
    let (ways, _folder) = ways_around(&pool);
    for (way, command) in ways {
        // Beside it, in the same lease, a program that keeps to the rules.
        let script = format!(
            "{} fork & honest=$!; {command}; code=$?; sleep 1; kill $honest || exit 77; exit $code",
            program("rogue")
        );
        let job = pool.submit(&SHARE, &script);
        pool.wait_state(&job, "running");
        let one = if way == CLEARED {
            found_since(&pool, &job, "no_slot", |_| Some(first_beat(&pool)))
        } else {
            found(&pool, &job, "no_slot")
        };
        assert_eq!(one["ended"], true, "{way}: {one}");
        let evidence = one["evidence"].as_str().unwrap().to_owned();
        assert!(evidence.contains("libpocl") || evidence.contains(".so"), "{way}: {evidence}");
        let said = pool.say(&["wait", &job, "--timeout", "60s"]);
        assert_eq!(
            said.code,
            128 + 9,
            "{way}: {said:?} {}",
            pool.say(&["logs", "--stderr", &job]).stdout
        );
        let all = findings(&pool, &job);
        assert_eq!(all.len(), 1, "{way}: only who broke the rule: {all:?}");
        let why = "used a device without a slot";
        assert!(said.stderr.contains(why), "{way}: {said:?}");
        for asked in ["show", "explain"] {
            let text = pool.ok(&[asked, &job]);
            assert!(text.contains(why), "{asked}: {text}");
        }
    }
    let script = format!("{} hold {}; exit $?", program("rogue"), library());
    let ran = pool.say(&[&["run"], &SHARE[..], &["--", "sh", "-c", &script]].concat());
    assert_eq!(ran.code, 128 + 9, "{ran:?}");
    assert!(ran.stderr.contains("used a device without a slot"), "{ran:?}");
}

#[test]
fn whoever_enters_a_lease_from_outside_is_found() {
    let _alone = alone();
    if !common::may_mount() {
        return;
    }
    let Some(pool) = pool("strict") else { return };
    let job = pool.submit(&SHARE, &format!("exec {} fork", program("rogue")));
    let inside = ready(&pool, &job);
    let mut entered = Command::new("nsenter")
        .args(["--mount", "--target", &inside.to_string(), "--"])
        .args([&program("rogue"), "hold", &library()])
        .stdout(fs::File::create(pool.file("entered")).unwrap())
        .spawn()
        .unwrap();
    let log = || fs::read_to_string(pool.file("entered")).unwrap_or_default();
    let one = found_since(&pool, &job, "no_slot", |pid| since(&log(), pid));
    assert_eq!((&one["ended"], &one["pid"]), (&Value::from(true), &Value::from(entered.id())));
    let ended = common::ended(&mut entered);
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(9));
    assert!(alive(inside), "who was in the lease by right goes on");
    pool.ok(&["cancel", &job]);
}

#[test]
fn permissive_tells_and_ends_nobody_and_off_does_not_look() {
    let _alone = alone();
    let Some(pool) = pool("permissive") else { return };
    let hold = format!("exec {} hold {}", program("rogue"), library());
    let job = pool.submit(&SHARE, &hold);
    let pid = ready(&pool, &job);
    let one = found(&pool, &job, "no_slot");
    assert_eq!((&one["ended"], &one["pid"]), (&Value::from(false), &Value::from(pid)));
    for_some_looks();
    assert!(alive(pid));
    assert_eq!(findings(&pool, &job).len(), 1, "it is told once");
    // A lease without devices must not have one either.
    let without = pool.submit(&["--devices", "0"], &hold);
    ready(&pool, &without);
    found(&pool, &without, "no_slot");
    // What was found is in the journal, and the setting is the next daemon's to make.
    pool.terminate();
    pool.wait_down();
    pool.restart_with(&["--no-listen", "--enforcement", "off"]);
    assert_eq!(findings(&pool, &job).len(), 1);
    soon("the node's new setting", || {
        (pool.json(&["nodes"])["nodes"][0]["facts"]["enforcement"] == "off").then_some(())
    });
    let other = pool.submit(&SHARE, &hold);
    ready(&pool, &other);
    for_some_looks();
    assert_eq!(findings(&pool, &other), Vec::<Value>::new());
    for job in [&job, &without, &other] {
        pool.ok(&["cancel", job]);
    }
}

#[test]
fn programs_that_attach_fork_and_end_are_never_blamed() {
    let _alone = alone();
    let Some(pool) = pool("strict") else { return };
    let rogue = program("rogue");
    let storm = format!("{rogue} storm 30 & a=$!; {rogue} storm 30 || exit 3; wait $a");
    let jobs = [
        pool.submit(&SHARE, &storm),
        // Forks of a program that has a slot, and scripts that run nothing.
        pool.submit(&SHARE, &format!("timeout 6 {rogue} fork; [ $? = 124 ]")),
        pool.submit(&SHARE, "for i in $(seq 200); do (sleep 0.02 & wait); done"),
    ];
    for job in &jobs {
        let said = pool.say(&["wait", job, "--timeout", "120s"]);
        assert_eq!(said.code, 0, "job {job}: {said:?}");
        assert_eq!(findings(&pool, job), Vec::<Value>::new(), "job {job}");
    }
}

#[test]
fn each_lie_in_a_page_is_reported_and_ends_nobody() {
    let _alone = alone();
    let Some(pool) = pool("strict") else { return };
    let lies = [
        ("header", "page_header"),
        ("pid", "page_slots"),
        ("waiting", "page_counts"),
        ("inflight", "page_counts"),
        ("stuck", "page_stuck"),
        ("completed", "page_completed"),
        ("longest", "page_longest"),
        ("turns", "out_of_turn"),
        ("held", "page_memory"),
    ];
    for (field, rule) in lies {
        let job = pool.submit(&SHARE, &format!("exec {} lie {field}", program("rogue")));
        let pid = ready(&pool, &job);
        let one = found(&pool, &job, rule);
        assert_eq!(one["ended"], false, "{field}: {one}");
        assert!(alive(pid), "{field}: a lie harms its own lease already");
        pool.ok(&["cancel", &job]);
    }
}

/// What a lease of [`SHARE`] that has lived for at most a few minutes is said to have used can be.
fn can_be(sample: &Value) {
    let (memory, lived) = (64 << 20, 300 * 1_000_000);
    let below = |value: &Value, most: u64| {
        assert!(value.as_u64().is_none_or(|number| number <= most), "{value} of {most}: {sample}");
    };
    below(&sample["launches"], 100 * lived);
    for used in sample["devices"].as_array().into_iter().flatten() {
        below(&used["memory"], memory);
        below(&used["memory_peak"], memory);
        below(&used["backing"], 0);
        below(&used["refused"], 100 * lived);
        below(&used["device_time"], lived);
        below(&used["contended_time"], lived);
    }
}

#[test]
fn noise_all_over_a_page_harms_nobody_else() {
    let _alone = alone();
    let Some(pool) = pool("strict") else { return };
    let beats = pool.file("honest.beats");
    let until = pool.file("honest.until");
    let honest = pool.submit(
        &SHARE,
        &format!(
            "exec {} --beats {} --until {} --iterations 200000",
            program("steady"),
            beats.display(),
            until.display()
        ),
    );
    let count = |path: &Path| fs::read_to_string(path).unwrap_or_default().lines().count();
    soon("its honest neighbour works", || (count(&beats) > 20).then_some(()));
    let noise = pool.submit(&SHARE, &format!("exec {} scribble 4", program("rogue")));
    ready(&pool, &noise);
    for _ in 0..6 {
        let before = count(&beats);
        soon("its honest neighbour goes on", || (count(&beats) > before + 5).then_some(()));
        can_be(&pool.json(&["show", &noise])["leases"][0]["sample"]);
    }
    let said = pool.say(&["wait", &noise, "--timeout", "60s"]);
    assert_eq!(said.code, 0, "{said:?}");
    let ended = &pool.json(&["show", &noise])["leases"][0]["ending"]["end"]["sample"];
    assert!(ended["devices"].is_array(), "{ended}");
    can_be(ended);
    assert!(!findings(&pool, &noise).is_empty(), "noise contradicts the kernel");
    // It checks its own results.
    fs::write(&until, "").unwrap();
    let said = pool.say(&["wait", &honest, "--timeout", "60s"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(findings(&pool, &honest), Vec::<Value>::new());
    // The daemon is as it was.
    let job = pool.submit(&SHARE, &format!("{} storm 2", program("rogue")));
    assert_eq!(pool.say(&["wait", &job, "--timeout", "60s"]).code, 0);
}
