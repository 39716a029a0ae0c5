//! The runs of the current thread: launches that follow one another in a stream without a lock and
//! without a question to the driver.
//!
//! A run is found by what the program passes, the stream, and by the context that was current when this
//! library last saw the thread change it. A program that changes it behind the library's back (through
//! the vendor's private tables) has its launches counted in the other context's batch until the run ends:
//! at most a batch's work is counted out early.
#![allow(unsafe_code)] // a pointer to what the thread keeps

use crate::flight::Lane;
use crate::own;
use polder_driver::inside;
use polder_driver::meter::Kind;
use polder_driver::run::{Launch, Run};
use std::cell::{Cell, RefCell};
use std::ptr::null;
use std::sync::Arc;

/// Runs of a thread; a power of two. Streams that share a place take it from each other.
const RUNS: usize = 4;

/// A stream as the program names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) stream: usize,
    /// Null means the thread's own stream.
    pub(crate) per_thread: bool,
}

impl Key {
    #[inline]
    fn place(self) -> usize {
        ((self.stream >> 4) ^ (self.stream >> 8)) % RUNS
    }
}

/// Where a run is found, without a destructor to look after.
#[derive(Clone, Copy)]
struct Entry {
    key: Key,
    context: usize,
    run: *const Run,
}

const EMPTY: Entry = Entry { key: Key { stream: 0, per_thread: false }, context: 0, run: null() };

struct Here {
    /// The thread's current context, as far as known; 0 for unknown.
    context: Cell<usize>,
    entries: [Cell<Entry>; RUNS],
    /// The last stream at each place in which a launch had to ask.
    asked: [Cell<Key>; RUNS],
}

thread_local! {
    static HERE: Here = const {
        Here {
            context: Cell::new(0),
            entries: [const { Cell::new(EMPTY) }; RUNS],
            asked: [const { Cell::new(EMPTY.key) }; RUNS],
        }
    };
    /// What keeps the runs that the entries point at.
    static KEPT: RefCell<[Option<Kept>; RUNS]> = const { RefCell::new([const { None }; RUNS]) };
}

struct Kept(Arc<Run>);

impl Drop for Kept {
    fn drop(&mut self) {
        // The thread ends, or has no place for it: nothing points at it any more, and what it took is
        // not for ever.
        HERE.with(|here| {
            let gone = here.entries.iter().filter(|at| at.get().run == Arc::as_ptr(&self.0));
            gone.for_each(|at| at.set(EMPTY));
        });
        inside::guard((), || own::get().flights.retire(&self.0));
    }
}

/// A run of this thread, as long as the thread does not change its runs.
#[derive(Clone, Copy)]
pub(crate) struct Mine(*const Run, Key);

/// Begins a launch that follows others; none when it has to ask.
#[inline(always)]
pub(crate) fn begin(key: Key, kind: Kind) -> Option<(Mine, Launch)> {
    if !inside::is_program() {
        return None;
    }
    let entry = HERE.with(|here| {
        let entry = here.entries.get(key.place())?.get();
        (entry.key == key && entry.context == here.context.get()).then_some(entry)
    })?;
    // SAFETY: null, or kept by this thread: an entry is emptied before its run is let go.
    let run = unsafe { entry.run.as_ref() }?;
    if own::get().flights.captures_any() {
        return None;
    }
    let launch = run.begin(kind)?;
    Some((Mine(entry.run, key), launch))
}

/// The launch has been handed over if it was `made`.
#[inline]
pub(crate) fn end(mine: Mine, launch: Launch, made: bool) {
    // SAFETY: what `begin` found; in between the thread was in the driver, and whatever the driver calls
    // back keeps no runs.
    if unsafe { &*mine.0 }.end(launch, made) {
        left_to_this_thread(mine.1);
    }
}

/// Somebody wanted to end the run while this thread launched in it.
#[cold]
fn left_to_this_thread(key: Key) {
    let lane = Lane::of(key.stream, key.per_thread);
    inside::guard((), || own::get().flights.close_lane(lane));
}

/// Whether the last launch that had to ask, at this stream's place, was in this stream too: streams that
/// take a place from each other get no runs.
pub(crate) fn comes_again(key: Key) -> bool {
    let again = |here: &Here| here.asked.get(key.place()).is_some_and(|at| at.replace(key) == key);
    HERE.with(again)
}

/// The run for launches in this stream of `context`, which is current.
pub(crate) fn find(key: Key, context: usize) -> Option<Arc<Run>> {
    let place = key.place();
    let known = HERE.with(|here| {
        here.context.set(context);
        let entry = here.entries.get(place).map_or(EMPTY, Cell::get);
        entry.key == key && entry.context == context
    });
    let kept = |kept: &RefCell<[Option<Kept>; RUNS]>| {
        let kept = kept.try_borrow().ok()?;
        kept.get(place)?.as_ref().map(|kept| Arc::clone(&kept.0))
    };
    known.then(|| KEPT.try_with(kept).ok().flatten()).flatten()
}

/// From now on launches in this stream follow in `run`.
pub(crate) fn keep(key: Key, lane: Lane, run: Arc<Run>) {
    let place = key.place();
    let entry = Entry { key, context: lane.context, run: Arc::as_ptr(&run) };
    let point = |entry| HERE.with(|here| here.entries.get(place).map(|at| at.replace(entry)));
    point(EMPTY);
    // A thread that is at its end keeps nothing any more.
    let run = Kept(run);
    let before = KEPT.try_with(move |kept| {
        let mut kept = kept.try_borrow_mut().ok()?;
        Some(kept.get_mut(place)?.replace(run))
    });
    if let Ok(Some(before)) = before {
        point(entry);
        drop(before);
    }
}

/// The thread's current context may have become another.
pub(crate) fn context_is(context: usize) {
    HERE.with(|here| here.context.set(context));
}
