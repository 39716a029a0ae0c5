//! Whether a tenant's page contradicts what the kernel and the shim know, and what else its processes say
//! there that is to be told. Pure: both come in.
//!
//! **Invariant.** An honest page is never found to contradict: what is compared was either read
//! between two equal readings of the counters around it, or differs by more than the process's
//! threads could have changed meanwhile; and nothing counts that was not seen in two looks running.
//! What is found ends nobody: a false page harms its own lease already.

use super::turns::Turns;
use crate::runner::Stat;
use crate::shim::Attached;
use polder_ledger::gate::COUNT_MAX;
use polder_ledger::{Limits, Slot, Usage};
use polder_model::Rule;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Looks in which work in flight may stand still, with its process, before that is a contradiction.
const STUCK_LOOKS: u32 = 3;
/// By how much a command may seem longer than its process has lived: clocks are read one after
/// another, and the kernel counts in ticks.
const AGE_SLACK_NS: u64 = 1_000_000_000;
/// How often counters that move are read again, to find them at rest.
const READS_MAX: u32 = 4;

/// A rule that is broken: by which process (0: the lease), and what shows it.
pub(super) type Broken = (Rule, u32, String);

/// What the kernel and the shim know at one look.
pub(super) struct Known<'a> {
    pub(super) lease: u64,
    pub(super) attached: &'a [Attached],
    /// Of those attached that live.
    pub(super) stats: &'a BTreeMap<u32, Stat>,
    /// Nanoseconds since boot, and nanoseconds of one of the kernel's clock ticks.
    pub(super) boot_ns: u64,
    pub(super) tick_ns: u64,
    /// The devices are the host's processor: work in flight takes its process's CPU time.
    pub(super) on_cpu: bool,
}

/// What earlier looks at one lease's page showed.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// By slot.
    slots: BTreeMap<u32, Past>,
    /// By slot and generation.
    turns: BTreeMap<(u32, u32), Turns>,
    /// The most memory the lease could have held at any time: a resize may leave it above its limit.
    memory_max: Vec<u64>,
    /// Seen in the last look.
    pending: Vec<(Rule, u32, u32)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Past {
    generation: u32,
    completed: u64,
    launched: u64,
    ticks: u64,
    /// Looks for which nothing has moved.
    still: u32,
}

/// A slot's counters, read at rest.
struct Counts {
    inflight: u64,
    completed: u64,
    launched: u64,
}

/// Looks at a lease's pages. Returns what two looks running have shown.
pub(super) fn look(
    usage: &Usage,
    limits: &Limits,
    known: &Known<'_>,
    memory: &mut Memory,
) -> Vec<Broken> {
    let mut found: Vec<(u32, Broken)> = Vec::new();
    header(usage, known, &mut found);
    slots(usage, known, &mut found);
    held(usage, limits, memory, &mut found);
    let has = |key| known.attached.iter().any(|one| (one.slot, one.generation) == key);
    memory.slots.retain(|slot, past| has((*slot, past.generation)));
    memory.turns.retain(|key, _| has(*key));
    for one in known.attached {
        let Some(slot) = usage.slot.get(one.slot as usize) else { continue };
        let Some(stat) = known.stats.get(&one.pid) else { continue };
        let mut say = |rule, evidence| found.push((one.slot, (rule, one.pid, evidence)));
        process(slot, stat, known, &mut say);
        if let Some(count) = limits.out_of_turn(slot) {
            let turns = memory.turns.entry((one.slot, one.generation));
            let turns = turns.or_insert_with(|| Turns::new(born_ns(stat, known)));
            let told = turns.see(read64(count), known.boot_ns);
            told.into_iter().for_each(|evidence| say(Rule::OutOfTurn, evidence));
        }
        if let Some(counts) = at_rest(slot) {
            let past = memory.slots.get(&one.slot).copied();
            let now = counters(&counts, one.generation, past, stat, known, &mut say);
            memory.slots.insert(one.slot, now);
        }
    }
    let key = |(slot, broken): &(u32, Broken)| (broken.0, broken.1, *slot);
    let seen: Vec<_> = found.iter().map(key).collect();
    found.retain(|one| memory.pending.contains(&key(one)));
    memory.pending = seen;
    found.into_iter().map(|(_, broken)| broken).collect()
}

fn header(usage: &Usage, known: &Known<'_>, found: &mut Vec<(u32, Broken)>) {
    if let Err(error) = usage.check() {
        found.push((0, (Rule::PageHeader, 0, error.to_string())));
    } else if usage.lease() != known.lease {
        let evidence = format!("its page says that it is lease {}'s", usage.lease());
        found.push((0, (Rule::PageHeader, 0, evidence)));
    }
}

/// Who is in which slot, by the page and by the shim.
fn slots(usage: &Usage, known: &Known<'_>, found: &mut Vec<(u32, Broken)>) {
    let high = usage.high_water.load(Ordering::Acquire);
    for (at, slot) in (0u32..).zip(&usage.slot) {
        let says = read32(&slot.pid);
        let holder = known.attached.iter().find(|one| one.slot == at);
        let evidence = match holder {
            None if says == 0 => continue,
            None => format!("slot {at} names process {says}, and nobody has it"),
            Some(one) if says != one.pid => {
                format!("slot {at} names process {says}, and process {} has it", one.pid)
            }
            Some(one) if read32(&slot.generation) != one.generation => format!(
                "slot {at} is of generation {}, and was handed out as {}",
                read32(&slot.generation),
                one.generation
            ),
            Some(_) if at >= high => format!("slot {at} is in use, and {high} are said to be"),
            Some(_) => continue,
        };
        // The process that has the slot is named; that others wrote into it cannot be told.
        found.push((at, (Rule::PageSlots, holder.map_or(0, |one| one.pid), evidence)));
    }
}

/// Memory of the whole lease.
fn held(usage: &Usage, limits: &Limits, memory: &mut Memory, found: &mut Vec<(u32, Broken)>) {
    let devices = limits.device_count();
    memory.memory_max.resize(limits.row_count(), 0);
    for (at, most) in memory.memory_max.iter_mut().enumerate() {
        *most = limits.memory(at).max(*most);
        let held = polder_ledger::memory::held(usage, at);
        if held > *most {
            let of = match at.checked_sub(devices) {
                None => format!("device {at}"),
                Some(device) => format!("host memory behind device {device}"),
            };
            let evidence = format!("{held} bytes held of {of}, of which it has {most}");
            found.push((0, (Rule::PageMemory, 0, evidence)));
        }
    }
}

/// What one process says of itself against what the kernel says of it.
fn process(slot: &Slot, stat: &Stat, known: &Known<'_>, say: &mut impl FnMut(Rule, String)) {
    let (waiting, inflight) = (read32(&slot.waiting), read32(&slot.inflight));
    if u64::from(waiting) > stat.threads {
        say(Rule::PageCounts, format!("{waiting} threads wait, and it has {}", stat.threads));
    } else if inflight > COUNT_MAX {
        say(Rule::PageCounts, format!("{inflight} commands in flight"));
    }
    let age_ns = known.boot_ns.saturating_sub(born_ns(stat, known));
    let longest_ns = read64(&slot.longest_ns);
    if longest_ns > age_ns.saturating_add(AGE_SLACK_NS) {
        say(
            Rule::PageLongest,
            format!("a command of {longest_ns} ns, {age_ns} ns after its start"),
        );
    }
}

/// When a process was born, nanoseconds since boot.
fn born_ns(stat: &Stat, known: &Known<'_>) -> u64 {
    stat.started.saturating_mul(known.tick_ns)
}

/// Counters that were seen to rest while they were read; `None` while they move.
fn at_rest(slot: &Slot) -> Option<Counts> {
    (0..READS_MAX).find_map(|_| {
        let read = || (read64(&slot.completed), read64(&slot.launched));
        let before = read();
        let inflight = u64::from(read32(&slot.inflight));
        let (completed, launched) = read();
        (before == (completed, launched)).then_some(Counts { inflight, completed, launched })
    })
}

/// Counters against each other and against the last look.
fn counters(
    counts: &Counts,
    generation: u32,
    past: Option<Past>,
    stat: &Stat,
    known: &Known<'_>,
    say: &mut impl FnMut(Rule, String),
) -> Past {
    let Counts { inflight, completed, launched } = *counts;
    if completed > launched {
        say(Rule::PageCompleted, format!("{completed} commands completed of {launched} launched"));
    } else if inflight.abs_diff(launched - completed) > stat.threads {
        // A thread counts in before it launches, and out after it has completed.
        let evidence = format!(
            "{inflight} commands in flight, of {launched} launched {completed} completed, in {} threads",
            stat.threads
        );
        say(Rule::PageCounts, evidence);
    }
    let mut now = Past { generation, completed, launched, ticks: stat.ticks, still: 0 };
    let Some(past) = past.filter(|past| past.generation == generation) else { return now };
    if completed < past.completed {
        // Told again at the next look, as if it had been so then: one step back is enough.
        now.completed = past.completed;
        let evidence = format!("{completed} commands completed, {} before", past.completed);
        say(Rule::PageCompleted, evidence);
    }
    let stopped = matches!(stat.state, 'T' | 't');
    let moved = (past.completed, past.launched, past.ticks) != (completed, launched, stat.ticks);
    if inflight > 0 && known.on_cpu && !stopped && !moved {
        now.still = past.still.saturating_add(1);
    }
    if now.still >= STUCK_LOOKS - 1 {
        let evidence =
            format!("{inflight} commands in flight, and no CPU time of its process goes by");
        say(Rule::PageStuck, evidence);
    }
    now
}

fn read32(from: &AtomicU32) -> u32 {
    from.load(Ordering::Acquire)
}

fn read64(from: &AtomicU64) -> u64 {
    from.load(Ordering::Acquire)
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
