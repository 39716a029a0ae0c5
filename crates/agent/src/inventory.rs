//! What the node has, probed at the start, now and then, and after a lease ended badly.

use crate::AgentOptions;
use crate::cards::Failed;
use crate::spatial::offer::{Cards, Offer, Offered};
use polder_devices::{
    PROBE_SUBCOMMAND, ProbeError, SimulateError, Simulated, node_facts, probe_in_child,
    read_simulated,
};
use polder_model::{
    Address, Api, Bytes, Device, DeviceId, DeviceKind, Inventory, Mechanism, NodeFacts, WordError,
};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{Notify, watch};

/// How often devices are looked at again when nothing gives cause. A look starts every vendor's
/// runtime once, which costs a second of one CPU.
const PROBE_PERIOD: Duration = Duration::from_secs(600);

/// Why the devices are not known.
#[derive(Debug, Error)]
pub enum InventoryError {
    /// The machine could not be probed.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The file of simulated devices was refused.
    #[error(transparent)]
    Simulate(#[from] SimulateError),
    /// The file of simulated devices and the agent's options contradict each other.
    #[error("the node's partitions and labels: {0}")]
    Words(#[from] WordError),
    /// A card that is to be shared spatially is not there.
    #[error("--spatial names {wanted}, and this node has {}: name one of these, or all", has_words(.has))]
    NoSuchCard {
        /// The card.
        wanted: DeviceId,
        /// What there is.
        has: Vec<DeviceId>,
    },
    /// More host memory is to stand behind devices than there is.
    #[error("{asked} of host memory cannot be kept for backing: this node has {has} in all")]
    Backing {
        /// What was to be kept.
        asked: Bytes,
        /// What there is.
        has: Bytes,
    },
}

/// Most devices that are named where one is missing.
const NAMED_MAX: usize = 16;

fn has_words(has: &[DeviceId]) -> String {
    let named: Vec<&str> = has.iter().take(NAMED_MAX).map(DeviceId::as_str).collect();
    match has.len().saturating_sub(named.len()) {
        _ if has.is_empty() => "no device".to_owned(),
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// Looks once. `before` is what was found last time: what is measured once is kept from there.
pub(crate) fn look(
    options: &AgentOptions,
    offer: &Offer,
    before: Option<&Inventory>,
) -> Result<Inventory, InventoryError> {
    let (mut devices, words) = match &options.simulate {
        Some(path) => {
            let Simulated { devices, words } = read_simulated(path)?;
            (devices, words.and(&options.words)?)
        }
        None => {
            let mut probe = options.probe.clone();
            probe.measure_bandwidth = probe.measure_bandwidth && before.is_none();
            let found = probe_in_child(&options.exe, &[PROBE_SUBCOMMAND], &probe)?;
            (found.devices, options.words.clone())
        }
    };
    if options.cuda_libraries.is_some() {
        devices.iter_mut().filter(|device| is_card(device)).for_each(share);
    }
    if before.is_none()
        && let Some(wanted) = offer.missing(&devices)
    {
        let has = devices.into_iter().map(|device| device.id).collect();
        return Err(InventoryError::NoSuchCard { wanted, has });
    }
    let mut is_any = false;
    for device in &mut devices {
        let offered = offer.make(device);
        is_any |= offered == Offered::Spatially;
        if let Offered::Cannot(why) = offered
            && before.is_none()
        {
            tracing::warn!("{} is not shared spatially: {why}", device.id);
        }
    }
    if offer.wanted == Cards::All && !is_any && before.is_none() {
        tracing::warn!(
            "no device of this node is shared spatially, as --spatial all would have it"
        );
    }
    devices.sort_by(|a, b| a.id.cmp(&b.id));
    if let Some(before) = before {
        keep_measured(&mut devices, &before.devices);
    }
    let mut node = node_facts(env!("CARGO_PKG_VERSION"));
    words.say(&mut node);
    node.enforcement = options.enforcement;
    keep_apart(&mut node, options.backing)?;
    Ok(Inventory { node, devices })
}

/// Whether so much host memory can be kept to stand behind devices.
///
/// # Errors
/// [`InventoryError::Backing`].
pub fn check_backing(backing: Bytes) -> Result<(), InventoryError> {
    keep_apart(&mut node_facts(env!("CARGO_PKG_VERSION")), backing)
}

/// Takes what stands behind devices out of the memory that leases may share.
fn keep_apart(node: &mut NodeFacts, backing: Bytes) -> Result<(), InventoryError> {
    if backing >= node.memory && !backing.is_zero() {
        return Err(InventoryError::Backing { asked: backing, has: node.memory });
    }
    node.memory = Bytes(node.memory.0.saturating_sub(backing.0));
    node.backing = backing;
    Ok(())
}

/// Whether the device is one that programs reach through CUDA alone.
fn is_card(device: &Device) -> bool {
    matches!(device.address, Address::Nvml { .. }) && device.api == Api::Nvml
}

/// Programs of a lease that has a part of the card are held by our library for CUDA.
fn share(device: &mut Device) {
    if !device.mechanisms.contains(&Mechanism::TimeSlice) {
        device.mechanisms.insert(0, Mechanism::TimeSlice);
    }
}

/// A figure that a later look does not measure again is the earlier one. So is the memory of a
/// processor: its driver derives it from what the host happens to have, and leases were granted on
/// the earlier figure.
fn keep_measured(devices: &mut [Device], before: &[Device]) {
    for device in devices {
        let Some(known) = before.iter().find(|known| known.id == device.id) else { continue };
        if device.memory_bandwidth.is_none() {
            device.memory_bandwidth = known.memory_bandwidth;
        }
        if device.kind == DeviceKind::Cpu && known.kind == DeviceKind::Cpu {
            device.memory = known.memory;
            device.allocation_max = known.allocation_max;
        }
    }
}

/// Looks again on a period and whenever `doubt` is raised; tells of changes only.
pub(crate) async fn keep_looking(
    options: Arc<AgentOptions>,
    offer: Offer,
    found: watch::Sender<Arc<Inventory>>,
    doubt: Arc<Notify>,
    failed: Failed,
) {
    loop {
        let began = tokio::time::Instant::now();
        tokio::time::sleep(options.probe_rest).await;
        loop {
            let sound = failed.ids().is_empty();
            let period = if sound { PROBE_PERIOD } else { options.failed_period };
            tokio::select! {
                () = tokio::time::sleep_until(began + period) => break,
                () = doubt.notified() => break,
                () = failed.grown() => {}
            }
        }
        let ids = failed.ids();
        let before = Arc::clone(&found.borrow());
        let asked = Arc::clone(&options);
        let (known, offered) = (Arc::clone(&before), offer.clone());
        let looked =
            tokio::task::spawn_blocking(move || look(&asked, &offered, Some(&known))).await;
        match looked {
            Ok(Ok(mut now)) => {
                for card in failed.looked(&ids, &now.devices) {
                    tracing::warn!(%card, "the card is healthy again, and offered again");
                }
                found.send_if_modified(|known| {
                    // Cards may have failed while this looked.
                    failed.mark(&mut now);
                    let differs = now != **known;
                    if differs {
                        tell(known, &now);
                        *known = Arc::new(now);
                    }
                    differs
                });
            }
            Ok(Err(error)) => tracing::warn!(%error, "devices could not be looked at again"),
            Err(error) => tracing::error!(%error, "looking at devices"),
        }
    }
}

fn tell(before: &Inventory, now: &Inventory) {
    let ids = |inventory: &Inventory| -> Vec<_> {
        inventory.devices.iter().map(|device| device.id.clone()).collect()
    };
    let (before, now) = (ids(before), ids(now));
    let gone: Vec<_> = before.iter().filter(|id| !now.contains(id)).collect();
    let new: Vec<_> = now.iter().filter(|id| !before.contains(id)).collect();
    if gone.is_empty() {
        tracing::info!(?new, "the node's devices have changed");
    } else {
        tracing::warn!(?gone, ?new, "devices have vanished from this node");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_devices_is_no_memory_of_tasks() {
        let facts = node_facts("1");
        let mut node = facts.clone();
        keep_apart(&mut node, Bytes(1)).unwrap();
        assert_eq!((node.memory, node.backing), (Bytes(facts.memory.0 - 1), Bytes(1)));
        let error = keep_apart(&mut node, Bytes(u64::MAX)).unwrap_err().to_string();
        assert!(error.contains("cannot be kept for backing"), "{error}");
        let mut node = facts.clone();
        keep_apart(&mut node, Bytes(0)).unwrap();
        assert_eq!(node, facts);
    }

    #[test]
    fn the_memory_of_a_processor_is_what_leases_were_granted_on() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../devices/examples/rack.toml");
        let mut before = read_simulated(file.as_ref()).unwrap().devices;
        before.truncate(2);
        before[0].kind = DeviceKind::Cpu;
        let mut now = before.clone();
        for device in &mut now {
            device.memory = Bytes(1);
            device.memory_bandwidth = None;
        }
        keep_measured(&mut now, &before);
        assert_eq!(now[0], before[0]);
        assert_eq!(now[1].memory, Bytes(1), "a card that lost memory has lost it");
    }
}
