//! Who has which devices, and until when: a state machine in virtual time.

/// The quantum: how long a grant lasts while others wait, nanoseconds.
pub const QUANTUM_NS: u64 = 20_000_000;
