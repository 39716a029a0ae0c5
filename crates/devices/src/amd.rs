//! What the kernel's compute driver of AMD (KFD) says of a card's compute units: how many there are, which
//! go together, and what the vendor's runtimes call the card.
//!
//! **What a mask may name.** The vendor's runtimes take a mask of compute units from the environment, and
//! fail *open*: a mask that the hardware cannot have leaves a program on the whole card, without a word.
//! So units are handed out in atoms alone. They are counted round-robin over the shader engines or, on a
//! card of several dies (XCC), over the dies; from gfx10 on two neighbours make one workgroup processor
//! and are never parted. An atom is one unit, or such a pair, in each engine or on each die: so every die
//! is told its units, and every engine gives as many as the others. What is left beyond the last whole
//! atom is nobody's part.
//!
//! It reads the kernel's files and asks no driver. A card that the kernel shows in several parts under one
//! address (compute partitions) is left out: the parts are cards of their own to the runtimes.

use crate::sysfs::Sysfs;
use std::collections::BTreeMap;
use std::path::Path;

/// Where the kernel lists what can compute.
const NODES: &str = "sys/class/kfd/kfd/topology/nodes";
/// Most of them that are read.
const NODES_MAX: usize = 512;
/// The first version of the instruction set (gfx10) whose compute units go in pairs, as the kernel
/// spells it.
const PAIRS_FROM: u64 = 100_000;
/// More compute units than any card has.
const UNITS_MAX: u64 = 4096;

/// The compute units of a card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComputeUnits {
    /// How many.
    pub count: u32,
    /// How many go together.
    pub atom: u32,
    /// What the vendor's runtimes call the card: `GPU-` and its number, or its place among cards.
    pub name: String,
}

/// The compute units of AMD's cards, by PCI address, on the machine whose files lie below `root`.
#[must_use]
pub fn amd_compute_units(root: &Path) -> BTreeMap<String, ComputeUnits> {
    let sysfs = Sysfs::at(root);
    let mut nodes: Vec<u32> =
        sysfs.names(NODES, NODES_MAX).iter().filter_map(|name| name.parse().ok()).collect();
    nodes.sort_unstable();
    let texts =
        nodes.into_iter().filter_map(|node| sysfs.text(format!("{NODES}/{node}/properties")));
    // Processors are listed among them.
    let cards = texts.map(|text| Properties::read(&text)).filter(|card| card.get("simd_count") > 0);
    let mut all = BTreeMap::new();
    for (place, card) in cards.enumerate() {
        let Some(address) = card.address() else { continue };
        // Of one that is shown in parts nothing is known.
        all.entry(address).and_modify(|units| *units = None).or_insert_with(|| card.units(place));
    }
    all.into_iter().filter_map(|(address, units)| Some((address, units?))).collect()
}

/// What the kernel says of one: names and numbers.
struct Properties(BTreeMap<String, u64>);

impl Properties {
    fn read(text: &str) -> Self {
        let pair = |line: &str| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        };
        Self(text.lines().filter_map(pair).collect())
    }

    fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// `0000:03:00.0`.
    fn address(&self) -> Option<String> {
        let location = u32::from(u16::try_from(*self.0.get("location_id")?).ok()?);
        let domain = u32::try_from(self.get("domain")).ok()?;
        Some(polder_model::pci_address(domain, location >> 8, location >> 3 & 0x1f, location & 7))
    }

    /// None where the numbers make no card.
    fn units(&self, place: usize) -> Option<ComputeUnits> {
        let count = self.get("simd_count").checked_div(self.get("simd_per_cu"))?;
        let engines = self.get("array_count").checked_div(self.get("simd_arrays_per_engine"))?;
        let dies = self.get("num_xcc").max(1);
        let pair = if self.get("gfx_target_version") < PAIRS_FROM { 1 } else { 2 };
        if [count, engines, dies].iter().any(|number| !(1..=UNITS_MAX).contains(number)) {
            return None;
        }
        let atom = pair * if dies > 1 { dies } else { engines };
        if atom > count || count % (dies * pair) != 0 {
            return None;
        }
        let name = match self.get("unique_id") {
            0 => place.to_string(),
            number => format!("GPU-{number:016x}"),
        };
        Some(ComputeUnits {
            count: u32::try_from(count).ok()?,
            atom: u32::try_from(atom).ok()?,
            name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine of which the kernel says this, node by node.
    fn machine(nodes: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (number, text) in nodes.iter().enumerate() {
            let folder = root.path().join(NODES).join(number.to_string());
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("properties"), text).unwrap();
        }
        root
    }

    const PROCESSOR: &str = "cpu_cores_count 64\nsimd_count 0\nlocation_id 0\n";
    /// gfx1101: 60 units in 3 engines.
    const RDNA: &str = "simd_count 120\nsimd_per_cu 2\narray_count 6\nsimd_arrays_per_engine 2\n\
        gfx_target_version 110001\nlocation_id 768\ndomain 0\nunique_id 0\nnum_xcc 1\n";
    /// gfx942: 304 units on 8 dies.
    const CDNA: &str = "simd_count 1216\nsimd_per_cu 4\narray_count 32\nsimd_arrays_per_engine 1\n\
        gfx_target_version 90402\nlocation_id 5888\ndomain 1\nunique_id 81985529216486895\nnum_xcc 8\n";
    /// gfx90a, by a kernel that does not tell of dies: 104 units in 8 engines.
    const OLDER: &str = "simd_count 416\nsimd_per_cu 4\narray_count 8\nsimd_arrays_per_engine 1\n\
        gfx_target_version 90010\nlocation_id 49408\ndomain 0\n";

    #[test]
    fn units_go_together_as_each_generation_has_them() {
        let root = machine(&[PROCESSOR, RDNA, CDNA, OLDER]);
        let units = |count, atom, name: &str| ComputeUnits { count, atom, name: name.to_owned() };
        let expect = [
            ("0000:03:00.0", units(60, 6, "0")),
            ("0000:c1:00.0", units(104, 8, "2")),
            ("0001:17:00.0", units(304, 8, "GPU-0123456789abcdef")),
        ];
        let expect = expect.map(|(address, units)| (address.to_owned(), units));
        assert_eq!(amd_compute_units(root.path()), expect.into());
    }

    #[test]
    fn what_makes_no_card_is_left_out() {
        let root = machine(&[CDNA, CDNA]);
        assert_eq!(amd_compute_units(root.path()), BTreeMap::new(), "one card in two parts");
        for (from, to) in [
            ("simd_per_cu 2", "simd_per_cu 0"),
            ("simd_count 120", "simd_count 18446744073709551615"),
            ("simd_count 120", "simd_count -1"),
            ("simd_count 120", "simd_count 118"),
            ("simd_arrays_per_engine 2", "simd_arrays_per_engine 0"),
            ("array_count 6", "array_count 0"),
            ("array_count 6", "array_count 600"),
            ("array_count 6", "array_count 18446744073709551615"),
            ("num_xcc 1", "num_xcc 7"),
            ("num_xcc 1", "num_xcc 18446744073709551615"),
            ("location_id 768", "location_id 65536"),
            ("location_id 768\n", ""),
            ("domain 0", "domain 99999999999"),
        ] {
            let text = RDNA.replace(from, to);
            assert_ne!(text, RDNA);
            let root = machine(&[&text]);
            assert_eq!(amd_compute_units(root.path()), BTreeMap::new(), "{to:?}");
        }
        assert_eq!(amd_compute_units(Path::new("/nonexistent")), BTreeMap::new());
    }
}
