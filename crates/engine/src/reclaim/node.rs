//! The cheapest work on one node to end so that one more task fits there.
//!
//! Exact while the search stays within [`SEARCH_MAX`]; past that, what it found so far, which no
//! victim can be left out of.

use super::cost::Value;
use super::right::{Manner, Right};
use super::room::{Constraint, Demand, Island, Lie, Room, Rooms};
use super::running::MemberFacts;
use super::trial::Trial;
use std::collections::BTreeSet;

/// Most sets looked at for one node, or one device of it.
const SEARCH_MAX: u32 = 4096;

/// What ends as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unit {
    /// A whole gang, by index.
    Gang(usize),
    /// One member of an elastic gang that has more than its fewest, by index.
    Member(usize),
}

/// Something on the node that may end.
struct Candidate<'a> {
    unit: Unit,
    /// What all of it comes to, members elsewhere too.
    value: Value,
    /// Place in the list of gangs.
    gang: usize,
    /// Its members here.
    here: Vec<&'a MemberFacts>,
}

/// What making room on a device comes to, the device, and what ends for it.
type Emptied = (Value, usize, Vec<usize>);

/// A gang with members on the node.
struct Group {
    gang: usize,
    /// Members that may go while the rest goes on.
    spare: u32,
}

/// What a unit ends of its gang, as the trial stands.
pub(crate) fn members_of(trial: &Trial<'_>, unit: Unit) -> Vec<usize> {
    match unit {
        Unit::Member(member) => vec![member],
        Unit::Gang(gang) => {
            let members = trial.running.gang(gang).map_or(&[][..], |gang| &gang.members);
            members.iter().copied().filter(|member| !trial.is_gone(*member)).collect()
        }
    }
}

/// The cheapest units to end on a node so that it carries `tasks` tasks.
pub(crate) fn cheapest(
    trial: &Trial<'_>,
    right: &Right,
    demand: &Demand,
    to: &impl Constraint,
    node: usize,
    tasks: u32,
) -> Option<(Value, Vec<Unit>)> {
    let (groups, candidates) = candidates(trial, right, node);
    let demand = &Demand { tasks, ..*demand };
    let rooms = trial.free(node);
    let lie = |device| to.lie(node, device);
    let mut all = rooms.clone();
    let whole = |candidate: &&Candidate<'_>| candidate.is_last_resort(&candidates);
    for candidate in candidates.iter().filter(whole) {
        candidate.here.iter().for_each(|member| all.give(member));
    }
    if demand.most(&all, lie) < tasks {
        return None;
    }
    let places = by_device(&rooms, demand, &candidates, &groups, lie).unwrap_or_else(|| {
        let fits = |rooms: &Rooms| demand.most(rooms, lie) >= tasks;
        let subset: Vec<usize> = (0..candidates.len()).collect();
        Search::run(rooms, &candidates, &groups, &subset, &fits)
    });
    let value = places.iter().fold(Value::NOTHING, |sum, place| sum + candidates[*place].value);
    Some((value, places.iter().map(|place| candidates[*place].unit).collect()))
}

impl Candidate<'_> {
    /// Whether ending all such frees all that can be freed: whole gangs, and members where the
    /// gang need never end as a whole.
    fn is_last_resort(&self, all: &[Self]) -> bool {
        matches!(self.unit, Unit::Gang(_))
            || !all
                .iter()
                .any(|other| other.gang == self.gang && matches!(other.unit, Unit::Gang(_)))
    }
}

/// What may end on a node, cheapest first.
fn candidates<'a>(
    trial: &Trial<'a>,
    right: &Right,
    node: usize,
) -> (Vec<Group>, Vec<Candidate<'a>>) {
    let running = trial.running;
    let mut here: Vec<(usize, usize)> = Vec::new();
    for member in running.nodes.get(node).map_or(&[][..], |node| &node.members) {
        trial.step(1);
        if let Some(facts) = running.member(*member).filter(|_| !trial.is_gone(*member)) {
            here.push((facts.gang, *member));
        }
    }
    here.sort_unstable();
    let (mut groups, mut candidates) = (Vec::new(), Vec::new());
    for members in here.chunk_by(|a, b| a.0 == b.0) {
        let Some((place, _)) = members.first() else { continue };
        let Some(gang) = running.gang(*place) else { continue };
        if right.ground(running, *place, gang).is_none() {
            continue;
        }
        let facts = |member: usize| running.member(member).map(|member| &member.facts);
        let value = |member: usize| facts(member).map(|facts| gang.facts.value(facts, right.now));
        let live = u32::try_from(gang.members.len()).unwrap_or(u32::MAX);
        let live = live.saturating_sub(trial.lost(*place));
        let spare = match right.manner {
            Manner::End(_) => live.saturating_sub(gang.facts.min),
            Manner::Move => 0,
        };
        // The first member is where the gang meets: it goes last.
        let first = gang.members.first().copied();
        let single = members.iter().filter(|(_, member)| spare > 0 && Some(*member) != first);
        let mut singles = 0usize;
        for (_, member) in single {
            candidates.push(Candidate {
                unit: Unit::Member(*member),
                value: value(*member).unwrap_or_default(),
                gang: groups.len(),
                here: facts(*member).into_iter().collect(),
            });
            singles += 1;
        }
        if singles < members.len() || usize::try_from(spare).is_ok_and(|spare| spare < singles) {
            let live = gang.members.iter().filter(|member| !trial.is_gone(**member));
            candidates.push(Candidate {
                unit: Unit::Gang(*place),
                value: live.filter_map(|member| value(*member)).fold(Value::NOTHING, |a, b| a + b),
                gang: groups.len(),
                here: members.iter().filter_map(|(_, member)| facts(*member)).collect(),
            });
        }
        groups.push(Group { gang: *place, spare });
    }
    let job = |gang: usize| {
        let gang: Option<&Group> = groups.get(gang);
        gang.and_then(|group| running.gang(group.gang)).map_or(0, |gang| gang.facts.job)
    };
    candidates.sort_by_key(|c| (c.value, job(c.gang), c.unit));
    (groups, candidates)
}

/// Where every candidate is on one device and devices are all that is short, devices are
/// independent of each other: the cheapest sets of the cheapest devices. `None` elsewhere.
fn by_device(
    rooms: &Rooms,
    demand: &Demand,
    candidates: &[Candidate<'_>],
    groups: &[Group],
    lie: impl Fn(usize) -> Option<Lie>,
) -> Option<Vec<usize>> {
    let alone = demand.is_alone() || demand.tasks == 1;
    if demand.devices == 0 || !alone || demand.beside(rooms) < demand.tasks {
        return None;
    }
    let mut on: Vec<Vec<usize>> = vec![Vec::new(); rooms.devices.len()];
    let mut seen = vec![false; groups.len()];
    for (place, candidate) in candidates.iter().enumerate() {
        let [member] = candidate.here.as_slice() else { return None };
        if std::mem::replace(&mut seen[candidate.gang], true) {
            return None;
        }
        match member.slices.as_slice() {
            [] => {}
            [piece] => on.get_mut(piece.device)?.push(place),
            _ => return None,
        }
    }
    // By island: what each device costs, and what ends on it.
    let mut islands: Vec<(Island, Vec<Emptied>)> = Vec::new();
    let mut by_rail = false;
    for (device, room) in rooms.devices.iter().enumerate() {
        let Some(Lie { island: name, rail }) = lie(device) else { continue };
        by_rail |= rail.is_some();
        let fits = |room: &Room| demand.on(room) > 0;
        let ending = if fits(room) {
            Vec::new()
        } else {
            let mut all = *room;
            on[device].iter().for_each(|c| all.give(&candidates[*c].here[0].slices[0]));
            if !fits(&all) {
                continue;
            }
            let one = Rooms { devices: vec![*room], ..Rooms::default() };
            Search::run_on_device(one, candidates, groups, &on[device], &|rooms| {
                rooms.devices.first().is_some_and(fits)
            })
        };
        let value = ending.iter().fold(Value::NOTHING, |sum, place| sum + candidates[*place].value);
        let entry = (value, device, ending);
        match islands.iter_mut().find(|(other, _)| *other == name) {
            Some((_, devices)) => devices.push(entry),
            None => islands.push((name, vec![entry])),
        }
    }
    let wanted = usize::try_from(demand.devices.checked_mul(demand.tasks)?).ok()?;
    if (islands.len() > 1 || by_rail) && demand.tasks > 1 {
        return None;
    }
    if by_rail {
        // Of each rail the cheapest device.
        for (_, devices) in &mut islands {
            devices.sort_unstable();
            let mut rails = BTreeSet::new();
            devices.retain(|(_, device, _)| {
                let rail = lie(*device).and_then(|lie| lie.rail);
                rail.is_none_or(|rail| rails.insert(rail))
            });
        }
    }
    let choices = islands.into_iter().filter(|(_, devices)| devices.len() >= wanted);
    let best = choices.map(|(_, mut devices)| {
        devices.sort_unstable();
        devices.truncate(wanted);
        let value = devices.iter().fold(Value::NOTHING, |sum, (value, ..)| sum + *value);
        (value, devices.into_iter().flat_map(|(.., ending)| ending).collect::<Vec<_>>())
    });
    best.min_by(|a, b| a.0.cmp(&b.0)).map(|(_, ending)| ending)
}

/// Looks for the cheapest set of candidates that makes room.
struct Search<'s, 'a> {
    candidates: &'s [Candidate<'a>],
    groups: &'s [Group],
    /// The candidates that count, cheapest first.
    subset: &'s [usize],
    fits: &'s dyn Fn(&Rooms) -> bool,
    /// All on one device, which is the only one of `rooms`.
    device: bool,
    rooms: Rooms,
    /// By group: members chosen, and whether the whole gang is.
    chosen_of: Vec<(u32, bool)>,
    chosen: Vec<usize>,
    best: Option<(Value, Vec<usize>)>,
    looked: u32,
}

impl<'s, 'a> Search<'s, 'a> {
    fn run(
        rooms: Rooms,
        candidates: &'s [Candidate<'a>],
        groups: &'s [Group],
        subset: &'s [usize],
        fits: &'s dyn Fn(&Rooms) -> bool,
    ) -> Vec<usize> {
        Self::start(rooms, candidates, groups, subset, fits, false)
    }

    fn run_on_device(
        rooms: Rooms,
        candidates: &'s [Candidate<'a>],
        groups: &'s [Group],
        subset: &'s [usize],
        fits: &'s dyn Fn(&Rooms) -> bool,
    ) -> Vec<usize> {
        if let [only] = subset {
            return vec![*only];
        }
        Self::start(rooms, candidates, groups, subset, fits, true)
    }

    fn start(
        rooms: Rooms,
        candidates: &'s [Candidate<'a>],
        groups: &'s [Group],
        subset: &'s [usize],
        fits: &'s dyn Fn(&Rooms) -> bool,
        device: bool,
    ) -> Vec<usize> {
        let mut search = Self {
            candidates,
            groups,
            subset,
            fits,
            device,
            rooms,
            chosen_of: vec![(0, false); groups.len()],
            chosen: Vec::new(),
            best: None,
            looked: 0,
        };
        search.dropping();
        search.look(0, Value::NOTHING);
        search.best.map(|(_, best)| best).unwrap_or_default()
    }

    fn give(&mut self, candidate: usize) {
        let candidate = &self.candidates[candidate];
        if self.device {
            self.rooms.devices[0].give(&candidate.here[0].slices[0]);
        } else {
            candidate.here.iter().for_each(|member| self.rooms.give(member));
        }
    }

    fn take(&mut self, candidate: usize) {
        let candidate = &self.candidates[candidate];
        if self.device {
            self.rooms.devices[0].take(&candidate.here[0].slices[0]);
        } else {
            candidate.here.iter().for_each(|member| self.rooms.take(member));
        }
    }

    /// A first answer: everything that can end, less what can stay, the most expensive first.
    fn dropping(&mut self) {
        let of = |place: &usize| &self.candidates[*place];
        let last_resort = |place: &usize| of(place).is_last_resort(self.candidates);
        let all: Vec<usize> = self.subset.iter().copied().filter(last_resort).collect();
        all.iter().for_each(|place| self.give(*place));
        let mut kept = Vec::new();
        for place in all.iter().rev() {
            self.take(*place);
            if !(self.fits)(&self.rooms) {
                self.give(*place);
                kept.push(*place);
            }
        }
        kept.iter().for_each(|place| self.take(*place));
        // Members that end one by one must leave their gang its fewest.
        let mut members = vec![0u32; self.groups.len()];
        for place in &kept {
            let candidate = &self.candidates[*place];
            members[candidate.gang] += u32::from(matches!(candidate.unit, Unit::Member(_)));
        }
        debug_assert!(members.iter().zip(self.groups).all(|(members, g)| *members <= g.spare));
        let sum =
            kept.iter().fold(Value::NOTHING, |sum, place| sum + self.candidates[*place].value);
        kept.sort_unstable();
        self.best = Some((sum, kept));
    }

    fn look(&mut self, from: usize, sum: Value) {
        if self.best.as_ref().is_some_and(|(best, _)| sum >= *best) {
            return;
        }
        if (self.fits)(&self.rooms) {
            self.best = Some((sum, self.chosen.clone()));
            return;
        }
        self.looked += 1;
        let Some(place) = self.subset.get(from).copied() else { return };
        if self.looked > SEARCH_MAX || !self.rest_fits(from) {
            return;
        }
        let candidate = &self.candidates[place];
        let (members, whole) = self.chosen_of[candidate.gang];
        let (may, chosen) = match candidate.unit {
            Unit::Gang(_) => (members == 0, (members, true)),
            Unit::Member(_) => {
                (!whole && members < self.groups[candidate.gang].spare, (members + 1, whole))
            }
        };
        if may {
            let (gang, value) = (candidate.gang, candidate.value);
            self.chosen_of[gang] = chosen;
            self.chosen.push(place);
            self.give(place);
            self.look(from + 1, sum + value);
            self.take(place);
            self.chosen.pop();
            self.chosen_of[gang] = (members, whole);
        }
        self.look(from + 1, sum);
    }

    /// Whether it would fit if all that may still end from here on did; may say yes wrongly. Nothing
    /// is given twice: a card that is cut would not be what it was once it is taken back.
    fn rest_fits(&mut self, from: usize) -> bool {
        let rest = self.subset.get(from..).unwrap_or_default();
        let mut as_gang = vec![false; self.groups.len()];
        for place in rest {
            let candidate = &self.candidates[*place];
            if matches!(candidate.unit, Unit::Gang(_)) {
                as_gang[candidate.gang] = self.chosen_of[candidate.gang] == (0, false);
            }
        }
        let counts = |place: &&usize| {
            let candidate = &self.candidates[**place];
            match candidate.unit {
                Unit::Gang(_) => as_gang[candidate.gang],
                Unit::Member(_) => !as_gang[candidate.gang] && !self.chosen_of[candidate.gang].1,
            }
        };
        let rest: Vec<usize> = rest.iter().filter(counts).copied().collect();
        rest.iter().for_each(|place| self.give(*place));
        let fits = (self.fits)(&self.rooms);
        rest.iter().rev().for_each(|place| self.take(*place));
        fits
    }
}
