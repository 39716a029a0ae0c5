//! Instances that hardware cuts: every start of every profile that would do is tried.

use super::{Bench, between, text};
use crate::pool;
use crate::random::Random;
use crate::workload::{ask_share, ask_whole};
use polder_engine::Policy;
use polder_engine::mig::{Profile, Table};
use polder_model::{Ask, Bytes, Gang, JobId, Mechanism, MilliCpu, Permille, Tenant};

const GIB: u64 = 1 << 30;
/// Cards whose profiles differ in kind: model and memory in GiB.
const CARDS: [(&str, u64); 3] =
    [("NVIDIA A100-SXM4-40GB", 40), ("NVIDIA H100 80GB HBM3", 80), ("NVIDIA A30", 24)];

/// One card, and its instances: place of the profile in the table, first slot.
#[derive(Clone, Debug)]
struct Card {
    table: &'static Table,
    has: Vec<(usize, u8)>,
}

impl Card {
    /// Whether another instance can be cut there beside those it has.
    fn can(&self, profile: usize, start: u8) -> bool {
        let Some(row) = self.table.profiles.get(profile) else { return false };
        let others =
            || self.has.iter().filter_map(|(of, at)| Some((self.table.profiles.get(*of)?, *at)));
        let apart =
            |(other, at): (&Profile, u8)| at + other.slots <= start || start + row.slots <= at;
        let slices = others().map(|(other, _)| other.compute_slices()).sum::<u8>();
        let all = self.table.profiles.last().map_or(0, Profile::compute_slices);
        let same = self.has.iter().filter(|(of, _)| *of == profile).count();
        others().all(apart)
            && slices + row.compute_slices() <= all
            && same < usize::from(row.max)
            && start + row.slots <= self.table.slots
    }
}

/// Whether so many instances with at least this much can be cut in any way.
fn can_cut(cards: &mut [Card], compute: u32, memory: u64, number: u32) -> bool {
    if number == 0 {
        return true;
    }
    for card in 0..cards.len() {
        let table = cards[card].table;
        for (profile, row) in table.profiles.iter().enumerate() {
            if table.compute(row).0 < compute || row.memory.0 < memory {
                continue;
            }
            for start in row.starts {
                if cards[card].can(profile, *start) {
                    cards[card].has.push((profile, *start));
                    let rest = can_cut(cards, compute, memory, number - 1);
                    cards[card].has.pop();
                    if rest {
                        return true;
                    }
                }
            }
        }
    }
    false
}

fn ask(compute: u32, memory: u64, gang: u32) -> Result<Ask, String> {
    let ask = ask_whole("lab".parse().map_err(text)?, "ada".parse().map_err(text)?, 1);
    let mut ask = ask_share(ask, Permille(compute), Bytes(memory));
    ask.devices.mechanism = Some(Mechanism::Mig);
    ask.gang = Gang { min: gang, max: gang, ..Gang::default() };
    Ok(ask)
}

/// Instances come and go on one to three cards of one kind; each ask is cut exactly when some way
/// to cut it exists.
///
/// # Errors
/// An ask was refused though a layout holds it, or two instances overlap.
pub fn refusal(random: &mut Random) -> Result<(), String> {
    let kind = usize::try_from(random.below(3)).map_err(text)?;
    let (model, gib) = CARDS[kind];
    let table = Table::of(model, Bytes(gib * GIB)).ok_or("the card has no table")?;
    let number = between(random, 1, 3);
    let mut bench = Bench::new(Policy::default());
    bench.tenant(Tenant::new("lab".parse().map_err(text)?))?;
    let card = |place| {
        let mut card = pool::device(&format!("d{place}"), model, Bytes(gib * GIB)).map_err(text)?;
        card.mechanisms.push(Mechanism::Mig);
        Ok::<_, String>(card)
    };
    let cards = (0..number).map(card).collect::<Result<_, _>>()?;
    let inventory = pool::node(MilliCpu(64_000), Bytes(1 << 40), cards);
    bench.node("n0".parse().map_err(text)?, inventory)?;
    let mut jobs: Vec<JobId> = Vec::new();
    for _ in 0..between(random, 2, 14) {
        if random.below(3) == 0 && !jobs.is_empty() {
            let bound = u64::try_from(jobs.len()).map_err(text)?;
            let job = jobs.swap_remove(usize::try_from(random.below(bound)).map_err(text)?);
            bench.end(job)?;
            continue;
        }
        let compute = between(random, 50, 700);
        let memory = (1 + random.below(gib * 2 / 3)) * GIB;
        let size = if random.below(3) == 0 { between(random, 2, 3) } else { 1 };
        let mut before = layout(&bench, table, number)?;
        let expect = can_cut(&mut before, compute, memory, size);
        let Some(job) = bench.submit(ask(compute, memory, size)?)? else {
            if expect {
                return Err(format!("{size} x {compute}, {memory} refused for ever on {before:?}"));
            }
            continue;
        };
        bench.settle()?;
        let placed = !bench.leases_of(job).is_empty();
        if placed != expect {
            return Err(format!("{size} x {compute}, {memory}: placed {placed} on {before:?}"));
        }
        if placed {
            jobs.push(job);
        } else {
            bench.cancel(job)?;
        }
        layout(&bench, table, number)?;
    }
    bench.check()
}

/// What the cards are cut into, and that it can be.
fn layout(bench: &Bench, table: &'static Table, number: u32) -> Result<Vec<Card>, String> {
    let mut cards: Vec<Card> = (0..number).map(|_| Card { table, has: Vec::new() }).collect();
    for slice in bench.engine.leases().flat_map(|lease| &lease.slices) {
        let place: usize = slice.device.as_str()[1..].parse().map_err(text)?;
        let card = cards.get_mut(place).ok_or("no such card")?;
        let instance = slice.instance.as_ref().ok_or("a slice without an instance")?;
        let profile = table.profile(&instance.profile).ok_or("no such profile")?;
        let row = table.profiles.get(profile).ok_or("no such profile")?;
        if !card.can(profile, instance.start) || !row.starts.contains(&instance.start) {
            return Err(format!("{instance:?} cannot be beside {:?}", card.has));
        }
        card.has.push((profile, instance.start));
    }
    Ok(cards)
}
