//! Making room: which idle instances to destroy, and which running ones would have to move.

use super::layouts::{Card, Instance, Layouts, MigError};
use super::sets::Set;

/// Most instances that a card is repacked with; no card has more.
const INSTANCES_MAX: usize = 8;

/// Whether an instance carries work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tenancy {
    /// It may be destroyed at no cost but that of creating it again.
    Idle,
    /// Its work would have to be stopped, moved and continued.
    Running,
    /// It stays where it is.
    Fixed,
}

/// How a set of instances can be made to fit a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repack {
    /// Idle instances to destroy, by their places in what was given.
    pub destroyed: Vec<usize>,
    /// Running instances that move, and where to.
    pub moved: Vec<(usize, Instance)>,
    /// Where the wanted ones go, largest first.
    pub placed: Vec<Instance>,
    /// The card when all is done.
    pub card: Card,
}

/// What a repack costs, the dearest first: running instances that move, slots they cover, idle
/// ones destroyed, slots they cover.
type Cost = (u32, u32, u32, u32);

impl Layouts {
    /// The cheapest way to fit `wanted` beside what a card has: fewest running instances moved,
    /// then fewest slots of them, then fewest idle ones destroyed; of equal ways the one that
    /// leaves the card worth most. `None` when even an otherwise empty card would not do.
    ///
    /// # Errors
    /// The instances given cannot be on one card together.
    pub fn repack(
        &self,
        instances: &[(Instance, Tenancy)],
        wanted: Set,
    ) -> Result<Option<Repack>, MigError> {
        self.card(instances.iter().map(|(instance, _)| *instance))?;
        let number = instances.len().min(INSTANCES_MAX);
        let ways = (0..1_u32 << number).filter_map(|way| self.way(instances, wanted, way));
        let best = ways
            .min_by_key(|(cost, card, way)| (*cost, std::cmp::Reverse(self.worth(*card)), *way));
        Ok(best.and_then(|(_, _, way)| self.carried_out(instances, wanted, way)))
    }

    /// What giving up the instances in `way` costs, if the rest then fits.
    fn way(
        &self,
        instances: &[(Instance, Tenancy)],
        wanted: Set,
        way: u32,
    ) -> Option<(Cost, Card, u32)> {
        let mut cost = (0, 0, 0, 0);
        let mut set = wanted;
        for (_, (instance, tenancy)) in chosen(instances, way, true) {
            let slots = self.table().profiles.get(instance.profile)?.slots;
            match tenancy {
                Tenancy::Fixed => return None,
                Tenancy::Running => {
                    set = set.with(instance.profile, 1);
                    cost.0 += 1;
                    cost.1 += u32::from(slots);
                }
                Tenancy::Idle => {
                    cost.2 += 1;
                    cost.3 += u32::from(slots);
                }
            }
        }
        let (_, card) = self.place_set(self.kept(instances, way)?, set)?;
        Some((cost, card, way))
    }

    fn kept(&self, instances: &[(Instance, Tenancy)], way: u32) -> Option<Card> {
        self.card(chosen(instances, way, false).map(|(_, (instance, _))| *instance)).ok()
    }

    fn carried_out(
        &self,
        instances: &[(Instance, Tenancy)],
        wanted: Set,
        way: u32,
    ) -> Option<Repack> {
        let given_up = || chosen(instances, way, true);
        let moving = given_up().filter(|(_, (_, tenancy))| *tenancy == Tenancy::Running);
        let mut moving: Vec<(usize, usize)> =
            moving.map(|(at, (instance, _))| (at, instance.profile)).collect();
        let set = moving.iter().fold(wanted, |set, (_, profile)| set.with(*profile, 1));
        let (all, card) = self.place_set(self.kept(instances, way)?, set)?;
        let (mut placed, mut moved) = (Vec::new(), Vec::new());
        for instance in all {
            match moving.iter().position(|(_, profile)| *profile == instance.profile) {
                Some(at) => moved.push((moving.remove(at).0, instance)),
                None => placed.push(instance),
            }
        }
        moved.sort_unstable();
        let idle = given_up().filter(|(_, (_, tenancy))| *tenancy == Tenancy::Idle);
        Some(Repack { destroyed: idle.map(|(at, _)| at).collect(), moved, placed, card })
    }
}

/// The instances that are in a way, or those that are not.
fn chosen(
    instances: &[(Instance, Tenancy)],
    way: u32,
    given_up: bool,
) -> impl Iterator<Item = (usize, &(Instance, Tenancy))> {
    let is_in = move |at: usize| at < INSTANCES_MAX && way >> at & 1 == 1;
    instances.iter().enumerate().filter(move |(at, _)| is_in(*at) == given_up)
}
