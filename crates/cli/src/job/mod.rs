//! From flags and job files to one [`polder_model::Ask`].
//!
//! A job file and the flags fill the same [`Draft`]; flags win. [`Draft::finish`] adds what nobody
//! said: the caller's tenant, directory and environment, and the default share.

mod draft;
mod file;
mod flags;
mod origin;
mod scalar;
mod terms;

pub(crate) use draft::{Caller, Draft};
pub(crate) use file::read;
pub(crate) use flags::{JobFlags, Tasks};
pub(crate) use terms::{Class, Terms};
