//! The parts that the test program plays when it is started as another process.

use polder_agent::shim::shim_main;
use polder_agent::{AgentOptions, run_agent};
use std::path::PathBuf;
use std::time::Duration;

/// Where an agent that is started as a process works.
pub(crate) const STATE_VARIABLE: &str = "AGENT_TEST_STATE";

#[test]
fn shim_entry() {
    let folder = std::env::args().next_back().map(PathBuf::from);
    if let Some(dir) = folder.filter(|path| path.join("plan.json").exists()) {
        let done = shim_main(&dir) == std::process::ExitCode::SUCCESS;
        std::process::exit(i32::from(!done));
    }
}

#[test]
fn agent_entry() {
    let Some(state) = std::env::var_os(STATE_VARIABLE).map(PathBuf::from) else { return };
    let exe = std::env::current_exe().unwrap();
    let arguments = ["--exact", "entry::shim_entry", "--nocapture"];
    let options = AgentOptions {
        shim_arguments: arguments.map(str::to_owned).to_vec(),
        simulate: Some(state.join("devices.toml")),
        driver_library: None,
        cuda_libraries: None,
        probe_rest: Duration::from_millis(100),
        client_wait: Duration::from_secs(2),
        ..AgentOptions::new(state, "here".parse().unwrap(), exe)
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ended = runtime.block_on(run_agent(options, std::future::pending()));
    println!("\nagent: {}", ended.unwrap_err());
    std::process::exit(1);
}
