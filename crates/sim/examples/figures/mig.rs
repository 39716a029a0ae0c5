//! Instances cut by hardware, and devices that lie together: how many asks are refused over a long
//! time beside taking the first start that fits, and what one decision costs.

use polder_engine::fleet::{Demand, DeviceSpec, Fleet, NodeIx, NodeSpec, Rule, Take};
use polder_engine::mig::{Instance, Layouts, Set, Table, Tenancy, Wants};
use polder_engine::topology::{Links, Spots, Together, Wish, choose};
use polder_model::Bytes;
use polder_sim::figure::{Figure, Target};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

/// Cards of the replays.
const CARDS: u32 = 50;
/// Slots that are asked for on average, of those there are.
const LOAD: f64 = 0.85;
const SEEDS: u64 = 3;

/// How often each of 1g, 1g with double memory, 2g, 3g, 4g and 7g is asked for.
const MIXES: [(&str, [u32; 6]); 3] = [
    ("all sizes alike", [1, 1, 1, 1, 1, 1]),
    ("mostly small", [16, 8, 8, 4, 2, 1]),
    ("mostly large", [1, 1, 1, 3, 2, 2]),
];
/// Their places in the table: the one with media engines is left out.
const PROFILES: [usize; 6] = [0, 2, 3, 4, 5, 6];

/// Numbers that look random, the same each time.
struct Draw(u64);

impl Draw {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        #[allow(clippy::cast_precision_loss, reason = "fifty-two bits are enough")]
        let unit = (self.0 >> 12) as f64 / (1_u64 << 52) as f64;
        unit
    }

    /// With mean 1.
    fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }
}

/// Who places: takes an ask for a profile, gives what to give back when it is over.
trait Pool {
    type Held;
    fn place(&mut self, profile: usize) -> Option<Self::Held>;
    fn give(&mut self, held: Self::Held);
}

/// The engine's kernel of free space.
struct Kernel {
    fleet: Fleet,
    rule: polder_engine::fleet::RuleIx,
    table: &'static Table,
}

impl Pool for Kernel {
    type Held = (NodeIx, Take);

    fn place(&mut self, profile: usize) -> Option<Self::Held> {
        let row = self.table.profiles.get(profile)?;
        let wants = Wants::share(self.table.compute(row), row.memory);
        let demand = Demand { count: 1, cut: Some(wants), ..Demand::default() };
        let spot = self.fleet.place(&demand, self.rule, 1).pop()?;
        Some((spot.node, spot.take))
    }

    fn give(&mut self, (node, take): Self::Held) {
        self.fleet.give(node, &take);
    }
}

/// The first start that fits on the first card.
struct FirstFit {
    layouts: &'static Layouts,
    cards: Vec<u32>,
}

impl Pool for FirstFit {
    type Held = (usize, u32);

    fn place(&mut self, profile: usize) -> Option<Self::Held> {
        let starts = self.layouts.table().profiles.get(profile)?.starts;
        let bits = starts.iter().map(|start| Instance { profile, start: *start });
        let bits: Vec<u32> = bits.map(|instance| self.layouts.bit(instance)).collect();
        let fits = |card: u32| {
            let free =
                |bit: &&u32| card & **bit == 0 && self.layouts.card_of(card | **bit).is_some();
            bits.iter().find(free).copied()
        };
        let place = self.cards.iter().enumerate();
        let (at, bit) = place.filter_map(|(at, card)| Some((at, fits(*card)?))).next()?;
        *self.cards.get_mut(at)? |= bit;
        Some((at, bit))
    }

    fn give(&mut self, (at, bit): Self::Held) {
        if let Some(card) = self.cards.get_mut(at) {
            *card &= !bit;
        }
    }
}

/// Asks refused, in per cent; the first fifth is not counted, while the pool fills.
fn refused<P: Pool>(mut pool: P, table: &Table, mix: [u32; 6], asks: u32, seed: u64) -> f64 {
    let mut draw = Draw(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    for _ in 0..20 {
        draw.unit();
    }
    let slots = |at: usize| table.profiles.get(PROFILES[at]).map_or(0, |p| u32::from(p.slots));
    let all: u32 = mix.iter().sum();
    let mean = mix.iter().enumerate().map(|(at, part)| f64::from(part * slots(at))).sum::<f64>()
        / f64::from(all);
    let rate = LOAD * f64::from(CARDS) * f64::from(table.slots) / mean;
    // Held by when it is over, in billionths of a mean life, and by number.
    let mut ends: BTreeMap<(u64, u32), P::Held> = BTreeMap::new();
    let (mut now, mut refused, mut counted) = (0.0, 0_u32, 0_u32);
    for ask in 0..asks {
        now += draw.exponential() / rate;
        let moment = |time: f64| {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "times are positive and few"
            )]
            let moment = (time * 1e9) as u64;
            moment
        };
        while let Some(first) = ends.first_entry().filter(|first| first.key().0 <= moment(now)) {
            pool.give(first.remove());
        }
        let mut pick = draw.unit() * f64::from(all);
        let mut at = 0;
        while at + 1 < mix.len() && pick >= f64::from(mix[at]) {
            pick -= f64::from(mix[at]);
            at += 1;
        }
        let life = draw.exponential();
        counted += u32::from(ask >= asks / 5);
        match pool.place(PROFILES[at]) {
            Some(held) => drop(ends.insert((moment(now + life), ask), held)),
            None => refused += u32::from(ask >= asks / 5),
        }
    }
    100.0 * f64::from(refused) / f64::from(counted.max(1))
}

fn kernel(table: &'static Table) -> Kernel {
    let mut fleet = Fleet::default();
    let memory = table.profiles.last().map_or(0, |all| all.memory.0);
    let card = DeviceSpec {
        memory: i64::try_from(memory).unwrap_or(i64::MAX),
        parts: Some(table),
        healthy: true,
        ..DeviceSpec::default()
    };
    for ix in 0..CARDS {
        fleet.set(NodeIx(ix), &NodeSpec { devices: vec![card], ..NodeSpec::default() });
    }
    let rule = fleet.rule(Rule::Tightest);
    Kernel { fleet, rule, table }
}

/// Nanoseconds of one call, the least of several rounds.
fn nanoseconds(rounds: u32, mut call: impl FnMut()) -> f64 {
    const CALLS: u32 = 1000;
    let mut round = || {
        let start = Instant::now();
        (0..CALLS).for_each(|_| call());
        start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
    };
    (0..rounds).map(|_| round()).fold(f64::INFINITY, f64::min)
}

/// Decisions on one card.
fn on_a_card(rounds: u32, layouts: &'static Layouts) -> Result<Vec<Figure>, String> {
    let at = |profile, start| Instance { profile, start };
    let there = [at(0, 1), at(0, 4)];
    let card = layouts.card(there).map_err(|error| error.to_string())?;
    let set = Set::of(3, 1).with(2, 1).with(0, 2);
    let tenants = [(at(0, 1), Tenancy::Running), (at(0, 4), Tenancy::Idle)];
    let at_most =
        |name: &str, value, most| Figure::shown(name, value, "ns").target(Target::AtMost(most));
    Ok(vec![
        at_most(
            "mig: one instance on a card",
            nanoseconds(rounds, || {
                black_box(layouts.place(black_box(card), 3));
            }),
            1_000.0,
        ),
        at_most(
            "mig: four instances on a card",
            nanoseconds(rounds, || drop(black_box(layouts.place_set(black_box(card), set)))),
            10_000.0,
        ),
        at_most(
            "mig: a repack of a card",
            nanoseconds(rounds, || {
                drop(black_box(layouts.repack(black_box(&tenants), Set::of(5, 1))));
            }),
            100_000.0,
        ),
    ])
}

/// Choices of devices on one node.
fn on_a_node(rounds: u32) -> Vec<Figure> {
    let alike: Vec<u16> = vec![0; 8];
    let halves: Vec<u16> = (0..16).map(|at| at / 8).collect();
    let apart: Vec<u16> = (0..16).collect();
    let cases = [
        ("4 of 8 on one switch", Links::of_islands(&alike, 100, 10), vec![Some(0); 8], 4),
        ("8 of 16 on two switches", Links::of_islands(&halves, 100, 10), vec![Some(0); 16], 8),
        (
            "8 of 16 that all differ",
            Links::of_islands(&apart, 100, 10),
            (0..16).map(Some).collect(),
            8,
        ),
        (
            "8 of 16 that all differ, the best last",
            Links::of_islands(&apart, 100, 10),
            (0..16).rev().map(Some).collect(),
            8,
        ),
    ];
    let time = |(name, links, left, count): (&str, Links, Vec<Option<u64>>, usize)| {
        let idle = vec![true; left.len()];
        let spots = Spots { links: &links, numa: &[], rails: &[], left: &left, idle: &idle };
        let wish = Wish { island: Together::Preferred, ..Wish::default() };
        let value = nanoseconds(rounds.min(3), || drop(black_box(choose(&spots, count, &wish))));
        Figure::shown(format!("devices: {name}"), value / 1000.0, "us")
    };
    cases.into_iter().map(time).collect()
}

/// Measures.
pub(crate) fn run(quick: bool) -> Result<Vec<Figure>, String> {
    let asks = if quick { 5_000 } else { 60_000 };
    let table = Table::of("NVIDIA A100-SXM4-80GB", Bytes(80 << 30)).ok_or("no such table")?;
    let layouts = table.layouts();
    let mut figures = Vec::new();
    for (name, mix) in MIXES {
        let (mut ours, mut first) = (0.0, 0.0);
        for seed in 1..=SEEDS {
            eprintln!("instances, {name}, seed {seed}");
            ours += refused(kernel(table), table, mix, asks, seed);
            let pool = FirstFit { layouts, cards: vec![0; usize::try_from(CARDS).unwrap_or(0)] };
            first += refused(pool, table, mix, asks, seed);
        }
        #[allow(clippy::cast_precision_loss, reason = "there are three")]
        let seeds = SEEDS as f64;
        let figure = Figure::shown(format!("mig: refused, {name}"), ours / seeds, "%");
        figures.push(figure.against(first / seeds));
    }
    let rounds = if quick { 2 } else { 20 };
    figures.extend(on_a_card(rounds, layouts)?);
    figures.extend(on_a_node(rounds));
    Ok(figures)
}
