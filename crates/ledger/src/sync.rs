//! Atomics: the real ones, or loom's while its model checker runs.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{Ordering, fence};
#[cfg(loom)]
pub use mortal::die_after;
#[cfg(loom)]
pub(crate) use mortal::{AtomicU32, AtomicU64};

/// A full fence right after a read-modify-write. On x86-64 that instruction is one already, so that only
/// the compiler has to be told.
#[inline]
pub(crate) fn fence_behind_change() {
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
    #[cfg(not(all(target_arch = "x86_64", not(loom))))]
    fence(Ordering::SeqCst);
}

/// loom's atomics in processes that die: after a number of writes, a dead thread's writes have no
/// effect. What it reads from then on changes nothing, so this is death after any step.
#[cfg(loom)]
mod mortal {
    use super::Ordering;
    use std::cell::Cell;

    loom::thread_local! {
        static WRITES_LEFT: Cell<u32> = Cell::new(u32::MAX);
    }

    /// The calling thread dies after `writes` more of its writes.
    pub fn die_after(writes: u32) {
        WRITES_LEFT.with(|left| left.set(writes));
    }

    fn lives() -> bool {
        WRITES_LEFT.with(|left| {
            let now = left.get();
            if now != u32::MAX {
                left.set(now.saturating_sub(1));
            }
            now > 0
        })
    }

    macro_rules! mortal {
        ($name:ident, $of:ty) => {
            /// An atomic that the dead cannot write.
            #[derive(Debug)]
            pub struct $name(loom::sync::atomic::$name);

            impl $name {
                pub(crate) fn new(value: $of) -> Self {
                    Self(loom::sync::atomic::$name::new(value))
                }
                /// As in the standard library.
                pub fn load(&self, order: Ordering) -> $of {
                    self.0.load(order)
                }
                /// As in the standard library.
                pub fn store(&self, value: $of, order: Ordering) {
                    if lives() {
                        self.0.store(value, order);
                    }
                }
                mortal!(@change swap, fetch_add, fetch_sub, fetch_max : $of);
                /// As in the standard library.
                ///
                /// # Errors
                /// The value found when it is not `current`.
                pub fn compare_exchange(
                    &self,
                    current: $of,
                    new: $of,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$of, $of> {
                    if lives() {
                        self.0.compare_exchange(current, new, success, failure)
                    } else {
                        Ok(current)
                    }
                }
            }
        };
        (@change $($method:ident),+ : $of:ty) => {
            $(
                /// As in the standard library.
                pub fn $method(&self, value: $of, order: Ordering) -> $of {
                    if lives() {
                        self.0.$method(value, order)
                    } else {
                        self.0.load(Ordering::Relaxed)
                    }
                }
            )+
        };
    }
    mortal!(AtomicU32, u32);
    mortal!(AtomicU64, u64);
}
