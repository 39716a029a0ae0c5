use super::*;
use polder_model::{
    GangPlace, HostAsk, Lease, Micros, Slice, Stdio, StopReason, Version, Work, WorkClass,
};
use proptest::prelude::*;

pub(crate) fn order(lease: u64, state: LeaseState, start: bool) -> LeaseOrder {
    LeaseOrder {
        lease: Lease {
            id: LeaseId(lease),
            job: polder_model::JobId(lease),
            task: 0,
            attempt: 1,
            tenant: "lab".parse().unwrap(),
            user: "ada".parse().unwrap(),
            node: "here".parse().unwrap(),
            slices: vec![],
            leaving: polder_model::Bytes(0),
            resizes: 0,
            state,
            isolation: None,
            not_enforced: Vec::new(),
            findings: Vec::new(),
            granted_at: polder_model::Timestamp(1),
            started_at: None,
            class: WorkClass::default(),
            priority: 0,
            contact_limit: Micros::from_secs(60),
        },
        work: Work {
            command: vec!["true".into()],
            directory: "/".into(),
            environment: BTreeMap::new(),
            stdio: Stdio::Logs,
            umask: None,
            image: None,
        },
        host: HostAsk::default(),
        isolation: None,
        time_limit: None,
        grace: Micros(0),
        gang: GangPlace { rank: 0, size: 1, local_rank: 0, local_size: 1, master: None },
        start,
    }
}

fn tombstone(lease: u64) -> Tombstone {
    Tombstone { lease: LeaseId(lease), why: StopReason::Unknown, grace: Micros(0) }
}

fn answer(leases: Vec<LeaseOrder>, tombstones: Vec<u64>, acknowledged: Vec<u64>) -> SyncResponse {
    SyncResponse {
        version: Version { pool: "north".parse().unwrap(), epoch: 1, version: 1 },
        leases,
        tombstones: tombstones.into_iter().map(tombstone).collect(),
        acknowledged: acknowledged.into_iter().map(LeaseId).collect(),
    }
}

/// `held` is written as lease and letters: `s`tart told, sto`p` told, `e`nded.
fn check(held: &[(u64, &str)], answer: &SyncResponse, expect: &str) {
    let told = |flags: &str, letter: char| flags.contains(letter);
    let held = held
        .iter()
        .map(|(lease, f)| {
            let held = Held { start: told(f, 's'), stop: told(f, 'p'), ended: told(f, 'e') };
            (LeaseId(*lease), held)
        })
        .collect();
    let actions: Vec<String> = reconcile(&held, |_| false, answer).iter().map(spell).collect();
    assert_eq!(actions.join(", "), expect);
}

fn spell(action: &Action<'_>) -> String {
    let word = match action {
        Action::Prepare(_) => "prepare",
        Action::Start(_) => "start",
        Action::Resize(_) => "resize",
        Action::Stop(_) => "stop",
        Action::Bury(_) => "bury",
        Action::Missing(_) => "missing",
        Action::Forget(_) => "forget",
    };
    format!("{word} {}", action.lease())
}

use LeaseState::{Granted, Prepared, Started};

#[test]
fn a_new_lease_is_prepared_then_started_once() {
    check(&[], &answer(vec![order(1, Granted, false)], vec![], vec![]), "prepare L1");
    check(&[(1, "")], &answer(vec![order(1, Granted, false)], vec![], vec![]), "");
    check(&[(1, "")], &answer(vec![order(1, Prepared, true)], vec![], vec![]), "start L1");
    check(&[(1, "s")], &answer(vec![order(1, Prepared, true)], vec![], vec![]), "");
    check(&[(1, "se")], &answer(vec![order(1, Started, true)], vec![], vec![]), "");
}

#[test]
fn what_the_server_does_not_mention_is_kept() {
    check(&[(1, ""), (2, "s"), (3, "se")], &answer(vec![], vec![], vec![]), "");
}

#[test]
fn a_tombstone_ends_once_and_wins_over_an_order() {
    check(&[(1, "s")], &answer(vec![order(1, Started, true)], vec![1, 1], vec![]), "stop L1");
    check(&[(1, "sp")], &answer(vec![], vec![1], vec![]), "");
    check(&[(1, "se")], &answer(vec![], vec![1], vec![]), "");
    check(&[], &answer(vec![order(1, Granted, true)], vec![1], vec![]), "bury L1");
}

#[test]
fn an_end_is_forgotten_only_when_it_is_one() {
    check(&[(1, "se"), (2, "s")], &answer(vec![], vec![], vec![1, 2, 3]), "forget L1");
    check(&[], &answer(vec![order(1, Granted, true)], vec![1], vec![1]), "");
}

#[test]
fn a_lease_that_was_prepared_here_and_is_gone_is_not_run_again() {
    check(&[], &answer(vec![order(1, Prepared, true)], vec![], vec![]), "missing L1");
    check(&[], &answer(vec![order(1, Started, true)], vec![], vec![]), "missing L1");
}

fn slice(compute: u32) -> Slice {
    Slice {
        device: "d0".parse().unwrap(),
        mechanism: polder_model::Mechanism::TimeSlice,
        compute: polder_model::Permille(compute),
        compute_max: polder_model::Permille::WHOLE,
        memory: polder_model::Bytes(1),
        backing: polder_model::Bytes(0),
        instance: None,
    }
}

#[test]
fn other_slices_are_taken_over_once_and_never_by_what_ends() {
    let mut has = order(1, Started, true).lease;
    has.slices = vec![slice(300)];
    let resized = |flags: &str, compute: u32, start: bool| {
        let mut order = order(1, Started, start);
        order.lease.slices = vec![slice(compute)];
        let told = |letter: char| flags.contains(letter);
        let held = Held { start: told('s'), stop: told('p'), ended: told('e') };
        let answer = answer(vec![order], vec![], vec![]);
        let held = [(LeaseId(1), held)].into();
        let differs = |to: &Lease| !crate::known::same_terms(&has, to);
        let actions = reconcile(&held, differs, &answer);
        actions.iter().map(spell).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(resized("s", 300, true), "");
    assert_eq!(resized("s", 500, true), "resize L1");
    assert_eq!(resized("", 500, true), "resize L1, start L1", "it starts with what it has by then");
    assert_eq!(resized("", 500, false), "resize L1");
    assert_eq!(resized("sp", 500, true), "");
    assert_eq!(resized("se", 500, true), "");
}

#[test]
fn terms_are_slices_and_urgency_and_nothing_else() {
    use crate::known::{same_terms, take_terms};
    let has = order(1, Started, true).lease;
    let changed = |change: fn(&mut Lease)| {
        let mut wanted = has.clone();
        change(&mut wanted);
        let mut taken = has.clone();
        take_terms(&mut taken, &wanted);
        assert!(same_terms(&taken, &wanted));
        (same_terms(&has, &wanted), taken == has)
    };
    assert_eq!(changed(|_| ()), (true, true));
    assert_eq!(changed(|lease| lease.state = LeaseState::Prepared), (true, true));
    assert_eq!(changed(|lease| lease.slices = vec![slice(1)]), (false, false));
    assert_eq!(changed(|lease| lease.class = WorkClass::Inference), (false, false));
    assert_eq!(changed(|lease| lease.priority = 3), (false, false));
}

fn any_answer() -> impl Strategy<Value = (SyncResponse, bool)> {
    let order = (0u64..5, prop_oneof![Just(Granted), Just(Prepared), Just(Started)], any::<bool>())
        .prop_map(|(lease, state, start)| order(lease, state, start));
    let orders = prop::collection::vec(order, 0..6);
    let tombstones = prop::collection::vec(0u64..5, 0..3);
    let acknowledged = prop::collection::vec(0u64..5, 0..3);
    (orders, tombstones, acknowledged, any::<bool>()).prop_map(
        |(orders, tombstones, acknowledged, restart)| {
            (answer(orders, tombstones, acknowledged), restart)
        },
    )
}

proptest! {
    /// Whatever answers come, in whatever order, with restarts of the agent between them: no end
    /// without a tombstone, no second start, no start after an end.
    #[test]
    fn answers_never_end_without_a_tombstone_nor_start_twice(
        answers in prop::collection::vec(any_answer(), 0..20),
        ends in prop::collection::vec(0u64..5, 0..20),
    ) {
        let mut held: BTreeMap<LeaseId, Held> = BTreeMap::new();
        let mut starts = BTreeSet::new();
        let mut ends = ends.into_iter();
        for (answer, restart) in &answers {
            for action in reconcile(&held, |_| false, answer) {
                let lease = action.lease();
                match action {
                    Action::Prepare(_) => {
                        prop_assert!(held.insert(lease, Held::NEW).is_none());
                        // What was forgotten may come again as another lease only with its own
                        // number; here numbers repeat, so the count begins anew.
                        starts.remove(&lease);
                    }
                    Action::Start(_) => {
                        let held = held.get_mut(&lease).unwrap();
                        prop_assert!(!held.stop && !held.ended);
                        held.start = true;
                        prop_assert!(starts.insert(lease), "{lease} started twice");
                    }
                    Action::Resize(_) => prop_assert!(false, "no slices are known"),
                    Action::Stop(_) | Action::Bury(_) => {
                        prop_assert!(answer.tombstones.iter().any(|t| t.lease == lease));
                        let held = held.entry(lease).or_insert(Held { ended: true, ..Held::NEW });
                        held.stop = true;
                    }
                    Action::Missing(_) => {
                        let ended = Held { ended: true, ..Held::NEW };
                        prop_assert!(held.insert(lease, ended).is_none());
                    }
                    Action::Forget(_) => {
                        prop_assert!(held.remove(&lease).is_some_and(|held| held.ended));
                    }
                }
            }
            if let Some(held) = ends.next().and_then(|lease| held.get_mut(&LeaseId(lease))) {
                held.ended = true;
            }
            // A restart forgets that a stop was told, unless the end was reached; what was told to
            // start is read back from the lease's folder.
            if *restart {
                held.values_mut().for_each(|held| held.stop &= held.ended);
            }
        }
    }
}
