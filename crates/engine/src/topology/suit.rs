//! Which kind of card suits a need: the one on which it wastes least, not the biggest.
//!
//! What a need takes of a card is priced by what the pool has: all memory, all bandwidth and all
//! compute of the pool are worth the same, so each is dear where it is scarce. A card that is
//! slower than the need holds what it takes for longer, in proportion. The price of what is taken,
//! times how long, is the cost; the need itself is the same everywhere, so least cost is least
//! waste. A T4 that serves a job as well as an H200 costs a small part of it; a job that waits for
//! memory all the time costs less on the H200, whose bandwidth it uses, than on an H100.

use super::cards::Card;
use polder_model::{Bytes, Permille};

/// Worth of all of one resource of a pool.
const WORTH: u128 = 1 << 60;
/// Costs are multiplied by this before they are divided by the least speed.
const SCALE: u128 = 1 << 20;

/// What one device of a task must have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Memory.
    pub memory: Bytes,
    /// The share of a card that it gets, whichever card that is.
    pub share: Permille,
    /// Bytes a second at which it is not held up; 0 when nobody said.
    pub bandwidth: u64,
    /// Billions of operations a second at which it is not held up; 0 when nobody said.
    pub compute: u64,
    /// Nobody else is on the card.
    pub whole: bool,
}

/// What a pool's resources are worth, by what it has of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prices {
    memory: u128,
    bandwidth: u128,
    compute: u128,
}

impl Prices {
    /// Prices of a pool with so many of each kind of card.
    #[must_use]
    pub fn of(pool: &[(Card, u64)]) -> Self {
        let price = |of: fn(&Card) -> u64| {
            let has = |(card, number): &(Card, u64)| u128::from(of(card)) * u128::from(*number);
            WORTH.checked_div(pool.iter().map(has).sum()).unwrap_or(0)
        };
        Self {
            memory: price(|card| card.memory.0),
            bandwidth: price(|card| card.bandwidth),
            compute: price(|card| card.compute),
        }
    }
}

/// Cost of serving a need on a card, without unit, to compare cards of one pool; `None` if the
/// card has not the memory. What is unknown of a card costs nothing and holds nothing up.
#[must_use]
pub fn suit(card: &Card, needs: &Needs, prices: &Prices) -> Option<u128> {
    if card.memory < needs.memory {
        return None;
    }
    let share = if needs.whole { Permille::WHOLE } else { needs.share };
    let part = |of: u64| u128::from(of) * u128::from(share.0) / u128::from(Permille::WHOLE.0);
    let memory = if needs.whole { card.memory } else { needs.memory };
    let taken = [
        u128::from(memory.0).saturating_mul(prices.memory),
        part(card.bandwidth).saturating_mul(prices.bandwidth),
        part(card.compute).saturating_mul(prices.compute),
    ];
    let taken = taken.into_iter().fold(0, u128::saturating_add);
    // The slowest of what it waits for decides how long it takes.
    let held_up = |wanted: u64, card: u64| match part(card) {
        0 => SCALE,
        got => (u128::from(wanted) * SCALE).div_ceil(got).max(SCALE),
    };
    let longer = held_up(needs.bandwidth, card.bandwidth).max(held_up(needs.compute, card.compute));
    Some((taken / SCALE).max(1).saturating_mul(longer))
}

#[cfg(test)]
mod tests {
    use super::super::card;
    use super::*;
    use proptest::prelude::*;

    const POOL: [(&str, u64, u64); 5] = [
        ("Tesla T4", 15, 40),
        ("NVIDIA A10", 23, 20),
        ("NVIDIA A100-SXM4-80GB", 80, 16),
        ("NVIDIA H100 80GB HBM3", 80, 16),
        ("NVIDIA H200", 141, 8),
    ];

    fn of((model, gib, number): (&str, u64, u64)) -> (Card, u64) {
        (card(model, Bytes(gib << 30), None), number)
    }

    /// The model that suits best.
    fn best(needs: Needs) -> &'static str {
        let pool = POOL.map(of);
        let prices = Prices::of(&pool);
        let costs = POOL
            .iter()
            .zip(pool)
            .filter_map(|((model, ..), (card, _))| Some((suit(&card, &needs, &prices)?, *model)));
        costs.min().map_or("none", |(_, model)| model)
    }

    fn whole(gib: u64, gb_per_second: u64, trillions: u64) -> Needs {
        Needs {
            memory: Bytes(gib << 30),
            share: Permille(0),
            bandwidth: gb_per_second * 1_000_000_000,
            compute: trillions * 1_000,
            whole: true,
        }
    }

    #[test]
    fn the_best_suited_card_is_taken_not_the_biggest() {
        assert_eq!(best(whole(8, 0, 0)), "Tesla T4", "it serves as well as any");
        assert_eq!(best(whole(8, 300, 60)), "Tesla T4");
        assert_eq!(best(whole(20, 0, 0)), "NVIDIA A10");
        assert_eq!(best(whole(60, 0, 0)), "NVIDIA A100-SXM4-80GB");
        assert_eq!(best(whole(100, 0, 0)), "NVIDIA H200");
        assert_eq!(best(whole(150, 0, 0)), "none");
    }

    #[test]
    fn a_need_goes_where_what_it_waits_for_is_cheap() {
        assert_eq!(best(whole(60, 0, 900)), "NVIDIA H100 80GB HBM3", "compute");
        let decode = whole(60, 9_000, 50);
        let pool = POOL.map(of);
        let prices = Prices::of(&pool);
        let cost = |at: usize| suit(&pool[at].0, &decode, &prices).unwrap();
        assert!(cost(2) < cost(3), "per byte a second an A100 is cheaper than an H100");
        let share =
            |gib: u64| Needs { memory: Bytes(gib << 30), share: Permille(300), ..Needs::default() };
        assert_eq!(best(share(4)), "Tesla T4");
        assert_eq!(best(share(70)), "NVIDIA A100-SXM4-80GB");
    }

    #[test]
    fn nothing_known_is_nothing_wrong() {
        let plain = card("Tide 8", Bytes(8 << 30), None);
        let prices = Prices::of(&[(plain, 1)]);
        assert!(suit(&plain, &whole(1, 100, 100), &prices).is_some());
        assert_eq!(suit(&Card::default(), &Needs::default(), &Prices::default()), Some(SCALE));
    }

    proptest! {
        #[test]
        fn more_of_a_card_costs_more_and_a_need_that_is_served_never_pays_for_speed(
            memory in 1_u64..100, bandwidth in 1_u64..8_000, compute in 1_u64..3_000,
            gib in 1_u64..100, more in 1_u64..1_000,
        ) {
            let small = Card {
                memory: Bytes(memory << 30),
                bandwidth: bandwidth * 1_000_000_000,
                compute: compute * 1_000,
            };
            let large = Card {
                memory: Bytes((memory + more) << 30),
                bandwidth: (bandwidth + more) * 1_000_000_000,
                compute: (compute + more) * 1_000,
            };
            let prices = Prices::of(&[(small, 10), (large, 10)]);
            let needs = whole(gib, bandwidth, compute);
            let (on_small, on_large) = (suit(&small, &needs, &prices), suit(&large, &needs, &prices));
            prop_assert_eq!(on_small.is_some(), gib <= memory);
            if let Some(on_small) = on_small {
                prop_assert!(on_large.is_some_and(|on_large| on_small < on_large));
            }
        }
    }
}
