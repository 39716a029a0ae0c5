//! Which devices of a node a task gets, which nodes a gang gets, and which kind of card suits.
//!
//! Small plain structs in, a choice out: [`choose`] picks devices of one node by their [`Links`],
//! [`sites()`] spreads a gang over nodes, [`rails()`] finds the network rails that most nodes have
//! free, and [`suit()`] weighs cards of different models for one need. Nothing here knows devices,
//! leases or jobs by name, and nothing is changed.
//!
//! What must hold, and is compared with searches over every choice in the tests: up to
//! [`DEVICES_EXACT_MAX`] devices no better choice exists; a demand that is required is never
//! broken, and a task is refused only if no choice keeps it; ties go to the lowest places.

mod cards;
mod exact;
mod gang;
mod links;
mod rails;
mod subset;
mod suit;

pub use cards::{Card, card};
pub use gang::{Site, Spread, Tier, Within, sites};
pub use links::{DEVICES_EXACT_MAX, Links};
pub use rails::rails;
pub use subset::{Choice, Spots, Together, Wish, choose};
pub use suit::{Needs, Prices, suit};
