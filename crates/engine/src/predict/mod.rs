//! What history says of a job before it runs: how long, how much device memory, and how sure that
//! is; and how much work the hours ahead will bring.
//!
//! A [`Predictor`] holds a bounded number of short histories, from "the same again" to "anybody's"
//! (see [`Traits`]). A prediction mixes them: the more a specific history has seen, the less the
//! coarser ones count. It knows nothing but what it was told, so the same events give the same
//! predictions; it decides nothing.

mod book;
mod demand;
mod forecast;
#[cfg(test)]
mod tests;
mod traits;

pub use book::{Book, HISTORIES_MAX, WINDOW};
pub use demand::{Demand, Expected, HOURS_AHEAD_MAX};
pub use forecast::{Forecast, Nearest, Prediction};
pub use traits::{Level, Subject, Traits, digest};

use polder_model::{Bytes, Micros};
use serde::{Deserialize, Serialize};

/// Learns from what ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predictor {
    time: Book,
    memory: Book,
}

/// What became of a job's run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outturn {
    /// How long it ran.
    pub ran: Micros,
    /// It was ended from outside (its limit, a user, a lost node): it would have run longer.
    pub was_cut: bool,
    /// The most device memory that one task held, where that is known.
    pub memory_peak: Option<Bytes>,
    /// It died for want of device memory: it would have held more.
    pub was_starved: bool,
}

/// What was predicted when a job was submitted, to be compared with what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outlook {
    /// Run time, in microseconds.
    pub time: Prediction,
    /// Most device memory that one task will hold, in bytes.
    pub memory: Prediction,
}

impl Predictor {
    /// What history says of a job; never past its limits. Nothing when there is no history and no
    /// limit either.
    #[must_use]
    pub fn outlook(
        &self,
        subject: &Subject,
        limit: Option<Micros>,
        memory: Bytes,
    ) -> Option<Outlook> {
        let time = self.time.forecast(subject, limit.map(|limit| limit.0)).prediction()?;
        let memory = self.memory.forecast(subject, Some(memory.0)).prediction()?;
        Some(Outlook { time, memory })
    }

    /// The history of a job's run time, in microseconds, for any quantile of it.
    #[must_use]
    pub fn time(&self, subject: &Subject, limit: Option<Micros>) -> Forecast {
        self.time.forecast(subject, limit.map(|limit| limit.0))
    }

    /// The whole run time of a job that has outlived what was expected of it: the median of those
    /// that lasted longer still, else the next octave. Never past its limit.
    #[must_use]
    pub fn longer(&self, subject: &Subject, limit: Option<Micros>, elapsed: Micros) -> Micros {
        let beyond = self.time(subject, limit).beyond(500, elapsed.0).map(Micros);
        let longer = beyond.unwrap_or_else(|| next_octave(elapsed));
        limit.map_or(longer, |limit| longer.min(limit))
    }

    /// Learns from a run. `outlook` is what was said when the job was submitted.
    pub fn observe(&mut self, subject: &Subject, outlook: Option<&Outlook>, outturn: Outturn) {
        let told = outlook.map(|outlook| outlook.time.p90);
        self.time.observe(subject, outturn.ran.0, outturn.was_cut, told);
        if let Some(peak) = outturn.memory_peak {
            let told = outlook.map(|outlook| outlook.memory.p90);
            self.memory.observe(subject, peak.0, outturn.was_starved, told);
        }
    }
}

/// The least power of two of seconds that is longer.
#[must_use]
pub fn next_octave(elapsed: Micros) -> Micros {
    let seconds = elapsed.0 / 1_000_000 + 1;
    Micros::from_secs(seconds.checked_next_power_of_two().unwrap_or(u64::MAX))
}
