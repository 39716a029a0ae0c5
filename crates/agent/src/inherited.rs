//! What a program inherits from its caller besides input, output and error: the signals that the
//! caller ignores, and its open descriptors.
#![allow(unsafe_code)] // descriptors that came by inheritance have no owner in Rust

use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::FdFlags;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Most descriptors that are handed over besides input, output and error.
pub const DESCRIPTORS_MAX: usize = 1024;
/// Highest number that a descriptor is handed over under: the kernel's usual limit.
pub const DESCRIPTOR_NUMBER_MAX: RawFd = (1 << 20) - 1;
/// The first number that is not input, output or error.
const FIRST: RawFd = 3;

/// What a program inherits. The usual: nothing.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Signals that it ignores from its start; bit N-1 stands for signal N.
    pub ignored: u64,
    /// Descriptors, each with the number that the program finds it under.
    pub descriptors: Vec<(RawFd, OwnedFd)>,
}

impl Inherited {
    /// What this process inherited itself: it owns those descriptors from now on and closes them
    /// with this value. Call it once, before anything else opens descriptors that are to be kept
    /// over an `execve`.
    ///
    /// # Errors
    /// What the system says of `/proc/self`.
    pub fn take() -> io::Result<Self> {
        let ignored = ignored_signals()?;
        let mut descriptors = Vec::new();
        for entry in std::fs::read_dir("/proc/self/fd")? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.parse::<RawFd>().ok());
            let Some(number) = number.filter(|number| *number >= FIRST) else { continue };
            // SAFETY: the number was open a moment ago. Should it not be open any more, the call
            // below says so and nothing is taken.
            let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
            // Whatever this program opens is close-on-exec, the folder that is read here too.
            match rustix::io::fcntl_getfd(descriptor) {
                Ok(flags) if !flags.contains(FdFlags::CLOEXEC) => {}
                _ => continue,
            }
            rustix::io::fcntl_setfd(descriptor, FdFlags::CLOEXEC)?;
            // SAFETY: it is open, and was inherited: nothing in this program owns it.
            descriptors.push((number, unsafe { OwnedFd::from_raw_fd(number) }));
        }
        descriptors.sort_unstable_by_key(|(number, _)| *number);
        Ok(Self { ignored, descriptors })
    }

    /// Whether there is nothing to hand over.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ignored == 0 && self.descriptors.is_empty()
    }

    /// Whether a signal is ignored.
    #[must_use]
    pub const fn ignores(&self, signal: i32) -> bool {
        self.ignored & bit(signal) != 0
    }

    /// The same once more.
    ///
    /// # Errors
    /// What the system says when there are too many descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        let copy = |(number, fd): &(RawFd, OwnedFd)| Ok((*number, fd.try_clone()?));
        let descriptors = self.descriptors.iter().map(copy).collect::<io::Result<_>>()?;
        Ok(Self { ignored: self.ignored, descriptors })
    }

    /// The numbers of the descriptors.
    pub(crate) fn numbers(&self) -> Vec<RawFd> {
        self.descriptors.iter().map(|(number, _)| *number).collect()
    }

    /// The descriptors alone.
    pub(crate) fn borrowed(&self) -> Vec<BorrowedFd<'_>> {
        self.descriptors.iter().map(|(_, fd)| fd.as_fd()).collect()
    }
}

/// The signals that this process ignores since its start; bit N-1 stands for signal N. SIGPIPE is
/// never among them: Rust's runtime ignores it in every program, whatever the caller did.
///
/// # Errors
/// What the system says of `/proc/self`.
pub fn ignored_signals() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    Ok(mask.unwrap_or(0) & !bit(libc::SIGPIPE))
}

/// Which bit of a set of signals one is; none for what is no signal.
pub(crate) const fn bit(signal: i32) -> u64 {
    match signal {
        1..=64 => 1 << (signal - 1),
        _ => 0,
    }
}

/// Refuses numbers that no descriptor can be handed over under.
///
/// # Errors
/// What is wrong and what to do.
pub fn check_numbers(numbers: &[RawFd]) -> Result<(), String> {
    if numbers.len() > DESCRIPTORS_MAX {
        return Err(format!(
            "{} descriptors are open besides input, output and error, and at most \
             {DESCRIPTORS_MAX} are handed over: close some",
            numbers.len()
        ));
    }
    let outside = numbers.iter().find(|number| !(FIRST..=DESCRIPTOR_NUMBER_MAX).contains(*number));
    if let Some(number) = outside {
        return Err(format!(
            "descriptor {number} cannot be handed over: only {FIRST} to {DESCRIPTOR_NUMBER_MAX}"
        ));
    }
    let unlike: BTreeSet<_> = numbers.iter().collect();
    if unlike.len() < numbers.len() {
        return Err("a descriptor's number is given twice".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_cannot_be_are_named() {
        let check = |numbers: &[RawFd], expect: &str| match check_numbers(numbers) {
            Ok(()) => assert_eq!(expect, ""),
            Err(why) => assert!(!expect.is_empty() && why.contains(expect), "{why}"),
        };
        check(&[], "");
        check(&[3, 9, 1023], "");
        check(&[2], "descriptor 2 cannot");
        check(&[-1], "descriptor -1 cannot");
        check(&[9, 9], "twice");
        let many: Vec<RawFd> = (3..).take(DESCRIPTORS_MAX + 1).collect();
        check(&many, "1025 descriptors are open");
    }

    #[test]
    fn signals_are_bits() {
        assert_eq!((bit(1), bit(64), bit(0), bit(65), bit(-3)), (1, 1 << 63, 0, 0, 0));
        let hangup = Inherited { ignored: bit(libc::SIGHUP), ..Inherited::default() };
        assert!(hangup.ignores(libc::SIGHUP) && !hangup.ignores(libc::SIGINT));
    }
}
