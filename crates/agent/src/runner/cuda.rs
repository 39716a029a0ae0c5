//! CUDA and NVML in a lease's programs: which of its devices CUDA reaches, whose libraries its programs
//! find, and where the vendor's own are for ours to find.

use super::environment::shares;
use crate::shim::{CUDA_FOLDER, CudaLibraries, Plan};
use polder_ledger::attach::Cuda;
use polder_model::{Address, Mechanism, Slice};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Names under which programs open the libraries; the first is that of the vendor's own where it is
/// kept.
const CUDA_NAMES: [&str; 2] = ["libcuda.so.1", "libcuda.so"];
const NVML_NAMES: [&str; 2] = ["libnvidia-ml.so.1", "libnvidia-ml.so"];
/// Where the vendor's own are bound, below [`CUDA_FOLDER`].
const KEPT: &str = "vendor";

/// One library of ours in the place of the vendor's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StandIn {
    /// Names under which programs open it.
    pub(crate) names: [&'static str; 2],
    /// Polder's.
    pub(crate) ours: PathBuf,
    /// The vendor's.
    pub(crate) vendor: PathBuf,
    /// Where a lease's namespace has the vendor's own.
    pub(crate) kept: PathBuf,
}

/// The libraries that stand in for the vendor's in the lease in `dir`.
pub(crate) fn stand_ins(libraries: &CudaLibraries, dir: &Path) -> Vec<StandIn> {
    let one = |names: [&'static str; 2], ours: &Path, vendor: &Path| StandIn {
        names,
        ours: ours.to_owned(),
        vendor: vendor.to_owned(),
        kept: dir.join(CUDA_FOLDER).join(KEPT).join(names[0]),
    };
    let cuda = one(CUDA_NAMES, &libraries.ours, &libraries.vendor);
    let nvml = libraries.nvml.as_ref().map(|nvml| one(NVML_NAMES, &nvml.ours, &nvml.vendor));
    std::iter::once(cuda).chain(nvml).collect()
}

/// The UUID of a device, as NVML and CUDA print it; none for a device that CUDA does not reach.
pub(crate) fn uuid<'a>(slice: &'a Slice, address: &'a Address) -> Option<&'a str> {
    let named = match address {
        Address::Nvml { uuid, .. } => uuid.as_str(),
        // A card that NVML shows too keeps the name that it has there.
        Address::Opencl { .. } => slice.device.as_str(),
        Address::Simulated => return None,
    };
    bytes(named).map(|_| named)
}

/// The sixteen bytes of `GPU-01234567-89ab-...`; none for anything else.
fn bytes(uuid: &str) -> Option<[u8; 16]> {
    let digits: String = uuid.strip_prefix("GPU-")?.chars().filter(|one| *one != '-').collect();
    if digits.len() != 32 || !digits.is_ascii() {
        return None;
    }
    let mut bytes = [0; 16];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// The lease's shared devices that CUDA reaches, by UUID.
pub(crate) fn shared(plan: &Plan) -> Vec<&str> {
    let slices = plan.order.lease.slices.iter().zip(&plan.addresses);
    let shared = slices.filter(|(slice, _)| slice.mechanism == Mechanism::TimeSlice);
    shared.filter_map(|(slice, address)| uuid(slice, address)).collect()
}

/// Whether the lease's programs reach a shared device through CUDA.
pub(crate) fn shares_cuda(plan: &Plan) -> bool {
    shares(plan) && !shared(plan).is_empty()
}

/// The libraries of a lease in whose programs Polder's stands in for the vendor's.
pub(crate) fn intercepts_cuda(plan: &Plan) -> Option<&CudaLibraries> {
    plan.cuda.as_ref().filter(|_| shares_cuda(plan))
}

/// Makes the folder in which programs find our libraries, and a place for the vendor's own.
///
/// # Errors
/// What the system says.
pub(crate) fn make_folder(dir: &Path, libraries: &CudaLibraries) -> io::Result<()> {
    let folder = dir.join(CUDA_FOLDER);
    let inner = folder.join(KEPT);
    std::fs::create_dir_all(&inner)?;
    for made in [&folder, &inner] {
        std::fs::set_permissions(made, PermissionsExt::from_mode(0o755))?;
    }
    for library in stand_ins(libraries, dir) {
        for name in library.names {
            match symlink(&library.ours, folder.join(name)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other?,
            }
        }
        std::fs::write(&library.kept, "")?;
        std::fs::set_permissions(&library.kept, PermissionsExt::from_mode(0o644))?;
    }
    Ok(())
}

/// How CUDA reaches a device of the lease. `bound` says that the lease has a namespace in which ours
/// lies over the vendor's library.
pub(crate) fn route(
    plan: &Plan,
    (slice, address): (&Slice, &Address),
    dir: &Path,
    bound: bool,
) -> Option<Cuda> {
    let libraries = intercepts_cuda(plan)?;
    let uuid = bytes(uuid(slice, address)?)?;
    let path = |library: &StandIn| {
        let path = if bound { &library.kept } else { &library.vendor };
        path.display().to_string()
    };
    let mut all = stand_ins(libraries, dir).into_iter();
    let library = path(&all.next()?);
    Some(Cuda { library, nvml: all.next().as_ref().map_or_else(String::new, path), uuid })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::{NvmlLibraries, test_plan};

    const UUID: &str = "GPU-6f0c8a4e-1111-2222-3333-444455556666";

    fn lease() -> Plan {
        let mut plan = test_plan(&["true"]);
        plan.addresses = vec![Address::Nvml { index: 0, uuid: UUID.into() }];
        let nvml =
            Some(NvmlLibraries { ours: "/nvml.so".into(), vendor: "/v/libnvml.so.5".into() });
        let (ours, vendor) = ("/ours.so".into(), "/v/libcuda.so.5".into());
        plan.cuda = Some(CudaLibraries { ours, vendor, nvml });
        plan
    }

    #[test]
    fn a_shared_card_is_named_by_its_uuid_and_the_vendors_library_by_where_it_is() {
        let plan = lease();
        let subject = (&plan.order.lease.slices[0], &plan.addresses[0]);
        let plain = route(&plan, subject, Path::new("/s/L7"), false).unwrap();
        assert_eq!((&*plain.library, &*plain.nvml), ("/v/libcuda.so.5", "/v/libnvml.so.5"));
        assert_eq!(plain.uuid[..5], [0x6f, 0x0c, 0x8a, 0x4e, 0x11]);
        let bound = route(&plan, subject, Path::new("/s/L7"), true).unwrap();
        assert_eq!(bound.library, "/s/L7/cuda/vendor/libcuda.so.1");
        assert_eq!(bound.nvml, "/s/L7/cuda/vendor/libnvidia-ml.so.1");
        let mut without = plan.clone();
        without.cuda.as_mut().unwrap().nvml = None;
        let bare = route(&without, subject, Path::new("/s/L7"), true).unwrap();
        assert_eq!((bare.library, &*bare.nvml), (bound.library, ""));
    }

    #[test]
    fn a_card_that_opencl_reaches_too_keeps_its_name() {
        let mut plan = lease();
        let (library, platform) = ("libnvidia-opencl.so.1".into(), "NVIDIA CUDA".into());
        plan.addresses = vec![Address::Opencl { library, platform, index: 0 }];
        assert!(!shares_cuda(&plan), "opencl-0-0 is no card of NVIDIA's");
        plan.order.lease.slices[0].device = UUID.parse().unwrap();
        assert_eq!(shared(&plan), [UUID]);
    }

    #[test]
    fn nothing_is_intercepted_without_libraries_on_whole_cards_or_under_odd_names() {
        assert!(intercepts_cuda(&lease()).is_some());
        assert!(intercepts_cuda(&Plan { cuda: None, ..lease() }).is_none());
        let mut whole = lease();
        whole.order.lease.slices[0].mechanism = Mechanism::Whole;
        assert!(intercepts_cuda(&whole).is_none());
        for odd in ["GPU-", "GPU-x", "MIG-6f0c8a4e-1111-2222-3333-444455556666", "GPU-é"] {
            assert_eq!(bytes(odd), None, "{odd}");
        }
        let long = format!("{UUID}00");
        assert_eq!(bytes(&long), None);
    }

    #[test]
    fn programs_find_ours_in_the_leases_folder() {
        let dir = tempfile::tempdir().unwrap();
        let libraries = lease().cuda.unwrap();
        for _ in 0..2 {
            make_folder(dir.path(), &libraries).unwrap();
        }
        for (names, ours) in [(CUDA_NAMES, "/ours.so"), (NVML_NAMES, "/nvml.so")] {
            for name in names {
                let link = std::fs::read_link(dir.path().join("cuda").join(name)).unwrap();
                assert_eq!(link, Path::new(ours));
            }
        }
        assert!(stand_ins(&libraries, dir.path()).iter().all(|library| library.kept.exists()));
    }
}
