//! Streams of the program, told apart, and what its threads wait for.

use crate::view;
use polder_gpuapi::cuda::{consts::*, types::*};

/// A stream of the program. The same handle means another stream in another context, and the
/// thread's own default stream is each thread's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lane {
    pub(crate) context: usize,
    stream: usize,
    /// Of the thread's own default stream.
    pub(super) thread: usize,
}

impl Lane {
    /// The lane of `stream` in the current context. In the variants of a function for the thread's
    /// own default stream, null means that stream.
    pub(crate) fn of(stream: usize, per_thread: bool) -> Self {
        let stream = match (stream, per_thread) {
            (0, true) => CU_STREAM_PER_THREAD,
            (0, false) => CU_STREAM_LEGACY,
            (named, _) => named,
        };
        let thread = if stream == CU_STREAM_PER_THREAD { thread() } else { 0 };
        Self { context: view::context(), stream, thread }
    }

    pub(crate) fn stream(self) -> CUstream {
        std::ptr::with_exposed_provenance_mut(self.stream)
    }

    /// A number for people who tell lanes apart.
    pub(crate) fn number(self) -> u64 {
        u64::try_from(self.stream.wrapping_add(self.thread)).unwrap_or_default()
    }
}

/// A number of this thread's own.
pub(super) fn thread() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

/// What a thread of the program waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    /// One stream.
    Lane(Lane),
    /// All that is in a context.
    Context(usize),
}

impl Waited {
    pub(super) fn covers(self, lane: Lane) -> bool {
        match self {
            Self::Lane(waited) => waited == lane,
            Self::Context(context) => context == lane.context,
        }
    }
}
