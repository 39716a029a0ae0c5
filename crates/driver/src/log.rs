//! Why the library shows no platforms: said on standard error, and only when asked to.

use std::error::Error;
use std::io::Write as _;

/// The variable that makes the library speak.
const LOG_VARIABLE: &str = "POLDER_LOG";

/// Says what went wrong, with its causes, when `POLDER_LOG` is set. The library lives in a
/// stranger's process: it is silent otherwise.
pub fn say(error: &dyn Error) {
    if std::env::var_os(LOG_VARIABLE).is_none() {
        return;
    }
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
