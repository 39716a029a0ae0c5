//! Every input of the corpus, those that once broke something among them.

use polder_fuzz::hunt::{feed, inputs};
use polder_fuzz::targets::TARGETS;

#[test]
fn every_input_of_the_corpus_is_survived() {
    for target in TARGETS {
        let all = inputs(&target).unwrap();
        assert!(!all.is_empty(), "{} has a corpus", target.name);
        for (path, input) in all {
            assert_eq!(feed(&target, &input), None, "{}", path.display());
        }
    }
}
