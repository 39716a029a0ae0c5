//! A tree of greatest scores over all nodes.
//!
//! What must hold: each entry above the leaves is the greatest of the eight below it, so the first
//! node of greatest score is found by walking down from the root.

/// Entries under one; eight scores are one cache line.
const FAN: usize = 8;

/// Scores of nodes by slot; 0 where a node cannot take the task.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    /// Leaves first, then each level above them.
    levels: Vec<Vec<u64>>,
}

impl Tree {
    /// A tree over these scores.
    pub(super) fn new(scores: Vec<u64>) -> Self {
        let mut levels = vec![scores];
        while let Some(below) = levels.last().filter(|level| level.len() > 1) {
            let greatest = |eight: &[u64]| eight.iter().copied().max().unwrap_or(0);
            let above = below.chunks(FAN).map(greatest).collect();
            levels.push(above);
        }
        Self { levels }
    }

    /// How many nodes it knows.
    pub(super) fn len(&self) -> usize {
        self.levels.first().map_or(0, Vec::len)
    }

    /// Sets the score of a node it knows; gives the number of entries looked at.
    pub(super) fn set(&mut self, node: usize, score: u64) -> u64 {
        let Some(leaf) = self.levels.first_mut().and_then(|leaves| leaves.get_mut(node)) else {
            return 0;
        };
        let before = std::mem::replace(leaf, score);
        let (mut was, mut is, mut place, mut looked) = (before, score, node, 1);
        for level in 1..self.levels.len() {
            if was == is {
                break;
            }
            let first = place / FAN * FAN;
            let greatest = if is > was {
                // Nothing beside it grew, so only it can have passed what stood above.
                self.levels.get(level).and_then(|above| above.get(place / FAN)).map(|a| is.max(*a))
            } else {
                let below = self.levels.get(level - 1);
                let eight = below.and_then(|below| below.get(first..below.len().min(first + FAN)));
                eight.and_then(|eight| eight.iter().copied().max())
            };
            place /= FAN;
            looked += 1;
            let above = self.levels.get_mut(level).and_then(|above| above.get_mut(place));
            let (Some(above), Some(greatest)) = (above, greatest) else { break };
            was = std::mem::replace(above, greatest);
            is = greatest;
        }
        looked
    }

    /// The first node of greatest score.
    pub(super) fn best(&self) -> Option<(usize, u64)> {
        let root = *self.levels.last()?.first()?;
        if root == 0 {
            return None;
        }
        let mut place = 0;
        for level in self.levels.iter().rev().skip(1) {
            let first = place * FAN;
            let eight = level.get(first..level.len().min(first + FAN))?;
            place = first + eight.iter().position(|score| *score == root)?;
        }
        Some((place, root))
    }

    /// Bytes that a tree over so many nodes takes.
    pub(super) fn bytes(nodes: usize) -> usize {
        nodes.saturating_mul(FAN * std::mem::size_of::<u64>()) / (FAN - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_of_the_greatest_is_found(
            scores in prop::collection::vec(0u64..6, 0..200),
            sets in prop::collection::vec((0usize..200, 0u64..6), 0..100),
        ) {
            let mut plain = scores.clone();
            let mut tree = Tree::new(scores);
            for (place, score) in sets {
                if let Some(entry) = plain.get_mut(place) {
                    *entry = score;
                }
                tree.set(place, score);
                let greatest = plain.iter().copied().max().filter(|score| *score > 0);
                let first = greatest.and_then(|most| plain.iter().position(|score| *score == most));
                prop_assert_eq!(tree.best(), first.zip(greatest));
            }
        }
    }
}
