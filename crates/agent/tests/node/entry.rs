//! The parts that the test program plays when it is started as another process.

use polder_agent::shim::shim_main;
use polder_agent::spatial::offer::Cards;
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

/// What the hidden subcommand of the product's binary does: the request comes in a variable.
#[test]
fn probe_entry() {
    let Ok(request) = std::env::var("AGENT_TEST_REQUEST") else { return };
    let found = polder_devices::probe_main(&request);
    println!("{}", serde_json::to_string(&found).unwrap());
    std::process::exit(0);
}

/// The test program as the product's binary would be called.
fn binary(state: &std::path::Path) -> PathBuf {
    let me = std::env::current_exe().unwrap();
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = probe-devices ]; then\n  AGENT_TEST_REQUEST=\"$2\" exec {me} \
         --exact entry::probe_entry --nocapture\nfi\nexec {me} \"$@\"\n",
        me = me.display()
    );
    let (path, new) = (state.join("binary"), state.join("binary.new"));
    if !path.exists() {
        // Whole from its first moment: another agent may already use it.
        std::fs::write(&new, script).unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&new, open).unwrap();
        std::fs::rename(&new, &path).unwrap();
    }
    path
}

/// Where a stand-in card is served, and the stand-in NVML that tells of it.
pub(crate) const STANDIN_VARIABLES: [&str; 2] = ["STANDIN_SOCKET", "AGENT_TEST_NVML"];
/// Which of the stand-in's functions fail, and how.
pub(crate) const FAIL_VARIABLE: &str = "STANDIN_NVML_FAIL";
/// Milliseconds between two looks at devices while a card has failed.
pub(crate) const FAILED_PERIOD_VARIABLE: &str = "AGENT_TEST_FAILED_MS";

/// The root of a machine with a stand-in card of AMD's, whose parts are leased side by side.
pub(crate) const AMD_VARIABLE: &str = "AGENT_TEST_AMD";

#[test]
fn agent_entry() {
    let Some(state) = std::env::var_os(STATE_VARIABLE).map(PathBuf::from) else { return };
    let exe = binary(&state);
    let standin = STANDIN_VARIABLES.map(std::env::var_os);
    let mut probe = polder_devices::ProbeOptions::default();
    if let [Some(socket), Some(nvml)] = &standin {
        probe.nvml_library = Some(nvml.into());
        probe.vendor_folder = Some(state.join("no vendors"));
        probe.environment = vec![("STANDIN_SOCKET".into(), socket.clone())];
        let fails = std::env::var_os(FAIL_VARIABLE);
        probe.environment.extend(fails.map(|fails| (FAIL_VARIABLE.into(), fails)));
    }
    let amd = std::env::var_os(AMD_VARIABLE).map(PathBuf::from);
    if let Some(root) = &amd {
        probe.nvml_library = Some(state.join("no NVML"));
        probe.vendor_folder = Some(root.join("vendors"));
    }
    let failed_period = std::env::var(FAILED_PERIOD_VARIABLE).ok().and_then(|it| it.parse().ok());
    let arguments = ["--exact", "entry::shim_entry", "--nocapture"];
    let options = AgentOptions {
        shim_arguments: arguments.map(str::to_owned).to_vec(),
        simulate: (standin[0].is_none() && amd.is_none()).then(|| state.join("devices.toml")),
        spatial: if amd.is_some() { Cards::All } else { Cards::None },
        root: amd.unwrap_or_else(|| "/".into()),
        probe,
        enforcement: polder_model::Enforcement::Strict,
        driver_library: None,
        cuda_libraries: None,
        probe_rest: Duration::from_millis(100),
        failed_period: failed_period.map_or(Duration::from_secs(60), Duration::from_millis),
        client_wait: Duration::from_secs(2),
        ..AgentOptions::new(state, "here".parse().unwrap(), exe)
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ended = runtime.block_on(run_agent(options, std::future::pending()));
    println!("\nagent: {}", ended.unwrap_err());
    std::process::exit(1);
}
