//! The counters that the compiler adds to every branch when it is told to
//! (`-C passes=sancov-module`); none when it was not.
#![allow(unsafe_code)] // the compiler's counters are raw memory

use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Where they begin; set before `main` by code that the compiler adds.
static BEGIN: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// Counters looked at together.
const AT_ONCE: usize = size_of::<u64>();

/// Called by each module of the program before `main`, each time with the same range: the linker has
/// put all counters together.
///
/// # Safety
/// Only the code that the compiler adds may call this.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __sanitizer_cov_8bit_counters_init(begin: *mut u8, end: *mut u8) {
    let count = (end as usize).saturating_sub(begin as usize);
    if count > COUNT.load(Ordering::Relaxed) {
        BEGIN.store(begin, Ordering::Relaxed);
        COUNT.store(count, Ordering::Relaxed);
    }
}

/// What has been reached so far: of each counter, how often in one run, in powers of two.
#[derive(Debug, Default)]
pub struct Reached {
    seen: Vec<u8>,
    places: usize,
}

impl Reached {
    /// Whether the program was built with counters.
    #[must_use]
    pub fn is_there() -> bool {
        COUNT.load(Ordering::Relaxed) > 0
    }

    /// Begins a run.
    pub fn clear() {
        let (begin, count) = (BEGIN.load(Ordering::Relaxed), COUNT.load(Ordering::Relaxed));
        if count > 0 {
            // SAFETY: the linker's range of counters, which are bytes that live as long as the program;
            // one thread runs targets.
            unsafe { std::ptr::write_bytes(begin, 0, count) };
        }
    }

    /// Takes in what the run has reached. True when it reached something new.
    pub fn take(&mut self) -> bool {
        let (begin, count) = (BEGIN.load(Ordering::Relaxed), COUNT.load(Ordering::Relaxed));
        self.seen.resize(count, 0);
        let mut new = false;
        // One run reaches few of them, and looking at all is what a run costs: eight at a time.
        for from in (0..count).step_by(AT_ONCE) {
            let to = count.min(from + AT_ONCE);
            let mut times = [0; AT_ONCE];
            // SAFETY: as in `clear`, and `to` is no more than the count.
            unsafe {
                std::ptr::copy_nonoverlapping(begin.add(from), times.as_mut_ptr(), to - from)
            };
            if u64::from_ne_bytes(times) != 0 {
                new |= self.take_some(from, times);
            }
        }
        new
    }

    fn take_some(&mut self, from: usize, times: [u8; AT_ONCE]) -> bool {
        let mut new = false;
        for (seen, times) in self.seen.iter_mut().skip(from).zip(times) {
            let bucket = times.checked_ilog2().map_or(0, |power| 1 << power);
            self.places += usize::from(*seen == 0 && bucket != 0);
            new |= bucket & !*seen != 0;
            *seen |= bucket;
        }
        new
    }

    /// Places in the code that were reached.
    #[must_use]
    pub fn places(&self) -> usize {
        self.places
    }
}
