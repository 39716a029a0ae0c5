//! The one place that prints.
#![allow(clippy::print_stdout, clippy::print_stderr)] // this module is the output

use std::fmt::Display;
use std::io::IsTerminal;

/// Whether progress may be redrawn in place.
pub(crate) fn live() -> bool {
    std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none()
        && std::env::var("TERM").is_ok_and(|term| term != "dumb")
}

/// A line.
pub(crate) fn line(text: impl Display) {
    anstream::println!("{text}");
}

/// A heading.
pub(crate) fn heading(text: impl Display) {
    anstream::println!("\n\x1b[1;36m{text}\x1b[0m");
}

/// A quieter line.
pub(crate) fn note(text: impl Display) {
    anstream::println!("\x1b[2m{text}\x1b[0m");
}

/// Redraws `lines` over the `before` lines drawn last; plainly prints nothing when not live.
pub(crate) fn redraw(before: usize, lines: &[String]) {
    if before > 0 {
        anstream::print!("\x1b[{before}A");
    }
    for line in lines {
        anstream::println!("\x1b[2K{line}");
    }
}

/// What went wrong, with its causes.
pub(crate) fn error(error: &anyhow::Error) {
    anstream::eprintln!("\x1b[1;31merror:\x1b[0m {error:#}");
}

/// `part` of `whole` as a bar of `width` cells.
pub(crate) fn bar(part: f64, whole: f64, width: usize) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped to the width
    let cells = ((part / whole).clamp(0.0, 1.0) * width as f64).round() as usize;
    format!("{}{}", "█".repeat(cells), "░".repeat(width - cells))
}

/// Rows under a heading, columns aligned; the first column to the left, the rest to the right.
pub(crate) fn table(heading: &[&str], rows: &[Vec<String>]) {
    let mut widths: Vec<usize> = heading.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let render = |cells: Vec<&str>| {
        let mut out = String::from(" ");
        for (index, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            let pad = " ".repeat(width - cell.chars().count());
            out += &if index == 0 { format!(" {cell}{pad}") } else { format!("  {pad}{cell}") };
        }
        out
    };
    line(format!("\x1b[1m{}\x1b[0m", render(heading.to_vec())));
    for row in rows {
        line(render(row.iter().map(String::as_str).collect()));
    }
}
