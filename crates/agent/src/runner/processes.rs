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

/// What `/proc/PID/stat` says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// Clock ticks after boot.
    started: u64,
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name is in parentheses and may hold anything, parentheses too.
    let mut fields = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    Some(Stat { parent, started })
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/stat")).ok()?))
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

/// Every descendant of `root`, parents first.
pub(crate) fn descendants(root: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(stat) = stat(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
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
        let line =
            |name: &str| format!("42 ({name}) S 7 1 1 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 5000 1 1 1");
        for name in ["sh", "a) S 1 1", "((", ""] {
            assert_eq!(parse_stat(&line(name)), Some(Stat { parent: 7, started: 5000 }), "{name}");
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
