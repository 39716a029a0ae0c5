//! What the kernel's files say about the machine, below a root that tests can replace.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

/// Longest kernel file read; these are a few lines each.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// `/sys` and `/proc` below a root.
#[derive(Debug, Clone)]
pub struct Sysfs {
    root: PathBuf,
}

impl Sysfs {
    /// The running machine's.
    #[must_use]
    pub fn system() -> Self {
        Self::at("/")
    }

    /// A copy below `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The trimmed text of the file at `path` (from the root, without a leading slash).
    pub(crate) fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        let file = File::open(self.root.join(path)).ok()?;
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
        Some(text.trim().to_owned())
    }

    /// Whether there is anything at `path`.
    pub(crate) fn is_there(&self, path: impl AsRef<Path>) -> bool {
        self.root.join(path).exists()
    }

    /// The names in the folder at `path`, sorted, at most `most` of them.
    pub(crate) fn names(&self, path: impl AsRef<Path>, most: usize) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.join(path)).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.take(most).collect();
        names.sort_unstable();
        names
    }

    /// Node 0 when the machine has no other, so that everything is near it.
    pub(crate) fn only_numa_node(&self) -> Option<u32> {
        (self.text("sys/devices/system/node/online")? == "0").then_some(0)
    }

    /// The NUMA node nearest to the PCI device at `address`.
    pub(crate) fn numa_node(&self, address: &str) -> Option<u32> {
        let text = self.text(format!("sys/bus/pci/devices/{address}/numa_node"));
        // The kernel writes -1 where the firmware does not tell.
        text.and_then(|text| text.parse().ok()).or_else(|| self.only_numa_node())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn check(online: &str, card: &str, expect: Option<u32>) {
        let root = tempfile::tempdir().unwrap();
        let node = root.path().join("sys/devices/system/node");
        let device = root.path().join("sys/bus/pci/devices/0000:3b:00.0");
        fs::create_dir_all(&node).unwrap();
        fs::create_dir_all(&device).unwrap();
        fs::write(node.join("online"), online).unwrap();
        fs::write(device.join("numa_node"), card).unwrap();
        assert_eq!(Sysfs::at(root.path()).numa_node("0000:3b:00.0"), expect);
    }

    #[test]
    fn the_card_tells_its_node() {
        check("0-1\n", "1\n", Some(1));
    }

    #[test]
    fn an_unknown_node_is_node_0_only_where_there_is_no_other() {
        check("0\n", "-1\n", Some(0));
        check("0-1\n", "-1\n", None);
    }
}
