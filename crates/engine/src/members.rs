//! Members that come and go while their gang runs.
//!
//! What must hold of a gang that was told to start: every rank is either vacant, or has a member
//! that was prepared (which may have ended since), or has one that joins and is not prepared yet;
//! the last rank is never vacant; who leaves has no rank any more. Members that join or leave
//! never say anything of how the job went: only a member that the gang started with, or that has
//! started since, can fail it. A rank that somebody still leaves is not given to anybody else, so
//! that no two members of one rank run at the same time.

use crate::facts::{Facts, Hold, JobFacts};
use polder_model::{Gang, GangKind, LeaseId, Micros, Outcome, StopReason, TaskIndex, Timestamp};
use serde::{Deserialize, Serialize};

/// How long a replica that ended waits for its successor, the first time.
const BACKOFF_FIRST: Micros = Micros::from_secs(1);
/// The longest such wait; each end in a row doubles it up to here.
const BACKOFF_MAX: Micros = Micros::from_secs(300);
/// A replica that ran this long has overcome whatever ended those before it.
const BACKOFF_FORGET: Micros = Micros::from_secs(600);

/// A member that came after its gang was told to start, and has not started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Joining {
    pub(crate) since: Timestamp,
    pub(crate) is_prepared: bool,
}

/// A member that was told to go while the others go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Leaving {
    /// The rank it had.
    pub(crate) task: TaskIndex,
    pub(crate) why: StopReason,
}

/// The replicas of one rank keep ending.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Trouble {
    /// How many in a row.
    ends: u32,
    /// Not replaced before.
    until: Timestamp,
}

impl Trouble {
    /// What follows when a replica has ended that ran so long.
    fn after(before: Option<Self>, at: Timestamp, ran: Micros) -> Self {
        let ends = before.filter(|_| ran < BACKOFF_FORGET).map_or(0, |trouble| trouble.ends);
        // Past the last doubling that counts, counting on would say nothing.
        let wait = BACKOFF_FIRST.0.saturating_mul(1 << ends.min(16)).min(BACKOFF_MAX.0);
        Self { ends: ends.saturating_add(1).min(16), until: at.after(Micros(wait)) }
    }
}

/// The hold of a job whose leases nothing ends, if its gang may change its size.
pub(crate) fn resizable(job: &JobFacts) -> Option<&Hold> {
    let hold = job.hold.as_ref().filter(|hold| hold.start && hold.goes_on())?;
    (job.ask.gang.kind != GangKind::Rigid && job.cancelled_by.is_none()).then_some(hold)
}

impl Hold {
    /// Nothing ends it as a whole.
    pub(crate) fn goes_on(&self) -> bool {
        !self.is_stopping() && self.failed.is_none() && self.away.is_none()
    }

    /// Ranks that have a member, which may have ended.
    pub(crate) fn members(&self) -> u32 {
        u32::try_from(self.leases.len().saturating_sub(self.vacant.len())).unwrap_or(u32::MAX)
    }

    /// Nobody of it has ended: who is done with its part neither needs company nor spares it.
    pub(crate) fn is_complete(&self) -> bool {
        let leaving = u32::try_from(self.leaving.len()).unwrap_or(u32::MAX);
        self.live.saturating_sub(leaving) == self.members()
    }

    /// Members that were told to run and have not ended, nor are about to.
    pub(crate) fn running(&self) -> u32 {
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let others = number(self.joining.len()).saturating_add(number(self.leaving.len()));
        if self.started_at.is_some() { self.live.saturating_sub(others) } else { 0 }
    }

    fn rank(&self, id: LeaseId) -> Option<TaskIndex> {
        let at = self.leases.iter().position(|lease| *lease == id)?;
        TaskIndex::try_from(at).ok()
    }

    /// Whether it has this lease as a member, and that member is not leaving.
    pub(crate) fn has(&self, id: LeaseId, task: TaskIndex) -> bool {
        let at = usize::try_from(task).ok().and_then(|at| self.leases.get(at));
        at == Some(&id) && !self.vacant.contains(&task)
    }

    /// Members beyond its fewest, in the order in which they go: the last rank first.
    pub(crate) fn spare(&self, gang: Gang) -> impl Iterator<Item = (TaskIndex, LeaseId)> + '_ {
        let spare = self.members().saturating_sub(gang.min.max(1));
        self.by_rank_from_last().take(usize::try_from(spare).unwrap_or(usize::MAX))
    }

    /// Members, the last rank first.
    pub(crate) fn by_rank_from_last(&self) -> impl Iterator<Item = (TaskIndex, LeaseId)> + '_ {
        let task = |at: usize| TaskIndex::try_from(at).unwrap_or(TaskIndex::MAX);
        let ranks = self.leases.iter().enumerate().rev();
        let ranks = ranks.map(move |(at, lease)| (task(at), *lease));
        ranks.filter(|(task, _)| !self.vacant.contains(task))
    }

    /// Ranks that a further member could have at `at`, in order. They may be more than the gang has
    /// room for.
    pub(crate) fn free_ranks(&self, gang: Gang, at: Timestamp) -> Vec<TaskIndex> {
        let is_open = |task: &TaskIndex| {
            let leaves = self.leaving.values().any(|leaving| leaving.task == *task);
            !leaves && self.troubles.get(task).is_none_or(|trouble| trouble.until <= at)
        };
        let next = TaskIndex::try_from(self.leases.len()).unwrap_or(TaskIndex::MAX);
        let vacant = self.vacant.range(..gang.max).copied().filter(is_open);
        let further = (next..gang.max).take_while(is_open);
        vacant.chain(further).collect()
    }

    /// The first moment after `at` at which a rank opens to a successor.
    pub(crate) fn next_successor(&self, at: Timestamp) -> Option<Timestamp> {
        let until = self.troubles.values().map(|trouble| trouble.until);
        until.filter(|until| *until > at).min()
    }

    /// A further member has come, whose rank is free.
    pub(crate) fn join(&mut self, id: LeaseId, task: TaskIndex, at: Timestamp) {
        let place = usize::try_from(task).unwrap_or(usize::MAX);
        match self.leases.get_mut(place) {
            Some(lease) => *lease = id,
            None => self.leases.push(id),
        }
        self.vacant.remove(&task);
        self.live = self.live.saturating_add(1);
        self.joining.insert(id, Joining { since: at, is_prepared: false });
        self.changed_at = at;
    }

    /// A member is to go while the others go on.
    pub(crate) fn leave(&mut self, id: LeaseId, why: StopReason, at: Timestamp) {
        let Some(task) = self.rank(id).filter(|task| !self.vacant.contains(task)) else { return };
        self.leaving.insert(id, Leaving { task, why });
        self.vacate(id, task, at);
    }

    fn vacate(&mut self, id: LeaseId, task: TaskIndex, at: Timestamp) {
        if self.joining.remove(&id).is_none_or(|joining| joining.is_prepared) {
            self.prepared = self.prepared.saturating_sub(1);
        }
        self.vacant.insert(task);
        self.changed_at = at;
        while let Some(last) = self.leases.len().checked_sub(1)
            && TaskIndex::try_from(last).is_ok_and(|last| self.vacant.remove(&last))
        {
            self.leases.pop();
        }
    }

    /// A lease of it has ended. True when that says nothing of the job, because it was leaving, had
    /// not yet joined, or is a replica.
    pub(crate) fn lost_member(
        &mut self,
        (id, kind): (LeaseId, GangKind),
        (at, ran): (Timestamp, Micros),
        outcome: &Outcome,
    ) -> bool {
        if self.leaving.remove(&id).is_some() {
            return true;
        }
        let Some(task) = self.rank(id).filter(|task| !self.vacant.contains(task)) else {
            return false;
        };
        let has_joined = !self.joining.contains_key(&id);
        if has_joined && kind != GangKind::Service {
            return false;
        }
        // What its node did is no fault of the program's.
        let is_own = !matches!(outcome, Outcome::Lost { .. } | Outcome::Returned);
        if kind == GangKind::Service && is_own {
            let before = self.troubles.get(&task).copied();
            self.troubles.insert(task, Trouble::after(before, at, ran));
        }
        self.vacate(id, task, at);
        true
    }

    /// Since when the member has waited to be prepared that has waited longest of those that join.
    pub(crate) fn waits_to_join(&self) -> Option<Timestamp> {
        let waiting = self.joining.values().filter(|joining| !joining.is_prepared);
        waiting.map(|joining| joining.since).min()
    }

    /// Members that were to be prepared by now and are not, of those that join.
    pub(crate) fn late(&self, facts: &Facts, at: Timestamp) -> Vec<LeaseId> {
        let due = |joining: &Joining| {
            let by = joining.since.max(facts.since).after(facts.policy.prepare_limit);
            !joining.is_prepared && by <= at
        };
        let late = self.joining.iter().filter(|(_, joining)| due(joining));
        late.map(|(id, _)| *id).collect()
    }
}
