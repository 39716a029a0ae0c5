//! What of the machine is handed into a lease's container: files, folders and device nodes.
//!
//! A card of NVIDIA's takes the vendor's libraries of this very machine, which no image can bring: they
//! are shown where every loader of an image looks without being told. Where the lease shares the card
//! ours are shown there under the vendor's names, over whatever the image has of that name.

use crate::runner::cuda::{intercepts_cuda, stand_ins, uuid};
use crate::runner::environment::{has_no_device, intercepts_opencl, shares};
use crate::shim::{DRIVER_SOCKET, ICD_FOLDER, Plan};
use polder_model::{Address, Device, DeviceKind, Mechanism, Slice};
use std::path::{Path, PathBuf};

/// Where every loader of OpenCL looks inside the image.
pub(super) const VENDORS: &str = "/etc/OpenCL/vendors";
/// Where the loader of programs looks in an image, without cache or variable: Debian's way and Red
/// Hat's.
#[cfg(target_arch = "aarch64")]
const LIBRARIES: [&str; 2] = ["/usr/lib/aarch64-linux-gnu", "/usr/lib64"];
#[cfg(not(target_arch = "aarch64"))]
const LIBRARIES: [&str; 2] = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64"];
/// What the vendor's `libcuda.so.1` and `libnvidia-opencl.so.1` load besides.
const COMPANIONS: [&str; 10] = [
    "libcudadebugger.so.",
    "libnvidia-opencl.so.",
    "libnvidia-gpucomp.so.",
    "libnvidia-ptxjitcompiler.so.",
    "libnvidia-nvvm.so.",
    "libnvidia-nvvm70.so.",
    "libnvidia-allocator.so.",
    "libnvidia-compiler.so.",
    "libnvidia-pkcs11.so.",
    "libnvidia-pkcs11-openssl3.so.",
];
/// Most such files, links counted: two or three for each.
const COMPANIONS_MAX: usize = 64;
/// Most files of a driver's folder that are looked at.
const FILES_MAX: usize = 65_536;
/// Where NVIDIA's kernel driver tells of its cards.
const CARDS: &str = "proc/driver/nvidia/gpus";
/// Most cards that are asked.
const CARDS_MAX: usize = 256;
/// Nodes that go with every card, where they are there.
const COMMON_NODES: [&str; 3] = ["dev/nvidiactl", "dev/nvidia-uvm", "dev/nvidia-uvm-tools"];

/// A file or folder of the machine, and where the container has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) read_only: bool,
}

impl Mount {
    fn new(from: &Path, to: &Path, read_only: bool) -> Self {
        let shown = |path: &Path| path.display().to_string();
        Self { from: shown(from), to: shown(to), read_only }
    }

    fn same(path: &Path, read_only: bool) -> Self {
        Self::new(path, path, read_only)
    }
}

/// What of the machine is in the container of the lease in `dir`.
pub(super) fn mounts(plan: &Plan, dir: &Path) -> Vec<Mount> {
    let mut mounts = Vec::new();
    let directory = Path::new(&plan.order.work.directory);
    if directory != Path::new("/") {
        mounts.push(Mount::same(directory, false));
    }
    if shares(plan) {
        mounts.push(Mount::same(&dir.join(DRIVER_SOCKET), false));
    }
    if shares(plan) || has_no_device(plan) {
        mounts.push(Mount::new(&dir.join(ICD_FOLDER), Path::new(VENDORS), true));
    }
    if let Some(driver) = plan.driver.as_deref().filter(|_| intercepts_opencl(plan)) {
        mounts.push(Mount::same(driver, true));
    }
    if let Some(place) = &plan.mps {
        mounts.push(Mount::same(&place.pipe, false));
    }
    mounts.extend(libraries(plan, dir));
    mounts
}

/// NVIDIA's libraries, or ours in their place.
fn libraries(plan: &Plan, dir: &Path) -> Vec<Mount> {
    let Some(libraries) = plan.cuda.as_ref().filter(|_| has_card(plan)) else { return Vec::new() };
    let ours = intercepts_cuda(plan).is_some();
    let mut mounts = Vec::new();
    let mut show = |from: &Path, name: &str| {
        mounts
            .extend(LIBRARIES.map(|folder| Mount::new(from, &Path::new(folder).join(name), true)));
    };
    for library in stand_ins(libraries, dir) {
        for name in library.names {
            show(if ours { &library.ours } else { &library.vendor }, name);
        }
    }
    let folder = libraries.vendor.parent().unwrap_or(Path::new("/"));
    for file in companions(folder) {
        if let Some(name) = file.file_name().and_then(|name| name.to_str()) {
            // What a link leads to: the link itself would lead nowhere in the image.
            show(&file.canonicalize().unwrap_or_else(|_| file.clone()), name);
        }
    }
    if ours {
        let kept = |library: crate::runner::cuda::StandIn| {
            Mount::new(&library.vendor, &library.kept, true)
        };
        mounts.extend(stand_ins(libraries, dir).into_iter().map(kept));
    }
    mounts
}

/// Files in the folder of the vendor's driver that it loads besides.
fn companions(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().take(FILES_MAX);
    let wanted = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        COMPANIONS.iter().any(|begin| name.starts_with(begin))
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(wanted).collect();
    files.sort();
    files.truncate(COMPANIONS_MAX);
    files
}

/// The lease's slices, and how their devices are reached.
fn slices(plan: &Plan) -> impl Iterator<Item = (&Slice, &Address)> {
    plan.order.lease.slices.iter().zip(&plan.addresses)
}

/// Whether the lease has a card of NVIDIA's, or a part of one.
fn has_card(plan: &Plan) -> bool {
    slices(plan).any(|(slice, address)| uuid(slice, address).is_some())
}

/// Whether programs in the container share memory with some outside: MPS's server is one.
pub(super) fn shares_memory(plan: &Plan) -> bool {
    plan.mps.is_some()
}

/// The nodes of devices on the machine whose files lie below `root`; none where those of one are not
/// known. Cards are told apart: a container gets its own card's node and no other's.
pub(crate) fn nodes<'a>(
    devices: impl IntoIterator<Item = &'a Device>,
    root: &Path,
) -> Option<Vec<PathBuf>> {
    let mut all = Vec::new();
    for device in devices {
        let name = device.id.as_str();
        if device.simulated || device.kind == DeviceKind::Cpu {
            continue;
        } else if !name.starts_with("GPU-") {
            return None;
        } else if root.join(CARDS).exists() {
            all.extend(
                COMMON_NODES.map(|node| root.join(node)).into_iter().filter(|it| it.exists()),
            );
            all.push(card_node(name, device.pci_address.as_deref(), root)?);
        } else {
            // No kernel driver of the vendor's here: Windows has it, or a stand-in.
            all.extend(Some(root.join("dev/dxg")).filter(|node| node.exists()));
        }
    }
    all.sort();
    all.dedup();
    Some(all)
}

/// The node of one card, as the kernel driver numbers it.
fn card_node(uuid: &str, bus: Option<&str>, root: &Path) -> Option<PathBuf> {
    let cards = std::fs::read_dir(root.join(CARDS)).ok()?.flatten().take(CARDS_MAX);
    let minor = cards.into_iter().find_map(|card| {
        let text = std::fs::read_to_string(card.path().join("information")).ok()?;
        let field = |name: &str| {
            let lines = text.lines().filter_map(|line| line.split_once(':'));
            let mut values = lines.filter(|(of, _)| of.trim() == name).map(|(_, it)| it.trim());
            values.next()
        };
        // Before its first use a card's UUID is not known there, and its place on the bus is.
        let same_place = || match (bus.and_then(place), field("Bus Location").and_then(place)) {
            (Some(one), Some(other)) => one == other,
            _ => false,
        };
        let same = field("GPU UUID").is_some_and(|it| it == uuid) || same_place();
        same.then(|| field("Device Minor")?.parse::<u32>().ok()).flatten()
    })?;
    let node = root.join(format!("dev/nvidia{minor}"));
    node.exists().then_some(node)
}

/// A place on the PCI bus, however many digits its domain is written with.
fn place(text: &str) -> Option<(u32, String)> {
    let (domain, rest) = text.split_once(':')?;
    Some((u32::from_str_radix(domain, 16).ok()?, rest.to_ascii_lowercase()))
}

/// Why an image cannot be run on this lease, if it cannot.
pub(crate) fn barred(plan: &Plan) -> Option<String> {
    // Both runtimes read a mount as a line of comma-separated values.
    let odd = |path: &String| path.contains([',', '"']) || path.contains(char::is_control);
    let mut paths = mounts(plan, Path::new("/")).into_iter().flat_map(|it| [it.from, it.to]);
    if let Some(path) = paths.find(odd) {
        return Some(format!(
            "{path:?} cannot be shown to a container: leave out , and \" and control characters"
        ));
    }
    let served = [Mechanism::TimeSlice, Mechanism::Whole, Mechanism::Spatial];
    if let Some((slice, _)) = slices(plan).find(|(slice, _)| !served.contains(&slice.mechanism)) {
        return Some(format!(
            "no slice by {} is handed into containers yet: ask for a share or a whole device, or \
             leave --image out",
            slice.mechanism
        ));
    }
    if !has_no_device(plan) && plan.nodes.is_none() {
        return Some(
            "which device nodes belong to its devices is not known on this node, so a container \
             would not reach them: ask for another device, or leave --image out"
                .to_owned(),
        );
    }
    (has_card(plan) && plan.cuda.is_none()).then(|| {
        "NVIDIA's libcuda.so.1 or Polder's libpolder_cuda.so was not found on this node, and no \
         image can bring the former: see polder up --driver-folder, or leave --image out"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "GPU-6f0c8a4e-1111-2222-3333-444455556666";
    const OTHER: &str = "GPU-57a4d141-0000-4000-8000-000000000000";

    /// A machine with two cards, of which the second has not been used.
    fn machine() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let card = |place: &str, uuid: &str, minor: u32| {
            let folder = root.path().join(CARDS).join(place);
            std::fs::create_dir_all(&folder).unwrap();
            let text = format!(
                "Model: \t\t Stand-in\nGPU UUID: \t {uuid}\nBus Location: \t {place}\n\
                 Device Minor: \t {minor}\n"
            );
            std::fs::write(folder.join("information"), text).unwrap();
        };
        card("0000:17:00.0", UUID, 1);
        card("0001:b3:00.0", "GPU-????????-????-????-????-????????????", 0);
        std::fs::create_dir(root.path().join("dev")).unwrap();
        for node in ["nvidiactl", "nvidia-uvm", "nvidia0", "nvidia1", "nvidia2"] {
            std::fs::write(root.path().join("dev").join(node), "").unwrap();
        }
        root
    }

    fn device(id: &str, kind: DeviceKind, bus: Option<&str>) -> Device {
        Device {
            id: id.parse().unwrap(),
            api: polder_model::Api::Nvml,
            kind,
            vendor: "NVIDIA".into(),
            model: "Stand-in".into(),
            driver: String::new(),
            memory: polder_model::Bytes(1 << 30),
            allocation_max: None,
            granularity: polder_model::Bytes(1 << 16),
            memory_bandwidth: None,
            compute_units: 132,
            features: std::collections::BTreeSet::new(),
            health: polder_model::Health::Healthy,
            pci_address: bus.map(str::to_owned),
            numa_node: None,
            island: None,
            rail: None,
            address: Address::Nvml { index: 0, uuid: id.into() },
            mechanisms: Vec::new(),
            simulated: false,
        }
    }

    fn check(devices: &[Device], root: &Path, expect: Option<&[&str]>) {
        let expect = expect.map(|all| all.iter().map(|it| root.join("dev").join(it)).collect());
        assert_eq!(nodes(devices, root), expect);
    }

    #[test]
    fn a_card_comes_with_its_own_node_and_no_other_cards() {
        let root = machine();
        let first = device(UUID, DeviceKind::Gpu, None);
        check(
            std::slice::from_ref(&first),
            root.path(),
            Some(&["nvidia-uvm", "nvidia1", "nvidiactl"]),
        );
        let second = device(OTHER, DeviceKind::Gpu, Some("00000001:B3:00.0"));
        check(
            std::slice::from_ref(&second),
            root.path(),
            Some(&["nvidia-uvm", "nvidia0", "nvidiactl"]),
        );
        let both: &[&str] = &["nvidia-uvm", "nvidia0", "nvidia1", "nvidiactl"];
        check(&[first, second], root.path(), Some(both));
    }

    #[test]
    fn a_card_that_the_kernel_does_not_tell_of_has_no_known_node() {
        let root = machine();
        check(&[device(OTHER, DeviceKind::Gpu, None)], root.path(), None);
        check(&[device(OTHER, DeviceKind::Gpu, Some("0000:99:00.0"))], root.path(), None);
        check(&[device("opencl-0-0", DeviceKind::Gpu, None)], root.path(), None);
        check(&[device("opencl-0-0", DeviceKind::Cpu, None)], root.path(), Some(&[]));
        let bare = tempfile::tempdir().unwrap();
        check(&[device(UUID, DeviceKind::Gpu, None)], bare.path(), Some(&[]));
    }
}
