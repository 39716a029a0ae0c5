//! Shared virtual memory by address: it has no object whose end could be heard of.

use polder_driver::locks::lock;
use polder_driver::memory::Charge;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// One allocation that is alive.
#[derive(Debug)]
struct Block<C> {
    context: usize,
    bytes: usize,
    charge: C,
}

/// Blocks by their first address.
#[derive(Debug)]
struct Blocks<C>(BTreeMap<usize, Block<C>>);

impl<C> Blocks<C> {
    fn hold(&self, context: usize, address: usize, bytes: usize) -> bool {
        let before = self.0.range(..=address).next_back();
        before.is_some_and(|(start, block)| {
            let offset = address - start;
            block.context == context
                && bytes <= block.bytes
                && offset <= block.bytes.saturating_sub(bytes)
        })
    }
}

/// The charges of shared virtual memory that is alive.
#[derive(Debug, Default)]
pub(crate) struct Svm(Mutex<Blocks<Charge>>);

impl<C> Default for Blocks<C> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl Svm {
    /// Remembers the charge of `bytes` at an address until [`take`](Self::take).
    pub(crate) fn keep(&self, context: usize, address: usize, bytes: usize, charge: Charge) {
        lock(&self.0).0.insert(address, Block { context, bytes, charge });
    }

    /// The charge of memory that is about to be freed.
    pub(crate) fn take(&self, address: usize) -> Option<Charge> {
        lock(&self.0).0.remove(&address).map(|block| block.charge)
    }

    /// Whether `bytes` at an address are shared virtual memory of the context, which is charged
    /// already.
    pub(crate) fn holds(&self, context: usize, address: usize, bytes: usize) -> bool {
        lock(&self.0).hold(context, address, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_holds_what_lies_in_it_as_a_whole() {
        let mut blocks = Blocks::default();
        blocks.0.insert(1000, Block { context: 1, bytes: 100, charge: () });
        for (address, bytes, expect) in [
            (1000, 100, true),
            (1050, 50, true),
            (1050, 51, false),
            (1000, 101, false),
            (999, 1, false),
            (1100, 1, false),
            (2000, 1, false),
            (usize::MAX, usize::MAX, false),
        ] {
            assert_eq!(blocks.hold(1, address, bytes), expect, "{address} {bytes}");
        }
        assert!(!blocks.hold(2, 1000, 100), "another context's");
    }
}
