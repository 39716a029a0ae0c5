//! Partitions, labels and classes of work, on a real pool.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use common::{Pool, soon};
use std::fs;

/// Where the rack says it belongs; another partition comes by flag.
const WORDS: &str = "partitions = [\"train\"]\nlabels = [\"rack=a\"]\n";
const POLICY: &str = "[classes.training]\npartition = \"train\"\n\
                      [classes.inference]\npartition = \"serve\"\n\
                      [classes.interactive]\npartition = \"desk\"\nborrow = true\n";

#[test]
fn classes_keep_to_their_partitions_and_jobs_choose_by_partition_and_label() {
    let folder = tempfile::tempdir().unwrap();
    let rack = folder.path().join("rack.toml");
    fs::write(&rack, format!("{WORDS}{}", common::RACK)).unwrap();
    let policy = folder.path().join("policy.toml");
    fs::write(&policy, POLICY).unwrap();
    let (rack, policy) = (rack.to_str().unwrap(), policy.to_str().unwrap());
    let flags = ["--no-listen", "--simulate", rack, "--partition", "serve", "--label", "zone=eu"];
    let Some(pool) = Pool::start_with(&flags) else { return };
    let facts = &pool.json(&["nodes"])["nodes"][0]["facts"];
    assert_eq!(facts["partitions"], serde_json::json!(["serve", "train"]));
    assert_eq!(facts["labels"], serde_json::json!(["rack=a", "zone=eu"]));
    assert!(pool.ok(&["nodes"]).contains(" serve,train "));
    // Its nodes may join later.
    let said = pool.say(&["admin", "policy", "set", policy]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stderr.contains("no node is in partition desk, where class interactive goes"));
    assert!(!said.stderr.contains("partition train,"), "{said:?}");
    // Each of these runs one after another on the same cards.
    let runs = |flags: &[&str]| {
        let job = pool.submit(&[&["--whole"], flags].concat(), "true");
        assert_eq!(pool.say(&["wait", &job]).code, 0, "{flags:?}");
    };
    runs(&["--class", "training"]);
    runs(&["--class", "inference"]);
    runs(&["--partition", "serve", "--label", "rack=a", "--label", "zone=eu"]);
    // What may yield borrows; what may not has no partition to go to.
    runs(&["--class", "interactive", "--preemptible"]);
    let refused = |flags: &[&str], expect: &str| {
        let words = [&["submit", "--whole"], flags, &["--", "true"]].concat();
        let said = pool.say(&words);
        assert_ne!(said.code, 0, "{flags:?}");
        assert!(said.stderr.contains(expect), "{flags:?}: {said:?}");
    };
    let kept = "interactive jobs keep to partition desk; with --preemptible it could borrow";
    refused(&["--class", "interactive"], "outside partition desk");
    refused(&["--class", "interactive"], kept);
    let none = "no node is in partition desk: there are serve, train";
    refused(&["--partition", "desk"], none);
    refused(&["--label", "rack=b"], "rack=b");
    // They are said anew at each start.
    pool.terminate();
    assert!(pool.wait_down().success());
    pool.restart_with(&["--no-listen", "--simulate", rack]);
    soon("the node without what only flags said", || {
        let partitions = &pool.json(&["nodes"])["nodes"][0]["facts"]["partitions"];
        (*partitions == serde_json::json!(["train"])).then_some(())
    });
    runs(&["--class", "training"]);
    refused(&["--partition", "serve"], "outside partition serve");
}

#[test]
fn words_that_a_node_cannot_be_known_by_start_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let rack = folder.path().join("rack.toml");
    fs::write(&rack, format!("{WORDS}{}", common::RACK)).unwrap();
    let state = folder.path().join("state");
    let check = |flags: &[&str], expect: &str| {
        let mut command = common::polder(["--state"]);
        command.arg(&state).args(["up", "--no-listen"]).args(flags);
        let said = common::say(command);
        assert_eq!(said.code, 2, "{flags:?}: {said:?}");
        assert!(said.stderr.contains(expect), "{flags:?}: {said:?}");
        assert!(!state.exists());
    };
    check(&["--partition", "a b"], "\"a b\" is no partition");
    check(&["--label", "rack"], "\"rack\" is no label: write KEY=VALUE");
    check(&["--label", "rack=a", "--label", "rack=b"], "\"rack=a\" and \"rack=b\" are both given");
    let rack = rack.to_str().unwrap();
    check(&["--simulate", rack, "--label", "rack=b"], "\"rack=a\" and \"rack=b\" are both given");
}
