//! What of a policy is tuned: the weights of its orders, and how many jobs are promised a start.
//!
//! The terms in front (priority, fair share, class, deadline) are promises to users, and so are the
//! bound on waiting, quotas, classes and who yields: they stay as they are. What follows them
//! becomes a weighted sum. A policy that is in force is where the search begins, whatever it is.

use super::Parameter;
use crate::num::{count, weight};
use polder_model::{
    Backfill, Believe, BlendTerm, ORDER_TERMS_MAX, Order, Policy, RESERVED_JOBS_MAX, Term,
};
use std::collections::BTreeMap;

/// Most orders of one policy whose weights are tuned: the first, and those by time of day.
pub const ORDERS_TUNED_MAX: usize = 4;
/// Largest weight of a search, where what is in force has none larger.
const WEIGHT_HIGH: f64 = 2.0;
/// The largest root of the number of jobs that are promised a start.
const ROOT_HIGH: f64 = 8.0;
/// What every tuned order weighs, beside what it weighs already.
const TERMS: [BlendTerm; 4] =
    [BlendTerm::Arrival, BlendTerm::Shortest, BlendTerm::SmallestArea, BlendTerm::Width];

/// A policy seen as numbers around what is in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Knobs {
    base: Policy,
    orders: Vec<Weighed>,
    parameters: Vec<Parameter>,
}

/// An order whose tail is weighed.
#[derive(Debug, Clone, PartialEq)]
struct Weighed {
    /// 0 for the policy's own; one more than its place for one by time of day.
    order: usize,
    /// Terms in front that stay.
    kept: usize,
    terms: Vec<BlendTerm>,
}

impl Knobs {
    /// Those of the policy in force.
    #[must_use]
    pub fn of(base: &Policy) -> Self {
        let mut knobs = Self { base: base.clone(), orders: Vec::new(), parameters: Vec::new() };
        for (order, of) in base.orders().enumerate().take(ORDERS_TUNED_MAX) {
            let Some(kept) = kept(of) else { continue };
            let now = weights(of, kept);
            let more = now.keys().copied().filter(|term| !TERMS.contains(term));
            let terms: Vec<BlendTerm> = TERMS.into_iter().chain(more).collect();
            for term in &terms {
                let start = now.get(term).copied().unwrap_or(0.0);
                // A wide job may be served before or after a narrow one; the others have a sense.
                let low = if *term == BlendTerm::Width { -WEIGHT_HIGH } else { 0.0 };
                let place = if order == 0 { String::new() } else { format!(" (times {order})") };
                knobs.parameters.push(Parameter {
                    name: format!("weight of {}{place}", term.name()),
                    low: low.min(start),
                    high: WEIGHT_HIGH.max(start),
                    start,
                });
            }
            knobs.orders.push(Weighed { order, kept, terms });
        }
        let root = f64::from(base.backfill.reserved).sqrt();
        knobs.parameters.push(Parameter {
            name: "root of the jobs promised a start".to_owned(),
            low: 0.0,
            high: ROOT_HIGH.max(root),
            start: root,
        });
        knobs
    }

    /// What is searched.
    #[must_use]
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Values that are plain rules, with which a search begins: each term alone, without promises and
    /// with one.
    #[must_use]
    pub fn known(&self) -> Vec<Vec<f64>> {
        let alone = |plain: BlendTerm| {
            let terms = self.orders.iter().flat_map(|weighed| &weighed.terms);
            terms.map(move |term| f64::from(u8::from(*term == plain)))
        };
        let plain = [BlendTerm::Arrival, BlendTerm::Shortest, BlendTerm::SmallestArea];
        let all = plain.iter().flat_map(|term| [(*term, 0.0), (*term, 1.0)]);
        all.map(|(term, root)| alone(term).chain([root]).collect()).collect()
    }

    /// The policy of some values. Those of the start are what is in force, to the letter.
    #[must_use]
    pub fn policy(&self, values: &[f64]) -> Policy {
        let mut policy = self.base.clone();
        let starts = self.parameters.iter().map(|parameter| parameter.start);
        if starts.eq(values.iter().copied()) {
            return policy;
        }
        let mut values = values.iter().copied();
        for weighed in &self.orders {
            let of = values.by_ref().take(weighed.terms.len());
            let weights = weighed.terms.iter().copied().zip(of.map(weight));
            let weights: BTreeMap<BlendTerm, i64> =
                weights.filter(|(_, weight)| *weight != 0).collect();
            let order = match weighed.order.checked_sub(1) {
                None => Some(&mut policy.order),
                Some(rule) => policy.times.get_mut(rule).map(|rule| &mut rule.order),
            };
            if let Some(order) = order {
                order.by.truncate(weighed.kept);
                let last = if weights.is_empty() { Term::Arrival } else { Term::Blend(weights) };
                order.by.push(last);
            }
        }
        if let Some(root) = values.next() {
            let reserved = u32::try_from(count(root * root)).unwrap_or(RESERVED_JOBS_MAX);
            policy.backfill = self.backfill(reserved.min(RESERVED_JOBS_MAX));
        }
        policy
    }

    fn backfill(&self, reserved: u32) -> Backfill {
        let now = &self.base.backfill;
        match (reserved, now.reserved) {
            (0, 0) => now.clone(),
            (0, _) => Backfill::default(),
            // Where nothing was believed yet, what history says is.
            (_, 0) => Backfill { reserved, believe: Believe::Predicted },
            _ => Backfill { reserved, ..now.clone() },
        }
    }

    /// Plain policies to stand beside: the same promises, and one simple rule after them.
    #[must_use]
    pub fn plain(&self) -> Vec<(String, Policy)> {
        let with = |term: Term, backfill: Option<Backfill>| {
            let mut policy = self.base.clone();
            for weighed in &self.orders {
                let order = match weighed.order.checked_sub(1) {
                    None => Some(&mut policy.order),
                    Some(rule) => policy.times.get_mut(rule).map(|rule| &mut rule.order),
                };
                if let Some(order) = order {
                    order.by.truncate(weighed.kept);
                    order.by.push(term.clone());
                }
            }
            policy.backfill = backfill.unwrap_or(policy.backfill);
            policy
        };
        let none = || Some(Backfill::default());
        let easy = || Some(Backfill { reserved: 1, believe: Believe::Predicted });
        [
            ("first come", with(Term::Arrival, none())),
            ("first come, EASY on predictions", with(Term::Arrival, easy())),
            ("shortest predicted", with(Term::Shortest, none())),
            ("shortest predicted, EASY on predictions", with(Term::Shortest, easy())),
            ("smallest area", with(Term::SmallestArea, none())),
            ("Gittins index", with(Term::Gittins, none())),
        ]
        .map(|(name, policy)| (name.to_owned(), policy))
        .into()
    }
}

/// How many terms in front stay; nothing where one that must stay would not.
fn kept(order: &Order) -> Option<usize> {
    let stays = |term: &Term| {
        matches!(term, Term::Priority | Term::FairShare | Term::Class | Term::Deadline)
    };
    let kept = order.by.iter().take_while(|term| stays(term)).count();
    let later = order.by.get(kept..).unwrap_or_default();
    (kept < ORDER_TERMS_MAX && !later.iter().any(stays)).then_some(kept)
}

/// The weights that say what the first term of the tail says, where there are any.
fn weights(order: &Order, kept: usize) -> BTreeMap<BlendTerm, f64> {
    let alone = |term| BTreeMap::from([(term, 1.0)]);
    match order.by.get(kept) {
        None | Some(Term::Arrival) => alone(BlendTerm::Arrival),
        Some(Term::Shortest) => alone(BlendTerm::Shortest),
        Some(Term::SmallestArea) => alone(BlendTerm::SmallestArea),
        Some(Term::LeastService) => alone(BlendTerm::LeastService),
        Some(Term::Blend(weights)) => {
            weights.iter().map(|(term, weight)| (*term, *weight as f64 / 1000.0)).collect()
        }
        Some(_) => BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polder_model::Micros;
    use proptest::prelude::*;

    fn base(by: Vec<Term>) -> Policy {
        let mut policy = Policy::default();
        policy.order.by = by;
        policy
    }

    #[test]
    fn the_start_is_what_is_in_force() {
        let blend = Term::Blend(BTreeMap::from([(BlendTerm::Deadline, 4000)]));
        for by in [vec![Term::Priority], vec![Term::Gittins], vec![Term::FairShare, blend]] {
            let base = base(by);
            let knobs = Knobs::of(&base);
            let start: Vec<f64> = knobs.parameters().iter().map(|p| p.start).collect();
            assert_eq!(knobs.policy(&start), base);
            assert!(knobs.parameters().iter().all(|p| p.low <= p.start && p.start <= p.high));
        }
    }

    #[test]
    fn promises_stay_and_the_rest_is_weighed() {
        let mut base = base(vec![Term::Priority, Term::Shortest]);
        base.order.wait_max = Some(Micros::from_secs(86_400));
        let knobs = Knobs::of(&base);
        let policy = knobs.policy(&[0.5, 1.0, 0.0, -0.25, 3.0]);
        let weights = BTreeMap::from([
            (BlendTerm::Arrival, 500),
            (BlendTerm::Shortest, 1000),
            (BlendTerm::Width, -250),
        ]);
        assert_eq!(policy.order.by, [Term::Priority, Term::Blend(weights)]);
        assert_eq!(policy.order.wait_max, base.order.wait_max);
        assert_eq!(policy.backfill, Backfill { reserved: 9, believe: Believe::Predicted });
        let nothing = knobs.policy(&[0.0; 5]);
        assert_eq!(nothing.order.by, [Term::Priority, Term::Arrival]);
        // A promise behind what is tuned would be lost: such an order is left alone.
        let odd = Knobs::of(&self::base(vec![Term::Shortest, Term::Priority]));
        assert_eq!(odd.parameters().len(), 1);
    }

    proptest! {
        #[test]
        fn whatever_is_tried_is_a_policy(
            values in prop::collection::vec(-3.0f64..9.0, 5..20), shape in 0usize..4,
        ) {
            let by = [
                vec![Term::Priority],
                vec![Term::FairShare, Term::Shortest],
                vec![Term::Gittins],
                vec![Term::Priority, Term::FairShare, Term::Deadline, Term::Arrival],
            ];
            let base = base(by[shape].clone());
            let knobs = Knobs::of(&base);
            prop_assert_eq!(knobs.policy(&values).check(), Ok(()));
            for values in knobs.known() {
                prop_assert_eq!(values.len(), knobs.parameters().len());
                prop_assert_eq!(knobs.policy(&values).check(), Ok(()));
            }
            for (name, plain) in knobs.plain() {
                prop_assert_eq!(plain.check(), Ok(()), "{}", name);
            }
        }
    }
}
