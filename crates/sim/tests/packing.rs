//! Packing: what the reader refuses, and that a pod that fits is placed.

#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test: it says when it is skipped, and may panic"
)]

use polder_engine::fleet::{Knobs, Rule, Spot};
use polder_sim::packing::bound;
use polder_sim::packing::moves::{self, Act, Limits, Replayed};
use polder_sim::packing::openb::{self, Cluster, NodeRow, OpenbError, Pod, Wrong};
use polder_sim::packing::replay::{Outcome, Workload};
use polder_sim::traces;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

const NODES: &str = "sn,cpu_milli,memory_mib,gpu,model\n\
                     a,64000,262144,2,P100\nb,96000,393216,8,G2\nc,8000,1024,0,\n";
const PODS: &str = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n";

fn file(folder: &tempfile::TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn cluster(text: &str) -> Result<Cluster, OpenbError> {
    let folder = tempfile::tempdir().unwrap();
    openb::cluster(&file(&folder, "nodes.csv", text.as_bytes()))
}

fn pods(rows: &str) -> Result<Vec<Pod>, OpenbError> {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "pods.csv", format!("{PODS}{rows}").as_bytes());
    openb::pods(&path, &cluster(NODES).unwrap())
}

fn order(text: &str, rows: usize) -> Result<Vec<usize>, OpenbError> {
    let folder = tempfile::tempdir().unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text.as_bytes()).unwrap();
    openb::order(&file(&folder, "order.gz", &packed.finish().unwrap()), rows)
}

#[test]
fn good_rows_are_read() {
    let cluster = cluster(NODES).unwrap();
    assert_eq!(cluster.milli(), 10_000);
    assert_eq!(cluster.models, ["P100", "G2", ""]);
    let read = pods("p1,1000,64,1,500,G2|P100\np2,2000,0,0,0,\n").unwrap();
    assert_eq!(read[0].models, Some(0b11));
    assert_eq!((read[0].milli_all(), read[1].milli_all(), read[1].models), (500, 0, None));
    assert_eq!(order("1\n0\n1\n", 2).unwrap(), [1, 0, 1]);
    let few = "name,cpu_milli,memory_mib,num_gpu,gpu_milli\np1,1,1,2,1000\n";
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "few.csv", few.as_bytes());
    assert_eq!(openb::pods(&path, &cluster).unwrap()[0].milli_all(), 2000);
}

#[test]
fn a_bad_row_is_named_with_its_line_and_what_is_wrong() {
    let pod = |rows: &str| pods(rows).unwrap_err().to_string();
    for (rows, line, says) in [
        ("p1,,64,1,500,\n", 2, "cpu_milli is missing"),
        ("p1,1000,64,1,500,\np2,-1,64,1,500,\n", 3, "cpu_milli is -1, which is below 0"),
        ("p1,1000,64,1.5,500,\n", 2, "num_gpu is \"1.5\", which is no whole number"),
        ("p1,1000,64,1,0,\n", 2, "gpu_milli is 0, which is below 1"),
        ("p1,1000,64,1,1001,\n", 2, "gpu_milli is 1001, which is beyond 1000"),
        ("p1,1000,64,0,500,\n", 2, "gpu_milli is 500, which is beyond 0"),
        ("p1,1000,64,65,1000,\n", 2, "num_gpu is 65, which is beyond 64"),
        ("p1,1000,9999999999,1,500,\n", 2, "memory_mib is 9999999999, which is beyond 1073741824"),
        ("p1,1000,64,1,500,H100\n", 2, "model H100 is on no machine of the cluster"),
        ("p1,1,1,0,0,\np1,1,1,0,0,\n", 3, "p1 was there before"),
        ("p2,1,1,0,0,\np1,1,1,0,0,\n", 3, "p1 comes after p2: sort the rows by name"),
        (",1,1,0,0,\n", 2, "name is missing"),
    ] {
        let error = pod(rows);
        assert!(error.ends_with(&format!("pods.csv, line {line}: {says}")), "{error}");
    }
    assert!(matches!(pods("p1,1,1\n"), Err(OpenbError::Table { .. })));
    let error = cluster("sn,cpu_milli\n").unwrap_err().to_string();
    assert!(error.ends_with("has no column memory_mib: is it a list of openb?"), "{error}");
    let error = cluster("sn,cpu_milli,memory_mib,gpu,model\na,1,1,1,\n").unwrap_err().to_string();
    assert!(error.ends_with("line 2: model is missing"), "{error}");
    let wrong = |text: &str| match order(text, 2).unwrap_err() {
        OpenbError::Row { line, wrong, .. } => (line, wrong),
        other => panic!("{other}"),
    };
    assert_eq!(wrong("0\n2\n"), (2, Wrong::NoSuchRow { row: 2, rows: 2 }));
    assert_eq!(wrong("-1\n"), (1, Wrong::NoSuchRow { row: -1, rows: 2 }));
    assert_eq!(wrong("\n"), (1, Wrong::Missing("row")));
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "order.gz", b"no gzip");
    assert!(matches!(openb::order(&path, 2), Err(OpenbError::File { .. })));
}

/// What is left of a node, by the plainest bookkeeping there is.
struct Left {
    cpu: i64,
    memory: i64,
    devices: Vec<i32>,
    model: usize,
}

impl Left {
    fn fits(&self, pod: &Pod) -> bool {
        let room = self.devices.iter().filter(|free| **free >= pod.milli).count();
        let served = pod.devices == 0 || pod.is_served_by(self.model);
        self.cpu >= pod.cpu_milli
            && self.memory >= pod.memory_mib
            && served
            && room >= pod.devices as usize
    }
}

/// The nodes, all idle. Those of the fleet lie in a drawn order, so they are taken from it.
fn idle(workload: &Workload, seed: u64) -> Vec<Left> {
    let fleet = workload.fleet(seed);
    fleet
        .nodes()
        .map(|(_, node)| Left {
            cpu: node.cpu_all,
            memory: node.memory_all >> 20,
            devices: vec![1000; node.devices.len()],
            model: node.devices.first().map_or(usize::MAX, |d| d.spec.cell.0 as usize),
        })
        .collect()
}

/// Walks through what happened and holds each step against the plain bookkeeping.
fn check(workload: &Workload, order: &[usize], outcome: &Outcome, seed: u64) {
    let mut left = idle(workload, seed);
    let (mut placed, mut dropped) = (outcome.placed.iter(), outcome.dropped.iter().peekable());
    for row in order {
        let pod = &workload.pods[*row];
        if !left.iter().any(|node| node.fits(pod)) {
            assert_eq!(dropped.next(), Some(row), "what fits nowhere is dropped");
            continue;
        }
        let placed = placed.next().expect("a pod that fits is placed");
        assert_eq!(placed.row, *row, "a pod that fits is placed on arrival");
        assert!(left[placed.spot.node.0 as usize].fits(pod));
        put(&mut left, pod, &placed.spot, 1);
    }
    assert!(placed.next().is_none() && dropped.next().is_none());
    let milli: i64 = outcome.placed.iter().map(|p| workload.pods[p.row].milli_all()).sum();
    assert_eq!(outcome.milli, milli);
}

/// Takes (`1`) what a pod holds, or gives it back (`-1`); nothing is given out twice.
fn put(left: &mut [Left], pod: &Pod, spot: &Spot, sign: i32) {
    assert_eq!(spot.devices.len(), pod.devices as usize);
    let node = &mut left[spot.node.0 as usize];
    node.cpu -= i64::from(sign) * pod.cpu_milli;
    node.memory -= i64::from(sign) * pod.memory_mib;
    for device in &spot.devices {
        node.devices[usize::from(*device)] -= sign * pod.milli;
    }
    assert!(node.cpu >= 0 && node.memory >= 0 && node.devices.iter().all(|free| *free >= 0));
}

/// The same with moves: nobody is evicted, and nothing is moved for a pod that fits.
fn check_moves(workload: &Workload, order: &[usize], replayed: &Replayed, seed: u64) {
    let mut left = idle(workload, seed);
    let mut spots: Vec<(usize, Spot)> = Vec::new();
    let (mut arrivals, mut moving) = (order.iter(), Vec::new());
    for act in &replayed.acts {
        if let Act::Moved { at, to } = act {
            moving.push((*at, to.clone()));
            continue;
        }
        let row = *arrivals.next().unwrap();
        let pod = &workload.pods[row];
        let fits = left.iter().any(|node| node.fits(pod));
        assert!(!fits || moving.is_empty(), "nothing is moved for a pod that fits");
        let moved = std::mem::take(&mut moving);
        moved
            .iter()
            .for_each(|(at, _)| put(&mut left, &workload.pods[spots[*at].0], &spots[*at].1, -1));
        match act {
            Act::Placed(placed) => {
                assert_eq!(placed.row, row);
                put(&mut left, pod, &placed.spot, 1);
                spots.push((row, placed.spot.clone()));
            }
            Act::Dropped(dropped) => assert!(*dropped == row && !fits && moved.is_empty()),
            Act::Moved { .. } => unreachable!("was dealt with"),
        }
        for (at, to) in moved {
            put(&mut left, &workload.pods[spots[at].0], &to, 1);
            spots[at].1 = to;
        }
    }
    assert!(arrivals.next().is_none() && moving.is_empty());
    let placed = &replayed.outcome.placed;
    assert!(placed.iter().map(|placed| (placed.row, placed.spot.clone())).eq(spots));
    let milli: i64 = placed.iter().map(|placed| workload.pods[placed.row].milli_all()).sum();
    assert_eq!(milli, replayed.outcome.milli);
}

fn rules(workload: &Workload) -> [Rule; 3] {
    let outlook = Rule::Outlook(workload.outlook(Knobs::default()));
    [workload.fgd(), workload.best_fit(), outlook]
}

fn any_workload() -> impl Strategy<Value = (Cluster, Vec<Pod>, Vec<usize>)> {
    let node =
        (1i64..=16, 1i64..=16, 0u32..=4, 0usize..3).prop_map(|(cpu, memory, devices, model)| {
            NodeRow { cpu_milli: cpu * 1000, memory_mib: memory, devices, model }
        });
    let pod = (0i64..=6, 0i64..=4, 0u32..=3, 1i32..=10, prop::option::of(1u64..8)).prop_map(
        |(cpu, memory, devices, tenths, models)| Pod {
            cpu_milli: cpu * 1000,
            memory_mib: memory,
            devices,
            milli: if devices == 0 { 0 } else { tenths * 100 },
            models,
        },
    );
    let nodes = prop::collection::vec(node, 1..5);
    (nodes, prop::collection::vec(pod, 1..12)).prop_flat_map(|(nodes, pods)| {
        let models = vec!["A".to_owned(), "B".to_owned(), "C".to_owned()];
        let order = prop::collection::vec(0..pods.len(), 0..40);
        (Just(Cluster { nodes, models }), Just(pods), order)
    })
}

proptest! {
    #[test]
    fn a_pod_that_fits_is_placed((cluster, pods, order) in any_workload(), seed in 0u64..4) {
        let workload = Workload::new(Arc::new(cluster), pods);
        for rule in rules(&workload) {
            check(&workload, &order, &workload.replay(&order, rule, seed), seed);
        }
    }

    #[test]
    fn moves_evict_nobody_and_are_made_for_none_that_fits(
        (cluster, pods, order) in any_workload(),
        seed in 0u64..4,
    ) {
        let workload = Workload::new(Arc::new(cluster), pods);
        let limits = Limits { gain_milli: -1000, ..Limits::default() };
        let outlook = workload.outlook(Knobs::default());
        check_moves(&workload, &order, &moves::replay(&workload, &order, outlook, seed, limits), seed);
    }

}

proptest! {
    // A bound is searched for in thousands of steps.
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn no_rule_passes_the_bounds_nor_drops_what_it_must_place(
        (cluster, pods, order) in any_workload(),
        seed in 0u64..4,
    ) {
        let workload = Workload::new(Arc::new(cluster), pods);
        let must = bound::forced(&workload, &order);
        let bounds = [&BTreeMap::new(), &must].map(|must| bound::bound(&workload, &order, must));
        let outlook = workload.outlook(Knobs::default());
        let moved = moves::replay(&workload, &order, outlook, seed, Limits::default()).outcome;
        let all = rules(&workload).map(|rule| workload.replay(&order, rule, seed));
        for outcome in all.into_iter().chain([moved]) {
            for bound in bounds {
                prop_assert!(outcome.milli as f64 <= bound + 1e-6, "{} > {bound}", outcome.milli);
            }
            let mut times: BTreeMap<&Pod, u64> = BTreeMap::new();
            for placed in &outcome.placed {
                *times.entry(&workload.pods[placed.row]).or_default() += 1;
            }
            for (pod, least) in &must {
                prop_assert!(times.get(pod).copied().unwrap_or(0) >= *least, "{pod:?}");
            }
        }
    }
}

#[test]
fn a_pod_is_moved_out_of_the_way_when_that_pays() {
    let node = |model| NodeRow { cpu_milli: 16_000, memory_mib: 16, devices: 1, model };
    let models = vec!["A".to_owned(), "B".to_owned()];
    let cluster = Arc::new(Cluster { nodes: vec![node(0), node(1)], models });
    let pod = |milli, models| Pod { cpu_milli: 2000, memory_mib: 1, devices: 1, milli, models };
    // The whole A is too rare to be typical, so the half may well lie on the only A.
    let mut pods = vec![pod(500, None); 24];
    pods.push(pod(1000, Some(1)));
    let workload = Workload::new(cluster, pods);
    let mut moved = 0;
    for seed in 0..8 {
        let outlook = workload.outlook(Knobs::default());
        let replayed = moves::replay(&workload, &[0, 24], outlook, seed, Limits::default());
        check_moves(&workload, &[0, 24], &replayed, seed);
        assert_eq!(replayed.outcome.milli, 1500);
        moved += replayed.moved.moves;
    }
    assert!(moved > 0, "on no seed was the half in the way");
}

#[test]
fn the_published_gradient_is_reproduced_and_passed() {
    let Ok(nodes) = traces::file("openb/openb_node_list_gpu_node.csv") else {
        eprintln!("skipped: openb is not there");
        return;
    };
    let cluster = Arc::new(openb::cluster(&nodes).unwrap());
    let list = traces::file("openb/openb_pod_list_default.csv").unwrap();
    let pods = openb::pods(&list, &cluster).unwrap();
    let arrivals = traces::file("openb_order/default_44.idx.gz").unwrap();
    let order = openb::order(&arrivals, pods.len()).unwrap();
    let workload = Workload::new(cluster, pods);
    let [fgd, best_fit, own] = rules(&workload).map(|rule| workload.replay(&order, rule, 44));
    check(&workload, &order, &own, 44);
    let percent = |outcome: &Outcome| workload.percent(outcome.milli);
    assert!((percent(&fgd) - 95.39).abs() < 0.3, "{}", percent(&fgd));
    assert!((percent(&best_fit) - 93.08).abs() < 0.3, "{}", percent(&best_fit));
    assert!(own.milli > fgd.milli, "{} {}", percent(&own), percent(&fgd));
}
