//! Which commands wait for an event that the program signals itself.
//!
//! Such a command is not ready: it may never run, so waiting for a turn for it would block the very
//! thread that is to signal the event, and counting it as in flight would keep the lease from ever
//! draining. It is followed here by its *roots*, the unsignalled events it depends on, through wait
//! lists and through the order of its queue; when the last root is signalled it waits for its turn and counts
//! as in flight, and only then has it leave to begin ([`crate::permit`]): the thread that signals waits, as it would
//! where it queued them.
//!
//! While the program has no unsignalled event of its own, nothing of this costs more than one load.

use crate::gate::Command;
use polder_driver::locks::lock;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

type Roots = BTreeSet<u64>;

/// Follows commands that are not ready.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// Events of the program that are not signalled.
    alive: AtomicUsize,
    inner: Mutex<Inner<Arc<Command>>>,
}

/// What a command depends on, as its caller says it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dependence<'a> {
    pub(crate) queue: usize,
    /// Handles of the events in its wait list.
    pub(crate) events: &'a [usize],
    pub(crate) order: Order,
}

/// How a command stands to the others of its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Any command of an in-order queue: after the one before it.
    InLine,
    /// A barrier: after all before it, before all behind it.
    Both,
    /// After all before it: a marker without a wait list.
    After,
    /// Only its wait list counts, and barriers before it.
    Neither,
}

#[derive(Debug)]
struct Inner<C> {
    last: u64,
    /// By event handle, the unsignalled event of the program.
    users: BTreeMap<usize, User>,
    pending: BTreeMap<u64, Pending<C>>,
    /// By event handle, the pending command.
    by_event: BTreeMap<usize, u64>,
    /// By queue, what every later command of it depends on.
    tails: BTreeMap<usize, Roots>,
}

/// An event that the program signals itself.
#[derive(Debug)]
struct User {
    root: u64,
    /// References that the program holds: at none, the handle may mean another event.
    held: u32,
}

impl<C> Default for Inner<C> {
    fn default() -> Self {
        Self {
            last: 0,
            users: BTreeMap::new(),
            pending: BTreeMap::new(),
            by_event: BTreeMap::new(),
            tails: BTreeMap::new(),
        }
    }
}

#[derive(Debug)]
struct Pending<C> {
    roots: Roots,
    queue: usize,
    event: Option<usize>,
    /// None for a marker or barrier: it has no work to count.
    command: Option<C>,
}

impl<C> Inner<C> {
    fn roots_of(&self, on: Dependence<'_>) -> Roots {
        let mut roots = self.tails.get(&on.queue).cloned().unwrap_or_default();
        for event in on.events {
            if let Some(user) = self.users.get(event) {
                roots.insert(user.root);
            } else if let Some(pending) = self.by_event.get(event) {
                roots.extend(self.pending.get(pending).into_iter().flat_map(|p| &p.roots));
            }
        }
        if matches!(on.order, Order::Both | Order::After) {
            let before = self.pending.values().filter(|pending| pending.queue == on.queue);
            roots.extend(before.flat_map(|pending| &pending.roots));
        }
        roots
    }

    fn add(&mut self, on: Dependence<'_>, command: Option<C>) -> Result<u64, Option<C>> {
        let roots = self.roots_of(on);
        if roots.is_empty() {
            return Err(command);
        }
        if matches!(on.order, Order::InLine | Order::Both) {
            self.tails.insert(on.queue, roots.clone());
        }
        self.last += 1;
        let pending = Pending { roots, queue: on.queue, event: None, command };
        self.pending.insert(self.last, pending);
        Ok(self.last)
    }

    fn name(&mut self, id: u64, event: usize) {
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.event = Some(event);
            self.by_event.insert(event, id);
        }
    }

    fn remove(&mut self, id: u64) -> Option<C> {
        let pending = self.pending.remove(&id)?;
        if let Some(event) = pending.event {
            self.by_event.remove(&event);
        }
        pending.command
    }

    /// A new unsignalled event. False when its handle was known, of one that is gone.
    fn user_event(&mut self, event: usize) -> bool {
        self.last += 1;
        self.users.insert(event, User { root: self.last, held: 1 }).is_none()
    }

    /// The program drops a reference. True when the event is forgotten by it: nobody holds it any
    /// more, and nothing waits for it. While something does, the driver keeps the event, and a
    /// program that signals it all the same finds it here.
    fn releasing(&mut self, event: usize) -> bool {
        let Some(user) = self.users.get_mut(&event) else { return false };
        user.held = user.held.saturating_sub(1);
        let root = user.root;
        let waits = self.tails.values().any(|roots| roots.contains(&root))
            || self.pending.values().any(|pending| pending.roots.contains(&root));
        let forgotten = user.held == 0 && !waits;
        if forgotten {
            self.users.remove(&event);
        }
        forgotten
    }

    /// The program signals an event: nobody can depend on it any more but through what does already.
    fn signalled(&mut self, event: usize) -> Option<u64> {
        Some(self.users.remove(&event)?.root)
    }

    /// The next command behind `after` for which this was the last root. What is queued meanwhile behind such
    /// a command still depends on the root, and comes in its turn.
    fn next_ready(&mut self, root: u64, after: u64) -> Option<(u64, Option<C>)> {
        let from = (Bound::Excluded(after), Bound::Unbounded);
        let only = |pending: &Pending<C>| pending.roots.iter().all(|one| *one == root);
        let ready = self.pending.range(from).find(|(_, pending)| only(pending));
        let id = *ready?.0;
        Some((id, self.remove(id)))
    }

    /// All that was ready has its leave: nothing depends on the root any more.
    fn over(&mut self, root: u64) {
        self.tails.retain(|_, roots| {
            roots.remove(&root);
            !roots.is_empty()
        });
        for pending in self.pending.values_mut() {
            pending.roots.remove(&root);
        }
    }
}

impl Graph {
    /// Whether anything may be not ready.
    pub(crate) fn is_idle(&self) -> bool {
        self.alive.load(Ordering::Acquire) == 0
    }

    /// The program made an event that it will signal itself.
    pub(crate) fn user_event(&self, event: usize) {
        if lock(&self.inner).user_event(event) {
            self.alive.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// The program took another reference to an event.
    pub(crate) fn retained(&self, event: usize) {
        if let Some(user) = lock(&self.inner).users.get_mut(&event) {
            user.held = user.held.saturating_add(1);
        }
    }

    /// The program is about to drop a reference to an event.
    pub(crate) fn releasing(&self, event: usize) {
        if lock(&self.inner).releasing(event) {
            self.alive.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Follows a command that is about to be queued; `Err` when it is ready.
    pub(crate) fn add(
        &self,
        on: Dependence<'_>,
        command: Option<Arc<Command>>,
    ) -> Result<u64, Option<Arc<Command>>> {
        lock(&self.inner).add(on, command)
    }

    /// The followed command's event, for others to depend on.
    pub(crate) fn name(&self, id: u64, event: usize) {
        lock(&self.inner).name(id, event);
    }

    /// The followed command is over, or was not queued after all.
    pub(crate) fn remove(&self, id: u64) {
        lock(&self.inner).remove(id);
    }

    /// The program has signalled an event of its own, as complete or as failed: what becomes ready by it
    /// waits for its turn, one after the other. Behind a failed event nothing runs, and not every driver says
    /// so, so that is not counted at all.
    pub(crate) fn signal(&self, event: usize, failed: bool) {
        let Some(root) = lock(&self.inner).signalled(event) else { return };
        let mut last = 0;
        loop {
            let mut inner = lock(&self.inner);
            let Some((id, command)) = inner.next_ready(root, last) else {
                inner.over(root);
                break;
            };
            drop(inner);
            last = id;
            match command {
                Some(command) if failed => command.has_failed(),
                Some(command) => command.is_ready(),
                None => {}
            }
        }
        self.alive.fetch_sub(1, Ordering::AcqRel);
    }

    /// The queue is gone.
    pub(crate) fn forget_queue(&self, queue: usize) {
        if !self.is_idle() {
            lock(&self.inner).tails.remove(&queue);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A graph of commands called by letters; `enqueue` says which wait.
    #[derive(Default)]
    struct Check(Inner<&'static str>);

    impl Check {
        fn user(&mut self, event: usize) {
            self.0.user_event(event);
        }

        #[track_caller]
        fn enqueue(
            &mut self,
            name: &'static str,
            queue: usize,
            order: Order,
            events: &[usize],
            event: usize,
            waits: bool,
        ) {
            let id = self.0.add(Dependence { queue, events, order }, Some(name));
            assert_eq!(id.is_ok(), waits, "{name}");
            if let Ok(id) = id {
                self.0.name(id, event);
            }
        }

        #[track_caller]
        fn signal(&mut self, event: usize, ready: &[&str]) {
            let (mut found, mut last) = (Vec::new(), 0);
            if let Some(root) = self.0.signalled(event) {
                while let Some((id, command)) = self.0.next_ready(root, last) {
                    found.extend(command);
                    last = id;
                }
                self.0.over(root);
            }
            assert_eq!(found, ready);
        }
    }

    #[test]
    fn dependence_goes_through_lists_queues_and_barriers() {
        let mut graph = Check::default();
        graph.enqueue("before", 1, Order::InLine, &[], 90, false);
        graph.user(10);
        graph.enqueue("listed", 1, Order::InLine, &[10], 91, true);
        graph.enqueue("behind", 1, Order::InLine, &[], 92, true);
        graph.enqueue("other queue", 2, Order::Neither, &[], 93, false);
        graph.enqueue("through event", 2, Order::Neither, &[92], 94, true);
        graph.enqueue("beside", 2, Order::Neither, &[], 95, false);
        graph.enqueue("barrier", 2, Order::Both, &[], 96, true);
        graph.enqueue("behind barrier", 2, Order::Neither, &[], 97, true);
        let all = ["listed", "behind", "through event", "barrier", "behind barrier"];
        graph.signal(10, &all);
        graph.enqueue("after", 2, Order::Neither, &[91, 94], 98, false);
        graph.signal(10, &[]);
    }

    #[test]
    fn a_command_waits_for_its_last_root() {
        let mut graph = Check::default();
        graph.user(10);
        graph.user(11);
        graph.enqueue("both", 1, Order::Neither, &[10, 11], 90, true);
        graph.enqueue("marker", 1, Order::After, &[], 91, true);
        graph.enqueue("free", 1, Order::Neither, &[], 92, false);
        graph.signal(10, &[]);
        graph.signal(11, &["both", "marker"]);
        assert!(graph.0.by_event.is_empty() && graph.0.pending.is_empty());
    }

    #[test]
    fn a_command_that_was_not_queued_leaves_nothing_for_others() {
        let mut graph = Check::default();
        graph.user(10);
        let on = Dependence { queue: 1, events: &[10], order: Order::Neither };
        let id = graph.0.add(on, Some("failed")).unwrap();
        graph.0.remove(id);
        graph.0.name(id, 90);
        graph.enqueue("later", 1, Order::Neither, &[90], 91, false);
        graph.signal(10, &[]);
    }

    #[test]
    fn an_event_that_nobody_holds_and_nothing_waits_for_is_forgotten() {
        let mut graph = Check::default();
        graph.user(10);
        assert!(graph.0.releasing(10) && graph.0.users.is_empty(), "released unsignalled");
        graph.user(10);
        graph.enqueue("waits", 1, Order::InLine, &[10], 90, true);
        assert!(!graph.0.releasing(10), "the driver still holds it for the command");
        graph.signal(10, &["waits"]);
        assert!(!graph.0.releasing(10), "no event of the program's own");
    }
}
