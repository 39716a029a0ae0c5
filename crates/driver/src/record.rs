//! Writing down what the process does with its devices, when `polder profile` asks for it.
//!
//! Each process of a profiled lease makes a file of its own in the folder that the environment names or,
//! where that was cleared, a link beside the lease's socket, in the layout of [`polder_ledger::record`]: one `pwrite` per span, at a place taken with an atomic
//! addition, so threads never wait for each other and nothing is lost when the process dies. What
//! does not fit is counted in the header and otherwise forgotten. A fault here costs records, never
//! the program's call. Without that folder there is no [`Recorder`], and the libraries install no
//! hook that would ask for one.

use crate::attach::Kept;
use crate::locks::lock;
use crate::place;
use crate::state::State;
use polder_ledger::monotonic_ns;
use polder_ledger::record::{
    LogHeader, NAME_BYTES_MAX, NAMES_MAX, PROFILE_VARIABLE, RECORD_BYTES, RECORD_SUFFIX,
    RECORDS_MAX, Span, SpanKind, encode_name,
};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, getegid, geteuid, getgid, getrlimit, getuid};
use rustix::time::{ClockId, clock_gettime};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

/// Most files of processes that had the same id one after another.
const SAME_PID_MAX: u32 = 1000;

/// Whether this process was started to be profiled.
pub fn wanted() -> bool {
    folder().is_some()
}

/// Where this process and its children are to write, as its environment or its lease said first. A process that has
/// rights its caller has not writes nothing where its caller says.
fn folder() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let named = FOLDER.get_or_init(|| {
        let own = getuid() == geteuid() && getgid() == getegid();
        let named = std::env::var_os(PROFILE_VARIABLE).map(PathBuf::from);
        let named = named.or_else(place::records);
        // A path that means another folder wherever the process goes is none of `polder profile`'s.
        named.filter(|path| own && path.is_absolute())
    });
    named.as_deref()
}

/// The process's file.
#[derive(Debug)]
pub struct Recorder {
    file: Kept,
    header: LogHeader,
    /// Records whose places are taken.
    taken: AtomicU64,
    room: u64,
    names: Mutex<BTreeMap<String, u32>>,
    dropped: AtomicU64,
    dropped_ns: AtomicU64,
}

/// Where a span will be written; none when there was no room for it.
#[derive(Debug, Clone, Copy)]
pub struct Place(Option<u64>);

impl Recorder {
    /// The file of this process; none when it is not to be profiled, or the folder takes no file.
    pub(crate) fn open() -> Option<Self> {
        Self::open_in(folder()?)
    }

    fn open_in(folder: &Path) -> Option<Self> {
        let pid = std::process::id();
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = (0..SAME_PID_MAX).find_map(|again| {
            let path = folder.join(format!("{pid}-{again}.{RECORD_SUFFIX}"));
            rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).ok()
        })?;
        let mut comm = [0; 16];
        let name = std::fs::read("/proc/self/comm").unwrap_or_default();
        for (place, byte) in comm.iter_mut().zip(name.strip_suffix(b"\n").unwrap_or(&name)) {
            *place = *byte;
        }
        let begun_ns = monotonic_ns();
        let header = LogHeader { pid, comm, begun_ns, dropped: 0, dropped_ns: 0, taken: 0 };
        // Beyond the limit on its files' size the kernel would end the process.
        let limit = getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX);
        let room = (limit / RECORD_BYTES as u64).saturating_sub(1).min(RECORDS_MAX);
        let recorder = Self {
            file: Kept::new(file),
            header,
            taken: AtomicU64::new(0),
            room,
            names: Mutex::default(),
            dropped: AtomicU64::new(0),
            dropped_ns: AtomicU64::new(0),
        };
        (room > 0 && recorder.put(0, &header.encode())).then_some(recorder)
    }

    /// Takes a place before work is handed over.
    pub fn place(&self) -> Place {
        let taken = self.taken.fetch_add(1, Ordering::Relaxed);
        Place((taken < self.room).then_some(taken))
    }

    /// Writes a span at its place, or counts it as left out.
    pub fn write(&self, place: Place, span: &Span) {
        if place.0.is_some_and(|at| self.put(at + 1, &span.encode(self.taken()))) {
            return;
        }
        let length = span.end_ns.saturating_sub(span.start_ns);
        self.dropped_ns.fetch_add(length, Ordering::Relaxed);
        self.dropped.fetch_add(1, Ordering::Relaxed);
        self.put_header();
    }

    /// Places of the file that are taken.
    fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed).min(self.room)
    }

    /// Writes the header as it is now. The process is about to end when nothing was left out: places
    /// behind the last record are known from here alone.
    pub(crate) fn put_header(&self) {
        let dropped = self.dropped.load(Ordering::Relaxed);
        let dropped_ns = self.dropped_ns.load(Ordering::Relaxed);
        let header = LogHeader { dropped, dropped_ns, taken: self.taken(), ..self.header };
        self.put(0, &header.encode());
    }

    /// The number of a name, which is written down the first time.
    pub fn name(&self, name: &str) -> u32 {
        let mut names = lock(&self.names);
        if let Some(known) = names.get(name) {
            return *known;
        }
        let id = u32::try_from(names.len()).unwrap_or(NAMES_MAX);
        if id >= NAMES_MAX || name.len() > 16 * NAME_BYTES_MAX {
            return NAMES_MAX;
        }
        names.insert(name.to_owned(), id);
        for part in encode_name(id, name) {
            if let Place(Some(at)) = self.place() {
                self.put(at + 1, &part);
            }
        }
        id
    }

    /// False when it was not written.
    fn put(&self, place: u64, record: &[u8; RECORD_BYTES]) -> bool {
        let at = place * RECORD_BYTES as u64;
        let written = self.file.get().map(|file| rustix::io::pwrite(file, record, at));
        matches!(written, Some(Ok(RECORD_BYTES)))
    }
}

thread_local! {
    /// How long this thread has waited for turns, nanoseconds.
    static WAITED_NS: Cell<u64> = const { Cell::new(0) };
}

/// The thread has waited `ns` for its lease's turn.
pub(crate) fn waited(ns: u64) {
    WAITED_NS.set(WAITED_NS.get().saturating_add(ns));
}

/// A call of the program that is under way, as its thread sees it.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    called_ns: u64,
    cpu_ns: u64,
    waited_ns: u64,
}

/// What was called.
#[derive(Debug, Clone, Copy)]
pub struct What {
    /// What it is.
    pub kind: SpanKind,
    /// Device of the lease, from 0.
    pub device: usize,
    /// Number of its name.
    pub name: u32,
    /// Its queue or stream.
    pub lane: u64,
    /// Bytes moved.
    pub bytes: u64,
}

impl Call {
    /// The program has just called.
    pub fn begin() -> Self {
        Self { called_ns: monotonic_ns(), cpu_ns: cpu_ns(), waited_ns: WAITED_NS.get() }
    }

    /// The call is about to return: the span as far as it is known.
    pub fn end(self, state: &State, what: What) -> Span {
        Span {
            kind: what.kind,
            failed: false,
            device_clock: false,
            device: u16::try_from(what.device).unwrap_or(u16::MAX),
            name: what.name,
            thread: thread(),
            lane: what.lane,
            called_ns: self.called_ns,
            returned_ns: monotonic_ns(),
            waited_ns: WAITED_NS.get().saturating_sub(self.waited_ns),
            cpu_called_ns: self.cpu_ns,
            cpu_returned_ns: cpu_ns(),
            queued_ns: 0,
            start_ns: 0,
            end_ns: 0,
            bytes: what.bytes,
            held_bytes: held(state, what.device),
        }
    }
}

/// Bytes that the process holds on a device, as its ledger says.
fn held(state: &State, device: usize) -> u64 {
    let slot = state.attachment.as_ref().map(|attachment| attachment.slot());
    let device = slot.and_then(|slot| slot.device.get(device));
    device.map_or(0, |device| device.held.load(Ordering::Relaxed))
}

fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000) + u64::try_from(time.tv_nsec).unwrap_or_default()
}

fn thread() -> u32 {
    thread_local!(static THREAD: Cell<u32> = const { Cell::new(0) });
    if THREAD.get() == 0 {
        let id = rustix::thread::gettid().as_raw_nonzero().get();
        THREAD.set(id.unsigned_abs());
    }
    THREAD.get()
}

#[cfg(test)]
mod tests {
    use super::*;
    use polder_ledger::record::{Budget, Log};
    use std::os::fd::AsRawFd as _;

    fn span(name: u32, length: u64) -> Span {
        let what = What { kind: SpanKind::Kernel, device: 0, name, lane: 1, bytes: 0 };
        let state = crate::state::get();
        let span = Call::begin().end(state, what);
        Span { start_ns: 1, end_ns: 1 + length, ..span }
    }

    fn read(folder: &Path) -> Log {
        let file = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap();
        let file = std::fs::File::open(file.path()).unwrap();
        Log::read(file, &mut Budget::of(vec![RECORDS_MAX])).unwrap()
    }

    #[test]
    fn spans_of_many_threads_are_all_there_and_what_has_no_room_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder { room: 400, ..Recorder::open_in(folder.path()).unwrap() };
        std::thread::scope(|scope| {
            for thread in 0..5 {
                let recorder = &recorder;
                scope.spawn(move || {
                    let name = recorder.name(&format!("kernel {}", thread % 2));
                    for _ in 0..100 {
                        recorder.write(recorder.place(), &span(name, 10));
                    }
                });
            }
        });
        let log = read(folder.path());
        // Two names take a place each.
        assert_eq!((log.spans.len(), log.header.dropped, log.header.dropped_ns), (398, 102, 1020));
        assert_eq!((log.unfinished, log.malformed, log.names.len()), (0, 0, 2));
        assert_eq!(log.header.pid, std::process::id());
        let mut threads: Vec<u32> = log.spans.iter().map(|span| span.thread).collect();
        threads.sort_unstable();
        threads.dedup();
        assert!(threads.len() >= 4, "{threads:?}");
    }

    #[test]
    fn places_that_were_taken_last_and_never_written_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::open_in(folder.path()).unwrap();
        let (first, _) = (recorder.place(), recorder.place());
        recorder.write(first, &span(0, 1));
        assert_eq!(read(folder.path()).unfinished, 1, "as the span says");
        let _ = recorder.place();
        recorder.put_header();
        assert_eq!(read(folder.path()).unfinished, 2, "as the process says in the end");
    }

    #[test]
    fn a_closed_file_costs_records_and_another_in_its_place_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::open_in(folder.path()).unwrap();
        recorder.write(recorder.place(), &span(0, 1));
        let other = tempfile::NamedTempFile::new().unwrap();
        // The program opens a file of its own under a number that it does not know.
        let number = recorder.file.name().0;
        #[expect(unsafe_code, reason = "only the C library replaces a number that somebody owns")]
        // SAFETY: a plain system call; the recorder asks what the number means before each use.
        let replaced = unsafe { libc::dup2(other.as_file().as_raw_fd(), number) };
        assert_eq!(replaced, number);
        recorder.write(recorder.place(), &span(0, 1));
        assert_eq!(std::fs::metadata(other.path()).unwrap().len(), 0);
        assert_eq!(read(folder.path()).spans.len(), 1);
    }

    #[test]
    fn a_process_that_becomes_another_program_has_a_second_file() {
        let folder = tempfile::tempdir().unwrap();
        let (_one, _two) = (Recorder::open_in(folder.path()), Recorder::open_in(folder.path()));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        assert!(Recorder::open_in(&folder.path().join("none")).is_none());
    }
}
