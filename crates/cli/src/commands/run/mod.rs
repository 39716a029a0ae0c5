//! `polder run`: a command with a share of a device, as if it ran here.

mod session;
mod start;

use super::{Context, Done, ask};
use crate::failure::{Exit, Failure};
use crate::job::{Draft, JobFlags};
use crate::terminal::Signals;
use clap::Args;
use polder_agent::{Inherited, check_numbers};
use polder_model::{Ask, HostAsk, Market, Stdio};
use session::Session;
use std::ffi::OsString;

const RUN_HELP: &str = "\
The command gets your input, output, error, directory and environment (POLDER_TOKEN excepted), and
all signals that can be passed on; at a terminal it gets one of its own. It waits its turn first: Ctrl-C then cancels it.
Once it runs it needs this client, but not the daemon: `polder run` returns its exit code even when
the daemon is stopped or dies meanwhile. A `polder run` that is itself killed (SIGKILL) cannot pass
that on: the command runs on as a job, and `polder cancel` ends it; killed while it waits, it takes
its job with it. Ctrl-Z and `fg` stop and continue both. The command inherits every open descriptor
(up to 1,024 more than input, output and error) and the signals that you ignore, as under nohup.

Without --compute and --memory it is guaranteed 10% of one device (or what its tenant's jobs get)
and 1GiB of its memory, and may use all compute that others leave idle.

Exit codes: the command's own; 128+N when signal N ended it; 124 when its time limit passed; 125
when Polder could not run it or lost it, or no daemon answered; 127 when it could not be started (no
such program, image or directory); 130 when it was cancelled; 2 when the flags make no sense.";

/// Flags of `polder run`.
#[derive(Debug, Args)]
#[command(after_long_help = RUN_HELP)]
pub(crate) struct Run {
    #[command(flatten)]
    job: JobFlags,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Run {
    pub(super) async fn execute(self, context: &Context) -> Done {
        let Self { job, command } = self;
        let draft = || Ok(job.into_draft(ask::words(command)?, None));
        perform(context, draft).await.map(|ran| ran.code)
    }
}

/// How a command ran.
pub(super) struct Ran {
    /// Its exit code.
    pub(super) code: i32,
    /// What was asked for it.
    pub(super) ask: Ask,
    /// When it began and ended, nanoseconds of the monotonic clock; none when it never began.
    pub(super) times: Option<(u64, u64)>,
    /// The signals of this process, which are heard here alone from now on.
    pub(super) signals: Signals,
}

/// Runs the command of a draft as if it ran here.
pub(super) async fn perform(
    context: &Context,
    draft: impl FnOnce() -> Result<Draft, Failure>,
) -> Result<Ran, Failure> {
    let ran = attempt(context, draft).await;
    ran.map_err(|failure| match failure.exit {
        Exit::Usage | Exit::NotStarted => failure,
        _ => Failure { exit: Exit::NotRun, ..failure },
    })
}

async fn attempt(
    context: &Context,
    draft: impl FnOnce() -> Result<Draft, Failure>,
) -> Result<Ran, Failure> {
    if context.over_http() {
        return Err(Failure::usage("a command cannot get this terminal over HTTP").help(
            "leave out --server and POLDER_SERVER on the daemon's machine, or use `polder \
             submit` and `polder logs -f`",
        ));
    }
    // First of all: what this program opens itself is not to be handed over.
    let inherited = Inherited::take()
        .map_err(|error| Failure::failed(format!("what the command inherits: {error}")))?;
    let numbers: Vec<i32> = inherited.descriptors.iter().map(|(number, _)| *number).collect();
    check_numbers(&numbers).map_err(Failure::usage)?;
    let client = context.client()?;
    let ask = ask::complete(context, &client, draft()?, Stdio::Client).await?;
    let signals = Signals::watch(|number| inherited.ignores(number))
        .map_err(|error| Failure::failed(format!("watching for signals: {error}")))?;
    let job = ask::submit(&client, &ask).await?;
    let folder = context.client_folder()?;
    let (out, attempt, job) = (context.out, job.attempt, job.id);
    let limited = ask.host != HostAsk::default();
    let again = ask.yields.retries > 0 || ask.yields.preemptible || ask.when.market == Market::Spot;
    let mut session = Session {
        out,
        client,
        folder,
        job,
        signals,
        attempt,
        limited,
        inherited,
        again,
        times: None,
    };
    let code = session.perform().await?;
    Ok(Ran { code, ask, times: session.times, signals: session.signals })
}
