//! Sets of small numbers, as words of bits.

/// A set of small numbers. Equal sets are equal values, whatever was inserted and removed before.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bits(Vec<u64>);

fn place(number: u32) -> (usize, u64) {
    // A word index of at most 2^26 fits any usize Rust runs this on.
    (usize::try_from(number / 64).unwrap_or(usize::MAX), 1 << (number % 64))
}

impl Bits {
    /// Whether it has a number.
    #[must_use]
    pub fn has(&self, number: u32) -> bool {
        let (word, bit) = place(number);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Adds a number.
    pub fn insert(&mut self, number: u32) {
        let (word, bit) = place(number);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        if let Some(word) = self.0.get_mut(word) {
            *word |= bit;
        }
    }

    /// Takes a number out.
    pub fn remove(&mut self, number: u32) {
        let (word, bit) = place(number);
        if let Some(word) = self.0.get_mut(word) {
            *word &= !bit;
        }
        self.trim();
    }

    /// Whether it has every number of another set.
    #[must_use]
    pub fn holds(&self, other: &Self) -> bool {
        let mut words = self.0.iter().chain(std::iter::repeat(&0));
        other.0.iter().all(|theirs| words.next().is_some_and(|ours| theirs & !ours == 0))
    }

    /// Whether both have a number in common.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(ours, theirs)| ours & theirs != 0)
    }

    /// This set without the numbers of another.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let theirs = other.0.iter().chain(std::iter::repeat(&0));
        let mut left =
            Self(self.0.iter().zip(theirs).map(|(ours, theirs)| ours & !theirs).collect());
        left.trim();
        left
    }

    /// Adds every number of another set.
    pub fn add(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (ours, theirs) in self.0.iter_mut().zip(&other.0) {
            *ours |= theirs;
        }
    }

    /// Whether it has no number.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..).zip(&self.0).flat_map(|(place, word)| {
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| place * 64 + bit)
        })
    }

    /// Equal sets must be equal values, so no word at the end is empty.
    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }
}

impl FromIterator<u32> for Bits {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        let mut bits = Self::default();
        numbers.into_iter().for_each(|number| bits.insert(number));
        bits
    }
}
