//! Policy files: TOML, every key of them optional.

use crate::failure::Failure;
use polder_model::{NodeFacts, Policy};
use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

/// Longest policy file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads a policy and refuses one that contradicts itself.
pub(crate) fn read(path: &Path) -> Result<Policy, Failure> {
    let fail = |why: &dyn std::fmt::Display| {
        Failure::usage(format!("policy file {}: {why}", path.display()))
            .help("`polder admin policy set --help` shows every key of a policy file")
    };
    let file = std::fs::File::open(path).map_err(|error| fail(&error))?;
    let mut text = String::new();
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

    #[test]
    fn what_is_shown_can_be_set_again() {
        let mut policy = Policy::default();
        policy.fair_share.model_weights.insert("T4".into(), 250);
        policy.order.by.push(polder_model::Term::FairShare);
        let text = toml::to_string(&policy).unwrap();
        assert_eq!(toml::from_str::<Policy>(&text).unwrap(), policy);
    }
}
