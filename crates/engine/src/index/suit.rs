//! Which kinds of device suit a need: ranked once for a need, and again when nodes come or go.

use super::space::{CellKey, Space};
use crate::fleet::Suits;
use crate::need::Need;
use crate::topology::{Card, Prices, suit};
use polder_model::DeviceKind;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Costs that differ by less than one part in so many of the least are alike: models report their
/// memory and clocks with small differences.
const ALIKE_PARTS: u128 = 8;

impl Space {
    /// How well these cells suit a need; `None` where there is nothing to choose. Where hardware
    /// cuts devices, what an instance costs is compared between cards already.
    pub(super) fn suits(&self, need: &Need, cells: &[CellKey]) -> Option<Arc<Suits>> {
        if !self.prefers_suited() || need.count == 0 || need.wants().is_some() || cells.len() < 2 {
            return None;
        }
        let open: BTreeSet<CellKey> = cells.iter().copied().collect();
        let mut kinds: Vec<(CellKey, Card, bool)> = Vec::with_capacity(cells.len());
        for (shape, group) in self.groups() {
            for (at, (class, _)) in shape.classes.iter().enumerate() {
                if let (Some(cell), Some(card)) = (group.cells.get(at), group.cards.get(at))
                    && open.contains(cell)
                {
                    kinds.push((*cell, *card, class.kind == DeviceKind::Cpu));
                }
            }
        }
        // What is not known of each of them is compared on none.
        let bandwidth = kinds.iter().all(|(_, card, _)| card.bandwidth > 0);
        let compute = kinds.iter().all(|(_, card, _)| card.compute > 0);
        let (prices, needs) = (self.prices(), need.needs());
        let cost = |card: &Card| {
            let card = Card {
                memory: card.memory,
                bandwidth: if bandwidth { card.bandwidth } else { 0 },
                compute: if compute { card.compute } else { 0 },
            };
            suit(&card, &needs, &prices).unwrap_or(u128::MAX)
        };
        // A processor behind a device's interface serves when nothing else does.
        let costs: Vec<(CellKey, (bool, u128))> =
            kinds.iter().map(|(cell, card, last)| (*cell, (*last, cost(card)))).collect();
        let ranks = ranks(costs.iter().map(|(_, cost)| *cost));
        let ranked = costs.iter().filter_map(|(cell, cost)| Some((*cell, *ranks.get(cost)?)));
        Suits::of(ranked).map(Arc::new)
    }

    fn prices(&self) -> Prices {
        if let Some(prices) = *self.kept_prices().borrow() {
            return prices;
        }
        let mut pool: BTreeMap<Card, u64> = BTreeMap::new();
        for (shape, group) in self.groups() {
            let nodes = group.hosts.nodes();
            for ((_, number), card) in shape.classes.iter().zip(&group.cards) {
                *pool.entry(*card).or_default() += nodes.saturating_mul(u64::from(*number));
            }
        }
        let prices = Prices::of(&pool.into_iter().collect::<Vec<_>>());
        *self.kept_prices().borrow_mut() = Some(prices);
        prices
    }
}

/// The rank of each cost; those that are alike have one.
fn ranks(costs: impl Iterator<Item = (bool, u128)>) -> BTreeMap<(bool, u128), usize> {
    let costs: BTreeSet<(bool, u128)> = costs.collect();
    let mut ranks = BTreeMap::new();
    let mut least: Option<(bool, u128)> = None;
    let mut rank = 0;
    for cost in costs {
        let alike =
            |(last, least): (bool, u128)| last == cost.0 && cost.1 - least <= least / ALIKE_PARTS;
        if !least.is_some_and(alike) {
            rank += usize::from(least.is_some());
            least = Some(cost);
        }
        ranks.insert(cost, rank);
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_that_are_alike_have_one_rank_and_processors_come_last() {
        let costs = [(false, 800), (false, 900), (false, 901), (true, 1), (false, 2_000)];
        let ranks = ranks(costs.into_iter());
        assert_eq!(costs.map(|cost| ranks[&cost]), [0, 0, 1, 3, 2]);
    }
}
