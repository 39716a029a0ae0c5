//! Wakes those who wait for one job, and nobody else.

use polder_model::JobId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Who waits for which job.
#[derive(Default)]
pub(crate) struct Watchers {
    jobs: Mutex<BTreeMap<JobId, watch::Sender<()>>>,
}

/// One who waits for a job; forgotten when dropped.
pub(crate) struct JobWatch {
    job: JobId,
    watchers: Arc<Watchers>,
    changes: watch::Receiver<()>,
}

impl Watchers {
    fn jobs(&self) -> MutexGuard<'_, BTreeMap<JobId, watch::Sender<()>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to wait for a job. Look at the job after this, or a change may be missed.
    pub(crate) fn watch(self: &Arc<Self>, job: JobId) -> JobWatch {
        let changes = self.jobs().entry(job).or_insert_with(|| watch::Sender::new(())).subscribe();
        JobWatch { job, watchers: Arc::clone(self), changes }
    }

    /// Wakes all who wait for this job.
    pub(crate) fn wake(&self, job: JobId) {
        if let Some(sender) = self.jobs().get(&job) {
            sender.send_replace(());
        }
    }
}

impl JobWatch {
    /// Returns when the job has changed since the last call.
    pub(crate) async fn changed(&mut self) {
        // The sender lives as long as a receiver does, so this cannot fail.
        let _ = self.changes.changed().await;
    }
}

impl Drop for JobWatch {
    fn drop(&mut self) {
        let mut jobs = self.watchers.jobs();
        if jobs.get(&self.job).is_some_and(|sender| sender.receiver_count() <= 1) {
            jobs.remove(&self.job);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn watchers_wake_and_are_forgotten() {
        let watchers = Arc::new(Watchers::default());
        let (mut first, second) = (watchers.watch(JobId(1)), watchers.watch(JobId(1)));
        watchers.wake(JobId(2));
        watchers.wake(JobId(1));
        first.changed().await;
        drop(first);
        assert_eq!(watchers.jobs().len(), 1);
        drop(second);
        assert_eq!(watchers.jobs().len(), 0);
    }
}
