//! Which buffers go to the host and which come back, so that a command finds all of its own on the
//! device. Pure.
//!
//! **Invariants.** After every step what the lease has on the device is at most its memory there, and
//! what is behind it at most the host memory that it was promised; every buffer is at exactly one of
//! the two. As long as [`admits`] let each buffer in and one process alone uses the lease, no command
//! fails for want of room whose own buffers fit on the device together:
//! when a buffer of `b` bytes has no room on a device of `m`, more than `m - b` lie there, so of all
//! `l` bytes fewer than `l - m + b` lie behind it, and `l + 2 * largest <= m + h` leaves more than
//! `largest` of the `h` bytes there free: room for whichever buffer goes next.

/// Bytes on the device and in the host memory behind it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sides {
    pub(crate) device: u64,
    pub(crate) host: u64,
}

/// A buffer as the plan sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// What it is called.
    pub(crate) id: usize,
    /// What it is charged.
    pub(crate) bytes: u64,
    /// When it was last used: a count of uses.
    pub(crate) used: u64,
    /// Whether it lies on the device.
    pub(crate) resident: bool,
    /// Whether a command or a mapping holds it where it is.
    pub(crate) held: bool,
}

/// One move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// To the host.
    Out(usize),
    /// To the device.
    In(usize),
}

/// Not all that is needed can be on the device together, beside what is held there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// Whether a buffer of `bytes` may be made, beside what is `held` under these `terms`; `largest` is the
/// largest of the buffers that there are.
pub(crate) fn admits(terms: Sides, held: Sides, largest: u64, bytes: u64) -> bool {
    if bytes > terms.device {
        return false;
    }
    if held.host == 0 && held.device.saturating_add(bytes) <= terms.device {
        // Nothing has to move: all that there is can be on the device together.
        return true;
    }
    let all = held.device.saturating_add(held.host).saturating_add(bytes);
    let moving = largest.max(bytes).saturating_mul(2);
    all.saturating_add(moving) <= terms.device.saturating_add(terms.host)
}

/// Whether what is made will move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stay {
    /// To the host and back.
    Moves,
    /// Never.
    Fixed,
}

/// Whether each buffer can be on the device once `bytes` more are there, beside what is `fixed` there.
pub(crate) fn come_back(terms: Sides, fixed: u64, largest: u64, bytes: u64, stay: Stay) -> bool {
    let (fixed, largest) = match stay {
        Stay::Moves => (fixed, largest.max(bytes)),
        Stay::Fixed => (fixed.saturating_add(bytes), largest),
    };
    fixed.saturating_add(largest) <= terms.device
}

/// The moves after which all of `needed` are on the device, and `more` bytes are free there besides.
/// Least lately used buffers go first.
pub(crate) fn plan(
    buffers: &[Seen],
    needed: &[usize],
    more: u64,
    terms: Sides,
    held: Sides,
) -> Result<Vec<Step>, Full> {
    let mut now = held;
    let is_needed = |id: usize| needed.contains(&id);
    let mut movable: Vec<&Seen> =
        buffers.iter().filter(|one| one.resident && !one.held && !is_needed(one.id)).collect();
    // The last goes first.
    movable.sort_by_key(|one| (std::cmp::Reverse(one.used), one.id));
    let mut steps = Vec::new();
    let absent = buffers.iter().filter(|one| is_needed(one.id) && !one.resident);
    for wanted in absent.map(Some).chain([None]) {
        let bytes = wanted.map_or(more, |one| one.bytes);
        while now.device.saturating_add(bytes) > terms.device {
            let next = movable.pop().ok_or(Full)?;
            if now.host.saturating_add(next.bytes) > terms.host {
                return Err(Full);
            }
            now.device = now.device.saturating_sub(next.bytes);
            now.host += next.bytes;
            steps.push(Step::Out(next.id));
        }
        if let Some(one) = wanted {
            now.device += one.bytes;
            now.host = now.host.saturating_sub(one.bytes);
            steps.push(Step::In(one.id));
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seen(id: usize, bytes: u64, used: u64, resident: bool, held: bool) -> Seen {
        Seen { id, bytes, used, resident, held }
    }

    #[test]
    fn the_least_lately_used_go_and_what_is_held_or_needed_stays() {
        let terms = Sides { device: 10, host: 20 };
        let held = Sides { device: 10, host: 4 };
        let buffers = [
            seen(1, 4, 5, true, false),
            seen(2, 3, 1, true, true),
            seen(3, 3, 2, true, false),
            seen(4, 4, 9, false, false),
        ];
        let plan = |needed: &[usize], more| plan(&buffers, needed, more, terms, held);
        assert_eq!(plan(&[4], 0), Ok(vec![Step::Out(3), Step::Out(1), Step::In(4)]));
        assert_eq!(plan(&[4, 1], 0), Err(Full), "one is held, one is needed, one is too small");
        assert_eq!(plan(&[1, 2, 3], 0), Ok(vec![]));
        assert_eq!(plan(&[], 3), Ok(vec![Step::Out(3)]));
        assert_eq!(plan(&[], 8), Err(Full));
        assert_eq!(plan(&[77], 0), Ok(vec![]), "what is not known is not moved");
    }

    /// A lease of one process: what a person would write down of it.
    #[derive(Debug)]
    struct World {
        terms: Sides,
        buffers: Vec<Seen>,
        clock: u64,
    }

    impl World {
        fn held(&self) -> Sides {
            let sum = |resident| {
                let of = self.buffers.iter().filter(|one| one.resident == resident);
                of.map(|one| one.bytes).sum()
            };
            Sides { device: sum(true), host: sum(false) }
        }

        fn follow(&mut self, steps: Vec<Step>) -> Result<(), TestCaseError> {
            for step in steps {
                let (id, resident) = match step {
                    Step::Out(id) => (id, false),
                    Step::In(id) => (id, true),
                };
                let one = self.buffers.iter_mut().find(|one| one.id == id).unwrap();
                prop_assert!(one.resident != resident, "a move from where it is not");
                one.resident = resident;
                let held = self.held();
                prop_assert!(held.device <= self.terms.device, "{held:?} {:?}", self.terms);
                prop_assert!(held.host <= self.terms.host, "{held:?} {:?}", self.terms);
            }
            Ok(())
        }
    }

    #[derive(Debug, Clone)]
    enum Act {
        Make(u64),
        Use(Vec<prop::sample::Index>),
        Free(prop::sample::Index),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            3 => (1u64..40).prop_map(Act::Make),
            4 => prop::collection::vec(any::<prop::sample::Index>(), 1..4).prop_map(Act::Use),
            1 => any::<prop::sample::Index>().prop_map(Act::Free),
        ]
    }

    proptest! {
        /// Nothing ever passes its side, and no command fails whose buffers fit on the device.
        #[test]
        fn whatever_a_program_does_both_sides_hold_and_no_command_that_fits_fails(
            device in 1u64..100, host in 0u64..200, acts in prop::collection::vec(act(), 1..60),
        ) {
            let terms = Sides { device, host };
            let mut world = World { terms, buffers: Vec::new(), clock: 0 };
            for (number, act) in acts.into_iter().enumerate() {
                let number = number + 1;
                match act {
                    Act::Make(bytes) => {
                        let largest = world.buffers.iter().map(|one| one.bytes).max().unwrap_or(0);
                        if !admits(terms, world.held(), largest, bytes) {
                            continue;
                        }
                        let steps = plan(&world.buffers, &[], bytes, terms, world.held());
                        prop_assert!(steps.is_ok(), "what was let in has room");
                        world.follow(steps.unwrap())?;
                        world.clock += 1;
                        world.buffers.push(seen(number, bytes, world.clock, true, false));
                        prop_assert!(world.held().device <= device);
                    }
                    Act::Use(picks) if !world.buffers.is_empty() => {
                        let mut needed: Vec<usize> =
                            picks.iter().map(|pick| pick.get(&world.buffers).id).collect();
                        needed.sort_unstable();
                        needed.dedup();
                        let of = world.buffers.iter().filter(|one| needed.contains(&one.id));
                        let fits = of.map(|one| one.bytes).sum::<u64>() <= device;
                        let steps = plan(&world.buffers, &needed, 0, terms, world.held());
                        prop_assert_eq!(steps.is_ok(), fits);
                        if let Ok(steps) = steps {
                            world.follow(steps)?;
                            world.clock += 1;
                            for one in &mut world.buffers {
                                if needed.contains(&one.id) {
                                    prop_assert!(one.resident);
                                    one.used = world.clock;
                                }
                            }
                        }
                    }
                    Act::Use(_) => {}
                    Act::Free(pick) if !world.buffers.is_empty() => {
                        let id = pick.get(&world.buffers).id;
                        world.buffers.retain(|one| one.id != id);
                    }
                    Act::Free(_) => {}
                }
            }
        }
    }
}
