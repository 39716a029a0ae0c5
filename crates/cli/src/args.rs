//! The command line, as types.

use crate::commands;
use crate::failure::EXIT_CODES;
use crate::output::{Format, Output};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// The variable that holds the token for `--server`. A flag would show it to every user of the
/// machine.
pub(crate) const TOKEN_VARIABLE: &str = "POLDER_TOKEN";

/// Shares accelerators: every job asks for a part of a device, waits its turn, and is held to it.
///
/// `polder up` starts the daemon on this machine; `polder run -- CMD` runs a command with a share
/// of a device.
#[derive(Debug, Parser)]
#[command(name = "polder", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// The daemon's state folder [default: /var/lib/polder for root, else
    /// $XDG_STATE_HOME/polder or ~/.local/state/polder; clients also look for the machine's]
    /// [env: POLDER_STATE].
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Talk to a daemon over loopback HTTP instead: `http://127.0.0.1:PORT`. The token comes from
    /// POLDER_TOKEN, else from the state folder [env: POLDER_SERVER].
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// How data is written; JSON has the fields of the REST API.
    #[arg(long, global = true, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: Format,
    /// Say nothing but data, warnings and errors.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

impl Global {
    /// With what the environment says where no flag does. Not left to the parser, which would show
    /// such a flag as part of every usage line.
    pub(crate) fn or_environment(self) -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let server = || Some(variable("POLDER_SERVER")?.to_string_lossy().into_owned());
        Self {
            state: self.state.or_else(|| variable("POLDER_STATE").map(PathBuf::from)),
            server: self.server.or_else(server),
            ..self
        }
    }

    /// Where to print.
    pub(crate) fn out(&self) -> Output {
        Output { format: self.output, quiet: self.quiet }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the daemon: server and agent in one process, in the foreground
    Up(commands::up::Up),
    /// Stop the daemon; tasks run on and the next `up` adopts them
    Down(commands::down::Down),
    /// Run a command with a share of a device, as if it ran here
    Run(commands::run::Run),
    /// Run a command and say where its time goes, what bounds it and which slice would suit it
    Profile(commands::profile::Profile),
    /// Queue a job from flags or a file, and print its number
    Submit(commands::submit::Submit),
    /// Wait until jobs are over and exit as the first that failed
    Wait(commands::wait::Wait),
    /// Show what runs and what waits, in order
    Queue(commands::queue::Queue),
    /// Show one job in full, or the latest jobs
    Show(commands::show::Show),
    /// Print what a job wrote
    Logs(commands::logs::Logs),
    /// End jobs
    Cancel(commands::cancel::Cancel),
    /// Change how many replicas a service has
    Scale(commands::scale::Scale),
    /// Change the share, cap, memory or priority of a job that waits or runs
    Resize(commands::resize::Resize),
    /// List the machines of the pool
    Nodes(commands::nodes::Nodes),
    /// List devices, with what is held of them
    Devices(commands::devices::Devices),
    /// Watch devices and leases: shares asked, shares achieved, memory
    Top(commands::top::Top),
    /// Say why a job is where it is, and what would help
    Explain(commands::explain::Explain),
    /// Say what would happen if something were asked or changed; nothing is
    WhatIf(commands::what_if::WhatIfFlags),
    /// Sum what was leased and used
    Usage(commands::usage::Usage),
    /// Replay a trace or a pool's own journal: what would have happened
    Sim(Box<commands::sim::Sim>),
    /// Tenants, users, quotas, policy, reservations and backups
    Admin(commands::admin::Admin),
    /// Print a completion script for a shell
    Completions(commands::completions::Completions),
    /// Hold one lease's task: started by the agent, never by people
    #[command(hide = true)]
    Shim {
        /// The lease's folder.
        dir: PathBuf,
    },
    /// Probe one vendor's devices: started by the agent, never by people
    #[command(hide = true, name = polder_devices::PROBE_SUBCOMMAND)]
    ProbeDevices,
}

/// A priority, as flags take it. What is too high or too low is told with the range by whoever checks it.
pub(crate) fn priority(text: &str) -> Result<i32, String> {
    let wrong = |_| {
        format!("{text:?} is not a priority: write a whole number from -1000 to 1000, as 10 or -5")
    };
    text.parse().map_err(wrong)
}

impl Command {
    /// Whether it stands for a command of the caller's, which is to get the signals that it gets.
    pub(crate) fn passes_signals_on(&self) -> bool {
        matches!(self, Self::Run(_) | Self::Profile(_))
    }
}
