//! Polder's own history: the journal, one envelope as JSON a line, oldest first.
//!
//! Every job comes again as it came and runs as long as it ran in its last try; one that was not over
//! where the journal ends runs as long as in its longest, and a service until it was cancelled. What
//! the agents metered says how busy a job kept its devices and how much memory it held. Nodes, tenants
//! and policy are those at the end of the journal.

use super::row::{LINE_BYTES_MAX, ReadError, Wrong, counted, shown};
use super::{JOBS_MAX, WorkJob, Workload};
use crate::pool::Pool;
use polder_engine::PAST_POLICIES_MAX;
use polder_model::{
    Ask, Bytes, Decision, Envelope, Event, GangKind, Inventory, JobId, LeaseEnd, LeaseId, Micros,
    NodeId, Outcome, Permille, Policy, Size, Tenant, TenantPath, Timestamp,
};
use std::collections::BTreeMap;

/// What a journal tells.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// Its jobs.
    pub workload: Workload,
    /// Its nodes as last reported.
    pub pool: Pool,
    /// Its tenants as last set.
    pub tenants: Vec<Tenant>,
    /// The settings as last set, if they ever were.
    pub policy: Option<Policy>,
    /// When its first job came, where that is known; else it comes at [`crate::world::BEGIN`].
    pub begin: Option<Timestamp>,
    /// How long jobs really waited for their first start: when they came, from `begin`, and how
    /// long.
    pub waits: Vec<(Micros, Micros)>,
}

/// Takes envelopes in, one after the other.
#[derive(Debug, Default)]
pub struct Reader {
    /// Envelopes taken in.
    lines: u64,
    seq: u64,
    at: Timestamp,
    nodes: BTreeMap<NodeId, Inventory>,
    tenants: BTreeMap<TenantPath, Tenant>,
    policy: Option<Policy>,
    /// Those before it, as the engine keeps them; nothing stands for the one it began with.
    before: Vec<Option<Policy>>,
    jobs: BTreeMap<JobId, Past>,
    job_of: BTreeMap<LeaseId, JobId>,
}

/// What is known of one job.
#[derive(Debug)]
struct Past {
    at: Timestamp,
    ask: Ask,
    started: Option<Timestamp>,
    /// Of any try.
    first_started: Option<Timestamp>,
    /// When it was cancelled, or was over.
    left: Option<Timestamp>,
    ran: Micros,
    /// The longest of the tries before.
    ran_before: Micros,
    uses: Option<u32>,
    memory_peak: Option<Bytes>,
    outcome: Option<Outcome>,
    /// Its user changed how many replicas it has.
    scaled: bool,
    /// Its user changed its part of its devices.
    resized: bool,
}

impl Reader {
    /// Takes one envelope in.
    ///
    /// # Errors
    /// It does not follow the one before, or there are too many jobs.
    pub fn take(&mut self, envelope: &Envelope) -> Result<(), ReadError> {
        self.lines += 1;
        let (line, value) = (self.lines, envelope.seq.to_string());
        let wrong = |field, value: String, before: String| {
            let wrong = Wrong::Backwards { value, other: "that of the line before", before };
            Err(ReadError::Row { line, field, wrong })
        };
        if envelope.seq <= self.seq {
            return wrong("seq", value, self.seq.to_string());
        }
        if envelope.at < self.at {
            return wrong("at", envelope.at.0.to_string(), self.at.0.to_string());
        }
        (self.seq, self.at) = (envelope.seq, envelope.at);
        self.event(envelope.at, &envelope.event);
        if self.jobs.len() > JOBS_MAX {
            return Err(ReadError::TooMany { max: JOBS_MAX });
        }
        Ok(())
    }

    fn event(&mut self, at: Timestamp, event: &Event) {
        match event {
            Event::TenantSet { tenant } => {
                self.tenants.insert(tenant.path.clone(), tenant.clone());
            }
            Event::TenantRemoved { tenant } => drop(self.tenants.remove(tenant)),
            Event::PolicySet { policy } => {
                self.before.push(self.policy.replace((**policy).clone()));
                if self.before.len() > PAST_POLICIES_MAX {
                    self.before.remove(0);
                }
            }
            Event::PolicyRolledBack => self.policy = self.before.pop().flatten(),
            Event::NodeReported { node, inventory, .. } => {
                self.nodes.insert(node.clone(), inventory.clone());
            }
            Event::JobSubmitted { job, ask, .. } => {
                let past = Past {
                    at,
                    ask: ask.clone(),
                    started: None,
                    first_started: None,
                    left: None,
                    ran: Micros(0),
                    ran_before: Micros(0),
                    uses: None,
                    memory_peak: None,
                    outcome: None,
                    scaled: false,
                    resized: false,
                };
                self.jobs.insert(*job, past);
            }
            Event::LeaseStarted { lease } => {
                if let Some(past) = self.of_lease(*lease) {
                    past.started.get_or_insert(at);
                    past.first_started.get_or_insert(at);
                }
            }
            Event::LeaseEnded { lease, end } => {
                if let Some(past) = self.of_lease(*lease) {
                    past.ended(end);
                }
                self.job_of.remove(lease);
            }
            Event::JobScaled { job, .. } => {
                if let Some(past) = self.jobs.get_mut(job) {
                    past.scaled = true;
                }
            }
            Event::JobResized { job, to, .. } => {
                if let Some(past) = self.jobs.get_mut(job) {
                    // One that has not run is what it became.
                    match past.first_started {
                        None => to.give(&mut past.ask),
                        Some(_) => past.resized |= to.is_other_part(&Size::of(&past.ask)),
                    }
                }
            }
            Event::JobCancelled { job, .. } => {
                if let Some(past) = self.jobs.get_mut(job) {
                    past.left.get_or_insert(at);
                }
            }
            Event::Decided { decision: Decision::Grow { job, leases } } => {
                self.job_of.extend(leases.iter().map(|lease| (lease.id, *job)));
            }
            Event::Decided { decision: Decision::Grant { job, leases } } => {
                self.job_of.extend(leases.iter().map(|lease| (lease.id, *job)));
                if let Some(past) = self.jobs.get_mut(job) {
                    past.ran_before = past.ran_before.max(past.ran);
                    // What counts is the last try.
                    (past.started, past.ran) = (None, Micros(0));
                }
            }
            Event::Decided { decision: Decision::Finish { job, outcome } } => {
                if let Some(past) = self.jobs.get_mut(job) {
                    past.outcome = Some(outcome.clone());
                    past.left.get_or_insert(at);
                }
            }
            _ => {}
        }
    }

    fn of_lease(&mut self, lease: LeaseId) -> Option<&mut Past> {
        self.jobs.get_mut(self.job_of.get(&lease)?)
    }

    /// What was told of the first jobs that ran, or of all where there are no more than are wanted.
    #[must_use]
    pub fn finish(self, wanted: usize) -> History {
        let end = self.at;
        let begin = self.jobs.values().map(|past| past.at).min().unwrap_or(end);
        let (mut never, mut running, mut scaled, mut resized) = (0u64, 0u64, 0u64, 0u64);
        let (mut jobs, mut waits) = (Vec::new(), Vec::new());
        let mut all: Vec<Past> = self.jobs.into_values().collect();
        all.sort_by_key(|past| past.at);
        for past in all {
            if jobs.len() >= wanted {
                break;
            }
            if let Some(started) = past.first_started {
                waits.push((past.at.since(begin), started.since(past.at)));
            }
            let Some(runs) = past.runs(end) else {
                never += 1;
                continue;
            };
            running += u64::from(past.runs_on());
            scaled += u64::from(past.scaled);
            resized += u64::from(past.resized);
            let is_service = past.is_service();
            let mut job = WorkJob::new(past.at.since(begin), past.ask, runs);
            if is_service {
                job.leaves = Some(runs);
                // Older programs took one from a service, to which it means nothing.
                job.ask.when.estimate = None;
            }
            job.uses = past.uses.map_or(job.uses, Permille);
            job.memory_peak = past.memory_peak;
            job.outcome = past.outcome.unwrap_or(Outcome::Succeeded);
            jobs.push(job);
        }
        let mut notes = Vec::new();
        if never > 0 {
            notes.push(format!("left out {} that never ran", counted(never, "job")));
        }
        if running > 0 {
            let jobs = counted(running, "job");
            notes.push(format!(
                "{jobs} still ran at the end of the journal, which is taken for theirs"
            ));
        }
        if scaled > 0 {
            let services = counted(scaled, "service");
            notes.push(format!(
                "{services} had replicas added or taken: here those asked for at first"
            ));
        }
        if resized > 0 {
            let jobs = counted(resized, "job");
            notes.push(format!(
                "{jobs} had another share or memory while they ran: here what they began with"
            ));
        }
        let workload = Workload { name: "journal".into(), jobs, notes };
        History {
            workload,
            pool: self.nodes.into_iter().collect(),
            tenants: self.tenants.into_values().collect(),
            policy: self.policy,
            begin: Some(begin),
            waits,
        }
    }
}

impl Past {
    fn is_service(&self) -> bool {
        self.ask.gang.kind == GangKind::Service
    }

    /// It had run, and was not over where the journal ends.
    fn runs_on(&self) -> bool {
        let stays = if self.is_service() { self.left } else { None };
        self.outcome.is_none() && stays.is_none() && self.first_started.is_some()
    }

    /// How long it ran, or was wanted if it is a service; nothing when it never ran.
    fn runs(&self, end: Timestamp) -> Option<Micros> {
        if self.is_service() {
            self.first_started?;
            return Some(Micros(self.left.unwrap_or(end).since(self.at).0.max(1)));
        }
        if self.runs_on() {
            // It may have begun anew, or at all, only where the journal ends.
            let on = self.started.map_or(Micros(0), |started| end.since(started));
            return Some(self.ran.max(self.ran_before).max(on).max(Micros(1)));
        }
        // One that was granted anew and cancelled before it started ran in a try before.
        let ran = if self.ran.0 > 0 { self.ran } else { self.ran_before };
        (ran.0 > 0).then_some(ran)
    }

    fn ended(&mut self, end: &LeaseEnd) {
        self.ran = self.ran.max(end.ran);
        for device in &end.sample.devices {
            let busy = u128::from(device.device_time.0) * 1000;
            if let Some(part) = busy.checked_div(end.ran.0.into()) {
                let part = u32::try_from(part.min(1000)).unwrap_or(1000).max(1);
                self.uses = Some(self.uses.map_or(part, |uses| uses.max(part)));
            }
            self.memory_peak = self.memory_peak.max(Some(device.memory_peak));
        }
    }
}

/// Reads an exported journal: one envelope as JSON a line.
///
/// # Errors
/// Names the line.
pub fn read(text: &str) -> Result<History, ReadError> {
    read_first(text, usize::MAX)
}

/// Reads the first jobs of an exported journal.
pub(crate) fn read_first(text: &str, wanted: usize) -> Result<History, ReadError> {
    let mut reader = Reader::default();
    for (line, row) in (1u64..).zip(text.lines()).filter(|(_, row)| !row.trim().is_empty()) {
        let wrong = |what| {
            let wrong = Wrong::Not { value: shown(row), what };
            ReadError::Row { line, field: "envelope", wrong }
        };
        if row.len() > LINE_BYTES_MAX {
            return Err(wrong("short enough to be an event"));
        }
        let envelope: Envelope =
            serde_json::from_str(row).map_err(|_| wrong("an envelope of the journal"))?;
        reader.take(&envelope)?;
    }
    Ok(reader.finish(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool;
    use crate::workload::ask_whole;
    use crate::world::{Setup, World};
    use polder_model::{EVENT_VERSION, Gang, Reclaim};
    use proptest::prelude::*;

    /// A journal as a server would have written it.
    fn journal() -> String {
        let mut setup = Setup::new(pool::preset("1x2").unwrap(), Policy::default());
        setup.journal = true;
        let mut world = World::new(setup).unwrap();
        let ask = |devices| ask_whole("lab".parse().unwrap(), "ada".parse().unwrap(), devices);
        let job = |at, devices, runs| {
            WorkJob::new(Micros::from_secs(at), ask(devices), Micros::from_secs(runs))
        };
        let jobs = vec![job(0, 1, 60), job(10, 2, 30), job(20, 1, 5)];
        world.load(Workload { name: "w".into(), jobs, notes: vec![] });
        world.run_until(world.begin().after(Micros::from_secs(3600))).unwrap();
        let events = world.take_journal().into_iter();
        let line = |(seq, (at, event))| {
            let envelope = Envelope { seq, epoch: 1, at, version: EVENT_VERSION, event };
            serde_json::to_string(&envelope).unwrap() + "\n"
        };
        (1u64..).zip(events).map(line).collect()
    }

    #[test]
    fn a_journal_becomes_its_workload_again() {
        let history = read(&journal()).unwrap();
        let seconds = |job: &WorkJob| ((job.arrives.0 + 1000) / 1_000_000, job.runs.0 / 1_000_000);
        let times: Vec<_> = history.workload.jobs.iter().map(seconds).collect();
        assert_eq!(times, [(0, 60), (10, 30), (20, 5)]);
        assert_eq!((history.pool.len(), history.tenants.len()), (1, 1));
        assert_eq!(history.workload.notes, [""; 0]);
    }

    #[test]
    fn a_service_runs_until_it_was_cancelled() {
        let mut setup = Setup::new(pool::preset("1x2").unwrap(), Policy::default());
        setup.journal = true;
        let mut world = World::new(setup).unwrap();
        let mut ask = ask_whole("lab".parse().unwrap(), "ada".parse().unwrap(), 1);
        ask.gang = Gang { min: 1, max: 2, kind: GangKind::Service };
        let service = |at, leaves| WorkJob {
            leaves: Some(Micros::from_secs(leaves)),
            ..WorkJob::new(Micros::from_secs(at), ask.clone(), Micros::from_secs(leaves))
        };
        // The second is still there where the journal ends.
        let jobs = vec![service(0, 500), service(600, 9000)];
        world.load(Workload { name: "w".into(), jobs, notes: vec![] });
        world.run_until(world.begin().after(Micros::from_secs(100))).unwrap();
        let first = world.records().jobs[0].job.unwrap();
        world.scale(first, (1, 1), "ada".parse().unwrap()).unwrap().unwrap();
        world.run_until(world.begin().after(Micros::from_secs(3600))).unwrap();
        let mut events = world.take_journal();
        // As older programs took it in: it means nothing, and nothing is refused for it.
        for (_, event) in &mut events {
            if let Event::JobSubmitted { ask, .. } = event {
                ask.when.estimate = Some(Micros::from_secs(60));
            }
        }
        let told = |wanted| {
            let mut reader = Reader::default();
            for (seq, (at, event)) in (1u64..).zip(events.clone()) {
                let envelope = Envelope { seq, epoch: 1, at, version: EVENT_VERSION, event };
                reader.take(&envelope).unwrap();
            }
            reader.finish(wanted)
        };
        let one = told(1);
        assert_eq!((one.workload.jobs.len(), one.waits.len()), (1, 1));
        let [scaled] = one.workload.notes.as_slice() else { panic!("of the first alone: {one:?}") };
        assert!(scaled.starts_with("1 service had replicas added or taken"), "{scaled}");
        let history = told(usize::MAX);
        let [first, second] = history.workload.jobs.as_slice() else { panic!("{history:?}") };
        assert!(first.leaves.is_some_and(|leaves| leaves.0.abs_diff(500_000_000) < 1000));
        assert!(second.leaves.is_some_and(|leaves| leaves < Micros::from_secs(3600)));
        let [ran, scaled] = history.workload.notes.as_slice() else { panic!("{history:?}") };
        assert_eq!(ran, "1 job still ran at the end of the journal, which is taken for theirs");
        assert!(scaled.starts_with("1 service had replicas added or taken"), "{scaled}");

        let mut world = World::new(Setup::new(history.pool.clone(), Policy::default())).unwrap();
        world.load(history.workload);
        let records = world.finish(None).unwrap();
        assert!(records.jobs.iter().all(|job| job.state == "cancelled"), "{:?}", records.jobs);
        let span = records.end.since(records.begin);
        assert!(span < Micros::from_secs(3700), "it ended after {span}");
    }

    /// The journal of a pool where one job was ended for another and began anew, up to each event.
    #[test]
    fn a_job_that_was_ended_for_another_still_runs_at_the_end() {
        let reclaim = Reclaim { priority: true, ..Reclaim::default() };
        let policy = Policy { reclaim, ..Policy::default() };
        let mut setup = Setup::new(pool::preset("1x1").unwrap(), policy);
        setup.journal = true;
        let mut world = World::new(setup).unwrap();
        let job = |at, runs, priority| {
            let mut ask = ask_whole("lab".parse().unwrap(), "ada".parse().unwrap(), 1);
            (ask.when.priority, ask.yields.preemptible) = (priority, priority == 0);
            WorkJob::new(Micros::from_secs(at), ask, Micros::from_secs(runs))
        };
        let jobs = vec![job(0, 9000, 0), job(100, 50, 1)];
        world.load(Workload { name: "w".into(), jobs, notes: vec![] });
        world.run_until(world.begin().after(Micros::from_secs(1000))).unwrap();
        let events = world.take_journal();
        let starts = events.iter().enumerate().filter_map(|(place, (_, event))| match event {
            Event::LeaseStarted { .. } => Some(place),
            _ => None,
        });
        let starts: Vec<usize> = starts.collect();
        let [_, _, again] = starts.as_slice() else { panic!("{events:?}") };
        let told = |events: &[(Timestamp, Event)]| {
            let mut reader = Reader::default();
            for (seq, (at, event)) in (1u64..).zip(events.iter().cloned()) {
                let envelope = Envelope { seq, epoch: 1, at, version: EVENT_VERSION, event };
                reader.take(&envelope).unwrap();
            }
            reader.finish(usize::MAX).workload
        };
        let end = starts[1] + 1;
        for cut in end..=events.len() {
            let workload = told(&events[..cut]);
            let notes = workload.notes.join("; ");
            assert!(!notes.contains("never ran"), "up to event {cut}: {notes}");
            assert!(notes.contains("still ran at the end of the journal"), "up to {cut}: {notes}");
            let runs = workload.jobs[0].runs;
            assert!(runs >= Micros::from_secs(99), "up to event {cut}: it ran {runs}");
        }
        // Where it has just begun anew, it alone still runs.
        let notes = told(&events[..=*again]).notes;
        assert_eq!(notes, ["1 job still ran at the end of the journal, which is taken for theirs"]);
    }

    #[test]
    fn a_journal_out_of_order_is_named() {
        let text = journal();
        let lines: Vec<&str> = text.lines().collect();
        let error = read(&format!("{}\n{}", lines[1], lines[0])).unwrap_err().to_string();
        assert!(error.starts_with("line 2, seq: \"1\" is before"), "{error}");
        // A number from outside is not reckoned with.
        let last = lines[0].replacen("\"seq\":1,", &format!("\"seq\":{},", u64::MAX), 1);
        let error = read(&format!("{last}\n{}", lines[1])).unwrap_err().to_string();
        assert!(error.starts_with("line 2, seq: \"2\" is before"), "{error}");
        let error = read("{\"seq\":1}").unwrap_err().to_string();
        assert!(error.starts_with("line 1, envelope"), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = read(&text);
        }
    }
}
