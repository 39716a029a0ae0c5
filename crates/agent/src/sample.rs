//! What a lease has used, as far as the node can tell. Pure.

use polder_model::{Bytes, DeviceSample, Lease, LeaseSample, Mechanism, Micros};

/// The sample of a lease that `ran` so long. `metered` is what the arbiter has counted, for a lease
/// that takes turns; a lease with devices of its own holds them from start to end, and what its
/// programs do with them is not watched.
pub(crate) fn sample(lease: &Lease, metered: Option<LeaseSample>, ran: Micros) -> LeaseSample {
    metered.unwrap_or_else(|| LeaseSample {
        devices: lease
            .slices
            .iter()
            .map(|slice| DeviceSample {
                device: slice.device.clone(),
                device_time: ran,
                contended_time: Micros(0),
                memory: Bytes(0),
                memory_peak: Bytes(0),
                refused: 0,
            })
            .collect(),
        ..LeaseSample::default()
    })
}

/// Whether any slice of the lease takes turns with other leases.
pub(crate) fn takes_turns(lease: &Lease) -> bool {
    lease.slices.iter().any(|slice| slice.mechanism == Mechanism::TimeSlice)
}
