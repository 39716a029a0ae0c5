//! `polder-fuzz SECONDS [TARGET]`: hunts in one target, or in all, and writes down what breaks.
//! `polder-fuzz --list`: their names, one a line.
#![allow(clippy::print_stdout, reason = "figures are what it is for")]

use anyhow::{Context, bail};
use polder_fuzz::coverage::Reached;
use polder_fuzz::hunt::{corpus, hunt, inputs};
use polder_fuzz::targets::TARGETS;
use std::time::{Duration, SystemTime};

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "--list") {
        TARGETS.iter().for_each(|target| println!("{}", target.name));
        return Ok(());
    }
    let seconds: u64 = words.first().context("SECONDS [TARGET]")?.parse()?;
    let wanted = |name: &str| words.get(1).is_none_or(|only| only == name);
    if !TARGETS.iter().any(|target| wanted(target.name)) {
        bail!("no such target: {}", TARGETS.map(|target| target.name).join(", "));
    }
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.subsec_nanos();
    if !Reached::is_there() {
        println!("built without counters: inputs are changed blindly; use `cargo xtask fuzz`");
    }
    let mut broken = Vec::new();
    for target in TARGETS.iter().filter(|target| wanted(target.name)) {
        let seeds = inputs(target).with_context(|| format!("corpus of {}", target.name))?;
        let seeds = seeds.into_iter().map(|(_, input)| input).collect();
        let told = hunt(target, seeds, Duration::from_secs(seconds), u64::from(seed));
        println!(
            "{}: {} inputs in {seconds} s, {} kept, {} places reached (seed {seed})",
            target.name, told.fed, told.kept, told.places
        );
        if let Some((input, what)) = told.broken {
            let path = corpus(target).join(format!("found-{seed}"));
            std::fs::write(&path, &input)?;
            println!("{}: BROKEN by {}: {what}", target.name, path.display());
            broken.push(target.name);
        }
    }
    if !broken.is_empty() {
        bail!("broken: {}", broken.join(", "));
    }
    Ok(())
}
