//! A value that may be changed behind a shared reference, because no change of it can be seen: a
//! plan tries something and takes it back, an answer is kept to be given again.
//!
//! The engine runs on one thread at a time: the lock makes it movable between threads, and is
//! never waited for. Who panicked with it left nothing half done that could be seen.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Scratch<T>(RwLock<T>);

impl<T: Clone> Clone for Scratch<T> {
    fn clone(&self) -> Self {
        Self(RwLock::new(self.borrow().clone()))
    }
}

impl<T> Scratch<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(RwLock::new(value))
    }

    pub(crate) fn borrow(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn borrow_mut(&self) -> RwLockWriteGuard<'_, T> {
        let held = || matches!(self.0.try_write(), Err(TryLockError::WouldBlock));
        debug_assert!(!held(), "nobody may hold it while it is changed");
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}
