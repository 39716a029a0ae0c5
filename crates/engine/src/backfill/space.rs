//! What the look ahead needs to know of free capacity, and the simplest case of it.

/// What is free at one moment, over a fleet or over one flat number.
///
/// `take` and `give` are exact inverses, also where a take goes below zero (a window announced over
/// a job that still runs): what is owed is remembered, and nothing is found there meanwhile.
pub trait Space: Clone {
    /// What a job asks for: all of its tasks at once.
    type Need;
    /// Where they go: what `take` takes.
    type Spots: Clone;

    /// Room for all of a need at once, or none.
    fn find(&self, need: &Self::Need) -> Option<Self::Spots>;
    /// Takes what `find` found.
    fn take(&mut self, spots: &Self::Spots);
    /// The reverse of `take`.
    fn give(&mut self, spots: &Self::Spots);
    /// At these spots: what `other` has free.
    fn copy(&mut self, other: &Self, spots: &Self::Spots);
    /// At these spots: no more than `other` has free.
    fn meet(&mut self, other: &Self, spots: &Self::Spots);
    /// Nothing can be found any more, whatever the need: a walk may stop here.
    fn is_full(&self) -> bool {
        false
    }
}

/// One number: so many units that no job can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flat {
    /// Units free; negative when more is held than there is.
    pub free: i64,
}

impl Flat {
    /// So many units.
    #[must_use]
    pub fn new(units: u32) -> Self {
        Self { free: units.into() }
    }
}

impl Space for Flat {
    type Need = u32;
    type Spots = u32;

    fn find(&self, need: &u32) -> Option<u32> {
        (i64::from(*need) <= self.free).then_some(*need)
    }

    fn take(&mut self, spots: &u32) {
        self.free -= i64::from(*spots);
    }

    fn give(&mut self, spots: &u32) {
        self.free += i64::from(*spots);
    }

    fn copy(&mut self, other: &Self, _: &u32) {
        self.free = other.free;
    }

    fn meet(&mut self, other: &Self, _: &u32) {
        self.free = self.free.min(other.free);
    }

    fn is_full(&self) -> bool {
        self.free <= 0
    }
}
