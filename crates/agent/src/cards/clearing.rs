//! Clears the memory of NVIDIA's cards between tenants.
//!
//! **Invariants.** A card is cleared once no lease of this node is on it any more, before the end of the
//! last one is told: so nobody is granted a card of which nobody has any part before it was cleared. It is
//! cleared only while no lease is on it, or all that are wait for the end of it in [`Clearing::wait`],
//! before anything of theirs runs: clearing takes all memory that is free, for a moment.
//!
//! While leases of several tenants share a card, what one gives back the others may be given as it was.

use polder_model::{DeviceId, LeaseId, Mechanism, Slice};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The cards of a node, who is on each, and which are being cleared.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clearing(Arc<Mutex<BTreeMap<DeviceId, Card>>>);

#[derive(Debug, Default)]
struct Card {
    leases: BTreeSet<LeaseId>,
    /// A lease has run on it since it was cleared.
    used: bool,
    /// Held by whoever clears it.
    busy: Arc<tokio::sync::Mutex<()>>,
}

/// The cards that a lease has a part of, of which its programs could leave something. An instance is
/// the vendor's to clear, as it makes it anew.
fn cards(slices: &[Slice]) -> impl Iterator<Item = &DeviceId> {
    let cut = |slice: &&Slice| slice.mechanism != Mechanism::Mig;
    slices
        .iter()
        .filter(cut)
        .map(|slice| &slice.device)
        .filter(|id| id.as_str().starts_with("GPU-"))
}

impl Clearing {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<DeviceId, Card>> {
        // No code panics while it holds the lock; the map is whole in any case.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lease has these slices from now on.
    pub(crate) fn join(&self, lease: LeaseId, slices: &[Slice]) {
        let mut all = self.lock();
        for id in cards(slices) {
            all.entry(id.clone()).or_default().leases.insert(lease);
        }
    }

    /// Until none of its cards is being cleared.
    pub(crate) async fn wait(&self, lease: LeaseId) {
        let busy: Vec<_> = {
            let all = self.lock();
            let own = all.values().filter(|card| card.leases.contains(&lease));
            own.map(|card| Arc::clone(&card.busy)).collect()
        };
        for card in busy {
            drop(card.lock().await);
        }
    }

    /// A lease is over, and may have `run`. Clears those of its cards with `clear` on which nobody is any
    /// more, one after the other.
    pub(crate) async fn leave<F: Future<Output = ()>>(
        &self,
        lease: LeaseId,
        run: bool,
        clear: impl Fn(DeviceId) -> F,
    ) {
        let mut left = Vec::new();
        for (id, card) in self.lock().iter_mut() {
            if card.leases.remove(&lease) {
                card.used |= run;
                left.push((id.clone(), Arc::clone(&card.busy)));
            }
        }
        for (id, busy) in left {
            let _busy = busy.lock().await;
            let dirty = {
                let mut all = self.lock();
                let card = all.entry(id.clone()).or_default();
                card.leases.is_empty() && std::mem::take(&mut card.used)
            };
            if dirty {
                clear(id).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polder_model::{Bytes, Permille};
    use tokio::sync::mpsc;

    fn slice(device: &str, mechanism: Mechanism) -> Slice {
        Slice {
            device: device.parse().unwrap(),
            mechanism,
            compute: Permille(500),
            compute_max: Permille(500),
            memory: Bytes(1),
            backing: Bytes(0),
            instance: None,
        }
    }

    /// Who leaves, and what is cleared for it.
    async fn leaves(clearing: &Clearing, lease: u64, run: bool) -> Vec<String> {
        let cleared = Mutex::new(Vec::new());
        let clear = |id: DeviceId| {
            cleared.lock().unwrap().push(id.to_string());
            std::future::ready(())
        };
        clearing.leave(LeaseId(lease), run, clear).await;
        cleared.into_inner().unwrap()
    }

    #[tokio::test]
    async fn a_card_is_cleared_when_the_last_lease_that_ran_has_left_it() {
        let clearing = Clearing::default();
        let shared =
            [slice("GPU-1", Mechanism::TimeSlice), slice("opencl-0", Mechanism::TimeSlice)];
        clearing.join(LeaseId(1), &shared);
        clearing.join(LeaseId(2), &[slice("GPU-1", Mechanism::TimeSlice)]);
        clearing
            .join(LeaseId(3), &[slice("GPU-2", Mechanism::Whole), slice("GPU-3", Mechanism::Mig)]);
        assert!(leaves(&clearing, 1, true).await.is_empty(), "2 is on it");
        assert_eq!(leaves(&clearing, 2, false).await, ["GPU-1"], "1 had run");
        assert_eq!(leaves(&clearing, 3, true).await, ["GPU-2"]);
        clearing.join(LeaseId(4), &[slice("GPU-1", Mechanism::Whole)]);
        assert!(leaves(&clearing, 4, false).await.is_empty(), "nobody has run since");
        assert!(leaves(&clearing, 4, true).await.is_empty(), "it has left already");
    }

    #[tokio::test]
    async fn who_comes_while_a_card_is_cleared_waits_and_who_came_before_keeps_it_from_being() {
        let clearing = Clearing::default();
        let whole = [slice("GPU-1", Mechanism::Whole)];
        clearing.join(LeaseId(1), &whole);
        let (begun, mut begins) = mpsc::unbounded_channel();
        let (end, ends) = tokio::sync::oneshot::channel::<()>();
        let ends = Mutex::new(Some(ends));
        let leaving = clearing.leave(LeaseId(1), true, |_| {
            let ends = ends.lock().unwrap().take().unwrap();
            begun.send(()).unwrap();
            async move { ends.await.unwrap() }
        });
        let coming = async {
            begins.recv().await.unwrap();
            clearing.join(LeaseId(2), &whole);
            let waiting = clearing.wait(LeaseId(2));
            let mut waiting = std::pin::pin!(waiting);
            let asked = std::future::poll_fn(|at| {
                std::task::Poll::Ready(waiting.as_mut().poll(at).is_ready())
            });
            assert!(!asked.await, "it is still being cleared");
            end.send(()).unwrap();
            waiting.await;
        };
        tokio::join!(leaving, coming);
        // 3 comes before 2 has left.
        clearing.join(LeaseId(3), &whole);
        assert!(leaves(&clearing, 2, true).await.is_empty());
        clearing.wait(LeaseId(3)).await;
        assert_eq!(leaves(&clearing, 3, true).await, ["GPU-1"]);
    }
}
