//! What goes wrong, as the person at the keyboard should read it.

use polder_server::api::Problem;
use std::fmt;

/// How the program ends when Polder itself, and not the user's command, decides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Something failed.
    Failed = 1,
    /// The command line, or a job file, makes no sense.
    Usage = 2,
    /// The job, node, tenant or user named does not exist.
    NotFound = 3,
    /// The caller may not do that.
    Denied = 4,
    /// A time limit that the caller set has passed.
    Timeout = 5,
    /// `polder run` could not run its command, or the daemon stayed away from `polder wait` or
    /// `polder logs -f`.
    NotRun = 125,
    /// The command of `polder run` cannot be started where it is to run.
    NotStarted = 127,
}

/// The table of exit codes, for `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  the command line or the job file makes no sense
  3  no such job, node, device, tenant or user
  4  not allowed
  5  timed out
`polder run` and `polder wait` exit as the job did: its exit code, 128+N when signal N ended it,
124 when its time limit passed, 125 when Polder, or what runs its container, failed or lost it or no
daemon answered, 127 when it could not be started (no such program or directory), 130 when it was cancelled. `polder logs -f`
exits with 125 as well when the daemon stayed away.";

/// Why a command failed: what is wrong, what to do, and the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// What is wrong, with the name of the thing.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) help: Option<String>,
    /// Nobody reads standard output any more: end without a word.
    pub(crate) silent: bool,
    /// No connection to the daemon could be made, it broke, or nothing came of it: trying again may
    /// help.
    pub(crate) unreachable: bool,
}

impl Failure {
    /// A failure with its exit code.
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string(), help: None, silent: false, unreachable: false }
    }

    /// A failure of no special kind.
    pub(crate) fn failed(message: impl fmt::Display) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// The command line or a job file makes no sense.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Says what to do about it.
    pub(crate) fn help(mut self, help: impl fmt::Display) -> Self {
        self.help = Some(help.to_string());
        self
    }

    /// The daemon cannot be reached.
    pub(crate) fn unreachable(message: impl fmt::Display) -> Self {
        Self { unreachable: true, ..Self::failed(message) }
    }

    /// Whether a connection could not be made or broke, so that asking again may be answered at once.
    pub(crate) fn is_broken(&self) -> bool {
        self.unreachable && self.exit != Exit::Timeout
    }

    /// Nobody reads our output any more.
    pub(crate) fn silent() -> Self {
        Self { silent: true, ..Self::failed("") }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let exit = match problem.status {
            400 | 413 | 422 => Exit::Usage,
            401 | 403 => Exit::Denied,
            404 => Exit::NotFound,
            408 | 504 => Exit::Timeout,
            _ => Exit::Failed,
        };
        // A daemon that is stopping may come back.
        let unreachable = problem.status == 503;
        Self { help: problem.help, unreachable, ..Self::new(exit, problem.detail) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_become_exit_codes() {
        let check = |status, exit| {
            let problem = Problem {
                kind: "urn:polder:problem:x".into(),
                title: "X".into(),
                status,
                detail: "no job 7".into(),
                help: Some("look".into()),
            };
            let failure = Failure::from(problem);
            assert_eq!((failure.exit, failure.message.as_str()), (exit, "no job 7"));
            assert_eq!(failure.help.as_deref(), Some("look"));
        };
        check(400, Exit::Usage);
        check(401, Exit::Denied);
        check(403, Exit::Denied);
        check(404, Exit::NotFound);
        check(409, Exit::Failed);
        check(500, Exit::Failed);
        check(504, Exit::Timeout);
    }
}
