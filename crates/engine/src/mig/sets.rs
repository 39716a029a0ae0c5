//! How many instances of each profile, as one number.

use super::tables::PROFILES_MAX;

/// A number of instances of each profile of one table; up to fifteen of each, which is more than
/// fit any card.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Set(u64);

const BITS: usize = 4;
const MOST: u64 = (1 << BITS) - 1;
const _: () = assert!(PROFILES_MAX * BITS <= 64);

impl Set {
    /// No instance.
    pub const EMPTY: Self = Self(0);

    /// `number` of one profile; more than fit any card counts as too many.
    #[must_use]
    pub fn of(profile: usize, number: u32) -> Self {
        Self::EMPTY.with(profile, number)
    }

    /// As many more of a profile.
    #[must_use]
    pub fn with(self, profile: usize, number: u32) -> Self {
        let number = (self.count(profile).saturating_add(number.into())).min(MOST);
        let shift = Self::shift(profile);
        Self(self.0 & !(MOST << shift) | number << shift)
    }

    /// One less of a profile, if there is one.
    #[must_use]
    pub(crate) fn without(self, profile: usize) -> Option<Self> {
        (self.count(profile) > 0).then(|| Self(self.0 - (1 << Self::shift(profile))))
    }

    /// How many of a profile.
    #[must_use]
    pub fn count(self, profile: usize) -> u64 {
        self.0 >> Self::shift(profile) & MOST
    }

    /// The largest profile that is in it.
    pub(crate) fn largest(self) -> Option<usize> {
        let top = 63_u32.checked_sub(self.0.leading_zeros())?;
        usize::try_from(top).ok().map(|top| top / BITS)
    }

    /// Places past the last count as the last: no table has that many.
    fn shift(profile: usize) -> usize {
        profile.min(PROFILES_MAX - 1) * BITS
    }
}

impl FromIterator<usize> for Set {
    fn from_iter<I: IntoIterator<Item = usize>>(profiles: I) -> Self {
        profiles.into_iter().fold(Self::EMPTY, |set, profile| set.with(profile, 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_come_and_go() {
        let set: Set = [0, 3, 3, 15].into_iter().collect();
        assert_eq!([set.count(0), set.count(3), set.count(1), set.count(15)], [1, 2, 0, 1]);
        assert_eq!(set.largest(), Some(15));
        let less = set.without(15).and_then(|set| set.without(3));
        assert_eq!(less, Some([0, 3].into_iter().collect()));
        assert_eq!(less.and_then(|set| set.without(1)), None);
        assert_eq!(Set::EMPTY.largest(), None);
        assert_eq!(Set::of(2, 99).count(2), MOST);
    }
}
