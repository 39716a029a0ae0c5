//! Buffers of a lease that has host memory behind its device.
//!
//! Such a buffer goes to the host when another of the same process has to be on the device and there is
//! no room, and comes back before the next command that uses it. Whoever runs when that happens is the
//! program's own thread, in the call that needs the room: no thread of ours, and no other process, ever
//! touches a buffer. So a lease keeps at most its memory on the device, whether it works or idles, and
//! nobody waits for a tenant that sleeps.
//!
//! The handle of such a buffer is ours ([`buffer`]): it begins as the vendor's objects do, so that every
//! loader finds the way, and each hook that takes memory objects puts the vendor's own in its place
//! ([`real`]). Arguments of kernels are put anew where the object has changed ([`kernels`]). Which
//! buffers move is decided by a plan ([`mod@plan`]).
//!
//! What stays on the device for good: images, pipes, shared virtual memory, buffers over or shared with
//! the program's memory or with flags about the host's access, buffers of a context of several devices,
//! and whatever has a sub-buffer or an image made of it. What stays for a while: whatever a command
//! that has not ended uses, and what is mapped.
//!
//! **Bounds.** A move waits for the lease's turn, and for its copy, as any command does. A function of
//! the program that the driver calls back never moves anything: what is not on the device is an error.
#![allow(unsafe_code)] // the vendor's objects

mod buffer;
mod kernels;
mod plan;

use crate::gate::at_once;
use crate::hooks::filling;
use crate::own;
use crate::vendor::Vendor;
use buffer::{Birth, MOVING, Side};
pub(crate) use buffer::{Buffer, Pin};
use kernels::Kernels;
pub(crate) use plan::Stay;
use plan::{Seen, Sides, Step, admits, come_back, plan};
use polder_driver::inside;
use polder_driver::locks::{lock, read, write};
use polder_driver::memory::Charge;
use polder_driver::state;
use polder_gpuapi::opencl::{consts::*, types::*};
use polder_ledger::memory::{charge, held};
use std::collections::BTreeMap;
use std::ptr::{null, null_mut, with_exposed_provenance_mut};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

/// Flags with which a buffer may move: all others say something about the program's own memory, or
/// about who may read what is moved.
const MOVABLE: cl_mem_flags =
    CL_MEM_READ_WRITE | CL_MEM_READ_ONLY | CL_MEM_WRITE_ONLY | CL_MEM_COPY_HOST_PTR;
/// Longest wait for commands that hold what is in the way, while none of them ends.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// The same while the program holds commands back by an event of its own: it may be the waiting thread
/// that is to release them.
const WAIT_HELD_BACK_MAX: Duration = Duration::from_secs(1);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_micros(100);

/// All of the process's buffers that may move.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    /// By handle.
    table: RwLock<BTreeMap<usize, Arc<Buffer>>>,
    /// How many there are: most programs have none, and pay for one look at this.
    number: AtomicUsize,
    /// Held by whoever moves buffers; never taken by a thread of the driver.
    moving: Mutex<()>,
    /// Held from the look at what there is to the reserving of more: what was admitted is counted
    /// before anybody else looks. A thread of the driver never waits for it.
    admitting: Mutex<()>,
    /// Bytes of buffers that were admitted and are not in the table yet. Never held while waiting.
    making: Mutex<Vec<u64>>,
    clock: AtomicU64,
    kernels: Kernels,
}

/// What a lease may have of a device and behind it, and what it has.
struct Account {
    terms: Sides,
    held: Sides,
}

impl Account {
    fn of(device: usize) -> Option<Self> {
        let attachment = state::get().attachment.as_ref()?;
        let (limits, usage) = (attachment.limits(), attachment.usage());
        let row = limits.backing_row(device)?;
        let most = |row: usize| limits.device[row].memory_max.load(Ordering::Relaxed);
        Some(Self {
            terms: Sides { device: most(device), host: most(row) },
            held: Sides { device: held(usage, device), host: held(usage, row) },
        })
    }
}

impl Pages {
    /// Whether there is any buffer that may move.
    pub(crate) fn is_idle(&self) -> bool {
        self.number.load(Ordering::Acquire) == 0
    }

    /// The buffer of a handle, if it is one that may move.
    pub(crate) fn get(&self, handle: cl_mem) -> Option<Arc<Buffer>> {
        if self.is_idle() {
            return None;
        }
        read(&self.table).get(&handle.addr()).cloned()
    }

    /// The program's handle of the buffer that the vendor knows as `real`.
    pub(crate) fn handle_of(&self, real: cl_mem) -> Option<cl_mem> {
        if self.is_idle() || real.is_null() {
            return None;
        }
        let table = read(&self.table);
        table.values().find(|buffer| buffer.real() == real).map(|buffer| buffer.handle())
    }

    pub(crate) fn kernels(&self) -> &Kernels {
        &self.kernels
    }

    /// The program has given its last reference back.
    pub(crate) fn forget(&self, buffer: &Arc<Buffer>) {
        if write(&self.table).remove(&buffer.handle().addr()).is_some() {
            self.number.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Holds all of these on the device, bringing them there first.
    pub(crate) fn hold(&self, buffers: &[Arc<Buffer>]) -> Result<Vec<Pin>, cl_int> {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        buffers.iter().for_each(|buffer| buffer.used.store(now, Ordering::Relaxed));
        let there = || buffers.iter().map(Buffer::pin_resident).collect::<Option<Vec<Pin>>>();
        if let Some(pins) = there() {
            return Ok(pins);
        }
        if inside::is_callback() {
            return Err(CL_MEM_OBJECT_ALLOCATION_FAILURE);
        }
        let device = buffers.first().map_or(0, |buffer| buffer.device);
        let needed: Vec<usize> = buffers.iter().map(|it| it.handle().addr()).collect();
        self.until(device, &needed, 0, there)
    }

    /// Moves buffers so that `needed` are on a device and `more` bytes are free there, until `done` says
    /// so. Waits for commands that hold what is in the way, as long as any of them end.
    fn until<T>(
        &self,
        device: usize,
        needed: &[usize],
        more: u64,
        done: impl Fn() -> Option<T>,
    ) -> Result<T, cl_int> {
        let _moving = lock(&self.moving);
        let (mut since, mut before, mut was_idle) = (Instant::now(), 0, false);
        loop {
            if let Some(done) = done() {
                return Ok(done);
            }
            match self.follow(device, needed, more) {
                Ok(()) => continue,
                Err(CL_MEM_OBJECT_ALLOCATION_FAILURE) => {}
                Err(error) => return Err(error),
            }
            let own = own::get();
            own.queues.flush();
            let busy: u32 = read(&self.table).values().map(|buffer| buffer.busy()).sum();
            if busy != before {
                (since, before) = (Instant::now(), busy);
            }
            let wait = if own.graph.is_idle() { WAIT_MAX } else { WAIT_HELD_BACK_MAX };
            // The last may have ended after the plan was made: then there is one more.
            if busy == 0 && !was_idle {
                was_idle = true;
                continue;
            }
            was_idle = busy == 0;
            if busy == 0 || since.elapsed() > wait {
                return done().ok_or(CL_MEM_OBJECT_ALLOCATION_FAILURE);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// One plan. The caller holds `moving`.
    fn follow(&self, device: usize, needed: &[usize], more: u64) -> Result<(), cl_int> {
        let account = Account::of(device).ok_or(CL_MEM_OBJECT_ALLOCATION_FAILURE)?;
        let buffers: BTreeMap<usize, Arc<Buffer>> = read(&self.table).clone();
        let of_device = buffers.iter().filter(|(_, it)| it.device == device);
        let seen: Vec<Seen> = of_device.map(|(id, buffer)| seen(*id, buffer)).collect();
        let steps = plan(&seen, needed, more, account.terms, account.held);
        for step in steps.map_err(|_| CL_MEM_OBJECT_ALLOCATION_FAILURE)? {
            let (Step::Out(id) | Step::In(id)) = step;
            let Some(buffer) = buffers.get(&id) else { continue };
            let expect = matches!(step, Step::In(_));
            // Held in the meantime, or gone: the next plan knows.
            let take = buffer.pins.compare_exchange(0, MOVING, Ordering::AcqRel, Ordering::Acquire);
            if take.is_err() || buffer.real().is_null() != expect {
                if take.is_ok() {
                    buffer.pins.store(0, Ordering::Release);
                }
                return Ok(());
            }
            let moved = match step {
                Step::Out(_) => self.move_out(buffer),
                Step::In(_) => move_in(buffer),
            };
            buffer.pins.store(0, Ordering::Release);
            moved?;
        }
        Ok(())
    }

    /// To the host. Nothing of it is lost when that fails.
    fn move_out(&self, buffer: &Arc<Buffer>) -> Result<(), cl_int> {
        let full = CL_MEM_OBJECT_ALLOCATION_FAILURE;
        let charge = Charge::reserve_behind(state::get(), &[buffer.device], buffer.charged);
        let charge = charge.ok_or(full)?;
        let mut contents: Vec<u8> = Vec::new();
        contents.try_reserve_exact(buffer.bytes).map_err(|_| CL_OUT_OF_HOST_MEMORY)?;
        contents.resize(buffer.bytes, 0);
        let real = buffer.real();
        let queue = Copier::new(buffer)?;
        at_once(buffer.device, filling(buffer.charged), || queue.read(real, &mut contents))?;
        drop(queue);
        // A vendor may hold on to what an argument names.
        self.kernels.unset(buffer);
        buffer.retain_context();
        buffer.real.store(0, Ordering::Release);
        buffer.unmake(real);
        // The charge of the device goes with what stood here before.
        *lock(&buffer.side) = Some(Side::Host { _charge: charge, contents });
        Ok(())
    }

    /// Makes a buffer, moving others to the host where there is no room. None when it is not one
    /// that may move: then it is made as ever. `create` calls the driver.
    pub(crate) fn make(
        &self,
        (vendor, context): (&'static Vendor, cl_context),
        (flags, bytes): (cl_mem_flags, usize),
        filled: bool,
        create: impl FnOnce(&mut cl_int) -> Option<cl_mem>,
    ) -> Option<Result<cl_mem, cl_int>> {
        if bytes == 0 || flags & !MOVABLE != 0 || inside::is_accounted() {
            return None;
        }
        if !is_on() {
            return None;
        }
        let limits = state::get().attachment.as_ref()?.limits();
        let (cl_device, device) = only_device(vendor, context)?;
        let granularity = limits.device[device].granularity.load(Ordering::Relaxed);
        let charged = charge(u64::try_from(bytes).ok()?, granularity)?;
        let birth = Birth { vendor, context, cl_device, device, bytes, charged, flags };
        Some(self.make_here(birth, filled, create))
    }

    fn make_here(
        &self,
        birth: Birth,
        filled: bool,
        create: impl FnOnce(&mut cl_int) -> Option<cl_mem>,
    ) -> Result<cl_mem, cl_int> {
        let full = CL_MEM_OBJECT_ALLOCATION_FAILURE;
        let bytes = birth.charged;
        let charge = self.reserve(birth.device, bytes, Stay::Moves).ok_or(full)?;
        let made = self.make_admitted(birth, charge, filled, create);
        self.is_made(bytes);
        made
    }

    /// What was admitted is in the table now, or has come to nothing.
    fn is_made(&self, bytes: u64) {
        let mut making = lock(&self.making);
        if let Some(at) = making.iter().position(|it| *it == bytes) {
            making.swap_remove(at);
        }
    }

    fn make_admitted(
        &self,
        birth: Birth,
        charge: Charge,
        filled: bool,
        create: impl FnOnce(&mut cl_int) -> Option<cl_mem>,
    ) -> Result<cl_mem, cl_int> {
        let call = || {
            let mut error = CL_SUCCESS;
            let made = inside::accounted(|| create(&mut error));
            let made = made.ok_or(CL_INVALID_OPERATION)?;
            match error {
                _ if !made.is_null() => Ok(made),
                CL_SUCCESS => Err(CL_OUT_OF_RESOURCES),
                error => Err(error),
            }
        };
        let real =
            if filled { at_once(birth.device, filling(birth.charged), call)? } else { call()? };
        let buffer = Arc::new(Buffer::new(birth, real, charge));
        buffer.used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        let handle = buffer.handle();
        write(&self.table).insert(handle.expose_provenance(), buffer);
        self.number.fetch_add(1, Ordering::AcqRel);
        Ok(handle)
    }

    /// Reserves bytes of a device for what is made there, moving buffers to the host where there is no
    /// room for it. None also where the buffers that there are could then not all come back.
    pub(crate) fn reserve(&self, device: usize, bytes: u64, stay: Stay) -> Option<Charge> {
        let _admitting = match (is_on(), inside::is_callback()) {
            (false, _) => None,
            (true, true) => Some(self.admitting.try_lock().ok()?),
            (true, false) => Some(lock(&self.admitting)),
        };
        if let Some(account) = Account::of(device) {
            let table = read(&self.table);
            let here = || table.values().filter(|it| it.device == device);
            let mut making = lock(&self.making);
            let all = here().map(|it| it.charged).chain(making.iter().copied());
            let largest = all.max().unwrap_or(0);
            let moves = here().filter(|it| !it.real().is_null()).map(|it| it.charged).sum();
            let fixed = account.held.device.saturating_sub(moves);
            if !admits(account.terms, account.held, largest, bytes)
                || !come_back(account.terms, fixed, largest, bytes, stay)
            {
                count_refusal();
                return None;
            }
            if stay == Stay::Moves {
                making.push(bytes);
            }
        }
        let reserve = || Charge::reserve(state::get(), &[device], bytes);
        let charge = reserve();
        if charge.is_some() {
            return charge;
        }
        if self.is_idle() || inside::is_callback() {
            if stay == Stay::Moves {
                self.is_made(bytes);
            }
            return None;
        }
        // The first try counted as a refusal.
        let charge = self.until(device, &[], bytes, reserve).ok();
        match &charge {
            Some(_) => Charge::was_met(state::get()),
            None if stay == Stay::Moves => self.is_made(bytes),
            None => {}
        }
        charge
    }
}

/// Whether the lease has host memory behind any device.
pub(crate) fn is_on() -> bool {
    state::get().attachment.as_ref().is_some_and(|attachment| {
        let limits = attachment.limits();
        (0..limits.device_count()).any(|device| limits.backing_row(device).is_some())
    })
}

fn seen(id: usize, buffer: &Buffer) -> Seen {
    Seen {
        id,
        bytes: buffer.charged,
        used: buffer.used.load(Ordering::Relaxed),
        resident: !buffer.real().is_null(),
        held: buffer.pins.load(Ordering::Acquire) != 0,
    }
}

fn count_refusal() {
    if let Some(attachment) = &state::get().attachment {
        attachment.slot().refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// To the device. What is on the host stays there when that fails.
fn move_in(buffer: &Arc<Buffer>) -> Result<(), cl_int> {
    let charge = Charge::reserve(state::get(), &[buffer.device], buffer.charged);
    let charge = charge.ok_or(CL_MEM_OBJECT_ALLOCATION_FAILURE)?;
    let real = buffer.make()?;
    let mut side = lock(&buffer.side);
    let copied = match &*side {
        Some(Side::Host { contents, .. }) => Copier::new(buffer).and_then(|queue| {
            at_once(buffer.device, filling(buffer.charged), || queue.write(real, contents))
        }),
        _ => Err(CL_OUT_OF_RESOURCES),
    };
    if let Err(error) = copied {
        buffer.unmake(real);
        return Err(error);
    }
    *side = Some(Side::Device(charge));
    buffer.real.store(real.expose_provenance(), Ordering::Release);
    // The new object has a reference of its own.
    buffer.release_context();
    Ok(())
}

/// The only device of a context, and its place in the lease; none when it has several.
fn only_device(vendor: &Vendor, context: cl_context) -> Option<(usize, usize)> {
    let get = vendor.original.clGetContextInfo?;
    let (mut device, mut size): (cl_device_id, usize) = (null_mut(), 0);
    // SAFETY: the context is the caller's; an answer that does not fit is refused.
    let known = unsafe {
        let at = (&raw mut device).cast();
        get(context, CL_CONTEXT_DEVICES, size_of::<cl_device_id>(), at, &raw mut size)
    };
    let only = known == CL_SUCCESS && size == size_of::<cl_device_id>();
    let of_lease = crate::view::lease_device(device).filter(|_| only)?;
    Some((device.expose_provenance(), of_lease))
}

/// A queue of our own for one move.
struct Copier {
    vendor: &'static Vendor,
    queue: cl_command_queue,
}

impl Copier {
    fn new(buffer: &Buffer) -> Result<Self, cl_int> {
        let vendor = buffer.vendor;
        let create = vendor.original.clCreateCommandQueue.ok_or(CL_INVALID_OPERATION)?;
        let context = with_exposed_provenance_mut(buffer.context);
        let device = with_exposed_provenance_mut(buffer.cl_device);
        let mut error = CL_SUCCESS;
        // SAFETY: the buffer keeps its context alive, and that its device.
        let queue = inside::accounted(|| unsafe { create(context, device, 0, &raw mut error) });
        if queue.is_null() { Err(error) } else { Ok(Self { vendor, queue }) }
    }

    fn read(&self, from: cl_mem, to: &mut [u8]) -> Result<(), cl_int> {
        let read = self.vendor.original.clEnqueueReadBuffer.ok_or(CL_INVALID_OPERATION)?;
        let (at, bytes) = (to.as_mut_ptr().cast(), to.len());
        // SAFETY: the object is held; the call returns when it has written all of `to`.
        let result = inside::accounted(|| unsafe {
            read(self.queue, from, CL_TRUE, 0, bytes, at, 0, null(), null_mut())
        });
        if result == CL_SUCCESS { Ok(()) } else { Err(result) }
    }

    fn write(&self, to: cl_mem, from: &[u8]) -> Result<(), cl_int> {
        let write = self.vendor.original.clEnqueueWriteBuffer.ok_or(CL_INVALID_OPERATION)?;
        let (at, bytes) = (from.as_ptr().cast(), from.len());
        // SAFETY: the object is ours; the call returns when it has read all of `from`.
        let result = inside::accounted(|| unsafe {
            write(self.queue, to, CL_TRUE, 0, bytes, at, 0, null(), null_mut())
        });
        if result == CL_SUCCESS { Ok(()) } else { Err(result) }
    }
}

impl Drop for Copier {
    fn drop(&mut self) {
        if let Some(release) = self.vendor.original.clReleaseCommandQueue {
            // SAFETY: made in `new`; nothing of it is left.
            inside::accounted(|| unsafe { release(self.queue) });
        }
    }
}

/// Buffers that a call needs on the device, and then has there.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    buffers: Vec<Arc<Buffer>>,
    /// The kernel that is launched, if one is.
    kernel: Option<cl_kernel>,
}

impl Needs {
    fn add(&mut self, handle: cl_mem) {
        if let Some(buffer) = own::get().pages.get(handle)
            && !self.buffers.iter().any(|known| Arc::ptr_eq(known, &buffer))
        {
            self.buffers.push(buffer);
        }
    }

    /// All of them on the device, and the kernel's arguments as they are there.
    pub(crate) fn meet(self) -> Result<Vec<Pin>, cl_int> {
        let pages = &own::get().pages;
        if self.buffers.is_empty() {
            return Ok(Vec::new());
        }
        let pins = pages.hold(&self.buffers)?;
        if let Some(kernel) = self.kernel {
            pages.kernels.renew(kernel)?;
        }
        Ok(pins)
    }
}

/// An argument of a hook: what it needs, and what the vendor is given in its place.
pub(crate) trait Argument: Copy {
    /// Tells what must be on the device.
    fn needs(self, _needs: &mut Needs) {}
    /// What the vendor knows it as.
    fn real(self) -> Self {
        self
    }
}

impl Argument for cl_mem {
    fn needs(self, needs: &mut Needs) {
        needs.add(self);
    }
    fn real(self) -> Self {
        real(self)
    }
}

impl Argument for cl_kernel {
    fn needs(self, needs: &mut Needs) {
        let pages = &own::get().pages;
        if !pages.is_idle() {
            pages.kernels.buffers(self).into_iter().for_each(|buffer| needs.add(buffer.handle()));
            needs.kernel = Some(self);
        }
    }
}

macro_rules! plain {
    ($($ty:ty),*) => {$(
        impl Argument for $ty {}
    )*};
}
plain!(cl_uint, u64, usize, *const usize, *mut std::ffi::c_void, *const std::ffi::c_void);
plain!(*mut *const std::ffi::c_void);

/// The vendor's object of a handle. The caller holds it where it is.
pub(crate) fn real(handle: cl_mem) -> cl_mem {
    own::get().pages.get(handle).map_or(handle, |buffer| buffer.real())
}
