//! Why a job is where it is. Computed only when somebody asks.

mod beside;

use crate::closest::Closest;
use crate::facts::{Evicted, Facts, JobFacts};
use crate::index::Index;
use crate::index::queue::Queue;
use crate::index::space::CellKey;
use crate::members;
use crate::need::Need;
use crate::order::fair::{self, FairRank, Pool, Standing};
use crate::order::{self, Rank, rank};
use crate::pass::Pass;
use crate::place::Spot;
use crate::quota::{Holder, More, Shortage};
use crate::reclaim::spared;
use crate::sieve::{self, Sieve};
use crate::{Engine, admit};
use crate::{history, home, resize};
use polder_model::{
    Bytes, Closed, Expected, Explanation, Fit, Gang, GangKind, Help, JobId, JobState, Late, Micros,
    NodeId, Reason, TenantPath, Timestamp, When,
};
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// Most reservations that one explanation looks beyond.
pub(crate) const EXPLAIN_RESERVATIONS_MAX: usize = 64;

/// What is being said of one job that waits.
struct Account<'e> {
    engine: &'e Engine,
    pass: Pass<'e>,
    need: Need,
    rank: Rank,
    /// The first of the queue.
    first: JobId,
    position: u64,
    reasons: Vec<Reason>,
    help: Vec<Help>,
    predicted_start: Option<Timestamp>,
    /// Where there is room for it, and nothing but who is ahead of it could keep it from there.
    free: Option<Fit>,
}

impl Engine {
    /// Why a job is where it is; `None` when it is over or never was.
    #[must_use]
    pub fn explain(&self, at: Timestamp, job: JobId) -> Option<Explanation> {
        let at = at.max(self.facts.now);
        let facts = self.facts.jobs.get(&job)?;
        let began = facts.hold.as_ref().and_then(|hold| hold.started_at);
        let ran = began.map(|began| at.since(began));
        let mut explanation = Explanation {
            expected: history::expected(&self.facts.history, facts, ran),
            estimate: facts.ask.when.estimate,
            resized: facts.resizes.last().cloned(),
            ..Explanation::bare(job, facts.state())
        };
        explanation.late = late(facts, at, began, explanation.expected);
        match explanation.state {
            JobState::Queued if facts.claim.is_some() => {
                let leaving = self.index.promises.leaving_for(job);
                explanation.position = Some(1);
                explanation.reasons = vec![Reason::Promised { leaving }];
            }
            JobState::Queued => {
                let mut account = self.account(at, job)?;
                account.tell();
                let Account {
                    pass,
                    position,
                    reasons,
                    help,
                    predicted_start,
                    need,
                    rank,
                    free,
                    ..
                } = account;
                // There is one at a time.
                drop(pass);
                explanation.position = Some(position);
                (explanation.reasons, explanation.help) = (reasons, help);
                explanation.predicted_start = predicted_start;
                let beside = free.and_then(|fit| self.beside(at, (rank, &need), &fit));
                if let Some((reason, help)) = beside {
                    explanation.reasons = vec![reason];
                    explanation.help.extend(help);
                }
                explanation.help.extend(history::rightsize(facts));
            }
            JobState::Starting => {
                let hold = facts.hold.as_ref()?;
                let members = hold.members();
                explanation.reasons = vec![Reason::Preparing { prepared: hold.prepared, members }];
            }
            JobState::Running => {
                explanation.reasons = self.missing(at, job, facts);
                explanation.reasons.extend(self.leaving(facts));
                explanation.help.extend(history::rightsize(facts));
            }
            JobState::Stopping | JobState::Finished { .. } => {}
        }
        let evicted = facts.evicted.map(|Evicted { by, ground }| Reason::Evicted {
            by,
            ground,
            times: facts.preempted,
        });
        explanation.reasons.extend(evicted);
        Some(explanation)
    }

    /// What a resize took from a job and its programs may still hold.
    fn leaving(&self, job: &JobFacts) -> Option<Reason> {
        let (mut leases, mut memory) = (0, 0_u64);
        let held = job.hold.iter().flat_map(|hold| resize::members(&self.facts, hold));
        for lease in held.filter(|lease| !lease.leaving.is_zero()) {
            leases += 1;
            let each = lease.slices.iter().map(|_| lease.leaving.0);
            memory = each.fold(memory, u64::saturating_add);
        }
        (leases > 0).then_some(Reason::Leaving { leases, memory: Bytes(memory) })
    }

    /// Which members are missing of a gang that may change its size, and why.
    fn missing(&self, at: Timestamp, id: JobId, job: &JobFacts) -> Vec<Reason> {
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let Some(hold) = members::resizable(job) else { return Vec::new() };
        let (joining, leaving) = (number(hold.joining.len()), number(hold.leaving.len()));
        let running = hold.running();
        let Gang { min, max, kind } = job.ask.gang;
        if running >= max {
            return Vec::new();
        }
        let mut reasons = vec![Reason::Missing { running, joining, leaving, min, max }];
        if let Some(until) = hold.next_successor(at) {
            reasons.push(Reason::Backoff { left: until.since(at) });
        } else if hold.members() < max
            && (kind == GangKind::Service || hold.is_complete())
            && (hold.members() < min || self.facts.policy.elastic.grow)
        {
            let mut account = self.account_of(at, id, job, None);
            account.need = account.need.alone();
            account.tell_of_member();
            reasons.append(&mut account.reasons);
        }
        reasons
    }

    /// Everything the next pass would do before it comes to this job.
    fn account(&self, at: Timestamp, id: JobId) -> Option<Account<'_>> {
        let job = self.facts.jobs.get(&id)?;
        let rank = rank(&self.facts.policy, id, job, at);
        let position = position(&self.facts, &self.index, at, &self.queue_at(at), rank);
        Some(Account { position, ..self.account_of(at, id, job, Some((rank, &job.ask.tenant))) })
    }

    /// Everything the next pass would do before it comes to somebody, or in all.
    fn account_of(
        &self,
        at: Timestamp,
        id: JobId,
        job: &JobFacts,
        until: Option<(Rank, &TenantPath)>,
    ) -> Account<'_> {
        let mut pass = Pass::new(&self.facts, &self.index, at);
        pass.replace();
        pass.walk(&self.queue_at(at), until);
        Account {
            engine: self,
            pass,
            need: Need::of(&job.ask),
            rank: rank(&self.facts.policy, id, job, at),
            first: self.queue(at).next().unwrap_or(id),
            position: 0,
            reasons: Vec::new(),
            help: Vec::new(),
            predicted_start: None,
            free: None,
        }
    }
}

/// A deadline that the job will not meet, by what is best known of its run time.
fn late(
    job: &JobFacts,
    at: Timestamp,
    began: Option<Timestamp>,
    expected: Option<Expected>,
) -> Option<Late> {
    let When { deadline, estimate, .. } = job.ask.when;
    let deadline = deadline?;
    let is_sure = |expected: &Expected| expected.doubt < history::UNTOLD_MUCH || estimate.is_none();
    let seen = expected.filter(is_sure).and_then(|expected| expected.run_time_p50);
    let run_time = seen.or(estimate).unwrap_or(Micros(0));
    let over_at = began.unwrap_or(at).after(run_time).max(at);
    let by_estimate = seen.is_none() && estimate.is_some();
    (over_at > deadline).then_some(Late { deadline, over_at, by_estimate })
}

/// Every job that waits, with its rank among tenants as they stand now.
pub(crate) fn ranked<'a>(
    facts: &'a Facts,
    index: &'a Index,
    queue: &'a Queue,
    place: usize,
) -> impl Iterator<Item = (JobId, FairRank)> + 'a {
    let (pool, more) = (Pool::of(index), More::default());
    let mut known: BTreeMap<&TenantPath, Standing> = BTreeMap::new();
    queue.ranks().filter_map(move |rank| {
        let tenant = &facts.jobs.get(&rank.job)?.ask.tenant;
        let standing = known
            .entry(tenant)
            .or_insert_with(|| fair::standing(facts, index, pool, &more, tenant));
        Some((rank.job, FairRank::new(rank, place, standing.clone())))
    })
}

/// A job's place among the queued, from 1.
fn position(facts: &Facts, index: &Index, at: Timestamp, queue: &Queue, rank: Rank) -> u64 {
    let Some(place) = order::fair_place(&facts.policy, at) else {
        return u64::try_from(queue.up_to(rank)).unwrap_or(u64::MAX);
    };
    let ranked: BTreeMap<JobId, FairRank> = ranked(facts, index, queue, place).collect();
    let Some(own) = ranked.get(&rank.job) else { return 0 };
    u64::try_from(ranked.values().filter(|other| *other <= own).count()).unwrap_or(u64::MAX)
}

impl Account<'_> {
    fn tell(&mut self) {
        // More jobs ahead of it are about to start than one pass grants. What they will leave is
        // not known yet, so its fit is that of a job which is the first.
        let crowded = self.pass.report.more;
        if crowded {
            self.pass.restart();
        }
        self.quota();
        self.closed();
        let answer = self.pass.space.answer(&self.need);
        // Where the devices that answer could not carry its smallest gang if all were free, what
        // is free now is not why it waits.
        let could = answer.room >= u64::from(self.need.min);
        let cells = if could { self.reach(&answer.cells) } else { Vec::new() };
        if !could || answer.cells.is_empty() {
            self.no_cell(&answer.cells);
        } else if cells.is_empty() {
            self.not_of_class();
        }
        let overtaken = crowded || self.pass.held.keys().any(|cell| cells.contains(cell));
        let fit = if cells.is_empty() { None } else { self.room(&cells, overtaken) };
        self.free = fit.as_ref().filter(|_| !crowded && self.reasons.is_empty()).cloned();
        if crowded {
            self.push_behind(self.first, fit);
        } else {
            self.behind(&cells, fit);
        }
        if self.reasons.is_empty() {
            self.reasons.push(Reason::Next);
        }
    }

    /// Why a gang that runs gains no member. What nobody holds and nobody wants it gets by itself.
    fn tell_of_member(&mut self) {
        self.quota();
        self.closed();
        let answer = self.pass.space.answer(&self.need);
        let cells = self.reach(&answer.cells);
        if answer.cells.is_empty() {
            return self.no_cell(&answer.cells);
        }
        if cells.is_empty() {
            return self.not_of_class();
        }
        let has_room = self.room(&cells, false).is_some();
        let is_wanted = cells.iter().any(|cell| !self.pass.is_open_to(*cell, self.rank.job));
        if has_room && is_wanted && self.reasons.is_empty() {
            let waiting = self.engine.queue(self.pass.at).count();
            let ahead = u64::try_from(waiting).unwrap_or(u64::MAX);
            self.reasons.push(Reason::Behind { ahead, first: self.first, fit: None });
        }
    }

    /// Names what keeps nodes from it for now.
    fn closed(&mut self) {
        let Some(job) = self.engine.facts.jobs.get(&self.rank.job) else { return };
        let mut closing = sieve::closing(&self.engine.facts, &job.ask, self.pass.at);
        if let Some(first) = closing.next() {
            self.reasons.push(Reason::Reserved {
                reservation: first.name.clone(),
                nodes: u32::try_from(first.nodes.len()).unwrap_or(u32::MAX),
                until: first.until,
                begins_in: first.from.since(self.pass.at),
                over_in: first.until.since(self.pass.at),
            });
        }
    }

    fn quota(&mut self) {
        let Some(job) = self.engine.facts.jobs.get(&self.rank.job) else { return };
        let short = self.pass.quota_room(&job.ask, &self.need);
        let Err(Shortage { holder, resource, limit, used }) = short else { return };
        let Holder { tenant, user } = holder;
        let gang = admit::each(&self.engine.index, &self.need).times(self.need.min.into());
        let asked = gang.of(resource);
        let at_least = used.saturating_add(asked);
        self.help.push(Help::RaiseQuota {
            tenant: tenant.clone(),
            user: user.clone(),
            resource,
            at_least,
        });
        self.reasons.push(Reason::Quota { tenant, user, resource, limit, used, asked });
    }

    /// No device that answers would do, even if all were free.
    fn no_cell(&mut self, cells: &[CellKey]) {
        let index = &self.engine.index;
        if self.need.count == 0 {
            return self.no_machine();
        }
        let could = index.known.iter().filter(|(shape, hosts)| self.need.room(shape, hosts) > 0);
        let number = could.map(|(shape, hosts)| self.need.fitting(shape) * hosts.nodes());
        let known = number.fold(0, u64::saturating_add);
        let groups = index.space.groups();
        let usable: u64 =
            groups.map(|(shape, of)| self.need.fitting(shape) * of.hosts.nodes()).sum();
        let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let devices = number(known.saturating_sub(usable));
        self.reasons.push(if devices > 0 {
            let in_use = Closest::new(self.engine, &self.pass.space, &self.need, cells).in_use();
            Reason::Unreachable { devices, others: number(usable), in_use }
        } else {
            let nearest = self.need.nearest(index.known.iter());
            match (admit::devices(index), admit::nodes(index)) {
                (0, nodes @ 1..) => Reason::NoSuchNode { nodes, nearest },
                (devices, _) => Reason::NoSuchDevice { devices, nearest },
            }
        });
    }

    /// No node that answers could carry a task that needs no device.
    fn no_machine(&mut self) {
        let index = &self.engine.index;
        let carry = |(shape, hosts)| self.need.machines(shape, hosts);
        let known: u64 = index.known.iter().map(carry).sum();
        let usable: u64 =
            index.space.groups().map(|(shape, of)| self.need.machines(shape, &of.hosts)).sum();
        self.reasons.push(match known.saturating_sub(usable) {
            0 => Reason::NoSuchNode {
                nodes: admit::nodes(index),
                nearest: self.need.nearest(index.known.iter()),
            },
            nodes => Reason::NodesSilent { nodes },
        });
    }

    /// Of the cells that would do, those that its class lets it go to.
    fn reach(&self, cells: &[CellKey]) -> Vec<CellKey> {
        let job = self.engine.facts.jobs.get(&self.rank.job);
        job.map(|job| self.pass.reach(job, cells).all()).unwrap_or_default()
    }

    /// What would do lies outside the partition that its class keeps to.
    fn not_of_class(&mut self) {
        let facts = &self.engine.facts;
        let Some(job) = facts.jobs.get(&self.rank.job) else { return };
        let partition = home::of(&facts.policy, &job.ask);
        self.reasons.extend(partition.map(|partition| Reason::NotOfClass {
            class: job.ask.when.class,
            partition: partition.to_owned(),
        }));
    }

    /// Where there is room for it, were it first; if there is none, says what is lacking.
    fn room(&mut self, cells: &[CellKey], overtaken: bool) -> Option<Fit> {
        let spots = self.find(cells);
        let placeable = u32::try_from(spots.len()).unwrap_or(u32::MAX);
        if self.is_enough(spots.len()) {
            let nodes: BTreeSet<_> = spots.iter().map(|spot| &spot.node).collect();
            let node = (*nodes.first()?).clone();
            return Some(Fit { node, nodes: u32::try_from(nodes.len()).unwrap_or(u32::MAX) });
        }
        let alone = self.need.min == 1 && self.need.count == 1;
        let quota = self.reasons.iter().any(|reason| matches!(reason, Reason::Quota { .. }));
        let job = self.engine.facts.jobs.get(&self.rank.job)?;
        if let Some(node) = self.closed_node(cells) {
            // Where a reservation is why, it was said already.
            let reason = self.why_closed(&node).map(|why| Reason::NotOpen { node, why });
            self.reasons.extend(reason);
            // When a task that it is to be apart from goes is not looked ahead for.
            if !overtaken && !quota && job.ask.place.apart.is_none() {
                let closest = Closest::new(self.engine, &self.pass.space, &self.need, cells);
                self.predicted_start = closest.predicted_start(job, self.pass.at);
                let below = self.shorter_limit(job, cells);
                self.help.extend(below.map(|below| Help::ShorterLimit { below }));
            }
            return None;
        }
        // What would fit now, and whose end would do, is not said where nodes are reserved.
        let told = !self.reasons.is_empty();
        if !overtaken && !quota {
            let closest = Closest::new(self.engine, &self.pass.space, &self.need, cells);
            self.predicted_start = closest.predicted_start(job, self.pass.at);
            if alone && !told {
                self.help = closest.help();
            } else if !told && job.ask.place.apart.is_none() {
                let sieve = self.pass.sieve(job);
                let fewer = (placeable > 0).then_some(Help::FewerTasks { fits: placeable });
                self.help.extend(fewer);
                self.help.extend(closest.jobs_that_free(sieve));
            }
        }
        self.fill(&spots);
        let closest = Closest::new(self.engine, &self.pass.space, &self.need, cells).beside(&spots);
        self.reasons.extend(closest.reason(placeable));
        if !overtaken && !told {
            self.spared();
        }
        None
    }

    /// Says why those who rank behind it do not make room.
    fn spared(&mut self) {
        let engine = self.engine;
        let job = engine.facts.jobs.get(&self.rank.job).filter(|job| job.is_queued());
        let Some(job) = job else { return };
        let (queue, sieve) = (engine.queue_at(self.pass.at), self.pass.sieve(job));
        let live = engine.live_at(self.pass.at, &queue);
        let asked = (self.rank.job, &**job);
        self.reasons.extend(spared::reasons(&self.pass, &live, asked, &self.need, &sieve));
    }

    fn is_enough(&self, tasks: usize) -> bool {
        u32::try_from(tasks).unwrap_or(u32::MAX) >= self.need.min
    }

    /// Room for its smallest gang in these cells, on nodes that are open to it.
    fn find(&mut self, cells: &[CellKey]) -> Vec<Spot> {
        let engine = self.engine;
        let Some(job) = engine.facts.jobs.get(&self.rank.job) else { return Vec::new() };
        let sieve = self.pass.sieve(job);
        if job.ask.place.apart.is_none() {
            return self.pass.space.find(&self.need, cells, &sieve, self.need.min);
        }
        let spots = self.pass.each_apart(&self.need, cells, sieve, self.need.min);
        self.pass.give_back(job, &spots);
        spots
    }

    /// A node where there is room for it, but that is not open to it; absent where room is what it
    /// lacks.
    fn closed_node(&self, cells: &[CellKey]) -> Option<NodeId> {
        let job = self.engine.facts.jobs.get(&self.rank.job)?;
        let sieve = self.pass.sieve(job);
        let anywhere = self.pass.space.find(&self.need, cells, &Sieve::default(), self.need.min);
        let nodes = || anywhere.iter().map(|spot| &spot.node);
        let closed = nodes().find(|node| !sieve.lets(node)).or_else(|| nodes().next());
        closed.filter(|_| self.is_enough(anywhere.len())).cloned()
    }

    /// The longest time limit with which it would be over before the reservations that keep it from
    /// the room there is now.
    fn shorter_limit(&self, job: &JobFacts, cells: &[CellKey]) -> Option<Micros> {
        let (at, grace) = (self.pass.at, job.ask.yields.grace);
        let closing = sieve::closing(&self.engine.facts, &job.ask, at);
        let begins: BTreeSet<Timestamp> = closing.map(|reservation| reservation.from).collect();
        let limits = begins.into_iter().rev().take(EXPLAIN_RESERVATIONS_MAX).filter_map(|from| {
            let limit = from.since(at).0.checked_sub(grace.0)?;
            (limit > 0).then_some(Micros(limit))
        });
        let starts = |limit: &Micros| {
            let mut shorter = job.clone();
            shorter.ask.when.time_limit = Some(*limit);
            let sieve = self.pass.sieve(&shorter);
            self.is_enough(self.pass.space.find(&self.need, cells, &sieve, self.need.min).len())
        };
        limits.into_iter().find(starts)
    }

    /// Why a node is not open to it, unless a reservation is why.
    fn why_closed(&self, node: &NodeId) -> Option<Closed> {
        let ask = &self.engine.facts.jobs.get(&self.rank.job)?.ask;
        let place = &ask.place;
        if !place.nodes.is_empty() && !place.nodes.contains(node) {
            return Some(Closed::NotNamed);
        }
        if place.nodes_avoided.contains(node) {
            return Some(Closed::Avoided);
        }
        let mut reserved = sieve::closing(&self.engine.facts, ask, self.pass.at);
        if reserved.any(|reservation| reservation.nodes.contains(node)) {
            return None;
        }
        let apart = place.apart.clone().map(|word| Closed::Apart { word });
        Some(apart.unwrap_or(Closed::Elsewhere))
    }

    /// Lays the members of its gang that would fit over the space, to see what the next lacks.
    fn fill(&mut self, spots: &[Spot]) {
        let Some(job) = self.engine.facts.jobs.get(&self.rank.job) else { return };
        for lease in self.pass.leases(self.rank.job, job, spots) {
            let take = crate::index::take_of(&lease, &job.ask);
            self.pass.space.take(&lease.node, &take);
        }
    }

    /// Says who holds the devices that it could use.
    fn behind(&mut self, cells: &[CellKey], fit: Option<Fit>) {
        let holders = cells.iter().filter_map(|cell| self.pass.held.get(cell));
        let jobs = &self.engine.facts.jobs;
        let ranked = holders.filter_map(|id| {
            Some(rank(&self.engine.facts.policy, *id, jobs.get(id)?, self.pass.at))
        });
        let Some(first) = ranked.min().map(|rank| rank.job) else { return };
        let open: Vec<CellKey> =
            cells.iter().filter(|cell| !self.pass.held.contains_key(cell)).cloned().collect();
        let found = self.find(&open).len();
        let passes = fit.is_some() && self.is_enough(found);
        if !passes {
            self.push_behind(first, fit);
        }
    }

    /// A job that a quota keeps would not start even as the first, so its fit is left out.
    fn push_behind(&mut self, first: JobId, fit: Option<Fit>) {
        let ahead = self.position.saturating_sub(1);
        let fit = fit.filter(|_| self.reasons.is_empty());
        self.reasons.push(Reason::Behind { ahead, first, fit });
    }
}
