//! A `libnvidia-ml.so.1` that a tenant's program loads instead of the vendor's, so that monitors inside
//! a slice tell of the slice.
//!
//! It exports every function of the table in `polder_gpuapi::nvml` ([`exports`]). Most are passed on by
//! a jump to the vendor's own library, whose path comes from the lease's shim, never from the
//! environment ([`real`]). The rest ([`hooks`]):
//!
//! * Devices are the lease's, in its order; no other is found by any name ([`mod@slice`]).
//! * Memory, processes and utilisation are the lease's: what its pages say, and of the vendor's lists
//!   what is the lease's own ([`busy`]).
//! * What changes a card is not permitted; what tells of its other users is not supported.
//!
//! It changes nothing on a card and holds nobody: a program that opens the vendor's own library sees the
//! machine as it is. The vendor's private table passes untouched. The library starts no thread, installs
//! no signal handler and never ends the process; a fault in it fails the call.

mod busy;
mod exports;
mod hooks;
mod real;
mod slice;
