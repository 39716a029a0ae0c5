//! The engine from outside: scenarios, an oracle for small cases, and properties of any history.

mod admission;
mod explanations;
mod gangs;
mod lives;
mod oracle;
mod order;
mod placement;
mod properties;
mod scale;
mod world;
