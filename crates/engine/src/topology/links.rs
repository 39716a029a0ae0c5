//! How fast the devices of one node reach each other.

/// Most devices of a node for which every choice is compared; of more, islands are taken greedily.
pub const DEVICES_EXACT_MAX: usize = 16;

/// Bandwidth between any two devices of one node, in GB/s or any other unit; only compared.
///
/// An island is what is joined by links of its own: every pair of an NVSwitch, the two cards of a
/// bridge, or a mesh in which each device reaches some of the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Links {
    islands: Vec<u16>,
    /// Row by row.
    between: Vec<u32>,
}

impl Links {
    /// Devices whose islands are given: `inside` within one, `across` between two.
    #[must_use]
    pub fn of_islands(islands: &[u16], inside: u32, across: u32) -> Self {
        let pair = |a: usize, b: usize| match (a == b, islands.get(a) == islands.get(b)) {
            (true, _) => 0,
            (false, true) => inside,
            (false, false) => across,
        };
        let all = 0..islands.len();
        let between = all.clone().flat_map(|a| all.clone().map(move |b| pair(a, b))).collect();
        Self { islands: islands.to_vec(), between }
    }

    /// Devices with a bandwidth for each pair. Those joined by links above `across` are one
    /// island. `None` unless there are as many rows as columns and each pair has one bandwidth.
    #[must_use]
    pub fn of_matrix(rows: &[Vec<u32>], across: u32) -> Option<Self> {
        let devices = rows.len();
        if u16::try_from(devices).is_err() || rows.iter().any(|row| row.len() != devices) {
            return None;
        }
        let at = |a: usize, b: usize| rows.get(a).and_then(|row| row.get(b)).copied().unwrap_or(0);
        if (0..devices).any(|a| (0..a).any(|b| at(a, b) != at(b, a))) {
            return None;
        }
        // Each takes the lowest name among those it reaches, until no name changes.
        let mut islands: Vec<u16> = (0u16..).take(devices).collect();
        loop {
            let reached = |a: usize| {
                let near = (0..devices).filter(|b| *b == a || at(a, *b) > across);
                near.filter_map(|b| islands.get(b).copied()).min().unwrap_or(0)
            };
            let next: Vec<u16> = (0..devices).map(reached).collect();
            if next == islands {
                break;
            }
            islands = next;
        }
        let between = (0..devices).flat_map(|a| (0..devices).map(move |b| (a, b)));
        let between = between.map(|(a, b)| if a == b { 0 } else { at(a, b) }).collect();
        Some(Self { islands, between })
    }

    /// How many devices.
    #[must_use]
    pub fn devices(&self) -> usize {
        self.islands.len()
    }

    /// The island of a device.
    #[must_use]
    pub fn island(&self, device: usize) -> u16 {
        self.islands.get(device).copied().unwrap_or(0)
    }

    /// Bandwidth between two devices; nothing between a device and itself.
    #[must_use]
    pub fn between(&self, a: usize, b: usize) -> u32 {
        let place = a.checked_mul(self.islands.len()).and_then(|row| row.checked_add(b));
        let inside = b < self.islands.len();
        place.filter(|_| inside).and_then(|place| self.between.get(place)).copied().unwrap_or(0)
    }

    /// Bandwidth of all pairs of these devices together.
    #[must_use]
    pub fn within(&self, devices: &[usize]) -> u64 {
        let pairs = devices.iter().enumerate().flat_map(|(place, a)| {
            devices.iter().take(place).map(|b| u64::from(self.between(*a, *b)))
        });
        pairs.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn islands_follow_from_links() {
        let pairs = Links::of_islands(&[0, 0, 1, 1], 50, 10);
        let rows: Vec<Vec<u32>> =
            (0..4).map(|a| (0..4).map(|b| pairs.between(a, b)).collect()).collect();
        let same = Links::of_matrix(&rows, 10).unwrap();
        assert_eq!((0..4).map(|d| same.island(d)).collect::<Vec<_>>(), [0, 0, 2, 2]);
        assert_eq!(same.within(&[0, 1, 2]), 50 + 10 + 10);
    }

    #[test]
    fn a_chain_is_one_island() {
        let mut rows = vec![vec![0; 4]; 4];
        for (a, b) in [(3, 2), (2, 1), (1, 0)] {
            rows[a][b] = 25;
            rows[b][a] = 25;
        }
        let links = Links::of_matrix(&rows, 0).unwrap();
        assert!((0..4).all(|device| links.island(device) == 0));
    }

    #[test]
    fn a_matrix_that_contradicts_itself_is_refused() {
        assert_eq!(Links::of_matrix(&[vec![0, 1], vec![2, 0]], 0), None);
        assert_eq!(Links::of_matrix(&[vec![0, 1]], 0), None);
        let links = Links::of_matrix(&[vec![9, 1], vec![1, 9]], 0).unwrap();
        assert_eq!((links.between(0, 0), links.between(0, 7), links.between(7, 0)), (0, 0, 0));
    }
}
