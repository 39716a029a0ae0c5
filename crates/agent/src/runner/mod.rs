//! Makes a process of a lease: user, groups, cgroup, mounts, environment.
