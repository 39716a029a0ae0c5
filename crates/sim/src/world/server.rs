//! The server of a world: its clock, and its loop of plan and apply.

use super::agenda::Happening;
use super::error::brief;
use super::{World, WorldError};
use polder_engine::Refusal;
use polder_model::{Event, Timestamp};

/// Rounds of planning at one moment; an engine that goes on for longer never ends.
const PLAN_ROUNDS_MAX: u32 = 1_000_000;

impl World {
    /// The server's time of the next event: never back, whatever its clock says.
    #[must_use]
    pub fn server_time(&self) -> Timestamp {
        let clock = self.now.0.saturating_sub(self.behind.0);
        Timestamp(clock.max(self.last.0.saturating_add(1)))
    }

    /// Takes in an event that the engine may refuse.
    pub(super) fn record(&mut self, event: Event) -> Result<Result<(), Refusal>, WorldError> {
        if let Err(refusal) = self.engine.admit(self.server_time(), &event) {
            return Ok(Err(refusal));
        }
        self.apply(event).map(Ok)
    }

    /// Takes in an event that the engine must accept.
    pub(super) fn apply(&mut self, event: Event) -> Result<(), WorldError> {
        let at = self.server_time();
        self.derive(&event);
        self.engine.apply(at, &event).map_err(|error| WorldError::Refused {
            seed: self.setup.seed,
            events: self.records.events,
            why: error.to_string(),
            event: brief(&event),
        })?;
        self.last = at;
        self.records.events += 1;
        self.dirty = true;
        if self.setup.check_every > 0 && self.records.events.is_multiple_of(self.setup.check_every)
        {
            self.check(&brief(&event))?;
        }
        if self.setup.journal {
            self.journal.push((at, event));
        }
        Ok(())
    }

    pub(super) fn check(&self, event: &str) -> Result<(), WorldError> {
        let Some(violation) = self.engine.check().into_iter().next() else { return Ok(()) };
        Err(WorldError::Broken {
            seed: self.setup.seed,
            events: self.records.events,
            violation: format!("{violation:?}"),
            event: event.to_owned(),
        })
    }

    /// Takes in what the engine decides until it decides nothing more, and lets nodes act on it.
    pub(super) fn settle(&mut self) -> Result<(), WorldError> {
        self.dirty = false;
        for round in 0.. {
            self.planned_at = self.server_time();
            let (decisions, report) = self.engine.plan(self.planned_at);
            self.records.plans += 1;
            self.records.steps += report.steps;
            self.report = report;
            if decisions.is_empty() {
                break;
            }
            if round == PLAN_ROUNDS_MAX {
                let (seed, events) = (self.setup.seed, self.records.events);
                return Err(WorldError::Endless { seed, events });
            }
            for decision in decisions {
                self.apply(Event::Decided { decision })?;
            }
        }
        self.dirty = false;
        for node in std::mem::take(&mut self.touched) {
            self.sync(node);
        }
        if let Some(wake) = self.engine.next_wake(self.planned_at) {
            let wake = wake.after(self.behind).max(Timestamp(self.now.0 + 1));
            if self.wake.is_none_or(|planned| wake < planned) {
                self.wake = Some(wake);
                self.agenda.at(wake, Happening::Wake);
            }
        }
        Ok(())
    }
}
