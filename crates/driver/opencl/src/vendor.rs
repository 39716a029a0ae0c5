//! The vendors' dispatch tables: what stood in them, and our functions in their place.
//!
//! Every object of the API begins with a pointer to its vendor's table, and all objects of one
//! vendor share it. So a function put into that table is called for every object, whichever loader
//! the program brought, and no handle is wrapped. What stood there before is kept, one set per table.
#![allow(unsafe_code)] // reading and writing another library's function table

use crate::hooks;
use polder_gpuapi::opencl::consts::CL_ICD2_TAG_KHR;
use polder_gpuapi::opencl::{Dispatch, FUNCTIONS, SLOTS};
use rustix::mm::{MprotectFlags, mprotect};
use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, Ordering};
use thiserror::Error;

/// Most vendor tables of one process.
const VENDORS_MAX: usize = 16;

/// One vendor's table.
#[derive(Debug)]
pub(crate) struct Vendor {
    table: *mut c_void,
    /// What stood in the table, without slots that its version does not have.
    pub(crate) original: Dispatch,
}

// SAFETY: the table's address is only compared once the vendor is made; the rest is plain data.
unsafe impl Send for Vendor {}
// SAFETY: as above.
unsafe impl Sync for Vendor {}

/// Append only; never freed, for the program's objects outlive everything else.
static VENDORS: [AtomicPtr<Vendor>; VENDORS_MAX] =
    [const { AtomicPtr::new(null_mut()) }; VENDORS_MAX];
static PATCHING: Mutex<()> = Mutex::new(());

/// Why a vendor's table was left alone.
#[derive(Debug, Error)]
pub(crate) enum PatchError {
    #[error("more than {VENDORS_MAX} vendor tables in one process")]
    TooMany,
    #[error("the vendor's table cannot be made writable: {0}")]
    Protected(rustix::io::Errno),
}

/// The vendor whose object this is.
pub(crate) fn of<T>(object: *mut T) -> Option<&'static Vendor> {
    if object.is_null() {
        return None;
    }
    // SAFETY: every object of the API begins with a pointer to its dispatch table; the loader that
    // called us has just followed it.
    let table = unsafe { object.cast::<*mut c_void>().read() };
    known().find(|vendor| vendor.table == table)
}

/// All vendors met so far.
pub(crate) fn known() -> impl Iterator<Item = &'static Vendor> {
    VENDORS.iter().map_while(|slot| {
        // SAFETY: null, or a vendor that `adopt` has leaked.
        unsafe { slot.load(Ordering::Acquire).as_ref() }
    })
}

/// How many slots the table of a vendor of this version has.
fn slots_of(version: u8) -> usize {
    FUNCTIONS.partition_point(|entry| entry.since <= version)
}

/// Reads the table that `object` begins with, without writing to it: which slots may be read
/// depends on the `version` (times ten) that its vendor declares.
pub(crate) fn read<T>(object: *mut T, version: u8) -> Dispatch {
    // SAFETY: as in `of`.
    let table = unsafe { object.cast::<*const usize>().read() };
    let mut slots = [null::<c_void>(); SLOTS];
    for (index, slot) in slots.iter_mut().enumerate().take(slots_of(version)) {
        // SAFETY: a vendor of this version has this slot; slots never go down in version.
        let value = unsafe { table.add(index).read() };
        if value != CL_ICD2_TAG_KHR {
            *slot = std::ptr::with_exposed_provenance(value);
        }
    }
    // SAFETY: a dispatch table is as many nullable function pointers, here in their own order.
    unsafe { std::mem::transmute::<[*const c_void; SLOTS], Dispatch>(slots) }
}

/// Keeps what stands in the table of `object` and puts our functions there.
pub(crate) fn adopt<T>(object: *mut T, version: u8) -> Result<&'static Vendor, PatchError> {
    let _patching = PATCHING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(vendor) = of(object) {
        return Ok(vendor);
    }
    let free = VENDORS.iter().find(|slot| slot.load(Ordering::Acquire).is_null());
    let free = free.ok_or(PatchError::TooMany)?;
    let original = read(object, version);
    // SAFETY: as in `of`.
    let table = unsafe { object.cast::<*mut c_void>().read() };
    let writable = Writable::new(table, slots_of(version) * size_of::<usize>())?;
    let vendor = Box::into_raw(Box::new(Vendor { table, original }));
    // First the originals, then the hooks: a hook always finds what it replaced.
    free.store(vendor, Ordering::Release);
    for (index, hook) in hooks::table().iter().enumerate().take(slots_of(version)) {
        if hook.is_null() {
            continue;
        }
        // SAFETY: the slot exists in this version and the page is writable now; another thread
        // that calls through it meanwhile reads the old or the new pointer, both whole.
        unsafe {
            let slot = AtomicPtr::from_ptr(table.cast::<*mut c_void>().add(index));
            let value = slot.load(Ordering::Relaxed);
            if !value.is_null() && value.addr() != CL_ICD2_TAG_KHR {
                slot.store(hook.cast_mut(), Ordering::Release);
            }
        }
    }
    drop(writable);
    // SAFETY: just leaked.
    Ok(unsafe { &*vendor })
}

/// The pages under a table, writable until dropped.
struct Writable {
    start: *mut c_void,
    length: usize,
    /// What they all were before, where the kernel says so.
    before: Option<MprotectFlags>,
}

impl Writable {
    fn new(table: *mut c_void, bytes: usize) -> Result<Self, PatchError> {
        let page = rustix::param::page_size();
        let start = table.map_addr(|at| at & !(page - 1));
        let length = (table.addr() + bytes).next_multiple_of(page) - start.addr();
        let last = start.addr() + length - 1;
        let before = protection(start.addr()).filter(|rights| protection(last) == Some(*rights));
        let rights = before.unwrap_or(MprotectFlags::READ) | MprotectFlags::WRITE;
        // SAFETY: the pages hold data of the vendor's library; adding the right to write takes
        // nothing from anybody.
        unsafe { mprotect(start, length, rights) }.map_err(PatchError::Protected)?;
        Ok(Self { start, length, before })
    }
}

impl Drop for Writable {
    fn drop(&mut self) {
        if let Some(before) = self.before.filter(|before| !before.contains(MprotectFlags::WRITE)) {
            // SAFETY: gives the pages the rights they had. When that fails they stay writable,
            // as most vendors' tables are anyway.
            let _ = unsafe { mprotect(self.start, self.length, before) };
        }
    }
}

/// The rights of the mapping around `address`, from the kernel's list.
fn protection(address: usize) -> Option<MprotectFlags> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (from, to) = range.split_once('-')?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        if !(number(from)?..number(to)?).contains(&address) {
            return None;
        }
        let mut flags = MprotectFlags::empty();
        flags.set(MprotectFlags::READ, rest.starts_with('r'));
        flags.set(MprotectFlags::WRITE, rest[1..].starts_with('w'));
        flags.set(MprotectFlags::EXEC, rest[2..].starts_with('x'));
        Some(flags)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use polder_gpuapi::opencl::Function;
    use polder_gpuapi::opencl::types::cl_platform_id;
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

    /// A vendor's read-only table of some version that ends where its page does; the page behind
    /// it must never be touched.
    fn table(version: u8, fill: impl Fn(usize) -> usize) -> *mut usize {
        let page = rustix::param::page_size();
        let count = slots_of(version);
        // SAFETY: fresh pages of our own; what is written lies in the first.
        unsafe {
            let rights = ProtFlags::READ | ProtFlags::WRITE;
            let pages = mmap_anonymous(null_mut(), 2 * page, rights, MapFlags::PRIVATE).unwrap();
            let table = pages.byte_add(page).cast::<usize>().sub(count);
            (0..count).for_each(|slot| table.add(slot).write(fill(slot)));
            mprotect(pages, page, MprotectFlags::READ).unwrap();
            mprotect(pages.byte_add(page), page, MprotectFlags::empty()).unwrap();
            table
        }
    }

    #[test]
    fn a_table_is_patched_up_to_its_version_and_neither_gaps_nor_tags_are() {
        let (gap, tag) = (Function::clEnqueueTask.slot(), Function::clGetPlatformIDs.slot());
        let table = table(12, |slot| match slot {
            _ if slot == gap => 0,
            _ if slot == tag => CL_ICD2_TAG_KHR,
            _ => 0x1000 + slot,
        });
        let mut object = table;
        let object: cl_platform_id = (&raw mut object).cast();
        let vendor = adopt(object, 12).unwrap();
        assert!(std::ptr::eq(adopt(object, 12).unwrap(), vendor), "adopted once");
        for (slot, hook) in hooks::table().iter().enumerate().take(slots_of(12)) {
            // SAFETY: within the table.
            let now = unsafe { table.add(slot).read() };
            let kept = hook.is_null() || slot == gap || slot == tag;
            let before = if slot == gap { 0 } else { 0x1000 + slot };
            let before = if slot == tag { CL_ICD2_TAG_KHR } else { before };
            assert_eq!(now, if kept { before } else { hook.addr() }, "{}", FUNCTIONS[slot].name);
        }
        assert!(vendor.original.clGetPlatformIDs.is_none());
        assert!(vendor.original.clSVMAlloc.is_none());
        let original = vendor.original.clCreateBuffer.unwrap() as usize;
        assert_eq!(original, 0x1000 + Function::clCreateBuffer.slot());
        assert_eq!(protection(table.addr()), Some(MprotectFlags::READ));
    }
}
