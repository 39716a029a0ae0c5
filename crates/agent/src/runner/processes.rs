//! Who descends from whom, read from `/proc`.
//!
//! Process ids are used again, so nothing read here is believed alone: a parent must not have
//! started after its child, and a caller holds a pidfd of the process it asks about.

use rustix::process::{Pid, Signal};
use std::collections::BTreeMap;
use std::io::Read;

/// Longest line of ancestors that is followed.
const ANCESTORS_MAX: usize = 4096;
/// How often a walk is begun again because an ancestor died under it.
const WALKS_MAX: usize = 8;
/// Most bytes of a process's memory map that are read; more than the kernel's usual limit of 65,530
/// mappings takes.
const MAPS_BYTES_MAX: u64 = 32 << 20;
/// What the usage page is called in a memory map.
const USAGE_IN_MAPS: &[u8] = b"/memfd:polder-usage";
/// How often all descendants are stopped again because new ones had appeared.
const FREEZE_ROUNDS_MAX: usize = 64;

/// The kernel's mark of a process that was forked and has not become another program since.
const FORKED_NOT_EXECUTED: u64 = 0x40;

/// What `/proc/PID/stat` says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    /// `T` or `t` while it is stopped.
    pub(crate) state: char,
    pub(crate) parent: u32,
    /// The process that leads its process group.
    pub(crate) leader: u32,
    /// It is a fork of its parent and still the same program.
    pub(crate) is_fork: bool,
    /// Pages it has touched for the first time, in all its threads: it grows whenever something that
    /// was mapped is used.
    pub(crate) faults: u64,
    /// Clock ticks of CPU time of all its threads.
    pub(crate) ticks: u64,
    pub(crate) threads: u64,
    /// Clock ticks after boot.
    pub(crate) started: u64,
    /// Bytes of its address space.
    pub(crate) address_space: u64,
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name is in parentheses and may hold anything, parentheses too.
    let fields: Vec<&str> = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        leader: fields.get(2)?.parse().ok()?,
        is_fork: number(6)? & FORKED_NOT_EXECUTED != 0,
        faults: number(7)?.wrapping_add(number(9)?),
        ticks: number(11)?.saturating_add(number(12)?),
        threads: number(17)?,
        started: number(19)?,
        address_space: number(20)?,
    })
}

pub(crate) fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/stat")).ok()?))
}

/// Whether the program that `pid` runs has a handler for `signal`.
pub(crate) fn catches(pid: u32, signal: Signal) -> bool {
    mask_has(pid, "SigCgt:", signal)
}

/// Whether it has one, or keeps the signal back to take it when it likes.
pub(crate) fn takes(pid: u32, signal: Signal) -> bool {
    catches(pid, signal) || mask_has(pid, "SigBlk:", signal)
}

fn mask_has(pid: u32, mask: &str, signal: Signal) -> bool {
    let status = std::fs::read(format!("/proc/{pid}/status")).unwrap_or_default();
    let bits = String::from_utf8_lossy(&status)
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix(mask)?.trim(), 16).ok());
    bits.is_some_and(|bits| bits >> (signal.as_raw() - 1) & 1 != 0)
}

/// Whether `pid` is a descendant of `ancestor`. The caller holds a pidfd of `pid`, opened before,
/// and looks at it after.
pub(crate) fn descends(pid: u32, ancestor: u32) -> bool {
    (0..WALKS_MAX).find_map(|_| walk(pid, ancestor)).unwrap_or(false)
}

/// One walk; `None` when an ancestor died under it, so that its children have moved.
fn walk(pid: u32, ancestor: u32) -> Option<bool> {
    let mut below = stat(pid)?;
    for _ in 0..ANCESTORS_MAX {
        if below.parent == ancestor {
            return Some(true);
        }
        if below.parent <= 1 {
            return Some(false);
        }
        let above = stat(below.parent)?;
        if above.started > below.started {
            return None;
        }
        below = above;
    }
    Some(false)
}

/// Every process of the machine that this one can see.
pub(crate) fn all_processes() -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Every descendant of `root`, parents first.
pub(crate) fn descendants(root: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for pid in all_processes() {
        if let Some(stat) = stat(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    below(root, &mut children)
}

/// Those of `children`, by parent, that descend from `root`, parents first; they are taken out.
pub(crate) fn below(root: u32, children: &mut BTreeMap<u32, Vec<u32>>) -> Vec<u32> {
    let mut found = children.remove(&root).unwrap_or_default();
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        let more = children.remove(pid).unwrap_or_default();
        found.extend(more);
        next += 1;
    }
    found
}

/// Sends `signal` to each; those that are gone are passed over.
pub(crate) fn signal_all(pids: &[u32], signal: Signal) {
    for pid in pids {
        if let Some(pid) = i32::try_from(*pid).ok().and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

/// Kills every descendant of `root`. They are stopped first, all of them, so that none can fork
/// while others are being killed.
pub(crate) fn kill_descendants(root: u32) {
    let mut seen = 0;
    for _ in 0..FREEZE_ROUNDS_MAX {
        let found = descendants(root);
        if found.len() == seen {
            break;
        }
        seen = found.len();
        signal_all(&found, Signal::STOP);
    }
    signal_all(&descendants(root), Signal::KILL);
}

/// Whether the memory map of `pid` still names a usage page. A map that cannot be read counts as
/// naming it: its process is then known to be gone by its pidfd alone.
pub(crate) fn maps_usage(pid: u32) -> bool {
    let Ok(file) = std::fs::File::open(format!("/proc/{pid}/maps")) else { return true };
    let mut file = file.take(MAPS_BYTES_MAX);
    let mut chunk = [0; 8192];
    let mut kept = 0;
    loop {
        match file.read(&mut chunk[kept..]) {
            Ok(0) => return false,
            Ok(read) => {
                let filled = kept + read;
                if chunk[..filled].windows(USAGE_IN_MAPS.len()).any(|part| part == USAGE_IN_MAPS) {
                    return true;
                }
                // The name may lie across two reads.
                kept = filled.min(USAGE_IN_MAPS.len() - 1);
                chunk.copy_within(filled - kept..filled, 0);
            }
            Err(_) => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_forge_a_parent() {
        let line = |name: &str| {
            format!("42 ({name}) S 7 6 1 0 -1 64 3 0 2 0 5 6 0 0 20 0 9 0 5000 77 1 1")
        };
        let expect = Stat {
            state: 'S',
            parent: 7,
            leader: 6,
            is_fork: true,
            faults: 5,
            ticks: 11,
            threads: 9,
            started: 5000,
            address_space: 77,
        };
        for name in ["sh", "a) S 1 1", "((", ""] {
            assert_eq!(parse_stat(&line(name)), Some(expect), "{name}");
        }
        assert_eq!(parse_stat("42 (sh"), None);
        assert_eq!(parse_stat("42 (sh) S 7"), None);
    }

    #[test]
    fn children_are_found_and_strangers_are_not() {
        let me = std::process::id();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(descends(child.id(), me) && descendants(me).contains(&child.id()));
        assert!(!descends(1, me) && !descends(me, child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!descends(child.id(), me));
    }

    #[test]
    fn a_mapped_usage_page_is_seen_where_it_is_mapped() {
        let (_fd, _page) = polder_ledger::create_usage(1).unwrap();
        assert!(maps_usage(std::process::id()));
        let mut other = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        // Once the child has become another program it maps nothing of ours.
        while std::fs::read(format!("/proc/{}/comm", other.id())).unwrap() != b"sleep\n" {
            std::thread::yield_now();
        }
        assert!(!maps_usage(other.id()));
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
