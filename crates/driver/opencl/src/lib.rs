//! What a tenant's program loads instead of the vendor's driver: an OpenCL ICD.
//!
//! `OCL_ICD_VENDORS` names a folder that holds only this library, so every loader finds it alone.
//! It asks the lease's shim which devices there are ([`polder_driver::attach`]), loads the vendors' own ICDs, and
//! replaces entries of their dispatch tables in place ([`vendor`]): every object the program holds
//! is the vendor's own, and every call through any loader passes the hooks ([`hooks`]).
//!
//! * Memory is reserved in the lease's ledger before the real allocation ([`polder_driver::memory`]).
//! * Work waits for the lease's turn before it is handed over ([`gate`], [`polder_driver::meter`]); commands behind
//!   an event that the program signals itself wait for their turn at that signal ([`graph`], [`permit`]).
//! * A buffer of a lease with host memory behind its device is there or on the host, and its handle is
//!   ours: the one exception to what is said above ([`paged`]).
//! * The program sees the lease's devices and no others ([`view`]).
//!
//! When the process is profiled, what passes is written down too ([`spans`]).
//!
//! The library starts no thread, installs no signal handler and never ends the process. A fault in
//! it fails the call, not the program.

mod callbacks;
mod commands_recorded;
mod exports;
mod extensions;
mod flying;
mod gate;
mod graph;
mod hooks;
mod image;
mod own;
mod paged;
mod permit;
mod queues;
mod spans;
mod svm;
mod vendor;
mod view;

pub use exports::{
    clGetExtensionFunctionAddress, clGetPlatformInfo, clIcdGetFunctionAddressForPlatformKHR,
    clIcdGetPlatformIDsKHR, clIcdSetPlatformDispatchDataKHR,
};
