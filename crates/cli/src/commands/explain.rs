//! `polder explain`: why a job is where it is.

use super::{Context, Done};
use crate::client::Query;
use crate::show;
use clap::Args;
use polder_model::{Expected, Explanation, JobId, JobState, Outcome};
use polder_server::api::{JobDetail, LeaseView};
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
        let client = context.client()?;
        let explanation: Explanation = client.get(path).await?;
        if context.out.json_wanted() {
            context.out.json(&explanation)?;
        } else {
            let path = Query::new(&["jobs", &self.job.to_string()]);
            let detail: JobDetail = client.get(path).await?;
            context.out.text(&text(&explanation, &detail.leases))?;
        }
        Ok(0)
    }
}

fn text(explanation: &Explanation, leases: &[LeaseView]) -> String {
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
    for found in show::findings(leases) {
        let _ = writeln!(text, "  found {found}");
    }
    if let (Some(start), JobState::Queued) = (explanation.predicted_start, &explanation.state) {
        let left = start.since(show::now());
        let _ = writeln!(text, "  when  by {} at the latest, in {left}", show::moment(start));
    }
    if let Some(expected) = &explanation.expected {
        let _ = writeln!(text, "  runs  {}", runs(expected));
    }
    if let Some(estimate) = explanation.estimate {
        let _ = writeln!(text, "  says  {estimate}, by its user's estimate");
    }
    if let Some(late) = &explanation.late {
        let _ = writeln!(text, "  late  {}", show::late(late));
    }
    if let Some(resized) = &explanation.resized {
        let _ = writeln!(text, "  size  {}", show::resized(resized));
    }
    for help in &explanation.help {
        let _ = writeln!(text, "  help  {}", show::plain(&help.to_string()));
    }
    text
}

/// What such jobs did, and how far that is to be trusted.
fn runs(expected: &Expected) -> String {
    let Expected { ran, run_time_p50, run_time_p90, run_time_max, observations, .. } = expected;
    let mut text = ran.map_or(String::new(), |ran| format!("for {ran} so far; "));
    let beyond = ran.is_some_and(|ran| ran >= *run_time_max);
    let _ = match (run_time_p50, run_time_p90) {
        (Some(half), Some(most)) if ran.is_some() => write!(
            text,
            "of those that ran longer, half ran {half} in all, nine of ten no longer than {most}"
        ),
        (Some(only), _) if *observations == 1 => write!(text, "{only} the one time it was seen"),
        (Some(half), Some(most)) => write!(text, "{half}, nine of ten no longer than {most}"),
        (Some(half), None) => write!(text, "{half}, and too many were ended early to say more"),
        (None, _) if beyond => write!(text, "none of those seen ran longer than {run_time_max}"),
        (None, _) => write!(text, "at least {run_time_max}, as far as any was let run"),
    };
    let cut = match expected.cut_short {
        0 => String::new(),
        cut => format!(", {cut} of them ended early"),
    };
    let trust = match expected.doubt {
        // In whole percent all of it is doubt.
        991.. => "nothing to rely on".to_owned(),
        doubt => format!("doubt {}%", doubt.div_ceil(10)),
    };
    let _ = write!(text, " ({observations} seen{cut}, {trust})");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use polder_model::{Help, Micros, Reason};

    #[test]
    fn what_such_jobs_did_is_said_with_its_doubt() {
        let second = |seconds| Some(Micros::from_secs(seconds));
        let expected = Expected {
            ran: None,
            run_time_p50: None,
            run_time_p90: None,
            run_time_max: Micros::from_secs(40),
            memory_p90: None,
            observations: 16,
            cut_short: 16,
            doubt: 1000,
        };
        let cut = "(16 seen, 16 of them ended early, nothing to rely on)";
        assert_eq!(runs(&expected), format!("at least 40.0s, as far as any was let run {cut}"));
        let late = Expected { ran: second(50), ..expected };
        let none = "for 50.0s so far; none of those seen ran longer than 40.0s";
        assert_eq!(runs(&late), format!("{none} {cut}"));
        let known = Expected {
            run_time_p50: second(60),
            run_time_p90: second(90),
            run_time_max: Micros::from_secs(95),
            cut_short: 0,
            doubt: 334,
            ..late
        };
        let once = Expected { ran: None, observations: 1, doubt: 1000, ..known };
        assert_eq!(runs(&once), "1m00s the one time it was seen (1 seen, nothing to rely on)");
        assert_eq!(
            runs(&known),
            "for 50.0s so far; of those that ran longer, half ran 1m00s in all, nine of ten no \
             longer than 1m30s (16 seen, doubt 34%)"
        );
    }

    #[test]
    fn a_job_that_could_not_start_says_why() {
        let outcome = Outcome::NotStarted { why: "no such file".into() };
        let explanation = Explanation::bare(JobId(7), JobState::Finished { outcome });
        assert_eq!(text(&explanation, &[]), "job 7: not started\n  why   no such file\n");
    }

    #[test]
    fn reasons_and_help_are_lines() {
        let explanation = Explanation {
            position: Some(2),
            reasons: vec![Reason::Behind { ahead: 1, first: JobId(5), fit: None }],
            help: vec![Help::JobEnds { job: JobId(5) }],
            expected: Some(Expected {
                ran: None,
                run_time_p50: Some(Micros::from_secs(60)),
                run_time_p90: Some(Micros::from_secs(90)),
                run_time_max: Micros::from_secs(95),
                memory_p90: None,
                observations: 12,
                cut_short: 0,
                doubt: 333,
            }),
            ..Explanation::bare(JobId(7), JobState::Queued)
        };
        assert_eq!(
            text(&explanation, &[]),
            "job 7: queued, place 2 in the queue\n  \
             why   1 job is ahead in the queue; the first is job 5\n  \
             runs  1m00s, nine of ten no longer than 1m30s (12 seen, doubt 34%)\n  \
             help  it can start when job 5 ends\n"
        );
    }
}
