//! A tenant's program for the tests: one scenario a run, which fails loudly when anything is not as
//! the API promises. It talks with its test by lines: what it says on standard output, and what it
//! hears on standard input.

#![allow(unsafe_code)] // `call!` calls the C API

mod answers;
#[path = "../common/mod.rs"]
mod common;
mod device;
mod memory;
mod paged;
mod process;
mod queue;
mod recorded;

use std::io::{BufRead as _, Write as _};

/// Says a line to the test.
pub(crate) fn say(what: &dyn std::fmt::Display) {
    let mut out = std::io::stdout();
    writeln!(out, "{what}").expect("the test reads");
    out.flush().expect("the test reads");
}

/// Waits for a line of the test; its bytes, none when the test has nothing more to say.
pub(crate) fn hear() -> usize {
    std::io::stdin().lock().read_line(&mut String::new()).expect("the test writes")
}

fn main() {
    let mut words = std::env::args().skip(1);
    let scenario = words.next().unwrap_or_default();
    let number = words.next().map_or(0, |word| word.parse().expect("a number"));
    match scenario.as_str() {
        "devices" => device::list(),
        "functions" => device::functions(),
        "parts" => device::parts(number),
        "resized" => device::resized(),
        "answers" => answers::all(),
        "direct" => device::direct(number),
        "cap" => memory::cap(number),
        "failing" => memory::failing(),
        "oversized" => memory::oversized(),
        "views" => memory::views(),
        "images" => memory::images(number),
        "svm" => memory::svm(number),
        "svm-views" => memory::svm_views(number),
        "svm-own" => memory::svm_own(number),
        "filled" => memory::filled(),
        "false-view" => memory::false_view(),
        "pipes" => memory::pipes(),
        "shared" => memory::shared(number),
        "everywhere" => memory::everywhere(number),
        "mirrored" => paged::mirrored(number),
        "asked" => paged::asked(),
        "greedy" => paged::greedy(number),
        "launches" => queue::launches(number),
        "threads" => queue::threads(number),
        "blocking-read" => queue::blocking_read(),
        "user-event" => queue::user_event(),
        "failed-event" => queue::failed_event(),
        "callback" => queue::callback(),
        "callback-behind" => queue::callback_behind(),
        "native" => queue::native(),
        "recorded" => recorded::run(number),
        "burst" => queue::burst(number),
        "cross" => queue::cross(),
        "collective" => queue::collective(),
        "platforms" => queue::platforms(),
        "checksum" => queue::checksum(),
        "overhead" => queue::overhead(number),
        "fork" => process::fork(),
        "lonely-fork" => process::lonely_fork(),
        "exec" => process::exec(),
        other => panic!("no scenario {other:?}"),
    }
}
