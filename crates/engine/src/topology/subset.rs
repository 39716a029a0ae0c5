//! Which devices of one node a task of several gets.
//!
//! Up to [`super::DEVICES_EXACT_MAX`] devices the best of all choices is found ([`super::exact`]);
//! of more, islands are taken greedily.

use super::exact;
use super::links::{DEVICES_EXACT_MAX, Links};
use std::cmp::Reverse;

/// How much something is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Together {
    /// It does not matter.
    #[default]
    Any,
    /// Where possible.
    Preferred,
    /// Or not at all.
    Required,
}

/// How the devices of a task lie to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wish {
    /// All on one island of links.
    pub island: Together,
    /// All on one NUMA node.
    pub numa: Together,
    /// Each on a network rail of its own.
    pub rails: Together,
}

/// The devices of one node, by place.
#[derive(Clone, Copy, Debug)]
pub struct Spots<'a> {
    /// How they reach each other.
    pub links: &'a Links,
    /// The NUMA node of each.
    pub numa: &'a [u16],
    /// The network rail of each.
    pub rails: &'a [u16],
    /// What would be left free on each if the task took it, or `None` where it does not fit.
    pub left: &'a [Option<u64>],
    /// Whether nobody is on it.
    pub idle: &'a [bool],
}

/// Devices for one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Their places, ascending.
    pub devices: Vec<usize>,
    /// Islands they lie on.
    pub islands: usize,
    /// NUMA nodes they lie on.
    pub numas: usize,
    /// Bandwidth of all their pairs.
    pub bandwidth: u64,
    /// Bandwidth of all pairs of idle devices that are left.
    pub kept: u64,
}

/// The larger the better: what is wanted of the devices themselves, then what is left to others,
/// then the tightest.
pub(super) type Key = (Reverse<usize>, u64, Reverse<usize>, usize, u64, Reverse<u64>);

/// The best devices for a task; `None` if none keep what is required.
///
/// For a task that wants its devices together, fewest islands, then most bandwidth between them,
/// then (where wanted) fewest NUMA nodes and most rails; for every task, most bandwidth between the idle devices
/// that are left, so that islands stay whole for those who want them; then the tightest devices,
/// then the lowest.
#[must_use]
pub fn choose(spots: &Spots<'_>, count: usize, wish: &Wish) -> Option<Choice> {
    let fits: Vec<usize> =
        (0..spots.links.devices()).filter(|at| spots.left(*at).is_some()).collect();
    if count == 0 || fits.len() < count {
        return None;
    }
    let mut best: Option<(Key, Choice)> = None;
    for group in groups(spots, wish, fits) {
        if group.len() < count {
            continue;
        }
        let found = if spots.links.devices() <= DEVICES_EXACT_MAX {
            exact::best(spots, count, wish, &group)
        } else {
            let mut search = Search::new(spots, count, wish, &group);
            search.take_greedily();
            search.best
        };
        let Some((key, choice)) = found else { continue };
        let lowest = |best: &Choice| Reverse(&choice.devices) > Reverse(&best.devices);
        if best.as_ref().is_none_or(|(other, best)| (&key, lowest(best)) > (other, false)) {
            best = Some((key, choice));
        }
    }
    best.map(|(_, choice)| choice)
}

/// The devices among which to choose: those of one island or NUMA node each, where required.
fn groups(spots: &Spots<'_>, wish: &Wish, fits: Vec<usize>) -> Vec<Vec<usize>> {
    let name = |at: usize| {
        let island = (wish.island == Together::Required).then(|| spots.links.island(at));
        let numa = (wish.numa == Together::Required).then(|| spots.numa(at));
        (island, numa)
    };
    let mut names: Vec<_> = fits.iter().map(|at| name(*at)).collect();
    names.sort_unstable();
    names.dedup();
    let inside = |wanted| fits.iter().copied().filter(|at| name(*at) == wanted).collect::<Vec<_>>();
    names.into_iter().map(inside).collect()
}

impl Spots<'_> {
    pub(super) fn left(&self, at: usize) -> Option<u64> {
        self.left.get(at).copied().flatten()
    }

    pub(super) fn numa(&self, at: usize) -> u16 {
        self.numa.get(at).copied().unwrap_or(0)
    }

    pub(super) fn rail(&self, at: usize) -> u16 {
        self.rails.get(at).copied().unwrap_or(0)
    }

    pub(super) fn idle(&self, at: usize) -> bool {
        self.idle.get(at).copied().unwrap_or(false)
    }

    /// Whether two devices can be exchanged without any difference.
    pub(super) fn alike(&self, a: usize, b: usize) -> bool {
        let links = self.links;
        let same =
            |other| other == a || other == b || links.between(a, other) == links.between(b, other);
        let own =
            |at| (links.island(at), self.numa(at), self.rail(at), self.left(at), self.idle(at));
        own(a) == own(b) && (0..links.devices()).all(same)
    }
}

/// Sums over the devices taken so far.
#[derive(Clone, Copy, Default)]
struct Sums {
    bandwidth: u64,
    /// Bandwidth that idle devices lose by it.
    lost: u64,
    left: u64,
}

/// A search among more devices than can be compared in every way.
struct Search<'a> {
    spots: &'a Spots<'a>,
    count: usize,
    wish: &'a Wish,
    open: &'a [usize],
    /// Bandwidth between each open device and all idle ones.
    idle_row: Vec<u64>,
    /// Bandwidth between all idle devices.
    idle_all: u64,
    /// Places in `open`.
    taken: Vec<usize>,
    best: Option<(Key, Choice)>,
}

impl<'a> Search<'a> {
    fn new(spots: &'a Spots<'a>, count: usize, wish: &'a Wish, open: &'a [usize]) -> Self {
        let idle: Vec<usize> = (0..spots.links.devices()).filter(|at| spots.idle(*at)).collect();
        let row = |at: &usize| idle.iter().map(|b| u64::from(spots.links.between(*at, *b))).sum();
        Self {
            spots,
            count,
            wish,
            open,
            idle_row: open.iter().map(row).collect(),
            idle_all: spots.links.within(&idle),
            taken: Vec::with_capacity(count),
            best: None,
        }
    }

    fn with(&self, place: usize, sums: Sums) -> Option<Sums> {
        let at = *self.open.get(place)?;
        let taken = || self.taken.iter().filter_map(|place| self.open.get(*place));
        let rail = self.spots.rail(at);
        if self.wish.rails == Together::Required && taken().any(|at| self.spots.rail(*at) == rail) {
            return None;
        }
        let mut next = sums;
        next.left = next.left.saturating_add(self.spots.left(at)?);
        if self.spots.idle(at) {
            next.lost += self.idle_row.get(place)?;
        }
        for other in taken() {
            let between = u64::from(self.spots.links.between(at, *other));
            next.bandwidth += between;
            // What two idle devices had between them was counted with each.
            if self.spots.idle(at) && self.spots.idle(*other) {
                next.lost -= between;
            }
        }
        Some(next)
    }

    fn judge(&mut self, sums: Sums) {
        let devices: Vec<usize> =
            self.taken.iter().filter_map(|place| self.open.get(*place).copied()).collect();
        let islands = different(devices.iter().map(|at| self.spots.links.island(*at)));
        let numas = different(devices.iter().map(|at| self.spots.numa(*at)));
        let rails = different(devices.iter().map(|at| self.spots.rail(*at)));
        let kept = self.idle_all.saturating_sub(sums.lost);
        let together = self.wish.island != Together::Any;
        let key = (
            Reverse(if together { islands } else { 0 }),
            if together { sums.bandwidth } else { 0 },
            Reverse(if self.wish.numa == Together::Any { 0 } else { numas }),
            if self.wish.rails == Together::Any { 0 } else { rails },
            kept,
            Reverse(sums.left),
        );
        if self.best.as_ref().is_none_or(|(best, _)| key > *best) {
            let choice = Choice { devices, islands, numas, bandwidth: sums.bandwidth, kept };
            self.best = Some((key, choice));
        }
    }

    /// Judges a few choices: from each island the tightest devices, filled up from the islands with
    /// the most devices that fit; and the tightest of all.
    fn take_greedily(&mut self) {
        let spots = self.spots;
        let island = |place: &usize| self.open.get(*place).map_or(0, |at| spots.links.island(*at));
        let left = |place: &usize| self.open.get(*place).and_then(|at| spots.left(*at));
        let mut places: Vec<usize> = (0..self.open.len()).collect();
        places.sort_by_key(|place| (left(place), *place));
        let mut names: Vec<u16> = places.iter().map(island).collect();
        names.sort_unstable();
        names.dedup();
        let of =
            |name: u16| places.iter().copied().filter(|p| island(p) == name).collect::<Vec<_>>();
        let mut islands: Vec<Vec<usize>> = names.into_iter().map(of).collect();
        islands.sort_by_key(|island| Reverse(island.len()));
        let filled = |first: &Vec<usize>| {
            let others = islands.iter().filter(|other| other.first() != first.first()).flatten();
            first.iter().chain(others).copied().collect::<Vec<_>>()
        };
        let mut tries: Vec<Vec<usize>> = islands.iter().map(filled).collect();
        tries.push(places);
        for order in tries {
            let mut sums = Sums::default();
            self.taken.clear();
            for place in order {
                if self.taken.len() < self.count
                    && let Some(next) = self.with(place, sums)
                {
                    sums = next;
                    self.taken.push(place);
                }
            }
            if self.taken.len() == self.count {
                self.taken.sort_unstable();
                self.judge(sums);
            }
        }
    }
}

fn different(names: impl Iterator<Item = u16>) -> usize {
    let mut names: Vec<u16> = names.collect();
    names.sort_unstable();
    names.dedup();
    names.len()
}

#[cfg(test)]
#[path = "subset_tests.rs"]
mod tests;
