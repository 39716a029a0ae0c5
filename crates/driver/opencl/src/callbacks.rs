//! The program's functions that the driver calls back, wrapped so that the thread is known to be
//! the driver's while they run: what waits there must hold up nothing ([`crate::flying`]).
#![allow(unsafe_code)] // C function pointers and their data

use polder_driver::inside;
use polder_gpuapi::opencl::types::*;
use std::ffi::{c_char, c_void};
use std::sync::Arc;

/// A function of the program with its argument.
struct Wrapped<F> {
    function: F,
    data: *mut c_void,
}

/// Takes back the reference that a callback was given, for one that comes once.
///
/// # Safety
/// `data` comes from `Arc::into_raw` with the same `F` and is not used again.
unsafe fn take<F>(data: *mut c_void) -> Arc<Wrapped<F>> {
    // SAFETY: the caller's promise.
    unsafe { Arc::from_raw(data.cast_const().cast::<Wrapped<F>>()) }
}

/// Hands a wrapped function to the driver in `call`, for a callback that comes once.
fn once<F, R: Refused>(function: F, data: *mut c_void, call: impl FnOnce(*mut c_void) -> R) -> R {
    let kept = Arc::new(Wrapped { function, data });
    let given = Arc::into_raw(Arc::clone(&kept)).cast_mut().cast();
    let result = call(given);
    // A driver may both call back and report an error; then the reference is taken already.
    if result.refused() && Arc::strong_count(&kept) > 1 {
        // SAFETY: the driver refused the callback and has forgotten the argument.
        drop(unsafe { take::<F>(given) });
    }
    result
}

macro_rules! wrap_once {
    ($(#[$doc:meta])* $name:ident: $notify:ident($($arg:ident: $ty:ty),*) $within:ident) => {
        $(#[$doc])*
        pub(crate) fn $name<R: Refused>(
            function: $notify,
            data: *mut c_void,
            call: impl FnOnce($notify, *mut c_void) -> R,
        ) -> R {
            unsafe extern "C" fn run($($arg: $ty,)* data: *mut c_void) {
                // SAFETY: `data` was made for this callback, which the driver makes once.
                let wrapped = unsafe { take::<unsafe extern "C" fn($($ty,)* *mut c_void)>(data) };
                // SAFETY: the program's own function with the argument it gave.
                inside::$within(|| unsafe { (wrapped.function)($($arg,)* wrapped.data) });
            }
            match function {
                Some(function) => once(function, data, |data| call(Some(run), data)),
                None => call(None, data),
            }
        }
    };
}

/// Whether a call's result says that the driver will not call back.
pub(crate) trait Refused {
    fn refused(&self) -> bool;
}

impl Refused for cl_int {
    /// Only for arguments that the driver cannot have accepted: a build that failed calls back too.
    fn refused(&self) -> bool {
        const INVALID: std::ops::RangeInclusive<cl_int> = -72..=-30;
        INVALID.contains(self)
    }
}

wrap_once! {
    /// Wraps the notification of a command's end.
    event: EventNotify(event: cl_event, status: cl_int) callback
}
wrap_once! {
    /// Wraps the notification of a command's way to the device: a driver may make it with the event
    /// locked, as PoCL does.
    event_midway: EventNotify(event: cl_event, status: cl_int) callback_midway
}
wrap_once! {
    /// Wraps the notification of a memory object's end.
    memory: MemNotify(memory: cl_mem) callback
}
wrap_once! {
    /// Wraps the notification of a context's end.
    context_end: ContextDestroyed(context: cl_context) callback
}
wrap_once! {
    /// Wraps the notification of a program's build, or of its end.
    program: ProgramNotify(program: cl_program) callback
}

/// Wraps a link's notification: the driver makes it whether or not there is a program.
pub(crate) fn link<R>(
    function: ProgramNotify,
    data: *mut c_void,
    call: impl FnOnce(ProgramNotify, *mut c_void) -> R,
) -> R {
    struct Linked<R>(R);
    impl<R> Refused for Linked<R> {
        fn refused(&self) -> bool {
            // Not known from the result: two words are lost when the driver refused.
            false
        }
    }
    program(function, data, |function, data| Linked(call(function, data))).0
}

/// Wraps a context's error notification. It may come any number of times for as long as the
/// context lives, so its two words stay for good.
pub(crate) fn context(function: ContextNotify, data: *mut c_void) -> (ContextNotify, *mut c_void) {
    type Function = unsafe extern "C" fn(*const c_char, *const c_void, usize, *mut c_void);
    unsafe extern "C" fn run(
        text: *const c_char,
        private: *const c_void,
        bytes: usize,
        data: *mut c_void,
    ) {
        // SAFETY: `data` was made below and is never freed.
        let wrapped = unsafe { &*data.cast::<Wrapped<Function>>() };
        // SAFETY: the program's own function with the argument it gave.
        inside::callback(|| unsafe { (wrapped.function)(text, private, bytes, wrapped.data) });
    }
    match function {
        Some(function) => (Some(run), Box::into_raw(Box::new(Wrapped { function, data })).cast()),
        None => (None, data),
    }
}

type SvmFunction = unsafe extern "C" fn(cl_command_queue, cl_uint, *mut *mut c_void, *mut c_void);

/// Wraps the function that frees shared virtual memory at a queue's command.
pub(crate) fn svm_free(
    function: SvmFree,
    data: *mut c_void,
    call: impl FnOnce(SvmFree, *mut c_void) -> cl_int,
) -> cl_int {
    unsafe extern "C" fn run(
        queue: cl_command_queue,
        count: cl_uint,
        pointers: *mut *mut c_void,
        data: *mut c_void,
    ) {
        // SAFETY: `data` was made for this callback, which the driver makes once.
        let wrapped = unsafe { take::<SvmFunction>(data) };
        // SAFETY: the program's own function with the argument it gave.
        inside::callback(|| unsafe { (wrapped.function)(queue, count, pointers, wrapped.data) });
    }
    match function {
        Some(function) => once(function, data, |data| call(Some(run), data)),
        None => call(None, data),
    }
}

/// What a native kernel's argument block begins with; as wide as the strictest alignment, so that
/// the program's own block behind it lies as it did.
#[repr(C, align(16))]
struct NativeHead {
    function: unsafe extern "C" fn(*mut c_void),
}

/// Bytes that [`native`] puts before the program's argument block.
pub(crate) const NATIVE_HEAD: usize = size_of::<NativeHead>();

/// A native kernel's argument block with the program's function before it. The driver copies it.
pub(crate) fn native(
    function: unsafe extern "C" fn(*mut c_void),
    arguments: &[u8],
) -> (NativeKernel, Vec<u128>) {
    let words = (NATIVE_HEAD + arguments.len()).div_ceil(size_of::<u128>());
    let mut block = vec![0_u128; words];
    let at = block.as_mut_ptr().cast::<u8>();
    // SAFETY: the block is aligned for the head and long enough for both.
    unsafe {
        at.cast::<NativeHead>().write(NativeHead { function });
        at.add(NATIVE_HEAD).copy_from_nonoverlapping(arguments.as_ptr(), arguments.len());
    }
    (Some(run_native), block)
}

unsafe extern "C" fn run_native(block: *mut c_void) {
    // SAFETY: the driver's copy of a block made by `native`. Its own alignment is not promised.
    let head = unsafe { block.cast::<NativeHead>().read_unaligned() };
    // SAFETY: the program's own function with its own argument block, which follows the head.
    inside::callback(|| unsafe { (head.function)(block.byte_add(NATIVE_HEAD)) });
}
