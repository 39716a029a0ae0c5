//! `polder up`: starts the daemon.

use super::{Context, Done};
use crate::daemon::{self, Daemon, Listen};
use crate::failure::Failure;
use crate::output;
use crate::place;
use clap::Args;
use polder_agent::Containers;
use polder_agent::spatial::offer::Cards;
use polder_model::{Bytes, Enforcement, NodeWords};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

const UP_HELP: &str = "\
The daemon serves the pool of one state folder: its socket to every user of this machine whom an
administrator added, and loopback HTTP to whoever has the token in the state folder. Ctrl-C or
SIGTERM stops it; tasks run on under their shims, and the next `polder up` adopts them.
With --output json it prints one object once it is ready: version, pid, state, socket, http, token,
devices. POLDER_LOG sets what it logs to standard error (for example `info`, or `polder_agent=debug`).";

/// Flags of `polder up`.
#[derive(Debug, Args)]
#[command(after_long_help = UP_HELP)]
pub(crate) struct Up {
    /// Where loopback HTTP is served; port 0 takes a free one.
    #[arg(long, value_name = "127.0.0.1:PORT", default_value_t)]
    listen: Listen,
    /// Serve no HTTP, only the socket.
    #[arg(long, conflicts_with = "listen")]
    no_listen: bool,
    /// Show the devices of this TOML file instead of what is there. They run nothing, and every
    /// screen calls them simulated.
    #[arg(long, value_name = "FILE")]
    simulate: Option<PathBuf>,
    /// A partition that this node belongs to; may be given again. It is not kept: the next `up` says
    /// it again.
    #[arg(long = "partition", value_name = "NAME", value_parser = polder_model::partition)]
    partitions: Vec<String>,
    /// A label that jobs may select this node by; may be given again. It is not kept either.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = polder_model::label)]
    labels: Vec<String>,
    /// What happens to a process that uses a shared device without a slot of its lease: `strict` ends
    /// it, `permissive` reports it, `off` looks for nobody. It is not kept: the next `up` says it again.
    #[arg(long, value_name = "MODE", default_value_t)]
    enforcement: Enforcement,
    /// Cards that jobs asking for `--mechanism spatial` share beside each other, NVIDIA's under its MPS
    /// and AMD's by masks of compute units, and that nobody shares by turns: `all`, or ids with commas between. It is not kept either.
    #[arg(long, value_name = "CARDS", default_value_t)]
    spatial: Cards,
    /// Cut those cards into static partitions: leases of a user then share no multiprocessor. Takes
    /// NVIDIA's driver 590 (CUDA 13.1) and cards of compute capability 8.0. It is not kept either.
    #[arg(long, requires = "spatial")]
    spatial_partitions: bool,
    /// What starts the containers of jobs with `--image`: `podman`, `docker`, `docker:` and the full path
    /// of its daemon's socket, or `auto` for podman where it is installed, else docker. It is not kept
    /// either.
    #[arg(long, value_name = "WHAT", default_value_t)]
    containers: Containers,
    /// Where NVIDIA's `libcuda.so.1` and `libnvidia-ml.so.1` are, if not where they usually are.
    #[arg(long, value_name = "DIR")]
    driver_folder: Option<PathBuf>,
    /// Host memory kept apart to stand behind the memory of devices, for jobs that ask for it with
    /// --host-backed. It is not kept: the next `up` says it again.
    #[arg(long, value_name = "SIZE", default_value = "0", allow_hyphen_values = true)]
    host_backing: Bytes,
    /// Return once the daemon is ready; it goes on in the background.
    #[arg(long)]
    detach: bool,
    /// This is the background process itself.
    #[arg(long, hide = true, conflicts_with = "detach")]
    detached: bool,
}

impl Up {
    pub(super) async fn execute(self, context: &Context) -> Done {
        if context.over_http() {
            return Err(Failure::usage("--server names a daemon, and this would start another")
                .help("leave out --server and POLDER_SERVER"));
        }
        let words = NodeWords::new(&self.partitions, &self.labels)
            .map_err(|error| Failure::usage(format!("--partition, --label: {error}")))?;
        let folder = context.daemon_folder()?;
        if self.detach {
            return self.in_background(context, folder).await;
        }
        if let Some(file) = &self.simulate {
            // Told now, by name and line, and not by an agent that ends.
            let simulated = polder_devices::read_simulated(file).map_err(Failure::usage)?;
            simulated.words.and(&words).map_err(|error| {
                Failure::usage(format!("{} and --label: {error}", file.display()))
            })?;
        }
        if self.detached {
            // Whoever started it may close its terminal.
            rustix::process::setsid()
                .map_err(|error| Failure::failed(format!("leaving the terminal: {error}")))?;
        }
        output::log_to_stderr();
        let listen = (!self.no_listen).then_some(self.listen);
        let daemon = Daemon {
            folder: folder.clone(),
            listen,
            simulate: self.simulate,
            words,
            enforcement: self.enforcement,
            spatial: self.spatial,
            spatial_partitions: self.spatial_partitions,
            containers: self.containers,
            driver_folder: self.driver_folder,
            backing: self.host_backing,
        };
        let detached = self.detached;
        let ready = move || if detached { leave_terminal(&folder) } else { Ok(()) };
        Box::pin(daemon::run(daemon, context.out, ready)).await?;
        Ok(0)
    }

    /// Starts the same again as a background process, and waits until it is ready or has failed.
    async fn in_background(self, context: &Context, folder: PathBuf) -> Done {
        let exe = std::env::current_exe()
            .map_err(|error| Failure::failed(format!("this program's own path: {error}")))?;
        let mut command = tokio::process::Command::new(exe);
        command.arg("--state").arg(&folder).args(["up", "--detached"]);
        if self.no_listen {
            command.arg("--no-listen");
        } else {
            command.arg("--listen").arg(self.listen.to_string());
        }
        if let Some(file) = &self.simulate {
            command.arg("--simulate").arg(file);
        }
        command.arg("--enforcement").arg(self.enforcement.to_string());
        command.arg("--spatial").arg(self.spatial.to_string());
        command.args(self.spatial_partitions.then_some("--spatial-partitions"));
        command.arg("--containers").arg(self.containers.to_string());
        if let Some(folder) = &self.driver_folder {
            command.arg("--driver-folder").arg(folder);
        }
        command.arg("--host-backing").arg(self.host_backing.0.to_string());
        for (flag, words) in [("--partition", &self.partitions), ("--label", &self.labels)] {
            for word in words {
                command.arg(flag).arg(word);
            }
        }
        if context.out.quiet {
            command.arg("--quiet");
        }
        if context.out.json_wanted() {
            command.args(["--output", "json"]);
        }
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
        let starting = |error| Failure::failed(format!("starting the daemon: {error}"));
        let mut child = command.spawn().map_err(starting)?;
        let pid = child.id();
        if let Some(mut ready) = child.stdout.take() {
            // It closes its standard output when it is ready, and when it ends.
            let mut said = Vec::new();
            tokio::io::AsyncReadExt::read_to_end(&mut ready, &mut said).await.map_err(starting)?;
            context.out.bytes(&said)?;
        }
        // Between its last output and its end a failed daemon lives for a moment.
        let ended = tokio::time::timeout(std::time::Duration::from_millis(200), child.wait()).await;
        match ended {
            Ok(Ok(status)) => Ok(status.code().unwrap_or(1)),
            Ok(Err(error)) => Err(starting(error)),
            Err(_) => {
                let log = folder.join(place::DAEMON_LOG);
                let pid = pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
                context.out.note(&format!(
                    "runs in the background as process {pid}; its log is {}; `polder down` stops it",
                    log.display()
                ));
                Ok(0)
            }
        }
    }
}

/// From now on the daemon writes to its log alone; closing standard output says that it is ready.
fn leave_terminal(folder: &Path) -> Result<(), Failure> {
    let path = folder.join(place::DAEMON_LOG);
    let fail = |error: std::io::Error| Failure::failed(format!("{}: {error}", path.display()));
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .map_err(fail)?;
    rustix::stdio::dup2_stderr(&log).map_err(|error| fail(error.into()))?;
    rustix::stdio::dup2_stdout(&log).map_err(|error| fail(error.into()))
}
