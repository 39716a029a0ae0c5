//! The size of a real program's lease is changed while it runs.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use common::{Pool, program, soon};
use std::fs;

/// Device time charged to a job so far, microseconds, as its node says.
fn charged(pool: &Pool, job: &str) -> u64 {
    let shown = pool.json(&["show", job]);
    shown["leases"][0]["sample"]["devices"][0]["device_time"].as_u64().unwrap_or(0)
}

/// What two jobs were charged while both together were charged this much.
fn charged_within(pool: &Pool, jobs: [&str; 2], together: u64) -> [u64; 2] {
    let now = || jobs.map(|job| charged(pool, job));
    let before = now();
    soon("device time", || {
        let after = now();
        let more = [after[0] - before[0], after[1] - before[1]];
        (more[0] + more[1] >= together).then_some(more)
    })
}

#[test]
fn the_share_of_a_program_that_runs_moves() {
    let Some(pool) = Pool::start() else { return };
    let until = pool.file("until");
    let start = |name: &str, share: &str| {
        let beats = pool.file(name);
        let script = format!(
            "exec {} --beats {} --until {} --iterations 200000 --in-queue 4",
            program("steady"),
            beats.display(),
            until.display()
        );
        let job = pool.submit(&["--compute", share, "--memory", "64MiB"], &script);
        soon("it begins", || fs::metadata(&beats).ok().filter(|file| file.len() > 0));
        job
    };
    let (small, large) = (start("small", "20%"), start("large", "60%"));
    let jobs = [small.as_str(), large.as_str()];
    let [few, many] = charged_within(&pool, jobs, 6_000_000);
    assert!(many > few + few / 4, "60% beside 20%: {many} and {few} us");
    let refused = pool.say(&["resize", &small, "--compute", "50%"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("40% at most"), "{refused:?}");
    let said = pool.say(&["resize", &large, "--compute", "20%"]);
    assert!(said.stderr.contains("compute 60% to 20%, from now on"), "{said:?}");
    pool.ok(&["resize", &small, "--compute", "60%", "--priority", "3"]);
    // What was charged before its node had heard of it does not count.
    charged_within(&pool, jobs, 2_000_000);
    let [many, few] = charged_within(&pool, jobs, 6_000_000);
    assert!(many > few + few / 4, "60% beside 20%, the other way: {many} and {few} us");
    let shown = pool.ok(&["show", &small]);
    assert!(shown.contains("resized    compute 20% to 60%, priority 0 to 3 at "), "{shown}");
    assert!(pool.ok(&["explain", &small]).contains("size  compute 20% to 60%"));
    assert!(pool.say(&["resize", &small, "--compute", "60%"]).stderr.contains("is so already"));
    fs::write(&until, "").unwrap();
    for job in jobs {
        assert_eq!(pool.say(&["wait", job]).code, 0, "its results are right");
    }
}

#[test]
fn memory_follows_and_so_does_a_restarted_agent() {
    let Some(pool) = Pool::start() else { return };
    let file = |name: &str| pool.file(name).display().to_string();
    // Each round tries to hold as many bytes as a file names.
    let script = format!(
        "for round in 1 2 3 4; do
             until [ -e {ask}$round ]; do sleep 0.05; done
             {workload} --kernel-us 100 --commands 1 --iterations 10 --memory $(cat {ask}$round)
             echo $? > {said}$round.part; mv {said}$round.part {said}$round
         done",
        workload = program("workload"),
        ask = file("ask"),
        said = file("said"),
    );
    let job = pool.submit(&["--compute", "10%", "--memory", "64MiB"], &script);
    pool.wait_state(&job, "running");
    let holds = |round: u32, mebibytes: u64| {
        let ask = file(&format!("ask{round}"));
        fs::write(format!("{ask}.part"), (mebibytes << 20).to_string()).unwrap();
        fs::rename(format!("{ask}.part"), ask).unwrap();
        let said = file(&format!("said{round}"));
        soon("a round", || fs::read_to_string(&said).ok()).trim() == "0"
    };
    // The lease's own pages say what holds now.
    let told = |bytes: u64| {
        soon("its node knows", || {
            let plan = fs::read_dir(pool.path().join("leases")).ok()?.flatten().next()?;
            let text = fs::read_to_string(plan.path().join("plan.json")).ok()?;
            text.contains(&format!("\"memory\":{bytes}")).then_some(())
        });
    };
    assert!(holds(1, 48), "48 of 64 MiB");
    // As long as it holds them they cannot be taken.
    soon("it has freed them, and its node says so", || {
        let shown = pool.json(&["show", &job]);
        (shown["leases"][0]["sample"]["devices"][0]["memory"] == 0).then_some(())
    });
    pool.ok(&["resize", &job, "--memory", "32MiB"]);
    told(32 << 20);
    assert!(!holds(2, 48), "48 of 32 MiB");
    pool.crash();
    pool.restart();
    assert!(!holds(3, 48), "nor under the next agent");
    pool.ok(&["resize", &job, "--memory", "128MiB"]);
    told(128 << 20);
    assert!(holds(4, 100), "100 of 128 MiB");
    assert_eq!(pool.say(&["wait", &job]).code, 0, "{:?}", pool.say(&["logs", "--stderr", &job]));
    let late = pool.say(&["resize", &job, "--memory", "1MiB"]);
    assert!(late.code == 1 && late.stderr.contains("already over"), "{late:?}");
    for (words, says) in [
        (&["--compute", "0%"][..], "0%"),
        (&["--compute", "-5%"], "-5%"),
        (&["--compute", "200%"], "200%"),
        (&["--memory", "-1GiB"], "-1GiB"),
        (&["--compute-max", "some"], "or `none`"),
        (&[], "--compute, --compute-max, --memory, --priority or --class"),
    ] {
        let refused = pool.say(&[&["resize", &job], words].concat());
        assert!(refused.code == 2 && refused.stderr.contains(says), "{words:?}: {refused:?}");
    }
}
