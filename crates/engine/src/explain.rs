//! Why a job is where it is.
use crate::Engine;
use polder_model::{Explanation, JobId, Timestamp};
impl Engine {
    /// Why a job is where it is; `None` when it is over or never was.
    #[must_use]
    pub fn explain(&self, _at: Timestamp, _job: JobId) -> Option<Explanation> {
        None
    }
}
