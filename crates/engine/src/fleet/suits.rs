//! Which devices suit a demand better than others that would do as well.

use super::Bits;
use super::node::CellIx;

/// Ranks that are told apart: whatever suits less than all but the last has the last.
pub const RANKS_MAX: usize = 16;

/// How well devices suit a demand, by rank: cells of the first rank suit best. Where a device of an
/// earlier rank has room, none of a later one is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Suits(Vec<Bits>);

impl Suits {
    /// Cells and their ranks, from 0; `None` where all are alike, so that there is nothing to choose.
    #[must_use]
    pub fn of(ranked: impl IntoIterator<Item = (CellIx, usize)>) -> Option<Self> {
        let mut ranks: Vec<Bits> = vec![Bits::default(); RANKS_MAX];
        for (cell, rank) in ranked {
            if let Some(cells) = ranks.get_mut(rank.min(RANKS_MAX - 1)) {
                cells.insert(cell.0);
            }
        }
        ranks.retain(|cells| *cells != Bits::default());
        (ranks.len() > 1).then_some(Self(ranks))
    }

    /// The same for some of the cells.
    #[must_use]
    pub fn among(&self, cells: &[CellIx]) -> Option<Self> {
        Self::of(cells.iter().map(|cell| (*cell, self.rank(*cell))))
    }

    /// The rank of a cell: below [`RANKS_MAX`], and the last for one that is not ranked.
    #[must_use]
    pub fn rank(&self, cell: CellIx) -> usize {
        self.0.iter().position(|cells| cells.has(cell.0)).unwrap_or(RANKS_MAX - 1)
    }

    /// The cells of each rank, best first.
    pub fn ranks(&self) -> impl Iterator<Item = &Bits> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_have_their_ranks_and_alike_is_no_choice() {
        let cells = [CellIx(3), CellIx(70), CellIx(5)];
        let suits = Suits::of([(cells[0], 2), (cells[1], 0), (cells[2], 2)]).unwrap();
        assert_eq!(cells.map(|cell| suits.rank(cell)), [1, 0, 1]);
        assert_eq!(suits.rank(CellIx(4)), RANKS_MAX - 1);
        assert_eq!(suits.ranks().count(), 2);
        assert_eq!(suits.among(&cells[..2]).map(|suits| suits.ranks().count()), Some(2));
        assert_eq!(suits.among(&[cells[0], cells[2]]), None);
        assert_eq!(Suits::of([(cells[0], 40), (cells[1], 99)]), None, "both have the last");
    }
}
