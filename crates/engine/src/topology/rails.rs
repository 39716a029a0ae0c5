//! Which network rails a gang uses on all its nodes.
//!
//! On a node with a network card for each device, device `i` of one node reaches device `i` of
//! another over one switch; other pairs cross the spine. So a gang that takes part of its nodes
//! takes the same places everywhere, if it can.

use super::links::DEVICES_EXACT_MAX;

/// The `count` rails that are free on the most nodes, as a mask, and on how many; `None` if no node
/// has that many. `free` are the rails that each node has free. Of equal ones the lowest places.
///
/// Rails from the seventeenth on are not looked at.
#[must_use]
pub fn rails(free: &[u32], count: u32) -> Option<(u32, usize)> {
    let all = (1_u32 << DEVICES_EXACT_MAX) - 1;
    let union = free.iter().fold(0, |union, free| union | free & all);
    if count == 0 || union.count_ones() < count {
        return None;
    }
    let nodes = |mask: u32| free.iter().filter(|free| **free & mask == mask).count();
    let mut best: Option<(u32, usize)> = None;
    let mut mask = (1_u32 << count) - 1;
    while mask <= all {
        if mask & !union == 0 {
            let here = nodes(mask);
            if best.is_none_or(|(_, most)| here > most) {
                best = Some((mask, here));
                if here == free.len() {
                    break;
                }
            }
        }
        // The next larger number with as many bits.
        let low = mask & mask.wrapping_neg();
        let carried = mask + low;
        mask = (((mask ^ carried) >> 2) / low) | carried;
    }
    best.filter(|(_, nodes)| *nodes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_rails_that_most_nodes_have_free_are_taken() {
        assert_eq!(rails(&[0b1111_0000, 0b1111_1100, 0b0000_1111], 4), Some((0b1111_0000, 2)));
        assert_eq!(rails(&[0b11, 0b11], 2), Some((0b11, 2)));
        assert_eq!(rails(&[0b01, 0b10], 2), None);
        assert_eq!(rails(&[], 1), None);
        assert_eq!(rails(&[u32::MAX], 16), Some((0xffff, 1)));
        assert_eq!(rails(&[u32::MAX], 17), None);
    }

    proptest! {
        #[test]
        fn no_rails_are_free_on_more_nodes(
            free in prop::collection::vec(0_u32..64, 0..5), count in 1_u32..5,
        ) {
            let nodes = |mask: u32| free.iter().filter(|free| **free & mask == mask).count();
            let masks = (0_u32..64).filter(|mask| mask.count_ones() == count);
            let most = masks.map(nodes).max().filter(|most| *most > 0);
            let got = rails(&free, count);
            prop_assert_eq!(got.map(|(_, nodes)| nodes), most);
            if let Some((mask, here)) = got {
                prop_assert_eq!((mask.count_ones(), nodes(mask)), (count, here));
            }
        }
    }
}
