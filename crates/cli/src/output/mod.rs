//! The only place that prints.
//!
//! Data goes to standard output, everything else to standard error. Colour and live lines appear
//! on a terminal only, and follow `NO_COLOR`, `CLICOLOR_FORCE` and `TERM=dumb`. A reader that has
//! gone away (`polder queue | head -1`) ends the program without a word.

mod progress;
mod style;
mod table;

pub(crate) use progress::Progress;
pub(crate) use style::{Paint, bar};
pub(crate) use table::Table;

use crate::failure::Failure;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// How data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs: one JSON value, with the fields of the REST API.
    Json,
}

/// Where a command says what it has to say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// How data is written.
    pub(crate) format: Format,
    /// Whether notes and progress are left out.
    pub(crate) quiet: bool,
}

impl Output {
    /// Whether data is wanted as JSON.
    pub(crate) fn json_wanted(self) -> bool {
        self.format == Format::Json
    }

    /// One value for programs.
    pub(crate) fn json(self, value: &impl Serialize) -> Result<(), Failure> {
        let mut text = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::failed(format!("the answer is not JSON: {error}")))?;
        text.push('\n');
        write_out(text.as_bytes())
    }

    /// One of several values for programs, each on a line of its own.
    pub(crate) fn json_line(self, value: &impl Serialize) -> Result<(), Failure> {
        let mut text = serde_json::to_string(value)
            .map_err(|error| Failure::failed(format!("the answer is not JSON: {error}")))?;
        text.push('\n');
        write_out(text.as_bytes())
    }

    /// Lines for people, with or without colour as the terminal has it.
    pub(crate) fn text(self, text: &str) -> Result<(), Failure> {
        let mut out = anstream::stdout().lock();
        done(
            out.write_all(text.as_bytes())
                .and_then(|()| if text.ends_with('\n') { Ok(()) } else { out.write_all(b"\n") }),
        )?;
        done(out.flush())
    }

    /// A table for people.
    pub(crate) fn table(self, table: &Table) -> Result<(), Failure> {
        self.text(&table.render(paint_stdout(), terminal_width()))
    }

    /// Bytes of a program's own output, untouched.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Result<(), Failure> {
        write_out(bytes)
    }

    /// Text beside the output of a program, which has standard output to itself.
    pub(crate) fn aside(self, text: &str) {
        let mut err = anstream::stderr().lock();
        // Nobody to tell when standard error is closed.
        let _ = err.write_all(text.as_bytes());
    }

    /// A table beside the output of a program.
    pub(crate) fn aside_table(self, table: &Table) {
        let paint = anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
        let width = rustix::termios::tcgetwinsize(io::stderr()).ok();
        let width = width.map(|size| usize::from(size.ws_col)).filter(|width| *width > 0);
        self.aside(&table.render(Paint(paint), width));
    }

    /// A remark beside the data; left out by `--quiet`.
    pub(crate) fn note(self, text: &str) {
        if !self.quiet {
            say(text);
        }
    }

    /// Something that does not stop the command but should be known.
    pub(crate) fn warn(self, text: &str) {
        say(&format!("{} {text}", Paint(true).warning("warning:")));
    }

    /// A line that shows how far something has come.
    pub(crate) fn progress(self) -> Progress {
        Progress::new(self.quiet, io::stderr().is_terminal() && !dumb())
    }

    /// The same where somebody sits before it, and silence elsewhere.
    pub(crate) fn progress_on_terminal(self) -> Progress {
        let terminal = io::stderr().is_terminal();
        Progress::new(self.quiet || !terminal, terminal && !dumb())
    }
}

/// Says why the command failed.
pub(crate) fn failure(failure: &Failure) {
    if failure.silent {
        return;
    }
    let paint = Paint(true);
    say(&format!("{} {}", paint.error("error:"), failure.message));
    if let Some(help) = &failure.help {
        say(&format!("{} {help}", paint.bold("help:")));
    }
}

/// What `clap` has to say: help and version on standard output, complaints on standard error.
pub(crate) fn usage(error: &clap::Error) {
    let _ = error.print();
}

/// Lets the daemon's own events be written to standard error, as `POLDER_LOG` says.
pub(crate) fn log_to_stderr() {
    let filter = std::env::var("POLDER_LOG").unwrap_or_else(|_| "warn".to_owned());
    let filter = tracing_subscriber::EnvFilter::builder().parse_lossy(filter);
    let logging = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never)
        .try_init();
    // There is one call; a second one would change nothing.
    drop(logging);
}

/// The answer of a device probe, for the agent that started it.
pub(crate) fn probe_answer(outcome: &polder_devices::ProbeOutcome) -> std::process::ExitCode {
    let answer = serde_json::to_vec(outcome).unwrap_or_default();
    match write_out(&[b"\n", answer.as_slice(), b"\n"].concat()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(_) => std::process::ExitCode::FAILURE,
    }
}

/// Whether colour and cursor movements reach the person on standard output.
pub(crate) fn paint_stdout() -> Paint {
    Paint(anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never)
}

/// Whether standard output is a terminal on which lines can be drawn again.
pub(crate) fn can_redraw() -> bool {
    io::stdout().is_terminal() && !dumb()
}

/// Columns of the terminal on standard output; `None` when it is not one.
pub(crate) fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// A screen that is drawn again and again and leaves the terminal as it was.
pub(crate) struct Screen;

impl Screen {
    /// Takes the terminal's second screen.
    pub(crate) fn open() -> Result<Self, Failure> {
        write_out(b"\x1b[?1049h\x1b[?25l")?;
        Ok(Self)
    }

    /// Replaces what is shown.
    pub(crate) fn draw(&self, text: &str) -> Result<(), Failure> {
        let rows = rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| size.ws_row);
        let rows = if rows == 0 { usize::MAX } else { usize::from(rows) };
        let mut shown = String::from("\x1b[H");
        for (at, line) in text.lines().take(rows).enumerate() {
            shown.push_str(if at == 0 { "" } else { "\r\n" });
            shown.push_str(line);
            shown.push_str("\x1b[K");
        }
        shown.push_str("\x1b[J");
        write_out(shown.as_bytes())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = write_out(b"\x1b[?25h\x1b[?1049l");
    }
}

/// One line on standard error, without colour where none is wanted.
fn say(text: &str) {
    let mut err = anstream::stderr().lock();
    let _ = writeln!(err, "{text}");
}

fn dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

fn write_out(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    done(out.write_all(bytes).and_then(|()| out.flush()))
}

fn done(result: io::Result<()>) -> Result<(), Failure> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::silent(),
        _ => Failure::failed(format!("standard output cannot be written: {error}")),
    })
}
