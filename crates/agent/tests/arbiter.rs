//! The arbiter's thread with real pages and doorbells, and threads as tenants whose kernels are
//! sleeps. What it does with time is tested in virtual time beside its core; here it only has to
//! do it at all, on a machine that may be busy.
#![allow(clippy::unwrap_used)] // what fails in a helper fails the test

#[path = "../../ledger/tests/old/mod.rs"]
#[allow(dead_code, reason = "the ledger's own tests use the rest")]
mod old;

use polder_agent::arbiter::{ArbiterError, ArbiterHandle, Before, Carried, Share, Terms};
use polder_ledger::{Limits, Mapped, Usage, busy, create_usage, gate, map_limits, map_usage};
use polder_model::{Bytes, LeaseId, Micros, Permille, WorkClass};
use rustix::event::EventfdFlags;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Far longer than anything here should take, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn share(device: &str, compute: u32, compute_max: u32) -> Share {
    Share {
        device: device.parse().unwrap(),
        compute: Permille(compute),
        compute_max: Permille(compute_max),
        memory: Bytes(1 << 30),
        backing: Bytes(0),
        granularity: Bytes(4096),
    }
}

/// A tenant's side of a lease.
struct Tenant {
    limits: Mapped<Limits>,
    usage: Mapped<Usage>,
    doorbell: OwnedFd,
    finished: AtomicU64,
    stop: AtomicBool,
}

impl Tenant {
    fn join(arbiter: &ArbiterHandle, lease: u64, shares: Vec<Share>) -> Arc<Self> {
        let (fd, page) = create_usage(lease).unwrap();
        let doorbell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let ours = doorbell.try_clone().unwrap();
        page.claim_slot(0, std::process::id());
        let (limits, _) =
            arbiter.add(LeaseId(lease), Terms::batch(shares), page, ours, None).unwrap();
        Arc::new(Self {
            limits: map_limits(limits).unwrap(),
            usage: map_usage(fd).unwrap(),
            doorbell,
            finished: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        })
    }

    fn ring(&self) {
        rustix::io::write(&self.doorbell, &1u64.to_ne_bytes()).unwrap();
    }

    /// Waits for the turn and counts a command in, as a driver does.
    fn enter(&self) -> bool {
        let slot = &self.usage.slot[0];
        let mut waits = false;
        let entered = loop {
            match gate::enter(&self.limits, slot) {
                Ok(_) => break true,
                Err((seen, bell)) => {
                    if bell == gate::Bell::Ring {
                        self.ring();
                    }
                    if self.stop.load(Ordering::Relaxed) {
                        break false;
                    }
                    if !waits {
                        gate::wait_begin(slot);
                        self.ring();
                        waits = true;
                    }
                    polder_ledger::wait_for_gate(&self.limits, seen, 50_000_000);
                }
            }
        };
        if waits {
            gate::wait_end(slot);
        }
        entered
    }

    fn leave(&self) {
        if gate::leave(&self.limits, &self.usage.slot[0]) == gate::Bell::Ring {
            self.ring();
        }
    }

    /// One kernel after another, until told to stop.
    fn saturate(self: &Arc<Self>, kernel: Duration) -> JoinHandle<()> {
        let this = Arc::clone(self);
        std::thread::spawn(move || {
            while !this.stop.load(Ordering::Relaxed) && this.enter() {
                std::thread::sleep(kernel);
                this.finished.fetch_add(1, Ordering::Relaxed);
                this.leave();
            }
        })
    }

    fn finished(&self) -> u64 {
        self.finished.load(Ordering::Relaxed)
    }
}

fn stop(tenants: &[&Arc<Tenant>], threads: Vec<JoinHandle<()>>) {
    for tenant in tenants {
        tenant.stop.store(true, Ordering::Relaxed);
    }
    for thread in threads {
        thread.join().unwrap();
    }
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what} never came");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn contended(arbiter: &ArbiterHandle, lease: u64) -> u64 {
    arbiter.sample(LeaseId(lease)).unwrap().devices[0].contended_time.0
}

#[test]
fn two_saturating_tenants_get_what_was_asked() {
    let arbiter = ArbiterHandle::start().unwrap();
    let a = Tenant::join(&arbiter, 1, vec![share("d0", 700, 1000)]);
    let b = Tenant::join(&arbiter, 2, vec![share("d0", 300, 1000)]);
    let kernel = Duration::from_millis(2);
    let threads = vec![a.saturate(kernel), b.saturate(kernel)];
    eventually("two seconds of contention", || {
        contended(&arbiter, 1) + contended(&arbiter, 2) > 2_000_000
    });
    let (of_a, of_b) = (contended(&arbiter, 1), contended(&arbiter, 2));
    stop(&[&a, &b], threads);
    let share = of_a * 1000 / (of_a + of_b);
    assert!((650..=750).contains(&share), "{share} thousandths instead of 700");
}

fn number(name: &str) -> Option<i32> {
    std::env::var(name).ok()?.parse().ok()
}

/// Not a test of its own: a process with an old driver, which launches until it is killed.
#[test]
fn old_process() {
    let fds = ["OLD_LIMITS", "OLD_USAGE", "OLD_BELL"].map(number);
    let [Some(limits), Some(usage), Some(bell)] = fds else { return };
    // SAFETY: the parent left exactly these open for us, and nobody else here knows them.
    #[allow(unsafe_code, reason = "descriptors known by their numbers alone")]
    let [limits, usage, bell] = [limits, usage, bell].map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    let ring = || rustix::io::write(&bell, &1u64.to_ne_bytes()).unwrap();
    let limits = old::Page::map(limits, false).unwrap();
    let usage = old::Page::map(usage, true).unwrap();
    let process = old::Process { limits, usage, slot: 0 };
    loop {
        let mut waits = false;
        while let Err((seen, bell)) = process.enter() {
            if bell || !waits {
                ring();
            }
            if !waits {
                process.wait_begin();
                ring();
                waits = true;
            }
            process.wait_for_gate(seen);
        }
        if waits {
            process.wait_end();
        }
        std::thread::sleep(Duration::from_millis(2));
        if process.leave(2_000_000) {
            ring();
        }
    }
}

/// The process above, on the pages of a lease.
fn start_old(limits: &OwnedFd, usage: &OwnedFd, bell: &OwnedFd) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "old_process"]).stdout(Stdio::null());
    for (name, fd) in [("OLD_LIMITS", limits), ("OLD_USAGE", usage), ("OLD_BELL", bell)] {
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).unwrap();
        command.env(name, fd.as_raw_fd().to_string());
    }
    command.spawn().unwrap()
}

#[test]
fn a_process_with_an_old_driver_has_its_share_under_a_new_agent() {
    let arbiter = ArbiterHandle::start().unwrap();
    let (usage, page) = create_usage(1).unwrap();
    let bell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    page.claim_slot(0, 4711);
    let mut terms = Terms::batch(vec![share("d0", 700, 1000)]);
    let ours = bell.try_clone().unwrap();
    let (limits, _) = arbiter.add(LeaseId(1), terms.clone(), page, ours, None).unwrap();
    let mut process = start_old(&limits, &usage, &bell);
    let b = Tenant::join(&arbiter, 2, vec![share("d0", 300, 1000)]);
    let threads = vec![b.saturate(Duration::from_millis(2))];
    let measure = |arbiter: &ArbiterHandle| {
        let of = || [1, 2].map(|lease| contended(arbiter, lease));
        let before = of();
        eventually("a second and a half of contention", || {
            of().iter().sum::<u64>() > before.iter().sum::<u64>() + 1_500_000
        });
        let after = of();
        (after[0] - before[0]) * 1000 / (after[0] - before[0] + after[1] - before[1])
    };
    let first = measure(&arbiter);
    // Its share changes, and it comes to stand beside one that somebody waits for.
    terms.devices[0].compute = Permille(300);
    arbiter.resize(LeaseId(1), terms).unwrap();
    let urgent = vec![share("d0", 700, 1000)];
    let urgent = Terms { class: WorkClass::Inference, ..Terms::batch(urgent) };
    arbiter.resize(LeaseId(2), urgent).unwrap();
    eventually("a word about the latency class", || {
        gate::look(&map_limits(&limits).unwrap()).has(gate::ONE)
    });
    let second = measure(&arbiter);
    process.kill().unwrap();
    process.wait().unwrap();
    stop(&[&b], threads);
    assert!((640..=760).contains(&first), "{first} thousandths instead of 700");
    assert!((240..=360).contains(&second), "{second} thousandths instead of 300");
}

#[test]
fn one_alone_has_an_open_gate_and_keeps_it() {
    let arbiter = ArbiterHandle::start().unwrap();
    let a = Tenant::join(&arbiter, 1, vec![share("d0", 300, 1000)]);
    eventually("an open gate", || gate::look(&a.limits).open());
    let before = gate::look(&a.limits);
    let threads = vec![a.saturate(Duration::from_millis(1))];
    eventually("a hundred kernels", || a.finished() > 100);
    assert_eq!(gate::look(&a.limits), before, "the gate was never written again");
    assert_eq!(a.limits.deadline_ns.load(Ordering::Relaxed), u64::MAX);
    stop(&[&a], threads);
    eventually("a charge", || {
        arbiter.sample(LeaseId(1)).unwrap().devices[0].device_time > Micros(50_000)
    });
}

#[test]
fn a_holder_that_never_ends_does_not_stop_its_neighbour() {
    let arbiter = ArbiterHandle::start().unwrap();
    let a = Tenant::join(&arbiter, 1, vec![share("d0", 500, 1000)]);
    let b = Tenant::join(&arbiter, 2, vec![share("d0", 500, 1000)]);
    assert!(a.enter());
    let threads = vec![b.saturate(Duration::from_millis(1))];
    eventually("the neighbour's kernels", || b.finished() > 50);
    let charged = || arbiter.sample(LeaseId(1)).unwrap().devices[0].contended_time.0;
    let before = charged();
    eventually("the overlap's charge", || charged() > before + 100_000);
    a.leave();
    stop(&[&b], threads);
}

#[test]
fn without_enforcement_nobody_waits_and_use_is_charged() {
    let arbiter = ArbiterHandle::start_ungated().unwrap();
    let capped = || vec![share("d0", 100, 100)];
    let (a, b) = (Tenant::join(&arbiter, 1, capped()), Tenant::join(&arbiter, 2, capped()));
    let begun = Instant::now();
    let open = || {
        for tenant in [&a, &b] {
            assert!(gate::look(&tenant.limits).has(gate::UNGATED));
            gate::enter(&tenant.limits, &tenant.usage.slot[0]).expect("nothing waits");
        }
    };
    // Both have work in flight at once, for many times what their caps would allow.
    open();
    let used = |lease| arbiter.sample(LeaseId(lease)).unwrap().devices[0].device_time.0;
    eventually("charges", || {
        open();
        used(1) > 500_000 && used(2) > 500_000
    });
    assert!(u128::from(used(1)) <= begun.elapsed().as_micros());
    arbiter.resize(LeaseId(1), Terms::batch(vec![share("d0", 50, 50)])).unwrap();
    open();
}

#[test]
fn two_leases_over_the_same_two_devices_both_go_on() {
    let arbiter = ArbiterHandle::start().unwrap();
    let both = || vec![share("d0", 500, 1000), share("d1", 500, 1000)];
    let turned = || vec![share("d1", 500, 1000), share("d0", 500, 1000)];
    let a = Tenant::join(&arbiter, 1, both());
    let b = Tenant::join(&arbiter, 2, turned());
    let threads = vec![a.saturate(Duration::from_millis(1)), b.saturate(Duration::from_millis(1))];
    eventually("kernels of both", || a.finished() > 200 && b.finished() > 200);
    stop(&[&a, &b], threads);
}

#[test]
fn a_bell_that_never_stops_ringing_stops_nobody() {
    let arbiter = ArbiterHandle::start().unwrap();
    let a = Tenant::join(&arbiter, 1, vec![share("d0", 500, 1000)]);
    let b = Tenant::join(&arbiter, 2, vec![share("d0", 500, 1000)]);
    let storm = {
        let a = Arc::clone(&a);
        std::thread::spawn(move || {
            while !a.stop.load(Ordering::Relaxed) {
                a.ring();
            }
        })
    };
    let threads = vec![storm, b.saturate(Duration::from_millis(1))];
    eventually("the neighbour's kernels", || b.finished() > 200);
    stop(&[&a, &b], threads);
}

#[test]
fn a_lower_memory_is_in_force_once_no_more_is_held_or_about_to_be() {
    const MIB: u64 = 1 << 20;
    let arbiter = ArbiterHandle::start().unwrap();
    let tenant = Tenant::join(&arbiter, 1, vec![share("d0", 300, 1000)]);
    let in_force = || arbiter.is_in_force(LeaseId(1));
    let mine = &tenant.usage.slot[0].device[0];
    mine.held.store(600 * MIB, Ordering::Release);
    assert!(in_force() && !arbiter.is_in_force(LeaseId(2)), "nothing is known of another");
    let shares = vec![Share { memory: Bytes(512 * MIB), ..share("d0", 300, 1000) }];
    arbiter.resize(LeaseId(1), Terms::batch(shares)).unwrap();
    assert_eq!(tenant.limits.device[0].memory_max.load(Ordering::Acquire), 512 * MIB);
    assert!(!in_force(), "more is held");
    mine.held.store(100 * MIB, Ordering::Release);
    mine.claim.store(500 * MIB, Ordering::Release);
    assert!(!in_force(), "more is about to be held");
    mine.claim.store(412 * MIB, Ordering::Release);
    assert!(in_force());
}

#[test]
fn no_memory_is_in_force_while_an_earlier_agents_page_may_be_gone_by() {
    let arbiter = ArbiterHandle::start().unwrap();
    let (_fd, page) = create_usage(1).unwrap();
    let doorbell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    let before = Before { epoch: 1, ..Before::default() };
    let terms = Terms::batch(vec![share("d0", 300, 1000)]);
    let begun = polder_ledger::monotonic_ns();
    arbiter.add(LeaseId(1), terms, page, doorbell, Some(before)).unwrap();
    eventually("its processes have left the earlier page", || arbiter.is_in_force(LeaseId(1)));
    assert!(polder_ledger::monotonic_ns() - begun > polder_ledger::HEARTBEAT_NS_MAX);
}

#[test]
fn a_new_agent_goes_on_from_the_page_of_the_old() {
    let arbiter = ArbiterHandle::start().unwrap();
    let devices = vec![Carried { charged_ns: 9_000, contended_ns: 5_000 }];
    // Half a second ago it had charged 4 us of what was counted; 7 us are counted by now.
    let looked_ns = polder_ledger::monotonic_ns() - 500_000_000;
    let hidden = vec![400 << 20];
    let old = Before { epoch: 4, devices, counted_ns: Some(4_000), looked_ns, hidden };
    let (_fd, page) = create_usage(1).unwrap();
    page.claim_slot(0, 100);
    busy::count(&page.slot[0], 7_000);
    page.retire_slot(0);
    let doorbell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    let shares = vec![share("d0", 300, 400)];
    let (fd, epoch) =
        arbiter.add(LeaseId(1), Terms::batch(shares), page, doorbell, Some(old)).unwrap();
    let limits = map_limits(fd).unwrap();
    assert_eq!((epoch, limits.epoch(), limits.lease()), (5, 5, 1));
    let left = limits.device[0].memory_max.load(Ordering::Relaxed);
    assert_eq!((limits.memory(0), left), (1 << 30, (1 << 30) - (400 << 20)));
    let now = Before::of(&limits);
    assert_eq!((now.epoch, now.counted_ns), (5, Some(7_000)));
    assert_eq!(now.devices, [Carried { charged_ns: 12_000, contended_ns: 5_000 }]);
    let device = &limits.device[0];
    assert_eq!(device.compute_max.load(Ordering::Relaxed), 400);
    let sample = arbiter.remove(LeaseId(1)).unwrap();
    assert_eq!(sample.devices[0].device_time, Micros(12));
    // One that dies in the middle of telling has charged a moment too little, and its shim tells of it.
    assert_eq!(now.owed_ns(now.looked_ns + 1_000_000, 9_000), 2_000);
    assert_eq!(now.owed_ns(now.looked_ns + 500, 9_000), 500, "by the clock at most");
    assert_eq!(now.owed_ns(now.looked_ns + 1_000_000, 7_000), 0);
    assert!(arbiter.sample(LeaseId(1)).is_none());
}

/// Processes that come, work and are gone, one after the other, each long before the next look.
#[test]
fn work_that_comes_and_goes_between_two_looks_is_charged_to_the_last_nanosecond() {
    let arbiter = ArbiterHandle::start().unwrap();
    let (fd, page) = create_usage(1).unwrap();
    let doorbell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    let shares = vec![share("d0", 300, 1000)];
    arbiter.add(LeaseId(1), Terms::batch(shares), page, doorbell, None).unwrap();
    let page = map_usage(fd).unwrap();
    let began = Instant::now();
    for pid in 100..120 {
        page.claim_slot(0, pid);
        // No more than has gone by.
        while began.elapsed() < Duration::from_micros(u64::from(pid - 99) * 60) {
            std::thread::yield_now();
        }
        busy::count(&page.slot[0], 50_000);
        page.retire_slot(0);
    }
    let sample = arbiter.remove(LeaseId(1)).unwrap();
    assert_eq!(sample.devices[0].device_time, Micros(1_000));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let arbiter = ArbiterHandle::start().unwrap();
    let add = |lease, shares| {
        let (_fd, page) = create_usage(lease).unwrap();
        let doorbell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        arbiter.add(LeaseId(lease), Terms::batch(shares), page, doorbell, None).map(|_| ())
    };
    let one = || share("d0", 500, 1000);
    assert!(matches!(add(1, vec![]), Err(ArbiterError::Devices { count: 0, .. })));
    assert!(matches!(add(1, vec![one(), one()]), Err(ArbiterError::Devices { distinct: 1, .. })));
    add(1, vec![one()]).unwrap();
    assert!(matches!(add(1, vec![one()]), Err(ArbiterError::Twice(LeaseId(1)))));
    let resize = |lease, devices| arbiter.resize(LeaseId(lease), Terms::batch(devices));
    let resized = resize(1, vec![share("d1", 500, 1000)]);
    assert!(matches!(resized, Err(ArbiterError::OtherDevices(_))));
    assert!(matches!(resize(2, vec![one()]), Err(ArbiterError::Unknown(_))));
    resize(1, vec![share("d0", 200, 250)]).unwrap();
    arbiter.shutdown();
    assert!(matches!(
        add(3, vec![one()]),
        Err(ArbiterError::Stopped | ArbiterError::Kernel { .. })
    ));
}

/// What a driver holds for a lease's processes beyond what they allocated is the lease's, and nobody
/// else's; it stays so when the lease is resized.
#[test]
fn what_the_driver_holds_for_a_lease_comes_off_what_its_programs_may_allocate() {
    let arbiter = ArbiterHandle::start().unwrap();
    let one = Tenant::join(&arbiter, 1, vec![share("d0", 500, 1000), share("d1", 500, 1000)]);
    let me = std::process::id();
    let context = 400 << 20;
    one.usage.slot[0].device[1].held.store(100 << 20, Ordering::Relaxed);
    let used = [(me, (100 << 20) + context), (me + 1, 7 << 30)];
    let may = |device: usize| one.limits.device[device].memory_max.load(Ordering::Relaxed);
    for looks in 1..=3 {
        assert_eq!(may(1), 1 << 30, "after {} looks", looks - 1);
        arbiter.used(&"d1".parse().unwrap(), &used, &[]);
    }
    assert_eq!((may(0), may(1), one.limits.memory(1)), (1 << 30, (1 << 30) - context, 1 << 30));
    let sample = &arbiter.sample(LeaseId(1)).unwrap().devices[1];
    assert_eq!(
        (sample.memory.0, sample.memory_peak.0),
        ((100 << 20) + context, (100 << 20) + context)
    );
    let less = Share { memory: Bytes(300 << 20), ..share("d1", 500, 1000) };
    arbiter.resize(LeaseId(1), Terms::batch(vec![share("d0", 500, 1000), less])).unwrap();
    assert_eq!((may(1), one.limits.memory(1)), (0, 300 << 20), "never below nothing");
    arbiter.used(&"d1".parse().unwrap(), &[], &[]);
    assert_eq!(may(1), 0, "whoever holds memory may come back to its context");
    one.usage.slot[0].device[1].held.store(0, Ordering::Relaxed);
    arbiter.used(&"d1".parse().unwrap(), &[], &[]);
    assert_eq!((may(1), one.limits.memory(1)), (300 << 20, 300 << 20));
}

/// Pinned host memory is told apart from every device's, is held to no limit, and is never more than the
/// machine has, whatever a process writes.
#[test]
fn what_is_pinned_of_the_hosts_memory_is_told_apart() {
    let arbiter = ArbiterHandle::start().unwrap();
    let one = Tenant::join(&arbiter, 1, vec![share("d0", 500, 1000), share("d1", 500, 1000)]);
    let pinned = || arbiter.sample(LeaseId(1)).unwrap().host_pinned;
    assert_eq!(pinned(), Bytes(0));
    let row = one.limits.pinned_row().unwrap();
    polder_ledger::memory::count(&one.usage, 0, row, 3 << 20);
    let sample = arbiter.sample(LeaseId(1)).unwrap();
    assert_eq!(sample.host_pinned, Bytes(3 << 20));
    assert!(sample.devices.iter().all(|device| device.memory.is_zero()), "{sample:?}");
    one.usage.slot[0].device[row].held.store(u64::MAX, Ordering::Relaxed);
    let facts = rustix::system::sysinfo();
    assert_eq!(pinned(), Bytes(facts.totalram * u64::from(facts.mem_unit)));
    polder_ledger::memory::free(&one.usage, 0, row, u64::MAX);
    assert_eq!(pinned(), Bytes(0));
}
