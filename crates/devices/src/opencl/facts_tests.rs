use super::*;
use std::collections::BTreeMap;

/// A driver's answers, from a table.
#[derive(Default)]
struct Answers(BTreeMap<u32, Vec<u8>>);

impl Info for Answers {
    fn bytes(&self, parameter: u32) -> Option<Vec<u8>> {
        self.0.get(&parameter).cloned()
    }
}

impl Answers {
    fn text(mut self, parameter: u32, text: &str) -> Self {
        self.0.insert(parameter, [text.as_bytes(), b"\0"].concat());
        self
    }
    fn u32(mut self, parameter: u32, number: u32) -> Self {
        self.0.insert(parameter, number.to_ne_bytes().to_vec());
        self
    }
    fn u64(mut self, parameter: u32, number: u64) -> Self {
        self.0.insert(parameter, number.to_ne_bytes().to_vec());
        self
    }
}

/// A small healthy graphics card with these extensions.
fn card(extensions: &str) -> Answers {
    Answers::default()
        .text(CL_DEVICE_NAME, "Card 7 ")
        .text(CL_DEVICE_VENDOR, "Maker")
        .text(CL_DRIVER_VERSION, "1.2")
        .text(CL_DEVICE_VERSION, "OpenCL 3.0 Maker")
        .text(CL_DEVICE_EXTENSIONS, extensions)
        .u64(CL_DEVICE_TYPE, TYPE_GPU)
        .u32(CL_DEVICE_AVAILABLE, 1)
        .u32(CL_DEVICE_MAX_COMPUTE_UNITS, 40)
        .u64(CL_DEVICE_GLOBAL_MEM_SIZE, 8 << 30)
        .u64(CL_DEVICE_MAX_MEM_ALLOC_SIZE, 2 << 30)
}

fn check(answers: &Answers) -> Found {
    let nowhere = Sysfs::at("/nonexistent");
    let place = Place { library: "/opt/libmaker.so", platform: "Maker's", index: 1 };
    found(answers, &place, &nowhere)
}

fn words(answers: &Answers) -> Vec<String> {
    check(answers).device.features.into_iter().collect()
}

#[test]
fn a_card_is_listed_as_it_says() {
    let device = check(&card("")).device;
    assert_eq!((device.model.as_str(), device.vendor.as_str()), ("Card 7", "Maker"));
    assert_eq!(device.driver, "1.2 (OpenCL 3.0 Maker)");
    assert_eq!((device.memory, device.allocation_max), (Bytes(8 << 30), Some(Bytes(2 << 30))));
    assert_eq!((device.kind, device.granularity), (DeviceKind::Gpu, Bytes(64 << 10)));
    assert_eq!((device.compute_units, device.health), (40, Health::Healthy));
    assert_eq!(
        device.address,
        Address::Opencl {
            library: "/opt/libmaker.so".to_owned(),
            platform: "Maker's".to_owned(),
            index: 1
        }
    );
}

#[test]
fn a_cpu_device_is_charged_by_host_pages() {
    let device = check(&card("").u64(CL_DEVICE_TYPE, TYPE_CPU)).device;
    assert_eq!((device.kind, device.granularity), (DeviceKind::Cpu, Bytes(4 << 10)));
}

#[test]
fn features_come_from_extensions_and_from_answers() {
    assert_eq!(words(&card("")), ["opencl"]);
    assert_eq!(words(&card("cl_khr_fp16 cl_khr_fp64x")), ["fp16", "opencl"]);
    let answers = card("cl_khr_fp64")
        .u64(CL_DEVICE_SVM_CAPABILITIES, 0b11)
        .text(CL_DEVICE_IL_VERSION, "SPIR-V_1.2 ");
    assert_eq!(words(&answers), ["fp64", "opencl", "spirv", "svm", "svm_fine"]);
}

#[test]
fn bus_addresses_of_every_extension() {
    let khr = [0_u32, 0x3b, 0x1f, 2].map(u32::to_ne_bytes).concat();
    let mut answers = card("cl_khr_pci_bus_info");
    assert_eq!(check(&answers).device.pci_address, None, "announced but not answered");
    answers.0.insert(CL_DEVICE_PCI_BUS_INFO_KHR, khr);
    assert_eq!(check(&answers).device.pci_address.as_deref(), Some("0000:3b:1f.2"));
    let answers = card("cl_nv_device_attribute_query")
        .u32(CL_DEVICE_PCI_BUS_ID_NV, 0xaf)
        .u32(CL_DEVICE_PCI_SLOT_ID_NV, 1 << 3);
    assert_eq!(check(&answers).device.pci_address.as_deref(), Some("0000:af:01.0"));
    let amd = |answer: &[u8]| {
        let mut answers = card("cl_amd_device_attribute_query");
        answers.0.insert(CL_DEVICE_TOPOLOGY_AMD, answer.to_vec());
        check(&answers).device.pci_address
    };
    let mut answer = [0; 24];
    answer[0] = 1;
    answer[21..].copy_from_slice(&[0xc1, 0, 1]);
    assert_eq!(amd(&answer).as_deref(), Some("0000:c1:00.1"));
    assert_eq!(amd(&answer[..23]), None, "cut short");
    answer[0] = 2;
    assert_eq!(amd(&answer), None, "another kind of bus");
}

#[test]
fn the_uuid_counts_only_where_it_is_announced() {
    let with_uuid = |extensions| {
        let mut answers = card(extensions);
        answers.0.insert(CL_DEVICE_UUID_KHR, vec![0xab; 16]);
        check(&answers).uuid
    };
    assert_eq!(with_uuid(""), None);
    let uuid = with_uuid("cl_khr_device_uuid");
    assert_eq!(uuid.as_deref(), Some("abababab-abab-abab-abab-abababababab"));
}

#[test]
fn a_device_that_cannot_be_used_says_why() {
    let unavailable = card("").u32(CL_DEVICE_AVAILABLE, 0);
    assert!(
        matches!(check(&unavailable).device.health, Health::Faulty(why) if why.contains("available"))
    );
    let empty = card("").u64(CL_DEVICE_GLOBAL_MEM_SIZE, 0);
    assert!(matches!(check(&empty).device.health, Health::Faulty(why) if why.contains("memory")));
    let silent = Answers::default();
    assert!(matches!(check(&silent).device.health, Health::Faulty(_)));
}

#[test]
fn names_are_one_bounded_line() {
    let device = check(&card("").text(CL_DEVICE_NAME, &"x\u{1b}\n".repeat(1000))).device;
    assert_eq!(device.model, "x".repeat(TEXT_CHARS_MAX));
}
