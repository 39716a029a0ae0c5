//! The program's queues: which device they feed, whether they keep order, and which of them hold
//! commands that the driver has not been told to start.
#![allow(unsafe_code)] // asking the vendor about a queue

use crate::vendor::{self, Vendor};
use crate::view;
use polder_driver::inside;
use polder_driver::locks::{read, write};
use polder_gpuapi::opencl::{consts::*, types::*};
use std::collections::BTreeMap;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, RwLock};

/// One queue of the program.
#[derive(Debug)]
pub(crate) struct Queue {
    handle: usize,
    pub(crate) vendor: &'static Vendor,
    /// Device of the lease.
    pub(crate) device: usize,
    cpu: bool,
    /// Its context; 0 when the driver does not say.
    context: usize,
    in_order: AtomicBool,
    unflushed: AtomicBool,
    /// References that the program holds: at none, the handle must not be used again.
    held: AtomicU32,
}

impl Queue {
    fn ask(handle: cl_command_queue) -> Option<Self> {
        let vendor = vendor::of(handle)?;
        let mut device: cl_device_id = null_mut();
        let get = vendor.original.clGetCommandQueueInfo?;
        // SAFETY: the program has just used the queue; the answer fits.
        let known = unsafe {
            let at = (&raw mut device).cast();
            get(handle, CL_QUEUE_DEVICE, size_of::<cl_device_id>(), at, null_mut())
        };
        if known != CL_SUCCESS {
            return None;
        }
        let queue = Self {
            handle: handle.expose_provenance(),
            vendor,
            device: view::lease_device(device)?,
            cpu: Self::ask_cpu(vendor, device),
            context: Self::ask_context(vendor, handle),
            in_order: AtomicBool::new(true),
            unflushed: AtomicBool::new(false),
            held: AtomicU32::new(1),
        };
        queue.ask_order();
        Some(queue)
    }

    fn ask_cpu(vendor: &Vendor, device: cl_device_id) -> bool {
        let mut kind: cl_device_type = 0;
        let at = (&raw mut kind).cast();
        // SAFETY: the driver has just named the device; the answer fits. When it fails it is none.
        vendor.original.clGetDeviceInfo.is_some_and(|get| unsafe {
            get(device, CL_DEVICE_TYPE, size_of_val(&kind), at, null_mut()) == CL_SUCCESS
        }) && kind & CL_DEVICE_TYPE_CPU != 0
    }

    fn ask_context(vendor: &Vendor, handle: cl_command_queue) -> usize {
        let mut context: cl_context = null_mut();
        let at = (&raw mut context).cast();
        let known = vendor.original.clGetCommandQueueInfo.is_some_and(|get| {
            // SAFETY: as in `ask`.
            let code =
                unsafe { get(handle, CL_QUEUE_CONTEXT, size_of_val(&context), at, null_mut()) };
            code == CL_SUCCESS
        });
        if known { context.expose_provenance() } else { 0 }
    }

    /// The context it belongs to.
    pub(crate) fn context(&self) -> Option<cl_context> {
        (self.context != 0).then(|| std::ptr::with_exposed_provenance_mut(self.context))
    }

    fn pointer(&self) -> cl_command_queue {
        std::ptr::with_exposed_provenance_mut(self.handle)
    }

    /// Asks the driver whether the queue keeps its commands in order.
    fn ask_order(&self) {
        let mut properties: cl_command_queue_properties = 0;
        if let Some(get) = self.vendor.original.clGetCommandQueueInfo {
            let at = (&raw mut properties).cast();
            // SAFETY: as in `ask`. When it fails the queue counts as in order.
            unsafe {
                get(self.pointer(), CL_QUEUE_PROPERTIES, size_of_val(&properties), at, null_mut());
            }
        }
        let in_order = properties & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE == 0;
        self.in_order.store(in_order, Ordering::Relaxed);
    }

    /// Whether it feeds a CPU device.
    pub(crate) fn is_cpu(&self) -> bool {
        self.cpu
    }

    pub(crate) fn in_order(&self) -> bool {
        self.in_order.load(Ordering::Relaxed)
    }

    /// The queue's handle as a number.
    pub(crate) fn key(&self) -> usize {
        self.handle
    }

    /// A command was put into the queue.
    pub(crate) fn mark(&self) {
        self.unflushed.store(true, Ordering::Release);
    }
}

/// All queues of the program.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    map: RwLock<BTreeMap<usize, Arc<Queue>>>,
}

impl Queues {
    /// The queue of a handle; none when it feeds no device of the lease.
    pub(crate) fn get(&self, handle: cl_command_queue) -> Option<Arc<Queue>> {
        if let Some(queue) = read(&self.map).get(&handle.addr()) {
            return Some(Arc::clone(queue));
        }
        // Made before this process was attached: in the parent of a fork.
        self.insert(handle)
    }

    /// A queue was made. An older entry under its handle is of one that is gone.
    pub(crate) fn insert(&self, handle: cl_command_queue) -> Option<Arc<Queue>> {
        let queue = Arc::new(Queue::ask(handle)?);
        write(&self.map).insert(handle.addr(), Arc::clone(&queue));
        Some(queue)
    }

    /// The program took another reference.
    pub(crate) fn retained(&self, handle: cl_command_queue) {
        if let Some(queue) = read(&self.map).get(&handle.addr()) {
            queue.held.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// The program is about to drop a reference. True when it was the last.
    pub(crate) fn releasing(&self, handle: cl_command_queue) -> bool {
        let mut map = write(&self.map);
        let last = map
            .get(&handle.addr())
            .is_some_and(|queue| queue.held.fetch_sub(1, Ordering::AcqRel) <= 1);
        if last {
            map.remove(&handle.addr());
        }
        last
    }

    /// The program changed a queue's properties.
    pub(crate) fn changed(&self, handle: cl_command_queue) {
        if let Some(queue) = read(&self.map).get(&handle.addr()) {
            queue.ask_order();
        }
    }

    /// Hands every queue's commands to its device: a thread that waits for them to end would
    /// otherwise wait for ever on a driver that starts nothing by itself.
    pub(crate) fn flush(&self) {
        let mut waiting = Vec::new();
        for queue in read(&self.map).values() {
            if queue.unflushed.swap(false, Ordering::AcqRel)
                && let Some(retain) = queue.vendor.original.clRetainCommandQueue
            {
                // SAFETY: while the entry is here the program holds a reference, so the handle
                // lives; ours keeps it alive after the lock is gone.
                unsafe { retain(queue.pointer()) };
                waiting.push(Arc::clone(queue));
            }
        }
        for queue in waiting {
            let original = &queue.vendor.original;
            if let (Some(flush), Some(release)) = (original.clFlush, original.clReleaseCommandQueue)
            {
                // SAFETY: the reference taken above is given back here.
                inside::accounted(|| unsafe {
                    flush(queue.pointer());
                    release(queue.pointer());
                });
            }
        }
    }
}
