//! Which profiles carry an ask for a share of a card.

use super::layouts::{Card, Instance, Layouts};
use super::tables::{Extra, Profile, Table};
use polder_model::{Bytes, Permille};

/// What one instance must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wants {
    /// Least share of the card's compute.
    pub compute: Permille,
    /// Least memory.
    pub memory: Bytes,
    /// The card's JPEG and optical-flow engines.
    pub media: bool,
    /// Graphics interfaces.
    pub graphics: bool,
}

impl Wants {
    /// A share of compute and memory, and nothing special.
    #[must_use]
    pub fn share(compute: Permille, memory: Bytes) -> Self {
        Self { compute, memory, media: false, graphics: false }
    }

    /// Whether a profile of a table has all of it.
    #[must_use]
    pub fn carried_by(&self, table: &Table, profile: &Profile) -> bool {
        let [_, _, _, jpeg, flow] = profile.takes;
        table.compute(profile) >= self.compute
            && profile.memory >= self.memory
            && (!self.media || (jpeg > 0 && flow > 0))
            && (!self.graphics || profile.extra == Extra::Graphics)
    }
}

impl Table {
    /// The profiles that carry an ask, the smallest first: fewest slots, then fewest compute
    /// slices, then the plain one before those with or without something.
    #[must_use]
    pub fn sufficient(&self, wants: &Wants) -> Vec<usize> {
        let all = self.profiles.iter().enumerate();
        let mut fit: Vec<(usize, &Profile)> =
            all.filter(|(_, profile)| wants.carried_by(self, profile)).collect();
        fit.sort_by_key(|(at, profile)| {
            (profile.slots, profile.compute_slices(), profile.extra, *at)
        });
        fit.into_iter().map(|(at, _)| at).collect()
    }
}

impl Layouts {
    /// Where an instance for an ask goes: the smallest profile that carries it and still fits.
    #[must_use]
    pub fn place_wants(&self, card: Card, wants: &Wants) -> Option<(Instance, Card)> {
        self.table().sufficient(wants).into_iter().find_map(|profile| self.place(card, profile))
    }

    /// The most instances for equal asks that fit beside what is there, and of which profile.
    #[must_use]
    pub fn room_for(&self, card: Card, wants: &Wants) -> Option<(usize, u32)> {
        let rooms = self.table().sufficient(wants).into_iter();
        let rooms = rooms.map(|profile| (profile, self.room(card, profile)));
        // Of equal rooms the first: it is the smallest profile.
        rooms.filter(|(_, room)| *room > 0).reduce(
            |best, other| {
                if other.1 > best.1 { other } else { best }
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smallest(model: &str, gib: u64, compute: u32, memory_gib: u64) -> &'static str {
        let table = Table::of(model, Bytes(gib << 30)).unwrap();
        let wants = Wants::share(Permille(compute), Bytes(memory_gib << 30));
        table.sufficient(&wants).first().map_or("none", |at| table.profiles[*at].name)
    }

    #[test]
    fn an_ask_maps_to_the_smallest_profile_that_carries_it() {
        let a100 = |compute, memory| smallest("NVIDIA A100-SXM4-40GB", 40, compute, memory);
        assert_eq!(a100(100, 4), "1g.5gb");
        assert_eq!(a100(100, 9), "1g.10gb", "memory alone takes no second compute slice");
        assert_eq!(a100(200, 4), "2g.10gb");
        assert_eq!(a100(300, 16), "3g.20gb");
        assert_eq!(a100(500, 1), "4g.20gb");
        assert_eq!(a100(572, 1), "7g.40gb");
        assert_eq!(a100(1, 20), "7g.40gb", "half a card has 19.5 GiB");
        assert_eq!(a100(1, 40), "none");
        let h200 = |compute, memory| smallest("NVIDIA H200", 140, compute, memory);
        assert_eq!(h200(300, 20), "3g.71gb");
        assert_eq!(h200(240, 20), "2g.35gb");
        assert_eq!(h200(120, 16), "1g.18gb");
    }

    #[test]
    fn media_and_graphics_choose_their_variants() {
        let table = Table::of("NVIDIA RTX PRO 6000 Blackwell Server Edition", Bytes(95 << 30));
        let table = table.unwrap();
        let plain = Wants::share(Permille(100), Bytes(1 << 30));
        let first = |wants: Wants| table.profiles[table.sufficient(&wants)[0]].name;
        assert_eq!(first(plain), "1g.24gb");
        assert_eq!(first(Wants { media: true, ..plain }), "1g.24gb+me");
        assert_eq!(first(Wants { graphics: true, ..plain }), "1g.24gb+gfx");
    }

    #[test]
    fn models_name_their_tables() {
        let name = |model: &str, gib: u64| {
            Table::of(model, Bytes(gib << 30)).map_or("none", |table| table.name)
        };
        assert_eq!(name("NVIDIA A30", 23), "A30 24GB");
        assert_eq!(name("NVIDIA A100-SXM4-80GB", 80), "A100 80GB");
        assert_eq!(name("NVIDIA H100 80GB HBM3", 79), "H100 80GB");
        assert_eq!(name("NVIDIA H100 NVL", 93), "H100 94GB");
        assert_eq!(name("NVIDIA GH200 480GB", 95), "H100 96GB");
        assert_eq!(name("NVIDIA B200", 179), "B200 180GB");
        assert_eq!(name("NVIDIA A300", 23), "none");
        assert_eq!(name("Tesla T4", 15), "none");
    }
}
