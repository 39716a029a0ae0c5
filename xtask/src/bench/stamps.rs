//! Who had the device when, from the event stamps that the programs themselves wrote.
//!
//! A *turn* is a run of commands of one tenant with no command of another between them: its length,
//! first start to last end, is what the tenant had of the device. Nothing here comes from the
//! ledger.

use anyhow::{Context, Result};
use std::path::Path;

/// One command on the device, nanoseconds of one clock for all programs of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// When it began to execute.
    pub(crate) start: u64,
    /// When it was complete.
    pub(crate) end: u64,
}

/// Reads a program's stamps: lines of `queued start end`.
pub(crate) fn read(path: &Path) -> Result<Vec<Stamp>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("no stamps at {}", path.display()))?;
    let mut stamps = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let (Some(_), Some(Ok(start)), Some(Ok(end))) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            anyhow::bail!("{}: not a stamp: {line:?}", path.display());
        };
        stamps.push(Stamp { start, end });
    }
    stamps.sort_by_key(|stamp| stamp.start);
    Ok(stamps)
}

/// What each tenant had over a time in which all wanted the device.
#[derive(Debug, Clone)]
pub(crate) struct Contention {
    /// Start and end of the time looked at.
    pub(crate) window: (u64, u64),
    /// By tenant: length of its turns.
    pub(crate) turn_ns: Vec<u64>,
    /// By tenant: commands completed.
    pub(crate) commands: Vec<u64>,
    /// By tenant: its share in each whole second.
    pub(crate) seconds: Vec<Vec<f64>>,
}

impl Contention {
    /// Looks at the time in which every tenant was at work, less `skip_ns` at either end.
    pub(crate) fn of(tenants: &[Vec<Stamp>], skip_ns: u64) -> Self {
        let first = tenants.iter().filter_map(|t| t.first()).map(|s| s.start).max().unwrap_or(0);
        let last = tenants.iter().filter_map(|t| t.last()).map(|s| s.end).min().unwrap_or(0);
        let window = (first + skip_ns, last.saturating_sub(skip_ns).max(first + skip_ns));
        let turns = turns(tenants);
        let overlap =
            |turn: &Turn, from: u64, to: u64| turn.end.min(to).saturating_sub(turn.start.max(from));
        let had = |tenant: usize, from: u64, to: u64| -> u64 {
            turns.iter().filter(|t| t.tenant == tenant).map(|t| overlap(t, from, to)).sum()
        };
        let all = 0..tenants.len();
        let turn_ns = all.clone().map(|tenant| had(tenant, window.0, window.1)).collect();
        let commands = tenants
            .iter()
            .map(|stamps| {
                stamps.iter().filter(|s| s.end > window.0 && s.end <= window.1).count() as u64
            })
            .collect();
        let whole_seconds = (window.1 - window.0) / 1_000_000_000;
        let seconds = all
            .clone()
            .map(|tenant| {
                (0..whole_seconds)
                    .map(|second| {
                        let from = window.0 + second * 1_000_000_000;
                        let to = from + 1_000_000_000;
                        let sum: u64 = all.clone().map(|other| had(other, from, to)).sum();
                        had(tenant, from, to) as f64 / sum.max(1) as f64
                    })
                    .collect()
            })
            .collect();
        Self { window, turn_ns, commands, seconds }
    }

    /// A tenant's part of the device time that all had.
    pub(crate) fn share(&self, tenant: usize) -> f64 {
        self.turn_ns[tenant] as f64 / self.turn_ns.iter().sum::<u64>().max(1) as f64
    }

    /// A tenant's commands a second.
    pub(crate) fn rate(&self, tenant: usize) -> f64 {
        self.commands[tenant] as f64 / ((self.window.1 - self.window.0).max(1) as f64 / 1e9)
    }

    /// The part of whole seconds in which a tenant was within `points` of `asked`.
    pub(crate) fn seconds_within(&self, tenant: usize, asked: f64, points: f64) -> f64 {
        let seconds = &self.seconds[tenant];
        let near = seconds.iter().filter(|share| (*share - asked).abs() * 100.0 <= points).count();
        near as f64 / seconds.len().max(1) as f64
    }
}

/// A run of commands of one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Whose.
    pub(crate) tenant: usize,
    /// First start.
    pub(crate) start: u64,
    /// Last end.
    pub(crate) end: u64,
}

/// The turns of all tenants, in order.
pub(crate) fn turns(tenants: &[Vec<Stamp>]) -> Vec<Turn> {
    let mut all: Vec<(Stamp, usize)> = tenants
        .iter()
        .enumerate()
        .flat_map(|(tenant, stamps)| stamps.iter().map(move |stamp| (*stamp, tenant)))
        .collect();
    all.sort_by_key(|(stamp, tenant)| (stamp.start, *tenant));
    let mut turns: Vec<Turn> = Vec::new();
    for (stamp, tenant) in all {
        match turns.last_mut() {
            Some(turn) if turn.tenant == tenant => turn.end = turn.end.max(stamp.end),
            _ => turns.push(Turn { tenant, start: stamp.start, end: stamp.end }),
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_and_shares() {
        let ms = |a: u64, b: u64| Stamp { start: a * 1_000_000, end: b * 1_000_000 };
        // Tenant 0 has 7 ms of every 10, tenant 1 has 3.
        let cycle = |at: u64| (vec![ms(at, at + 3), ms(at + 3, at + 7)], vec![ms(at + 7, at + 10)]);
        let (mut one, mut two) = (Vec::new(), Vec::new());
        for at in (0..5000).step_by(10) {
            let (a, b) = cycle(at);
            one.extend(a);
            two.extend(b);
        }
        let seen = Contention::of(&[one, two], 500_000_000);
        assert!((seen.share(0) - 0.7).abs() < 0.002, "{}", seen.share(0));
        assert!((seen.rate(1) - 100.0).abs() < 1.0, "{}", seen.rate(1));
        assert!((seen.seconds_within(1, 0.3, 1.0) - 1.0).abs() < 1e-9);
        assert!(seen.seconds_within(1, 0.5, 8.0) < 1e-9);
    }
}
