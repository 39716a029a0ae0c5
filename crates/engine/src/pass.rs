//! Who is next, and where: one walk through the queue.
//!
//! A job that does not fit holds the devices it could use: later jobs of the same walk leave
//! them alone, so that nobody is overtaken for ever. A job that only its own tenant's quota, or
//! the absence of any device in reach, keeps waiting holds nothing. The walk looks at the first
//! of each bucket (see [`Queue`]). Once every device is held it looks at jobs that need none only,
//! so that it does not grow with the length of the queue.

use crate::ahead::{self, Ahead, Ends, Gang, Laid, Promise};
use crate::backfill::Span;
use crate::facts::{Facts, JobFacts};
use crate::home::{self, Reach};
use crate::index::queue::Queue;
use crate::index::space::{Answer, CellKey, MACHINES};
use crate::index::{Index, held_of, take_of};
use crate::line::Line;
use crate::need::Need;
use crate::order::fair::{self, Pool, Standing};
use crate::order::{self, Rank};
use crate::place::{Overlay, Spot};
use crate::quota::{Holder, More, Shortage};
use crate::reclaim::promise;
use crate::sieve::Sieve;
use crate::{Held, Report, Waiting, WaitingOn, admit, quota, sieve};
use polder_model::{
    Ask, Bytes, Decision, JobId, Lease, LeaseId, LeaseState, Mechanism, NodeId, Permille,
    Reservation, Slice, TaskIndex, TenantPath, Timestamp,
};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Most jobs granted by one pass; the next goes on.
pub const PASS_GRANTS_MAX: usize = 256;
/// Leases after which a pass grants no further job.
pub const PASS_LEASES_MAX: u32 = 4096;
/// Most waiting jobs named by one report.
pub const REPORT_WAITING_MAX: usize = 64;

/// One walk through the queue.
pub(crate) struct Pass<'a> {
    pub(crate) facts: &'a Facts,
    pub(crate) index: &'a Index,
    pub(crate) at: Timestamp,
    pub(crate) space: Overlay<'a>,
    /// Cells held, and by whom first.
    pub(crate) held: BTreeMap<CellKey, JobId>,
    /// While gangs could grow: the cells that jobs wait for, each by whom first, and the quotas.
    wanted: BTreeMap<CellKey, JobId>,
    short: BTreeSet<Holder>,
    /// What was promised, and what this pass granted.
    more: More,
    /// Where this pass put tasks that want to be apart, by tenant and word.
    apart: BTreeMap<(TenantPath, String), BTreeSet<NodeId>>,
    next_lease: LeaseId,
    pool: Pool,
    /// When what runs is believed to end, if the policy lets jobs start before those that wait.
    ends: Option<&'a Ends>,
    /// The future, once a job must wait.
    ahead: Option<Ahead<'a>>,
    pub(crate) decisions: Vec<Decision>,
    pub(crate) report: Report,
}

/// What is sought for a job.
#[derive(Clone, Copy)]
struct Wanted<'w> {
    id: JobId,
    job: &'w JobFacts,
    need: &'w Need,
    answer: &'w Answer,
    reach: &'w Reach<'w>,
    sieve: &'w Sieve,
    want: u32,
}

/// Why a job waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Quota(Shortage),
    Room,
    Devices,
}

impl<'a> Pass<'a> {
    pub(crate) fn new(facts: &'a Facts, index: &'a Index, at: Timestamp) -> Self {
        Self {
            facts,
            index,
            at,
            space: Overlay::new(&index.space),
            held: BTreeMap::new(),
            wanted: BTreeMap::new(),
            short: BTreeSet::new(),
            more: index.promised.clone(),
            next_lease: facts.next_lease,
            apart: BTreeMap::new(),
            pool: Pool::of(index),
            ends: None,
            ahead: None,
            decisions: Vec::new(),
            report: Report::default(),
        }
    }

    /// The same, looking ahead: a job that fits may start before one that waits, if it does not
    /// delay it as far as anybody knows.
    pub(crate) fn looking(self, ends: Option<&'a Ends>) -> Self {
        Self { ends, ..self }
    }

    /// Forgets what it granted.
    pub(crate) fn restart(&mut self) {
        self.space.restart();
        self.held.clear();
        self.wanted.clear();
        self.short.clear();
        self.more = More::default();
        self.next_lease = self.facts.next_lease;
        self.apart.clear();
        self.decisions.clear();
        self.report = Report::default();
    }

    /// Walks, in order, up to (not including) `until` or up to the bound of a pass.
    pub(crate) fn walk(&mut self, queue: &Queue, until: Option<(Rank, &TenantPath)>) {
        let cells = self.space.cells();
        let fair = order::fair_place(&self.facts.policy, self.at);
        let mut line = Line::new(queue, fair, |tenant| self.standing(tenant));
        let mut is_narrow = false;
        while let Some((rank, bucket)) = line.next(|tenant| self.standing(tenant)) {
            let key = &bucket.key;
            let machines = usize::from(self.held.contains_key(&MACHINES));
            if self.held.len() - machines >= cells {
                if machines > 0 {
                    break;
                }
                if !is_narrow {
                    is_narrow = true;
                    line.narrow(queue, rank);
                }
                if key.need.count > 0 {
                    continue;
                }
            }
            let is_before = |until: (Rank, &TenantPath)| {
                let until = (&until.0, until.1);
                line.is_before((&rank, &key.tenant), until, |tenant| self.standing(tenant))
            };
            if until.is_some_and(|until| !is_before(until)) {
                break;
            }
            if self.ahead.as_ref().is_some_and(Ahead::is_done) {
                break;
            }
            if self.is_full() {
                self.report.more = true;
                break;
            }
            self.report.steps += 1;
            match self.consider(rank.job, &key.need) {
                Ok(leases) => {
                    self.report.leases += u32::try_from(leases.len()).unwrap_or(u32::MAX);
                    self.decisions.push(Decision::Grant { job: rank.job, leases });
                    if let Some(next) = bucket.after(rank) {
                        line.push(next, bucket, |tenant| self.standing(tenant));
                    }
                }
                Err(wait) => {
                    self.want(rank.job, &key.need, &wait);
                    self.note(rank.job, wait);
                }
            }
        }
        self.report.steps += self.space.steps();
    }

    /// Starts those who were promised room that is now free, and takes promises back that nobody
    /// can keep any more.
    pub(crate) fn keep_promises(&mut self) {
        for id in self.index.promises.ready() {
            let Some(job) = self.facts.jobs.get(id) else { continue };
            let Some(claim) = &job.claim else { continue };
            self.report.steps += 1;
            if self.is_full() {
                self.report.more = true;
                break;
            }
            let leases = self.leases(*id, job, &claim.spots);
            let sum = leases.iter().map(held_of).fold(Held::default(), |mut sum, held| {
                sum.add(held);
                sum
            });
            let whose = (&job.ask.tenant, &job.ask.user);
            self.more.remove(whose.0, whose.1, promise::held(job));
            let (room, _) = quota::room(self.facts, self.index, &self.more, whose, sum);
            let nodes =
                |one: &Reservation| claim.spots.iter().any(|spot| one.nodes.contains(&spot.node));
            let is_open = !sieve::closing(self.facts, &job.ask, self.at).any(nodes);
            let starts = room > 0 && is_open && promise::is_free(self.index, job);
            self.more.add(whose.0, whose.1, if starts { sum } else { promise::held(job) });
            if starts {
                self.report.leases += u32::try_from(leases.len()).unwrap_or(u32::MAX);
                let next = leases.last().map_or(self.next_lease.0, |lease| lease.id.0 + 1);
                self.next_lease = LeaseId(next);
                self.decisions.push(Decision::Grant { job: *id, leases });
            } else if !self.index.promises.is_anybody_leaving() {
                self.decisions.push(Decision::Release { job: *id });
            }
        }
    }

    /// A tenant's standing among the others, with what this pass granted.
    pub(crate) fn standing(&self, tenant: &TenantPath) -> Standing {
        fair::standing(self.facts, self.index, self.pool, &self.more, tenant)
    }

    /// What this pass granted, and what was promised.
    pub(crate) fn more(&self) -> &More {
        &self.more
    }

    /// Notes what a job waits for, where gangs could otherwise grow into it.
    fn want(&mut self, job: JobId, need: &Need, wait: &Wait) {
        if self.index.elastic.is_empty() {
            return;
        }
        match wait {
            Wait::Quota(short) => drop(self.short.insert(short.holder.clone())),
            Wait::Room => {
                let cells = self.space.answer(need).cells.clone();
                for cell in cells {
                    self.wanted.entry(cell).or_insert(job);
                }
            }
            Wait::Devices => {}
        }
    }

    /// Whether somebody who waits could use a cell.
    pub(crate) fn is_wanted(&self, cell: CellKey) -> bool {
        self.held.contains_key(&cell) || self.wanted.contains_key(&cell)
    }

    /// Whether nobody waits for a cell before this job.
    pub(crate) fn is_open_to(&self, cell: CellKey, job: JobId) -> bool {
        let first = |by: &BTreeMap<CellKey, JobId>| by.get(&cell).is_none_or(|by| *by == job);
        first(&self.held) && first(&self.wanted)
    }

    /// Whether a job waits for a quota that this one's leases count against.
    pub(crate) fn keeps_waiting(&self, job: &JobFacts) -> bool {
        let Ask { tenant, user, .. } = &job.ask;
        self.short.iter().any(|short| {
            let inside = tenant.lineage().any(|above| above == short.tenant);
            inside && short.user.as_ref().is_none_or(|of| of == user)
        })
    }

    /// Whether jobs may start before one that waits, if they do not delay it.
    pub(crate) fn looks_ahead(&self) -> bool {
        self.ends.is_some()
    }

    /// The starts that it promised, in order of the queue.
    pub(crate) fn promises(&self) -> &[Promise] {
        self.ahead.as_ref().map_or(&[], Ahead::promises)
    }

    /// Whether it looked at no further job although there may be more.
    pub(crate) fn has_looked_enough(&self) -> bool {
        self.ahead.as_ref().is_some_and(Ahead::is_done)
    }

    /// Promises its earliest start to somebody who does not stand in line.
    pub(crate) fn reserve(&mut self, job: JobId, gang: &Gang, span: Span) {
        let Some(ends) = self.ends else { return };
        if self.ahead.is_none() {
            let (fleet, rule) = self.space.fleet();
            self.ahead = Some(Ahead::new(fleet, rule, ends, self.at));
        }
        if let Some(ahead) = &mut self.ahead {
            ahead.reserve(job, gang, span, self.facts.policy.backfill.reserved);
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.decisions.len() >= PASS_GRANTS_MAX || self.report.leases >= PASS_LEASES_MAX
    }

    fn note(&mut self, job: JobId, wait: Wait) {
        if self.report.waiting.len() >= REPORT_WAITING_MAX {
            return;
        }
        let on = match wait {
            Wait::Quota(Shortage { holder, resource, .. }) => {
                WaitingOn::Quota { tenant: holder.tenant, resource }
            }
            Wait::Room => WaitingOn::Room,
            Wait::Devices => WaitingOn::Devices,
        };
        self.report.waiting.push(Waiting { job, on });
    }

    /// Grants a gang, or says why not and holds what it could use.
    pub(crate) fn consider(&mut self, id: JobId, need: &Need) -> Result<Vec<Lease>, Wait> {
        let Some(job) = self.facts.jobs.get(&id) else { return Err(Wait::Devices) };
        let want = self.quota_room(&job.ask, need).map_err(Wait::Quota)?;
        let answer = self.space.answer(need);
        if answer.room < u64::from(need.min) {
            return Err(Wait::Devices);
        }
        let reach = self.reach(job, &answer.cells);
        if reach.is_empty() {
            return Err(Wait::Devices);
        }
        let sieve = self.sieve(job);
        let wanted = Wanted { id, job, need, answer: &answer, reach: &reach, sieve: &sieve, want };
        match self.ends.filter(|_| ahead::minds(job)) {
            Some(ends) => {
                let spots = self.beside(ends, &wanted).ok_or(Wait::Room)?;
                self.grant(id, job, need, &spots)
            }
            None => {
                let spots = self.on_open(&wanted).ok_or(Wait::Room)?;
                self.grant_unlooked(id, job, need, &spots)
            }
        }
    }

    /// Room for a gang on what nobody who waits before it holds, and away from what was promised.
    fn on_open(&mut self, wanted: &Wanted<'_>) -> Option<Vec<Spot>> {
        let Wanted { id, job, reach, sieve, .. } = *wanted;
        let clear = self.clear_of_promises(job, sieve);
        let open = |cells: &[CellKey]| -> Vec<CellKey> {
            cells.iter().filter(|cell| !self.held.contains_key(cell)).copied().collect()
        };
        let (mut cells, lent) = (open(&reach.own), open(&reach.lent));
        let mut found = self.seek(wanted, &cells, &clear);
        if found.is_none() && !lent.is_empty() {
            cells.extend(lent);
            cells.sort_unstable();
            found = self.seek(wanted, &cells, &clear);
        }
        if found.is_none() {
            // Who may go to some nodes only keeps nobody from the others.
            for cell in reach.own.iter().filter(|_| sieve.is_open()) {
                self.held.entry(*cell).or_insert(id);
            }
        }
        found
    }

    /// Room for a gang in these cells; it is taken.
    fn seek(&mut self, wanted: &Wanted<'_>, cells: &[CellKey], sieve: &Sieve) -> Option<Vec<Spot>> {
        let Wanted { job, need, answer, want, .. } = *wanted;
        if job.ask.place.apart.is_none() {
            return self.space.place_by((need, answer), cells, sieve, need.min, want);
        }
        let spots = self.each_apart(need, cells, sieve.clone(), want);
        if u32::try_from(spots.len()).unwrap_or(u32::MAX) >= need.min {
            return Some(spots);
        }
        self.give_back(job, &spots);
        None
    }

    /// A job that is not looked ahead for keeps off the nodes where it could still run when somebody
    /// was promised a start.
    fn clear_of_promises<'s>(&self, job: &JobFacts, sieve: &'s Sieve) -> Cow<'s, Sieve> {
        let Some(ahead) = &self.ahead else { return Cow::Borrowed(sieve) };
        let mut clear = sieve.clone();
        let promised = ahead.promised(ahead::span(self.facts, job));
        clear.avoid.extend(promised.into_iter().filter_map(|ix| self.space.name(ix)).cloned());
        Cow::Owned(clear)
    }

    /// The same as [`Pass::grant`], for a job that was not looked ahead for: the future, if there is
    /// one already, is told.
    pub(crate) fn grant_unlooked(
        &mut self,
        id: JobId,
        job: &JobFacts,
        need: &Need,
        spots: &[Spot],
    ) -> Result<Vec<Lease>, Wait> {
        let leases = self.grant(id, job, need, spots)?;
        if let Some(ahead) = &mut self.ahead {
            let laid = leases.iter().filter_map(|lease| ahead::laid(self.index, lease, job));
            ahead.taken(&laid.collect(), ahead::span(self.facts, job));
        }
        Ok(leases)
    }

    /// Of the cells that would do, those that a job's class goes to first and those it may borrow
    /// from.
    pub(crate) fn reach<'c>(&self, job: &JobFacts, cells: &'c [CellKey]) -> Reach<'c> {
        let (ask, policy) = (&job.ask, &self.facts.policy);
        let Some(partition) = home::of(policy, ask) else {
            return Reach { own: Cow::Borrowed(cells), lent: Vec::new() };
        };
        let is_own = |cell: &CellKey| self.index.space.is_in(*cell, partition);
        let (own, others) = cells.iter().copied().partition(is_own);
        let lent = if home::borrows(policy, ask) { others } else { Vec::new() };
        Reach { own: Cow::Owned(own), lent }
    }

    /// Room for a gang now, if that delays nobody who was promised a start; else promises it one.
    fn beside(&mut self, ends: &'a Ends, wanted: &Wanted<'_>) -> Option<Vec<Spot>> {
        let Wanted { id, job, need, reach, sieve, want, .. } = *wanted;
        let span = ahead::span(self.facts, job);
        let all = (!reach.lent.is_empty()).then(|| reach.all());
        if self.ahead.is_none() {
            let mut place = |cells| self.space.place(need, cells, sieve, need.min, want);
            let found = place(&reach.own).or_else(|| place(all.as_deref()?));
            if found.is_some() {
                return found;
            }
            let (fleet, rule) = self.space.fleet();
            self.ahead = Some(Ahead::new(fleet, rule, ends, self.at));
        }
        let gang = |cells: &[CellKey]| Gang {
            demand: self.space.demand(need, cells, sieve),
            min: need.min,
            want,
        };
        let (own, all) = (gang(&reach.own), all.as_deref().map(gang));
        let ahead = self.ahead.as_mut()?;
        let found = ahead.find(&own, span).or_else(|| ahead.find(all.as_ref()?, span));
        let Some(laid) = found else {
            // What it borrows now nobody promises it for later, unless it has nothing of its own.
            let promised = all.as_ref().filter(|_| reach.own.is_empty()).unwrap_or(&own);
            ahead.reserve(id, promised, span, self.facts.policy.backfill.reserved);
            return None;
        };
        let named = |laid: &Laid| self.space.named(&laid.spot);
        let mut spots: Vec<Spot> = laid.iter().filter_map(named).collect();
        spots.sort();
        for lease in self.leases(id, job, &spots) {
            self.space.take(&lease.node, &take_of(&lease, &job.ask));
        }
        if let Some(ahead) = &mut self.ahead {
            ahead.taken(&laid, span);
        }
        Some(spots)
    }

    /// Whether a job could start beside those that were promised a start. Nothing is taken or promised.
    pub(crate) fn fits_beside(&mut self, job: &JobFacts, need: &Need) -> bool {
        let answer = self.space.answer(need);
        let cells = self.reach(job, &answer.cells).all();
        let sieve = self.sieve(job);
        let is_enough = |tasks: usize| u32::try_from(tasks).unwrap_or(u32::MAX) >= need.min;
        if job.ask.place.apart.is_some() {
            let clear = self.clear_of_promises(job, &sieve).into_owned();
            let spots = self.each_apart(need, &cells, clear, need.min);
            self.give_back(job, &spots);
            return is_enough(spots.len());
        }
        if ahead::minds(job) && self.ahead.is_some() {
            let demand = self.space.demand(need, &cells, &sieve);
            let (gang, span) =
                (Gang { demand, min: need.min, want: need.min }, ahead::span(self.facts, job));
            return self.ahead.as_mut().is_some_and(|ahead| ahead.find(&gang, span).is_some());
        }
        let clear = self.clear_of_promises(job, &sieve);
        is_enough(self.space.find(need, &cells, &clear, need.min).len())
    }

    /// Which nodes are open to a job, given where this pass put others of its kind.
    pub(crate) fn sieve(&self, job: &JobFacts) -> Sieve {
        let mut sieve = Sieve::of(self.facts, self.index, job, self.at);
        if let Some(word) = &job.ask.place.apart {
            let key = (job.ask.tenant.clone(), word.clone());
            sieve.avoid.extend(self.apart.get(&key).into_iter().flatten().cloned());
        }
        sieve
    }

    /// Room for up to `want` tasks that share no node, one after the other; it is taken.
    pub(crate) fn each_apart(
        &mut self,
        need: &Need,
        cells: &[CellKey],
        mut sieve: Sieve,
        want: u32,
    ) -> Vec<Spot> {
        let mut spots: Vec<Spot> = Vec::new();
        for _ in 0..want {
            let Some(found) = self.space.place(need, cells, &sieve, 1, 1) else { break };
            sieve.avoid.extend(found.iter().map(|spot| spot.node.clone()));
            spots.extend(found);
        }
        spots.sort();
        spots
    }

    /// Gives back what was taken at spots that come to nothing.
    pub(crate) fn give_back(&mut self, job: &JobFacts, spots: &[Spot]) {
        let leases = self.leases(JobId(0), job, spots);
        self.give(job, &leases);
    }

    /// The leases that these spots, which are taken already, become.
    pub(crate) fn grant(
        &mut self,
        id: JobId,
        job: &JobFacts,
        need: &Need,
        spots: &[Spot],
    ) -> Result<Vec<Lease>, Wait> {
        let mut leases = self.leases(id, job, spots);
        let within = self.within_quota(need, job, &mut leases);
        if within.is_err() {
            self.give(job, &leases);
        }
        within.map_err(Wait::Quota)?;
        self.commit(&leases);
        if let Some(word) = &job.ask.place.apart {
            let on = self.apart.entry((job.ask.tenant.clone(), word.clone())).or_default();
            on.extend(leases.iter().map(|lease| lease.node.clone()));
        }
        Ok(leases)
    }

    /// Tasks that the quotas leave room for, if they are enough.
    pub(crate) fn quota_room(&self, ask: &Ask, need: &Need) -> Result<u32, Shortage> {
        let each = admit::each(self.index, need);
        match quota::room(self.facts, self.index, &self.more, (&ask.tenant, &ask.user), each) {
            (room, Some(short)) if room < need.min.into() => Err(short),
            (room, _) => Ok(u32::try_from(room).unwrap_or(u32::MAX).min(need.max)),
        }
    }

    /// Drops members of a gang until its tenants' quotas hold. Only whole devices and instances need
    /// it: how much they add is known once they are chosen.
    fn within_quota(
        &mut self,
        need: &Need,
        job: &JobFacts,
        leases: &mut Vec<Lease>,
    ) -> Result<(), Shortage> {
        while (need.is_whole() || need.wants().is_some())
            && let Some(first) = leases.first()
        {
            let sum = leases.iter().map(held_of).fold(Held::default(), |mut sum, held| {
                sum.add(held);
                sum
            });
            let whose = (&first.tenant, &first.user);
            let (room, short) = quota::room(self.facts, self.index, &self.more, whose, sum);
            let Some(short) = short.filter(|_| room == 0) else { break };
            if leases.len() <= usize::try_from(need.min).unwrap_or(usize::MAX) {
                return Err(short);
            }
            let gone = leases.pop();
            self.give(job, gone.as_slice());
        }
        Ok(())
    }

    /// Gives back what was taken for leases that come to nothing.
    fn give(&mut self, job: &JobFacts, leases: &[Lease]) {
        for lease in leases {
            self.space.give(&lease.node, &take_of(lease, &job.ask));
        }
    }

    /// The leases that these spots become.
    pub(crate) fn leases(&self, id: JobId, job: &JobFacts, spots: &[Spot]) -> Vec<Lease> {
        let lease = |(task, spot): (usize, &Spot)| Lease {
            id: LeaseId(self.next_lease.0 + u64::try_from(task).unwrap_or(u64::MAX)),
            job: id,
            task: TaskIndex::try_from(task).unwrap_or(TaskIndex::MAX),
            attempt: job.attempt,
            tenant: job.ask.tenant.clone(),
            user: job.ask.user.clone(),
            node: spot.node.clone(),
            slices: (0..spot.devices.len()).filter_map(|at| self.slice(job, spot, at)).collect(),
            leaving: Bytes(0),
            resizes: 0,
            class: job.ask.when.class,
            priority: crate::order::priority(job, self.at),
            state: LeaseState::Granted,
            isolation: None,
            not_enforced: Vec::new(),
            findings: Vec::new(),
            granted_at: self.at,
            started_at: None,
            contact_limit: self.facts.policy.contact_limit,
        };
        spots.iter().enumerate().map(lease).collect()
    }

    fn slice(&self, job: &JobFacts, spot: &Spot, at: usize) -> Option<Slice> {
        let (ask, device) = (&job.ask.devices, spot.devices.get(at)?);
        let whole = || self.space.memory_of(&spot.node, device).unwrap_or(Bytes(0));
        let slice = Slice {
            instance: None,
            device: device.clone(),
            mechanism: ask.mechanism(),
            compute: ask.compute,
            compute_max: ask.compute_max.unwrap_or(Permille::WHOLE),
            memory: if ask.whole { whole() } else { ask.memory },
            backing: ask.backing.unwrap_or(Bytes(0)),
        };
        // What hardware or the vendor's driver cuts is as large as it is, and no larger when others
        // are idle.
        let Some(instance) = spot.instances.get(at) else {
            let spatial = slice.mechanism == Mechanism::Spatial;
            return Some(if spatial {
                Slice { compute_max: slice.compute, ..slice }
            } else {
                slice
            });
        };
        let (compute, memory) = self.space.node(&spot.node)?.entry.amounts_of(device, instance)?;
        let instance = Some(instance.clone());
        Some(Slice { instance, compute, compute_max: compute, memory, ..slice })
    }

    fn commit(&mut self, leases: &[Lease]) {
        for lease in leases {
            self.more.add(&lease.tenant, &lease.user, held_of(lease));
            self.next_lease = LeaseId(self.next_lease.0.max(lease.id.0 + 1));
        }
    }
}
