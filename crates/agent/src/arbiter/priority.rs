//! The arbiter's thread goes before everything else: it decides who runs, and needs microseconds.
//! On a busy machine a thread of normal priority, or even a nice one, waits a millisecond for a
//! CPU at each change of turns, and the device stands idle for as long.
#![allow(unsafe_code)] // sched_setscheduler has no safe wrapper

/// Lowest of the real-time priorities: above every program, below every driver's own threads.
const PRIORITY: i32 = 1;
/// Where real time is not permitted.
const NICE: i32 = -15;

/// Raises the calling thread as far as permitted.
pub(super) fn raise() {
    let parameters = libc::sched_param { sched_priority: PRIORITY };
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    // SAFETY: thread 0 is the caller, and the parameters are read during the call only.
    if unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) } == 0 {
        return;
    }
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::info!(%error, "arbiter runs at normal priority: turns change late on a busy CPU");
    }
}
