//! The nearest known verb for one that is not known, where the parser has none to offer: its own measure
//! finds nothing near words of two or three letters (`rn`). Says nothing of flags and values.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error};
use std::ffi::OsString;

/// Words up to this long may differ by one letter from what is offered, longer ones by two.
const SHORT: usize = 4;
/// Longest word that is compared; no verb is near a longer one.
const WORD_MAX: usize = 32;

/// Adds the verbs nearest to an unknown one to what the parser says. `words` is the command line.
pub(crate) fn offered(
    mut error: Error,
    root: &Command,
    words: impl Iterator<Item = OsString>,
) -> Error {
    let known = error.get(ContextKind::SuggestedSubcommand).is_some();
    let wrong = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(word)) => word.clone(),
        _ => return error,
    };
    if known || error.kind() != ErrorKind::InvalidSubcommand {
        return error;
    }
    let before = words.map(|word| word.to_string_lossy().into_owned());
    let group = before
        .take_while(|word| *word != wrong)
        .fold(root, |group, word| group.find_subcommand(&word).unwrap_or(group));
    let verbs = group.get_subcommands().filter(|verb| !verb.is_hide_set());
    let near = nearest(&wrong, verbs.map(Command::get_name));
    if !near.is_empty() {
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(near));
    }
    error
}

/// Those words that are as near as any, and near enough.
fn nearest<'a>(wrong: &str, words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let length = wrong.chars().count();
    if length > WORD_MAX {
        return Vec::new();
    }
    let most = if length > SHORT { 2 } else { 1 };
    let words: Vec<(usize, &str)> = words.map(|word| (distance(wrong, word), word)).collect();
    let least = words.iter().map(|(far, _)| *far).min().filter(|far| *far <= most);
    let near = words.into_iter().filter(|(far, _)| Some(*far) == least);
    near.map(|(_, word)| word.to_owned()).collect()
}

/// How many letters must be added, left out, changed or swapped with the next to make one of the other.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    // The last two rows of the table of distances between beginnings.
    let mut before = vec![0; other.len() + 1];
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut next = vec![i + 1; other.len() + 1];
        for (j, b) in other.iter().enumerate() {
            let changed = row[j] + usize::from(a != b);
            let mut least = changed.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && *a == other[j - 1] && one[i - 1] == *b {
                least = least.min(before[j - 1] + 1);
            }
            next[j + 1] = least;
        }
        before = std::mem::replace(&mut row, next);
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::CommandFactory as _;

    #[test]
    fn distances_count_letters() {
        let check = |one, other, expect| assert_eq!(distance(one, other), expect, "{one} {other}");
        check("rn", "run", 1);
        check("rnu", "run", 1);
        check("", "run", 3);
        check("run", "run", 0);
        check("cancle", "cancel", 1);
        check("kitten", "sitting", 3);
    }

    #[test]
    fn an_unknown_verb_is_answered_with_the_nearest_of_its_group() {
        let check = |line: &[&str], expect: &str| {
            let words = || ["polder"].iter().chain(line).map(|word| OsString::from(*word));
            let root = Cli::command();
            let error = root.clone().try_get_matches_from(words()).unwrap_err();
            let said = offered(error, &root, words()).to_string();
            assert_eq!(said.contains("tip:"), !expect.is_empty(), "{said}");
            assert!(said.contains(expect), "{said}");
        };
        check(&["rn"], "'run'");
        check(&["pu"], "'up'");
        check(&["--state", "/s", "rn"], "'run'");
        check(&["qeue"], "'queue'");
        check(&["admin", "usr"], "'user'");
        check(&["admin", "user", "ad"], "'add'");
        check(&["admin", "rn"], "");
        check(&["xyz"], "");
    }
}
