//! How much host memory this node can put behind the memory of devices: what was kept apart for it,
//! or less while the machine is short of memory. Pure, but for reading what the kernel says.
//!
//! **Invariant.** What is offered is never more than was kept apart. Beyond what leases were promised
//! it is never more than the machine could produce now, above [`HEADROOM`], if nothing of what was
//! promised were there yet: what leases say they hold of it already is not believed, or one that
//! lies would have more promised than there is. What was promised is never taken back: a lease keeps
//! its terms whatever happens to the machine, and only new promises are refused.

use polder_model::{Bytes, Lease};

/// The part of a machine's memory that must stay available for new promises to be made: a
/// sixteenth.
const HEADROOM: u64 = 16;
/// Levels of what is offered, between nothing and all: it is told to the server when it changes.
const LEVELS: u64 = 8;

/// What is to be known of the machine, bytes each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Machine {
    /// Kept apart for backing.
    kept: u64,
    /// All its memory.
    memory: u64,
    /// What programs could still take without the machine having to swap.
    available: u64,
}

/// What a lease was promised of it, bytes.
fn promised(lease: &Lease) -> u64 {
    lease.slices.iter().map(|slice| slice.backing.0).fold(0, u64::saturating_add)
}

/// What to offer, when `told` was offered before. It falls as soon as the machine has less, and
/// rises again when there is half a level to spare.
fn offer(machine: Machine, promised: u64, told: Bytes) -> Bytes {
    let can = machine.available.saturating_sub(machine.memory / HEADROOM);
    let step = (machine.kept / LEVELS).max(1);
    let level = |can: u64| if can >= machine.kept { machine.kept } else { can / step * step };
    let (now, sure) = (level(can), level(can.saturating_sub(step / 2)));
    let settled = if now < told.0 { now } else { sure.max(told.0) };
    Bytes(settled.max(promised).min(machine.kept))
}

/// Memory that programs can still take, by the kernel's own account.
fn available() -> Option<u64> {
    parse_available(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

/// The line `MemAvailable:  123 kB`, in bytes.
fn parse_available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let number = line.trim().strip_suffix("kB")?.trim();
    number.parse::<u64>().ok()?.checked_mul(1024)
}

/// What is offered of a node's host memory, as it was told last.
#[derive(Debug)]
pub(crate) struct Offering {
    kept: Bytes,
    told: Bytes,
}

impl Offering {
    /// Nothing is offered before the first look.
    pub(crate) fn new(kept: Bytes) -> Self {
        Self { kept, told: Bytes(0) }
    }

    /// So much.
    pub(crate) fn now(&self) -> Bytes {
        self.told
    }

    /// Looks at the machine, which has so much memory beside what is kept; `leases` are those that have not
    /// ended. True when there is something else to tell.
    pub(crate) fn look<'a>(
        &mut self,
        memory: Bytes,
        leases: impl Iterator<Item = &'a Lease>,
    ) -> bool {
        let kept = self.kept.0;
        if kept == 0 {
            return false;
        }
        // A kernel that does not say is not one to promise upon.
        let available = available().unwrap_or(0);
        let promised = leases.map(promised).fold(0, u64::saturating_add);
        let machine = Machine { kept, memory: memory.0.saturating_add(kept), available };
        let now = offer(machine, promised, self.told);
        if now < self.told {
            tracing::warn!(kept, offered = %now, available, "this machine is short of memory: less is put \
                behind devices");
        }
        std::mem::replace(&mut self.told, now) != now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GIB: u64 = 1 << 30;

    fn machine(available: u64) -> Machine {
        Machine { kept: 8 * GIB, memory: 32 * GIB, available: available * GIB }
    }

    #[test]
    fn what_the_machine_is_short_of_is_not_promised() {
        let check = |available, promised, told, expect: u64| {
            let got = offer(machine(available), promised * GIB, Bytes(told * GIB));
            assert_eq!(got, Bytes(expect * GIB), "{available} {promised} {told}");
        };
        // Two of 32 GiB stay available.
        check(20, 0, 8, 8);
        check(6, 0, 8, 4);
        check(2, 0, 8, 0);
        check(0, 0, 8, 0);
        // What was promised is not taken back, and not offered a second time.
        check(6, 4, 8, 4);
        check(0, 4, 8, 4);
        check(9, 6, 8, 7);
        // It rises when there is something to spare.
        check(6, 0, 3, 3);
        check(7, 0, 3, 4);
        check(10, 0, 3, 7);
        check(11, 0, 3, 8);
    }

    #[test]
    fn the_kernels_words_are_read_and_others_are_not() {
        let text = "MemTotal: 100 kB\nMemFree: 1 kB\nMemAvailable:     3 kB\n";
        assert_eq!(parse_available(text), Some(3072));
        for text in ["", "MemAvailable:", "MemAvailable: x kB", "MemAvailable: 3 MB", "Mem"] {
            assert_eq!(parse_available(text), None, "{text:?}");
        }
        assert_eq!(parse_available("MemAvailable: 18446744073709551615 kB"), None);
    }

    proptest! {
        #[test]
        fn never_more_than_can_be_produced_and_nothing_promised_is_taken_back(
            kept in 0u64..64, memory in 1u64..256, available in 0u64..256,
            promised in 0u64..64, told in 0u64..64,
        ) {
            let [kept, memory, available, told] = [kept, memory, available, told].map(|n| n * GIB);
            let promised = (promised * GIB).min(kept);
            let machine = Machine { kept, memory, available };
            let offered = offer(machine, promised, Bytes(told.min(kept))).0;
            prop_assert!(offered <= kept && offered >= promised);
            if offered > promised {
                prop_assert!(offered <= available.saturating_sub(memory / HEADROOM));
            }
            // The same look again changes nothing.
            prop_assert_eq!(offer(machine, promised, Bytes(offered)).0, offered);
        }
    }
}
