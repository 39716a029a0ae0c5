//! Who shares devices with whom, under the published interleaving model.
//!
//! A group is worth the work that it does for time, in that of a job alone. Groups start as the jobs
//! that the order lets run alone; whoever comes after joins where that grows most, as long as it
//! grows. Then members change places: two groups of one width exchange members, or one gives one to
//! the other, wherever both together become faster by it. Who runs is for the order to say, and stays
//! as it said; with whom is all that changes.

use super::published::{self, DEVICES, SHARERS_MAX};
use super::replay::Live;
use super::trace::Seen;
use std::collections::BTreeMap;

/// So many of those that wait are tried for a place in a group.
pub const WAITING_TRIED_MAX: usize = 384;

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
    /// Seconds that one iteration of each of them alone would take, all together.
    alone: f64,
    /// Work done for time, in that of one job alone.
    speed: f64,
}

impl Party {
    /// Takes the member at a place out, if there is one.
    fn take(&mut self, place: usize) -> Option<(InLine, u16)> {
        let profile = self.profiles[place];
        let member = (place < self.members.len()).then(|| self.members.remove(place))?;
        self.profiles[place..].rotate_left(1);
        self.profiles[SHARERS_MAX - 1] = 0;
        Some((member, profile))
    }

    fn put(&mut self, member: Option<(InLine, u16)>) {
        if let Some((member, profile)) = member {
            self.profiles[self.members.len()] = profile;
            self.members.push(member);
        }
    }
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
                let alone = published::alone(live[at].seen);
                parties.push(Party { members: vec![job], profiles, devices, alone, speed: 1.0 });
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
            self.exchange(live, &mut parties);
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
            let gain = (party.alone + published::alone(seen)) / common - party.speed;
            if gain > best.map_or(least, |(gain, ..)| gain) {
                best = Some((gain, number, sharers));
            }
        }
        if let Some((gain, number, sharers)) = best {
            let party = &mut parties[number];
            party.members.push(job);
            party.alone += published::alone(seen);
            (party.profiles, party.speed) = (sharers, party.speed + gain);
        }
        best.is_some()
    }

    /// Lets parties of one width exchange members, or one give one to the other, where both
    /// together become faster: once through all pairs.
    fn exchange(&mut self, live: &[Live<'_>], parties: &mut [Party]) {
        for second in 1..parties.len() {
            let (before, rest) = parties.split_at_mut(second);
            let Some(other) = rest.first_mut() else { return };
            for party in before.iter_mut() {
                for place in 0..SHARERS_MAX {
                    for other_place in 0..SHARERS_MAX {
                        if party.devices == other.devices {
                            self.exchange_one(live, (party, place), (other, other_place));
                        }
                    }
                }
            }
        }
    }

    /// Puts the member at one place among the other's and the other way round, if that is faster;
    /// the place after the last is nobody's.
    fn exchange_one(
        &mut self,
        live: &[Live<'_>],
        (one, place): (&mut Party, usize),
        (other, other_place): (&mut Party, usize),
    ) {
        let sizes = (one.members.len(), other.members.len());
        let gives = |place: usize, size: usize| (place <= size).then(|| usize::from(place < size));
        let (Some(out), Some(back)) = (gives(place, sizes.0), gives(other_place, sizes.1)) else {
            return;
        };
        let after = (sizes.0 - out + back, sizes.1 - back + out);
        let fits = |size: usize| (1..=SHARERS_MAX).contains(&size);
        let alike = one.profiles.get(place) == other.profiles.get(other_place);
        if (out + back == 0) || alike || !fits(after.0) || !fits(after.1) {
            return;
        }
        let alone = |party: &Party, place: usize| {
            party.members.get(place).map_or(0.0, |&(_, at)| published::alone(live[at].seen))
        };
        let moved = alone(other, other_place) - alone(one, place);
        let swapped = |party: &Party, place: usize, with: u16| {
            let mut profiles = party.profiles;
            profiles[place] = with;
            profiles
        };
        let ours = swapped(one, place, other.profiles[other_place]);
        let theirs = swapped(other, other_place, one.profiles[place]);
        let speeds = (
            (one.alone + moved) / self.together(ours),
            (other.alone - moved) / self.together(theirs),
        );
        // Less than this is rounding.
        if speeds.0 + speeds.1 > (one.speed + other.speed) * (1.0 + 1e-9) {
            let taken = one.take(place);
            let given = other.take(other_place);
            (one.alone, other.alone) = (one.alone + moved, other.alone - moved);
            (one.speed, other.speed) = speeds;
            one.put(given);
            other.put(taken);
        }
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
