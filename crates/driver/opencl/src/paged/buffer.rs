//! A buffer that can be on the device or on the host: the handle that the program holds is ours, and
//! the vendor's object behind it is there only while the buffer is on the device.
//!
//! **Invariant.** A buffer is charged to the side that it is on, from before it is there until the
//! driver has let go of it. While anybody holds a [`Pin`] it stays where it is: `pins` counts them, and
//! whoever moves it has first made them [`MOVING`], which only none becomes.
#![allow(unsafe_code)] // the vendor's objects, and a handle that begins as one

use crate::vendor::Vendor;
use polder_driver::inside;
use polder_driver::locks::lock;
use polder_driver::memory::Charge;
use polder_gpuapi::opencl::{consts::*, types::*};
use std::ffi::c_void;
use std::ptr::{null_mut, with_exposed_provenance_mut};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// In `pins`: it is on its way, and nobody may hold it.
pub(super) const MOVING: u32 = 1 << 31;
/// Words that a loader may look at in an object: the dispatch table, and what ICD 2 keeps beside it.
const HEAD_WORDS: usize = 2;
/// Longest answer about an object that is kept, bytes.
const ANSWER_BYTES_MAX: usize = 1024;

/// What the driver is asked about an object when it is made: its answers never change.
const LASTING: [cl_mem_info; 9] = [
    CL_MEM_TYPE,
    CL_MEM_FLAGS,
    CL_MEM_SIZE,
    CL_MEM_HOST_PTR,
    CL_MEM_CONTEXT,
    CL_MEM_ASSOCIATED_MEMOBJECT,
    CL_MEM_OFFSET,
    CL_MEM_USES_SVM_POINTER,
    CL_MEM_PROPERTIES,
];

/// What the program's handle points at.
#[repr(C, align(16))]
#[derive(Debug)]
pub(super) struct Proxy {
    head: [usize; HEAD_WORDS],
}

/// Where the contents are, and what they are charged.
#[derive(Debug)]
pub(super) enum Side {
    Device(Charge),
    Host { _charge: Charge, contents: Vec<u8> },
}

/// One buffer.
#[derive(Debug)]
pub(crate) struct Buffer {
    pub(super) vendor: &'static Vendor,
    /// The program's handle.
    proxy: *mut Proxy,
    /// Kept alive by the vendor's object, and by a reference of ours while there is none.
    pub(super) context: usize,
    /// The context's only device, and its place in the lease.
    pub(super) cl_device: usize,
    pub(super) device: usize,
    /// As the program asked for it, and as it is charged.
    pub(super) bytes: usize,
    pub(super) charged: u64,
    flags: cl_mem_flags,
    answers: Vec<(cl_mem_info, Vec<u8>)>,
    references: AtomicU32,
    pub(super) maps: AtomicU32,
    /// Pins that no command gives back: mappings, and what is made of the buffer.
    kept: AtomicU32,
    pub(super) pins: AtomicU32,
    pub(super) used: AtomicU64,
    /// The vendor's object; 0 while the buffer is on the host.
    pub(super) real: AtomicUsize,
    /// Taken by whoever moves the buffer, and at its end.
    pub(super) side: Mutex<Option<Side>>,
    /// What the program wants called at its end, the last first.
    ends: Mutex<Vec<(MemNotify, usize)>>,
}

// SAFETY: the proxy is plain memory of ours; the vendor's objects may be used by any thread.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

/// What a new buffer is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Birth {
    pub(super) vendor: &'static Vendor,
    pub(super) context: cl_context,
    pub(super) cl_device: usize,
    pub(super) device: usize,
    pub(super) bytes: usize,
    pub(super) charged: u64,
    pub(super) flags: cl_mem_flags,
}

impl Buffer {
    /// Around the vendor's object, which is on the device.
    pub(super) fn new(birth: Birth, real: cl_mem, charge: Charge) -> Self {
        let Birth { vendor, context, cl_device, device, bytes, charged, flags } = birth;
        // SAFETY: an object of the API begins with its dispatch table; it is larger than two words.
        let head = unsafe { real.cast::<[usize; HEAD_WORDS]>().read() };
        Self {
            vendor,
            proxy: Box::into_raw(Box::new(Proxy { head })),
            context: context.expose_provenance(),
            cl_device,
            device,
            bytes,
            charged,
            flags: flags & !CL_MEM_COPY_HOST_PTR,
            answers: LASTING.into_iter().filter_map(|what| asked(vendor, real, what)).collect(),
            references: AtomicU32::new(1),
            maps: AtomicU32::new(0),
            kept: AtomicU32::new(0),
            pins: AtomicU32::new(0),
            used: AtomicU64::new(0),
            real: AtomicUsize::new(real.expose_provenance()),
            side: Mutex::new(Some(Side::Device(charge))),
            ends: Mutex::default(),
        }
    }

    /// The program's handle.
    pub(crate) fn handle(&self) -> cl_mem {
        self.proxy.cast()
    }

    /// The vendor's object; null while the buffer is on the host.
    pub(crate) fn real(&self) -> cl_mem {
        with_exposed_provenance_mut(self.real.load(Ordering::Acquire))
    }

    /// Another object for the same buffer, without contents.
    pub(super) fn make(&self) -> Result<cl_mem, cl_int> {
        let create = self.vendor.original.clCreateBuffer.ok_or(CL_INVALID_OPERATION)?;
        let context = with_exposed_provenance_mut(self.context);
        let mut error = CL_SUCCESS;
        // SAFETY: the context is kept alive; the rest was accepted once.
        let made = inside::accounted(|| unsafe {
            create(context, self.flags, self.bytes, null_mut(), &raw mut error)
        });
        match error {
            CL_SUCCESS if !made.is_null() => Ok(made),
            CL_SUCCESS => Err(CL_OUT_OF_RESOURCES),
            error => Err(error),
        }
    }

    /// Keeps the context alive while the buffer is on the host.
    pub(super) fn retain_context(&self) {
        if let Some(retain) = self.vendor.original.clRetainContext {
            // SAFETY: it lives: the vendor's object has a reference.
            inside::accounted(|| unsafe { retain(with_exposed_provenance_mut(self.context)) });
        }
    }

    /// The reverse of [`Self::retain_context`].
    pub(super) fn release_context(&self) {
        if let Some(release) = self.vendor.original.clReleaseContext {
            // SAFETY: the reference that was taken when the buffer went to the host.
            inside::accounted(|| unsafe { release(with_exposed_provenance_mut(self.context)) });
        }
    }

    /// Lets the vendor's object go.
    pub(super) fn unmake(&self, real: cl_mem) {
        if let Some(release) = self.vendor.original.clReleaseMemObject {
            // SAFETY: the object is ours, and nobody else has it.
            inside::accounted(|| unsafe { release(real) });
        }
    }

    /// Holds the buffer where it is, if it is on the device and not on its way.
    pub(super) fn pin_resident(self: &Arc<Self>) -> Option<Pin> {
        let add = |pins: u32| (pins & MOVING == 0).then_some(pins + 1);
        self.pins.fetch_update(Ordering::AcqRel, Ordering::Acquire, add).ok()?;
        let pin = Pin(Arc::clone(self));
        (!self.real().is_null()).then_some(pin)
    }

    /// Something is made of the buffer, which may outlive it: its charge goes to `keep`, which gives
    /// it back when the driver lets go of the vendor's object. The caller holds the buffer.
    pub(crate) fn hand_over(&self, keep: impl FnOnce(&'static Vendor, cl_mem, Charge)) {
        if let Some(Side::Device(charge)) = lock(&self.side).take() {
            keep(self.vendor, self.real(), charge);
        }
    }

    /// One more pin of a buffer that is held already.
    pub(crate) fn pin_again(self: &Arc<Self>) -> Option<Pin> {
        self.pin_resident()
    }

    /// Pins of commands that have not ended.
    pub(super) fn busy(&self) -> u32 {
        let pins = self.pins.load(Ordering::Acquire) & !MOVING;
        pins.saturating_sub(self.kept.load(Ordering::Acquire))
    }

    /// The program has one more reference.
    pub(crate) fn retain(&self) {
        self.references.fetch_add(1, Ordering::AcqRel);
    }

    /// The program has one reference less. True when that was its last.
    pub(crate) fn release(&self) -> bool {
        self.references.fetch_sub(1, Ordering::AcqRel) <= 1
    }

    /// What the program wants called at its end.
    pub(crate) fn at_end(&self, function: MemNotify, data: *mut c_void) {
        lock(&self.ends).push((function, data.expose_provenance()));
    }

    /// The answer to a question about the buffer, as bytes; none when the question is none.
    pub(crate) fn answer(&self, what: cl_mem_info) -> Option<Vec<u8>> {
        match what {
            CL_MEM_REFERENCE_COUNT => {
                // What is made of it, and keeps it where it is, the driver counts.
                let kept = self.kept.load(Ordering::Acquire) > 0;
                let real = kept.then(|| asked(self.vendor, self.real(), what)).flatten();
                let more = real.and_then(|(_, bytes)| bytes.try_into().ok());
                let more = more.map_or(0, |bytes| u32::from_ne_bytes(bytes).saturating_sub(1));
                let all = self.references.load(Ordering::Acquire).saturating_add(more);
                Some(all.to_ne_bytes().to_vec())
            }
            CL_MEM_MAP_COUNT => Some(self.maps.load(Ordering::Acquire).to_ne_bytes().to_vec()),
            _ => self.answers.iter().find(|(known, _)| *known == what).map(|it| it.1.clone()),
        }
    }
}

impl Drop for Buffer {
    /// Nobody has the program's handle any more, and no command the buffer.
    fn drop(&mut self) {
        let real = self.real();
        if !real.is_null() {
            self.unmake(real);
        }
        drop(lock(&self.side).take());
        let handle = self.handle();
        for (function, data) in lock(&self.ends).drain(..).rev() {
            if let Some(function) = function {
                // SAFETY: the program's own function with the argument it gave.
                inside::callback(|| unsafe { function(handle, with_exposed_provenance_mut(data)) });
            }
        }
        if real.is_null() {
            self.release_context();
        }
        // SAFETY: made in `new`; the program has given its last reference back.
        drop(unsafe { Box::from_raw(self.proxy) });
    }
}

/// What the vendor answers about its object.
fn asked(vendor: &Vendor, real: cl_mem, what: cl_mem_info) -> Option<(cl_mem_info, Vec<u8>)> {
    let get = vendor.original.clGetMemObjectInfo?;
    let (mut bytes, mut size) = (vec![0_u8; ANSWER_BYTES_MAX], 0);
    // SAFETY: the object has just been made; the answer fits or is refused.
    let known = unsafe { get(real, what, bytes.len(), bytes.as_mut_ptr().cast(), &raw mut size) };
    bytes.truncate(size);
    (known == CL_SUCCESS).then_some((what, bytes))
}

/// Holds a buffer where it is, on the device.
#[derive(Debug)]
pub(crate) struct Pin(pub(super) Arc<Buffer>);

impl Pin {
    pub(crate) fn buffer(&self) -> &Arc<Buffer> {
        &self.0
    }

    /// For as long as the buffer lives, which this does not prolong.
    pub(crate) fn keep(self) {
        self.0.kept.fetch_add(1, Ordering::AcqRel);
        // What this pin counts is given back when it is dropped; the one that is added is not.
        self.0.pins.fetch_add(1, Ordering::AcqRel);
    }

    /// A part of the buffer was mapped: it stays until that is unmapped.
    pub(crate) fn keep_mapped(self) {
        self.0.maps.fetch_add(1, Ordering::AcqRel);
        self.keep();
    }

    /// The pin of one mapping of a buffer, if there is one.
    pub(crate) fn of_map(buffer: &Arc<Buffer>) -> Option<Self> {
        let less = |maps: u32| maps.checked_sub(1);
        buffer.maps.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).ok()?;
        buffer.kept.fetch_sub(1, Ordering::AcqRel);
        // It counts what `keep` has added.
        Some(Self(Arc::clone(buffer)))
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.0.pins.fetch_sub(1, Ordering::AcqRel);
    }
}
