//! When a control daemon that died is begun anew. Pure.
//!
//! **Invariant.** However a daemon dies, it is begun at most [`RESTARTS_MAX`] times in a row, with a
//! wait before each that doubles; then it is given up, until its leases are over.

use polder_model::Micros;

/// How often in a row a daemon that dies is begun anew.
pub const RESTARTS_MAX: u32 = 5;
/// The wait before the first of them; it doubles with each.
pub const RESTART_WAIT: Micros = Micros::from_secs(1);
/// A daemon that has lived so long has done well: what came before is forgotten.
pub const LIVED_WELL: Micros = Micros::from_secs(300);

/// The deaths of one daemon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backoff {
    in_a_row: u32,
    began: Micros,
}

/// What follows from a death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Begin it again at this time.
    Again(Micros),
    /// It has died too often.
    GiveUp,
}

impl Backoff {
    /// It was begun, and came up.
    pub fn began(&mut self, now: Micros) {
        self.began = now;
    }

    /// It is dead, or could not be begun.
    pub fn died(&mut self, now: Micros) -> Next {
        let lived = now.0.saturating_sub(self.began.0);
        if self.began.0 > 0 && lived >= LIVED_WELL.0 {
            self.in_a_row = 0;
        }
        self.began = Micros(0);
        if self.in_a_row >= RESTARTS_MAX {
            return Next::GiveUp;
        }
        let wait = RESTART_WAIT.0 << self.in_a_row;
        self.in_a_row += 1;
        Next::Again(Micros(now.0.saturating_add(wait)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_keeps_dying_is_given_up() {
        let mut deaths = Backoff::default();
        let mut now = Micros::from_secs(10);
        let mut waits = Vec::new();
        loop {
            deaths.began(now);
            match deaths.died(now) {
                Next::Again(at) => {
                    waits.push((at.0 - now.0) / 1_000_000);
                    now = at;
                }
                Next::GiveUp => break,
            }
        }
        assert_eq!(waits, [1, 2, 4, 8, 16]);
        assert_eq!(deaths.died(now), Next::GiveUp, "it stays so");
    }

    #[test]
    fn one_that_has_lived_well_begins_anew() {
        let mut deaths = Backoff::default();
        let mut now = Micros::from_secs(10);
        for _ in 0..100 {
            deaths.began(now);
            now = Micros(now.0 + LIVED_WELL.0);
            assert_eq!(deaths.died(now), Next::Again(Micros(now.0 + RESTART_WAIT.0)));
        }
        // One that never came up has not lived at all, however late that is found.
        for _ in 1..RESTARTS_MAX {
            now = Micros(now.0 + LIVED_WELL.0);
            assert!(matches!(deaths.died(now), Next::Again(_)));
        }
        assert_eq!(deaths.died(now), Next::GiveUp);
    }
}
