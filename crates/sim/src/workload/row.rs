//! What can be wrong with one row of a trace, and what becomes of it.

use super::first::Counted;
use std::collections::BTreeMap;
use thiserror::Error;

/// Longest piece of a bad value that is repeated in an error, in characters.
const SHOWN_MAX: usize = 60;
/// Longest line read, in bytes.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// Why a trace cannot be replayed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReadError {
    /// One row is wrong.
    #[error("line {line}, {field}: {wrong}; mend the row, or leave bad rows out with --skip-bad")]
    Row {
        /// Where, from 1.
        line: u64,
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        wrong: Wrong,
    },
    /// One row is wrong, in words of its own reader.
    #[error("line {line}: {why}; mend the row, or leave bad rows out with --skip-bad")]
    Line {
        /// Where, from 1.
        line: u64,
        /// What is wrong.
        why: String,
    },
    /// The heading lacks a column.
    #[error("the heading has no column {field}: {help}")]
    NoColumn {
        /// Which.
        field: &'static str,
        /// What to do.
        help: &'static str,
    },
    /// There are too many jobs.
    #[error("more than {max} jobs: replay a part of it")]
    TooMany {
        /// Most that are read.
        max: usize,
    },
    /// No row is a job.
    #[error("no row of it is a job that ran: {help}")]
    Empty {
        /// What was left out, or what to do.
        help: String,
    },
    /// There is nothing in it.
    #[error("it is empty: check what wrote it")]
    NoBytes,
    /// It is too long to be read.
    #[error("it is longer than {max}, unpacked: cut it, and replay a part")]
    TooLong {
        /// The most that is read.
        max: polder_model::Bytes,
    },
    /// Nobody knows what it is.
    #[error("this is no trace that Polder knows: {KNOWN}")]
    UnknownFormat,
    /// Another reader's complaint.
    #[error("{why}")]
    Other {
        /// What it said.
        why: String,
    },
}

/// The formats that are told apart.
const KNOWN: &str = "it reads openb pod lists, Muri logs, SWF, `sacct --parsable2` and Polder's \
                     journal";

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum Wrong {
    /// It is not there.
    #[error("is missing")]
    Missing,
    /// It is not what it should be.
    #[error("{value:?} is not {what}")]
    Not {
        /// What was given.
        value: String,
        /// What was expected.
        what: &'static str,
    },
    /// It is below zero.
    #[error("{value:?} is negative")]
    Negative {
        /// What was given.
        value: String,
    },
    /// No real value is like that.
    #[error("{value:?} is absurd: it lies between {min} and {max}")]
    Absurd {
        /// What was given.
        value: String,
        /// Smallest believed.
        min: u64,
        /// Largest believed.
        max: u64,
    },
    /// Another row has it.
    #[error("{value:?} is also that of line {first}")]
    Duplicate {
        /// What was given.
        value: String,
        /// Where it was first.
        first: u64,
    },
    /// The row has not as many columns as the heading.
    #[error("has {has} columns where the heading has {expected}")]
    Columns {
        /// How many.
        has: usize,
        /// How many there should be.
        expected: usize,
    },
    /// It is before what it must follow.
    #[error("{value:?} is before {other} {before:?}")]
    Backwards {
        /// What was given.
        value: String,
        /// What it must follow.
        other: &'static str,
        /// The value of that.
        before: String,
    },
}

/// A bad value, short enough for one line.
pub(crate) fn shown(value: &str) -> String {
    plain(value, SHOWN_MAX)
}

/// The first characters of a text of a trace; blanks stand for those that would move the cursor, break
/// a line or turn the text.
pub(crate) fn plain(text: &str, length_max: usize) -> String {
    let plain = |c| if polder_model::misleads(c) { ' ' } else { c };
    text.chars().take(length_max).map(plain).collect()
}

/// So many of something, in words.
pub(crate) fn counted(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// A count or time that lies within a range.
pub(crate) fn number(text: &str, min: u64, max: u64) -> Result<u64, Wrong> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Wrong::Missing);
    }
    // Some lists write whole numbers with a decimal point.
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let whole = match text.split_once('.') {
        Some((whole, rest)) if !whole.is_empty() && rest.bytes().all(|b| b == b'0') => whole,
        Some((whole, rest)) if !whole.is_empty() && digits(whole) && digits(rest) => {
            return Err(Wrong::Not { value: shown(text), what: "a whole number" });
        }
        _ => text,
    };
    if let Some(digits) = whole.strip_prefix('-')
        && digits.bytes().all(|b| b.is_ascii_digit())
        && !digits.is_empty()
    {
        return Err(Wrong::Negative { value: shown(text) });
    }
    if whole.is_empty() || !whole.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Wrong::Not { value: shown(text), what: "a number" });
    }
    match whole.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(Wrong::Absurd { value: shown(text), min, max }),
    }
}

impl ReadError {
    /// Nothing is left to replay: because of what was left out, if anything was.
    pub(crate) fn empty(left_out: &[String], help: &str) -> Self {
        let help = if left_out.is_empty() { help.to_owned() } else { left_out.join("; ") };
        Self::Empty { help }
    }
}

/// What becomes of bad rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadRows {
    /// The first ends the reading.
    Refuse,
    /// They are left out and counted.
    LeaveOut,
}

/// Keeps account of rows left out.
#[derive(Debug)]
pub(crate) struct Sieve {
    bad: BadRows,
    /// By field and reason: the lines.
    left_out: BTreeMap<(&'static str, &'static str), Vec<u64>>,
}

impl Sieve {
    pub(crate) fn new(bad: BadRows) -> Self {
        Self { bad, left_out: BTreeMap::new() }
    }

    /// A row that is no job to replay, for a reason that is no fault.
    pub(crate) fn pass_over(&mut self, line: u64, field: &'static str, why: &'static str) {
        self.left_out.entry((field, why)).or_default().push(line);
    }

    /// A row, or nothing when it is bad and is left out.
    pub(crate) fn keep<T>(
        &mut self,
        line: u64,
        row: Result<T, (&'static str, Wrong)>,
    ) -> Result<Option<T>, ReadError> {
        match (row, self.bad) {
            (Ok(row), _) => Ok(Some(row)),
            (Err((field, wrong)), BadRows::Refuse) => Err(ReadError::Row { line, field, wrong }),
            (Err((field, wrong)), BadRows::LeaveOut) => {
                let why = match wrong {
                    Wrong::Missing => "missing",
                    Wrong::Not { .. } => "not understood",
                    Wrong::Negative { .. } => "negative",
                    Wrong::Absurd { .. } => "absurd",
                    Wrong::Duplicate { .. } => "there before",
                    Wrong::Columns { has, expected } if has < expected => "too short",
                    Wrong::Columns { .. } => "too long",
                    Wrong::Backwards { .. } => "backwards",
                };
                self.pass_over(line, field, why);
                Ok(None)
            }
        }
    }

    /// What was left out of what counts, in words.
    pub(crate) fn notes(&self, counts: &Counted) -> Vec<String> {
        let note = |((field, why), lines): (&(&str, &str), &Vec<u64>)| {
            let (rows, first) = (counts.rows(lines), lines.first()?);
            let rows = (rows > 0).then(|| counted(rows, "row"))?;
            Some(format!("left out {rows}: {field} is {why} (first at line {first})"))
        };
        self.left_out.iter().filter_map(note).collect()
    }
}

/// The columns of a heading, by name, and how many there are.
#[derive(Debug)]
pub(crate) struct Columns(BTreeMap<String, usize>, usize);

impl Columns {
    pub(crate) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let names: Vec<_> = names.collect();
        let by_name = names.iter().enumerate().map(|(at, name)| (name.trim().to_owned(), at));
        Self(by_name.collect(), names.len())
    }

    /// Refuses a row with more than there are: something in it is not what it seems.
    pub(crate) fn hold(&self, has: usize) -> Result<(), (&'static str, Wrong)> {
        let expected = self.1;
        if has > expected { Err(("the row", Wrong::Columns { has, expected })) } else { Ok(()) }
    }

    /// Refuses a row that has not as many columns as the heading.
    pub(crate) fn fill(&self, has: usize) -> Result<(), (&'static str, Wrong)> {
        let expected = self.1;
        if has == expected { Ok(()) } else { Err(("the row", Wrong::Columns { has, expected })) }
    }

    /// The place of a column that must be there.
    pub(crate) fn need(&self, field: &'static str, help: &'static str) -> Result<usize, ReadError> {
        self.find(field).ok_or(ReadError::NoColumn { field, help })
    }

    /// The place of a column, if it is there.
    pub(crate) fn find(&self, field: &str) -> Option<usize> {
        self.0.get(field).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_numbers_are_told_apart() {
        let check = |text: &str, expect: &str| {
            let got =
                number(text, 1, 100).map_or_else(|wrong| wrong.to_string(), |n| n.to_string());
            assert_eq!(got, expect);
        };
        check(" 7 ", "7");
        check("7.0", "7");
        check("2.5", "\"2.5\" is not a whole number");
        check("", "is missing");
        check("-3", "\"-3\" is negative");
        check("many", "\"many\" is not a number");
        check("1e9", "\"1e9\" is not a number");
        check("-", "\"-\" is not a number");
        check("101", "\"101\" is absurd: it lies between 1 and 100");
        check(
            "99999999999999999999999",
            "\"99999999999999999999999\" is absurd: it lies between 1 and 100",
        );
    }
}
