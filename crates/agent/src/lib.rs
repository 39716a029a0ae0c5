//! The node: inventory, leases as processes under shims, the arbiter, samples
