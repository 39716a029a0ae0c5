//! What is not a page, or not one that this program speaks, is refused and says so; and a page that
//! its tenant has written over is still the lease's page to the agent.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used)] // what fails in a helper fails the test

use polder_ledger::gate::census;
use polder_ledger::{
    LAYOUT, Limits, LimitsWriter, Usage, adopt_usage, create_usage, map_limits, map_usage,
};
use rustix::fs::{MemfdFlags, SealFlags};
use std::os::fd::OwnedFd;

const LAYOUT_AT: u64 = 8;
const BYTES_AT: u64 = 12;

/// A file of so many bytes, sealed against shrinking if so wanted.
fn file(bytes: &[u8], length: usize, sealed: bool) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = rustix::fs::memfd_create("other", flags).unwrap();
    rustix::io::pwrite(&fd, bytes, 0).unwrap();
    rustix::fs::ftruncate(&fd, length as u64).unwrap();
    if sealed {
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK).unwrap();
    }
    fd
}

/// The bytes of a new usage page.
fn usage_bytes() -> Vec<u8> {
    let (fd, _page) = create_usage(1).unwrap();
    let mut bytes = vec![0; size_of::<Usage>()];
    rustix::io::pread(&fd, &mut bytes, 0).unwrap();
    bytes
}

#[track_caller]
fn check_refused(fd: &OwnedFd, why: &str) {
    let error = map_usage(fd).map(drop).unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
}

#[test]
fn what_is_not_a_usage_page_is_refused_and_says_why() {
    let page = usage_bytes();
    let whole = page.len();
    map_usage(file(&page, whole, true)).unwrap();
    check_refused(&file(&page, whole, false), "not sealed against shrinking");
    check_refused(&file(&[], 0, true), "too short");
    for length in [1, 64, 4096, whole - 1] {
        check_refused(&file(&page[..length], length, true), "too short");
    }
    check_refused(&file(&[], whole, true), "its first bytes are 0x0000000000000000");
    check_refused(&file(b"#!/bin/sh\nexit 1\n", whole, true), "not a usage page");
    let limits = LimitsWriter::create(1, 1).unwrap();
    let error = map_limits(file(&page, whole, true)).map(drop).unwrap_err().to_string();
    assert!(error.contains("not a limits page"), "{error}");
    assert!(adopt_usage(limits.fd(), LAYOUT).is_err(), "a page of the agent's own is taken");
    let (read, _write) = rustix::pipe::pipe().unwrap();
    check_refused(&read, "usage page");
}

#[test]
fn another_layout_or_length_is_refused_and_says_what_to_do() {
    for (at, value, why) in [
        (LAYOUT_AT, 0, "has layout 0, this program speaks 1: restart the task"),
        (LAYOUT_AT, 2, "has layout 2, this program speaks 1: restart the task"),
        (LAYOUT_AT, u32::MAX, "has layout 4294967295"),
        (BYTES_AT, 64, "its header tells another length"),
        (BYTES_AT, u32::MAX, "its header tells another length"),
    ] {
        let mut page = usage_bytes();
        let at = usize::try_from(at).unwrap();
        page[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        check_refused(&file(&page, page.len(), true), why);
    }
    let (fd, _page) = create_usage(1).unwrap();
    let error = adopt_usage(&fd, LAYOUT + 1).map(drop).unwrap_err().to_string();
    assert!(error.contains("has layout 2, this program speaks 1"), "{error}");
}

#[test]
fn a_tenant_that_writes_over_its_header_does_not_escape_a_new_agent() {
    let (fd, page) = create_usage(7).unwrap();
    page.claim_slot(0, 4711);
    page.slot[0].waiting.store(3, std::sync::atomic::Ordering::Relaxed);
    rustix::io::pwrite(&fd, &[0xff; 32], 0).unwrap();
    check_refused(&fd, "not a usage page");
    let adopted = adopt_usage(&fd, LAYOUT).unwrap();
    assert_eq!((census(&adopted).processes, census(&adopted).waiting), (1, 3));
}

#[test]
fn nobody_but_its_maker_writes_a_limits_page() {
    let limits = LimitsWriter::create(1, 1).unwrap();
    assert!(rustix::io::pwrite(limits.fd(), &[1], 0).is_err());
    assert!(adopt_usage(limits.fd(), LAYOUT).is_err(), "a writable mapping of the limits");
    assert!(size_of::<Limits>() < 4096);
}
