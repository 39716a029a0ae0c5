//! Who shares devices with whom, under the published interleaving model.
//!
//! A job alone is worth the inverse of its index for each device it holds: ends for device time.
//! Jobs that share are worth as much less as each is slowed by the others. Groups start as the jobs
//! that the order lets run alone; then whoever waits joins where the sum grows most, as long as it
//! grows.

use super::published::{self, DEVICES, SHARERS_MAX};
use super::replay::Live;
use super::trace::Seen;
use std::collections::BTreeMap;

/// So many of those that wait are tried for a place in a group.
pub const WAITING_TRIED_MAX: usize = 96;

/// A job joins a group although devices are free, when the group gains at least so much speed.
pub const EAGER: f64 = 0.4;

/// Finds who runs, and with whom.
#[derive(Debug, Clone, Default)]
pub struct Sharing {
    /// Whether anybody may share at all.
    is_on: bool,
    /// Seconds of a common iteration, by the sharers' profiles.
    common: BTreeMap<u64, f64>,
    /// Numbers of profiles, from 1, by devices and stages.
    profiles: BTreeMap<[u64; 5], u16>,
    examples: Vec<Seen>,
}

/// A job in line: its index, and its place among the live ones.
pub type InLine = (u64, usize);

/// Jobs that share.
struct Party {
    members: Vec<InLine>,
    profiles: [u16; SHARERS_MAX],
    devices: u32,
    /// Work done for time, in that of one job alone.
    speed: f64,
}

impl Sharing {
    /// Up to four jobs to a group.
    #[must_use]
    pub fn on() -> Self {
        Self { is_on: true, ..Self::default() }
    }

    /// Who runs, and the first of those that wait. `line` is in order.
    pub fn groups(
        &mut self,
        live: &[Live<'_>],
        line: impl Iterator<Item = InLine>,
    ) -> (Vec<Vec<InLine>>, Option<InLine>) {
        let tried_max = if self.is_on { WAITING_TRIED_MAX } else { 1 };
        let asked: u32 = live.iter().map(|job| job.seen.devices).sum();
        // So much is asked for beyond what there is: nobody need share for more.
        let mut excess = asked.saturating_sub(DEVICES);
        let mut free = DEVICES;
        let mut parties: Vec<Party> = Vec::new();
        let mut waiting = Vec::new();
        for (index, at) in line {
            let job = (index, at);
            let devices = live[at].seen.devices;
            let shares = self.is_on && excess >= devices;
            if shares && self.join(job, live, &mut parties, EAGER) {
                excess -= devices;
            } else if devices <= free {
                free -= devices;
                let profiles = [self.profile(live[at].seen), 0, 0, 0];
                parties.push(Party { members: vec![job], profiles, devices, speed: 1.0 });
            } else if waiting.len() < tried_max {
                waiting.push(job);
            }
            if free == 0 && waiting.len() == tried_max {
                break;
            }
        }
        let mut first = waiting.first().copied();
        if self.is_on {
            let left = waiting.into_iter().filter(|&job| !self.join(job, live, &mut parties, 0.0));
            first = left.collect::<Vec<_>>().first().copied();
        }
        (parties.into_iter().map(|party| party.members).collect(), first)
    }

    /// Joins the party that becomes fastest by it, if one does by at least so much.
    fn join(&mut self, job: InLine, live: &[Live<'_>], parties: &mut [Party], least: f64) -> bool {
        let seen = live[job.1].seen;
        let profile = self.profile(seen);
        let mut best: Option<(f64, usize, [u16; SHARERS_MAX])> = None;
        for (number, party) in parties.iter().enumerate() {
            let size = party.members.len();
            if party.devices != seen.devices || size == SHARERS_MAX {
                continue;
            }
            let mut sharers = party.profiles;
            sharers[size] = profile;
            let common = self.together(sharers);
            let members = party.members.iter().chain([&job]);
            let speed = members.map(|&(_, at)| published::alone(live[at].seen)).sum::<f64>();
            let gain = speed / common - party.speed;
            if gain > best.map_or(least, |(gain, ..)| gain) {
                best = Some((gain, number, sharers));
            }
        }
        if let Some((gain, number, sharers)) = best {
            let party = &mut parties[number];
            party.members.push(job);
            (party.profiles, party.speed) = (sharers, party.speed + gain);
        }
        best.is_some()
    }

    fn together(&mut self, mut sharers: [u16; SHARERS_MAX]) -> f64 {
        sharers.sort_unstable();
        let key = sharers.iter().fold(0, |key, &number| key << 16 | u64::from(number));
        let examples = &self.examples;
        *self.common.entry(key).or_insert_with(|| {
            let seen = sharers.iter().filter(|number| **number > 0);
            let seen: Vec<&Seen> = seen.map(|number| &examples[usize::from(*number) - 1]).collect();
            published::together(&seen)
        })
    }

    fn profile(&mut self, job: &Seen) -> u16 {
        let [first, second, third] = job.stages.map(f64::to_bits);
        let key = [u64::from(job.devices), job.iteration.to_bits(), first, second, third];
        let next = u16::try_from(self.profiles.len() + 1).unwrap_or(u16::MAX);
        *self.profiles.entry(key).or_insert_with(|| {
            self.examples.push(job.clone());
            next
        })
    }
}
