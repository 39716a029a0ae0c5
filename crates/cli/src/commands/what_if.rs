//! `polder what-if`: what would happen at once, and nothing does.

use super::{Context, Done, ask};
use crate::failure::Failure;
use crate::job::{JobFlags, Tasks};
use crate::policy;
use crate::show;
use clap::Args;
use hyper::Method;
use polder_model::{NodeId, Spot, Stdio};
use polder_server::api::{WhatIf, WhatIfAnswer};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Flags of `polder what-if`.
#[derive(Debug, Args)]
pub(crate) struct WhatIfFlags {
    #[command(flatten)]
    job: JobFlags,
    /// Tasks that start together, or not at all: `4`, or `2..4` for at least two.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    tasks: Option<Tasks>,
    /// Replicas of a service: `2`, or `1..4` for at least one and at most four.
    #[arg(long, value_name = "N", allow_hyphen_values = true, conflicts_with = "tasks")]
    replicas: Option<Tasks>,
    /// If this file's were the policy.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// If this node did not answer; may be given again.
    #[arg(long = "without-node", value_name = "NODE")]
    without: Vec<NodeId>,
    /// If this were asked: the program and its arguments.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl WhatIfFlags {
    pub(super) async fn execute(self, context: &Context) -> Done {
        let Self { job, tasks, replicas, policy, without, command } = self;
        if command.is_empty() && policy.is_none() && without.is_empty() {
            return Err(Failure::usage("nothing is asked")
                .help("give a job after --, a --policy or a --without-node"));
        }
        let asked = !command.is_empty();
        let draft = job.into_draft(ask::words(command)?, tasks.or(replicas));
        draft.check_replicas(replicas)?;
        let client = context.client()?;
        let ask = match asked {
            true => Some(ask::complete(context, &client, draft, Stdio::Logs).await?),
            false => None,
        };
        let policy = policy.as_deref().map(policy::read).transpose()?;
        let question = WhatIf { ask, policy, nodes_silent: without };
        let answer: WhatIfAnswer = client.send(Method::POST, "what-if", &question).await?;
        if context.out.json_wanted() {
            context.out.json(&answer)?;
        } else {
            context.out.text(text(&answer, asked).trim_end())?;
        }
        Ok(0)
    }
}

fn text(answer: &WhatIfAnswer, asked: bool) -> String {
    let mut text = String::new();
    for start in &answer.starts {
        let who = if start.asked { "it".to_owned() } else { format!("job {}", start.job) };
        let spots: Vec<String> = start.spots.iter().map(spot).collect();
        let _ = writeln!(text, "{who} would start on {}", spots.join(", "));
    }
    for gone in &answer.yields {
        let _ = writeln!(text, "job {} would yield to job {}", gone.job, gone.to);
    }
    for gone in &answer.cut_off {
        let s = if gone.tasks == 1 { "" } else { "s" };
        let (job, tasks, node) = (gone.job, gone.tasks, &gone.node);
        let _ = writeln!(
            text,
            "job {job} runs there ({tasks} task{s} on {node}): it would be lost if {node} stayed away"
        );
    }
    if let Some(waits) = &answer.waits {
        let place = waits.position.unwrap_or_default();
        let _ = writeln!(text, "it would wait, place {place} in the queue");
        for reason in &waits.reasons {
            let _ = writeln!(text, "  why   {}", show::plain(&reason.to_string()));
        }
        if let Some(late) = &waits.late {
            let _ = writeln!(text, "  late  {}", show::late(late));
        }
        for help in &waits.help {
            let _ = writeln!(text, "  help  {}", show::plain(&help.to_string()));
        }
    }
    if answer.more {
        text.push_str("more would follow\n");
    }
    if text.is_empty() {
        let nothing = if asked { "it would neither start nor wait" } else { "nothing would start" };
        text.push_str(nothing);
    }
    text
}

fn spot(spot: &Spot) -> String {
    let devices: Vec<&str> = spot.devices.iter().map(polder_model::DeviceId::as_str).collect();
    if devices.is_empty() {
        spot.node.to_string()
    } else {
        format!("{}/{}", spot.node, devices.join("+"))
    }
}
