//! NVIDIA's cards while leases run: what a child of the agent that watches them says.
//!
//! * [`child`]: when there is a child, and how it is heard.
//! * [`clearing`]: their memory, between tenants.
//! * [`failed`]: the cards that have failed, and when one is offered again.
//!
//! **Invariants.** A card that has had a fault of its own is failed in the node's inventory from that
//! moment on: the server then ends every lease on it and places none there. A fault that is a program's own
//! fails no card.
//!
//! The agent trusts the child with nothing but this: a child that dies, hangs or babbles loses the cards'
//! words and nothing else.

mod child;
mod clearing;
mod failed;

pub(crate) use child::keep_watching;
pub(crate) use clearing::Clearing;
pub(crate) use failed::Failed;

use crate::arbiter::ArbiterHandle;
use polder_devices::{CardNow, CardsNow, XidClass, xid_class, xid_words};
use polder_model::{Address, Device, DeviceId, Finding, Health, Inventory, Lease, Rule, Throttle};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// Faults of programs that the node's loop has not heard yet.
pub(crate) const FAULTS_MAX: usize = 64;
/// What is said of a card whose driver asks for its reset.
const RESET_WORDS: &str = "has failed: its driver asks for a reset; reset it (nvidia-smi --gpu-reset): it is \
    offered again once it is found healthy";

/// A program's own fault on a card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProgramFault {
    pub(crate) device: DeviceId,
    xid: u32,
}

impl ProgramFault {
    /// What is found of the lease that was alone on the card.
    pub(crate) fn finding(&self) -> Finding {
        let (what, action) = xid_words(self.xid);
        let evidence = format!("XID {} on {}: {what}; {action}", self.xid, self.device);
        let (rule, program) = (Rule::DeviceFault, String::new());
        Finding { rule, pid: 0, program, evidence, ended: false }
    }
}

/// The one lease of `leases` that has a slice of the device; none where it could be another's.
pub(crate) fn alone_on<'a>(
    device: &DeviceId,
    leases: impl Iterator<Item = &'a Lease>,
) -> Option<&'a Lease> {
    let mut on = leases.filter(|lease| lease.slices.iter().any(|slice| slice.device == *device));
    let first = on.next()?;
    on.next().is_none().then_some(first)
}

/// What the cards say now, for whoever asks.
pub(crate) type Cards = watch::Receiver<Arc<CardsNow>>;

/// Why a device runs slower than it could, as its card said last.
pub(crate) fn throttle_of(cards: &CardsNow, device: &DeviceId) -> Vec<Throttle> {
    let card = cards.cards.iter().find(|card| card.uuid == device.as_str());
    card.map_or_else(Vec::new, |card| Throttle::of_nvml(card.reasons))
}

/// Where what the child says goes.
pub(crate) struct Ears {
    pub(crate) inventory: watch::Sender<Arc<Inventory>>,
    pub(crate) failed: Failed,
    pub(crate) faults: mpsc::Sender<ProgramFault>,
    pub(crate) cards: watch::Sender<Arc<CardsNow>>,
    pub(crate) arbiter: ArbiterHandle,
}

/// Whether a child could watch it: one that has failed is let go.
fn is_card(device: &Device) -> bool {
    !device.simulated
        && !matches!(device.health, Health::Failed(_))
        && device.vendor == "NVIDIA"
        && (matches!(device.address, Address::Nvml { .. })
            || device.id.as_str().starts_with("GPU-"))
}

/// Whether one of the leases has a card of this node that could be watched.
pub(crate) fn are_leased<'a>(
    inventory: &Inventory,
    mut leases: impl Iterator<Item = &'a Lease>,
) -> bool {
    let cards: Vec<&DeviceId> = inventory
        .devices
        .iter()
        .filter(|device| is_card(device))
        .map(|device| &device.id)
        .collect();
    !cards.is_empty()
        && leases.any(|lease| lease.slices.iter().any(|slice| cards.contains(&&slice.device)))
}

impl Ears {
    async fn hear(&self, mut now: CardsNow) {
        let known = Arc::clone(&self.inventory.borrow());
        now.cards.retain(|card| known.devices.iter().any(|it| it.id.as_str() == card.uuid));
        for card in &now.cards {
            if let (Ok(device), Some(named)) = (card.uuid.parse(), &card.processes) {
                self.arbiter.used(&device, &card.used, named);
            }
            for fault in self.judge(card) {
                // A loop that is gone hears nothing, and needs nothing.
                let _ = self.faults.send(fault).await;
            }
        }
        self.inventory.send_if_modified(|inventory| {
            let mut marked = Inventory::clone(inventory);
            let changed = self.failed.mark(&mut marked);
            if changed {
                *inventory = Arc::new(marked);
            }
            changed
        });
        self.cards.send_replace(Arc::new(now));
    }

    /// Notes a card's own faults; returns those of programs.
    fn judge(&self, card: &CardNow) -> Vec<ProgramFault> {
        let Ok(device) = card.uuid.parse::<DeviceId>() else { return Vec::new() };
        let mut of_programs = Vec::new();
        let lost = card.lost.then_some(79);
        for xid in card.xids.iter().copied().chain(lost) {
            let (what, action) = xid_words(xid);
            match xid_class(xid) {
                XidClass::Device => {
                    tracing::error!(%device, xid, "{what}: every lease on it ends; {action}");
                    self.failed.add(&device, format!("has failed: XID {xid}, {what}; {action}"));
                }
                XidClass::Program => {
                    tracing::warn!(%device, xid, "{what}; {action}");
                    of_programs.push(ProgramFault { device: device.clone(), xid });
                }
                XidClass::Note => tracing::info!(%device, xid, "the driver reported something"),
            }
        }
        if card.reset {
            tracing::error!(%device, "its driver asks for a reset: every lease on it ends");
            self.failed.add(&device, RESET_WORDS.to_owned());
        }
        of_programs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polder_devices::read_simulated;

    fn ears() -> (Ears, mpsc::Receiver<ProgramFault>) {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../devices/examples/rack.toml");
        let devices = read_simulated(file.as_ref()).unwrap().devices;
        let node = polder_devices::node_facts("1");
        let (faults, heard) = mpsc::channel(FAULTS_MAX);
        let ears = Ears {
            inventory: watch::channel(Arc::new(Inventory { node, devices })).0,
            failed: Failed::default(),
            faults,
            cards: watch::channel(Arc::default()).0,
            arbiter: ArbiterHandle::start().unwrap(),
        };
        (ears, heard)
    }

    fn card(ears: &Ears, at: usize, xids: &[u32]) -> CardNow {
        let uuid = ears.inventory.borrow().devices[at].id.to_string();
        CardNow { uuid, xids: xids.to_vec(), reasons: 0x24, ..CardNow::default() }
    }

    #[tokio::test]
    async fn a_cards_own_fault_fails_it_for_good_and_a_programs_does_not() {
        let (ears, mut heard) = ears();
        let cards = vec![card(&ears, 0, &[13, 119, 48]), card(&ears, 1, &[31, 63])];
        let (failed, sound) = (cards[0].uuid.clone(), cards[1].uuid.clone());
        ears.hear(CardsNow { cards }).await;
        let inventory = Arc::clone(&ears.inventory.borrow());
        let Health::Failed(why) = &inventory.devices[0].health else { panic!("{inventory:?}") };
        assert!(why.contains("XID 119") && why.contains("reset the card"), "{why}");
        assert_eq!(inventory.devices[1].health, Health::Healthy);
        let faults = [heard.recv().await.unwrap(), heard.recv().await.unwrap()];
        assert_eq!((faults[0].device.as_str(), faults[0].xid), (failed.as_str(), 13));
        assert_eq!((faults[1].device.as_str(), faults[1].xid), (sound.as_str(), 31));
        assert!(faults[1].finding().evidence.contains("XID 31"));
        let mut later = Inventory::clone(&inventory);
        later.devices[0].health = Health::Healthy;
        assert!(ears.failed.mark(&mut later) && later == *inventory);
        let device = later.devices[1].id.clone();
        let reasons = throttle_of(&ears.cards.borrow(), &device);
        assert_eq!(reasons, [Throttle::PowerCap, Throttle::Thermal]);
    }

    #[tokio::test]
    async fn a_card_that_does_not_answer_is_one_that_fell_off_and_strangers_are_nobodys() {
        let (ears, _heard) = ears();
        let lost = CardNow { lost: true, ..card(&ears, 0, &[]) };
        let broken = CardNow { reset: true, ..card(&ears, 1, &[]) };
        let stranger = CardNow { uuid: "GPU-no such".into(), lost: true, ..CardNow::default() };
        ears.hear(CardsNow { cards: vec![stranger, lost, broken] }).await;
        let inventory = Arc::clone(&ears.inventory.borrow());
        let failed = |one: &&polder_model::Device| matches!(one.health, Health::Failed(_));
        assert_eq!(inventory.devices.iter().filter(failed).count(), 2);
        assert_eq!(ears.cards.borrow().cards.len(), 2);
        assert_eq!(inventory.devices[1].health, Health::Failed(RESET_WORDS.into()));
    }
}
