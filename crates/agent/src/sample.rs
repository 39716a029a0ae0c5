//! What a lease has used, as far as the node can tell. Pure.

use polder_model::{Bytes, DeviceSample, Lease, LeaseSample, Mechanism, Micros};

/// The sample of a lease that `ran` so long. `metered` is what the arbiter has counted, for a lease
/// that takes turns; a lease with devices of its own, or parts that hardware or the vendor's driver cuts,
/// holds them from start to end, and what its programs do with them is not watched: it uses what it holds of each.
pub(crate) fn sample(lease: &Lease, metered: Option<LeaseSample>, ran: Micros) -> LeaseSample {
    metered.unwrap_or_else(|| LeaseSample {
        devices: lease
            .slices
            .iter()
            .map(|slice| DeviceSample {
                device: slice.device.clone(),
                device_time: match slice.mechanism {
                    Mechanism::Mig | Mechanism::Spatial => {
                        Micros(ran.0.saturating_mul(slice.compute.0.into()) / 1000)
                    }
                    Mechanism::Whole | Mechanism::TimeSlice => ran,
                },
                contended_time: Micros(0),
                memory: Bytes(0),
                memory_peak: Bytes(0),
                refused: 0,
                backing: Bytes(0),
                throttle: Vec::new(),
            })
            .collect(),
        ..LeaseSample::default()
    })
}

/// Whether any slice of the lease takes turns with other leases.
pub(crate) fn takes_turns(lease: &Lease) -> bool {
    lease.slices.iter().any(|slice| slice.mechanism == Mechanism::TimeSlice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use polder_model::{JobId, LeaseId, LeaseState, Permille, Slice, Timestamp, WorkClass};

    /// What a lease has of one device counts as used for as long as it ran: never more than leased.
    #[test]
    fn an_instance_uses_its_part_of_the_card_and_no_more() {
        let slice = |mechanism, compute| Slice {
            device: "d0".parse().unwrap(),
            mechanism,
            compute: Permille(compute),
            compute_max: Permille(compute),
            memory: Bytes(10 << 30),
            backing: Bytes(0),
            instance: None,
        };
        let lease = Lease {
            id: LeaseId(1),
            job: JobId(1),
            task: 0,
            attempt: 1,
            tenant: "lab".parse().unwrap(),
            user: "ada".parse().unwrap(),
            node: "n1".parse().unwrap(),
            slices: vec![
                slice(Mechanism::Mig, 142),
                slice(Mechanism::Whole, 1000),
                slice(Mechanism::Spatial, 300),
            ],
            state: LeaseState::Started,
            leaving: Bytes(0),
            resizes: 0,
            isolation: None,
            not_enforced: vec![],
            granted_at: Timestamp(0),
            started_at: Some(Timestamp(0)),
            contact_limit: Micros::from_secs(600),
            class: WorkClass::default(),
            priority: 0,
            findings: vec![],
        };
        let sample = sample(&lease, None, Micros::from_secs(5));
        let used: Vec<u64> = sample.devices.iter().map(|used| used.device_time.0).collect();
        assert_eq!(used, [710_000, 5_000_000, 1_500_000]);
    }
}
