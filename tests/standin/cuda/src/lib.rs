//! A stand-in for the vendor's `libcuda.so.1`, for tests on machines without a GPU.
//!
//! Memory is the host's and copies are real; kernels compute nothing and only take their time on the
//! stand-in device that `STANDIN_SOCKET` names (`standin-host` serves one), where processes compete
//! with each other. Every call can be logged and made to fail ([`script`]). Its device names say that
//! they are stand-ins. Functions that it has no code for are exported and answer that they are not
//! supported; private tables are not offered.

#![allow(unsafe_code)] // a C library

#[macro_use]
mod api;
mod checkpoint;
mod code;
mod contexts;
mod devices;
mod exports;
mod graphs;
mod memory;
mod script;
mod state;
mod streams;
