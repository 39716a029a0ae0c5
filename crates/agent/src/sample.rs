//! What a lease has used, as far as the node can tell. Pure.
//!
//! Invariant: nothing is told that cannot be, whatever the lease's processes have written into their page:
//! no device time or waiting beyond what has gone by, no counts that no machine reaches. What is within that may still
//! be a lie, of its own lease alone.

use polder_ledger::SLOTS_MAX;
use polder_model::{Bytes, DeviceSample, Lease, LeaseSample, Mechanism, Micros};

/// Most calls of a lease that are believed in a microsecond: what a hundred processors would make that do
/// nothing else.
const CALLS_PER_MICRO_MAX: u64 = 100;
/// Most threads of a process that are believed to wait at once.
const THREADS_MAX: u64 = 4096;

/// The sample of a lease that `ran` so long. `metered` is what the arbiter has counted, for a lease
/// that takes turns; a lease with devices of its own, or parts that hardware or the vendor's driver cuts,
/// holds them from start to end, and what its programs do with them is not watched: it uses what it holds of each.
pub(crate) fn sample(lease: &Lease, metered: Option<LeaseSample>, ran: Micros) -> LeaseSample {
    metered.map(|sample| within(sample, ran)).unwrap_or_else(|| LeaseSample {
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
                owed: Micros(0),
            })
            .collect(),
        ..LeaseSample::default()
    })
}

/// What a lease's page says, cut to what can be of a lease that has `lived` so long.
pub(crate) fn within(mut sample: LeaseSample, lived: Micros) -> LeaseSample {
    let calls = lived.0.saturating_mul(CALLS_PER_MICRO_MAX);
    let slots = u64::try_from(SLOTS_MAX).unwrap_or(u64::MAX);
    sample.launches = sample.launches.min(calls);
    let waited = lived.0.saturating_mul(slots).saturating_mul(THREADS_MAX);
    sample.waited = Micros(sample.waited.0.min(waited));
    for device in &mut sample.devices {
        device.refused = device.refused.min(calls);
        device.device_time = device.device_time.min(lived);
        device.contended_time = device.contended_time.min(device.device_time);
    }
    sample
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

    #[test]
    fn what_cannot_be_is_not_told() {
        let device = |device_time, contended_time, refused| DeviceSample {
            device: "d0".parse().unwrap(),
            device_time: Micros(device_time),
            contended_time: Micros(contended_time),
            memory: Bytes(7),
            memory_peak: Bytes(9),
            refused,
            backing: Bytes(0),
            throttle: Vec::new(),
            owed: Micros(0),
        };
        let sample = |devices, launches, waited| LeaseSample {
            devices,
            launches,
            waited: Micros(waited),
            ..LeaseSample::default()
        };
        let lived = Micros::from_secs(2);
        let honest = sample(vec![device(1_900_000, 5, 3), device(0, 0, 0)], 1_000_000, 60_000_000);
        assert_eq!(within(honest.clone(), lived), honest, "what can be stays as it is");
        let lies = sample(vec![device(u64::MAX, u64::MAX, u64::MAX)], u64::MAX, u64::MAX);
        let told = within(lies.clone(), lived);
        let used = &told.devices[0];
        assert_eq!((used.device_time, used.contended_time), (lived, lived));
        assert_eq!((used.refused, told.launches), (200_000_000, 200_000_000));
        assert!(told.waited.0 < u64::MAX / 1000, "{told:?}");
        assert_eq!((used.memory, used.memory_peak), (Bytes(7), Bytes(9)));
        assert_eq!(within(lies, Micros(0)), sample(vec![device(0, 0, 0)], 0, 0));
    }
}
