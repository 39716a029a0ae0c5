//! Why the library shows no platforms: said on standard error, and only when asked to.

use std::fmt::Display;
use std::io::Write as _;

/// The variable that makes the library speak.
const LOG_VARIABLE: &str = "POLDER_LOG";

/// Says `what` when `POLDER_LOG` is set. The library lives in a stranger's process: it is silent
/// otherwise.
pub(crate) fn say(what: &dyn Display) {
    if std::env::var_os(LOG_VARIABLE).is_some() {
        // Nobody to tell when standard error is closed.
        let _ = writeln!(std::io::stderr(), "polder: {what}");
    }
}
