//! Published algorithms of peers, in our own words and code, as far as they have been described.
//! What a description leaves open is said where it is filled.

mod aimd;
mod credit;
mod gemini;
mod hami;
mod pid;
mod published;

use aimd::Aimd;
use credit::Credit;
use gemini::Gemini;
use hami::Hami;
use pid::Pid;
pub use published::{Published, published};

use crate::limiter::Limiter;
use polder_standin::Model;

/// A limiter for a lease of so many processes at so many percent of a device.
pub type Make = fn(&Model, u32, usize) -> Box<dyn Limiter>;

/// Every peer of the matrix.
pub const PEERS: [(&str, Make); 5] = [
    ("HAMi-core's bucket", |model, limit, processes| Box::new(Hami::new(model, limit, processes))),
    ("vgpu.rs's PID", |_, limit, _| Box::new(Pid::new(limit))),
    ("AIMD on a shared bucket", |model, limit, _| Box::new(Aimd::new(model, limit))),
    ("Gemini's token", |_, limit, processes| Box::new(Gemini::new(limit, processes))),
    ("a credit bucket by events", |_, limit, processes| Box::new(Credit::new(limit, processes))),
];
