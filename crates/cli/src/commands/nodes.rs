//! `polder nodes`: the machines of the pool.

use super::{Context, Done};
use crate::output::Table;
use crate::show;
use clap::Args;
use polder_server::api::NodeList;
use std::collections::BTreeSet;

/// Flags of `polder nodes`.
#[derive(Debug, Args)]
pub(crate) struct Nodes {}

impl Nodes {
    pub(super) async fn execute(self, context: &Context) -> Done {
        let list: NodeList = context.client()?.get("nodes").await?;
        if context.out.json_wanted() {
            context.out.json(&list)?;
            return Ok(0);
        }
        let mut table = Table::new(
            &[
                "NODE",
                "STATE",
                ">DEVICES",
                ">LEASES",
                ">CPUS",
                ">MEMORY",
                ">NETWORK",
                ">BACKING",
                "PARTITIONS",
                "LABELS",
                "ENFORCEMENT",
                "ADDRESS",
                "AGENT",
                ">LAST-CALL",
                "ORPHANS",
            ],
            "no node has joined yet",
        );
        for node in &list.nodes {
            let orphans: Vec<String> = node.orphans.iter().map(ToString::to_string).collect();
            table.row([
                node.id.to_string(),
                if node.reachable { "reachable" } else { "silent" }.to_owned(),
                show::devices_of(node.devices, node.devices_simulated),
                node.leases.to_string(),
                node.facts.cpu.to_string(),
                node.facts.memory.to_string(),
                node.facts.nic.map_or_else(String::new, |nic| nic.to_string()),
                backing(node.facts.backing),
                words(&node.facts.partitions),
                words(&node.facts.labels),
                node.facts.enforcement.to_string(),
                node.facts.address.clone(),
                node.facts.agent.clone(),
                node.last_contact.map_or_else(String::new, |ago| format!("{ago} ago")),
                orphans.join(" "),
            ]);
        }
        context.out.table(&table)?;
        Ok(0)
    }
}

/// Host memory kept behind devices, where there is any.
fn backing(size: polder_model::Bytes) -> String {
    if size.is_zero() { String::new() } else { size.to_string() }
}

fn words(words: &BTreeSet<String>) -> String {
    words.iter().map(String::as_str).collect::<Vec<_>>().join(",")
}
