//! The environment of a task: what the user gave, and what Polder adds. Pure.

use super::cuda::{intercepts_cuda, shared};
use crate::shim::{CUDA_FOLDER, DRIVER_SOCKET, ICD_FOLDER, Plan};
use crate::spatial::units;
use crate::spatial::words::OTHER_VARIABLES;
use polder_model::{Address, Mechanism};
use std::collections::BTreeMap;
use std::path::Path;

/// Where programs are looked up when the user's environment has no `PATH`.
pub(crate) const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// Names the lease's folder to every process of the lease: by it the leftovers of a shim that was
/// killed are found where there are no cgroups.
pub(crate) const LEASE_DIR_VARIABLE: &str = "POLDER_LEASE_DIR";

/// Names the folder of the ICDs to every loader of OpenCL.
pub(crate) const OPENCL_VENDORS_VARIABLE: &str = "OCL_ICD_VENDORS";

/// Variables with which a loader of OpenCL would find drivers other than Polder's.
const LOADER_VARIABLES: [&str; 2] = ["OCL_ICD_FILENAMES", "OPENCL_VENDOR_PATH"];

/// What hides every device from the vendors' own runtimes: an empty list, and for HIP, which takes
/// an empty one for none given, a number that no device has.
const NO_DEVICES: [(&str, &str); 4] = [
    ("CUDA_VISIBLE_DEVICES", ""),
    ("NVIDIA_VISIBLE_DEVICES", ""),
    ("ROCR_VISIBLE_DEVICES", ""),
    ("HIP_VISIBLE_DEVICES", "-1"),
];

/// Whether the lease shares a device, so that its programs are held by Polder's driver.
pub(crate) fn shares(plan: &Plan) -> bool {
    plan.order.lease.slices.iter().any(|slice| slice.mechanism == Mechanism::TimeSlice)
}

/// Whether the lease's programs reach a shared device through OpenCL.
pub(crate) fn shares_opencl(plan: &Plan) -> bool {
    let opencl = |address: &Address| matches!(address, Address::Opencl { .. });
    shares(plan) && plan.addresses.iter().any(opencl)
}

/// Whether Polder's driver stands in for the vendors' in the lease's programs.
pub(crate) fn intercepts_opencl(plan: &Plan) -> bool {
    plan.driver.is_some() && shares_opencl(plan)
}

/// Whether the lease has no device, so that its programs must find none.
pub(crate) fn has_no_device(plan: &Plan) -> bool {
    plan.order.lease.slices.is_empty()
}

/// Whether the vendors' OpenCL drivers are hidden from the lease's programs: Polder's stands in for
/// them or for CUDA, whose cards they would show too, or there is no device to be found.
pub(crate) fn hides_opencl(plan: &Plan) -> bool {
    intercepts_opencl(plan) || intercepts_cuda(plan).is_some() || has_no_device(plan)
}

/// The whole environment of the task. `master` is rank 0's `address:port`; a gang of one meets on
/// `own_port` of this machine.
pub(crate) fn environment(
    plan: &Plan,
    dir: &Path,
    master: Option<&str>,
    own_port: Option<u16>,
) -> BTreeMap<String, String> {
    let order = &plan.order;
    let mut all = order.work.environment.clone();
    all.entry("PATH".to_owned()).or_insert_with(|| PATH_DEFAULT.to_owned());
    let mut set = |name: &str, value: String| drop(all.insert(name.to_owned(), value));
    set("RANK", order.gang.rank.to_string());
    set("WORLD_SIZE", order.gang.size.to_string());
    set("LOCAL_RANK", order.gang.local_rank.to_string());
    set("LOCAL_WORLD_SIZE", order.gang.local_size.to_string());
    let own = own_port.map(|port| format!("127.0.0.1:{port}"));
    if let Some((address, port)) =
        master.or(own.as_deref()).and_then(|master| master.rsplit_once(':'))
    {
        set("MASTER_ADDR", address.trim_matches(['[', ']']).to_owned());
        set("MASTER_PORT", port.to_owned());
    }
    set("POLDER_JOB", order.lease.job.to_string());
    set("POLDER_LEASE", order.lease.id.to_string());
    set("POLDER_TASK", order.lease.task.to_string());
    set(LEASE_DIR_VARIABLE, dir.display().to_string());
    let uuids: Vec<&str> = whole_nvidia(plan).collect();
    if !uuids.is_empty() {
        set("NVIDIA_VISIBLE_DEVICES", uuids.join(","));
        set("CUDA_VISIBLE_DEVICES", uuids.join(","));
    }
    if intercepts_cuda(plan).is_some() {
        let uuids = shared(plan).join(",");
        set("NVIDIA_VISIBLE_DEVICES", uuids.clone());
        set("CUDA_VISIBLE_DEVICES", uuids);
        let ours = dir.join(CUDA_FOLDER).display().to_string();
        let before = order.work.environment.get("LD_LIBRARY_PATH").filter(|path| !path.is_empty());
        set("LD_LIBRARY_PATH", before.map_or(ours.clone(), |path| format!("{ours}:{path}")));
    }
    if let Some(place) = &plan.mps {
        set("NVIDIA_VISIBLE_DEVICES", place.uuid.clone());
        set("CUDA_VISIBLE_DEVICES", place.uuid.clone());
        place.variables().into_iter().for_each(|(name, value)| set(name, value));
        let others = OTHER_VARIABLES.into_iter().chain([place.contradicts()]);
        others.for_each(|name| drop(all.remove(name)));
    }
    if let Some(mask) = &plan.units {
        units::OTHER_VARIABLES.iter().for_each(|name| drop(all.remove(*name)));
        all.extend(mask.variables().map(|(name, value)| (name.to_owned(), value)));
    }
    let mut set = |name: &str, value: String| drop(all.insert(name.to_owned(), value));
    if shares(plan) {
        set("POLDER_SOCKET", dir.join(DRIVER_SOCKET).display().to_string());
    } else {
        all.remove("POLDER_SOCKET");
    }
    if has_no_device(plan) {
        all.extend(NO_DEVICES.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    if hides_opencl(plan) {
        LOADER_VARIABLES.iter().for_each(|name| drop(all.remove(*name)));
        all.insert(OPENCL_VENDORS_VARIABLE.into(), dir.join(ICD_FOLDER).display().to_string());
    }
    all
}

/// UUIDs of the NVIDIA devices that the lease has whole.
fn whole_nvidia(plan: &Plan) -> impl Iterator<Item = &str> {
    plan.order.lease.slices.iter().zip(&plan.addresses).filter_map(|(slice, address)| {
        match (slice.mechanism, address) {
            (Mechanism::Whole, Address::Nvml { uuid, .. }) => Some(uuid.as_str()),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::test_plan;

    fn opencl() -> Address {
        Address::Opencl { library: "libpocl.so.2".into(), platform: "PoCL".into(), index: 0 }
    }

    fn check(change: impl FnOnce(&mut Plan), name: &str, expect: Option<&str>) {
        let mut plan = test_plan(&["true"]);
        change(&mut plan);
        let all = environment(&plan, Path::new("/s/L7"), Some("node1:4000"), Some(5000));
        assert_eq!(all.get(name).map(String::as_str), expect, "{name}");
    }

    fn share(plan: &mut Plan) {
        plan.addresses = vec![opencl()];
        plan.driver = Some("/lib/libpolder_opencl.so".into());
    }

    fn give(name: &'static str) -> impl FnOnce(&mut Plan) {
        move |plan| {
            share(plan);
            plan.order.work.environment.insert(name.into(), "mine".into());
        }
    }

    #[test]
    fn a_task_knows_its_place() {
        check(|p| p.order.gang.rank = 3, "RANK", Some("3"));
        check(|p| p.order.gang.local_size = 2, "LOCAL_WORLD_SIZE", Some("2"));
        check(|_| (), "MASTER_ADDR", Some("node1"));
        check(|_| (), "MASTER_PORT", Some("4000"));
        check(|_| (), "POLDER_LEASE", Some("L7"));
        check(|p| p.order.work.environment.clear(), "PATH", Some(PATH_DEFAULT));
        let alone = environment(&test_plan(&["true"]), Path::new("/"), None, Some(5000));
        assert_eq!((&*alone["MASTER_ADDR"], &*alone["MASTER_PORT"]), ("127.0.0.1", "5000"));
        let six = environment(&test_plan(&["true"]), Path::new("/"), Some("[::1]:9"), None);
        assert_eq!((&*six["MASTER_ADDR"], &*six["MASTER_PORT"]), ("::1", "9"));
    }

    #[test]
    fn a_share_is_intercepted_whatever_the_user_set() {
        check(share, "POLDER_SOCKET", Some("/s/L7/driver.sock"));
        check(give("OCL_ICD_VENDORS"), "OCL_ICD_VENDORS", Some("/s/L7/icd"));
        check(give("OCL_ICD_FILENAMES"), "OCL_ICD_FILENAMES", None);
        check(give("POLDER_LEASE"), "POLDER_LEASE", Some("L7"));
        check(give("OTHER"), "OTHER", Some("mine"));
    }

    #[test]
    fn a_job_without_devices_finds_none_whatever_the_user_set() {
        let none = |plan: &mut Plan| {
            plan.order.lease.slices.clear();
            plan.addresses.clear();
            for name in ["OCL_ICD_VENDORS", "OCL_ICD_FILENAMES", "CUDA_VISIBLE_DEVICES"] {
                plan.order.work.environment.insert(name.into(), "mine".into());
            }
        };
        check(none, "OCL_ICD_VENDORS", Some("/s/L7/icd"));
        check(none, "OCL_ICD_FILENAMES", None);
        check(none, "POLDER_SOCKET", None);
        for (name, value) in NO_DEVICES {
            check(none, name, Some(value));
        }
    }

    #[test]
    fn a_shared_card_is_found_through_our_library_first() {
        let card = |plan: &mut Plan| {
            let uuid = "GPU-6f0c8a4e-1111-2222-3333-444455556666".to_owned();
            plan.addresses = vec![Address::Nvml { index: 0, uuid }];
            let (ours, vendor) = ("/ours.so".into(), "/v/libcuda.so.5".into());
            plan.cuda = Some(crate::shim::CudaLibraries { ours, vendor, nvml: None });
        };
        check(card, "LD_LIBRARY_PATH", Some("/s/L7/cuda"));
        let uuid = "GPU-6f0c8a4e-1111-2222-3333-444455556666";
        check(card, "CUDA_VISIBLE_DEVICES", Some(uuid));
        check(card, "OCL_ICD_VENDORS", Some("/s/L7/icd"));
        let with = |plan: &mut Plan| {
            card(plan);
            let environment = &mut plan.order.work.environment;
            environment.insert("LD_LIBRARY_PATH".into(), "/mine".into());
            environment.insert("CUDA_VISIBLE_DEVICES".into(), "0,1,2".into());
        };
        check(with, "LD_LIBRARY_PATH", Some("/s/L7/cuda:/mine"));
        check(with, "CUDA_VISIBLE_DEVICES", Some(uuid));
        check(share, "LD_LIBRARY_PATH", None);
    }

    #[test]
    fn a_spatial_part_is_told_whatever_the_user_set() {
        let spatial = |plan: &mut Plan| {
            plan.order.lease.slices[0].mechanism = Mechanism::Spatial;
            plan.addresses = vec![Address::Nvml { index: 0, uuid: "GPU-1".into() }];
            plan.mps = Some(crate::spatial::words::Place {
                pipe: "/s/mps/0".into(),
                uuid: "GPU-1".into(),
                part: crate::spatial::words::Part {
                    compute: polder_model::Permille(255),
                    memory_mib: 2048,
                },
                partition: None,
            });
            let mine = ["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "CUDA_MPS_CLIENT_PRIORITY"];
            let more = ["CUDA_VISIBLE_DEVICES", "CUDA_MPS_SM_PARTITION"];
            for name in mine.into_iter().chain(more) {
                plan.order.work.environment.insert(name.into(), "100".into());
            }
        };
        check(spatial, "CUDA_MPS_PIPE_DIRECTORY", Some("/s/mps/0"));
        check(spatial, "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", Some("25.5"));
        check(spatial, "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", Some("0=2048M"));
        check(spatial, "CUDA_VISIBLE_DEVICES", Some("GPU-1"));
        check(spatial, "CUDA_MPS_CLIENT_PRIORITY", None);
        check(spatial, "CUDA_MPS_SM_PARTITION", None);
        check(spatial, "POLDER_SOCKET", None);
        check(spatial, "OCL_ICD_VENDORS", None);
    }

    #[test]
    fn a_whole_device_is_not() {
        let whole = |plan: &mut Plan| {
            share(plan);
            plan.order.lease.slices[0].mechanism = Mechanism::Whole;
        };
        check(whole, "OCL_ICD_VENDORS", None);
        check(whole, "POLDER_SOCKET", None);
        let nvidia = |plan: &mut Plan| {
            plan.order.lease.slices[0].mechanism = Mechanism::Whole;
            plan.addresses = vec![Address::Nvml { index: 0, uuid: "GPU-1".into() }];
        };
        check(nvidia, "CUDA_VISIBLE_DEVICES", Some("GPU-1"));
        check(nvidia, "NVIDIA_VISIBLE_DEVICES", Some("GPU-1"));
        check(share, "CUDA_VISIBLE_DEVICES", None);
    }
}
