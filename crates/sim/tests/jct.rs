//! Completion times: what the reader refuses, what the published model does, and that it gives the
//! published numbers.

#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test: it says when it is skipped, and may panic"
)]

use polder_sim::jct::baseline::{Shortest, Tiresias};
use polder_sim::jct::polder::Polder;
use polder_sim::jct::published::{self, Nodes};
use polder_sim::jct::replay::{self, Group, Live, Rule, RuleError};
use polder_sim::jct::trace::{self, Job, RowFault, Seen, TraceError, WholeFault};
use polder_sim::traces;
use proptest::prelude::*;
use std::path::Path;

const HEADER: &str = "job_id,num_gpu,submit_time,iterations,model_name,batch_size,duration,\
                      interval,iteration_time,resource_time_0,resource_time_1,resource_time_2,\
                      priority\n";
const GOOD: &str = "7,8,1000,50,bert,4,0,0,200,1,160,30,1\n";

fn parse(rows: &str) -> Result<Vec<Job>, TraceError> {
    trace::parse("test", format!("{HEADER}{rows}").as_bytes())
}

fn fault(rows: &str) -> (u64, RowFault) {
    match parse(rows) {
        Err(TraceError::Row { line, fault, .. }) => (line, fault),
        other => panic!("{rows}: {other:?}"),
    }
}

/// A job of so many seconds alone, of a model whose start takes 10 s on any devices.
fn job(id: u64, submitted: f64, devices: u32, seconds: f64) -> Job {
    let iteration = 1.0 / published::STRETCH;
    let stages = [0.5, 0.3, 0.2];
    let seen = Seen { id, submitted, devices, model: "bert".into(), batch: 4, stages, iteration };
    Job { seen, iterations: seconds }
}

fn is_near(value: f64, other: f64) -> bool {
    (value / other - 1.0).abs() < 1e-6
}

fn small() -> Vec<Job> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/muri_small.csv");
    trace::read(&path).unwrap()
}

#[test]
fn a_good_row_is_read() {
    let jobs = parse(GOOD).unwrap();
    let seen = &jobs[0].seen;
    assert_eq!((seen.id, seen.devices, seen.batch, seen.model.as_str()), (7, 8, 4, "bert"));
    assert_eq!((seen.submitted, seen.iteration, jobs[0].iterations), (1.0, 0.2, 50.0));
    assert_eq!(seen.stages, [0.001, 0.16, 0.03]);
}

#[test]
fn bad_rows_are_named() {
    let range = |row: &str, name: &str| match fault(&format!("{GOOD}{row}\n")) {
        (3, RowFault::Range { column, .. }) => assert_eq!(column, name, "{row}"),
        other => panic!("{row}: {other:?}"),
    };
    range("8,0,1000,50,bert,4,0,0,200,1,160,30,1", "num_gpu");
    range("8,65,1000,50,bert,4,0,0,200,1,160,30,1", "num_gpu");
    range("8,8,-1,50,bert,4,0,0,200,1,160,30,1", "submit_time");
    range("8,8,1e300,50,bert,4,0,0,200,1,160,30,1", "submit_time");
    range("8,8,1000,0,bert,4,0,0,200,1,160,30,1", "iterations");
    range("8,8,1000,NaN,bert,4,0,0,200,1,160,30,1", "iterations");
    range("8,8,1000,1e18,bert,4,0,0,200,1,160,30,1", "iterations");
    range("8,8,1000,50,bert,4,0,0,-200,1,160,30,1", "iteration_time");
    range("8,8,1000,50,bert,4,0,0,200,1,160,-30,1", "resource_time_2");
    assert_eq!(fault(&format!("{GOOD}{GOOD}")), (3, RowFault::Twice(7)));
    let early = "8,8,999,50,bert,4,0,0,200,1,160,30,1\n";
    let sorted: Vec<u64> =
        parse(&format!("{GOOD}{early}")).unwrap().iter().map(|job| job.seen.id).collect();
    assert_eq!(sorted, [8, 7]);
    assert_eq!(fault("8,8,999,50, ,4,0,0,200,1,160,30,1\n"), (2, RowFault::Nameless(8)));
}

#[test]
fn bad_files_are_named() {
    assert!(matches!(parse(""), Err(TraceError::Whole { fault: WholeFault::Empty, .. })));
    assert_eq!(fault("8,8,1000\n"), (2, RowFault::Columns { has: 3, expected: 13 }));
    let wide = format!("{GOOD}\n8,8,1000,50,bert,4,0,0,200,1,160,30,1,9\n");
    assert_eq!(fault(&wide), (4, RowFault::Columns { has: 14, expected: 13 }));
    let (line, unread) = fault("8,-8,1,5,bert,4,0,0,2,1,1,3,1\n");
    assert!(line == 2 && unread.to_string().contains("invalid digit"), "{unread}");
    let error = trace::parse("test", "job_id,iteration_time\n".as_bytes()).unwrap_err().to_string();
    assert!(error.contains("no column num_gpu"), "{error}");
    let missing = trace::read(Path::new("/nowhere/trace.csv")).unwrap_err().to_string();
    assert!(missing.starts_with("/nowhere/trace.csv: "), "{missing}");
}

#[test]
fn gangs_are_kept_together() {
    let mut nodes = Nodes::free();
    assert!((0..8).all(|_| nodes.take(5)), "one on each node");
    assert!(!nodes.take(4), "32 devices are free, never 4 on one node");
    assert!((0..8).all(|_| nodes.take(3)));
    assert!(!nodes.take(1));
    let mut nodes = Nodes::free();
    assert!(nodes.take(1) && nodes.take(32) && nodes.take(20));
    assert!(!nodes.take(16), "one node is free, and parts of two");
    assert!(nodes.take(8));
}

#[test]
fn sharing_is_worth_it_where_stages_differ() {
    let seen = |stages| Seen { stages, ..job(0, 0.0, 1, 1.0).seen };
    let (first, second) = (seen([1.0, 0.0, 0.0]), seen([0.0, 1.0, 0.0]));
    let factor = 1.33 / published::STRETCH;
    assert!(is_near(published::together(&[&first]), 1.0));
    // Each fills what the other leaves: 1 s for both.
    assert_eq!(published::together(&[&first, &second]), factor);
    assert_eq!(published::together(&[&second, &second]), 2.0 * factor);
    let four = [&first, &second, &first, &second];
    assert!(published::together(&four) < 4.0 * published::together(&[&first]));
    let turned = [&second, &first, &second, &first];
    assert_eq!(published::together(&four), published::together(&turned));
}

/// Runs whatever fits in the order of submission, and wakes at given times.
struct Plain {
    wakes: Vec<f64>,
    next: Option<f64>,
}

impl Rule for Plain {
    fn decide(&mut self, now: f64, live: &[Live<'_>]) -> Vec<Group> {
        assert!(live.iter().all(|job| job.remaining.is_none()), "a blind rule saw the future");
        self.next = self.wakes.iter().copied().find(|&wake| wake > now);
        polder_sim::jct::baseline::first_fit(live.iter())
    }

    fn wake(&self) -> Option<f64> {
        self.next
    }
}

#[test]
fn every_event_costs_every_running_job_its_start() {
    let jobs = [job(0, 0.0, 8, 1000.0), job(1, 100.0, 8, 50.0)];
    let outcome = replay::run(&jobs, &mut Plain { wakes: vec![], next: None }).unwrap();
    // The second's submission and its end cost the first 10 s each; the second's own end is free.
    assert!(is_near(outcome.completion[0], 1020.0) && is_near(outcome.completion[1], 50.0));
    assert!(is_near(outcome.makespan, 1020.0) && outcome.events == 4);
    let mut woken = Plain { wakes: vec![300.0, 304.0, 2000.0], next: None };
    let outcome = replay::run(&jobs, &mut woken).unwrap();
    // The wake at 304 s takes all there was since 300 s, but not more.
    assert!(is_near(outcome.completion[0], 1034.0) && is_near(outcome.completion[1], 50.0));
}

/// Does one wrong thing.
struct Wrong(Vec<Group>);

impl Rule for Wrong {
    fn decide(&mut self, _now: f64, _live: &[Live<'_>]) -> Vec<Group> {
        self.0.clone()
    }
}

#[test]
fn what_a_rule_gets_wrong_is_said() {
    let jobs: Vec<Job> = (0..6).map(|id| job(id, 0.0, if id < 5 { 16 } else { 8 }, 10.0)).collect();
    let wrong = |groups: &[&[usize]]| {
        let groups = groups.iter().map(|group| group.to_vec()).collect();
        replay::run(&jobs, &mut Wrong(groups)).unwrap_err()
    };
    assert_eq!(wrong(&[]), RuleError::Stuck(6));
    assert_eq!(wrong(&[&[6]]), RuleError::Unknown(6));
    assert_eq!(wrong(&[&[1], &[1]]), RuleError::Unknown(1));
    assert_eq!(wrong(&[&[0, 5]]), RuleError::Group(0));
    assert_eq!(wrong(&[&[0, 1, 2, 3, 4]]), RuleError::Group(0));
    assert_eq!(wrong(&[&[0], &[1], &[2], &[3], &[4]]), RuleError::Full(4));
    struct Restless(f64);
    impl Rule for Restless {
        fn decide(&mut self, now: f64, _live: &[Live<'_>]) -> Vec<Group> {
            self.0 = now;
            Vec::new()
        }
        fn wake(&self) -> Option<f64> {
            Some(self.0)
        }
    }
    assert!(matches!(replay::run(&jobs, &mut Restless(0.0)), Err(RuleError::Restless(_))));
}

#[test]
fn the_future_helps() {
    let jobs = small();
    let mean = |rule: &mut dyn Rule| replay::run(&jobs, rule).unwrap().mean();
    let blind = mean(&mut Tiresias::default());
    assert!(mean(&mut Shortest::service()) < blind);
    assert!(mean(&mut Shortest::time()) < blind);
}

#[test]
fn polder_needs_no_future() {
    let jobs = small();
    let run = |rule: &mut dyn Rule| replay::run(&jobs, rule).unwrap();
    let (alone, shared) = (run(&mut Polder::default()), run(&mut Polder::sharing()));
    assert!(alone.mean() < run(&mut Tiresias::default()).mean());
    assert_eq!(alone, run(&mut Polder::default()));
    assert_eq!(shared, run(&mut Polder::sharing()));
}

#[test]
fn published_numbers_come_out() {
    let Ok(path) = traces::file("muri/trace1.csv") else {
        eprintln!("SKIPPED: muri/trace1.csv is not there (see {})", traces::VARIABLE);
        return;
    };
    let jobs = trace::read(&path).unwrap();
    // Mean, makespan and 99th percentile as published (facts/scheduling.md 2.1).
    let srsf = (980_140.57, 26_065_759.045, 15_529_913.228);
    let tiresias = (3_330_371.307, 23_556_410.217, 14_739_851.505);
    let mut rules: [(_, Box<dyn Rule>); 2] =
        [(srsf, Box::new(Shortest::service())), (tiresias, Box::<Tiresias>::default())];
    for ((mean, makespan, p99), rule) in &mut rules {
        let outcome = replay::run(&jobs, rule.as_mut()).unwrap();
        assert!(is_near(outcome.mean(), *mean), "{} not {mean}", outcome.mean());
        assert!(is_near(outcome.makespan, *makespan), "{} not {makespan}", outcome.makespan);
        assert!(is_near(outcome.p99(), *p99), "{} not {p99}", outcome.p99());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Nobody ends sooner than the work alone takes, and the cluster does no more than it can.
    #[test]
    fn no_work_is_done_for_nothing(
        rows in prop::collection::vec((0_u32..5_000, 0_usize..6, 1_u32..50_000), 1..40),
    ) {
        let mut submitted = 0.0;
        let jobs: Vec<Job> = rows.iter().zip(0..).map(|(&(gap, width, seconds), id)| {
            submitted += f64::from(gap);
            job(id, submitted, [1, 2, 4, 8, 16, 32][width], f64::from(seconds))
        }).collect();
        let work: f64 = jobs.iter().map(|job| job.iterations * f64::from(job.seen.devices)).sum();
        let rules: [Box<dyn Rule>; 4] = [
            Box::new(Shortest::time()), Box::new(Shortest::service()), Box::<Tiresias>::default(),
            Box::<Polder>::default(),
        ];
        for mut rule in rules {
            let outcome = replay::run(&jobs, rule.as_mut()).unwrap();
            for (job, completion) in jobs.iter().zip(&outcome.completion) {
                prop_assert!(*completion >= job.iterations * (1.0 - 1e-9));
            }
            let capacity = outcome.makespan * f64::from(published::DEVICES);
            prop_assert!(work <= capacity * (1.0 + 1e-9));
        }
    }
}
