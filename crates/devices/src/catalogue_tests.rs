use super::*;
use polder_model::{Bytes, DeviceKind, Mechanism};
use proptest::prelude::*;
use std::collections::BTreeSet;

const UUID: &str = "6f0c8a4e-1111-2222-3333-444455556666";
const PCI: &str = "0000:3b:00.0";

fn device(id: &str, api: Api, address: Address) -> Device {
    Device {
        id: id.parse().unwrap(),
        api,
        kind: DeviceKind::Gpu,
        vendor: "V".to_owned(),
        model: "M".to_owned(),
        driver: "1".to_owned(),
        memory: Bytes(100),
        allocation_max: None,
        granularity: Bytes(1),
        memory_bandwidth: None,
        compute_units: 1,
        features: BTreeSet::new(),
        health: Health::Healthy,
        pci_address: None,
        numa_node: None,
        island: None,
        rail: None,
        address,
        mechanisms: vec![Mechanism::Whole],
        simulated: false,
    }
}

fn nvml(uuid: Option<&str>, pci: Option<&str>) -> Found {
    let address = Address::Nvml { index: 0, uuid: "GPU-x".to_owned() };
    let mut device = device("GPU-x", Api::Nvml, address);
    device.pci_address = pci.map(str::to_owned);
    device.memory_bandwidth = Some(Bytes(7));
    device.features.insert("cuda".to_owned());
    Found { device, uuid: uuid.map(str::to_owned) }
}

fn opencl(platform: &str, index: u32, uuid: Option<&str>, pci: Option<&str>) -> Found {
    let (library, platform) = ("lib.so".to_owned(), platform.to_owned());
    let mut device =
        device("opencl-0-0", Api::Opencl, Address::Opencl { library, platform, index });
    device.pci_address = pci.map(str::to_owned);
    device.memory = Bytes(90);
    device.allocation_max = Some(Bytes(30));
    device.features.insert("opencl".to_owned());
    device.mechanisms = vec![Mechanism::TimeSlice, Mechanism::Whole];
    Found { device, uuid: uuid.map(str::to_owned) }
}

fn icd(library: &str, devices: Vec<Found>) -> Answer {
    let source = Source::Opencl { library: library.to_owned() };
    Answer { source, outcome: ProbeOutcome { devices, problems: Vec::new() } }
}

fn cards(devices: Vec<Found>) -> Answer {
    let outcome = ProbeOutcome { devices, problems: Vec::new() };
    Answer { source: Source::Nvidia { library: None }, outcome }
}

fn ids(answers: Vec<Answer>) -> Vec<String> {
    catalogue(answers).0.into_iter().map(|device| device.id.into()).collect()
}

#[test]
fn platforms_are_numbered_across_libraries() {
    let two = icd("a", vec![opencl("A", 0, None, None), opencl("A", 1, None, None)]);
    let more = icd("b", vec![opencl("B", 0, None, None), opencl("C", 0, None, None)]);
    let last = icd("c", vec![opencl("D", 0, None, None)]);
    let expect = ["opencl-0-0", "opencl-0-1", "opencl-1-0", "opencl-2-0", "opencl-3-0"];
    assert_eq!(ids(vec![two, more, last]), expect);
}

#[test]
fn platforms_of_one_name_are_told_apart() {
    let twins = ["A", "A"].map(|name| opencl(name, 0, None, None));
    assert_eq!(ids(vec![icd("a", twins.to_vec())]), ["opencl-0-0", "opencl-1-0"]);
}

#[test]
fn a_library_that_fails_renumbers_nobody() {
    let well = || icd("b", vec![opencl("B", 0, None, None)]);
    let sick = Answer {
        outcome: ProbeOutcome::failed(Problem::new("a", "crashed")),
        ..icd("a", Vec::new())
    };
    let (devices, problems) = catalogue(vec![sick, well()]);
    assert_eq!(devices[0].id.as_str(), "opencl-1-0");
    assert_eq!(problems, [Problem::new("a", "crashed")]);
    assert_eq!(ids(vec![icd("a", vec![opencl("A", 0, None, None)]), well()])[1], "opencl-1-0");
}

/// One NVML card and one OpenCL device: are they one?
fn check_join(card: Found, other: Found, expect: bool) -> Device {
    // NVML's answer may come before or after.
    let backwards = catalogue(vec![icd("a", vec![other.clone()]), cards(vec![card.clone()])]).0;
    let mut devices = catalogue(vec![cards(vec![card]), icd("a", vec![other])]).0;
    assert_eq!(devices, backwards);
    assert_eq!(devices.len(), if expect { 1 } else { 2 });
    devices.remove(0)
}

#[test]
fn one_card_through_two_interfaces_is_one_device() {
    let joined = check_join(
        nvml(Some(UUID), Some(PCI)),
        opencl("NVIDIA CUDA", 0, Some(UUID), Some(PCI)),
        true,
    );
    assert_eq!((joined.id.as_str(), joined.api), ("GPU-x", Api::Opencl));
    assert!(matches!(&joined.address, Address::Opencl { index: 0, .. }));
    assert_eq!(joined.mechanisms, [Mechanism::TimeSlice, Mechanism::Whole]);
    assert_eq!((joined.memory, joined.allocation_max), (Bytes(90), Some(Bytes(30))));
    assert_eq!(joined.memory_bandwidth, Some(Bytes(7)));
    assert_eq!(Vec::from_iter(joined.features), ["cuda", "opencl"]);
}

#[test]
fn a_bus_address_is_enough_where_an_id_is_missing() {
    check_join(nvml(Some(UUID), Some(PCI)), opencl("N", 0, None, Some(PCI)), true);
    check_join(nvml(Some(UUID), None), opencl("N", 0, Some(UUID), None), true);
}

#[test]
fn different_cards_stay_apart() {
    check_join(nvml(Some(UUID), Some(PCI)), opencl("N", 0, None, None), false);
    check_join(nvml(Some(UUID), Some(PCI)), opencl("N", 0, None, Some("0000:3c:00.0")), false);
    // Slices of one card share its bus address and have ids of their own.
    check_join(nvml(Some(UUID), Some(PCI)), opencl("N", 0, Some("other"), Some(PCI)), false);
}

#[test]
fn a_fault_that_either_knows_counts() {
    let fault = Health::Faulty("gone".to_owned());
    let mut other = opencl("N", 0, Some(UUID), None);
    other.device.health = fault.clone();
    assert_eq!(check_join(nvml(Some(UUID), None), other, true).health, fault);
    let mut card = nvml(Some(UUID), None);
    card.device.health = fault.clone();
    assert_eq!(check_join(card, opencl("N", 0, Some(UUID), None), true).health, fault);
}

#[test]
fn a_card_that_two_opencl_drivers_show_is_listed_once_and_told() {
    let first = icd("a", vec![opencl("A", 0, Some(UUID), Some(PCI))]);
    let mut other = opencl("B", 0, Some("its own idea of an id"), Some(PCI));
    other.device.address =
        Address::Opencl { library: "other.so".to_owned(), platform: "B".to_owned(), index: 0 };
    let (devices, problems) = catalogue(vec![first, icd("b", vec![other])]);
    assert_eq!(devices.len(), 1);
    assert!(problems[0].to_string().contains("opencl-0-0"), "{}", problems[0]);
}

#[test]
fn cpu_devices_are_never_joined() {
    let both = vec![opencl("P", 0, None, None), opencl("P", 1, None, None)];
    assert_eq!(ids(vec![icd("a", both)]), ["opencl-0-0", "opencl-0-1"]);
}

/// Any devices that a library could list: platforms in name order, each counted from 0.
fn any_library() -> impl Strategy<Value = Vec<Found>> {
    let uuid = prop::option::of(prop::sample::select(vec!["u", "v", "w"]));
    let pci = prop::option::of(prop::sample::select(vec![PCI, "0000:3c:00.0"]));
    let platform = prop::collection::vec((uuid, pci), 0..4);
    prop::collection::vec(platform, 0..3).prop_map(|platforms| {
        let named = platforms.into_iter().zip(["A", "A", "B"]);
        named
            .flat_map(|(devices, name)| {
                let numbered = devices.into_iter().zip(0..);
                numbered.map(move |((uuid, pci), index)| opencl(name, index, uuid, pci))
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn no_id_and_no_card_is_listed_twice(
        libraries in prop::collection::vec(any_library(), 0..4),
        has_card in any::<bool>(),
    ) {
        let found: usize = libraries.iter().map(Vec::len).sum();
        let card = has_card.then(|| cards(vec![nvml(Some("u"), Some(PCI))]));
        let answers: Vec<Answer> =
            libraries.into_iter().map(|devices| icd("l", devices)).chain(card).collect();
        let (devices, problems) = catalogue(answers);
        let ids: BTreeSet<_> = devices.iter().map(|device| device.id.clone()).collect();
        prop_assert_eq!(ids.len(), devices.len());
        // Every device found is listed, joined to the card, or told to be one already listed.
        let joined = devices.iter().any(|it| it.id.as_str() == "GPU-x" && it.api == Api::Opencl);
        let seen = found + usize::from(has_card);
        prop_assert_eq!(devices.len() + problems.len() + usize::from(joined), seen);
    }
}
