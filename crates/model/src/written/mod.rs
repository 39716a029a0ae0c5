//! Devices and nodes that are not there, as people write them in a file.
//!
//! The keys of a device, and the words a node is known by, mean the same in a file of
//! `polder up --simulate` and in a pool file of `polder sim`: both are read by these types. Which
//! format the file has, how many tables it may hold and what the devices are called is the reader's.

mod device;
mod words;

pub use device::{DEVICES_WRITTEN_MAX, DevicesWritten};
pub use words::{NODE_WORDS_MAX, NodeWords, WordError, label, partition};
