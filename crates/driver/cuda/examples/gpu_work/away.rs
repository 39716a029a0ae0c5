//! A process that is moved off the card in the middle of its work, and back, as `cuda-checkpoint` does it:
//! through the driver's own functions, which another process calls.

use super::{Card, MARKED_BYTES};
use libloading::Library;
use polder_gpuapi::cuda::consts::CUDA_SUCCESS;
use polder_gpuapi::cuda::pfn;
use polder_gpuapi::cuda::types::*;
use std::process::{Command, Stdio};
use std::ptr::null_mut;
use std::time::{Duration, Instant};

/// How long it works before and after.
const WORK: Duration = Duration::from_secs(2);
/// Longest that a process may take until what it has begun is over, milliseconds.
const LOCK_MAX_MS: u32 = 10_000;

/// Words to fill memory with, each other than its neighbours.
fn filling() -> Vec<u32> {
    let word = |at: usize| u32::try_from(at).unwrap_or(0).wrapping_mul(0x9e37_79b9);
    (0..MARKED_BYTES / 4).map(word).collect()
}

/// Kernels of a millisecond, waited for one by one, until `over`.
fn work(card: &Card, mut over: impl FnMut() -> bool) {
    let function = card.work(1_000);
    while !over() {
        card.launch(function, 1_000, null_mut());
        card.synchronize();
    }
}

pub(crate) fn away(seconds: u64) {
    let words = filling();
    let opened = Instant::now();
    let card = Card::open(1_000);
    let mut at = 0;
    call!(card.library, cuMemAlloc_v2(&raw mut at, MARKED_BYTES));
    call!(card.library, cuMemcpyHtoD_v2(at, words.as_ptr().cast(), MARKED_BYTES));
    let began = Instant::now();
    work(&card, || began.elapsed() > WORK);
    let me = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new(me);
    command.args(["move", &std::process::id().to_string(), &seconds.to_string()]);
    let mut mover = command.stdout(Stdio::inherit()).spawn().expect("it starts again");
    let mut moved = None;
    work(&card, || {
        moved = mover.try_wait().expect("a child of this process");
        moved.is_some()
    });
    let back = Instant::now();
    work(&card, || back.elapsed() > WORK);
    let mut found = vec![0_u32; words.len()];
    call!(card.library, cuMemcpyDtoH_v2(found.as_mut_ptr().cast(), at, MARKED_BYTES));
    let on_card = opened.elapsed().saturating_sub(Duration::from_secs(seconds));
    let same = found.iter().zip(&words).filter(|(found, word)| found == word).count() * 4;
    println!(
        "{{\"moved\": {}, \"on_card_s\": {:.3}, \"bytes\": {MARKED_BYTES}, \"same\": {same}}}",
        moved.is_some_and(|status| status.success()),
        on_card.as_secs_f64()
    );
}

/// Moves another process off the card for so long.
pub(crate) fn move_off(pid: u64, seconds: u64) {
    // SAFETY: the vendor's library, or one in its place.
    let library = unsafe { Library::new("libcuda.so.1") }.expect("libcuda.so.1 opens");
    let pid = i32::try_from(pid).expect("a process");
    let mut most = CUcheckpointLockArgs { timeoutMs: LOCK_MAX_MS, ..Default::default() };
    call!(library, cuCheckpointProcessLock(pid, &raw mut most));
    call!(library, cuCheckpointProcessCheckpoint(pid, null_mut()));
    std::thread::sleep(Duration::from_secs(seconds));
    call!(library, cuCheckpointProcessRestore(pid, null_mut()));
    call!(library, cuCheckpointProcessUnlock(pid, null_mut()));
}
