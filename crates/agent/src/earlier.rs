//! The `Limits` page of an agent that is gone, found again in the shim that still holds it, so
//! that its successor goes on counting where it stopped.

use crate::arbiter::Before;
use polder_ledger::map_limits;
use polder_model::LeaseId;
use std::fs::File;
use std::path::Path;

/// Most descriptors of one shim that are looked at.
const DESCRIPTORS_MAX: usize = 4096;
/// What the page is called among a process's descriptors.
const LIMITS_NAME: &str = "/memfd:polder-limits";

/// What the newest `Limits` page of `lease` says, if the shim with process id `shim` holds one.
///
/// The page is sealed against writing through any descriptor but its maker's mapping, so what is
/// read there is what an agent wrote, whoever the shim's tenant is.
pub(crate) fn limits_before(shim: u32, lease: LeaseId) -> Option<Before> {
    let folder = format!("/proc/{shim}/fd");
    let entries = std::fs::read_dir(folder).ok()?.take(DESCRIPTORS_MAX);
    entries
        .flatten()
        .filter_map(|entry| read(&entry.path(), lease))
        .max_by_key(|before| before.epoch)
}

fn read(descriptor: &Path, lease: LeaseId) -> Option<Before> {
    let target = std::fs::read_link(descriptor).ok()?;
    if !target.to_str()?.starts_with(LIMITS_NAME) {
        return None;
    }
    let page = map_limits(File::open(descriptor).ok()?).ok()?;
    (page.lease() == lease.0).then(|| Before::of(&page))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arbiter::Carried;
    use polder_ledger::LimitsWriter;
    use std::sync::atomic::Ordering;

    #[test]
    fn the_newest_page_of_the_lease_is_found() {
        let page = |lease, epoch, charged| {
            let page = LimitsWriter::create(lease, epoch).unwrap();
            page.devices.store(1, Ordering::Relaxed);
            page.device[0].charged_ns.store(charged, Ordering::Relaxed);
            page.heartbeat_ns.store(70, Ordering::Relaxed);
            page.counted_ns().unwrap().store(charged - 1, Ordering::Relaxed);
            page
        };
        let _pages = [page(901, 1, 5), page(901, 2, 9), page(902, 7, 1)];
        let me = std::process::id();
        let devices = vec![Carried { charged_ns: 9, contended_ns: 0 }];
        let newest =
            Before { epoch: 2, devices, counted_ns: Some(8), looked_ns: 70, hidden: vec![0] };
        assert_eq!(limits_before(me, LeaseId(901)), Some(newest));
        assert_eq!(limits_before(me, LeaseId(903)), None);
    }
}
