//! Shows what this machine has, as JSON: `cargo run -p polder-devices --example catalogue`.
//!
//! Without an argument it is the parent; with one it is the probe child that the parent starts,
//! as the product's own binary does with a hidden subcommand.

use polder_devices::{ProbeOptions, node_facts, probe_in_child, probe_main};
use std::{env, error::Error, io::Write};

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout();
    if let Some(request) = env::args().nth(1) {
        writeln!(out, "{}", serde_json::to_string(&probe_main(&request))?)?;
        return Ok(());
    }
    let found = probe_in_child(&env::current_exe()?, &[], &ProbeOptions::default())?;
    writeln!(out, "{}", serde_json::to_string_pretty(&node_facts(env!("CARGO_PKG_VERSION")))?)?;
    writeln!(out, "{}", serde_json::to_string_pretty(&found.devices)?)?;
    for problem in found.problems {
        writeln!(std::io::stderr(), "{problem}")?;
    }
    Ok(())
}
