//! What a device's answers mean. Pure: the answers come through [`Info`].

use crate::{Found, identity::uuid, sysfs::Sysfs};
use polder_model::{
    Address, Api, Bytes, Device, DeviceId, DeviceKind, Health, Mechanism, pci_address,
};
use std::collections::BTreeSet;

/// Longest name kept; drivers write a line.
const TEXT_CHARS_MAX: usize = 200;

const CL_DEVICE_TYPE: u32 = 0x1000;
const CL_DEVICE_MAX_COMPUTE_UNITS: u32 = 0x1002;
const CL_DEVICE_MAX_MEM_ALLOC_SIZE: u32 = 0x1010;
const CL_DEVICE_IMAGE_SUPPORT: u32 = 0x1016;
const CL_DEVICE_GLOBAL_MEM_SIZE: u32 = 0x101F;
const CL_DEVICE_ERROR_CORRECTION_SUPPORT: u32 = 0x1024;
const CL_DEVICE_AVAILABLE: u32 = 0x1027;
const CL_DEVICE_COMPILER_AVAILABLE: u32 = 0x1028;
const CL_DEVICE_QUEUE_PROPERTIES: u32 = 0x102A;
const CL_DEVICE_NAME: u32 = 0x102B;
const CL_DEVICE_VENDOR: u32 = 0x102C;
const CL_DRIVER_VERSION: u32 = 0x102D;
const CL_DEVICE_VERSION: u32 = 0x102F;
const CL_DEVICE_EXTENSIONS: u32 = 0x1030;
const CL_DEVICE_DOUBLE_FP_CONFIG: u32 = 0x1032;
const CL_DEVICE_HOST_UNIFIED_MEMORY: u32 = 0x1035;
const CL_DEVICE_SVM_CAPABILITIES: u32 = 0x1053;
const CL_DEVICE_IL_VERSION: u32 = 0x105B;
const CL_DEVICE_MAX_NUM_SUB_GROUPS: u32 = 0x105C;
const CL_DEVICE_UUID_KHR: u32 = 0x106A;
const CL_DEVICE_PCI_BUS_INFO_KHR: u32 = 0x410F;
const CL_DEVICE_PCI_BUS_ID_NV: u32 = 0x4008;
const CL_DEVICE_PCI_SLOT_ID_NV: u32 = 0x4009;
const CL_DEVICE_PCI_DOMAIN_ID_NV: u32 = 0x400A;
const CL_DEVICE_TOPOLOGY_AMD: u32 = 0x4037;
const CL_DEVICE_BOARD_NAME_AMD: u32 = 0x4038;
/// The kind of a place on PCI Express in AMD's answer, and where bus, device and function stand there.
const TOPOLOGY_PCIE: [u8; 4] = 1_u32.to_ne_bytes();
const TOPOLOGY_PLACE: std::ops::Range<usize> = 21..24;

const TYPE_CPU: u64 = 1 << 1;
const TYPE_GPU: u64 = 1 << 2;
const QUEUE_OUT_OF_ORDER: u64 = 1;

/// A device that answers `clGetDeviceInfo`.
pub(crate) trait Info {
    /// The answer, or `None` where the driver knows no such fact.
    fn bytes(&self, parameter: u32) -> Option<Vec<u8>>;

    /// A text, without its end mark and outer spaces; `None` when empty.
    fn text(&self, parameter: u32) -> Option<String> {
        let bytes = self.bytes(parameter)?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        let text = String::from_utf8_lossy(&bytes[..end]).trim().to_owned();
        (!text.is_empty()).then_some(text)
    }

    /// A number of 4 or 8 bytes.
    fn number(&self, parameter: u32) -> Option<u64> {
        let bytes = self.bytes(parameter)?;
        if let Ok(four) = bytes.as_slice().try_into() {
            return Some(u64::from(u32::from_ne_bytes(four)));
        }
        bytes.as_slice().try_into().ok().map(u64::from_ne_bytes)
    }

    /// Whether the fact is there and not zero.
    fn holds(&self, parameter: u32) -> bool {
        self.number(parameter).is_some_and(|number| number != 0)
    }
}

/// Where a device stands.
pub(crate) struct Place<'a> {
    pub(crate) library: &'a str,
    pub(crate) platform: &'a str,
    pub(crate) index: u32,
}

/// The device as the catalogue lists it.
pub(crate) fn found(info: &impl Info, place: &Place<'_>, sysfs: &Sysfs) -> Found {
    let extensions = info.text(CL_DEVICE_EXTENSIONS).unwrap_or_default();
    let extensions: BTreeSet<&str> = extensions.split_whitespace().collect();
    let kind = match info.number(CL_DEVICE_TYPE).unwrap_or_default() {
        bits if bits & TYPE_GPU != 0 => DeviceKind::Gpu,
        bits if bits & TYPE_CPU != 0 => DeviceKind::Cpu,
        _ => DeviceKind::Accelerator,
    };
    let pci_address = pci(info, &extensions);
    let numa_node = match &pci_address {
        Some(address) => sysfs.numa_node(address),
        None => sysfs.only_numa_node(),
    };
    let memory = Bytes(info.number(CL_DEVICE_GLOBAL_MEM_SIZE).unwrap_or_default());
    let text = |parameter| bounded(&info.text(parameter).unwrap_or_default());
    let board = extensions.contains("cl_amd_device_attribute_query");
    let board = board.then(|| info.text(CL_DEVICE_BOARD_NAME_AMD)).flatten();
    let device = Device {
        id: provisional_id(place.index),
        api: Api::Opencl,
        kind,
        vendor: text(CL_DEVICE_VENDOR),
        model: board.map_or_else(|| text(CL_DEVICE_NAME), |board| bounded(&board)),
        driver: bounded(&format!("{} ({})", text(CL_DRIVER_VERSION), text(CL_DEVICE_VERSION))),
        memory,
        allocation_max: info.number(CL_DEVICE_MAX_MEM_ALLOC_SIZE).map(Bytes),
        granularity: kind.granularity(),
        memory_bandwidth: None,
        compute_units: number32(info, CL_DEVICE_MAX_COMPUTE_UNITS).unwrap_or_default(),
        features: features(info, &extensions),
        health: health(info, memory),
        pci_address,
        numa_node,
        island: None,
        rail: None,
        address: Address::Opencl {
            library: place.library.to_owned(),
            platform: place.platform.to_owned(),
            index: place.index,
        },
        mechanisms: vec![Mechanism::TimeSlice, Mechanism::Whole],
        simulated: false,
    };
    let has_uuid = extensions.contains("cl_khr_device_uuid");
    let bytes = has_uuid.then(|| info.bytes(CL_DEVICE_UUID_KHR)).flatten();
    Found { device, uuid: bytes.and_then(|bytes| bytes.try_into().ok()).and_then(uuid) }
}

fn provisional_id(index: u32) -> DeviceId {
    format!("opencl-0-{index}").parse().expect("digits and dashes are a name")
}

fn bounded(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect()
}

fn number32(info: &impl Info, parameter: u32) -> Option<u32> {
    info.number(parameter).and_then(|number| u32::try_from(number).ok())
}

fn health(info: &impl Info, memory: Bytes) -> Health {
    if !info.holds(CL_DEVICE_AVAILABLE) {
        Health::Faulty("its driver says that it is not available".to_owned())
    } else if memory == Bytes(0) {
        Health::Faulty("its driver reports no memory".to_owned())
    } else {
        Health::Healthy
    }
}

/// The words an ask may require, from what the driver says the device can do.
fn features(info: &impl Info, extensions: &BTreeSet<&str>) -> BTreeSet<String> {
    let extension = |name: &str| extensions.contains(name);
    let svm = info.number(CL_DEVICE_SVM_CAPABILITIES).unwrap_or_default();
    let queue = info.number(CL_DEVICE_QUEUE_PROPERTIES).unwrap_or_default();
    let il = info.text(CL_DEVICE_IL_VERSION).is_some_and(|il| il.contains("SPIR-V"));
    let subgroups = extension("cl_khr_subgroups") || info.holds(CL_DEVICE_MAX_NUM_SUB_GROUPS);
    let words = [
        ("opencl", true),
        ("fp64", extension("cl_khr_fp64") || info.holds(CL_DEVICE_DOUBLE_FP_CONFIG)),
        ("fp16", extension("cl_khr_fp16")),
        ("images", info.holds(CL_DEVICE_IMAGE_SUPPORT)),
        ("compiler", info.holds(CL_DEVICE_COMPILER_AVAILABLE)),
        ("out_of_order", queue & QUEUE_OUT_OF_ORDER != 0),
        ("svm", svm & 0b0001 != 0),
        ("svm_fine", svm & 0b0010 != 0),
        ("svm_system", svm & 0b0100 != 0),
        ("svm_atomics", svm & 0b1000 != 0),
        ("subgroups", subgroups),
        ("int64_atomics", extension("cl_khr_int64_base_atomics")),
        ("int8_dot", extension("cl_khr_integer_dot_product")),
        ("spirv", il || extension("cl_khr_il_program")),
        ("ecc", info.holds(CL_DEVICE_ERROR_CORRECTION_SUPPORT)),
        ("unified_memory", info.holds(CL_DEVICE_HOST_UNIFIED_MEMORY)),
    ];
    words.into_iter().filter(|(_, holds)| *holds).map(|(word, _)| word.to_owned()).collect()
}

/// The bus address, by the common extension or the vendor's older one.
fn pci(info: &impl Info, extensions: &BTreeSet<&str>) -> Option<String> {
    if extensions.contains("cl_khr_pci_bus_info") {
        let bytes = info.bytes(CL_DEVICE_PCI_BUS_INFO_KHR)?;
        let mut words = bytes.chunks_exact(4).map_while(|word| word.try_into().ok());
        let mut next = || words.next().map(u32::from_ne_bytes);
        return Some(pci_address(next()?, next()?, next()?, next()?));
    }
    if extensions.contains("cl_nv_device_attribute_query") {
        let bus = number32(info, CL_DEVICE_PCI_BUS_ID_NV)?;
        // The slot holds device and function, as the bus itself encodes them.
        let slot = number32(info, CL_DEVICE_PCI_SLOT_ID_NV)?;
        let domain = number32(info, CL_DEVICE_PCI_DOMAIN_ID_NV).unwrap_or_default();
        return Some(pci_address(domain, bus, slot >> 3, slot & 7));
    }
    if extensions.contains("cl_amd_device_attribute_query") {
        let bytes = info.bytes(CL_DEVICE_TOPOLOGY_AMD)?;
        let place = bytes.get(TOPOLOGY_PLACE).filter(|_| bytes.starts_with(&TOPOLOGY_PCIE))?;
        let mut place = place.iter().copied().map(u32::from);
        // It tells of no domain.
        return Some(pci_address(0, place.next()?, place.next()?, place.next()?));
    }
    None
}

#[cfg(test)]
#[path = "facts_tests.rs"]
mod tests;
