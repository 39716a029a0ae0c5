//! The rule that places go by, as the policy says and history makes it.
//!
//! Two of the rules judge by the usual asks of the pool. Those are facts (see
//! [`crate::history`]); what the rule is follows from them and from the nodes there are, so it is
//! made anew when either changes, before the next look.

use super::space::Space;
use crate::fleet::{Bits, Demand, Knobs, Node, Outlook, Part, Rule, Supply, Typical, TypicalTask};
use crate::history::Usual;
use polder_model::PlaceRule;
use std::sync::Arc;

/// The machine's CPU and the devices' compute that count as all of a node, in thousandths.
const NODE_CPU: i64 = 128_000;
const NODE_COMPUTE: i64 = 8_000;

/// What the rule is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Making {
    pub(crate) place: PlaceRule,
    /// Whether kinds of device that suit a need go before others.
    pub(crate) suit: bool,
    /// The usual asks, and how many of each; kept where the rule judges by them.
    pub(crate) usual: Vec<(Usual, u32)>,
}

/// Whether a rule judges by the usual asks.
pub(crate) fn needs_usual(place: PlaceRule) -> bool {
    matches!(place, PlaceRule::Fragmentation | PlaceRule::Layered)
}

impl Space {
    /// The rule as it is to be now.
    pub(super) fn made(&self, making: &Making) -> Rule {
        let sum = |part| Rule::Sum(vec![(1, part)]);
        match making.place {
            PlaceRule::Tightest => Rule::Tightest,
            PlaceRule::BestFit => sum(Part::BestFit { cpu: NODE_CPU, compute: NODE_COMPUTE }),
            PlaceRule::Spread => sum(Part::Spread),
            PlaceRule::Balance => sum(Part::LoadBalance),
            // With nothing usual yet there is nothing to judge by.
            _ if making.usual.is_empty() => Rule::Tightest,
            PlaceRule::Fragmentation => sum(Part::Fgd(Arc::new(self.typical(making)))),
            PlaceRule::Layered => {
                let mut fleet = self.fleet().borrow_mut();
                fleet.settle();
                let supply = Supply::of(fleet.nodes().map(|(_, node): (_, &Node)| node));
                let outlook = Outlook::new(&self.typical(making), supply, Knobs::default());
                Rule::Outlook(Arc::new(outlook))
            }
        }
    }

    fn typical(&self, making: &Making) -> Typical {
        let task = |(usual, weight): &(Usual, u32)| TypicalTask {
            weight: *weight,
            demand: self.usual_demand(usual),
        };
        Typical::new(making.usual.iter().map(task).collect())
    }

    fn usual_demand(&self, usual: &Usual) -> Demand {
        let is_served = |model: &str| usual.models.iter().any(|wanted| model.contains(wanted));
        let cells: Bits = self
            .groups()
            .flat_map(|(shape, group)| shape.classes.iter().zip(&group.cells))
            .filter(|((class, _), _)| is_served(&class.model_lower))
            .map(|(_, cell)| cell.0)
            .collect();
        Demand {
            count: usual.count,
            compute: i32::try_from(usual.compute).unwrap_or(i32::MAX),
            whole: usual.whole,
            cpu: i64::try_from(usual.cpu).unwrap_or(i64::MAX),
            cells: (!usual.models.is_empty()).then_some(cells),
            ..Demand::default()
        }
    }
}
