//! Which nodes changed, in order, as far back as it pays to remember.
//!
//! Every change has a number that grows. Who saw all changes up to one number asks for the nodes
//! changed since. The log keeps as many entries as there are nodes: who is further behind looks at
//! each node's last change instead, which costs no more.

/// Entries kept at least.
const KEPT_MIN: usize = 1024;

/// The changes of nodes.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    /// Number of the next change.
    next: u64,
    /// The node of change `n` is at `n % ring.len()`, a power of two.
    ring: Vec<u32>,
    /// For each node the number of its last change.
    last: Vec<u64>,
    /// Changes before this one are not in the ring.
    from: u64,
}

impl Log {
    /// The number that the next change will have.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Number of the last change of a node; tells two states of it apart.
    pub(super) fn last(&self, node: usize) -> u64 {
        self.last.get(node).copied().unwrap_or(0)
    }

    /// Notes that a node changed.
    pub(super) fn note(&mut self, node: u32) {
        let place = usize::try_from(node).unwrap_or(usize::MAX);
        if self.last.len() <= place {
            self.last.resize(place + 1, 0);
        }
        if self.ring.len() < self.last.len().max(KEPT_MIN) {
            self.ring = vec![0; self.last.len().max(KEPT_MIN).next_power_of_two()];
            self.from = self.next;
        }
        let mask = self.ring.len() - 1;
        if let Ok(at) = usize::try_from(self.next)
            && let Some(entry) = self.ring.get_mut(at & mask)
        {
            *entry = node;
        }
        if let Some(last) = self.last.get_mut(place) {
            *last = self.next;
        }
        self.next += 1;
    }

    /// Calls `seen` once for every node that changed at or after change `since`; gives the number
    /// of entries looked at.
    pub(super) fn since(&self, since: u64, mut seen: impl FnMut(u32)) -> u64 {
        let behind = self.next - since;
        let kept = u64::try_from(self.ring.len()).unwrap_or(u64::MAX);
        if since >= self.from && behind <= kept {
            let mask = self.ring.len().saturating_sub(1);
            for number in since..self.next {
                let at = usize::try_from(number).unwrap_or(usize::MAX) & mask;
                let Some(node) = self.ring.get(at).copied() else { break };
                // Only its last change counts; those before it come to the same.
                if self.last.get(usize::try_from(node).unwrap_or(usize::MAX)) == Some(&number) {
                    seen(node);
                }
            }
            return behind;
        }
        for (node, last) in (0u32..).zip(&self.last) {
            if *last >= since {
                seen(node);
            }
        }
        u64::try_from(self.last.len()).unwrap_or(u64::MAX)
    }
}
