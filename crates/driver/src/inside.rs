//! Where the current thread is: in the program, in a function the driver calls back, or in a call
//! that this library has already accounted for.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Program,
    Callback,
    /// A callback in the middle of what the driver does with a command.
    Midway,
    Accounted,
}

thread_local! {
    static PLACE: Cell<Place> = const { Cell::new(Place::Program) };
}

#[inline]
fn within<R>(place: Place, body: impl FnOnce() -> R) -> R {
    struct Restore(Place);
    impl Drop for Restore {
        #[inline]
        fn drop(&mut self) {
            PLACE.set(self.0);
        }
    }
    let _restore = Restore(PLACE.replace(place));
    body()
}

/// Runs the program's function on one of the driver's threads: whoever waits there may hold up the
/// driver, and the news of what is over.
pub fn callback<R>(body: impl FnOnce() -> R) -> R {
    within(Place::Callback, body)
}

/// The same where the driver may hold locks of its own, so that nothing must be asked of it.
pub fn callback_midway<R>(body: impl FnOnce() -> R) -> R {
    within(Place::Midway, body)
}

/// Runs the vendor's function for a call that is accounted for: hooks that the vendor itself
/// reaches on the way pass straight through.
#[inline]
pub fn accounted<R>(body: impl FnOnce() -> R) -> R {
    within(Place::Accounted, body)
}

/// Whether the thread runs a function that the driver called back.
pub fn is_callback() -> bool {
    matches!(PLACE.get(), Place::Callback | Place::Midway)
}

/// Whether the thread runs one during which the driver may be asked nothing.
pub fn is_midway() -> bool {
    PLACE.get() == Place::Midway
}

/// Whether the thread runs the program itself.
#[inline]
pub fn is_program() -> bool {
    PLACE.get() == Place::Program
}

/// Whether the call is part of one that is accounted for.
pub fn is_accounted() -> bool {
    PLACE.get() == Place::Accounted
}

/// Runs `body`; a panic becomes `fallback`, for nothing may unwind into the program's C code.
pub fn guard<R>(fallback: R, body: impl FnOnce() -> R) -> R {
    // Whatever a panic left half done is behind mutexes whose poison is ignored on purpose: a
    // wrong estimate is better than a dead program.
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(fallback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_nest_and_come_back_even_through_a_panic() {
        assert!(!is_callback() && !is_accounted());
        accounted(|| {
            assert!(is_accounted());
            callback(|| assert!(is_callback() && !is_midway() && !is_accounted()));
            callback_midway(|| assert!(is_callback() && is_midway() && !is_accounted()));
            assert!(is_accounted());
            assert_eq!(guard(7, || callback(|| std::panic::resume_unwind(Box::new(())))), 7);
            assert!(is_accounted());
        });
        assert!(!is_callback() && !is_accounted());
    }
}
