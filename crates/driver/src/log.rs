//! Why the library shows no devices: said on standard error, and only when asked to, but for one line of a
//! process that was cut off from its lease.

use crate::attach::AttachError;
use std::error::Error;
use std::io::Write as _;
use std::sync::Once;

/// The variable that makes the library speak.
const LOG_VARIABLE: &str = "POLDER_LOG";

/// Says what went wrong, with its causes, when `POLDER_LOG` is set. The library lives in a
/// stranger's process: it is silent otherwise.
pub fn say(error: &dyn Error) {
    if std::env::var_os(LOG_VARIABLE).is_some() {
        write(error);
    }
}

/// Says why the process has no place in a lease. That it was not told where to ask is said once unasked:
/// whoever cleared its environment does not know that this took the devices away.
pub fn say_unplaced(error: &AttachError) {
    static SAID: Once = Once::new();
    match error {
        AttachError::Nowhere => SAID.call_once(|| write(error)),
        _ => say(error),
    }
}

fn write(error: &dyn Error) {
    let mut text = format!("polder: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text.push('\n');
    // Nobody to tell when standard error is closed.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
