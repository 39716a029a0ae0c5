//! Policy files: TOML, every key of them optional.

use crate::failure::Failure;
use polder_model::{NodeFacts, Policy};
use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

/// Longest policy file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads a policy and refuses one that contradicts itself; `-` is standard input.
pub(crate) fn read(path: &Path) -> Result<Policy, Failure> {
    let fail = |why: &dyn std::fmt::Display| {
        Failure::usage(format!("policy file {}: {why}", path.display()))
            .help("`polder admin policy set --help` shows every key of a policy file")
    };
    let mut text = String::new();
    let file: Box<dyn std::io::Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(|error| fail(&error))?)
    };
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| fail(&error))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(fail(&format!("longer than {} MiB", FILE_BYTES_MAX >> 20)));
    }
    let policy: Policy = toml::from_str(&text).map_err(|error| {
        let line = error.span().map(|span| 1 + text[..span.start].matches('\n').count());
        let at = line.map_or_else(String::new, |line| format!("line {line}: "));
        fail(&format!("{at}{}", error.message().replace("unknown field", "unknown key")))
    })?;
    policy.check_written().map_err(|error| fail(&error))?;
    Ok(policy)
}

/// Keys of a policy file whose numbers are lengths of time.
const LENGTHS: [&str; 7] =
    ["prepare_limit", "contact_limit", "ageing", "wait_max", "half_life", "runtime_min", "pause"];

/// A policy as its file is written: lengths of time as people write them.
pub(crate) fn written(policy: &Policy) -> Result<String, Failure> {
    let wrong = |error: toml::ser::Error| Failure::failed(format!("the policy: {error}"));
    let mut value = toml::Value::try_from(policy).map_err(wrong)?;
    spell(&mut value);
    toml::to_string(&value).map_err(wrong)
}

fn spell(value: &mut toml::Value) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table.iter_mut() {
                match value {
                    toml::Value::Integer(micros) if LENGTHS.contains(&key.as_str()) => {
                        *value = toml::Value::String(length(*micros));
                    }
                    _ => spell(value),
                }
            }
        }
        toml::Value::Array(values) => values.iter_mut().for_each(spell),
        _ => {}
    }
}

/// A length of time in the largest unit of which it is a whole number.
fn length(micros: i64) -> String {
    const UNITS: [(&str, i64); 5] = [
        ("d", 86_400_000_000),
        ("h", 3_600_000_000),
        ("m", 60_000_000),
        ("s", 1_000_000),
        ("ms", 1_000),
    ];
    let whole = UNITS.iter().find(|(_, unit)| micros != 0 && micros % unit == 0);
    match (micros, whole) {
        (0, _) => "0s".to_owned(),
        (_, Some((name, unit))) => format!("{}{name}", micros / unit),
        (_, None) => format!("{micros}us"),
    }
}

/// What a policy says that is seldom meant, for people.
pub(crate) fn doubtful(policy: &Policy) -> Option<&'static str> {
    (policy.elastic.grow && !policy.elastic.shrink).then_some(
        "elastic.shrink is off and elastic.grow on: what gangs gain, those who come later cannot \
         get back; switch grow off too, or leave shrink on",
    )
}

/// What a policy's classes are sent to and none of the nodes is in, for people; `how` says how a node
/// comes to be in a partition.
pub(crate) fn partitions_missing<'n>(
    policy: &Policy,
    nodes: impl Iterator<Item = &'n NodeFacts>,
    how: impl Fn(&str) -> String,
) -> Vec<String> {
    let known: BTreeSet<&String> = nodes.flat_map(|node| &node.partitions).collect();
    let sent =
        policy.classes.iter().filter_map(|(class, pool)| Some((class, pool.partition.as_ref()?)));
    let missing = sent.filter(|(_, partition)| !known.contains(partition));
    let told = |(class, partition): (_, &String)| {
        format!(
            "no node is in partition {partition}, where class {class} goes: give it one{}",
            how(partition)
        )
    };
    missing.map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.toml");
        std::fs::write(&path, text).unwrap();
        let got = read(&path).err().map(|failure| failure.message).unwrap_or_default();
        assert!(got.contains(expect) && got.is_empty() == expect.is_empty(), "{got:?}");
    }

    #[test]
    fn a_policy_file_is_checked_to_the_key() {
        check("", "");
        check("[order]\nby = [\"fair_share\", \"shortest\"]\nwait_max = \"2d\"", "");
        check("[order]\nbye = []", "line 2: unknown key `bye`");
        check("[order]\nby = [\"luck\"]", "line 2: unknown variant `luck`");
        check("[order]\nageing = \"soon\"", "\"soon\" is not a length of time");
        check("[order]\nby = [\"arrival\", \"shortest\"]", "shortest after arrival");
        check("[[times]]\nfrom = \"8\"\nuntil = \"9:00\"\norder = {}", "not a time of day");
        check("order = 3", "line 1");
    }

    /// The example that people begin from.
    #[test]
    fn the_documented_file_is_a_policy() {
        let page = include_str!("../../../docs/policy.md");
        let (_, rest) = page.split_once("```toml\n").unwrap();
        let (text, _) = rest.split_once("```").unwrap();
        assert!(text.contains("[classes.training]"), "{text}");
        check(text, "");
    }

    #[test]
    fn growth_without_shrinking_is_doubted() {
        let doubted = |text: &str| doubtful(&toml::from_str(text).unwrap()).is_some();
        assert!(doubted("elastic.shrink = false"));
        assert!(!doubted("elastic.shrink = false\nelastic.grow = false"));
        assert!(!doubted(""));
    }

    #[test]
    fn what_is_shown_can_be_set_again() {
        let mut policy = Policy::default();
        policy.fair_share.model_weights.insert("T4".into(), 250);
        policy.order.by.push(polder_model::Term::FairShare);
        policy.order.ageing = Some(polder_model::Micros::from_secs(5400));
        policy.reclaim.runtime_min = polder_model::Micros(1_234_567);
        let text = written(&policy).unwrap();
        for line in ["pause = \"30s\"", "contact_limit = \"10m\"", "ageing = \"90m\""] {
            assert!(text.contains(line), "{text}");
        }
        assert_eq!(toml::from_str::<Policy>(&text).unwrap(), policy);
    }
}
