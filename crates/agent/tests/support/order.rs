//! The order of a lease for tests, within this crate and from outside it.

use polder_model::LeaseOrder;

/// Lease L7 of `user`: one time slice, the command as given, and so many microseconds of grace.
pub(crate) fn order(user: &str, command: &[&str], grace: u64) -> LeaseOrder {
    let order = serde_json::json!({
        "lease": {
            "id": 7, "job": 3, "task": 0, "attempt": 1, "tenant": "lab", "user": user,
            "node": "here", "state": "granted", "granted_at": 1, "contact_limit": 60_000_000,
            "slices": [{
                "device": "opencl-0-0", "mechanism": "time_slice", "compute": 300,
                "compute_max": 1000, "memory": 1 << 30,
            }],
        },
        "work": { "command": command, "directory": "/", "environment": { "PATH": "/usr/bin:/bin" } },
        "host": {},
        "grace": grace,
        "gang": { "rank": 0, "size": 1, "local_rank": 0, "local_size": 1 },
        "start": false,
    });
    serde_json::from_value(order).expect("it is one")
}
