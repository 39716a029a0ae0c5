//! The `polder` binary.

fn main() {}
