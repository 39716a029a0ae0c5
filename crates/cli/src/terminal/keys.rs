//! Single keys, for a screen that is watched.

use super::pty::RawMode;
use rustix::termios::LocalModes;
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use tokio::sync::mpsc;

/// Keys that nobody has asked for yet; a reader that is so far behind needs no more.
const KEYS_MAX: usize = 16;

/// The keys pressed at the caller's terminal, without echo and without waiting for a line. Ctrl-C
/// stays a signal.
#[derive(Debug)]
pub(crate) struct Keys {
    pressed: mpsc::Receiver<u8>,
    _mode: RawMode,
}

impl Keys {
    /// Watches them as long as this lives; `None` where nobody can press any.
    pub(crate) fn watch() -> Option<Self> {
        if !io::stdin().is_terminal() {
            return None;
        }
        let mode = RawMode::enter(io::stdin().as_fd(), |mode| {
            mode.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        });
        let (press, pressed) = mpsc::channel(KEYS_MAX);
        // It waits in a read that nothing but a key ends, and so lives as long as the process.
        let reader = std::thread::Builder::new().name("keys".into()).spawn(move || {
            let keys = io::stdin().lock().bytes().map_while(Result::ok);
            // Ends when nobody listens any more.
            let _ = keys.map(|key| press.blocking_send(key)).find(Result::is_err);
        });
        reader.ok().and(mode.ok()).map(|mode| Self { pressed, _mode: mode })
    }

    /// The next one; never comes once the terminal is gone.
    pub(crate) async fn next(&mut self) -> u8 {
        match self.pressed.recv().await {
            Some(key) => key,
            None => std::future::pending().await,
        }
    }
}
