//! The device itself: who has the compute engine, what runs, what is next.

use crate::fault::{Fault, Throttle};
use crate::log::{Log, Span, Truth};
use crate::memory::{Memory, MemoryError};
use crate::model::Model;
use crate::sample::Samples;
use crate::work::Work;
use std::collections::{BTreeSet, VecDeque};

/// Most contexts at once.
pub(crate) const CONTEXTS_MAX: usize = 1024;
/// Most streams of a context.
pub(crate) const STREAMS_MAX: usize = 1024;
/// Most items waiting or running in one stream; a real driver makes the caller wait there.
pub(crate) const DEPTH_MAX: usize = 1024;
const ENGINES: usize = 2;

/// A context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContextId {
    index: usize,
    generation: u64,
}

/// One item that was put into a stream. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// How an item ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It ran.
    Completed,
    /// Its context was lost.
    Failed(Fault),
}

/// An item that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// When, nanoseconds.
    pub at_ns: u64,
    /// In which context.
    pub context: ContextId,
    /// In which stream of it.
    pub stream: usize,
    /// Which.
    pub ticket: Ticket,
    /// How.
    pub outcome: Outcome,
}

/// Why something is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubmitError {
    /// There is no such context, or no longer.
    NoContext,
    /// The context was lost to this fault, and stays so.
    Lost(Fault),
    /// The device cannot run it: too large for it.
    TooLarge,
    /// The stream, or the table of streams or contexts, is full.
    Full,
    /// There is no memory left for a context.
    Memory(MemoryError),
}

#[derive(Debug)]
struct Item {
    ticket: Ticket,
    work: Work,
}

#[derive(Debug)]
struct Running {
    stream: usize,
    left_ns: u64,
    demand: u64,
}

#[derive(Debug, Default)]
struct Context {
    generation: u64,
    process: Option<u32>,
    streams: Vec<VecDeque<Item>>,
    /// Streams whose first item waits for the compute engine, in the order in which they came.
    ready: VecDeque<usize>,
    running: Vec<Running>,
    occupied: u64,
    lost: Option<Fault>,
}

impl Context {
    fn wants(&self) -> bool {
        !self.running.is_empty() || !self.ready.is_empty()
    }
}

/// A copy engine: what waits for it and what it has left of the first.
#[derive(Debug, Default)]
struct Engine {
    queue: VecDeque<(usize, usize)>,
    left_ns: u64,
}

/// A stand-in device.
#[derive(Debug)]
pub struct Device {
    model: Model,
    now_ns: u64,
    contexts: Vec<Context>,
    owner: Option<usize>,
    slice_from_ns: u64,
    switching_until_ns: Option<u64>,
    engines: [Engine; ENGINES],
    tickets: u64,
    log: Log,
    samples: Samples,
    memory: Memory,
    throttle: Throttle,
    gone: bool,
    xids: Vec<(u64, Fault, Option<u32>)>,
    done: Vec<Done>,
    /// Fences that were opened before their streams came to them.
    opened: BTreeSet<u64>,
}

impl Device {
    /// A device at time zero, without contexts.
    #[must_use]
    pub fn new(model: Model) -> Self {
        Self {
            model,
            now_ns: 0,
            contexts: Vec::new(),
            owner: None,
            slice_from_ns: 0,
            switching_until_ns: None,
            engines: Default::default(),
            tickets: 0,
            log: Log::default(),
            samples: Samples::default(),
            memory: Memory::default(),
            throttle: Throttle::default(),
            gone: false,
            xids: Vec::new(),
            done: Vec::new(),
            opened: BTreeSet::new(),
        }
    }

    /// What it is modelled on.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The time it has come to, nanoseconds.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// A new context of `process`; it takes memory.
    ///
    /// # Errors
    /// [`SubmitError::Lost`] when the device is gone, [`SubmitError::Full`],
    /// [`SubmitError::Memory`].
    pub fn open(&mut self, process: u32) -> Result<ContextId, SubmitError> {
        if self.gone {
            return Err(SubmitError::Lost(Fault::FellOff));
        }
        let free = self.contexts.iter().position(|context| context.process.is_none());
        let index = free.unwrap_or(self.contexts.len());
        if index == CONTEXTS_MAX {
            return Err(SubmitError::Full);
        }
        self.memory
            .take(&self.model, process, self.model.context_bytes)
            .map_err(SubmitError::Memory)?;
        if index == self.contexts.len() {
            self.contexts.push(Context::default());
        }
        let context = &mut self.contexts[index];
        let generation = context.generation + 1;
        *context = Context { generation, process: Some(process), ..Context::default() };
        Ok(ContextId { index, generation })
    }

    /// Ends a context and all that is in its streams, without a word of them.
    pub fn close(&mut self, context: ContextId) {
        if self.context(context).is_none() {
            return;
        }
        self.clear(context.index, None);
        let process = self.contexts[context.index].process.take();
        if let Some(process) = process {
            // Taken when it was opened.
            let _ = self.memory.give(process, self.model.context_bytes);
        }
        if self.owner == Some(context.index) {
            self.owner = None;
            self.switching_until_ns = None;
        }
        self.schedule();
    }

    /// A process is gone: its contexts and its memory with it.
    pub fn exit(&mut self, process: u32) {
        for index in 0..self.contexts.len() {
            let context = &self.contexts[index];
            if context.process == Some(process) {
                self.close(ContextId { index, generation: context.generation });
            }
        }
        self.memory.forget(process);
    }

    /// Puts work into a stream of a context; streams begin to exist when they are first used.
    ///
    /// # Errors
    /// As [`SubmitError`] says; nothing was changed.
    pub fn submit(
        &mut self,
        context: ContextId,
        stream: usize,
        work: Work,
    ) -> Result<Ticket, SubmitError> {
        let index = context.index;
        let this = self.context(context).ok_or(SubmitError::NoContext)?;
        if let Some(fault) = this.lost {
            return Err(SubmitError::Lost(fault));
        }
        if stream >= STREAMS_MAX || this.streams.get(stream).is_some_and(|it| it.len() >= DEPTH_MAX)
        {
            return Err(SubmitError::Full);
        }
        if !work.fits(&self.model) {
            return Err(SubmitError::TooLarge);
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let this = &mut self.contexts[index];
        if this.streams.len() <= stream {
            this.streams.resize_with(stream + 1, VecDeque::new);
        }
        this.streams[stream].push_back(Item { ticket, work });
        if this.streams[stream].len() == 1 {
            self.head(index, stream);
            self.schedule();
        }
        Ok(ticket)
    }

    /// Items of a stream that are not over.
    #[must_use]
    pub fn depth(&self, context: ContextId, stream: usize) -> usize {
        let this = self.context(context);
        this.and_then(|this| this.streams.get(stream)).map_or(0, VecDeque::len)
    }

    /// Moves time on and takes what is over by then, in order. Time never runs backwards.
    pub fn advance(&mut self, to_ns: u64) -> Vec<Done> {
        loop {
            let sample_ns = self.samples.next_ns(self.model.sample_ns);
            let at_ns = self.next_event().unwrap_or(u64::MAX).min(sample_ns);
            if at_ns > to_ns {
                break;
            }
            self.flow(at_ns);
            self.finish();
            if at_ns == sample_ns {
                self.samples.take(self.model.sample_ns, self.log.processes());
            }
            self.schedule();
        }
        self.flow(to_ns);
        std::mem::take(&mut self.done)
    }

    /// When something next changes by itself, nanoseconds.
    #[must_use]
    pub fn next_event(&self) -> Option<u64> {
        let compute_ns = match self.switching_until_ns {
            Some(until_ns) => Some(until_ns),
            None => self.owner.and_then(|owner| self.compute_event(owner)),
        };
        let copies = self.engines.iter().filter(|engine| !engine.queue.is_empty());
        copies.map(|engine| self.now_ns + engine.left_ns).chain(compute_ns).min()
    }

    /// What a process has had of the compute engine up to now.
    #[must_use]
    pub fn truth(&self, process: u32) -> Truth {
        self.log.truth(process)
    }

    /// The newest stretches of the log, oldest first: a bounded number of them.
    pub fn spans(&self) -> impl Iterator<Item = Span> + '_ {
        self.log.spans()
    }

    /// Percent of the second before the driver's last sample in which work of the process ran.
    #[must_use]
    pub fn utilisation(&self, process: u32) -> u32 {
        self.samples.percent(process)
    }

    /// Percent of that second in which anything ran.
    #[must_use]
    pub fn utilisation_of_all(&self) -> u32 {
        let all = self.log.processes().map(|(process, _)| self.samples.percent(process));
        all.sum::<u32>().min(100)
    }

    /// Takes memory for a process.
    ///
    /// # Errors
    /// [`MemoryError::Out`].
    pub fn allocate(&mut self, process: u32, bytes: u64) -> Result<u64, MemoryError> {
        self.memory.take(&self.model, process, bytes)
    }

    /// Gives back what [`Device::allocate`] took for `bytes`.
    ///
    /// # Errors
    /// [`MemoryError::NotHeld`].
    pub fn free(&mut self, process: u32, bytes: u64) -> Result<(), MemoryError> {
        self.memory.give(process, bytes)
    }

    /// Bytes taken, by all.
    #[must_use]
    pub fn memory_used(&self) -> u64 {
        self.memory.used()
    }

    /// Bytes taken, by one process.
    #[must_use]
    pub fn memory_of(&self, process: u32) -> u64 {
        self.memory.held(process)
    }

    /// Something goes wrong now, in the contexts of `process` or in all of them.
    pub fn fail(&mut self, fault: Fault, process: Option<u32>) {
        self.gone |= fault == Fault::FellOff;
        for index in 0..self.contexts.len() {
            let of = self.contexts[index].process;
            if of.is_some() && (fault.takes_all() || of == process) {
                self.contexts[index].lost.get_or_insert(fault);
                self.clear(index, Some(fault));
            }
        }
        self.xids.push((self.now_ns, fault, process));
        self.schedule();
    }

    /// What has gone wrong so far: when, what, and of which process.
    #[must_use]
    pub fn xids(&self) -> &[(u64, Fault, Option<u32>)] {
        &self.xids
    }

    /// From now on the device runs at another speed; what runs already keeps its own.
    pub fn set_throttle(&mut self, throttle: Throttle) {
        self.throttle = throttle;
    }

    /// At what speed it runs, and why.
    #[must_use]
    pub fn throttle(&self) -> Throttle {
        self.throttle
    }

    fn context(&self, id: ContextId) -> Option<&Context> {
        let context = self.contexts.get(id.index)?;
        (context.generation == id.generation && context.process.is_some()).then_some(context)
    }

    /// Lets the stream that has the fence of this number go on, now or when it comes to it.
    pub fn open_fence(&mut self, number: u64) {
        self.opened.insert(number);
        for index in 0..self.contexts.len() {
            for stream in 0..self.contexts[index].streams.len() {
                let front = self.contexts[index].streams[stream].front();
                if front.is_some_and(|item| item.work == Work::Fence(number)) {
                    self.opened.remove(&number);
                    self.pop(index, stream);
                }
            }
        }
        self.schedule();
    }

    /// A stream's first item has changed: it goes where it has to wait.
    fn head(&mut self, index: usize, stream: usize) {
        let Some(item) = self.contexts[index].streams[stream].front() else { return };
        if let Work::Fence(number) = item.work {
            if self.opened.remove(&number) {
                self.pop(index, stream);
            }
            return;
        }
        let Some(engine) = item.work.copy_engine() else {
            self.contexts[index].ready.push_back(stream);
            return;
        };
        let length_ns = item.work.length_ns(&self.model);
        let engine = &mut self.engines[engine];
        engine.queue.push_back((index, stream));
        if engine.queue.len() == 1 {
            engine.left_ns = length_ns;
        }
    }

    fn compute_event(&self, owner: usize) -> Option<u64> {
        let running = self.contexts[owner].running.iter();
        let end_ns = running.map(|it| self.now_ns + it.left_ns).min()?;
        Some(if self.contested(owner) { end_ns.min(self.slice_end()) } else { end_ns })
    }

    fn contested(&self, owner: usize) -> bool {
        self.contexts.iter().enumerate().any(|(index, it)| index != owner && it.wants())
    }

    fn slice_end(&self) -> u64 {
        self.now_ns.max(self.slice_from_ns + self.model.slice_ns)
    }

    /// Lets time pass in which nothing changes, and writes down whose it was.
    fn flow(&mut self, to_ns: u64) {
        let passed_ns = to_ns.saturating_sub(self.now_ns);
        if passed_ns == 0 {
            return;
        }
        for engine in &mut self.engines {
            engine.left_ns = engine.left_ns.saturating_sub(passed_ns);
        }
        if let Some(owner) = self.owner {
            let context = &mut self.contexts[owner];
            let process = context.process.unwrap_or_default();
            if self.switching_until_ns.is_some() {
                self.log.switched(process, passed_ns);
            } else if !context.running.is_empty() {
                self.log.ran(process, self.now_ns, to_ns);
                for running in &mut context.running {
                    running.left_ns = running.left_ns.saturating_sub(passed_ns);
                }
            }
        }
        self.now_ns = to_ns;
    }

    /// Takes what is over out of its streams.
    fn finish(&mut self) {
        if self.switching_until_ns.is_some_and(|until_ns| until_ns <= self.now_ns) {
            self.switching_until_ns = None;
            self.slice_from_ns = self.now_ns;
        }
        if let (Some(owner), None) = (self.owner, self.switching_until_ns) {
            while let Some(at) = self.contexts[owner].running.iter().position(|it| it.left_ns == 0)
            {
                let over = self.contexts[owner].running.remove(at);
                self.contexts[owner].occupied -= over.demand;
                self.pop(owner, over.stream);
            }
        }
        for engine in 0..ENGINES {
            while self.engines[engine].left_ns == 0
                && let Some((index, stream)) = self.engines[engine].queue.pop_front()
            {
                self.next_copy(engine);
                self.pop(index, stream);
            }
        }
    }

    fn next_copy(&mut self, engine: usize) {
        let Some(&(index, stream)) = self.engines[engine].queue.front() else { return };
        let item = self.contexts[index].streams[stream].front();
        self.engines[engine].left_ns = item.map_or(0, |item| item.work.length_ns(&self.model));
    }

    fn pop(&mut self, index: usize, stream: usize) {
        let context = &mut self.contexts[index];
        let Some(item) = context.streams[stream].pop_front() else { return };
        self.log.completed(context.process.unwrap_or_default());
        self.done.push(Done {
            at_ns: self.now_ns,
            context: ContextId { index, generation: context.generation },
            stream,
            ticket: item.ticket,
            outcome: Outcome::Completed,
        });
        self.head(index, stream);
    }

    /// Empties all streams of a context; with a fault, each item is told of.
    fn clear(&mut self, index: usize, fault: Option<Fault>) {
        let context = &mut self.contexts[index];
        let generation = context.generation;
        (context.occupied, context.running) = (0, Vec::new());
        context.ready.clear();
        for (stream, items) in context.streams.iter_mut().enumerate() {
            for item in items.drain(..) {
                let Some(fault) = fault else { continue };
                self.done.push(Done {
                    at_ns: self.now_ns,
                    context: ContextId { index, generation },
                    stream,
                    ticket: item.ticket,
                    outcome: Outcome::Failed(fault),
                });
            }
        }
        for engine in 0..ENGINES {
            let queue = &mut self.engines[engine].queue;
            let first = queue.front().copied();
            queue.retain(|&(of, _)| of != index);
            if queue.front().copied() != first {
                self.next_copy(engine);
            }
        }
    }

    /// Gives the compute engine to whom it is due, and starts what has room.
    fn schedule(&mut self) {
        if self.switching_until_ns.is_some() {
            return;
        }
        let keeps = self.owner.is_some_and(|owner| {
            let over = self.now_ns >= self.slice_from_ns + self.model.slice_ns;
            self.contexts[owner].wants() && !(over && self.contested(owner))
        });
        if !keeps {
            let Some(next) = self.next_context() else { return };
            let before = self.owner.replace(next);
            if before.is_some_and(|before| before != next) {
                self.switching_until_ns = Some(self.now_ns + self.model.switch_ns);
                return;
            }
            self.slice_from_ns = self.now_ns;
        }
        if let Some(owner) = self.owner {
            self.start(owner);
        }
    }

    /// The next context in turn that wants the compute engine.
    fn next_context(&self) -> Option<usize> {
        let count = self.contexts.len();
        let after = self.owner.map_or(0, |owner| owner + 1);
        (0..count).map(|step| (after + step) % count).find(|&index| self.contexts[index].wants())
    }

    fn start(&mut self, owner: usize) {
        let speed = u64::from(self.throttle.speed.clamp(1, 1000));
        let context = &mut self.contexts[owner];
        while let Some(&stream) = context.ready.front() {
            let Some(item) = context.streams[stream].front() else { break };
            let demand = item.work.demand(&self.model);
            if context.occupied > 0 && context.occupied + demand > self.model.threads() {
                break;
            }
            let left_ns = item.work.length_ns(&self.model).saturating_mul(1000) / speed;
            context.ready.pop_front();
            context.occupied += demand;
            context.running.push(Running { stream, left_ns, demand });
        }
    }
}
