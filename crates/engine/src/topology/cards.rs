//! What cards of well-known models can do, as their makers say.

use polder_model::Bytes;

/// What a card can do at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Card {
    /// Memory.
    pub memory: Bytes,
    /// Bytes a second between memory and compute; 0 when unknown.
    pub bandwidth: u64,
    /// Half-precision matrix operations a second without sparsity, in billions; 0 when unknown.
    pub compute: u64,
}

/// Words of the name, trillions of operations a second, billions of bytes a second.
type Row = (&'static [&'static str], u64, u64);

/// A row counts if all its words are in the name; the first that counts is taken.
const CARDS: &[Row] = &[
    (&["gb200"], 2_500, 8_000),
    (&["b200"], 2_250, 8_000),
    (&["h200"], 989, 4_800),
    (&["gh200"], 989, 4_000),
    (&["h100", "nvl"], 835, 3_900),
    (&["h100", "pcie"], 756, 2_000),
    (&["h100"], 989, 3_350),
    (&["h800", "pcie"], 756, 2_000),
    (&["h800"], 989, 3_350),
    (&["h20"], 148, 4_000),
    (&["a100", "40gb"], 312, 1_555),
    (&["a100"], 312, 2_039),
    (&["a800", "40gb"], 312, 1_555),
    (&["a800"], 312, 2_039),
    (&["a30"], 165, 933),
    (&["a10"], 125, 600),
    (&["a40"], 150, 696),
    (&["l40s"], 362, 864),
    (&["l40"], 181, 864),
    (&["l4"], 121, 300),
    (&["v100"], 125, 900),
    (&["v100m16"], 125, 900),
    (&["v100m32"], 125, 900),
    (&["p100"], 21, 732),
    (&["t4"], 65, 320),
    (&["mi325x"], 1_307, 6_000),
    (&["mi300x"], 1_307, 5_300),
    (&["mi250x"], 383, 3_277),
    (&["mi210"], 181, 1_638),
];

/// What a card can do, by the model it reports; what it reports itself goes before the list.
#[must_use]
pub fn card(model: &str, memory: Bytes, bandwidth: Option<Bytes>) -> Card {
    let lower = model.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let named = |row: &&Row| row.0.iter().all(|word| words.contains(word));
    let row = CARDS.iter().find(named);
    let listed = row.map_or(0, |(_, _, billions)| billions * 1_000_000_000);
    Card {
        memory,
        bandwidth: bandwidth.map_or(listed, |bandwidth| bandwidth.0),
        compute: row.map_or(0, |(_, trillions, _)| trillions * 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_find_their_rows() {
        let of = |model: &str| {
            let card = card(model, Bytes(1), None);
            (card.compute / 1_000, card.bandwidth / 1_000_000_000)
        };
        assert_eq!(of("NVIDIA A100-SXM4-40GB"), (312, 1_555));
        assert_eq!(of("NVIDIA A100-SXM4-80GB"), (312, 2_039));
        assert_eq!(of("NVIDIA H100 NVL"), (835, 3_900));
        assert_eq!(of("Tesla T4"), (65, 320));
        assert_eq!(of("T400"), (0, 0));
        let said = card("Tesla T4", Bytes(1), Some(Bytes(300)));
        assert_eq!(said.bandwidth, 300);
    }
}
