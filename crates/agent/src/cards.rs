//! NVIDIA's cards while leases run: what a child of the agent that watches them says.
//!
//! **Invariants.** A card that has had a fault of its own is failed in the node's inventory from that
//! moment on, whatever a later look at it says, until the agent is started anew: the server then ends
//! every lease on it and places none there. A fault that is a program's own fails no card.
//!
//! The agent trusts the child with nothing but this: a child that dies, hangs or babbles loses the cards'
//! words and nothing else, and is started again.

use crate::AgentOptions;
use polder_devices::{
    CARDS_LINE_BYTES_MAX, CardNow, CardsNow, PROBE_SUBCOMMAND, XidClass, watch_in_child, xid_class,
    xid_words,
};
use polder_model::{Address, DeviceId, Finding, Health, Inventory, Lease, Rule, Throttle};
use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::sync::{mpsc, watch};

/// Before a child that has ended is started again.
const RESTART_REST: Duration = Duration::from_secs(5);
/// How long a child that watches may be silent before it is given up; it speaks twice a second.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Faults of programs that the node's loop has not heard yet.
pub(crate) const FAULTS_MAX: usize = 64;

/// The cards that have failed, and the words for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failed(Arc<Mutex<BTreeMap<DeviceId, String>>>);

impl Failed {
    /// Marks them in an inventory. True when that changed it.
    pub(crate) fn mark(&self, inventory: &mut Inventory) -> bool {
        // No code panics while it holds the lock; the map is whole in any case.
        let failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = false;
        for device in &mut inventory.devices {
            if let Some(why) = failed.get(&device.id) {
                let health = Health::Failed(why.clone());
                changed |= device.health != health;
                device.health = health;
            }
        }
        changed
    }

    fn names(&self) -> Vec<String> {
        let failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failed.keys().map(ToString::to_string).collect()
    }

    fn add(&self, device: DeviceId, why: String) {
        let mut failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The first fault is the cause of those that follow.
        failed.entry(device).or_insert(why);
    }
}

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
}

/// Whether the node has a card that a child could watch: one that failed is let go.
fn has_cards(inventory: &Inventory) -> bool {
    inventory.devices.iter().any(|device| {
        !device.simulated
            && !matches!(device.health, Health::Failed(_))
            && device.vendor == "NVIDIA"
            && (matches!(device.address, Address::Nvml { .. })
                || device.id.as_str().starts_with("GPU-"))
    })
}

/// Watches for as long as the node has cards.
pub(crate) async fn keep_watching(options: Arc<AgentOptions>, ears: Ears) {
    let mut inventory = ears.inventory.subscribe();
    loop {
        // The sender is ours, so it is never gone.
        let _ = inventory.wait_for(|inventory| has_cards(inventory)).await;
        if let Err(error) = ears.follow(&options).await {
            tracing::warn!(%error, "NVIDIA's cards are not watched");
        }
        ears.cards.send_replace(Arc::default());
        tokio::time::sleep(RESTART_REST).await;
    }
}

impl Ears {
    /// Starts a child and hears it to its end.
    async fn follow(&self, options: &AgentOptions) -> std::io::Result<()> {
        let failed = self.failed.names();
        let child = watch_in_child(&options.exe, &[PROBE_SUBCOMMAND], &options.probe, failed);
        let Some(command) = child else { return Ok(()) };
        let mut command = tokio::process::Command::from(command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.kill_on_drop(true).spawn()?;
        let Some(output) = child.stdout.take() else { return Ok(()) };
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        loop {
            line.clear();
            let most = u64::try_from(CARDS_LINE_BYTES_MAX).unwrap_or(u64::MAX);
            let mut part = (&mut output).take(most);
            // Nobody is judged by what was said long ago.
            let read =
                tokio::time::timeout(SILENCE_MAX, part.read_until(b'\n', &mut line)).await??;
            if read == 0 {
                break;
            }
            if line.last() != Some(&b'\n') {
                return Err(std::io::Error::other("a line that is too long, or cut off"));
            }
            // What else a vendor's library prints is not for us.
            if let Ok(now) = serde_json::from_slice::<CardsNow>(&line) {
                self.hear(now).await;
            }
        }
        child.wait().await.map(drop)
    }

    async fn hear(&self, mut now: CardsNow) {
        let known = Arc::clone(&self.inventory.borrow());
        now.cards.retain(|card| known.devices.iter().any(|it| it.id.as_str() == card.uuid));
        for card in &now.cards {
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
                    self.failed
                        .add(device.clone(), format!("has failed: XID {xid}, {what}; {action}"));
                }
                XidClass::Program => {
                    tracing::warn!(%device, xid, "{what}; {action}");
                    of_programs.push(ProgramFault { device: device.clone(), xid });
                }
                XidClass::Note => tracing::info!(%device, xid, "the driver reported something"),
            }
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
        let stranger = CardNow { uuid: "GPU-no such".into(), lost: true, ..CardNow::default() };
        ears.hear(CardsNow { cards: vec![stranger, lost] }).await;
        let inventory = Arc::clone(&ears.inventory.borrow());
        let failed = |one: &&polder_model::Device| matches!(one.health, Health::Failed(_));
        assert_eq!(inventory.devices.iter().filter(failed).count(), 1);
        assert_eq!(ears.cards.borrow().cards.len(), 1);
    }
}
