//! Where: the free space of the pool as a pass sees it, with what it granted so far taken.
//!
//! What must hold: when an overlay is dropped, what is free is what it was before. (What it took
//! is parked: most often it is taken for good right after, as the pass decided.)

use crate::fleet::{self, Demand, Device, Fleet, Mark, RuleIx};
use crate::index::entry::{NodeSpace, Take};
use crate::index::space::{Answer, CellKey, MACHINES, Space};
use crate::near;
use crate::nearest::Seen;
use crate::need::Need;
use crate::scratch::Scratch;
use crate::shape::Lie;
use crate::sieve::Sieve;
use polder_model::{Bytes, DeviceId, NodeId};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

/// Most devices that one explanation sees.
const SEEN_MAX: usize = 100_000;

/// The free space of the pool as a pass sees it. There is one at a time.
pub(crate) struct Overlay<'a> {
    base: &'a Space,
    /// Where the trial began; absent once it is over.
    mark: Option<Mark>,
    /// Steps the kernel had counted before.
    before: u64,
}

/// Places all of a gang on devices that suit it alike, the best that have room for all of it.
fn in_one_kind(
    fleet: &mut Fleet,
    demand: &Demand,
    want: u32,
    place: impl Fn(&mut Fleet, &Demand) -> Vec<fleet::Spot>,
) -> Option<Vec<fleet::Spot>> {
    let suits = demand.suits.as_ref().filter(|_| want > 1)?;
    for cells in suits.ranks() {
        let kind = Demand { cells: Some(cells.clone()), suits: None, ..demand.clone() };
        let mark = fleet.begin();
        let found = place(fleet, &kind);
        if u32::try_from(found.len()) == Ok(want) {
            fleet.keep(mark);
            return Some(found);
        }
        fleet.rollback(mark);
    }
    None
}

pub(crate) use polder_model::Spot;

/// A device and what is free on it.
pub(crate) type Candidate<'a> = (u32, u64, &'a NodeId, &'a DeviceId);

impl Drop for Overlay<'_> {
    fn drop(&mut self) {
        if let Some(mark) = self.mark.take() {
            self.base.fleet().borrow_mut().park(mark);
        }
    }
}

impl<'a> Overlay<'a> {
    pub(crate) fn new(base: &'a Space) -> Self {
        base.refresh_rule();
        let mut fleet = base.fleet().borrow_mut();
        debug_assert!(!fleet.is_trial(), "one overlay at a time: drop the other one first");
        Self { base, before: fleet.steps(), mark: Some(fleet.begin()) }
    }

    /// Gives back all that was taken.
    pub(crate) fn restart(&mut self) {
        let mut fleet = self.base.fleet().borrow_mut();
        if let Some(mark) = self.mark.take() {
            fleet.rollback(mark);
        }
        self.mark = Some(fleet.begin());
    }

    /// Index entries looked at.
    pub(crate) fn steps(&self) -> u64 {
        self.base.fleet().borrow().steps() - self.before
    }

    pub(crate) fn node(&self, node: &NodeId) -> Option<NodeSpace> {
        self.base.node(node)
    }

    pub(crate) fn take(&mut self, node: &NodeId, take: &Take) {
        if let Some((ix, amounts)) = self.base.amounts(node, take) {
            self.base.fleet().borrow_mut().take(ix, &amounts);
        }
    }

    /// The reverse of [`Overlay::take`].
    pub(crate) fn give(&mut self, node: &NodeId, take: &Take) {
        if let Some((ix, amounts)) = self.base.amounts(node, take) {
            self.base.fleet().borrow_mut().give(ix, &amounts);
        }
    }

    /// Nodes that have one of these cells, by name.
    pub(crate) fn nodes_of(&self, cells: &[CellKey]) -> BTreeSet<&'a NodeId> {
        if cells.contains(&MACHINES) {
            return self.base.ids().collect();
        }
        self.fitting(cells, 0, 0).map(|(_, _, node, _)| node).collect()
    }

    /// How many cells there are, without [`MACHINES`].
    pub(crate) fn cells(&self) -> usize {
        self.base.cells()
    }

    /// What could serve a need if it were free.
    pub(crate) fn answer(&self, need: &Need) -> Arc<Answer> {
        self.base.answer(need)
    }

    /// Room for up to `want` tasks in these cells, on nodes that are open; sorted by node and device.
    pub(crate) fn find(
        &self,
        need: &Need,
        cells: &[CellKey],
        sieve: &Sieve,
        want: u32,
    ) -> Vec<Spot> {
        let answer = self.base.answer(need);
        self.look((need, &answer), cells, sieve, want, |fleet, mark, _| fleet.rollback(mark))
    }

    /// The same, and takes it, if there is room for at least `min`.
    pub(crate) fn place(
        &mut self,
        need: &Need,
        cells: &[CellKey],
        sieve: &Sieve,
        min: u32,
        want: u32,
    ) -> Option<Vec<Spot>> {
        let answer = self.base.answer(need);
        self.place_by((need, &answer), cells, sieve, min, want)
    }

    /// The same for a need whose answer is at hand.
    pub(crate) fn place_by(
        &mut self,
        need: (&Need, &Answer),
        cells: &[CellKey],
        sieve: &Sieve,
        min: u32,
        want: u32,
    ) -> Option<Vec<Spot>> {
        let enough = |tasks: usize| u32::try_from(tasks).unwrap_or(u32::MAX) >= min;
        let spots = self.look(need, cells, sieve, want, |fleet, mark, tasks| {
            if enough(tasks) { fleet.keep(mark) } else { fleet.rollback(mark) }
        });
        enough(spots.len()).then_some(spots)
    }

    /// Begins a trial within this one.
    pub(crate) fn suppose(&self) -> Mark {
        self.base.fleet().borrow_mut().begin()
    }

    /// Takes back all since such a trial began.
    pub(crate) fn unsuppose(&self, mark: Mark) {
        self.base.fleet().borrow_mut().rollback(mark);
    }

    /// Finds room, and ends the trial in which it was found as `end` says.
    fn look(
        &self,
        (need, answer): (&Need, &Answer),
        cells: &[CellKey],
        sieve: &Sieve,
        want: u32,
        end: impl FnOnce(&mut Fleet, Mark, usize),
    ) -> Vec<Spot> {
        if cells.is_empty() {
            return Vec::new();
        }
        // Most often all that could serve it is open to it.
        let demand = match answer.demand(cells).filter(|_| sieve.is_open()) {
            Some(demand) => Cow::Borrowed(demand),
            None => Cow::Owned(self.demand(need, cells, sieve)),
        };
        let mut fleet = self.base.fleet().borrow_mut();
        let mark = fleet.begin();
        let rule = self.base.rule();
        let lies = (need.near && want > 1).then(|| self.base.lies());
        let place = |fleet: &mut Fleet, demand: &Demand| {
            let lies = lies.as_ref();
            let near = lies.and_then(|lies| {
                let lies =
                    |ix| lies.get(&ix).copied().unwrap_or((u32::MAX - ix.0, u32::MAX - ix.0));
                near::place(fleet, demand, lies, want)
            });
            near.unwrap_or_else(|| fleet.place(demand, rule, want))
        };
        let found = in_one_kind(&mut fleet, &demand, want, place)
            .unwrap_or_else(|| place(&mut fleet, &demand));
        end(&mut fleet, mark, found.len());
        let mut spots: Vec<Spot> = found.iter().filter_map(|spot| self.named(spot)).collect();
        spots.sort();
        spots
    }

    /// All the memory of a device.
    pub(crate) fn memory_of(&self, node: &NodeId, device: &DeviceId) -> Option<Bytes> {
        self.base.entry(self.base.slot(node)?)?.memory_of(device)
    }

    /// After which of these steps, counted from 0, the smallest gang of a need fits: each may give
    /// some things back, and says which nodes are open then. Nothing stays given.
    pub(crate) fn enough_after(
        &self,
        steps: impl Iterator<Item = (Vec<(NodeId, Take)>, Rc<Sieve>)>,
        need: &Need,
        cells: &[CellKey],
    ) -> Option<usize> {
        let mark = self.base.fleet().borrow_mut().begin();
        let enough = |(gives, sieve): (Vec<(NodeId, Take)>, Rc<Sieve>)| {
            let gives = gives.iter().filter_map(|(node, take)| self.base.amounts(node, take));
            for (ix, amounts) in gives {
                self.base.fleet().borrow_mut().give(ix, &amounts);
            }
            let found = self.find(need, cells, &sieve, need.min).len();
            u32::try_from(found).unwrap_or(u32::MAX) >= need.min
        };
        let mut steps = steps;
        let last = steps.position(enough);
        self.base.fleet().borrow_mut().rollback(mark);
        last
    }

    /// What is free now, and the rule that places go by.
    pub(crate) fn fleet(&self) -> (&'a Scratch<Fleet>, RuleIx) {
        (self.base.fleet(), self.base.rule())
    }

    /// A need that these cells may serve, as the kernel knows it.
    pub(crate) fn demand(&self, need: &Need, cells: &[CellKey], sieve: &Sieve) -> Demand {
        let mut demand = self.base.demand(need, cells);
        if !sieve.is_open() {
            demand.must.insert(self.base.sieved(sieve));
        }
        demand
    }

    /// The name of a node.
    pub(crate) fn name(&self, node: fleet::NodeIx) -> Option<&'a NodeId> {
        Some(&self.base.entry(node)?.id)
    }

    /// A place by name.
    pub(crate) fn named(&self, spot: &fleet::Spot) -> Option<Spot> {
        let entry = self.base.entry(spot.node)?;
        let name = |place: &u16| Some(entry.devices.get(usize::from(*place))?.0.clone());
        let instance = |(place, mask): &(u16, u32)| entry.instance(&name(place)?, *mask);
        Some(Spot {
            node: entry.id.clone(),
            devices: spot.devices.iter().map(name).collect::<Option<_>>()?,
            instances: spot.take.cuts.iter().map(instance).collect::<Option<_>>()?,
        })
    }

    /// Devices in these cells, as they are now. For explanations: it looks at every node.
    pub(crate) fn seen(&self, cells: &[CellKey]) -> Vec<Seen<'a>> {
        let fleet = self.base.fleet().borrow();
        let mut all = Vec::new();
        for (ix, node) in fleet.nodes() {
            let Some(entry) = self.base.entry(ix) else { continue };
            let devices = node.devices.iter().zip(&entry.devices);
            let open = devices.filter(|(device, _)| cells.contains(&device.spec.cell));
            let seen = |(free, (device, lie)): (&Device, &'a (DeviceId, Lie))| Seen {
                node: &entry.id,
                device,
                free: *free,
                lie: *lie,
            };
            all.extend(open.map(seen).take(SEEN_MAX - all.len()));
        }
        all
    }

    /// Devices in these cells with at least so much free, by node. For explanations: it looks at
    /// every node.
    pub(crate) fn fitting(
        &self,
        cells: &[CellKey],
        compute: u32,
        memory: u64,
    ) -> impl Iterator<Item = Candidate<'a>> + use<'a> {
        let fleet = self.base.fleet().borrow();
        let mut fitting = Vec::new();
        for (ix, node) in fleet.nodes() {
            let Some(entry) = self.base.entry(ix) else { continue };
            for (device, (id, _)) in node.devices.iter().zip(&entry.devices) {
                let free_compute = u32::try_from(device.compute).unwrap_or(0);
                let free_memory = u64::try_from(device.memory).unwrap_or(0);
                let fits = free_compute >= compute && free_memory >= memory;
                if fits && cells.contains(&device.spec.cell) {
                    fitting.push((free_compute, free_memory, &entry.id, id));
                }
            }
        }
        fitting.into_iter()
    }
}
