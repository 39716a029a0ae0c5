//! One declarative table per foreign accelerator API.
//!
//! A table names every entry point of the API in the order of its dispatch table, with argument
//! types, the version that brought it and what it means to Polder ([`opencl::Class`]). Macros expand
//! it into slot indices, function types, hooks and coverage lists, so that nobody keeps a second
//! list by hand. The crate calls nothing: it holds no handle and loads no library.

#[macro_use]
mod api;
pub mod cuda;
pub mod nvml;
pub mod opencl;
