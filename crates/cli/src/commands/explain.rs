//! `polder explain`: why a job is where it is.

use super::{Context, Done};
use crate::client::Query;
use crate::show;
use clap::Args;
use polder_model::{Expected, Explanation, JobId, JobState, Outcome};
use std::fmt::Write;

/// Flags of `polder explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The job.
    #[arg(value_name = "JOB")]
    job: JobId,
}

impl Explain {
    pub(super) async fn execute(self, context: &Context) -> Done {
        let path = Query::new(&["jobs", &self.job.to_string(), "explain"]);
        let explanation: Explanation = context.client()?.get(path).await?;
        if context.out.json_wanted() {
            context.out.json(&explanation)?;
        } else {
            context.out.text(&text(&explanation))?;
        }
        Ok(0)
    }
}

fn text(explanation: &Explanation) -> String {
    let mut text = format!("job {}: {}", explanation.job, explanation.state);
    if let Some(place) = explanation.position {
        let _ = write!(text, ", place {place} in the queue");
    }
    text.push('\n');
    if let JobState::Finished { outcome: Outcome::NotStarted { why } | Outcome::Lost { why } } =
        &explanation.state
    {
        let _ = writeln!(text, "  why   {}", show::plain(why));
    }
    for reason in &explanation.reasons {
        let _ = writeln!(text, "  why   {}", show::plain(&reason.to_string()));
    }
    if let (Some(start), JobState::Queued) = (explanation.predicted_start, &explanation.state) {
        let left = start.since(show::now());
        let _ = writeln!(text, "  when  by {} at the latest, in {left}", show::moment(start));
    }
    if let Some(expected) = &explanation.expected {
        let Expected { run_time_p50, run_time_p90, observations, .. } = expected;
        let _ = writeln!(
            text,
            "  runs  {run_time_p50}, nine of ten no longer than {run_time_p90} ({observations} seen)"
        );
    }
    for help in &explanation.help {
        let _ = writeln!(text, "  help  {}", show::plain(&help.to_string()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use polder_model::{Help, Micros, Reason};

    #[test]
    fn a_job_that_could_not_start_says_why() {
        let explanation = Explanation {
            job: JobId(7),
            state: JobState::Finished {
                outcome: Outcome::NotStarted { why: "no such file".into() },
            },
            position: None,
            reasons: vec![],
            predicted_start: None,
            help: vec![],
            expected: None,
        };
        assert_eq!(text(&explanation), "job 7: not started\n  why   no such file\n");
    }

    #[test]
    fn reasons_and_help_are_lines() {
        let explanation = Explanation {
            job: JobId(7),
            state: JobState::Queued,
            position: Some(2),
            reasons: vec![Reason::Behind { ahead: 1, first: JobId(5), fit: None }],
            predicted_start: None,
            help: vec![Help::JobEnds { job: JobId(5) }],
            expected: Some(Expected {
                run_time_p50: Micros::from_secs(60),
                run_time_p90: Micros::from_secs(90),
                memory_p90: None,
                observations: 12,
                doubt: 333,
            }),
        };
        assert_eq!(
            text(&explanation),
            "job 7: queued, place 2 in the queue\n  \
             why   1 job is ahead in the queue; the first is job 5\n  \
             runs  1m00s, nine of ten no longer than 1m30s (12 seen)\n  \
             help  it can start when job 5 ends\n"
        );
    }
}
