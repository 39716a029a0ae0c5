//! Which nodes a gang gets: near each other, spread over what may fail, or both.

use std::cmp::Reverse;
use std::collections::BTreeMap;

/// How far apart nodes are, from near to far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// One node.
    Node,
    /// Nodes below one switch or in one rack.
    Rack,
    /// Racks that reach each other at full rate.
    Block,
}

/// A node that could carry tasks of the gang.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// Tasks it could carry.
    pub room: u32,
    /// Its rack.
    pub rack: u32,
    /// Its block.
    pub block: u32,
}

/// Tasks stay inside one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Within {
    /// One of what.
    pub tier: Tier,
    /// Whether anything wider is refused.
    pub required: bool,
}

/// No more than so many tasks in one of these, so that one failure costs no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// One of what.
    pub tier: Tier,
    /// Most tasks in one.
    pub most: u32,
}

/// One of a tier; `None` is the whole pool.
type Name = Option<(Tier, usize, u32)>;

impl Tier {
    fn of(self, at: usize, site: &Site) -> Name {
        match self {
            Self::Node => Some((self, at, 0)),
            Self::Rack => Some((self, 0, site.rack)),
            Self::Block => Some((self, 0, site.block)),
        }
    }
}

/// Tasks for each of `sites`, `tasks` in all; `None` if they do not fit.
///
/// The narrowest tier that holds all of them is taken, from one node to the whole pool or the tier
/// that is required; of several the one with least room, so that wide ones stay for wide gangs.
/// There as few nodes as possible, and the last the tightest that will do. Ties go to the lowest.
#[must_use]
pub fn sites(
    sites: &[Site],
    tasks: u32,
    within: Option<Within>,
    spread: Option<Spread>,
) -> Option<Vec<u32>> {
    let required = within.filter(|within| within.required).map(|within| within.tier);
    let tiers = [Some(Tier::Node), Some(Tier::Rack), Some(Tier::Block), None];
    let wide_enough = |tier: &Option<Tier>| match (tier, required) {
        (None, required) => required.is_none(),
        (Some(tier), Some(required)) => *tier <= required,
        // Who asked for nothing near is served from one place all the same: it costs nothing.
        (Some(_), None) => true,
    };
    tiers.into_iter().filter(wide_enough).find_map(|tier| narrowest(sites, tier, tasks, spread))
}

/// The one of a tier with least room that holds all tasks.
fn narrowest(
    sites: &[Site],
    tier: Option<Tier>,
    tasks: u32,
    spread: Option<Spread>,
) -> Option<Vec<u32>> {
    let mut groups: BTreeMap<Name, Vec<(usize, &Site)>> = BTreeMap::new();
    for (at, site) in sites.iter().enumerate().filter(|(_, site)| site.room > 0) {
        groups.entry(tier.and_then(|tier| tier.of(at, site))).or_default().push((at, site));
    }
    let room = |group: &Vec<(usize, &Site)>| group.iter().map(|(_, s)| u64::from(s.room)).sum();
    let mut by_room: Vec<(u64, Vec<(usize, &Site)>)> =
        groups.into_values().map(|group| (room(&group), group)).collect();
    by_room.sort_by_key(|(room, _)| *room);
    by_room.retain(|(room, _)| *room >= u64::from(tasks));
    by_room.into_iter().find_map(|(_, group)| {
        let given = fill(&group, tasks, spread)?;
        let mut of_all = vec![0; sites.len()];
        for (at, tasks) in given {
            *of_all.get_mut(at)? = tasks;
        }
        Some(of_all)
    })
}

/// Fills the roomiest nodes first, which takes the fewest; the rest goes to the tightest that holds
/// it. What a spread leaves of a node's room counts as its room.
fn fill(group: &[(usize, &Site)], tasks: u32, spread: Option<Spread>) -> Option<Vec<(usize, u32)>> {
    let mut given: Vec<(usize, u32)> = Vec::new();
    let mut open: Vec<(usize, &Site)> = group.to_vec();
    let mut used: BTreeMap<Name, u32> = BTreeMap::new();
    let mut left = tasks;
    while left > 0 {
        let room = |(at, site): &(usize, &Site)| match spread {
            Some(Spread { tier, most }) => {
                let used = used.get(&tier.of(*at, site)).copied().unwrap_or(0);
                site.room.min(most.saturating_sub(used))
            }
            None => site.room,
        };
        let last = open.iter().enumerate().filter(|(_, site)| room(site) >= left);
        let last = last.min_by_key(|(_, site)| (site.1.room, site.0));
        let roomiest =
            open.iter().enumerate().max_by_key(|(_, site)| (room(site), Reverse(site.0)));
        let place = last.or(roomiest).map(|(place, _)| place)?;
        let site = open.swap_remove(place);
        let here = room(&site).min(left);
        if here == 0 {
            return None;
        }
        left -= here;
        given.push((site.0, here));
        if let Some(Spread { tier, .. }) = spread {
            *used.entry(tier.of(site.0, site.1)).or_default() += here;
        }
    }
    Some(given)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn site(room: u32, rack: u32) -> Site {
        Site { room, rack, block: rack / 2 }
    }

    #[test]
    fn a_gang_goes_to_the_tightest_place_that_holds_it() {
        let pool = [site(8, 0), site(8, 0), site(4, 1), site(2, 1), site(8, 2), site(8, 3)];
        let go = |tasks, tier| sites(&pool, tasks, Some(Within { tier, required: true }), None);
        assert_eq!(go(2, Tier::Rack), Some(vec![0, 0, 0, 2, 0, 0]));
        assert_eq!(go(5, Tier::Rack), Some(vec![5, 0, 0, 0, 0, 0]));
        assert_eq!(go(6, Tier::Rack).map(|given| given[0]), Some(6));
        assert_eq!(go(10, Tier::Rack), Some(vec![8, 2, 0, 0, 0, 0]));
        assert_eq!(go(16, Tier::Block), Some(vec![8, 8, 0, 0, 0, 0]));
        assert_eq!(go(17, Tier::Rack), None);
        assert_eq!(go(20, Tier::Block), Some(vec![8, 8, 4, 0, 0, 0]));
        assert_eq!(go(9, Tier::Node), None);
        assert_eq!(sites(&pool, 38, None, None), Some(vec![8, 8, 4, 2, 8, 8]));
    }

    #[test]
    fn a_spread_limits_what_one_failure_costs() {
        let pool = [site(8, 0), site(8, 0), site(8, 1), site(8, 2)];
        let spread = |tier, most| Some(Spread { tier, most });
        assert_eq!(sites(&pool, 6, None, spread(Tier::Rack, 2)), Some(vec![2, 0, 2, 2]));
        assert_eq!(sites(&pool, 7, None, spread(Tier::Rack, 2)), None);
        assert_eq!(sites(&pool, 4, None, spread(Tier::Node, 1)), Some(vec![1, 1, 1, 1]));
        let within = Some(Within { tier: Tier::Block, required: true });
        assert_eq!(sites(&pool, 3, within, spread(Tier::Node, 1)), Some(vec![1, 1, 1, 0]));
        assert_eq!(sites(&pool, 4, within, spread(Tier::Node, 1)), None);
    }

    /// Every way to give tasks to sites that keeps what is required.
    fn ways(
        pool: &[Site],
        tasks: u32,
        required: Option<Tier>,
        spread: Option<Spread>,
    ) -> Vec<Vec<u32>> {
        let mut ways = vec![vec![]];
        for site in pool {
            ways = ways
                .into_iter()
                .flat_map(|way: Vec<u32>| {
                    (0..=site.room).map(move |here| way.iter().copied().chain([here]).collect())
                })
                .collect();
        }
        ways.retain(|way| {
            let used = |tier: Tier| {
                let mut used: BTreeMap<Name, u32> = BTreeMap::new();
                for (at, here) in way.iter().enumerate().filter(|(_, here)| **here > 0) {
                    *used.entry(tier.of(at, &pool[at])).or_default() += here;
                }
                used
            };
            way.iter().sum::<u32>() == tasks
                && required.is_none_or(|tier| used(tier).len() <= 1)
                && spread.is_none_or(|s| used(s.tier).values().all(|tasks| *tasks <= s.most))
        });
        ways
    }

    fn tier() -> impl Strategy<Value = Tier> {
        prop_oneof![Just(Tier::Node), Just(Tier::Rack), Just(Tier::Block)]
    }

    proptest! {
        #[test]
        fn a_gang_is_refused_only_if_no_way_exists_and_takes_the_fewest_nodes(
            rooms in prop::collection::vec((0_u32..4, 0_u32..4), 1..6), tasks in 1_u32..9,
            required in prop::option::of(tier()),
            spread in prop::option::of((tier(), 1_u32..4)),
        ) {
            let pool: Vec<Site> = rooms.iter().map(|(room, rack)| site(*room, *rack)).collect();
            let spread = spread.map(|(tier, most)| Spread { tier, most });
            let within = required.map(|tier| Within { tier, required: true });
            let got = sites(&pool, tasks, within, spread);
            let ways = ways(&pool, tasks, required, spread);
            let nodes = |way: &Vec<u32>| way.iter().filter(|here| **here > 0).count();
            prop_assert_eq!(got.is_some(), !ways.is_empty());
            if let Some(got) = got {
                prop_assert!(ways.contains(&got), "{got:?}");
                if spread.is_none() {
                    // Of the ways in the narrowest tier that has any.
                    let wide = [Tier::Node, Tier::Rack, Tier::Block].into_iter()
                        .find(|tier| ways_in(&ways, &pool, *tier).next().is_some());
                    let fewest = match wide {
                        Some(tier) => ways_in(&ways, &pool, tier)
                            .filter(|way| one_of(way, &pool, tier) == one_of(&got, &pool, tier))
                            .map(nodes).min(),
                        None => ways.iter().map(nodes).min(),
                    };
                    prop_assert_eq!(Some(nodes(&got)), fewest);
                }
            }
        }
    }

    fn one_of(way: &[u32], pool: &[Site], tier: Tier) -> Option<Name> {
        let mut names = way.iter().enumerate().filter(|(_, here)| **here > 0);
        let first = names.next().map(|(at, _)| tier.of(at, &pool[at]))?;
        names.all(|(at, _)| tier.of(at, &pool[at]) == first).then_some(first)
    }

    fn ways_in<'a>(
        ways: &'a [Vec<u32>],
        pool: &'a [Site],
        tier: Tier,
    ) -> impl Iterator<Item = &'a Vec<u32>> {
        ways.iter().filter(move |way| one_of(way, pool, tier).is_some())
    }
}
