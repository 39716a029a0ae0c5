//! Which cards of a node are shared spatially. Pure.
//!
//! **Invariant.** A card is shared in one way at a time: what is granted on it in one way keeps it so,
//! whatever the agent is started with, until nothing of that is left and the agent starts again.

use super::partition;
use polder_model::{Address, Device, DeviceId, DeviceKind, Mechanism};
use std::collections::BTreeSet;
use std::str::FromStr;
use thiserror::Error;

/// The word by which an ask may select such a card.
const FEATURE: &str = "mps";
/// The word by which an ask may select a card of AMD's.
const MASK_FEATURE: &str = "cu_mask";
/// How the driver of ROCm, whose runtime takes masks, says in its version that it is one.
const ROCM: &str = "(HSA";
/// The word by which an ask may select one that is cut into static partitions.
const CUT_FEATURE: &str = "mps_partitions";
/// The oldest compute capability whose cards hold a program to a part (Volta), as `sm_70` spells it.
const CAPABILITY_MIN: u32 = 70;
/// Most cards that are named.
const NAMED_MAX: usize = 64;

/// The cards that an administrator wants shared spatially.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Cards {
    /// None.
    #[default]
    None,
    /// All that can be.
    All,
    /// These.
    Named(BTreeSet<DeviceId>),
}

/// A text that names no cards.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0:?} names no cards: write all, none, or up to {NAMED_MAX} ids as `polder devices` shows them, with commas between"
)]
pub struct CardsError(String);

impl FromStr for Cards {
    type Err = CardsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || CardsError(text.chars().take(64).collect());
        match text {
            "all" => return Ok(Self::All),
            "none" => return Ok(Self::None),
            _ => {}
        }
        let ids: Result<BTreeSet<DeviceId>, _> = text.split(',').map(str::parse).collect();
        let ids = ids.map_err(|_| error())?;
        if ids.len() > NAMED_MAX { Err(error()) } else { Ok(Self::Named(ids)) }
    }
}

impl std::fmt::Display for Cards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.pad("none"),
            Self::All => f.pad("all"),
            Self::Named(ids) => {
                let ids: Vec<&str> = ids.iter().map(DeviceId::as_str).collect();
                f.pad(&ids.join(","))
            }
        }
    }
}

/// What of a node is offered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offer {
    /// What is wanted.
    pub wanted: Cards,
    /// Whether the vendor's control program is there.
    pub program: bool,
    /// Static partitions of the multiprocessors are wanted, and whether that program knows them.
    pub partitions: Option<bool>,
    /// Places on the bus of AMD's cards whose compute units are known.
    pub units: BTreeSet<String>,
    /// Devices that leases share by turns since before this agent.
    pub otherwise: BTreeSet<DeviceId>,
    /// Devices that leases share spatially since before this agent.
    pub spatially: BTreeSet<DeviceId>,
}

/// What becomes of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offered {
    /// Nothing: nobody wants it shared spatially.
    AsItIs,
    /// It is shared spatially.
    Spatially,
    /// It is wanted, and cannot be: why.
    Cannot(&'static str),
}

impl Offer {
    /// Says of a device how it can be cut, as this offer has it.
    pub fn make(&self, device: &mut Device) -> Offered {
        let offered = self.judge(device);
        if offered == Offered::Spatially {
            device.mechanisms.retain(|one| *one == Mechanism::Whole);
            device.mechanisms.insert(0, Mechanism::Spatial);
            let words = match (is_amd(device), self.partitions) {
                (true, _) => &[MASK_FEATURE][..],
                (_, Some(_)) => &[FEATURE, CUT_FEATURE],
                (_, None) => &[FEATURE],
            };
            device.features.extend(words.iter().copied().map(str::to_owned));
        }
        offered
    }

    /// A card that is named and not among these. One that leases share spatially since before is known: it
    /// has vanished, and they are told.
    #[must_use]
    pub fn missing(&self, devices: &[Device]) -> Option<DeviceId> {
        let Cards::Named(named) = &self.wanted else { return None };
        let is_there = |id: &DeviceId| devices.iter().any(|device| device.id == *id);
        named.iter().find(|id| !is_there(id) && !self.spatially.contains(id)).cloned()
    }

    fn judge(&self, device: &Device) -> Offered {
        if self.spatially.contains(&device.id) {
            return Offered::Spatially;
        }
        let named = match &self.wanted {
            Cards::None => return Offered::AsItIs,
            Cards::All => false,
            Cards::Named(ids) if ids.contains(&device.id) => true,
            Cards::Named(_) => return Offered::AsItIs,
        };
        let why = self.against(device);
        // Of all, those that can be are meant; one that is in use by turns was meant too.
        match why {
            None => Offered::Spatially,
            Some(_) if !named && !is_nvidia(device) && !is_amd(device) => Offered::AsItIs,
            Some(why) => Offered::Cannot(why),
        }
    }

    fn against(&self, device: &Device) -> Option<&'static str> {
        let otherwise = (
            self.otherwise.contains(&device.id),
            "leases from before share it by turns: start the daemon again when they are over",
        );
        if is_amd(device) {
            let known = device.pci_address.as_ref().is_some_and(|place| self.units.contains(place));
            let told = (!known, "the kernel's amdgpu does not tell its compute units");
            let rocm =
                (!device.driver.contains(ROCM), "its driver is not ROCm's, which takes masks");
            return [rocm, told, otherwise]
                .into_iter()
                .find(|(holds, _)| *holds)
                .map(|(_, why)| why);
        }
        let reasons = [
            (
                !is_nvidia(device),
                "only cards of NVIDIA's can be, through MPS, and of AMD's, by masks",
            ),
            (
                capability(device).is_none_or(|has| has < CAPABILITY_MIN),
                "its compute capability is below 7.0, or not known",
            ),
            (
                !self.program,
                "nvidia-cuda-mps-control is not on this node: install it (Debian: nvidia-cuda-mps)",
            ),
            (
                self.partitions == Some(false),
                "this nvidia-cuda-mps-control cuts no static partitions: that takes driver 590 (CUDA \
                 13.1) or newer; leave out --spatial-partitions",
            ),
            (
                self.partitions.is_some()
                    && capability(device).is_none_or(|has| has < partition::CAPABILITY_MIN),
                "static partitions take compute capability 8.0: leave out --spatial-partitions",
            ),
            (
                self.partitions.is_some() && device.compute_units == 0,
                "its driver does not tell its multiprocessors: leave out --spatial-partitions",
            ),
            otherwise,
        ];
        reasons.into_iter().find(|(holds, _)| *holds).map(|(_, why)| why)
    }
}

/// Whether MPS could know it: by its UUID, and it is there.
fn is_nvidia(device: &Device) -> bool {
    let real = !matches!(device.address, Address::Simulated);
    real && !device.simulated && device.id.as_str().starts_with("GPU-")
}

/// Whether a mask could be put on it: it is a card of AMD's, by an OpenCL driver of the vendor's.
fn is_amd(device: &Device) -> bool {
    let platform = match &device.address {
        Address::Opencl { platform, .. } => platform.as_str(),
        Address::Nvml { .. } | Address::Simulated => return false,
    };
    let card = device.kind == DeviceKind::Gpu && !device.simulated;
    card && platform.starts_with("AMD ") && device.vendor.starts_with("Advanced Micro Devices")
}

/// `80` of `sm_80`.
pub(crate) fn capability(device: &Device) -> Option<u32> {
    let of = |feature: &String| feature.strip_prefix("sm_")?.parse().ok();
    device.features.iter().find_map(of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use polder_model::{Api, Bytes, Health};

    const UUID: &str = "GPU-57a4d141-0000-4000-8000-000000000000";

    fn card(id: &str, feature: &str) -> Device {
        Device {
            id: id.parse().unwrap(),
            api: Api::Nvml,
            kind: DeviceKind::Gpu,
            vendor: "NVIDIA".into(),
            model: "H200".into(),
            driver: String::new(),
            memory: Bytes(1 << 30),
            allocation_max: None,
            granularity: Bytes(1 << 16),
            memory_bandwidth: None,
            compute_units: 132,
            features: [feature.to_owned()].into(),
            health: Health::Healthy,
            pci_address: None,
            numa_node: None,
            island: None,
            rail: None,
            address: Address::Nvml { index: 0, uuid: id.into() },
            mechanisms: vec![Mechanism::TimeSlice, Mechanism::Whole],
            simulated: false,
        }
    }

    fn all() -> Offer {
        Offer { wanted: Cards::All, program: true, ..Offer::default() }
    }

    fn ids(id: &str) -> BTreeSet<DeviceId> {
        [id.parse().unwrap()].into()
    }

    #[test]
    fn a_card_that_is_wanted_is_shared_spatially_and_in_no_other_way() {
        let mut device = card(UUID, "sm_90");
        assert_eq!(all().make(&mut device), Offered::Spatially);
        assert_eq!(device.mechanisms, [Mechanism::Spatial, Mechanism::Whole]);
        assert!(device.features.contains("mps"));
        assert!(!device.features.contains("mps_partitions"));
        let mut cut = card(UUID, "sm_90");
        let offered = Offer { partitions: Some(true), ..all() }.make(&mut cut);
        assert_eq!((offered, cut.features.contains("mps_partitions")), (Offered::Spatially, true));
        let mut other = card(UUID, "sm_90");
        let named = Offer { wanted: UUID.parse().unwrap(), ..all() };
        assert_eq!(named.make(&mut other), Offered::Spatially);
        assert_eq!(Offer::default().make(&mut card(UUID, "sm_90")), Offered::AsItIs);
    }

    #[test]
    fn what_cannot_be_shared_so_says_why_and_stays_as_it_is() {
        let check = |offer: Offer, device: Device, words: &str| {
            let mut told = device.clone();
            let offered = offer.make(&mut told);
            assert_eq!(told, device);
            assert!(matches!(offered, Offered::Cannot(why) if why.contains(words)), "{offered:?}");
        };
        check(all(), card(UUID, "sm_61"), "below 7.0");
        check(all(), card(UUID, "cuda"), "not known");
        check(Offer { program: false, ..all() }, card(UUID, "sm_90"), "install it");
        check(Offer { partitions: Some(false), ..all() }, card(UUID, "sm_90"), "driver 590");
        check(Offer { partitions: Some(true), ..all() }, card(UUID, "sm_75"), "capability 8.0");
        let untold = Device { compute_units: 0, ..card(UUID, "sm_90") };
        check(Offer { partitions: Some(true), ..all() }, untold, "tell its multiprocessors");
        check(
            Offer { otherwise: ids(UUID), ..all() },
            card(UUID, "sm_90"),
            "start the daemon again",
        );
        let named = Offer { wanted: "opencl-0-0".parse().unwrap(), ..all() };
        check(named, card("opencl-0-0", "fp64"), "only cards of NVIDIA");
        // Among all, what is no card of NVIDIA's was not meant.
        assert_eq!(all().make(&mut card("opencl-0-0", "fp64")), Offered::AsItIs);
        let mut simulated = card(UUID, "sm_90");
        simulated.address = Address::Simulated;
        assert_eq!(all().make(&mut simulated), Offered::AsItIs);
    }

    #[test]
    fn a_card_of_amds_is_shared_by_masks_where_its_units_are_known() {
        let mut amd = card("opencl-0-0", "fp64");
        amd.vendor = "Advanced Micro Devices, Inc.".into();
        amd.driver = "3635.0 (HSA1.1,LC) (OpenCL 2.0)".into();
        amd.pci_address = Some("0000:03:00.0".into());
        let platform = "AMD Accelerated Parallel Processing".to_owned();
        amd.address = Address::Opencl { library: "libamdocl64.so".into(), platform, index: 0 };
        let known = || Offer { units: ["0000:03:00.0".to_owned()].into(), program: false, ..all() };
        let mut shared = amd.clone();
        assert_eq!(known().make(&mut shared), Offered::Spatially, "without NVIDIA's program");
        assert_eq!(shared.mechanisms, [Mechanism::Spatial, Mechanism::Whole]);
        assert!(shared.features.contains("cu_mask") && !shared.features.contains("mps"));
        let check = |offer: Offer, device: &Device, words: &str| {
            let offered = offer.make(&mut device.clone());
            assert!(matches!(offered, Offered::Cannot(why) if why.contains(words)), "{offered:?}");
        };
        check(all(), &amd, "does not tell its compute units");
        check(Offer { otherwise: ids("opencl-0-0"), ..known() }, &amd, "start the daemon again");
        let other = Device { driver: "3635.0 (PAL,LC)".into(), ..amd.clone() };
        check(known(), &other, "not ROCm's");
        let mut mesa = amd.clone();
        let address = ("libRusticlOpenCL.so".into(), "rusticl".into());
        mesa.address = Address::Opencl { library: address.0, platform: address.1, index: 0 };
        assert_eq!(known().make(&mut mesa), Offered::AsItIs, "Mesa's takes no masks");
        assert_eq!(Offer::default().make(&mut amd), Offered::AsItIs);
    }

    #[test]
    fn what_is_granted_keeps_a_card_as_it_is() {
        let kept = Offer { spatially: ids(UUID), ..Offer::default() };
        assert_eq!(kept.make(&mut card(UUID, "sm_90")), Offered::Spatially, "without the flag");
    }

    #[test]
    fn a_named_card_that_is_not_there_is_missing_unless_leases_have_it() {
        let there = [card(UUID, "sm_90")];
        let offer = |text: &str| Offer { wanted: text.parse().unwrap(), ..all() };
        assert_eq!(offer("all").missing(&[]), None);
        assert_eq!(offer(UUID).missing(&there), None);
        assert_eq!(offer(&format!("{UUID},GPU-no")).missing(&there).unwrap().as_str(), "GPU-no");
        let held = Offer { spatially: ids("GPU-no"), ..offer("GPU-no") };
        assert_eq!(held.missing(&there), None);
    }

    #[test]
    fn cards_are_read_as_they_are_written() {
        for text in ["all", "none", UUID, "a,b"] {
            assert_eq!(text.parse::<Cards>().unwrap().to_string(), text);
        }
        for text in ["", ",", "a,,b", "a b", "All!"] {
            assert!(text.parse::<Cards>().is_err(), "{text:?}");
        }
        let many: Vec<String> = (0..=NAMED_MAX).map(|number| format!("g{number}")).collect();
        assert!(many.join(",").parse::<Cards>().is_err());
    }
}
