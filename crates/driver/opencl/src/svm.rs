//! Shared virtual memory by address: it has no object whose end could be heard of.

use polder_driver::locks::lock;
use polder_driver::memory::Charge;
use std::collections::HashMap;
use std::sync::Mutex;

/// The charges of shared virtual memory that is alive.
#[derive(Debug, Default)]
pub(crate) struct Svm(Mutex<HashMap<usize, Charge>>);

impl Svm {
    /// Remembers a charge until [`take`](Self::take).
    pub(crate) fn keep(&self, address: usize, charge: Charge) {
        lock(&self.0).insert(address, charge);
    }

    /// The charge of memory that is about to be freed.
    pub(crate) fn take(&self, address: usize) -> Option<Charge> {
        lock(&self.0).remove(&address)
    }
}
