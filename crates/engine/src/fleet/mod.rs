//! What is free in the pool, dense and by number, and where the next task goes.
//!
//! [`Fleet`] knows nodes by their slot ([`NodeIx`]) and devices by their place in the node. A
//! [`Demand`] is what one task needs, without names: asks that need the same are one demand. A
//! [`Rule`] gives each node that could take the task a score. For each demand and rule that was
//! asked for lately there is a tree of scores over all nodes; a question brings the tree up to date
//! with the nodes that changed since it was last asked, and reads the best off its root.
//!
//! Where several kinds of device would do, [`Suits`] say which are taken first.
//!
//! What must hold: the answer is always the one that a scan over every node would give (highest
//! score, then lowest slot; in a node the highest score, then the device on the most broken island,
//! then the lowest), whatever was asked before; and a trial that is rolled back leaves every amount as it was. The tests hold it
//! against such a scan.
//!
//! It does not know tenants, quotas, jobs, names or time, and decides nothing.

mod bits;
pub(crate) mod cut;
mod demand;
mod log;
mod node;
mod pick;
mod pool;
mod score;
mod suits;
mod tree;

pub use bits::Bits;
pub use demand::Demand;
pub use node::{CellIx, Device, DeviceSpec, Node, NodeIx, NodeSpec, Take};
pub use pool::{Fleet, Mark, RuleIx, Spot, TREES_BYTES_MAX, TREES_MAX};
pub use score::{Knobs, Outlook, Part, Placement, Rule, Supply, Typical, TypicalTask};
pub use suits::{RANKS_MAX, Suits};

/// The island, NUMA node or rail of a device of which none is known: it shares no island and no NUMA
/// node with any other.
pub const NONE: u16 = u16::MAX;

/// All of a device's compute, in thousandths.
pub const WHOLE: i32 = 1000;
