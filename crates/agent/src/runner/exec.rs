//! `execve`, after which nothing of this program is left.
#![allow(unsafe_code)] // the arguments are C arrays, and descriptors are numbers

use rustix::io::Errno;
use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsRawFd, OwnedFd};

/// Gives each descriptor its number, over whatever has it now, and leaves no other open for the
/// program: this is a step just before [`execute`]. None of them may have a number that another is
/// to get.
///
/// # Errors
/// Which number could not be given, and why.
pub(crate) fn hand_over(descriptors: &[(i32, OwnedFd)]) -> Result<(), (i32, Errno)> {
    // Everything is opened close-on-exec; this covers what a library of the machine's user
    // directory may have left open without it. Refused by old kernels, which is no loss.
    // SAFETY: it only marks descriptors; nothing is closed while this code runs.
    unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed()) };
    for (number, descriptor) in descriptors {
        // SAFETY: what had the number is closed, and nothing of this process is used after this but
        // what `execute` uses: memory, and the pipe of its last words, which has a higher number.
        if unsafe { libc::dup2(descriptor.as_raw_fd(), *number) } < 0 {
            let errno = Errno::from_io_error(&std::io::Error::last_os_error());
            return Err((*number, errno.unwrap_or(Errno::BADF)));
        }
    }
    Ok(())
}

/// Executes `program`. Returns only when that fails, with the reason.
pub(crate) fn execute(program: &CStr, arguments: &[CString], variables: &[CString]) -> Errno {
    let array = |texts: &[CString]| -> Vec<*const c_char> {
        let pointers = texts.iter().map(|text| text.as_ptr());
        pointers.chain(std::iter::once(std::ptr::null())).collect()
    };
    let (arguments, variables) = (array(arguments), array(variables));
    // SAFETY: both arrays end with a null pointer and their strings live through the call.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), variables.as_ptr()) };
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}
