//! A vendor's own library: where each function of a table is in it.
#![allow(unsafe_code)] // another library's functions

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::ffi::{CString, c_void};
use std::ptr::null;
use thiserror::Error;

/// Why there is no vendor's library.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The loader refused it.
    #[error("the vendor's library {path} cannot be loaded")]
    Library {
        /// Which.
        path: String,
        /// Why.
        source: libloading::Error,
    },
    /// None of the lease's devices names one.
    #[error("the lease has no device that {api} reaches")]
    NoDevice {
        /// Through what.
        api: &'static str,
    },
}

/// The addresses of `N` functions, by their place in the API's table; null where the library's version
/// has none.
#[derive(Debug)]
pub struct Vendor<const N: usize>([*const c_void; N]);

// SAFETY: addresses of functions in a library that is never unloaded.
unsafe impl<const N: usize> Send for Vendor<N> {}
// SAFETY: as above.
unsafe impl<const N: usize> Sync for Vendor<N> {}

impl<const N: usize> Vendor<N> {
    /// Loads the library at `path`, for as long as the process lives, and looks for the functions of
    /// these names.
    ///
    /// # Errors
    /// [`LoadError::Library`].
    pub fn load<'a>(
        path: &str,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, LoadError> {
        // SAFETY: the agent names the library; loading it is what the program's loader would do.
        let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }
            .map_err(|source| LoadError::Library { path: path.to_owned(), source })?;
        let mut table = [null(); N];
        for (place, name) in table.iter_mut().zip(names) {
            let name = CString::new(name).expect("a name of the API has no NUL");
            // SAFETY: the address is only called as what the API says it is.
            if let Ok(symbol) = unsafe { library.get::<*const c_void>(name) } {
                *place = symbol.into_raw();
            }
        }
        // Its functions are called for as long as the process lives.
        std::mem::forget(library);
        Ok(Self(table))
    }

    /// The function at this place of the table; null where there is none.
    #[must_use]
    pub fn get(&self, slot: usize) -> *const c_void {
        self.0.get(slot).copied().unwrap_or(null())
    }

    /// The place of the function that is at `address`.
    #[must_use]
    pub fn at(&self, address: *const c_void) -> Option<usize> {
        self.0.iter().position(|known| *known == address)
    }
}
