//! Searches that know nothing of the tables of [`super::layouts`], over every arrangement of
//! every card.

use super::tables::COUNTERS;
use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Every place an instance may be at.
fn places(table: &Table) -> Vec<Instance> {
    let of = |(profile, row): (usize, &Profile)| {
        row.starts.iter().map(move |start| Instance { profile, start: *start }).collect::<Vec<_>>()
    };
    table.profiles.iter().enumerate().flat_map(of).collect()
}

/// Whether a card can have these, told slot by slot.
fn is_possible(table: &Table, instances: &[Instance]) -> bool {
    let mut slots = vec![false; table.slots.into()];
    let mut counters = [0; COUNTERS];
    let mut numbers = vec![0; table.profiles.len()];
    for instance in instances {
        let profile = &table.profiles[instance.profile];
        for slot in instance.start..instance.start + profile.slots {
            if std::mem::replace(&mut slots[usize::from(slot)], true) {
                return false;
            }
        }
        numbers[instance.profile] += 1;
        if numbers[instance.profile] > profile.max {
            return false;
        }
        for (counter, takes) in counters.iter_mut().zip(profile.takes) {
            *counter += takes;
        }
    }
    counters.iter().zip(table.has).all(|(taken, has)| *taken <= has)
}

/// Every arrangement, each as its sorted instances.
fn arrangements(table: &Table) -> BTreeSet<Vec<Instance>> {
    let mut all = BTreeSet::from([vec![]]);
    let mut fresh: Vec<Vec<Instance>> = vec![vec![]];
    while let Some(here) = fresh.pop() {
        for place in places(table) {
            let mut next = here.clone();
            next.push(place);
            next.sort();
            if is_possible(table, &next) && all.insert(next.clone()) {
                fresh.push(next);
            }
        }
    }
    all
}

fn set_of(instances: &[Instance]) -> Set {
    instances.iter().map(|instance| instance.profile).collect()
}

/// For each arrangement, the sets that some larger arrangement adds to it.
fn sets_that_fit(all: &BTreeSet<Vec<Instance>>) -> BTreeMap<&Vec<Instance>, BTreeSet<Set>> {
    let mut fit: BTreeMap<&Vec<Instance>, BTreeSet<Set>> = BTreeMap::new();
    for whole in all {
        for part in 0..1_u32 << whole.len() {
            let is_in = |at: usize| part >> at & 1 == 1;
            let pick = |inside: bool| {
                let of = whole.iter().enumerate().filter(move |(at, _)| is_in(*at) == inside);
                of.map(|(_, instance)| *instance).collect::<Vec<_>>()
            };
            let here = all.get(&pick(true)).expect("a part of what is possible is possible");
            fit.entry(here).or_default().insert(set_of(&pick(false)));
        }
    }
    fit
}

/// One card of each family: others differ from them in names and sizes alone.
fn families() -> impl Iterator<Item = &'static Table> {
    let names = ["A30 24GB", "A100 40GB", "H100 80GB", "RTX PRO 6000 Blackwell 96GB"];
    names.into_iter().map(|name| *Table::all().iter().find(|table| table.name == name).unwrap())
}

fn check_never_refuses(table: &'static Table) {
    let layouts = table.layouts();
    let all = arrangements(table);
    let fit = sets_that_fit(&all);
    let every: BTreeSet<Set> = fit.values().flatten().copied().collect();
    for here in &all {
        let card = layouts.card(here.iter().copied()).unwrap();
        for set in &every {
            let expect = fit[here].contains(set);
            assert_eq!(layouts.fits(card, *set), expect, "{} {here:?} {set:?}", table.name);
        }
        for set in &fit[here] {
            let (placed, after) = layouts.place_set(card, *set).unwrap();
            assert_eq!(set_of(&placed), *set);
            let together: Vec<Instance> = here.iter().chain(&placed).copied().collect();
            assert!(is_possible(table, &together), "{} {together:?}", table.name);
            assert_eq!(layouts.card(together), Ok(after));
        }
        for profile in 0..table.profiles.len() {
            let set = |number| Set::of(profile, number);
            let room = (0..=15).filter(|number| fit[here].contains(&set(*number))).max();
            assert_eq!(Some(layouts.room(card, profile)), room);
        }
    }
}

#[test]
fn a_set_is_refused_only_if_it_fits_nowhere() {
    let known: BTreeSet<&str> = Table::all().iter().map(|table| table.name).collect();
    assert_eq!(known.len(), 11);
    families().for_each(check_never_refuses);
}

#[test]
fn cards_of_a_family_differ_in_names_and_sizes_alone() {
    let of = |name: &str| *Table::all().iter().find(|table| table.name == name).unwrap();
    for table in Table::all().iter().filter(|table| table.slots == 8) {
        let same = of(if table.has == of("A100 40GB").has { "A100 40GB" } else { "H100 80GB" });
        let rows = |table: &Table| {
            table.profiles.iter().map(|p| (p.slots, p.starts, p.max, p.takes)).collect::<Vec<_>>()
        };
        assert_eq!((table.has, rows(table)), (same.has, rows(same)), "{}", table.name);
    }
}

#[test]
fn tables_hold_together() {
    for table in Table::all() {
        let last = table.profiles.last().unwrap();
        assert_eq!((last.slots, last.takes), (table.slots, table.has), "{}", table.name);
        assert_eq!(table.compute(last).0, 1000);
        for profile in table.profiles {
            assert!(profile.starts.iter().all(|start| start + profile.slots <= table.slots));
            assert!(profile.memory <= last.memory && profile.memory.0 > 0);
        }
        for instances in arrangements(table) {
            let rows = || instances.iter().map(|instance| &table.profiles[instance.profile]);
            assert!(rows().map(|profile| profile.memory.0).sum::<u64>() <= last.memory.0);
            assert!(rows().map(|profile| table.compute(profile).0).sum::<u32>() <= 1000);
        }
    }
}

/// Whatever carries an ask can be swapped for the smallest that carries it, where it stands: so
/// that taking the smallest first refuses nothing that a larger one would have carried.
#[test]
fn the_smallest_profile_fits_wherever_a_larger_one_does() {
    for table in Table::all() {
        let layouts = table.layouts();
        let all = arrangements(table);
        let mut asks = BTreeSet::new();
        for row in table.profiles {
            for (media, graphics) in [(false, false), (true, false), (false, true)] {
                let (compute, memory) = (table.compute(row), row.memory);
                asks.insert(Wants { compute, memory, media, graphics });
            }
        }
        for here in &all {
            let card = layouts.card(here.iter().copied()).unwrap();
            for wants in &asks {
                let fits = |place: &Instance| {
                    let mut next = here.clone();
                    next.push(*place);
                    wants.carried_by(table, &table.profiles[place.profile])
                        && is_possible(table, &next)
                };
                let expect = places(table).iter().any(fits);
                assert_eq!(layouts.place_wants(card, wants).is_some(), expect, "{here:?}");
                assert_eq!(layouts.room_for(card, wants).is_some(), expect);
            }
        }
    }
}

#[test]
fn equal_asks_get_as_many_instances_as_any_mix_of_profiles_gives() {
    for name in ["A30 24GB", "A100 40GB", "RTX PRO 6000 Blackwell 96GB"] {
        let table = *Table::all().iter().find(|table| table.name == name).unwrap();
        for here in arrangements(table) {
            let card = table.layouts().card(here.iter().copied()).unwrap();
            for row in table.profiles.iter().filter(|row| row.slots > 1) {
                let wants = Wants::share(table.compute(row), row.memory);
                let room = table.layouts().room_for(card, &wants).map_or(0, |(_, room)| room);
                let most = most_beside(table, &mut here.clone(), &wants, &places(table));
                assert_eq!(room, most, "{name} {here:?} {}", row.name);
            }
        }
    }
}

/// The most instances for equal asks beside what is there, of whichever profiles carry them.
fn most_beside(table: &Table, here: &mut Vec<Instance>, wants: &Wants, open: &[Instance]) -> u32 {
    let mut most = 0;
    for (at, place) in open.iter().enumerate() {
        if wants.carried_by(table, &table.profiles[place.profile]) {
            here.push(*place);
            if is_possible(table, here) {
                most = most.max(1 + most_beside(table, here, wants, &open[at + 1..]));
            }
            here.pop();
        }
    }
    most
}

#[test]
fn a_start_that_leaves_the_card_worth_most_is_taken() {
    for table in families() {
        let layouts = table.layouts();
        for here in arrangements(table) {
            let card = layouts.card(here.iter().copied()).unwrap();
            for profile in 0..table.profiles.len() {
                let starts = table.profiles[profile].starts.iter();
                let worths = starts
                    .filter_map(|start| layouts.with(card, Instance { profile, start: *start }));
                let best = worths.map(|card| layouts.worth(card)).max();
                let got = layouts.place(card, profile).map(|(_, card)| layouts.worth(card));
                assert_eq!(got, best);
                let loss = best.map(|best| layouts.worth(card) - best);
                assert_eq!(layouts.loss(card, profile), loss);
            }
        }
    }
}

/// A card's places are a mask of this many bits, and equal asks one after the other get as many
/// instances as there is room for.
#[test]
fn one_at_a_time_gives_as_many_as_there_is_room_for() {
    for table in families() {
        let layouts = table.layouts();
        assert!(places(table).len() <= 32);
        for here in arrangements(table) {
            let mask = here.iter().fold(0, |mask, instance| mask | layouts.bit(*instance));
            let card = layouts.card(here.iter().copied()).unwrap();
            assert_eq!(layouts.card_of(mask), Some(card));
            let named = |instance: &Instance| layouts.instance(layouts.bit(*instance));
            assert!(here.iter().all(|instance| named(instance) == Some(*instance)));
            for row in table.profiles {
                let wants = Wants::share(table.compute(row), row.memory);
                let room = layouts.room_for(card, &wants).map_or(0, |(_, room)| room);
                let next = |card: &Card| layouts.place_wants(*card, &wants).map(|(_, card)| card);
                let placed = std::iter::successors(next(&card), next).count();
                assert_eq!(u32::try_from(placed), Ok(room), "{} {here:?} {}", table.name, row.name);
            }
        }
    }
    let (a30, a100) = (Table::all()[0].layouts(), Table::all()[1].layouts());
    assert_eq!(a30.card_of(u32::MAX), None);
    assert_eq!(a100.bit(Instance { profile: 3, start: 1 }), 0);
}

#[test]
fn careful_starts_keep_the_large_ones_possible() {
    let table = Table::all()[1];
    assert_eq!(table.name, "A100 40GB");
    let layouts = table.layouts();
    let at = |name: &str| table.profile(name).unwrap();
    let (small, card) = layouts.place(layouts.empty(), at("1g.5gb")).unwrap();
    assert!(small.start >= 4, "the half where 4g.20gb can never be");
    assert!(layouts.fits(card, Set::of(at("4g.20gb"), 1).with(at("2g.10gb"), 1)));
    let (half, _) = layouts.place(layouts.empty(), at("3g.20gb")).unwrap();
    assert_eq!(half.start, 4, "the half where 4g.20gb can never be");
    let broken = Instance { profile: at("1g.5gb"), start: 4 };
    let card = layouts.card([broken]).unwrap();
    let (next, _) = layouts.place(card, at("1g.5gb")).unwrap();
    assert_eq!(next.start, 5, "a pair that is broken already is used up first");
}

#[test]
fn nonsense_from_a_driver_is_named() {
    let layouts = Table::all()[1].layouts();
    let at = |profile, start| Instance { profile, start };
    let error = layouts.card([at(4, 0), at(3, 2)]).unwrap_err();
    assert!(error.to_string().contains("A100 40GB cannot have 2g.10gb at slot 2"), "{error}");
    assert!(layouts.card([at(99, 0)]).unwrap_err().to_string().contains("profile 99"));
    assert_eq!(layouts.with(layouts.empty(), at(4, 3)), None);
    assert!(!layouts.fits(layouts.empty(), Set::of(0, 8)));
}

/// The cheapest repack by trying every way and every arrangement.
fn repack_cost(
    all: &BTreeSet<Vec<Instance>>,
    here: &[(Instance, Tenancy)],
    wanted: Set,
) -> Option<(usize, usize)> {
    let mut best = None;
    for way in 0..1_u32 << here.len() {
        let given = |at: usize| way >> at & 1 == 1;
        let kept: Vec<Instance> =
            (0..here.len()).filter(|at| !given(*at)).map(|at| here[at].0).collect();
        let gone = |tenancy| (0..here.len()).filter(move |at| given(*at) && here[*at].1 == tenancy);
        let set = gone(Tenancy::Running).fold(wanted, |set, at| set.with(here[at].0.profile, 1));
        let whole = |whole: &&Vec<Instance>| {
            let rest: Vec<Instance> =
                whole.iter().filter(|instance| !kept.contains(instance)).copied().collect();
            kept.iter().all(|instance| whole.contains(instance)) && set_of(&rest) == set
        };
        if all.iter().any(|other| whole(&other)) {
            let cost = (gone(Tenancy::Running).count(), gone(Tenancy::Idle).count());
            best = Some(best.map_or(cost, |best: (usize, usize)| best.min(cost)));
        }
    }
    best
}

/// Cards that instances come to and go from; the share of asks refused, in millionths.
fn refused(
    table: &'static Table,
    choose: impl Fn(&[Vec<Instance>], usize) -> Option<(usize, Instance)>,
) -> u64 {
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let mut draw = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut cards: Vec<Vec<Instance>> = vec![vec![]; 50];
    let mut leaving: BTreeSet<(u64, usize, Instance)> = BTreeSet::new();
    let (mut refused, asks) = (0, 20_000);
    for now in 0..asks {
        while let Some((at, card, instance)) = leaving.first().copied().filter(|end| end.0 <= now) {
            leaving.remove(&(at, card, instance));
            cards[card].retain(|other| *other != instance);
        }
        // Small asks are many and large ones few.
        let profile = [0, 0, 0, 0, 2, 2, 3, 3, 4, 4, 5, 6][usize::try_from(draw(12)).unwrap()];
        match choose(&cards, profile) {
            Some((card, instance)) => {
                cards[card].push(instance);
                assert!(is_possible(table, &cards[card]));
                leaving.insert((now + 1 + draw(255), card, instance));
            }
            None => refused += 1,
        }
    }
    refused * 1_000_000 / asks
}

#[test]
fn over_a_long_time_fewer_are_refused_than_by_taking_the_first_start() {
    let table = Table::all()[1];
    let layouts = table.layouts();
    let first = refused(table, |cards, profile| {
        let starts = |instances: &Vec<Instance>| {
            let starts = table.profiles[profile].starts.iter();
            let fits = |start: &&u8| {
                let next = Instance { profile, start: **start };
                let all: Vec<Instance> = instances.iter().copied().chain([next]).collect();
                is_possible(table, &all)
            };
            starts.clone().find(fits).map(|start| Instance { profile, start: *start })
        };
        cards.iter().enumerate().find_map(|(card, here)| Some((card, starts(here)?)))
    });
    let ours = refused(table, |cards, profile| {
        let cards = cards.iter().map(|here| layouts.card(here.iter().copied()).unwrap());
        let losses = cards.enumerate().filter_map(|(at, card)| {
            Some((layouts.loss(card, profile)?, at, layouts.place(card, profile)?.0))
        });
        losses.min().map(|(_, at, instance)| (at, instance))
    });
    assert!(first > 5_000, "the load is too low to tell anything: {first}");
    assert!(ours * 4 < first * 3, "{ours} of a million refused, {first} by the first start");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_repack_moves_as_few_as_any_search_finds(
        seven in any::<bool>(), pick in any::<prop::sample::Index>(), running in any::<u8>(),
        wanted in prop::collection::vec(0_usize..7, 1..4),
    ) {
        let name = if seven { "A100 40GB" } else { "A30 24GB" };
        let table = *Table::all().iter().find(|table| table.name == name).unwrap();
        let all = arrangements(table);
        let here = all.iter().nth(pick.index(all.len())).unwrap();
        let tenancy = |at: usize| {
            if running >> at & 1 == 1 { Tenancy::Running } else { Tenancy::Idle }
        };
        let here: Vec<(Instance, Tenancy)> =
            here.iter().enumerate().map(|(at, instance)| (*instance, tenancy(at))).collect();
        let wanted: Set = wanted.into_iter().map(|at| at % table.profiles.len()).collect();
        let got = table.layouts().repack(&here, wanted).unwrap();
        let cost = got.as_ref().map(|repack| repack.moved.len());
        let expect = repack_cost(&all, &here, wanted);
        prop_assert_eq!(cost, expect.map(|(moved, _)| moved));
        if let Some(repack) = got {
            let gone = |at: &usize| {
                repack.destroyed.contains(at) || repack.moved.iter().any(|(moved, _)| moved == at)
            };
            let kept = (0..here.len()).filter(|at| !gone(at)).map(|at| here[at].0);
            let moved = repack.moved.iter().map(|(at, to)| {
                assert_eq!((to.profile, here[*at].1), (here[*at].0.profile, Tenancy::Running));
                *to
            });
            let after: Vec<Instance> = kept.chain(moved).chain(repack.placed.clone()).collect();
            prop_assert!(is_possible(table, &after));
            prop_assert_eq!(set_of(&repack.placed), wanted);
            prop_assert_eq!(table.layouts().card(after), Ok(repack.card));
        }
    }
}
