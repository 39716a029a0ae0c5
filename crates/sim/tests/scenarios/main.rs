//! Scenarios: small pools told in a few lines of text, and what the engine makes of them.
//!
//! `crates/sim/scenarios/NAME.txt` holds commands (see [`script`]); `NAME.out` holds what they lead
//! to. `UPDATE=1 cargo test -p polder-sim --test scenarios` writes the latter anew: read the
//! difference before keeping it. Every promise of the engine is checked after every event.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be is a failure")]

mod script;
mod stage;

use std::fmt::Write;
use std::path::Path;

#[test]
fn every_scenario_ends_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let update = std::env::var_os("UPDATE").is_some();
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    names.sort();
    assert!(names.len() >= 40, "only {} scenarios in {}", names.len(), folder.display());
    let mut wrong = String::new();
    for path in names {
        let text = std::fs::read_to_string(&path).unwrap();
        let (told, failures) = stage::tell(&text);
        assert_eq!(stage::tell(&text).0, told, "{} is told differently twice", path.display());
        let golden = path.with_extension("out");
        if update {
            std::fs::write(&golden, &told).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        for failure in failures {
            let _ = writeln!(wrong, "{}: {failure}", path.display());
        }
        if let Some((line, (got, want))) =
            told.lines().zip(expected.lines()).enumerate().find(|(_, (got, want))| got != want)
        {
            let at = line + 1;
            let _ = writeln!(wrong, "{}:{at}:\n  told   {got}\n  golden {want}", golden.display());
        } else if told != expected {
            let _ = writeln!(wrong, "{}: one ends before the other", golden.display());
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}UPDATE=1 writes what is told now");
}
