//! A `libcuda.so.1` that a tenant's program loads instead of the vendor's.
//!
//! It exports every function of the table in `polder_gpuapi::cuda` ([`exports`]). Most are passed on
//! by a jump through a table that is filled from the vendor's own library on first use ([`real`]);
//! the path of that library comes from the lease's shim, never from the environment. The classified
//! ones are hooked ([`hooks`]):
//!
//! * Memory is reserved in the lease's ledger before the driver allocates ([`memory`]).
//! * Work waits for the lease's turn, and its end is heard of once per batch ([`flight`]). Nothing
//!   is put into a stream that is being captured. A thread whose lease is alone launches without a lock
//!   ([`own_runs`]).
//! * The program sees the lease's devices and no others, with the lease's memory ([`view`]).
//!
//! When the process is profiled, what passes is written down too ([`spans`]).
//!
//! `cuGetProcAddress` answers with these functions too. The vendor's private tables
//! (`cuGetExportTable`) are passed on untouched and never read; what the table does not know passes.
//!
//! The library starts no thread, installs no signal handler and never ends the process. A fault in
//! it fails the call, not the program.

mod exports;
mod flight;
mod hooks;
mod late;
mod memory;
mod own;
mod own_runs;
mod real;
mod spans;
mod view;
