//! `execve`, after which nothing of this program is left.
#![allow(unsafe_code)] // the arguments are C arrays

use rustix::io::Errno;
use std::ffi::{CStr, CString, c_char};

/// Executes `program`. Returns only when that fails, with the reason.
pub(crate) fn execute(program: &CStr, arguments: &[CString], variables: &[CString]) -> Errno {
    let array = |texts: &[CString]| -> Vec<*const c_char> {
        let pointers = texts.iter().map(|text| text.as_ptr());
        pointers.chain(std::iter::once(std::ptr::null())).collect()
    };
    let (arguments, variables) = (array(arguments), array(variables));
    // Everything is opened close-on-exec; this covers what a library of the machine's user
    // directory may have left open without it. Refused by old kernels, which is no loss.
    // SAFETY: it only marks descriptors; nothing is closed while this code runs.
    unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed()) };
    // SAFETY: both arrays end with a null pointer and their strings live through the call.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), variables.as_ptr()) };
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}
