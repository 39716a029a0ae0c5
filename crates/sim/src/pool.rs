//! The nodes of a simulated pool: from a few words, a file, or a public trace's list.

use polder_model::{
    Address, Api, BitRate, Bytes, Device, DeviceId, DeviceKind, DevicesWritten, Health, Inventory,
    Mechanism, MilliCpu, NodeFacts, NodeId, NodeWords,
};
use serde::Deserialize;
use std::collections::BTreeSet;
use thiserror::Error;

/// Most nodes in one simulated pool.
pub const NODES_MAX: usize = 100_000;
/// Most devices of one node.
pub const NODE_DEVICES_MAX: u32 = 64;
/// Most devices in one simulated pool: ten times what the engine is measured with.
pub const DEVICES_MAX: u64 = 1_000_000;
/// Pools that have a name.
pub const PRESETS: &[(&str, &str)] = &[
    ("guides", "20 nodes x 8 cards of 80 GiB"),
    ("muri", "8 nodes x 8 cards of 32 GiB"),
    ("NxM", "N nodes x M cards of 80 GiB, for example 4x8"),
];

/// Why a pool is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PoolError {
    /// The words name no pool.
    #[error("{text:?} is no pool: write {}, or name a file", presets())]
    Unknown {
        /// What was given.
        text: String,
    },
    /// A file's text is not a pool.
    #[error("no list of nodes: {why}")]
    Parse {
        /// What is wrong, with its line.
        why: String,
    },
    /// A number outside its range.
    #[error("{what} is {value}: it must lie between {min} and {max}")]
    Range {
        /// Which number.
        what: &'static str,
        /// What was given.
        value: u64,
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// A name that cannot be used.
    #[error("node {name:?}: {why}")]
    Name {
        /// Which.
        name: String,
        /// What is wrong.
        why: String,
    },
}

fn presets() -> String {
    PRESETS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// The nodes of a simulated pool.
pub type Pool = Vec<(NodeId, Inventory)>;

/// A kind of node, as a file writes it: one `[[node]]` table each.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nodes {
    /// Its name; with `count` above one, a number is added to it.
    pub name: String,
    /// How many alike.
    #[serde(default = "one")]
    pub count: u32,
    /// CPUs; absent means more than anything asks for.
    #[serde(default)]
    pub cpus: Option<u32>,
    /// Memory beside the devices, `512GiB`; absent means more than anything asks for.
    #[serde(default)]
    pub memory: Option<String>,
    /// Bits a second of its network, `100Gb`; absent means unknown.
    #[serde(default)]
    pub nic: Option<String>,
    /// The partitions each belongs to.
    #[serde(default, deserialize_with = "NodeWords::read_partitions")]
    pub partitions: Vec<String>,
    /// Labels of each, `rack=a`.
    #[serde(default, deserialize_with = "NodeWords::read_labels")]
    pub labels: Vec<String>,
    /// Its cards: `[[node.device]]` tables, written as in a file of simulated devices.
    #[serde(default, rename = "device")]
    pub devices: Vec<DevicesWritten>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    node: Vec<Nodes>,
}

fn one() -> u32 {
    1
}

/// A pool from a few words: a preset's name or `NxM`.
///
/// # Errors
/// The words name no pool.
pub fn preset(text: &str) -> Result<Pool, PoolError> {
    let (nodes, cards, model, memory) = match text {
        "guides" => (20, 8, "Card 80", Bytes(80 << 30)),
        "muri" => (8, 8, "Card 32", Bytes(32 << 30)),
        _ => {
            let unknown = || PoolError::Unknown { text: text.chars().take(80).collect() };
            let (nodes, cards) = text.split_once('x').ok_or_else(unknown)?;
            let number = |text: &str| text.parse::<u32>().map_err(|_| unknown());
            (number(nodes)?, number(cards)?, "Card 80", Bytes(80 << 30))
        }
    };
    range("the number of cards of a node", cards.into(), 1, NODE_DEVICES_MAX.into())?;
    let cards = (0..cards).map(|number| device(&format!("gpu{number}"), model, memory));
    let inventory = node(MilliCpu(HOST_CPUS * 1000), HOST_MEMORY, cards.collect::<Result<_, _>>()?);
    let mut pool = PoolInWork::default();
    pool.add("n", nodes, &inventory)?;
    Ok(pool.nodes)
}

/// A pool from a TOML file's text.
///
/// # Errors
/// Names the line, or the field and what it may be.
pub fn parse(text: &str) -> Result<Pool, PoolError> {
    let parse = |error: toml::de::Error| PoolError::Parse { why: error.to_string() };
    build(&toml::from_str::<File>(text).map_err(parse)?.node)
}

fn build(kinds: &[Nodes]) -> Result<Pool, PoolError> {
    let mut pool = PoolInWork::default();
    for kind in kinds {
        pool.add(&kind.name, kind.count, &inventory(kind)?)?;
    }
    Ok(pool.nodes)
}

/// Nodes so far, and their names.
#[derive(Default)]
struct PoolInWork {
    nodes: Pool,
    names: BTreeSet<NodeId>,
    devices: u64,
}

impl PoolInWork {
    /// Adds `count` nodes alike; several are numbered.
    fn add(&mut self, name: &str, count: u32, inventory: &Inventory) -> Result<(), PoolError> {
        let (had, max) = (crate::num::len(self.nodes.len()), crate::num::len(NODES_MAX));
        range("the number of nodes", count.into(), 1, max)?;
        range("the number of nodes", had + u64::from(count), 1, max)?;
        self.devices += crate::num::len(inventory.devices.len()) * u64::from(count);
        range("the number of cards of a pool", self.devices, 0, DEVICES_MAX)?;
        for number in 0..count {
            let name = match count {
                1 => name.to_owned(),
                _ => format!("{name}{number:0width$}", width = digits(count - 1)),
            };
            let wrong = |why: String| PoolError::Name { name: name.clone(), why };
            let id: NodeId = name.parse().map_err(|error| wrong(format!("{error}")))?;
            if !self.names.insert(id.clone()) {
                return Err(wrong("there are two of this name".to_owned()));
            }
            self.nodes.push((id, inventory.clone()));
        }
        Ok(())
    }
}

fn digits(number: u32) -> usize {
    number.to_string().len()
}

fn range(what: &'static str, value: u64, min: u64, max: u64) -> Result<(), PoolError> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(PoolError::Range { what, value, min, max })
    }
}

fn size(node: &str, text: &str) -> Result<Bytes, PoolError> {
    let wrong = |why: String| PoolError::Name { name: node.to_owned(), why };
    let bytes: Bytes = text.parse().map_err(|error| wrong(format!("{error}")))?;
    range("a memory (bytes)", bytes.0, 1, 1 << 50)?;
    Ok(bytes)
}

fn inventory(kind: &Nodes) -> Result<Inventory, PoolError> {
    let wrong = |why: String| PoolError::Name { name: kind.name.clone(), why };
    let number = kind.devices.iter().map(|cards| u64::from(cards.count())).sum();
    range("the number of cards of a node", number, 0, NODE_DEVICES_MAX.into())?;
    let (mut devices, mut addresses) = (Vec::new(), BTreeSet::new());
    for cards in &kind.devices {
        if let Some(address) = cards.pci_address()
            && !addresses.insert(address)
        {
            return Err(wrong(format!("two devices have the pci_address {address}")));
        }
        let first = u32::try_from(devices.len()).unwrap_or(u32::MAX);
        devices.extend(cards.devices("gpu", first));
    }
    let cpus = kind.cpus.unwrap_or(HOST_CPUS);
    range("the number of CPUs", cpus.into(), 1, HOST_CPUS.into())?;
    let memory = kind.memory.as_deref().map_or(Ok(HOST_MEMORY), |text| size(&kind.name, text))?;
    let mut node = node(MilliCpu(cpus * 1000), memory, devices);
    let nic = kind.nic.as_deref().map(str::parse::<BitRate>).transpose();
    let nic = nic.map_err(|error| wrong(error.to_string()))?;
    if let Some(nic) = nic {
        range("a network (bits a second)", nic.0, 1, 1_000_000_000_000_000)?;
    }
    node.node.nic = nic;
    let words = NodeWords::new(&kind.partitions, &kind.labels);
    words.map_err(|error| wrong(error.to_string()))?.say(&mut node.node);
    Ok(node)
}

/// CPUs of a node of which nothing is said.
pub const HOST_CPUS: u32 = 4_000_000;
/// Memory of a node of which nothing is said.
pub const HOST_MEMORY: Bytes = Bytes(1 << 50);

/// A node with these.
#[must_use]
pub fn node(cpu: MilliCpu, memory: Bytes, devices: Vec<Device>) -> Inventory {
    let (address, agent) = ("10.0.0.1".to_owned(), "sim".to_owned());
    let facts = NodeFacts {
        address,
        cpu,
        memory,
        nic: None,
        backing: Bytes(0),
        agent,
        partitions: BTreeSet::new(),
        labels: BTreeSet::new(),
        enforcement: polder_model::Enforcement::Off,
    };
    Inventory { node: facts, devices }
}

/// A simulated card that can be shared.
///
/// # Errors
/// The id is no name.
pub fn device(id: &str, model: &str, memory: Bytes) -> Result<Device, PoolError> {
    let wrong = |error| PoolError::Name { name: id.to_owned(), why: format!("{error}") };
    let id: DeviceId = id.parse().map_err(wrong)?;
    Ok(Device {
        id,
        api: Api::Simulated,
        kind: DeviceKind::Gpu,
        vendor: "simulated".to_owned(),
        model: model.chars().take(100).collect(),
        driver: "sim".to_owned(),
        memory,
        allocation_max: None,
        granularity: Bytes(1),
        memory_bandwidth: None,
        compute_units: 100,
        features: BTreeSet::new(),
        health: Health::Healthy,
        pci_address: None,
        numa_node: None,
        island: None,
        rail: None,
        address: Address::Simulated,
        mechanisms: vec![Mechanism::Whole, Mechanism::TimeSlice],
        simulated: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn presets_and_files_make_pools() {
        let pool = preset("guides").unwrap();
        assert_eq!((pool.len(), pool[0].1.devices.len()), (20, 8));
        assert_eq!((pool[0].0.as_str(), pool[19].0.as_str()), ("n00", "n19"));
        let text = r#"
            [[node]]
            name = "big"
            count = 2
            cpus = 96
            memory = "512GiB"
            [[node.device]]
            model = "A"
            memory = "80GiB"
            count = 4
        "#;
        let pool = parse(text).unwrap();
        assert_eq!(pool[1].0.as_str(), "big1");
        assert_eq!(pool[1].1.devices[3].id.as_str(), "gpu3");
    }

    #[test]
    fn a_file_says_of_a_node_all_that_placement_asks_for() {
        let text = r#"
            [[node]]
            name = "big"
            count = 2
            nic = "200Gb"
            partitions = ["train"]
            labels = ["rack=a"]
            [[node.device]]
            model = "NVIDIA A100-SXM4-80GB"
            memory = "80GiB"
            memory_bandwidth = "2039GB"
            mechanisms = ["mig", "whole"]
            features = ["fp64"]
            count = 4
            island = 0
            island_size = 2
            numa_node = 1
            rail = 0
            [[node.device]]
            model = "Tesla T4"
            memory = "15GiB"
        "#;
        let pool = parse(text).unwrap();
        assert_eq!(pool[0].1, pool[1].1);
        let Inventory { node, devices } = &pool[1].1;
        assert_eq!(node.partitions, BTreeSet::from(["train".to_owned()]));
        assert_eq!(node.labels, BTreeSet::from(["rack=a".to_owned()]));
        assert_eq!(node.nic, Some(BitRate(200_000_000_000)));
        let lies: Vec<_> = devices.iter().map(|d| (d.island, d.rail, d.numa_node)).collect();
        let on = |island, rail| (Some(island), Some(rail), Some(1));
        assert_eq!(lies, [on(0, 0), on(0, 1), on(1, 2), on(1, 3), (None, None, None)]);
        assert_eq!(devices[0].mechanisms, [Mechanism::Mig, Mechanism::Whole]);
        assert_eq!(devices[0].memory_bandwidth, Some(Bytes(2_039_000_000_000)));
        assert_eq!((devices[4].id.as_str(), devices[4].model.as_str()), ("gpu4", "Tesla T4"));
    }

    #[test]
    fn nonsense_is_named() {
        let check = |result: Result<Pool, PoolError>, expect: &str| {
            let error = result.unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check(preset("lots"), "write guides, muri, NxM");
        check(preset("0x8"), "the number of nodes is 0");
        check(preset("4x65"), "the number of cards of a node is 65");
        check(preset("20000x64"), "the number of cards of a pool is 1280000");
        check(parse("[[node]]\nname = 'a'\ncards = 1"), "unknown field `cards`");
        check(parse("[[node]]\nname = 'a'\n[[node]]\nname = 'a'"), "two of this name");
        check(parse("[[node]]\nname = 'a/b'"), "node \"a/b\"");
        let card = |keys: &str| {
            let card = "[[node.device]]\nmodel = 'A'\nmemory = '80GiB'";
            parse(&format!("[[node]]\nname = 'a'\n{card}\n{keys}"))
        };
        check(card("count = 65"), "the number of cards of a node is 65");
        check(card("count = 0"), "count is 0: write 1 to 1024");
        check(card("island_size = 2"), "island_size says nothing without island");
        check(card("colour = 'red'"), "unknown field `colour`");
        check(card("memory_bandwidth = 'fast'"), "line 6");
        check(parse("[[node]]\nname = 'a'\nlabels = ['rack']"), "\"rack\" is no label");
        check(parse("[[node]]\nname = 'a'\npartitions = ['x', 'x']"), "both given");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = parse(&text);
            let _ = preset(&text);
        }
    }
}
