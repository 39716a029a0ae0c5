//! Callbacks that launch without their turn, as the lease's processes count them.
//!
//! A callback goes without its turn when something of its process was in flight for a quarter of a second
//! while it waited. **Once is ordinary**: a kernel may be that long, or made so by a busy machine (kernels of half a
//! second, on one, made one such launch in three runs of eight seconds, and short ones none). A program whose callbacks
//! hold up what they wait for does it each time: twenty in eight seconds. So what is told of is a row of them.
//!
//! The count is the tenant's own word. It is only asked whether it has grown, and never told: whatever stands
//! there, what is told are our own looks.

/// Launches without their turn that are told of, within [`WITHIN_NS`].
const TOLD_FROM: usize = 3;
const WITHIN_NS: u64 = 30_000_000_000;

/// What earlier looks at one slot have shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turns {
    count: u64,
    /// The last look, after which everything that is new was counted.
    looked_ns: u64,
    /// After what moments the last ones were counted, the oldest first.
    since_ns: [Option<u64>; TOLD_FROM],
}

impl Turns {
    /// Of a process that was born at `born_ns` and has just got its slot.
    pub(super) const fn new(born_ns: u64) -> Self {
        Self { count: 0, looked_ns: born_ns, since_ns: [None; TOLD_FROM] }
    }

    /// Sees `count` at `now_ns`. What there is to tell, for as long as there is.
    pub(super) fn see(&mut self, count: u64, now_ns: u64) -> Option<String> {
        // One that goes back is a lie, and begins anew.
        let more = count.saturating_sub(self.count);
        let more = usize::try_from(more).unwrap_or(usize::MAX).min(TOLD_FROM);
        self.since_ns.rotate_left(more);
        self.since_ns[TOLD_FROM - more..].fill(Some(self.looked_ns));
        (self.count, self.looked_ns) = (count, now_ns);
        let within_ns = now_ns.saturating_sub(self.since_ns[0]?);
        (within_ns <= WITHIN_NS).then(|| {
            format!(
                "{TOLD_FROM} or more in {} s went after 250 ms at a closed gate, with others' work beside \
                 them: its own work stayed in flight while they waited. Its share paid. Launch from \
                 its threads, not from callbacks",
                within_ns.div_ceil(1_000_000_000).max(1)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polder_model::FINDING_BYTES_MAX;

    const SECOND_NS: u64 = 1_000_000_000;

    /// Whether something is told at looks (count, second) of a process that was born at second 1.
    fn told(looks: &[(u64, u64)]) -> Vec<bool> {
        let mut turns = Turns::new(SECOND_NS);
        looks.iter().map(|(count, at)| turns.see(*count, at * SECOND_NS).is_some()).collect()
    }

    #[test]
    fn a_row_of_them_is_told_of_and_now_and_then_one_is_not() {
        let row = [(0, 1), (1, 2), (2, 3), (2, 4), (3, 5), (3, 6)];
        assert_eq!(told(&row), [false, false, false, false, true, true]);
        assert_eq!(told(&[(1, 1), (3, 2)]), [false, true], "several between two looks");
        let every = |seconds| (0..100).map(|n| (n, 1 + n * seconds)).collect::<Vec<_>>();
        assert!(!told(&every(11)).contains(&true));
        assert!(told(&every(10)).contains(&true));
    }

    /// A new agent knows a process's birth alone.
    #[test]
    fn what_may_have_been_long_ago_is_not_told() {
        assert_eq!(told(&[(9, 31)]), [true]);
        assert_eq!(told(&[(9, 32), (11, 33), (12, 34)]), [false, false, true]);
    }

    #[test]
    fn a_lie_tells_no_more_than_the_truth() {
        let lies = [u64::MAX, 0, 1, u64::MAX, 7, u64::MAX - 1, 3, 2, 1, 0, 0, u64::MAX];
        let mut turns = Turns::new(0);
        for (count, now_ns) in lies.into_iter().zip([5, u64::MAX, 0, 3].into_iter().cycle()) {
            let told = turns.see(count, now_ns).unwrap_or_default();
            assert!(told.len() <= FINDING_BYTES_MAX, "{} bytes: {told}", told.len());
        }
        let mut falls = Turns::new(0);
        assert!(falls.see(2, 0).is_none());
        assert!((0..50).all(|n| falls.see(0, n).is_none()), "one that falls has not grown");
    }
}
