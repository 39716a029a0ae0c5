//! How long a command lets others go before it: what it remembers of the turns that it has waited.
//!
//! **Invariant.** A command that has been held back in a turn may pass the end of a later one whatever
//! its own process has in flight. It lets other processes of its lease have a turn's long command, but
//! in no more than [`TURNS_PER_PROCESS`] turns for each of them; then it goes beside them. So none
//! starves, whatever the others do or write into their page.

use polder_ledger::Usage;
use polder_ledger::single::{self, Held, Single};
use std::sync::atomic::Ordering;

/// In so many turns for each process of the lease a command lets another be the turn's long one. In
/// a lease whose processes wake in time each is passed over once for each of the others.
pub const TURNS_PER_PROCESS: u64 = 4;
/// How long it lets the one that is next in line come, nanoseconds: several times what a thread
/// needs to wake.
pub const POLITE_NS: u64 = 200_000;

/// One command's.
#[derive(Debug, Clone, Default)]
pub struct Patience {
    /// The last turn that it could not go in, by its deadline, and how many there were.
    turn_ns: u64,
    turns: u64,
    /// Since when another has been next in line.
    polite_since_ns: Option<u64>,
}

/// The right to be the lease's one command of its sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Nobody else has it until it is given back.
    Own(Single),
    /// It has waited so long that it goes beside others.
    Waited,
}

impl Patience {
    /// Whether it was held back in a turn before this one.
    #[must_use]
    pub fn held_back(&self, deadline_ns: u64) -> bool {
        self.turns > u64::from(self.turn_ns == deadline_ns)
    }

    /// It could not go in this turn.
    pub fn held_back_in(&mut self, deadline_ns: u64) {
        if self.turns == 0 || self.turn_ns != deadline_ns {
            self.turns += 1;
            self.turn_ns = deadline_ns;
        }
    }

    /// Asks to be the one command of the lease for the process in slot `me`; `turn` is the turn's
    /// deadline when the command would pass it.
    ///
    /// # Errors
    /// Why it has to wait.
    pub fn ask(
        &mut self,
        usage: &Usage,
        me: usize,
        now_ns: u64,
        turn: Option<u64>,
    ) -> Result<Right, Held> {
        let since_ns = self.polite_since_ns;
        let polite = since_ns.is_none_or(|since| now_ns.saturating_sub(since) < POLITE_NS);
        let taken = single::take(usage, me, now_ns, turn, polite);
        self.polite_since_ns = match taken {
            Err(Held::Line) => since_ns.or(Some(now_ns)),
            _ => None,
        };
        match (taken, turn) {
            (Ok(single), _) => Ok(Right::Own(single)),
            (Err(held), Some(deadline_ns)) => {
                self.held_back_in(deadline_ns);
                let live = |slot: &&polder_ledger::Slot| slot.pid.load(Ordering::Relaxed) != 0;
                let live = usage.slots().iter().filter(live).count() as u64;
                let patient = self.turns <= TURNS_PER_PROCESS.saturating_mul(live.max(1));
                if patient { Err(held) } else { Ok(Right::Waited) }
            }
            (Err(held), None) => Err(held),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::{Kind, Meter, Moment, Verdict};
    use polder_ledger::gate;

    const MS: u64 = 1_000_000;
    const KERNEL: Kind = Kind { what: 1, size: 10, guess_ns: 0 };

    fn lease(processes: usize) -> Box<Usage> {
        let usage = Box::new(Usage::new(1));
        for slot in 0..processes {
            usage.claim_slot(slot, 100);
        }
        usage
    }

    fn taught(length_ns: u64) -> Meter {
        let meter = Meter::default();
        let estimate = meter.launch(0, KERNEL, MS);
        meter.complete(length_ns, 0, estimate, KERNEL, false);
        meter
    }

    /// One command at the gate as the driver has it there: its verdict, and the right it goes with.
    fn ask(
        (usage, me): (&Usage, usize),
        meter: &Meter,
        patience: &mut Patience,
        moment: Moment,
    ) -> (Verdict, Option<Right>) {
        let turn = moment.deadline_ns;
        let held_back = turn.is_some_and(|turn| patience.held_back(turn));
        let moment = Moment { held_back, ..moment };
        match meter.admit(moment, KERNEL, false) {
            Verdict::Single { long } => {
                let turn = turn.filter(|_| long);
                let Ok(right) = patience.ask(usage, me, moment.now_ns, turn) else {
                    return (Verdict::Single { long }, None);
                };
                (meter.admit(Moment { single: true, ..moment }, KERNEL, false), Some(right))
            }
            verdict => {
                if verdict == Verdict::Turn {
                    patience.held_back_in(turn.unwrap_or(0));
                }
                (verdict, None)
            }
        }
    }

    fn turn(number: u64) -> Moment {
        let now_ns = number * 1000 * MS;
        Moment { deadline_ns: Some(now_ns + 10 * MS), ..Moment::at(now_ns, 5 * MS) }
    }

    #[test]
    fn in_a_turn_one_process_of_the_lease_passes_the_end_and_each_has_its_turn() {
        let usage = lease(8);
        let meters: Vec<Meter> = (0..8).map(|_| taught(100 * MS)).collect();
        let mut patience = vec![Patience::default(); 8];
        usage.slots().iter().for_each(gate::wait_begin);
        let mut went = [0; 8];
        for number in 1..=80 {
            let mut rights = Vec::new();
            // The lowest always wakes first, and asks again before the others.
            for me in (0..8).chain(0..8) {
                let (verdict, right) =
                    ask((&usage, me), &meters[me], &mut patience[me], turn(number));
                if let Verdict::Go { estimate_ns } = verdict {
                    went[me] += 1;
                    rights.push((me, estimate_ns, right));
                    patience[me] = Patience::default();
                }
            }
            assert_eq!(rights.len(), 1, "in turn {number}: {rights:?}");
            for (me, estimate_ns, right) in rights {
                meters[me].cancel(estimate_ns);
                if let Some(Right::Own(single)) = right {
                    single::give_back(&usage, single);
                }
            }
        }
        assert_eq!(went, [10; 8]);
    }

    #[test]
    fn a_long_command_beside_short_ones_of_its_process_goes_in_the_second_turn() {
        let usage = lease(1);
        let meter = taught(100 * MS);
        let mut patience = Patience::default();
        // Another thread has been in the turn before it, and has something in flight.
        meter.launch(1000 * MS, KERNEL, MS);
        assert_eq!(ask((&usage, 0), &meter, &mut patience, turn(1)).0, Verdict::Turn);
        let second = Moment { impatient: true, ..turn(2) };
        let (verdict, _) = ask((&usage, 0), &meter, &mut patience, second);
        assert!(matches!(verdict, Verdict::Go { .. }), "{verdict:?}");
    }

    #[test]
    fn a_neighbour_that_keeps_the_right_for_ever_holds_nobody_for_ever() {
        let usage = lease(3);
        let meter = taught(100 * MS);
        let mut patience = Patience::default();
        let mut number = 1;
        let went = loop {
            // It takes what it can get, and never gives it back.
            let turn_ns = turn(number).deadline_ns;
            let _ = single::take(&usage, 1, turn(number).now_ns, turn_ns, false);
            let (verdict, right) = ask((&usage, 0), &meter, &mut patience, turn(number));
            if matches!(verdict, Verdict::Go { .. }) {
                break right;
            }
            number += 1;
        };
        assert_eq!((number, went), (3 * TURNS_PER_PROCESS + 1, Some(Right::Waited)));
    }

    #[test]
    fn beside_a_lease_that_is_waited_for_the_lease_has_one_long_command() {
        let usage = lease(2);
        let meters = [taught(10 * MS), taught(10 * MS)];
        let mut patience = [Patience::default(), Patience::default()];
        let beside = |now_ns| Moment { one: true, ..Moment::at(now_ns, MS / 5) };
        let mut flying = None;
        for me in [0, 1, 0, 1] {
            let at = (&*usage, me);
            match ask(at, &meters[me], &mut patience[me], beside(100 * MS)) {
                (Verdict::Go { estimate_ns }, Some(Right::Own(single))) => {
                    assert_eq!(flying.replace((me, estimate_ns, single)), None);
                }
                (verdict, right) => assert!(flying.is_some(), "{verdict:?} {right:?}"),
            }
        }
        let (me, estimate_ns, single) = flying.expect("one of them went");
        meters[me].cancel(estimate_ns);
        single::give_back(&usage, single);
        let (other, now_ns) = (1 - me, 110 * MS);
        let verdict = ask((&usage, other), &meters[other], &mut patience[other], beside(now_ns)).0;
        assert!(matches!(verdict, Verdict::Go { .. }), "{verdict:?}");
        // Short ones go beside it.
        let short = taught(MS / 20);
        let verdict = ask((&usage, me), &short, &mut Patience::default(), beside(now_ns)).0;
        assert!(matches!(verdict, Verdict::Go { .. }), "{verdict:?}");
    }
}
