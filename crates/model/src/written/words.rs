//! The words a node is known by: the partitions it belongs to, and labels that asks select it by.

use crate::NodeFacts;
use serde::{Deserialize, Deserializer, de};
use std::collections::BTreeSet;
use thiserror::Error;

/// Most partitions of one node, and most labels.
pub const NODE_WORDS_MAX: usize = 64;
/// Longest name of a partition, and longest key and value of a label, in bytes.
const WORD_BYTES_MAX: usize = 64;

/// Why a node cannot be known by a word.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WordError {
    /// No name of a partition.
    #[error(
        "{text:?} is no partition: use 1 to {WORD_BYTES_MAX} of a-z, A-Z, 0-9, '.', '_' and '-'"
    )]
    Partition {
        /// What was given.
        text: String,
    },
    /// No label.
    #[error(
        "{text:?} is no label: write KEY=VALUE, each of 1 to {WORD_BYTES_MAX} of a-z, A-Z, 0-9, \
         '.', '_', '/' and '-'"
    )]
    Label {
        /// What was given.
        text: String,
    },
    /// The same word twice, or one key with two values.
    #[error("{one:?} and {other:?} are both given: leave one out")]
    Twice {
        /// One.
        one: String,
        /// The other.
        other: String,
    },
    /// Too many.
    #[error("{number} {what}: a node may have {NODE_WORDS_MAX}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        number: usize,
    },
}

/// The partitions a node belongs to and the labels it has; each key has one value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeWords {
    partitions: BTreeSet<String>,
    labels: BTreeSet<String>,
}

/// Reads the name of a partition.
///
/// # Errors
/// The text is none.
pub fn partition(text: &str) -> Result<String, WordError> {
    let fits = is_word(text, "._-");
    if fits { Ok(text.to_owned()) } else { Err(WordError::Partition { text: short(text) }) }
}

/// Reads a label, `key=value`.
///
/// # Errors
/// The text is none.
pub fn label(text: &str) -> Result<String, WordError> {
    let (key, value) = text.split_once('=').unwrap_or_default();
    let fits = [key, value].iter().all(|part| is_word(part, "._/-"));
    if fits { Ok(text.to_owned()) } else { Err(WordError::Label { text: short(text) }) }
}

fn is_word(text: &str, more: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
    (1..=WORD_BYTES_MAX).contains(&text.len()) && text.chars().all(allowed)
}

/// As much of a text as an error shows.
fn short(text: &str) -> String {
    text.chars().take(2 * WORD_BYTES_MAX).collect()
}

impl NodeWords {
    /// Those of some partitions and labels.
    ///
    /// # Errors
    /// One is none, stands twice, or contradicts another.
    pub fn new(partitions: &[String], labels: &[String]) -> Result<Self, WordError> {
        let mut words = Self::default();
        for text in partitions {
            if !words.partitions.insert(partition(text)?) {
                return Err(WordError::Twice { one: text.clone(), other: text.clone() });
            }
        }
        for text in labels {
            words.label(label(text)?)?;
        }
        words.bounded()
    }

    /// These, and those of another place beside them.
    ///
    /// # Errors
    /// A key has one value here and another there.
    pub fn and(mut self, other: &Self) -> Result<Self, WordError> {
        self.partitions.extend(other.partitions.iter().cloned());
        for label in other.labels.difference(&self.labels.clone()) {
            self.label(label.clone())?;
        }
        self.bounded()
    }

    /// Makes a node known by them.
    pub fn say(&self, node: &mut NodeFacts) {
        node.partitions.extend(self.partitions.iter().cloned());
        node.labels.extend(self.labels.iter().cloned());
    }

    /// The partitions, in order.
    #[must_use]
    pub const fn partitions(&self) -> &BTreeSet<String> {
        &self.partitions
    }

    /// The labels, in order.
    #[must_use]
    pub const fn labels(&self) -> &BTreeSet<String> {
        &self.labels
    }

    fn label(&mut self, label: String) -> Result<(), WordError> {
        let key = |label: &str| label.split_once('=').map(|(key, _)| key.to_owned());
        let same = self.labels.iter().find(|known| key(known) == key(&label));
        if let Some(known) = same {
            return Err(WordError::Twice { one: known.clone(), other: label });
        }
        self.labels.insert(label);
        Ok(())
    }

    fn bounded(self) -> Result<Self, WordError> {
        for (what, words) in [("partitions", &self.partitions), ("labels", &self.labels)] {
            if words.len() > NODE_WORDS_MAX {
                return Err(WordError::TooMany { what, number: words.len() });
            }
        }
        Ok(self)
    }

    /// The key `partitions` of a file.
    ///
    /// # Errors
    /// As the file's format says it: one is none or stands twice.
    pub fn read_partitions<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
        let words = Vec::<String>::deserialize(from)?;
        Self::new(&words, &[]).map_err(de::Error::custom)?;
        Ok(words)
    }

    /// The key `labels` of a file.
    ///
    /// # Errors
    /// As the file's format says it: one is none, stands twice or contradicts another.
    pub fn read_labels<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
        let words = Vec::<String>::deserialize(from)?;
        Self::new(&[], &words).map_err(de::Error::custom)?;
        Ok(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(partitions: &[&str], labels: &[&str]) -> Result<NodeWords, WordError> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let (partitions, labels): (Vec<String>, Vec<String>) = (owned(partitions), owned(labels));
        NodeWords::new(&partitions, &labels)
    }

    #[test]
    fn nonsense_is_named() {
        let check = |partitions: &[&str], labels: &[&str], expect: &str| {
            let error = words(partitions, labels).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check(&[""], &[], "\"\" is no partition");
        check(&["a b"], &[], "\"a b\" is no partition");
        check(&["train", "train"], &[], "\"train\" and \"train\" are both given");
        check(&[], &["rack"], "\"rack\" is no label: write KEY=VALUE");
        check(&[], &["rack="], "\"rack=\" is no label");
        check(&[], &["a=b=c"], "\"a=b=c\" is no label");
        check(&[], &["rack=a", "rack=b"], "\"rack=a\" and \"rack=b\" are both given");
        check(&[], &["rack=a", "rack=a"], "both given");
        let many: Vec<String> = (0..=NODE_WORDS_MAX).map(|number| format!("p{number}")).collect();
        assert!(matches!(NodeWords::new(&many, &[]), Err(WordError::TooMany { number: 65, .. })));
    }

    #[test]
    fn two_places_add_up_unless_they_contradict() {
        let file = words(&["train"], &["rack=a"]).unwrap();
        let flags = words(&["train", "night"], &["rack=a", "zone=eu/1"]).unwrap();
        let both = file.clone().and(&flags).unwrap();
        assert_eq!(both, flags);
        let other = words(&[], &["rack=b"]).unwrap();
        assert!(matches!(file.and(&other), Err(WordError::Twice { .. })));
    }
}
