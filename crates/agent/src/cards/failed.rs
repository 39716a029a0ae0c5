//! Cards that have failed, and when one is offered again. No I/O.
//!
//! **Invariant.** A card that has had a fault of its own is failed from that moment on, whatever a look at
//! it says, until [`CLEAN_LOOKS`] looks in a row that began after the fault have found it there and healthy:
//! twice as many after each further fault, at most [`CLEAN_LOOKS_MAX`]. Looks are at least
//! [`crate::AgentOptions::probe_rest`] apart.

use polder_model::{Device, DeviceId, Health, Inventory};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// How many looks in a row must find a card healthy after its first fault.
const CLEAN_LOOKS: u32 = 3;
/// The most that are asked for: one a minute, a day and a half.
const CLEAN_LOOKS_MAX: u32 = CLEAN_LOOKS << 10;

/// The cards that have failed, and the words for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failed(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    faults: Mutex<Faults>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Faults {
    now: BTreeMap<DeviceId, Fault>,
    /// How often each card of this node has failed since the agent started.
    times: BTreeMap<DeviceId, u32>,
}

#[derive(Debug)]
struct Fault {
    why: String,
    /// Looks in a row that found it healthy.
    clean: u32,
    /// How many there must be.
    needed: u32,
}

impl Failed {
    fn faults(&self) -> MutexGuard<'_, Faults> {
        // No code panics while it holds the lock; the maps are whole in any case.
        self.0.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A card has had a fault of its own. The first one is the cause of those that follow.
    pub(super) fn add(&self, device: &DeviceId, why: String) {
        let mut faults = self.faults();
        if let Some(known) = faults.now.get_mut(device) {
            known.clean = 0;
            return;
        }
        let times = faults.times.entry(device.clone()).or_default();
        let needed = CLEAN_LOOKS.checked_shl(*times).filter(|it| it >> *times == CLEAN_LOOKS);
        let needed = needed.unwrap_or(CLEAN_LOOKS_MAX).min(CLEAN_LOOKS_MAX);
        *times = times.saturating_add(1);
        faults.now.insert(device.clone(), Fault { why, clean: 0, needed });
        self.0.changed.notify_one();
    }

    /// Marks them in an inventory. True when that changed it.
    pub(crate) fn mark(&self, inventory: &mut Inventory) -> bool {
        let faults = self.faults();
        let mut changed = false;
        for device in &mut inventory.devices {
            if let Some(fault) = faults.now.get(&device.id) {
                let health = Health::Failed(fault.why.clone());
                changed |= device.health != health;
                device.health = health;
            }
        }
        changed
    }

    /// Takes in what a look found, of the cards that had failed before it began: those of them that are
    /// offered again.
    pub(crate) fn looked(&self, before: &[DeviceId], found: &[Device]) -> Vec<DeviceId> {
        let mut faults = self.faults();
        let mut again = Vec::new();
        for id in before {
            let Some(fault) = faults.now.get_mut(id) else { continue };
            let healthy = |device: &Device| device.id == *id && device.health == Health::Healthy;
            fault.clean = if found.iter().any(healthy) { fault.clean + 1 } else { 0 };
            if fault.clean >= fault.needed {
                faults.now.remove(id);
                again.push(id.clone());
            }
        }
        again
    }

    /// All of them.
    pub(crate) fn ids(&self) -> Vec<DeviceId> {
        self.faults().now.keys().cloned().collect()
    }

    /// Whether this one has failed.
    pub(super) fn has(&self, device: &DeviceId) -> bool {
        self.faults().now.contains_key(device)
    }

    /// Until another card has failed.
    pub(crate) async fn grown(&self) {
        self.0.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polder_devices::read_simulated;

    fn devices() -> Vec<Device> {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../devices/examples/rack.toml");
        read_simulated(file.as_ref()).unwrap().devices
    }

    /// How many looks at these devices it takes.
    fn looks(failed: &Failed, devices: &[Device]) -> usize {
        let before = failed.ids();
        (1..).find(|_| !failed.looked(&before, devices).is_empty()).unwrap()
    }

    #[test]
    fn a_card_comes_back_after_clean_looks_and_after_more_of_them_each_time() {
        let (failed, devices) = (Failed::default(), devices());
        let id = &devices[0].id;
        for expect in [3, 6, 12] {
            failed.add(id, "XID 48".into());
            assert!(failed.has(id));
            assert_eq!(looks(&failed, &devices), expect);
            assert!(!failed.has(id) && failed.ids().is_empty());
        }
        failed.faults().times.insert(id.clone(), 40);
        failed.add(id, "XID 48".into());
        assert_eq!(failed.faults().now[id].needed, CLEAN_LOOKS_MAX);
    }

    #[test]
    fn a_look_at_a_sick_or_absent_card_or_one_that_began_before_the_fault_does_not_count() {
        let (failed, devices) = (Failed::default(), devices());
        let id = devices[0].id.clone();
        failed.add(&id, "XID 79".into());
        let mut sick = devices.clone();
        sick[0].health = Health::Failed("lost".into());
        let ids = failed.ids();
        for bad in [&sick[..], &devices[1..]] {
            assert!(failed.looked(&ids, &devices).is_empty());
            assert!(failed.looked(&ids, &devices).is_empty());
            assert!(failed.looked(&ids, bad).is_empty());
        }
        // Another fault begins anew, and a look that did not know of it says nothing.
        assert!(failed.looked(&ids, &devices).is_empty());
        assert!(failed.looked(&[], &devices).is_empty());
        failed.add(&id, "XID 48".into());
        assert_eq!(looks(&failed, &devices), 3);
        failed.add(&id, "XID 48".into());
        let node = polder_devices::node_facts("1");
        let mut inventory = Inventory { node, devices };
        assert!(failed.mark(&mut inventory) && !failed.mark(&mut inventory));
        assert_eq!(inventory.devices[0].health, Health::Failed("XID 48".into()));
    }
}
