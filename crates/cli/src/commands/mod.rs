//! One file for each command: its flags, and what it does with them.

pub(crate) mod admin;
pub(crate) mod cancel;
pub(crate) mod completions;
pub(crate) mod devices;
pub(crate) mod down;
pub(crate) mod explain;
pub(crate) mod logs;
pub(crate) mod nodes;
pub(crate) mod profile;
pub(crate) mod queue;
pub(crate) mod resize;
pub(crate) mod run;
pub(crate) mod scale;
pub(crate) mod show;
pub(crate) mod sim;
pub(crate) mod submit;
pub(crate) mod top;
pub(crate) mod up;
pub(crate) mod usage;
pub(crate) mod wait;
pub(crate) mod what_if;

mod ask;

use crate::args::{Command, Global, TOKEN_VARIABLE};
use crate::client::{Client, Endpoint};
use crate::failure::Failure;
use crate::output::Output;
use crate::place::{self, Surroundings};
use std::path::PathBuf;

/// How a command ends when nothing failed: its exit code.
pub(crate) type Done = Result<i32, Failure>;

/// What every command works with.
#[derive(Debug)]
pub(crate) struct Context {
    /// Where to print.
    pub(crate) out: Output,
    global: Global,
}

impl Context {
    /// From the flags of every command.
    pub(crate) fn new(global: Global) -> Self {
        Self { out: global.out(), global }
    }

    /// The folder where a daemon of this user keeps its state.
    pub(crate) fn daemon_folder(&self) -> Result<PathBuf, Failure> {
        place::for_daemon(self.global.state.as_deref(), &Surroundings::here())
    }

    /// The folder of the daemon that clients talk to.
    pub(crate) fn client_folder(&self) -> Result<PathBuf, Failure> {
        let exists = |path: &std::path::Path| path.exists();
        place::for_client(self.global.state.as_deref(), &Surroundings::here(), exists)
    }

    /// A client of the daemon.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let Some(url) = &self.global.server else {
            return Ok(Client::new(Endpoint::Folder(self.client_folder()?), self.out));
        };
        let named = std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty());
        let token = named.or_else(|| {
            let kept = self.client_folder().ok()?.join(place::TOKEN);
            Some(std::fs::read_to_string(kept).ok()?.trim().to_owned())
        });
        Ok(Client::new(Endpoint::parse(url, token)?, self.out))
    }

    /// Whether `--server` sends requests over HTTP, where no descriptor can be handed over.
    pub(crate) fn over_http(&self) -> bool {
        self.global.server.is_some()
    }
}

/// Does what the command line says.
pub(crate) async fn execute(command: Command, context: &Context) -> Done {
    match command {
        Command::Up(up) => up.execute(context).await,
        Command::Down(down) => down.execute(context).await,
        Command::Run(run) => run.execute(context).await,
        Command::Profile(profile) => profile.execute(context).await,
        Command::Submit(submit) => submit.execute(context).await,
        Command::Wait(wait) => wait.execute(context).await,
        Command::Queue(queue) => queue.execute(context).await,
        Command::Show(show) => show.execute(context).await,
        Command::Logs(logs) => logs.execute(context).await,
        Command::Cancel(cancel) => cancel.execute(context).await,
        Command::Scale(scale) => scale.execute(context).await,
        Command::Resize(resize) => resize.execute(context).await,
        Command::Nodes(nodes) => nodes.execute(context).await,
        Command::Devices(devices) => devices.execute(context).await,
        Command::Top(top) => top.execute(context).await,
        Command::Explain(explain) => explain.execute(context).await,
        Command::WhatIf(question) => question.execute(context).await,
        Command::Usage(usage) => usage.execute(context).await,
        Command::Sim(sim) => sim.execute(context).await,
        Command::Admin(admin) => admin.execute(context).await,
        Command::Completions(completions) => completions.execute(context),
        // `main` takes these two before anything else is set up.
        Command::Shim { .. } | Command::ProbeDevices => {
            Err(Failure::usage("this is for the agent alone"))
        }
    }
}
