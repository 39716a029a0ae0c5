//! Whose turn it is among work that runs and jobs that wait: the order, where it also decides who
//! yields.
//!
//! A turn is a job's rank (see [`super::rank`]) with device-time counted in octaves. While a job
//! runs its turn changes only at moments that can be told before: when its device-time passes an
//! octave, when it has waited too long, when another order holds. A job of an earlier turn may take
//! the place of one of a later turn, which keeps it until it is later by [`SERVICE_HOLD`]. So two
//! jobs change places at most once for each octave that either is served, and there are few.

use super::service::{SERVICE_HOLD, ServiceHistory};
use super::{hours, is_overdue, signed, value};
use crate::facts::{Facts, JobFacts};
use polder_model::{BlendTerm, JobId, ORDER_TERMS_MAX, Order, Policy, Term, Timestamp};

/// Places in a turn: whether a job has not waited too long, then the order's terms.
const PLACES: usize = ORDER_TERMS_MAX + 1;

/// A job's place among work that runs and jobs that wait; the smallest is kept longest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn([i64; PLACES]);

/// How turns are compared when one is to yield to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ByTurn {
    /// The place of device-time, which counts in part for work that runs; it is the last.
    held: Option<usize>,
    /// Between tenants only places before this one count: from there on their shares do, and shares
    /// are for quotas to settle.
    shared: usize,
}

impl Turn {
    /// One that is device-time alone.
    #[cfg(test)]
    pub(crate) fn of(served: i64) -> Self {
        let mut turn = Self::default();
        turn.0[1] = served;
        turn
    }

    /// The device-time of one that is nothing else.
    #[cfg(test)]
    pub(crate) fn served(&self) -> i64 {
        self.0[1]
    }

    /// The earliest there is.
    pub(crate) const FIRST: Self = Self([i64::MIN; PLACES]);
}

impl ByTurn {
    /// How the order that holds at `now` compares; `None` where the policy lets nobody yield by it.
    pub(crate) fn new(policy: &Policy, now: Timestamp) -> Option<Self> {
        let order = hours::order(policy, now);
        policy.reclaim.order.then(|| Self {
            held: held(order).map(|place| place + 1),
            shared: shared(order).map_or(PLACES, |place| place + 1),
        })
    }

    /// One that holds device-time in the first place.
    #[cfg(test)]
    pub(crate) const fn first() -> Self {
        Self { held: Some(1), shared: PLACES }
    }

    /// Whether work that runs yields to a job that waits, by their turns. Whoever yields is later
    /// in the order of turns as well, which is what ends every sequence.
    pub(crate) fn yields(self, runs: &Turn, waits: &Turn, one_tenant: bool) -> bool {
        let mut kept = *runs;
        if let Some(place) = self.held.and_then(|held| kept.0.get_mut(held)) {
            *place /= signed(SERVICE_HOLD);
        }
        let places = if one_tenant { PLACES } else { self.shared };
        waits.0.iter().take(places).lt(kept.0.iter().take(places))
    }
}

/// Where a job stands at `now`; all alike where the policy lets nobody yield by the order.
pub(crate) fn turn(policy: &Policy, job: &JobFacts, now: Timestamp) -> Turn {
    let mut turn = Turn::default();
    if !policy.reclaim.order {
        return turn;
    }
    let order = hours::order(policy, now);
    if is_overdue(order, job, now) {
        // Among those who waited too long, who came first.
        turn.0[1] = signed(job.submitted_at.0);
        return turn;
    }
    let served = ServiceHistory::next_change(job.served_before);
    let terms = held(order).map_or(order.by.len(), |place| place + 1);
    let (patient, places) = turn.0.split_at_mut(1);
    patient.fill(1);
    for (place, term) in places.iter_mut().zip(order.by.iter().take(terms)) {
        *place = value(order, term, job, served, now);
    }
    turn
}

/// The place of the first term that is device-time alone.
pub(super) fn held(order: &Order) -> Option<usize> {
    order.by.iter().position(|term| matches!(term, Term::LeastService | Term::Gittins))
}

fn shared(order: &Order) -> Option<usize> {
    order.by.iter().position(|term| *term == Term::FairShare)
}

/// Whether any order of a policy goes by device-time.
fn counts_service(policy: &Policy) -> bool {
    let counts = |term: &Term| match term {
        Term::LeastService | Term::Gittins => true,
        Term::Blend(weights) => weights.contains_key(&BlendTerm::LeastService),
        _ => false,
    };
    policy.orders().any(|order| order.by.iter().any(counts))
}

/// Device-time that a job has had by `now`, over all its tries, in device microseconds.
pub(crate) fn attained(facts: &Facts, job: &JobFacts, now: Timestamp) -> u64 {
    let running =
        at_work(facts, job).map(|(width, since)| now.since(since).0.saturating_mul(width));
    running.fold(job.served, u64::saturating_add)
}

/// Devices of each lease of a job that runs, and since when.
fn at_work<'f>(facts: &'f Facts, job: &'f JobFacts) -> impl Iterator<Item = (u64, Timestamp)> {
    let leases = job.hold.as_ref().map_or(&[][..], |hold| &hold.leases);
    leases.iter().filter_map(|lease| {
        let lease = &facts.leases.get(lease)?.lease;
        Some((u64::try_from(lease.slices.len()).unwrap_or(u64::MAX).max(1), lease.started_at?))
    })
}

/// When the turn of work that runs, last looked at when it had been `served` so much, is next
/// another one by itself, while the order stays.
pub(crate) fn next_change(
    facts: &Facts,
    job: &JobFacts,
    served: u64,
    now: Timestamp,
) -> Option<Timestamp> {
    if !facts.policy.reclaim.order {
        return None;
    }
    let order = hours::order(&facts.policy, now);
    let overdue = order.wait_max.map(|wait| job.submitted_at.after(wait)).filter(|at| *at > now);
    let octave = counts_service(&facts.policy).then(|| octave(facts, job, served)).flatten();
    overdue.into_iter().chain(octave).min()
}

/// When a job's device-time passes the end of the octave of `served`.
fn octave(facts: &Facts, job: &JobFacts, served: u64) -> Option<Timestamp> {
    let end = Some(ServiceHistory::next_change(served)).filter(|end| *end < u64::MAX)?;
    let (mut width, mut begun) = (0_u128, 0_u128);
    for (devices, since) in at_work(facts, job) {
        width += u128::from(devices);
        begun += u128::from(devices) * u128::from(since.0);
    }
    // What is still to be served, as if all had begun at the beginning of time.
    let left = (u128::from(end) + begun).saturating_sub(job.served.into());
    let at = left.checked_add(width)?.checked_sub(1)?.checked_div(width)?;
    u64::try_from(at).ok().map(Timestamp)
}

/// Device-time that a job has had by `now`, if that is past the octave in which it was last looked
/// at.
pub(crate) fn passed(facts: &Facts, job: &JobFacts, now: Timestamp) -> Option<u64> {
    let to = attained(facts, job, now);
    (to >= ServiceHistory::next_change(job.served_before)).then_some(to)
}

/// A lot among jobs that are alike and came at the same moment; see [`super::service::lot`].
pub(crate) fn lot(job: JobId) -> i64 {
    signed(super::service::lot(job.0) >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn turns() -> impl Strategy<Value = Turn> {
        prop::array::uniform5(0i64..4).prop_map(Turn)
    }

    proptest! {
        /// Yielding respects the order of turns, so it cannot go round in a circle.
        #[test]
        fn who_yields_is_later(
            runs in turns(),
            waits in turns(),
            place in 1usize..PLACES,
            shared in 0usize..=PLACES,
            one_tenant in any::<bool>(),
        ) {
            let (mut runs, mut waits) = (runs, waits);
            runs.0.iter_mut().chain(&mut waits.0).for_each(|term| *term -= 1);
            runs.0[place] = runs.0[place].max(0);
            let by = ByTurn { held: Some(place), shared };
            if by.yields(&runs, &waits, one_tenant) {
                prop_assert!(waits < runs);
            }
        }
    }
}
