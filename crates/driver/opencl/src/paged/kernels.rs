//! Which arguments of which kernels are buffers that may move: the driver was told of an object that
//! may be gone by the time the kernel runs.
#![allow(unsafe_code)] // the vendor's kernels

use super::Buffer;
use crate::vendor;
use polder_driver::inside;
use polder_driver::locks::lock;
use polder_gpuapi::opencl::{consts::*, types::*};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, Weak};

/// One argument.
#[derive(Debug)]
struct Bound {
    buffer: Weak<Buffer>,
    /// The object that the driver was told of last; 0 for none.
    told: usize,
}

/// By kernel and argument. A kernel's entries go when the program gives its last reference back, so
/// whatever is here is the handle of a kernel that lives.
#[derive(Debug, Default)]
pub(crate) struct Kernels(Mutex<BTreeMap<usize, BTreeMap<cl_uint, Bound>>>);

/// Tells the driver that an argument is this object.
fn set(kernel: cl_kernel, index: cl_uint, object: cl_mem) -> cl_int {
    let real = vendor::of(kernel).and_then(|vendor| vendor.original.clSetKernelArg);
    let Some(real) = real else { return CL_INVALID_KERNEL };
    let at = (&raw const object).cast::<c_void>();
    // SAFETY: the kernel lives; the argument is a memory object, or none.
    inside::accounted(|| unsafe { real(kernel, index, size_of::<cl_mem>(), at) })
}

impl Kernels {
    /// The program sets an argument: to a buffer, which is held, or to something else with `plain`.
    pub(crate) fn set(
        &self,
        kernel: cl_kernel,
        index: cl_uint,
        buffer: Option<&Arc<Buffer>>,
        plain: impl FnOnce() -> cl_int,
    ) -> cl_int {
        // Held over the call: a move sets arguments too, and the driver takes one at a time.
        let mut all = lock(&self.0);
        let Some(buffer) = buffer else {
            if let Some(arguments) = all.get_mut(&kernel.addr()) {
                arguments.remove(&index);
            }
            return plain();
        };
        let real = buffer.real();
        let result = set(kernel, index, real);
        if result == CL_SUCCESS {
            let bound = Bound { buffer: Arc::downgrade(buffer), told: real.addr() };
            all.entry(kernel.expose_provenance()).or_default().insert(index, bound);
        }
        result
    }

    /// The buffers among a kernel's arguments.
    pub(crate) fn buffers(&self, kernel: cl_kernel) -> Vec<Arc<Buffer>> {
        let all = lock(&self.0);
        let bound = all.get(&kernel.addr()).into_iter().flat_map(BTreeMap::values);
        bound.filter_map(|bound| bound.buffer.upgrade()).collect()
    }

    /// Tells the driver of the objects that have changed, of a kernel whose buffers are held.
    pub(crate) fn renew(&self, kernel: cl_kernel) -> Result<(), cl_int> {
        let mut all = lock(&self.0);
        for (index, bound) in all.get_mut(&kernel.addr()).into_iter().flatten() {
            let Some(buffer) = bound.buffer.upgrade() else { continue };
            let real = buffer.real();
            if bound.told != real.addr() {
                match set(kernel, *index, real) {
                    CL_SUCCESS => bound.told = real.addr(),
                    error => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// A buffer's object is about to go: no argument names it any more.
    pub(crate) fn unset(&self, buffer: &Arc<Buffer>) {
        let is = Arc::downgrade(buffer);
        for (kernel, arguments) in lock(&self.0).iter_mut() {
            let of_it = arguments.iter_mut().filter(|(_, bound)| bound.buffer.ptr_eq(&is));
            for (index, bound) in of_it.filter(|(_, bound)| bound.told != 0) {
                // What a driver does not take back it is told anew before the kernel runs.
                set(std::ptr::with_exposed_provenance_mut(*kernel), *index, std::ptr::null_mut());
                bound.told = 0;
            }
        }
    }

    /// Whether no kernel was told of any such buffer.
    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.0).is_empty()
    }

    /// A kernel is about to go.
    pub(crate) fn forget(&self, kernel: cl_kernel) {
        lock(&self.0).remove(&kernel.addr());
    }

    /// A kernel was made with the arguments of another.
    pub(crate) fn cloned(&self, from: cl_kernel, to: cl_kernel) {
        let mut all = lock(&self.0);
        let bound = all.get(&from.addr()).into_iter().flatten();
        let copy = |(index, bound): (&cl_uint, &Bound)| {
            (*index, Bound { buffer: Weak::clone(&bound.buffer), told: bound.told })
        };
        let copies = bound.map(copy).collect();
        all.insert(to.expose_provenance(), copies);
    }
}
