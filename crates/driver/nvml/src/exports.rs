//! Every function of the API under its own name: a jump through [`TABLE`], to a hook or to the
//! vendor's function. The first call of each looks up where to.
#![allow(unsafe_code)] // naked functions
#![allow(non_snake_case)] // the API's own names

use crate::real;
use polder_driver::trampolines;
use polder_gpuapi::nvml::{COUNT, Function};
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::AtomicPtr;

/// Where each function goes, by its place in the table; null until it is known.
pub(crate) static TABLE: [AtomicPtr<c_void>; COUNT] = [const { AtomicPtr::new(null_mut()) }; COUNT];

polder_gpuapi::nvml_table!(trampolines);
polder_driver::first_call!(find);

extern "C" fn find(slot: u32) -> *const c_void {
    polder_driver::inside::guard(real::uninitialised as *const c_void, || real::find(slot as usize))
}
