//! Makes a process of a lease: user, groups, cgroup, mounts, environment.
//!
//! Everything here is called from a shim, which has one thread: that is what makes `fork` and the
//! steps after it sound. Nothing here outlives the task: mounts go with its namespace, cgroups are
//! removed at its end.

mod account;
mod cgroup;
mod container;
pub(crate) mod cuda;
mod environment;
mod exec;
mod fork;
mod launch;
mod mounts;
mod probe;
mod processes;

pub(crate) use account::Account;
pub(crate) use cgroup::{Below, Cgroup, is_inside};
pub use container::{Containers, ContainersError};
pub(crate) use container::{
    RUNTIME_FAILED, Runtime, barred as barred_from_images, below as cgroups_below,
    failed as container_failed, nodes as container_nodes, passes_on as container_passes_on,
    refusal as container_refusal, remove as remove_container,
};
pub(crate) use environment::{
    LEASE_DIR_VARIABLE, environment, has_no_device, hides_opencl, intercepts_opencl, shares_opencl,
};
pub(crate) use fork::{Forked, fork};
pub(crate) use launch::{Launch, TaskStdio, WORDS_BYTES_MAX, launch, output_pipe};
pub(crate) use mounts::{Binds, Namespace};
pub(crate) use probe::{Probe, probe};
pub(crate) use processes::{
    Stat, all_processes, below, descendants, descends, kill_descendants, maps_usage, signal_all,
    stat,
};
