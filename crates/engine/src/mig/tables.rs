//! What each card can be cut into: profiles, where they may start, and how many of each.
//!
//! The rows are what drivers print (`nvidia-smi mig -lgip`, `-lgipp`) and the vendor documents.
//! Where only a smaller profile of the same card is published, the value here is the sum of the
//! smaller ones and so a lower bound: a promise made from it can be kept. On a node the driver's
//! own answer counts; cards whose placements nobody published are not here.

use polder_model::{Bytes, Permille};
use std::cmp::Ordering;

/// Kinds of hardware that the instances of one card share out: compute slices, decoders,
/// encoders, JPEG engines, optical-flow engines.
pub(crate) const COUNTERS: usize = 5;

/// Most profiles of one table.
pub(crate) const PROFILES_MAX: usize = 16;

/// What a profile has beside its slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extra {
    /// Its proportional part of the media engines.
    Plain,
    /// No media engines (`-me`).
    NoMedia,
    /// The card's JPEG and optical-flow engines as well (`+me`).
    Media,
    /// Graphics interfaces (`+gfx`).
    Graphics,
    /// All media engines of the card (`+me.all`).
    MediaAll,
}

/// One way to cut a part from a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The vendor's name, `3g.40gb`.
    pub name: &'static str,
    /// The driver's number for it, as `nvidia-smi mig -cgi` takes it.
    pub id: u32,
    /// Most of them on one card.
    pub max: u8,
    /// Memory that it has.
    pub memory: Bytes,
    /// Streaming multiprocessors that it has.
    pub multiprocessors: u16,
    /// Memory slots that it covers.
    pub slots: u8,
    /// Memory slots it may start at.
    pub starts: &'static [u8],
    /// What it has beside its slices.
    pub extra: Extra,
    /// Compute slices, decoders, encoders, JPEG and optical-flow engines that it takes.
    pub(crate) takes: [u8; COUNTERS],
}

/// The profiles of one card.
#[derive(Debug)]
pub struct Table {
    /// For people.
    pub name: &'static str,
    /// Memory slots of the card.
    pub slots: u8,
    /// Its profiles, smallest first; the last has everything.
    pub profiles: &'static [Profile],
    /// Compute slices, decoders, encoders, JPEG and optical-flow engines of the card.
    pub(crate) has: [u8; COUNTERS],
    /// Words of a model's name, all of which must be there, in one of these sets.
    words: &'static [&'static [&'static str]],
    /// Memory of the card in GiB, as it reports it, from and to.
    memory_gib: (u64, u64),
}

/// There is one of each.
impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Table {}

impl PartialOrd for Table {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Table {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name.cmp(other.name)
    }
}

impl Profile {
    /// Compute slices.
    #[must_use]
    pub fn compute_slices(&self) -> u8 {
        self.takes[0]
    }
}

impl Table {
    /// The table of a card, by the model and memory it reports.
    #[must_use]
    pub fn of(model: &str, memory: Bytes) -> Option<&'static Self> {
        let lower = model.to_lowercase();
        let words: Vec<&str> = lower.split(|c: char| !c.is_ascii_alphanumeric()).collect();
        let gib = memory.0 >> 30;
        TABLES.iter().copied().find(|table| {
            let named = |set: &&[&str]| set.iter().all(|word| words.contains(word));
            let (from, to) = table.memory_gib;
            (from..=to).contains(&gib) && table.words.iter().any(named)
        })
    }

    /// All tables there are.
    #[must_use]
    pub fn all() -> &'static [&'static Self] {
        TABLES
    }

    /// The share of the card's compute that a profile has, rounded down.
    #[must_use]
    pub fn compute(&self, profile: &Profile) -> Permille {
        let all = self.profiles.last().map_or(1, |whole| whole.multiprocessors.max(1));
        Permille(u32::from(profile.multiprocessors) * 1000 / u32::from(all))
    }

    /// The place of the profile with this name.
    #[must_use]
    pub fn profile(&self, name: &str) -> Option<usize> {
        self.profiles.iter().position(|profile| profile.name == name)
    }
}

/// The seven profiles of cards with seven compute slices and eight memory slots.
const fn seven(
    names: [&'static str; 7],
    mib: [u64; 7],
    multiprocessors: [u16; 7],
    engines: [[u8; 3]; 7],
) -> [Profile; 7] {
    const ID: [u32; 7] = [19, 20, 15, 14, 9, 5, 0];
    const MAX: [u8; 7] = [7, 1, 4, 3, 2, 1, 1];
    const COMPUTE: [u8; 7] = [1, 1, 1, 2, 3, 4, 7];
    const SLOTS: [u8; 7] = [1, 1, 2, 2, 4, 4, 8];
    const STARTS: [&[u8]; 7] = [
        &[0, 1, 2, 3, 4, 5, 6],
        &[0, 1, 2, 3, 4, 5, 6],
        &[0, 2, 4, 6],
        &[0, 2, 4],
        &[0, 4],
        &[0],
        &[0],
    ];
    let mut profiles = [Profile {
        name: "",
        id: 0,
        max: 0,
        memory: Bytes(0),
        multiprocessors: 0,
        slots: 0,
        starts: &[],
        extra: Extra::Plain,
        takes: [0; COUNTERS],
    }; 7];
    let mut at = 0;
    while at < 7 {
        let [decoders, jpeg, flow] = engines[at];
        profiles[at] = Profile {
            name: names[at],
            id: ID[at],
            max: MAX[at],
            memory: Bytes(mib[at] << 20),
            multiprocessors: multiprocessors[at],
            slots: SLOTS[at],
            starts: STARTS[at],
            extra: if at == 1 { Extra::Media } else { Extra::Plain },
            takes: [COMPUTE[at], decoders, 0, jpeg, flow],
        };
        at += 1;
    }
    profiles
}

/// Decoders, JPEG and optical-flow engines of A100 profiles.
const AMPERE: [[u8; 3]; 7] =
    [[0, 0, 0], [1, 1, 1], [1, 0, 0], [1, 0, 0], [2, 0, 0], [2, 0, 0], [5, 1, 1]];
/// The same since Hopper.
const HOPPER: [[u8; 3]; 7] =
    [[1, 1, 0], [1, 1, 1], [1, 1, 0], [2, 2, 0], [3, 3, 0], [4, 4, 0], [7, 7, 1]];

const AMPERE_HAS: [u8; COUNTERS] = [7, 5, 0, 1, 1];
const HOPPER_HAS: [u8; COUNTERS] = [7, 7, 0, 7, 1];

const A100_UNITS: [u16; 7] = [14, 14, 14, 28, 42, 56, 98];
const H100_UNITS: [u16; 7] = [16, 16, 26, 32, 60, 64, 132];

const A100_40: [Profile; 7] = seven(
    ["1g.5gb", "1g.5gb+me", "1g.10gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb"],
    [4864, 4864, 9856, 9856, 19_968, 19_968, 40_192],
    A100_UNITS,
    AMPERE,
);
const A100_80: [Profile; 7] = seven(
    ["1g.10gb", "1g.10gb+me", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"],
    [9856, 9856, 19_968, 19_968, 40_192, 40_192, 80_384],
    A100_UNITS,
    AMPERE,
);
const H100_80: [Profile; 7] = seven(
    ["1g.10gb", "1g.10gb+me", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"],
    [9984, 9984, 20_096, 20_096, 40_448, 40_448, 81_152],
    H100_UNITS,
    HOPPER,
);
const H100_94: [Profile; 7] = seven(
    ["1g.12gb", "1g.12gb+me", "1g.24gb", "2g.24gb", "3g.47gb", "4g.47gb", "7g.94gb"],
    [11_008, 11_008, 22_144, 22_144, 47_488, 47_488, 95_360],
    H100_UNITS,
    HOPPER,
);
const H100_96: [Profile; 7] = seven(
    ["1g.12gb", "1g.12gb+me", "1g.24gb", "2g.24gb", "3g.48gb", "4g.48gb", "7g.96gb"],
    [11_264, 11_264, 23_552, 23_552, 47_616, 47_616, 95_232],
    H100_UNITS,
    HOPPER,
);
const H200: [Profile; 7] = seven(
    ["1g.18gb", "1g.18gb+me", "1g.35gb", "2g.35gb", "3g.71gb", "4g.71gb", "7g.141gb"],
    [16_384, 16_384, 33_024, 33_024, 71_168, 71_168, 143_104],
    H100_UNITS,
    HOPPER,
);
/// From `3g` on, memory is a lower bound.
const GH200_144: [Profile; 7] = seven(
    ["1g.18gb", "1g.18gb+me", "1g.36gb", "2g.36gb", "3g.72gb", "4g.72gb", "7g.144gb"],
    [17_920, 17_920, 36_096, 36_096, 72_192, 72_192, 144_384],
    H100_UNITS,
    HOPPER,
);
/// From `3g` on, memory is a lower bound; so are the multiprocessors of `3g` and `4g`.
const B200: [Profile; 7] = seven(
    ["1g.23gb", "1g.23gb+me", "1g.45gb", "2g.45gb", "3g.90gb", "4g.90gb", "7g.180gb"],
    [20_992, 20_992, 45_312, 45_312, 90_624, 90_624, 181_248],
    [18, 18, 30, 36, 54, 72, 148],
    HOPPER,
);
/// From `3g` on, memory is a lower bound; so are the multiprocessors of `3g` and `4g`.
const GB200: [Profile; 7] = seven(
    ["1g.24gb", "1g.24gb+me", "1g.47gb", "2g.47gb", "3g.93gb", "4g.93gb", "7g.186gb"],
    [20_480, 20_480, 46_592, 46_592, 93_184, 93_184, 186_368],
    [18, 18, 32, 38, 56, 76, 152],
    HOPPER,
);

/// A profile of a card with four compute slices.
const fn quarter(
    (name, id, max): (&'static str, u32, u8),
    mib: u64,
    multiprocessors: u16,
    (slots, starts): (u8, &'static [u8]),
    extra: Extra,
    takes: [u8; COUNTERS],
) -> Profile {
    Profile {
        name,
        id,
        max,
        memory: Bytes(mib << 20),
        multiprocessors,
        slots,
        starts,
        extra,
        takes,
    }
}

const A30: [Profile; 5] = {
    use Extra::{Media, Plain};
    const ONE: (u8, &[u8]) = (1, &[0, 1, 2, 3]);
    const TWO: (u8, &[u8]) = (2, &[0, 2]);
    const FOUR: (u8, &[u8]) = (4, &[0]);
    [
        quarter(("1g.6gb", 14, 4), 5952, 14, ONE, Plain, [1, 0, 0, 0, 0]),
        quarter(("1g.6gb+me", 21, 1), 5952, 14, ONE, Media, [1, 1, 0, 1, 1]),
        quarter(("2g.12gb", 5, 2), 11_968, 28, TWO, Plain, [2, 2, 0, 0, 0]),
        quarter(("2g.12gb+me", 6, 1), 11_968, 28, TWO, Media, [2, 2, 0, 1, 1]),
        quarter(("4g.24gb", 0, 1), 24_000, 56, FOUR, Plain, [4, 4, 0, 1, 1]),
    ]
};

/// The driver places these on a grid of twelve.
const RTX_PRO_6000: [Profile; 11] = {
    use Extra::{Graphics, Media, MediaAll, NoMedia, Plain};
    const ONE: (u8, &[u8]) = (3, &[0, 3, 6, 9]);
    const TWO: (u8, &[u8]) = (6, &[0, 6]);
    const FOUR: (u8, &[u8]) = (12, &[0]);
    [
        quarter(("1g.24gb", 14, 4), 24_192, 46, ONE, Plain, [1, 1, 1, 1, 0]),
        quarter(("1g.24gb-me", 67, 4), 24_192, 46, ONE, NoMedia, [1, 0, 0, 0, 0]),
        quarter(("1g.24gb+me", 21, 1), 24_192, 46, ONE, Media, [1, 1, 1, 1, 1]),
        quarter(("1g.24gb+gfx", 47, 4), 24_192, 46, ONE, Graphics, [1, 1, 1, 1, 0]),
        quarter(("1g.24gb+me.all", 65, 1), 24_192, 46, ONE, MediaAll, [1, 4, 4, 4, 1]),
        quarter(("2g.48gb", 5, 2), 48_512, 94, TWO, Plain, [2, 2, 2, 2, 0]),
        quarter(("2g.48gb-me", 66, 2), 48_512, 94, TWO, NoMedia, [2, 0, 0, 0, 0]),
        quarter(("2g.48gb+gfx", 35, 2), 48_512, 94, TWO, Graphics, [2, 2, 2, 2, 0]),
        quarter(("2g.48gb+me.all", 64, 1), 48_512, 94, TWO, MediaAll, [2, 4, 4, 4, 1]),
        quarter(("4g.96gb+gfx", 32, 1), 97_280, 188, FOUR, Graphics, [4, 4, 4, 4, 1]),
        quarter(("4g.96gb", 0, 1), 97_280, 188, FOUR, Plain, [4, 4, 4, 4, 1]),
    ]
};

macro_rules! tables {
    ($($table:ident = $name:literal, $slots:literal, $profiles:ident, $has:expr, $words:expr, $gib:expr;)*) => {
        $(static $table: Table = Table {
            name: $name,
            slots: $slots,
            profiles: &$profiles,
            has: $has,
            words: $words,
            memory_gib: $gib,
        };)*
        static TABLES: &[&Table] = &[$(&$table),*];
    };
}

tables! {
    T_A30 = "A30 24GB", 4, A30, [4, 4, 0, 1, 1], &[&["a30"]], (22, 24);
    T_A100_40 = "A100 40GB", 8, A100_40, AMPERE_HAS, &[&["a100"], &["a800"]], (38, 41);
    T_A100_80 = "A100 80GB", 8, A100_80, AMPERE_HAS, &[&["a100"], &["a800"]], (78, 81);
    T_H100_80 = "H100 80GB", 8, H100_80, HOPPER_HAS, &[&["h100"], &["h800"]], (78, 81);
    T_H100_94 = "H100 94GB", 8, H100_94, HOPPER_HAS, &[&["h100"], &["h800"]], (92, 94);
    T_H100_96 = "H100 96GB", 8, H100_96, HOPPER_HAS, &[&["h100"], &["gh200"]], (95, 97);
    T_H200 = "H200 141GB", 8, H200, HOPPER_HAS, &[&["h200"]], (138, 142);
    T_GH200_144 = "GH200 144GB", 8, GH200_144, HOPPER_HAS, &[&["gh200"]], (140, 145);
    T_B200 = "B200 180GB", 8, B200, HOPPER_HAS, &[&["b200"]], (177, 181);
    T_GB200 = "GB200 186GB", 8, GB200, HOPPER_HAS, &[&["gb200"]], (182, 190);
    T_RTX_PRO_6000 = "RTX PRO 6000 Blackwell 96GB", 12, RTX_PRO_6000, [4, 4, 4, 4, 1],
        &[&["rtx", "pro", "6000"]], (94, 97);
}
