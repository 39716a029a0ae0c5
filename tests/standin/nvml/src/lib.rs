//! A stand-in for the vendor's `libnvidia-ml.so.1`, for tests on machines without a GPU.
//!
//! It tells what the stand-in device that `STANDIN_SOCKET` names says of itself: its model, memory,
//! utilisation of the last second, processes and reasons to run slower; what a model does not have
//! (temperatures, clocks, power) is made up and the same for all. Functions that it has no code for
//! are exported and answer that they are not supported; private tables are not offered.

#![allow(unsafe_code)] // a C library

mod answers;
mod script;

/// What is exported but has no code.
#[allow(non_snake_case, reason = "the API's own names")]
mod lacking {
    include!(concat!(env!("OUT_DIR"), "/exports.rs"));
}
