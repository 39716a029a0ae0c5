//! Processes that are moved off the device and back, as the vendor's driver does it since 12.8: locked,
//! checkpointed, locked again, running.

use crate::wire::Step;
use polder_standin::Device;
use std::collections::BTreeMap;

/// Numbers of the API: what came of a call, and in which state a process is.
const SUCCESS: u64 = 0;
const OUT_OF_MEMORY: u64 = 2;
const INVALID_VALUE: u64 = 1;
const ILLEGAL_STATE: u64 = 401;
const NOT_READY: u64 = 600;
const RUNNING: u64 = 0;
const LOCKED: u64 = 1;
const CHECKPOINTED: u64 = 2;

/// One that does not run.
#[derive(Debug)]
struct Frozen {
    since_ns: u64,
    /// Bytes of the device that are kept on the host.
    kept: Option<u64>,
    /// What it had begun is over.
    drained: bool,
}

/// Those that do not run.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints(BTreeMap<u32, Frozen>);

/// What comes of a step.
pub(crate) enum Came {
    /// It is answered: result and state.
    Answer([u64; 2]),
    /// What the process has begun is not over.
    Wait,
}

impl Checkpoints {
    /// Whether the process's calls wait.
    pub(crate) fn is_locked(&self, pid: u32) -> bool {
        self.0.contains_key(&pid)
    }

    /// Whether what it has on the device is kept on the host.
    pub(crate) fn is_away(&self, pid: u32) -> bool {
        self.0.get(&pid).is_some_and(|frozen| frozen.kept.is_some())
    }

    /// It is gone.
    pub(crate) fn forget(&mut self, pid: u32) {
        self.0.remove(&pid);
    }

    fn state(&self, pid: u32) -> u64 {
        match self.0.get(&pid) {
            None => RUNNING,
            Some(Frozen { kept: None, .. }) => LOCKED,
            Some(_) => CHECKPOINTED,
        }
    }

    /// Takes a step with a process that is `known`, and has work on the device if it is `busy`.
    pub(crate) fn step(
        &mut self,
        device: &mut Device,
        (pid, known, busy): (u32, bool, bool),
        step: Step,
        most_ms: u32,
    ) -> Came {
        if !known {
            return Came::Answer([INVALID_VALUE, RUNNING]);
        }
        let now_ns = device.now_ns();
        let frozen = self.0.get_mut(&pid);
        let result = match (step, frozen) {
            (Step::Look, _) => SUCCESS,
            (Step::Lock, None) => {
                self.0.insert(pid, Frozen { since_ns: now_ns, kept: None, drained: !busy });
                if busy {
                    return Came::Wait;
                }
                SUCCESS
            }
            (Step::Lock, Some(frozen)) if !frozen.drained => {
                frozen.drained = !busy;
                let most_ns = u64::from(most_ms) * 1_000_000;
                match busy {
                    true if most_ms == 0 || now_ns - frozen.since_ns < most_ns => {
                        return Came::Wait;
                    }
                    true => {
                        self.0.remove(&pid);
                        NOT_READY
                    }
                    false => SUCCESS,
                }
            }
            (Step::Checkpoint, Some(frozen)) if frozen.kept.is_none() && frozen.drained => {
                let bytes = device.memory_of(pid);
                // All of it is its own.
                let _ = device.free(pid, bytes);
                frozen.kept = Some(bytes);
                SUCCESS
            }
            (Step::Restore, Some(Frozen { kept: kept @ Some(_), .. })) => {
                match device.allocate(pid, kept.unwrap_or(0)) {
                    Ok(_) => {
                        *kept = None;
                        SUCCESS
                    }
                    Err(_) => OUT_OF_MEMORY,
                }
            }
            (Step::Unlock, Some(Frozen { kept: None, drained: true, .. })) => {
                self.0.remove(&pid);
                SUCCESS
            }
            _ => ILLEGAL_STATE,
        };
        Came::Answer([result, self.state(pid)])
    }
}
