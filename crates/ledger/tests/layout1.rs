//! The pages of this version are, byte for byte, those that an old driver knows as layout 1.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used)] // what fails in a helper fails the test

#[allow(dead_code, reason = "the agent's tests use the rest")]
mod old;

use old::{DEVICE, LIMITS, Page, Process, SLOT, SLOT_DEVICE, USAGE};
use polder_ledger::{LAYOUT, Limits, LimitsWriter, Usage, busy, create_usage, gate, memory};
use std::sync::atomic::Ordering;

/// How far `field` lies from the start of `page`.
fn offset<P, F>(page: &P, field: &F) -> usize {
    std::ptr::from_ref(field).addr() - std::ptr::from_ref(page).addr()
}

#[test]
fn every_word_lies_where_it_lay() {
    assert_eq!(LAYOUT, old::LAYOUT, "a new layout keeps the old one beside it, and this test");
    assert_eq!((size_of::<Limits>(), size_of::<Usage>()), (old::LIMITS_BYTES, old::USAGE_BYTES));
    let limits = Limits::new(1, 1);
    let l = &limits;
    assert_eq!(
        [
            offset(l, &l.devices),
            offset(l, &l.gate),
            offset(l, &l.deadline_ns),
            offset(l, &l.quantum_ns),
            offset(l, &l.heartbeat_ns),
        ],
        LIMITS
    );
    let first = &l.device[0];
    let fields = [
        offset(first, &first.memory_max),
        offset(first, &first.granularity),
        offset(first, &first.compute),
        offset(first, &first.compute_max),
        offset(first, &first.charged_ns),
        offset(first, &first.contended_ns),
    ];
    assert_eq!((offset(l, first), offset(first, &l.device[1]), fields), DEVICE);
    let usage = Box::new(Usage::new(1));
    let u = &*usage;
    let fields = [offset(u, &u.high_water), offset(u, &u.peak), offset(u, &u.retired)];
    assert_eq!((fields, offset(u, &u.slot[0]), offset(&u.slot[0], &u.slot[1])), USAGE);
    let free = USAGE.0[2] + size_of_val(&u.retired)..=USAGE.1 - size_of_val(&u.single);
    assert!(free.contains(&offset(u, &u.single)), "where layout 1 had nothing at first");
    let slot = &u.slot[0];
    assert_eq!(
        [
            offset(slot, &slot.pid),
            offset(slot, &slot.generation),
            offset(slot, &slot.inflight),
            offset(slot, &slot.waiting),
            offset(slot, &slot.completed),
            offset(slot, &slot.launched),
            offset(slot, &slot.waited_ns),
            offset(slot, &slot.refused),
            offset(slot, &slot.longest_ns),
        ],
        SLOT
    );
    let device = &slot.device[0];
    let fields = [offset(device, &device.claim), offset(device, &device.held)];
    assert_eq!((offset(slot, device), offset(device, &slot.device[1]), fields), SLOT_DEVICE);
    let free = SLOT_DEVICE.0 + size_of_val(&slot.device)..=USAGE.2 - size_of_val(&slot.busy_ns);
    assert!(free.contains(&offset(slot, &slot.busy_ns)), "where layout 1 had nothing at first");
}

/// An old process counts nothing, and an old shim neither clears nor moves what a new one has counted.
#[test]
fn what_was_counted_stays_in_the_slot_whoever_has_it_next() {
    let (_fd, usage) = create_usage(7).unwrap();
    for (slot, pid) in [(0, 100), (1, 101)] {
        usage.claim_slot(slot, pid);
        busy::count(&usage.slot[slot], 40 + u64::from(pid));
    }
    usage.retire_slot(0);
    assert_eq!(busy::total(&usage), 281);
    assert_eq!(gate::census(&usage).busy_ns, 281, "also of slots that nobody has");
    usage.claim_slot(0, 102);
    busy::count(&usage.slot[0], 5);
    assert_eq!(busy::total(&usage), 286);
}

#[test]
fn how_much_is_charged_is_kept_behind_the_last_device() {
    let limits = LimitsWriter::create(7, 1).unwrap();
    for devices in 0..polder_ledger::DEVICES_MAX {
        limits.devices.store(u32::try_from(devices).unwrap(), Ordering::Release);
        let kept = limits.counted_ns().unwrap();
        assert!(std::ptr::eq(kept, &raw const limits.device[devices].charged_ns));
    }
    limits.devices.store(u32::MAX, Ordering::Release);
    assert!(limits.counted_ns().is_none(), "all rows are devices'");
}

/// No row is a device's or lies behind one, and pinned host memory or launches without a turn count in it too.
#[test]
fn what_is_pinned_is_counted_in_no_devices_row() {
    let limits = LimitsWriter::create(7, 1).unwrap();
    let last = polder_ledger::DEVICES_MAX - 1;
    let (_fd, usage) = create_usage(7).unwrap();
    let slot = &usage.slot[0];
    for (devices, behind) in (0..=last + 1).flat_map(|n| [(n, 0), (n, 64)]) {
        limits.devices.store(u32::try_from(devices).unwrap(), Ordering::Release);
        for (row, limits) in limits.device.iter().enumerate() {
            let bytes = if (devices..2 * devices).contains(&row) { behind } else { 0 };
            limits.memory_max.store(bytes, Ordering::Relaxed);
        }
        let is_taken = devices > last || (behind > 0 && 2 * devices > last);
        assert_eq!(limits.pinned_row(), (!is_taken).then_some(last), "{devices}, {behind}");
        assert!(limits.pinned_row().is_none_or(|row| row >= limits.row_count()));
        let counts = limits.out_of_turn(slot).map(std::ptr::from_ref);
        assert_eq!(counts, (!is_taken).then_some(&raw const slot.device[last].claim));
    }
}

/// A shim that knows nothing of pinned memory clears what a dead process had pinned and what it had launched without
/// its turn, and an old process of the lease neither sees it in its way nor touches it.
#[test]
fn what_is_pinned_is_cleared_by_an_old_shim_and_in_nobodys_way() {
    let limits = LimitsWriter::create(7, 1).unwrap();
    limits.devices.store(1, Ordering::Release);
    limits.device[0].memory_max.store(1000, Ordering::Relaxed);
    let row = limits.pinned_row().unwrap();
    let (fd, usage) = create_usage(7).unwrap();
    for slot in 0..2 {
        usage.claim_slot(slot, 100);
        memory::count(&usage, slot, row, 1 << 40);
        limits.out_of_turn(&usage.slot[slot]).unwrap().store(u64::MAX, Ordering::Relaxed);
    }
    let old = Process {
        limits: Page::map(limits.fd(), false).unwrap(),
        usage: Page::map(&fd, true).unwrap(),
        slot: 1,
    };
    assert!(old.reserve(1000), "none of it is the device's");
    assert_eq!((memory::held(&usage, 0), memory::held(&usage, row)), (1000, 2 << 40));
    memory::free(&usage, 0, row, 1 << 30);
    assert_eq!(memory::held(&usage, row), (2 << 40) - (1 << 30));
    memory::count(&usage, 0, row, u64::MAX);
    assert_eq!(memory::held(&usage, row), u64::MAX, "nothing wraps");
    // What a shim of layout 1 clears: every row that there is.
    for slot in 0..2 {
        let rows = old::SLOT_DEVICE;
        for place in 0..=row {
            let at = old::USAGE.1 + slot * old::USAGE.2 + rows.0 + place * rows.1;
            rows.2.iter().for_each(|word| old.usage.long(at + word).store(0, Ordering::Release));
        }
    }
    assert_eq!(memory::held(&usage, row), 0);
    let counted = |slot| limits.out_of_turn(slot).unwrap().load(Ordering::Relaxed);
    assert_eq!(usage.slots().iter().map(counted).max(), Some(0));
}

#[test]
fn an_old_process_and_a_new_one_keep_one_account_and_one_gate() {
    let limits = LimitsWriter::create(7, 1).unwrap();
    limits.devices.store(1, Ordering::Release);
    limits.device[0].memory_max.store(1000, Ordering::Relaxed);
    let (fd, usage) = create_usage(7).unwrap();
    for slot in 0..2 {
        usage.claim_slot(slot, 100);
    }
    let old = Process {
        limits: Page::map(limits.fd(), false).unwrap(),
        usage: Page::map(&fd, true).unwrap(),
        slot: 1,
    };
    assert!(old.reserve(600) && !old.reserve(401));
    assert_eq!(memory::held(&usage, 0), 600);
    memory::reserve(&usage, 0, 0, 401, || 1000, || ()).unwrap_err();
    memory::reserve(&usage, 0, 0, 400, || 1000, || ()).unwrap();

    // Flags that it does not know are none of its business.
    for flags in [gate::OPEN, gate::OPEN | gate::ONE, gate::OPEN | gate::CONTENDED | gate::WATCH] {
        gate::set(&limits, flags);
        old.enter().unwrap();
        assert_eq!(gate::census(&usage).inflight, 1);
        assert_eq!(old.leave(5_000), flags & gate::WATCH != 0);
    }
    gate::set(&limits, gate::ONE);
    assert!(matches!(old.enter(), Err((_, true))), "closed, and the arbiter waits for it");
    old.wait_begin();
    let census = gate::census(&usage);
    assert_eq!((census.inflight, census.waiting, census.completed), (0, 1, 3));
    assert_eq!(census.longest_ns, 5_000);
    old.wait_end();
    usage.retire_slot(1);
    assert_eq!(memory::held(&usage, 0), 400);
}
