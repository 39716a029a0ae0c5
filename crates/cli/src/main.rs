//! `polder`: every role and every user verb in one binary.
//!
//! A command parses its flags, asks the daemon through [`client`], and prints through [`output`],
//! the only place that does. Nothing is decided here: what a job may have is the server's to say,
//! what a task does is its shim's. The two hidden roles, the shim of a task and the device probe,
//! are taken before anything else is set up, for they must stay small.

mod args;
mod client;
mod commands;
mod daemon;
mod failure;
mod job;
mod nearest;
mod output;
mod place;
mod policy;
mod show;
mod terminal;

use args::Cli;
use clap::{CommandFactory as _, Parser as _};
use failure::Failure;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = hidden_role() {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let error = nearest::offered(error, &Cli::command(), std::env::args_os());
            output::usage(&error);
            return exit_code(error.exit_code());
        }
    };
    // Before there are other threads.
    if let Err(error) = cli.command.passes_signals_on().then(terminal::hold).transpose() {
        output::failure(&Failure::failed(format!("holding signals back: {error}")));
        return exit_code(failure::Exit::Failed as i32);
    }
    let context = commands::Context::new(cli.global.or_environment());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = runtime
        .map_err(|error| Failure::failed(format!("starting threads: {error}")))
        .and_then(|runtime| {
            let done = runtime.block_on(commands::execute(cli.command, &context));
            // A read of the terminal cannot be ended and must not keep the program.
            runtime.shutdown_background();
            done
        });
    match done {
        Ok(code) => exit_code(code),
        Err(failure) if failure.silent => ExitCode::SUCCESS,
        Err(failure) => {
            output::failure(&failure);
            exit_code(failure.exit as i32)
        }
    }
}

/// The roles in which the agent starts this program.
fn hidden_role() -> Option<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    let role = words.next()?;
    if role == "shim" {
        let dir = PathBuf::from(words.next()?);
        return Some(polder_agent::shim::shim_main(&dir));
    }
    (role == polder_devices::PROBE_SUBCOMMAND).then(|| {
        let request = words.next().unwrap_or_default().to_string_lossy().into_owned();
        let outcome = polder_devices::probe_main(&request);
        output::probe_answer(&outcome)
    })
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1))
}
