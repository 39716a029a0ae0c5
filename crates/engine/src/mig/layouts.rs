//! Everything that can become of one card, worked out once.
//!
//! Arrangements after which the same may follow are one *class*; a card's class is found by
//! walking its instances through `next`, in any order. Instances only ever add to a card, so the
//! walk has no cycle and the classes are found from the fullest to the emptiest.

use super::sets::Set;
use super::tables::{COUNTERS, Profile, Table};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use thiserror::Error;

/// More sets than fit any card.
const SETS_MAX: u64 = 1 << 16;
/// Largest part of the demand that counts.
const DEMAND_MAX: u32 = 1 << 16;
/// No class: what was wanted does not fit.
const NONE: u16 = u16::MAX;

/// One instance on a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instance {
    /// The place of its profile in the table.
    pub profile: usize,
    /// The memory slot it starts at.
    pub start: u8,
}

/// Instances on a card that no card of this kind can have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "a {card} cannot have {profile} at slot {start} beside its other instances: read its layout \
     from the driver again"
)]
pub struct MigError {
    /// The table's name.
    pub card: &'static str,
    /// The profile that does not fit, or its place if there is no such profile.
    pub profile: String,
    /// Where it was said to start.
    pub start: u8,
}

/// A card as it stands: all that decides what may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Card(u16);

/// One profile at one start.
struct Place {
    profile: usize,
    start: u8,
    mask: u16,
}

/// What is taken of a card.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Taken {
    mask: u16,
    counters: [u8; COUNTERS],
    /// Of each profile whose limit can be reached before its starts are used up.
    limited: Set,
}

/// What can become of one kind of card.
pub struct Layouts {
    table: &'static Table,
    places: Vec<Place>,
    /// First place of each profile in `places`, and one past the last.
    firsts: Vec<usize>,
    /// Class and place give the class after it.
    next: Vec<u16>,
    /// What each class is still good for.
    worth: Vec<u64>,
    /// Sets that fit an empty card, sorted.
    sets: Vec<Set>,
    /// Class and set give the class of most worth after it.
    after: Vec<u16>,
    empty: Card,
}

impl Table {
    /// What can become of this card when every profile is asked for alike; worked out at the
    /// first call.
    #[must_use]
    pub fn layouts(&'static self) -> &'static Layouts {
        static MADE: [OnceLock<Layouts>; TABLES_MAX] = [const { OnceLock::new() }; TABLES_MAX];
        let at = Self::all().iter().position(|table| std::ptr::eq(*table, self));
        let cell = at.and_then(|at| MADE.get(at)).expect("there are fewer tables than cells");
        cell.get_or_init(|| Layouts::new(self, &vec![1; self.profiles.len()]))
    }
}

/// Cells for tables.
const TABLES_MAX: usize = 16;

impl Layouts {
    /// What can become of a card whose profiles are asked for in these proportions; profiles
    /// without one are never asked for, and all zero counts as all alike.
    #[must_use]
    pub fn new(table: &'static Table, demand: &[u32]) -> Self {
        let mut places = Vec::new();
        let mut firsts = vec![0];
        for (at, profile) in table.profiles.iter().enumerate() {
            places.extend(profile.starts.iter().map(|start| Place {
                profile: at,
                start: *start,
                mask: mask(profile, *start),
            }));
            firsts.push(places.len());
        }
        let (next, empty) = classes(table, &places);
        let mut layouts = Self {
            table,
            places,
            firsts,
            next,
            worth: Vec::new(),
            sets: Vec::new(),
            after: Vec::new(),
            empty: Card(empty),
        };
        let fitting = layouts.fitting();
        let all: BTreeSet<Set> = fitting.iter().flatten().copied().collect();
        layouts.sets = all.into_iter().collect();
        layouts.worth = fitting.iter().map(|sets| worth(table, demand, sets)).collect();
        layouts.follow(&fitting);
        layouts
    }

    /// A card with nothing on it.
    #[must_use]
    pub fn empty(&self) -> Card {
        self.empty
    }

    /// The profiles.
    #[must_use]
    pub fn table(&self) -> &'static Table {
        self.table
    }

    /// A card with these instances.
    ///
    /// # Errors
    /// Two of them overlap, or the card has not that much.
    pub fn card(&self, instances: impl IntoIterator<Item = Instance>) -> Result<Card, MigError> {
        instances.into_iter().try_fold(self.empty, |card, instance| {
            self.with(card, instance).ok_or_else(|| {
                let profile = self.table.profiles.get(instance.profile);
                let name = profile.map(|profile| profile.name.to_owned());
                MigError {
                    card: self.table.name,
                    profile: name.unwrap_or_else(|| format!("profile {}", instance.profile)),
                    start: instance.start,
                }
            })
        })
    }

    /// The card with one more instance, if it can be there.
    #[must_use]
    pub fn with(&self, card: Card, instance: Instance) -> Option<Card> {
        let mut places = self.places_of(instance.profile);
        let at = places.find(|at| self.places.get(*at).is_some_and(|p| p.start == instance.start));
        self.step(card.0, at?).map(Card)
    }

    /// The card with the instances in a mask, each bit one place that an instance may be at; `None`
    /// if they cannot be on one card together.
    #[must_use]
    pub fn card_of(&self, places: u32) -> Option<Card> {
        let bits = (0..u32::BITS).filter(|bit| places >> bit & 1 == 1);
        let class = bits.map(|bit| usize::try_from(bit).unwrap_or(usize::MAX));
        class.into_iter().try_fold(self.empty.0, |class, at| self.step(class, at)).map(Card)
    }

    /// Compute of all instances in such a mask, in thousandths of the card.
    #[must_use]
    pub fn compute_of(&self, places: u32) -> i64 {
        let bits = (0..u32::BITS).filter(|bit| places >> bit & 1 == 1);
        let of = |bit: u32| {
            let place = self.places.get(usize::try_from(bit).ok()?)?;
            let profile = self.table.profiles.get(place.profile)?;
            Some(i64::from(self.table.compute(profile).0))
        };
        bits.filter_map(of).sum()
    }

    /// The bit of an instance in such a mask; 0 if there is no such place.
    #[must_use]
    pub fn bit(&self, instance: Instance) -> u32 {
        let mut places = self.places_of(instance.profile);
        let at = places.find(|at| self.places.get(*at).is_some_and(|p| p.start == instance.start));
        at.and_then(|at| u32::try_from(at).ok()).and_then(|at| 1_u32.checked_shl(at)).unwrap_or(0)
    }

    /// The instance whose bit this is.
    #[must_use]
    pub fn instance(&self, bit: u32) -> Option<Instance> {
        let at = usize::try_from(bit.trailing_zeros()).ok()?;
        let place = self.places.get(at)?;
        Some(Instance { profile: place.profile, start: place.start })
    }

    /// Where one more of a profile goes, and the card after it; `None` when it fits nowhere.
    #[must_use]
    pub fn place(&self, card: Card, profile: usize) -> Option<(Instance, Card)> {
        let best = self.best(card.0, profile)?;
        let (start, next) = (self.places.get(best)?.start, self.step(card.0, best)?);
        Some((Instance { profile, start }, Card(next)))
    }

    /// Whether a whole set fits beside what is there.
    #[must_use]
    pub fn fits(&self, card: Card, set: Set) -> bool {
        self.class_after(card.0, set).is_some()
    }

    /// The most of one profile that fit beside what is there.
    #[must_use]
    pub fn room(&self, card: Card, profile: usize) -> u32 {
        let most = self.table.profiles.get(profile).map_or(0, |profile| profile.max);
        let fits = |number: &u32| self.fits(card, Set::of(profile, *number));
        (1..=u32::from(most)).take_while(fits).last().unwrap_or(0)
    }

    /// Where a whole set goes, largest first, and the card after it; `None` when it does not fit.
    #[must_use]
    pub fn place_set(&self, card: Card, set: Set) -> Option<(Vec<Instance>, Card)> {
        let end = self.class_after(card.0, set)?;
        let (mut class, mut left, mut placed) = (card.0, set, Vec::new());
        while let Some(profile) = left.largest() {
            left = left.without(profile)?;
            let ends = |at: &usize| {
                self.step(class, *at).is_some_and(|next| self.class_after(next, left) == Some(end))
            };
            let at = self.places_of(profile).find(ends)?;
            placed.push(Instance { profile, start: self.places.get(at)?.start });
            class = self.step(class, at)?;
        }
        Some((placed, Card(end)))
    }

    /// What a card is still good for, without unit; cards of one table compare. Over all profiles
    /// by their part of the demand: how many more of it fit, times the cube of its slots; between
    /// equals, how many sets fit.
    ///
    /// In replays of arrivals and departures this refused a third to a half less than taking the
    /// first start on the first card, whatever the mix and although each profile counted alike. The
    /// power matters: counted by its slots alone, a card broken for the large ones looks cheap.
    #[must_use]
    pub fn worth(&self, card: Card) -> u64 {
        self.worth.get(usize::from(card.0)).copied().unwrap_or(0)
    }

    /// What placing one more of a profile costs in [`Layouts::worth`]; `None` if it fits nowhere.
    #[must_use]
    pub fn loss(&self, card: Card, profile: usize) -> Option<u64> {
        let (_, after) = self.place(card, profile)?;
        Some(self.worth(card).saturating_sub(self.worth(after)))
    }

    fn places_of(&self, profile: usize) -> std::ops::Range<usize> {
        let bound = |at: usize| self.firsts.get(at).copied().unwrap_or(self.places.len());
        bound(profile)..bound(profile.saturating_add(1))
    }

    fn step(&self, class: u16, place: usize) -> Option<u16> {
        let row = usize::from(class) * self.places.len();
        if place >= self.places.len() {
            return None;
        }
        self.next.get(row + place).copied().filter(|next| *next != NONE)
    }

    /// The place of a profile after which the card is worth most; the first of equals.
    fn best(&self, class: u16, profile: usize) -> Option<usize> {
        let open = self.places_of(profile).filter_map(|at| Some((self.step(class, at)?, at)));
        let best = open.max_by_key(|(next, at)| (self.worth(Card(*next)), Reverse(*at)));
        best.map(|(_, at)| at)
    }

    fn class_after(&self, class: u16, set: Set) -> Option<u16> {
        let at = self.sets.binary_search(&set).ok()?;
        let row = usize::from(class) * self.sets.len();
        self.after.get(row + at).copied().filter(|after| *after != NONE)
    }

    fn classes(&self) -> usize {
        self.next.len().checked_div(self.places.len()).unwrap_or(0)
    }

    /// The sets that fit each class, each class after those that can follow it.
    fn fitting(&self) -> Vec<BTreeSet<Set>> {
        let mut fitting: Vec<BTreeSet<Set>> = Vec::with_capacity(self.classes());
        for class in 0..self.classes() {
            let mut sets = BTreeSet::from([Set::EMPTY]);
            for (at, place) in self.places.iter().enumerate() {
                let next = self.step(u16::try_from(class).unwrap_or(NONE), at);
                let after = next.and_then(|next| fitting.get(usize::from(next)));
                sets.extend(after.into_iter().flatten().map(|set| set.with(place.profile, 1)));
            }
            fitting.push(sets);
        }
        fitting
    }

    /// Fills `after`: the largest of a set goes where the rest then ends best.
    fn follow(&mut self, fitting: &[BTreeSet<Set>]) {
        for (class, sets) in fitting.iter().enumerate() {
            let class = u16::try_from(class).unwrap_or(NONE);
            let end = |set: &Set| {
                let Some(profile) = set.largest() else { return Some(class) };
                let rest = set.without(profile)?;
                let nexts = self.places_of(profile).filter_map(|at| self.step(class, at));
                let ends = nexts.filter_map(|next| self.class_after(next, rest));
                ends.max_by_key(|end| (self.worth(Card(*end)), Reverse(*end)))
            };
            let row = |set: &Set| if sets.contains(set) { end(set) } else { None };
            let row: Vec<u16> = self.sets.iter().map(|set| row(set).unwrap_or(NONE)).collect();
            self.after.extend(row);
        }
    }
}

/// See [`Layouts::worth`].
fn worth(table: &Table, demand: &[u32], sets: &BTreeSet<Set>) -> u64 {
    let alike = demand.iter().all(|parts| *parts == 0);
    // Parts are bounded so that sums stay far from the end of integers.
    let part = |parts: &u32| u64::from((*parts).min(DEMAND_MAX));
    let of = |at: usize| if alike { 1 } else { demand.get(at).map_or(0, part) };
    let fits = |(at, profile): (usize, &Profile)| {
        let room = (1..=u32::from(profile.max))
            .take_while(|number| sets.contains(&Set::of(at, *number)))
            .count();
        of(at) * u64::try_from(room).unwrap_or(0) * u64::from(profile.slots).pow(3)
    };
    let sum: u64 = table.profiles.iter().enumerate().map(fits).sum();
    sum * SETS_MAX + u64::try_from(sets.len()).unwrap_or(SETS_MAX).min(SETS_MAX - 1)
}

impl std::fmt::Debug for Layouts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (classes, sets) = (self.classes(), self.sets.len());
        write!(f, "Layouts({}, {classes} classes, {sets} sets)", self.table.name)
    }
}

fn mask(profile: &Profile, start: u8) -> u16 {
    let slots = u32::from(profile.slots).min(16);
    let all = u16::try_from((1_u32 << slots) - 1).unwrap_or(u16::MAX);
    all.checked_shl(start.into()).unwrap_or(0)
}

impl Taken {
    /// The same with one more instance, if there is room for it.
    fn with(&self, table: &Table, place: &Place) -> Option<Self> {
        let profile = table.profiles.get(place.profile)?;
        if self.mask & place.mask != 0 {
            return None;
        }
        let mut taken = self.clone();
        taken.mask |= place.mask;
        for (at, taken) in taken.counters.iter_mut().enumerate() {
            *taken += profile.takes.get(at)?;
            if *taken > *table.has.get(at)? {
                return None;
            }
        }
        if usize::from(profile.max) < profile.starts.len() {
            taken.limited = taken.limited.with(place.profile, 1);
            if taken.limited.count(place.profile) > profile.max.into() {
                return None;
            }
        }
        Some(taken)
    }
}

/// Class and place to class, the fullest class first, and the class of an empty card.
fn classes(table: &Table, places: &[Place]) -> (Vec<u16>, u16) {
    // By how many slots are taken, so that what follows an arrangement is in a later group.
    let mut groups: BTreeMap<u32, BTreeMap<Taken, u16>> = BTreeMap::new();
    groups.entry(0).or_default().insert(Taken::default(), NONE);
    for taken_slots in 0..=u16::BITS {
        let here: Vec<Taken> =
            groups.get(&taken_slots).into_iter().flat_map(|g| g.keys().cloned()).collect();
        for taken in here {
            for after in places.iter().filter_map(|place| taken.with(table, place)) {
                groups.entry(after.mask.count_ones()).or_default().insert(after, NONE);
            }
        }
    }
    let mut known: BTreeMap<Vec<u16>, u16> = BTreeMap::new();
    let mut next = Vec::new();
    let mut empty = NONE;
    for taken_slots in (0..=u16::BITS).rev() {
        let here: Vec<Taken> =
            groups.get(&taken_slots).into_iter().flat_map(|g| g.keys().cloned()).collect();
        for taken in here {
            let after = |place: &Place| {
                let after = taken.with(table, place)?;
                groups.get(&after.mask.count_ones())?.get(&after).copied()
            };
            let row: Vec<u16> = places.iter().map(|place| after(place).unwrap_or(NONE)).collect();
            let fresh = u16::try_from(known.len()).unwrap_or(NONE);
            let class = *known.entry(row).or_insert_with_key(|row| {
                next.extend(row.iter().copied());
                fresh
            });
            if let Some(found) = groups.get_mut(&taken_slots).and_then(|g| g.get_mut(&taken)) {
                *found = class;
            }
            empty = class;
        }
    }
    (next, empty)
}
