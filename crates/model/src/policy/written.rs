//! What is refused of a policy that somebody writes, beside contradictions: what says nothing, and
//! what says something twice.
//!
//! A journal may hold a policy that was accepted before; it is only checked for contradictions.

use super::{Believe, Order, Policy, PolicyError, Term};

/// Minutes of a week.
const WEEK_MINUTES: usize = 7 * 24 * 60;

impl Policy {
    /// Refuses a policy that contradicts itself, and one in which something could never matter.
    ///
    /// # Errors
    /// The first such thing found, naming the field.
    pub fn check_written(&self) -> Result<(), PolicyError> {
        self.check()?;
        order(&self.order, "order")?;
        let mut held = vec![false; WEEK_MINUTES];
        for (place, rule) in self.times.iter().enumerate() {
            order(&rule.order, &format!("times[{place}].order"))?;
            if rule.from.ends_day() {
                let why = "is 24:00, at which no day begins: write 00:00, of the day after where days \
                           are named";
                return useless(format!("times[{place}].from"), why);
            }
            let mut adds = false;
            for minute in rule.minutes_of_week() {
                if let Some(held) = held.get_mut(minute) {
                    adds |= !std::mem::replace(held, true);
                }
            }
            if !adds {
                let why = "never decides: rules before it hold at all its hours";
                return useless(format!("times[{place}]"), why);
            }
        }
        self.weights()?;
        let reclaim = &self.reclaim;
        let yields = reclaim.priority || reclaim.quota || reclaim.spot || reclaim.order;
        if reclaim.runtime_min.0 > 0 && !yields && !reclaim.class && reclaim.moves_max == 0 {
            let needs = "anything that makes work yield: priority, quota, spot, order, class or \
                         moves_max";
            let setting = "reclaim.runtime_min".to_owned();
            return Err(PolicyError::NoEffect { setting, needs: needs.to_owned() });
        }
        if self.backfill.reserved == 0 && self.backfill.believe != Believe::Limit {
            let needs = "jobs that are promised a start: backfill.reserved of 1 or more".to_owned();
            return Err(PolicyError::NoEffect { setting: "backfill.believe".to_owned(), needs });
        }
        for (class, pool) in &self.classes {
            let Some(partition) = &pool.partition else {
                let why = "says nothing: give it a partition, or leave it out";
                return useless(format!("classes.{class}"), why);
            };
            if let Err(error) = crate::partition(partition) {
                let (field, why) =
                    (format!("classes.{class}.partition"), format!("names none: {error}"));
                return Err(PolicyError::Useless { field, why });
            }
        }
        Ok(())
    }

    /// Weights of models: the first name that matches counts, in the order of names.
    fn weights(&self) -> Result<(), PolicyError> {
        let names: Vec<&String> = self.fair_share.model_weights.keys().collect();
        for (place, name) in names.iter().enumerate() {
            let field = "fair_share.model_weights".to_owned();
            if name.trim().is_empty() {
                let why = "has an empty name, which every model's name holds: write a part of one";
                return useless(field, why);
            }
            let before = names.get(..place).unwrap_or_default();
            if let Some(first) = before.iter().find(|first| name.contains(first.as_str())) {
                let why = format!("names {name:?}, which never counts: {first:?} matches it first");
                return Err(PolicyError::Useless { field, why });
            }
        }
        Ok(())
    }
}

fn order(order: &Order, field: &str) -> Result<(), PolicyError> {
    let twice =
        |field: String, term: &str| Err(PolicyError::Twice { field, term: term.to_owned() });
    for (place, class) in order.classes.iter().enumerate() {
        if order.classes.get(..place).unwrap_or_default().contains(class) {
            return twice(format!("{field}.classes"), &class.to_string());
        }
    }
    let mut blends = order.by.iter().filter_map(|term| match term {
        Term::Blend(weights) => Some(weights),
        _ => None,
    });
    let Some(weights) = blends.next() else { return Ok(()) };
    if blends.next().is_some() {
        return twice(format!("{field}.by"), "blend");
    }
    match weights.iter().find(|(_, weight)| **weight == 0) {
        Some((term, _)) => {
            let field = format!("{field}.by.blend.{}", term.name());
            useless(field, "is 0, which weighs nothing: leave it out")
        }
        None => Ok(()),
    }
}

fn useless(field: String, why: &str) -> Result<(), PolicyError> {
    Err(PolicyError::Useless { field, why: why.to_owned() })
}
