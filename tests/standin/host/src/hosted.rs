//! A host on a thread of this process, for tests.

use crate::{Script, serve};
use rustix::io::Errno;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A device that is served for as long as this is there.
#[derive(Debug)]
pub struct Hosted {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), Errno>>>,
}

impl Hosted {
    /// Serves a device at `path`; whoever asks afterwards can connect.
    #[must_use]
    pub fn start(path: &Path, script: Script) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (at, told) = (path.to_owned(), Arc::clone(&over));
        let thread =
            std::thread::spawn(move || serve(&at, script, || told.load(Ordering::Acquire)));
        while !path.exists() && !thread.is_finished() {
            std::thread::yield_now();
        }
        Self { over, thread: Some(thread) }
    }

    /// True once it ends.
    #[must_use]
    pub fn over(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.over)
    }
}

impl Drop for Hosted {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        let served = self.thread.take().map(JoinHandle::join);
        // A test that fails already has its reason.
        assert!(std::thread::panicking() || matches!(served, Some(Ok(Ok(())))), "{served:?}");
    }
}
