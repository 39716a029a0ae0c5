use super::*;
use polder_ledger::gate;
use proptest::prelude::*;
use std::sync::atomic::Ordering::Relaxed;

const LEASE: u64 = 7;
const SECOND_NS: u64 = 1_000_000_000;

/// A lease of one device with one process in slot 0, and what is known of it.
struct Scene {
    usage: Usage,
    limits: Limits,
    attached: Vec<Attached>,
    stats: BTreeMap<u32, Stat>,
    memory: Memory,
    on_cpu: bool,
    boot_ns: u64,
}

impl Scene {
    fn new() -> Self {
        let usage = Usage::new(LEASE);
        let limits = Limits::new(LEASE, 1);
        limits.devices.store(1, Relaxed);
        limits.device[0].memory_max.store(1000, Relaxed);
        let generation = usage.claim_slot(0, 42);
        let stat = Stat {
            state: 'S',
            parent: 1,
            leader: 1,
            is_fork: false,
            faults: 1,
            ticks: 10,
            threads: 4,
            started: 100,
            address_space: 1 << 20,
        };
        Self {
            usage,
            limits,
            attached: vec![Attached { slot: 0, generation, pid: 42 }],
            stats: BTreeMap::from([(42, stat)]),
            memory: Memory::default(),
            on_cpu: true,
            boot_ns: 100 * SECOND_NS,
        }
    }

    fn slot(&self) -> &Slot {
        &self.usage.slot[0]
    }

    fn look(&mut self) -> Vec<Broken> {
        let known = Known {
            lease: LEASE,
            attached: &self.attached,
            stats: &self.stats,
            boot_ns: self.boot_ns,
            tick_ns: 10_000_000,
            on_cpu: self.on_cpu,
        };
        look(&self.usage, &self.limits, &known, &mut self.memory)
    }

    /// The rules that are found broken in so many looks, the process being idle throughout.
    fn found(&mut self, looks: usize) -> Vec<(Rule, u32)> {
        let all = (0..looks).flat_map(|_| self.look()).map(|broken| (broken.0, broken.1));
        let mut all: Vec<_> = all.collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

fn check(lie: impl Fn(&Usage), rule: Rule, pid: u32) {
    let mut scene = Scene::new();
    assert_eq!(scene.found(4), [], "an honest page");
    lie(&scene.usage);
    assert_eq!(scene.look(), [], "one look is not enough");
    assert!(scene.found(3).contains(&(rule, pid)), "{rule:?}");
}

#[test]
fn each_lie_is_found_in_two_looks() {
    let scene = |lie: fn(&Slot)| move |usage: &Usage| lie(&usage.slot[0]);
    check(scene(|slot| slot.waiting.store(5, Relaxed)), Rule::PageCounts, 42);
    check(scene(|slot| slot.inflight.store(5, Relaxed)), Rule::PageCounts, 42);
    check(scene(|slot| slot.inflight.store(u32::MAX, Relaxed)), Rule::PageCounts, 42);
    check(scene(|slot| slot.launched.store(5, Relaxed)), Rule::PageCounts, 42);
    check(scene(|slot| slot.completed.store(1, Relaxed)), Rule::PageCompleted, 42);
    check(scene(|slot| slot.longest_ns.store(u64::MAX, Relaxed)), Rule::PageLongest, 42);
    check(scene(|slot| slot.device[0].held.store(1001, Relaxed)), Rule::PageMemory, 0);
    check(scene(|slot| slot.device[0].held.store(u64::MAX, Relaxed)), Rule::PageMemory, 0);
    check(scene(|slot| slot.pid.store(43, Relaxed)), Rule::PageSlots, 42);
    check(scene(|slot| slot.pid.store(0, Relaxed)), Rule::PageSlots, 42);
    check(scene(|slot| slot.generation.store(9, Relaxed)), Rule::PageSlots, 42);
    check(|usage| usage.slot[200].pid.store(1, Relaxed), Rule::PageSlots, 0);
    check(|usage| usage.high_water.store(0, Relaxed), Rule::PageSlots, 42);
}

#[test]
fn counts_that_go_back_or_stand_still_are_found() {
    let mut scene = Scene::new();
    scene.slot().launched.store(10, Relaxed);
    scene.slot().completed.store(10, Relaxed);
    assert_eq!(scene.found(3), []);
    scene.slot().completed.store(9, Relaxed);
    scene.slot().launched.store(9, Relaxed);
    assert_eq!(scene.found(2), [(Rule::PageCompleted, 42)]);

    let mut scene = Scene::new();
    scene.slot().launched.store(1, Relaxed);
    scene.slot().inflight.store(1, Relaxed);
    assert_eq!(scene.found(3), [], "it may have been launched a moment ago");
    assert_eq!(scene.found(1), [(Rule::PageStuck, 42)]);
}

#[test]
fn work_in_flight_that_could_go_on_is_not_stuck() {
    let busy = |at: u32, change: fn(&mut Scene, u32)| {
        let mut scene = Scene::new();
        scene.slot().launched.store(1, Relaxed);
        scene.slot().inflight.store(1, Relaxed);
        for look in 0..at {
            change(&mut scene, look);
            assert_eq!(scene.look(), []);
        }
    };
    busy(20, |scene, look| scene.stats.get_mut(&42).unwrap().ticks = u64::from(look));
    busy(20, |scene, _| scene.stats.get_mut(&42).unwrap().state = 'T');
    busy(20, |scene, _| scene.on_cpu = false);
    busy(20, |scene, _| {
        scene.slot().launched.fetch_add(1, Relaxed);
        scene.slot().completed.fetch_add(1, Relaxed);
    });
}

/// A driver may allocate when memory is first used: what is held need not be in the address space yet.
#[test]
fn memory_that_is_held_and_not_touched_is_no_lie() {
    let mut scene = Scene::new();
    scene.stats.get_mut(&42).unwrap().address_space = 100;
    scene.slot().device[0].held.store(1000, Relaxed);
    assert_eq!(scene.found(4), []);
}

#[test]
fn a_lease_that_was_made_smaller_is_no_liar() {
    let mut scene = Scene::new();
    scene.slot().device[0].held.store(900, Relaxed);
    assert_eq!(scene.found(2), []);
    scene.limits.device[0].memory_max.store(500, Relaxed);
    assert_eq!(scene.found(4), []);
}

#[test]
fn another_process_in_the_same_slot_begins_anew() {
    let mut scene = Scene::new();
    scene.slot().launched.store(10, Relaxed);
    scene.slot().completed.store(10, Relaxed);
    scene.found(2);
    scene.usage.retire_slot(0);
    let generation = scene.usage.claim_slot(0, 43);
    let stat = scene.stats[&42];
    scene.stats = BTreeMap::from([(43, stat)]);
    scene.attached = vec![Attached { slot: 0, generation, pid: 43 }];
    assert_eq!(scene.found(4), []);
}

/// In a row: one now and then is ordinary, and when those of a process that is seen for the first time were
/// nobody knows.
#[test]
fn launches_without_a_turn_are_found_while_they_are_new() {
    let mut scene = Scene::new();
    let counted = |scene: &Scene, count| {
        scene.limits.out_of_turn(scene.slot()).unwrap().store(count, Relaxed);
    };
    counted(&scene, 40);
    assert_eq!(scene.found(4), []);
    counted(&scene, 42);
    assert_eq!(scene.found(4), []);
    counted(&scene, 43);
    assert_eq!(scene.look(), [], "one look is not enough");
    assert_eq!(scene.found(1), [(Rule::OutOfTurn, 42)]);
    scene.boot_ns += 60 * SECOND_NS;
    assert_eq!(scene.found(2), [], "it is over");
    scene.usage.retire_slot(0);
    assert_eq!(scene.limits.out_of_turn(scene.slot()).unwrap().load(Relaxed), 0);
}

#[test]
fn a_header_that_is_none_is_found() {
    let mut scene = Scene::new();
    // Another lease's page, whole as it is.
    scene.usage = Usage::new(LEASE + 1);
    scene.usage.claim_slot(0, 42);
    assert_eq!(scene.found(2), [(Rule::PageHeader, 0)]);
}

proptest! {
    /// Whatever stands in the page, a look ends, and finds each rule of a slot at most once.
    #[test]
    fn a_page_of_noise_is_looked_at(
        noise in proptest::collection::vec((0usize..256, 0usize..9, any::<u64>()), 0..64),
        high: u32,
    ) {
        let mut scene = Scene::new();
        scene.usage.high_water.store(high, Relaxed);
        for round in noise.chunks(16) {
            for &(slot, field, value) in round {
                let slot = &scene.usage.slot[slot];
                let short = u32::try_from(value & 0xffff_ffff).unwrap();
                match field {
                    0 => slot.pid.store(short, Relaxed),
                    1 => slot.generation.store(short, Relaxed),
                    2 => slot.inflight.store(short, Relaxed),
                    3 => slot.waiting.store(short, Relaxed),
                    4 => slot.completed.store(value, Relaxed),
                    5 => slot.launched.store(value, Relaxed),
                    6 => slot.longest_ns.store(value, Relaxed),
                    7 => scene.limits.out_of_turn(slot).unwrap().store(value, Relaxed),
                    _ => slot.device[0].held.store(value, Relaxed),
                }
            }
            let found = scene.look();
            prop_assert!(found.len() <= 9 * polder_ledger::SLOTS_MAX);
            for (rule, pid, _) in &found {
                prop_assert!(*pid == 42 || *pid == 0, "{rule:?} blames process {pid}");
            }
        }
    }

    /// Threads that count in and out as the driver does, caught between any two of their steps, are
    /// never found to lie.
    #[test]
    fn honest_counts_between_any_two_steps_are_no_lie(
        steps in proptest::collection::vec((0usize..4, any::<bool>()), 0..200),
    ) {
        let mut scene = Scene::new();
        // What each of the four threads does next.
        let mut place = [0u8; 4];
        let mut busy = 0u64;
        for (thread, look) in steps {
            let slot = scene.slot();
            place[thread] = match place[thread] {
                0 => { slot.inflight.fetch_add(1, Relaxed); 1 }
                1 => { slot.launched.fetch_add(1, Relaxed); 2 }
                2 => { slot.completed.fetch_add(1, Relaxed); 3 }
                _ => { slot.inflight.fetch_sub(1, Relaxed); 0 }
            };
            if look {
                busy += 1;
                scene.stats.get_mut(&42).unwrap().ticks += busy;
                prop_assert_eq!(scene.look(), vec![]);
            }
        }
    }
}

#[test]
fn the_drivers_own_steps_are_honest() {
    let mut scene = Scene::new();
    gate::set(&scene.limits, gate::OPEN);
    for round in 0..50u64 {
        gate::enter(&scene.limits, scene.slot()).unwrap();
        scene.stats.get_mut(&42).unwrap().ticks = round;
        assert_eq!(scene.look(), []);
        let _ = gate::leave(&scene.limits, scene.slot());
        assert_eq!(scene.look(), []);
    }
}
