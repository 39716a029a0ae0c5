//! One line on standard error that says how far something has come.

use std::io::{self, Write};

/// Drawn over itself on a terminal; one plain line for each change elsewhere.
#[derive(Debug)]
pub(crate) struct Progress {
    quiet: bool,
    live: bool,
    shown: String,
}

impl Progress {
    pub(super) fn new(quiet: bool, live: bool) -> Self {
        Self { quiet, live, shown: String::new() }
    }

    /// Shows this from now on.
    pub(crate) fn set(&mut self, text: &str) {
        if self.quiet || self.shown == text {
            return;
        }
        text.clone_into(&mut self.shown);
        let mut err = io::stderr().lock();
        let _ = if self.live {
            write!(err, "\r{}\x1b[K", fit(text)).and_then(|()| err.flush())
        } else {
            writeln!(err, "{text}")
        };
    }

    /// Whether what is shown now stays for ever, though it will not stay true.
    pub(crate) fn stays(&self) -> bool {
        !self.live && !self.quiet && !self.shown.is_empty()
    }

    /// Takes a live line away again.
    pub(crate) fn clear(&mut self) {
        if self.live && !self.shown.is_empty() {
            let mut err = io::stderr().lock();
            let _ = write!(err, "\r\x1b[K").and_then(|()| err.flush());
        }
        self.shown.clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A line that wraps could not be drawn over.
fn fit(text: &str) -> String {
    let width = rustix::termios::tcgetwinsize(io::stderr()).map_or(80, |size| size.ws_col);
    text.chars().take(usize::from(width.max(20)) - 1).collect()
}
