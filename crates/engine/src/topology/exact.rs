//! Every choice of a few devices compared, at the cost of a fraction of them.
//!
//! What a choice comes to is kept as it grows, and a choice is given up as soon as nothing that
//! could follow from it beats the best found: each part of the key is bounded by itself, and the
//! bounds together are no less than any key that follows.

use super::links::DEVICES_EXACT_MAX;
use super::subset::{Key, Spots, Wish};
use super::{Choice, Together};
use std::cmp::Reverse;

/// A number for each open device.
type Row = [u64; DEVICES_EXACT_MAX];

/// What the devices taken so far come to.
#[derive(Clone, Copy, Default)]
struct Sums {
    /// Places in the list of open devices.
    taken: u16,
    number: usize,
    /// Islands, NUMA nodes and rails that they are on, by number.
    islands: u16,
    numas: u16,
    rails: u16,
    bandwidth: u64,
    /// Bandwidth that idle devices lose by it.
    lost: u64,
    left: u64,
    /// Bandwidth between each open device and those taken, and those of them that are idle.
    near: Row,
    near_idle: Row,
}

/// What is known of one open device.
#[derive(Clone, Copy, Default)]
struct Open {
    left: u64,
    idle: bool,
    island: u16,
    numa: u16,
    rail: u16,
    /// Bandwidth to all idle devices.
    idle_row: u64,
    /// Bandwidth to each open device.
    row: Row,
    /// The one before it that is alike in everything, as a mask.
    twin: u16,
}

struct Search<'w> {
    wish: &'w Wish,
    count: usize,
    open: Vec<Open>,
    /// Bandwidth between all idle devices.
    idle_all: u64,
    /// The most bandwidth of a pair.
    widest: u64,
    /// The least that any further `number` of the devices from a place on would leave.
    least_left: Vec<Row>,
    best: Option<(Key, Sums)>,
}

/// The best `count` of these devices, of which there are at most [`DEVICES_EXACT_MAX`]; of equal
/// ones the lowest. `None` if none keep what is required.
pub(super) fn best(
    spots: &Spots<'_>,
    count: usize,
    wish: &Wish,
    open: &[usize],
) -> Option<(Key, Choice)> {
    let mut search = Search::new(spots, count, wish, open)?;
    search.extend(0, &Sums::default());
    let (key, sums) = search.best?;
    let devices = (0..).zip(open).filter(|(place, _)| sums.taken >> place & 1 == 1);
    let choice = Choice {
        devices: devices.map(|(_, at)| *at).collect(),
        islands: ones(sums.islands),
        numas: ones(sums.numas),
        bandwidth: sums.bandwidth,
        kept: search.idle_all.saturating_sub(sums.lost),
    };
    Some((key, choice))
}

fn ones(mask: u16) -> usize {
    usize::try_from(mask.count_ones()).unwrap_or(0)
}

/// The mask of a name among those seen.
fn numbered(seen: &mut Vec<u16>, name: u16) -> u16 {
    let at = seen.iter().position(|other| *other == name).unwrap_or_else(|| {
        seen.push(name);
        seen.len() - 1
    });
    u32::try_from(at).ok().and_then(|at| 1_u16.checked_shl(at)).unwrap_or(0)
}

impl<'w> Search<'w> {
    fn new(spots: &Spots<'_>, count: usize, wish: &'w Wish, places: &[usize]) -> Option<Self> {
        if places.len() > DEVICES_EXACT_MAX {
            return None;
        }
        let links = spots.links;
        let idle: Vec<usize> = (0..links.devices()).filter(|at| spots.idle(*at)).collect();
        let mut seen: [Vec<u16>; 3] = Default::default();
        let mut open = Vec::with_capacity(places.len());
        for (place, at) in places.iter().enumerate() {
            let [islands, numas, rails] = &mut seen;
            let before = places.get(..place).unwrap_or_default();
            let twin = before.iter().rposition(|other| spots.alike(*other, *at));
            let mut row = Row::default();
            for (to, other) in row.iter_mut().zip(places) {
                *to = links.between(*at, *other).into();
            }
            open.push(Open {
                left: spots.left(*at)?,
                idle: spots.idle(*at),
                island: numbered(islands, links.island(*at)),
                numa: numbered(numas, spots.numa(*at)),
                rail: numbered(rails, spots.rail(*at)),
                idle_row: idle.iter().map(|other| u64::from(links.between(*at, *other))).sum(),
                row,
                twin: twin
                    .and_then(|twin| 1_u16.checked_shl(u32::try_from(twin).ok()?))
                    .unwrap_or(0),
            });
        }
        let widest = open.iter().flat_map(|open| open.row).max().unwrap_or(0);
        let mut search = Self {
            wish,
            count,
            open,
            idle_all: links.within(&idle),
            widest,
            least_left: Vec::new(),
            best: None,
        };
        search.least_left = (0..=search.open.len()).map(|from| search.least(from)).collect();
        Some(search)
    }

    /// What the tightest of the devices from a place on leave: one, two, and so on.
    fn least(&self, from: usize) -> Row {
        let mut left: Vec<u64> =
            self.open.get(from..).unwrap_or_default().iter().map(|open| open.left).collect();
        left.sort_unstable();
        let (mut row, mut sum) = (Row::default(), 0_u64);
        for (to, left) in row.iter_mut().zip(left) {
            sum = sum.saturating_add(left);
            *to = sum;
        }
        row
    }

    /// Tries every choice that goes on from the devices taken, with those from `from` on.
    fn extend(&mut self, from: usize, sums: &Sums) {
        let missing = self.count - sums.number;
        if missing == 0 {
            let key = self.key(sums, 0, 0);
            if self.best.as_ref().is_none_or(|(best, _)| key > *best) {
                self.best = Some((key, *sums));
            }
            return;
        }
        for place in from..=self.open.len().saturating_sub(missing) {
            if self.best.as_ref().is_some_and(|(best, _)| self.key(sums, missing, place) <= *best) {
                return;
            }
            let Some(next) = self.with(place, sums) else { continue };
            self.extend(place + 1, &next);
        }
    }

    /// With one device more, unless that breaks what is required, or one that is alike goes first.
    fn with(&self, place: usize, sums: &Sums) -> Option<Sums> {
        let open = self.open.get(place)?;
        let first = open.twin & !sums.taken != 0;
        if first || (self.wish.rails == Together::Required && sums.rails & open.rail != 0) {
            return None;
        }
        let mut next = *sums;
        next.taken |= 1_u16.checked_shl(u32::try_from(place).ok()?)?;
        next.number += 1;
        next.islands |= open.island;
        next.numas |= open.numa;
        next.rails |= open.rail;
        next.left = next.left.saturating_add(open.left);
        next.bandwidth += sums.near.get(place)?;
        if open.idle {
            // What two idle devices had between them was counted with each.
            next.lost += open.idle_row.saturating_sub(*sums.near_idle.get(place)?);
        }
        if next.number < self.count {
            let idle = u64::from(open.idle);
            let near = next.near.iter_mut().zip(&mut next.near_idle);
            for ((near, near_idle), between) in near.zip(&open.row) {
                *near += between;
                *near_idle += between * idle;
            }
        }
        Some(next)
    }

    /// What is known of every choice that takes `missing` more of the devices from `from` on: none
    /// has a greater key. With nothing missing, the key.
    fn key(&self, sums: &Sums, missing: usize, from: usize) -> Key {
        let together = self.wish.island != Together::Any;
        let bandwidth = || {
            let pairs = missing * sums.number + missing * missing.saturating_sub(1) / 2;
            sums.bandwidth + self.widest * u64::try_from(pairs).unwrap_or(u64::MAX)
        };
        let least = || {
            let row = self.least_left.get(from)?;
            row.get(missing.checked_sub(1)?).copied()
        };
        (
            Reverse(if together { ones(sums.islands) } else { 0 }),
            if together { bandwidth() } else { 0 },
            Reverse(if self.wish.numa == Together::Any { 0 } else { ones(sums.numas) }),
            if self.wish.rails == Together::Any { 0 } else { ones(sums.rails) + missing },
            self.idle_all.saturating_sub(sums.lost),
            Reverse(sums.left.saturating_add(least().unwrap_or(0))),
        )
    }
}
