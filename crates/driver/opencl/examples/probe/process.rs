//! Forks and other programs.

use super::common::Cl;
use super::say;
use std::process::Command;

/// Parent and child of a fork each allocate.
pub(crate) fn fork() {
    let cl = Cl::load();
    let device = cl.devices(cl.platforms()[0])[0];
    let context = cl.context(&[device]);
    let mine = cl.buffer(context, 1000).expect("the parent's buffer");
    // SAFETY: the child only allocates and ends; it touches no lock of a thread that is gone.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork");
    if child == 0 {
        let both = cl.buffer(context, 300).is_ok() && cl.buffer(context, 10_000).is_err();
        // What the parent holds is the parent's to give back.
        super::common::check(super::common::call!(cl, clReleaseMemObject(mine)));
        // SAFETY: ends the child without running the parent's exit handlers.
        unsafe { libc::_exit(i32::from(!both)) };
    }
    let mut status = 0;
    // SAFETY: waits for the child just made.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0, "the child allocated under the lease");
    say(&"forked");
}

/// Another program, started by this one.
pub(crate) fn exec() {
    let cl = Cl::load();
    let context = cl.context(&[cl.devices(cl.platforms()[0])[0]]);
    cl.buffer(context, 1000).expect("the parent's buffer");
    let me = std::env::current_exe().expect("this program");
    let status = Command::new(me).args(["cap", "500"]).status().expect("it starts");
    assert!(status.success());
    say(&"executed");
}

/// The child of a fork that is not let in.
pub(crate) fn lonely_fork() {
    let cl = Cl::load();
    let device = cl.devices(cl.platforms()[0])[0];
    let context = cl.context(&[device]);
    say(&"ready");
    super::hear();
    // SAFETY: as above.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = cl.buffer(context, 1) == Err(-4);
        // SAFETY: as above.
        unsafe { libc::_exit(i32::from(!refused)) };
    }
    let mut status = 0;
    // SAFETY: waits for the child just made.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0, "the child got nothing");
    cl.buffer(context, 1).expect("the parent is still in");
    say(&"done");
}
