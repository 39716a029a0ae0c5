//! What a card's answers mean. Pure.

use crate::{Found, Problem, sysfs::Sysfs};
use polder_model::{
    Address, Api, Bytes, Device, DeviceId, DeviceKind, Health, Mechanism, parse_pci_address,
};
use std::collections::BTreeSet;

/// One card's answers.
#[derive(Debug, Clone, Default)]
pub(super) struct CardFacts {
    pub(super) index: u32,
    pub(super) uuid: String,
    pub(super) model: String,
    pub(super) driver: String,
    pub(super) memory: u64,
    pub(super) memory_clock_mhz: Option<u32>,
    pub(super) memory_bus_bits: Option<u32>,
    pub(super) cores: Option<u32>,
    pub(super) capability: Option<(u32, u32)>,
    pub(super) pci_bus_id: Option<String>,
    pub(super) ecc: bool,
    pub(super) nvlink: bool,
    pub(super) mig_capable: bool,
    pub(super) mig_on: bool,
    pub(super) lost: bool,
    pub(super) retirement_pending: bool,
    pub(super) remapping_failed: bool,
}

impl CardFacts {
    /// The card as the catalogue lists it; a problem when its id cannot name anything.
    pub(super) fn found(self, sysfs: &Sysfs) -> Result<Found, Problem> {
        let id: DeviceId = match self.uuid.parse() {
            Ok(id) => id,
            Err(error) => {
                return Err(Problem::new(format_args!("NVIDIA card {}", self.index), error));
            }
        };
        let pci_address = self.pci_bus_id.as_deref().and_then(parse_pci_address);
        let device = Device {
            id,
            api: Api::Nvml,
            kind: DeviceKind::Gpu,
            vendor: "NVIDIA".to_owned(),
            driver: format!("NVIDIA {}", self.driver).trim_end().to_owned(),
            memory: Bytes(self.memory),
            allocation_max: None,
            granularity: DeviceKind::Gpu.granularity(),
            memory_bandwidth: self.bandwidth(),
            compute_units: self.multiprocessors(),
            features: self.features(),
            health: self.health(),
            numa_node: pci_address.as_deref().and_then(|address| sysfs.numa_node(address)),
            island: None,
            rail: None,
            pci_address,
            address: Address::Nvml { index: self.index, uuid: self.uuid.clone() },
            mechanisms: vec![Mechanism::Whole],
            simulated: false,
            model: self.model,
        };
        // OpenCL tells the same 16 bytes without the prefix.
        let uuid = self.uuid.strip_prefix("GPU-").map(str::to_ascii_lowercase);
        Ok(Found { device, uuid })
    }

    /// Peak bandwidth: two transfers a clock over the whole bus. NVML scales the clocks of all
    /// memory kinds, HBM and GDDR, so that two holds for each of them.
    fn bandwidth(&self) -> Option<Bytes> {
        let clock = u64::from(self.memory_clock_mhz?) * 1_000_000;
        let bytes_per_second = clock * 2 * (u64::from(self.memory_bus_bits?) / 8);
        (bytes_per_second > 0).then_some(Bytes(bytes_per_second))
    }

    /// Multiprocessors: NVML counts CUDA cores, and the architecture fixes how many one has.
    /// 0 where the architecture is unknown.
    fn multiprocessors(&self) -> u32 {
        let cores = self.cores.unwrap_or_default();
        self.capability.and_then(cores_per_multiprocessor).map_or(0, |each| cores / each)
    }

    fn features(&self) -> BTreeSet<String> {
        let capability = self.capability.unwrap_or_default();
        let since = |major, minor| capability >= (major, minor);
        // The GTX 16 series is Turing without tensor cores, under the same number.
        let tensor = since(7, 0) && !self.model.contains("GTX 16");
        let words = [
            ("cuda", true),
            ("fp64", since(1, 3)),
            ("fp16", since(5, 3)),
            ("int8_dot", since(6, 1) && capability != (6, 2)),
            ("tensor", tensor),
            ("bf16", since(8, 0)),
            ("tf32", since(8, 0)),
            ("fp8", since(8, 9)),
            ("fp4", since(10, 0)),
            ("ecc", self.ecc),
            ("nvlink", self.nvlink),
            ("mig", self.mig_capable),
        ];
        let words = words.into_iter().filter(|(_, holds)| *holds);
        let mut words: BTreeSet<String> = words.map(|(word, _)| word.to_owned()).collect();
        if let Some((major, minor)) = self.capability {
            words.insert(format!("sm_{major}{minor}"));
        }
        words
    }

    fn health(&self) -> Health {
        if self.lost {
            return Health::Failed("has fallen off the bus: restart the machine".to_owned());
        }
        let faults = [
            (self.remapping_failed, "a failed memory row has no spare left: replace the card"),
            (self.retirement_pending, "a memory page waits to be retired: reset the card"),
            (self.mig_on, "is in MIG mode, where it cannot be granted whole: nvidia-smi -mig 0"),
            (self.memory == 0, "its driver reports no memory: install NVIDIA driver 510 or newer"),
        ];
        let fault = faults.into_iter().find(|(holds, _)| *holds);
        fault.map_or(Health::Healthy, |(_, why)| Health::Faulty(why.to_owned()))
    }
}

/// CUDA cores in one multiprocessor of a compute capability.
fn cores_per_multiprocessor(capability: (u32, u32)) -> Option<u32> {
    match capability {
        (3, _) => Some(192),
        (5, _) | (6, 1 | 2) | (8, 6..=9) | (9..=12, _) => Some(128),
        (6, 0) | (7, _) | (8, 0) => Some(64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(capability: (u32, u32), cores: u32) -> CardFacts {
        CardFacts {
            uuid: "GPU-6F0c8a4e-1111-2222-3333-444455556666".to_owned(),
            model: "NVIDIA X".to_owned(),
            driver: "550.54.14".to_owned(),
            memory: 80 << 30,
            capability: Some(capability),
            cores: Some(cores),
            pci_bus_id: Some("00000000:3B:00.0".to_owned()),
            ..CardFacts::default()
        }
    }

    fn device(card: CardFacts) -> Device {
        card.found(&Sysfs::at("/nonexistent")).unwrap().device
    }

    #[test]
    fn a_card_is_named_by_its_uuid_and_place() {
        let found = card((9, 0), 0).found(&Sysfs::at("/nonexistent")).unwrap();
        assert_eq!(found.device.id.as_str(), "GPU-6F0c8a4e-1111-2222-3333-444455556666");
        assert_eq!(found.uuid.as_deref(), Some("6f0c8a4e-1111-2222-3333-444455556666"));
        assert_eq!(found.device.pci_address.as_deref(), Some("0000:3b:00.0"));
        assert_eq!(found.device.mechanisms, [Mechanism::Whole]);
        assert_eq!(found.device.health, Health::Healthy);
    }

    /// Clock and bus as NVML reports them, against the data sheet's figure in GB/s.
    #[test]
    fn bandwidth_is_the_data_sheets() {
        for (model, mhz, bits, gb) in [
            ("T4", 5001, 256, 320),
            ("A100 80GB", 1593, 5120, 2039),
            ("H100 SXM", 2619, 5120, 3352),
            ("RTX 3090", 9751, 384, 936),
            ("L40S", 9001, 384, 864),
        ] {
            let clock = CardFacts {
                memory_clock_mhz: Some(mhz),
                memory_bus_bits: Some(bits),
                ..card((8, 0), 0)
            };
            assert_eq!(device(clock).memory_bandwidth.unwrap().0 / 1_000_000_000, gb, "{model}");
        }
        assert_eq!(device(card((8, 0), 0)).memory_bandwidth, None);
    }

    #[test]
    fn multiprocessors_follow_from_cores_and_architecture() {
        for (capability, cores, expect) in [
            ((7, 5), 2560, 40),
            ((8, 0), 6912, 108),
            ((8, 6), 10496, 82),
            ((9, 0), 16896, 132),
            ((6, 0), 3584, 56),
            ((99, 0), 1024, 0),
        ] {
            assert_eq!(device(card(capability, cores)).compute_units, expect, "{capability:?}");
        }
    }

    #[test]
    fn features_follow_from_the_capability() {
        let has = |capability, word: &str| device(card(capability, 0)).features.contains(word);
        assert!(has((9, 0), "fp8") && has((8, 9), "fp8") && !has((8, 6), "fp8"));
        assert!(has((8, 0), "bf16") && !has((7, 5), "bf16"));
        assert!(has((12, 0), "sm_120") && has((12, 0), "fp4"));
        let plain = CardFacts { model: "NVIDIA GeForce GTX 1660".to_owned(), ..card((7, 5), 0) };
        assert!(has((7, 5), "tensor") && !device(plain).features.contains("tensor"));
    }

    #[test]
    fn faults_say_what_to_do() {
        let faulty = |change: fn(&mut CardFacts), words: &str| {
            let mut card = card((9, 0), 0);
            change(&mut card);
            match device(card).health {
                Health::Faulty(why) => assert!(why.contains(words), "{why}"),
                other => panic!("{other:?}, but should say {words:?}"),
            }
        };
        faulty(|card| card.remapping_failed = true, "replace");
        faulty(|card| card.retirement_pending = true, "reset");
        faulty(|card| card.mig_on = true, "-mig 0");
        faulty(|card| card.memory = 0, "no memory");
        let lost = device(CardFacts { lost: true, ..card((9, 0), 0) });
        assert!(matches!(lost.health, Health::Failed(why) if why.contains("restart")));
    }

    #[test]
    fn a_uuid_that_names_nothing_is_a_problem() {
        let nameless = CardFacts { uuid: "a b".to_owned(), ..card((9, 0), 0) };
        assert!(nameless.found(&Sysfs::at("/nonexistent")).is_err());
    }
}
