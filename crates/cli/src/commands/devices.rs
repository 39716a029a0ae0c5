//! `polder devices`: what is there, and what is held of it.

use super::{Context, Done};
use crate::failure::Failure;
use crate::output::Table;
use crate::show;
use clap::Args;
use polder_model::{Device, Health};
use polder_server::api::{DeviceList, DeviceView};
use serde::Serialize;

/// Flags of `polder devices`.
#[derive(Debug, Args)]
pub(crate) struct Devices {
    /// Look at this machine's hardware instead of asking the daemon. Also done when none runs.
    #[arg(long)]
    local: bool,
}

/// What a look at this machine's hardware shows.
#[derive(Debug, Serialize)]
struct Local {
    devices: Vec<Seen>,
    problems: Vec<String>,
}

/// One device, where the daemon's answer has it too.
#[derive(Debug, Serialize)]
struct Seen {
    device: Device,
}

impl Devices {
    pub(super) async fn execute(self, context: &Context) -> Done {
        if !self.local {
            match context.client()?.get::<DeviceList>("devices").await {
                Ok(list) => return held(context, &list),
                // Over HTTP the pool was meant, not this machine.
                Err(failure) if !failure.is_broken() || context.over_http() => return Err(failure),
                Err(failure) => {
                    context.out.note(&format!("{}; this is what the machine has", failure.message));
                }
            }
        }
        here(context).await
    }
}

fn held(context: &Context, list: &DeviceList) -> Done {
    if context.out.json_wanted() {
        context.out.json(list)?;
        return Ok(0);
    }
    let mut table = Table::new(
        &[
            "NODE",
            "DEVICE",
            "MODEL",
            ">MEMORY",
            ">BANDWIDTH",
            ">UNITS",
            ">COMPUTE-HELD",
            ">MEMORY-HELD",
            "HEALTH",
            "PCI",
            "NUMA",
            "ISLAND",
            "RAIL",
            "FEATURES",
        ],
        "the pool has no devices: see `polder nodes`, and `polder devices --local` on each",
    );
    let mut devices: Vec<&DeviceView> = list.devices.iter().collect();
    devices.sort_by_cached_key(|view| {
        (show::counted(view.node.as_str()), show::counted(view.device.id.as_str()))
    });
    for view in devices {
        let device = &view.device;
        table.row([
            view.node.to_string(),
            device.id.to_string(),
            device.model.clone(),
            device.memory.to_string(),
            show::bandwidth(device.memory_bandwidth),
            device.compute_units.to_string(),
            if view.whole { "whole".to_owned() } else { view.compute_held.to_string() },
            view.memory_held.to_string(),
            standing(view),
            device.pci_address.clone().unwrap_or_default(),
            number(device.numa_node),
            number(device.island),
            number(device.rail),
            features(device),
        ]);
    }
    context.out.table(&table)?;
    Ok(0)
}

async fn here(context: &Context) -> Done {
    let exe = std::env::current_exe()
        .map_err(|error| Failure::failed(format!("this program's own path: {error}")))?;
    let probe = move || {
        let options = polder_devices::ProbeOptions::default();
        polder_devices::probe_in_child(&exe, &[polder_devices::PROBE_SUBCOMMAND], &options)
    };
    let catalogue = tokio::task::spawn_blocking(probe)
        .await
        .map_err(|error| Failure::failed(format!("looking for devices: {error}")))?
        .map_err(Failure::failed)?;
    let problems: Vec<String> = catalogue.problems.iter().map(ToString::to_string).collect();
    for problem in &problems {
        context.out.warn(&format!("devices may be missing: {problem}"));
    }
    let seen = catalogue.devices.into_iter().map(|device| Seen { device });
    let local = Local { devices: seen.collect(), problems };
    if context.out.json_wanted() {
        context.out.json(&local)?;
        return Ok(0);
    }
    let mut table = Table::new(
        &[
            "DEVICE",
            "KIND",
            "MODEL",
            "DRIVER",
            ">MEMORY",
            ">BANDWIDTH",
            ">UNITS",
            "HEALTH",
            "PCI",
            "NUMA",
            "ISLAND",
            "RAIL",
            "FEATURES",
        ],
        "no devices: install an OpenCL driver (Debian: apt install pocl-opencl-icd) or a GPU's",
    );
    for Seen { device } in &local.devices {
        table.row([
            device.id.to_string(),
            format!("{:?}", device.kind).to_lowercase(),
            device.model.clone(),
            device.driver.clone(),
            device.memory.to_string(),
            show::bandwidth(device.memory_bandwidth),
            device.compute_units.to_string(),
            health(device),
            device.pci_address.clone().unwrap_or_default(),
            number(device.numa_node),
            number(device.island),
            number(device.rail),
            features(device),
        ]);
    }
    context.out.table(&table)?;
    Ok(0)
}

/// Health as a pool sees it: a device of a silent node cannot be used.
fn standing(view: &DeviceView) -> String {
    if view.reachable {
        health(&view.device)
    } else {
        format!("{}, node silent", health(&view.device))
    }
}

fn health(device: &Device) -> String {
    let health = match &device.health {
        Health::Healthy => "healthy".to_owned(),
        Health::Faulty(why) => format!("faulty: {why}"),
        Health::Failed(why) => format!("failed: {why}"),
    };
    if device.simulated { format!("{health}, simulated") } else { health }
}

/// A number that may be unknown.
fn number(number: Option<u32>) -> String {
    number.map_or_else(String::new, |number| number.to_string())
}

fn features(device: &Device) -> String {
    device.features.iter().cloned().collect::<Vec<_>>().join(" ")
}
