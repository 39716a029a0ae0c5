//! How an agent is started, and why it could not be.

use crate::arbiter::ArbiterError;
use crate::inventory::InventoryError;
use crate::library::{self, LibraryError};
use crate::memory::MemoryError;
use crate::node::Node;
use crate::paths::{StatePaths, write_help};
use crate::runner::Containers;
use crate::shim::{CudaLibraries, NvmlLibraries};
use crate::spatial::offer::Cards;
use polder_devices::ProbeOptions;
use polder_model::{Bytes, Enforcement, NodeId, NodeWords, SyncRefusal};
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::fs::DirBuilder;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// Polder's OpenCL driver library.
const DRIVER_LIBRARY: &str = "libpolder_opencl.so";
/// Polder's library that stands in for the vendor's `libcuda.so.1`.
const CUDA_LIBRARY: &str = "libpolder_cuda.so";
/// What the vendor's libraries are called.
const CUDA_VENDOR: &str = "libcuda.so.1";
const NVML_VENDOR: &str = "libnvidia-ml.so.1";
/// Polder's library that stands in for the vendor's `libnvidia-ml.so.1`.
const NVML_LIBRARY: &str = "libpolder_nvml.so";
/// Where the vendor's are, by the custom of distributions, containers and WSL.
const CUDA_FOLDERS: [&str; 7] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/nvidia/lib64",
    "/usr/lib/wsl/lib",
    "/run/opengl-driver/lib",
];
/// The vendor's program that is MPS's control daemon and speaks to it.
const MPS_PROGRAM: &str = "nvidia-cuda-mps-control";
/// Where it is, beside the agent's own `PATH`.
const MPS_FOLDERS: [&str; 3] = ["/usr/bin", "/usr/local/bin", "/run/current-system/sw/bin"];
/// Usual [`AgentOptions::probe_rest`].
const PROBE_REST: Duration = Duration::from_secs(30);
/// Usual [`AgentOptions::failed_period`].
const FAILED_PERIOD: Duration = Duration::from_secs(60);
/// Usual [`AgentOptions::client_wait`].
const CLIENT_WAIT: Duration = Duration::from_secs(30);

/// What an agent is told at its start.
#[derive(Debug, Clone)]
pub struct AgentOptions {
    /// The state folder; the server's socket is in it. Its path must be short enough for sockets.
    pub state_dir: PathBuf,
    /// This node's name.
    pub node: NodeId,
    /// The product's binary, for its subcommands `shim` and `probe-devices`.
    pub exe: PathBuf,
    /// Arguments of that binary before `shim`.
    pub shim_arguments: Vec<String>,
    /// Polder's OpenCL driver library; without it leases that share a device run without
    /// interception, and say so.
    pub driver_library: Option<PathBuf>,
    /// Polder's library for CUDA and the vendor's own, and those for NVML; without both of CUDA, cards
    /// that only CUDA reaches are granted whole.
    pub cuda_libraries: Option<CudaLibraries>,
    /// A file of simulated devices, shown instead of what is there.
    pub simulate: Option<PathBuf>,
    /// The partitions the node belongs to and its labels, beside those of a file of simulated devices.
    pub words: NodeWords,
    /// What happens to a process that uses a shared device without a slot.
    pub enforcement: Enforcement,
    /// Cards that leases share spatially, beside each other.
    pub spatial: Cards,
    /// Those cards are cut into static partitions, which takes a program of driver 590.
    pub spatial_partitions: bool,
    /// NVIDIA's `nvidia-cuda-mps-control`; without it no card is shared spatially.
    pub mps_program: Option<PathBuf>,
    /// Where the kernel's files of AMD's cards lie: `/`, or a copy of them.
    pub root: PathBuf,
    /// What starts the containers of jobs that name an image.
    pub containers: Containers,
    /// Host memory kept apart to stand behind the memory of devices.
    pub backing: Bytes,
    /// How devices are probed.
    pub probe: ProbeOptions,
    /// Least time between two looks at the devices, whatever fails meanwhile.
    pub probe_rest: Duration,
    /// Time between two looks at the devices while one of NVIDIA's cards has failed and may be well again.
    pub failed_period: Duration,
    /// How long a lease whose client is to bring its descriptors waits for that client, from the
    /// order to start.
    pub client_wait: Duration,
}

impl AgentOptions {
    /// The usual options: everything that has a default has it.
    #[must_use]
    pub fn new(state_dir: PathBuf, node: NodeId, exe: PathBuf) -> Self {
        Self {
            driver_library: find_library(&exe, DRIVER_LIBRARY),
            cuda_libraries: find_cuda(&exe, None),
            state_dir,
            node,
            exe,
            shim_arguments: Vec::new(),
            simulate: None,
            words: NodeWords::default(),
            enforcement: Enforcement::default(),
            spatial: Cards::default(),
            spatial_partitions: false,
            mps_program: find_mps(),
            root: PathBuf::from("/"),
            containers: Containers::default(),
            backing: Bytes(0),
            probe: ProbeOptions::default(),
            probe_rest: PROBE_REST,
            failed_period: FAILED_PERIOD,
            client_wait: CLIENT_WAIT,
        }
    }

    /// The same where the vendor's `libcuda.so.1` and `libnvidia-ml.so.1` are looked for in `folder`
    /// before the usual ones.
    ///
    /// # Errors
    /// [`DriverFolderError`]: the folder holds neither, or what it holds is no library of this host.
    pub fn with_driver_folder(mut self, folder: &Path) -> Result<Self, DriverFolderError> {
        let vendor = [CUDA_VENDOR, NVML_VENDOR].map(|name| folder.join(name).canonicalize());
        vendor.iter().flatten().try_for_each(|path| library::look(path))?;
        let [cuda, nvml] = vendor;
        if let (Err(source), Err(_)) = (cuda, &nvml) {
            return Err(DriverFolderError::Neither { folder: folder.to_owned(), source });
        }
        self.cuda_libraries = find_cuda(&self.exe, Some(folder));
        self.probe.nvml_library = nvml.ok().or(self.probe.nvml_library);
        Ok(self)
    }

    /// Whether Polder's own libraries, as far as they are there, can be loaded on this host. With one that
    /// cannot, programs in shares would find no device at all.
    ///
    /// # Errors
    /// [`OwnLibraryError`], with the first that cannot.
    pub fn check_own_libraries(&self) -> Result<(), OwnLibraryError> {
        let cuda = self.cuda_libraries.as_ref();
        let nvml = cuda.and_then(|cuda| cuda.nvml.as_ref());
        let own = [&self.driver_library, &cuda.map(|it| it.ours.clone())];
        let own = own.into_iter().flatten().chain(nvml.map(|nvml| &nvml.ours));
        for path in own {
            library::look(path)?;
        }
        Ok(())
    }
}

/// A folder that was to hold the vendor's libraries and does not.
#[derive(Debug, Error)]
pub enum DriverFolderError {
    /// It has none of them.
    #[error(
        "{} holds neither {CUDA_VENDOR} nor {NVML_VENDOR} ({source}): name the folder where NVIDIA's \
         driver keeps them, or leave --driver-folder out", folder.display()
    )]
    Neither {
        /// Which folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What it has in the place of one is none.
    #[error(
        "{0}: name the folder where NVIDIA's driver keeps its own, or leave --driver-folder out"
    )]
    NoLibrary(#[from] LibraryError),
}

/// A library of Polder's own that cannot be loaded.
#[derive(Debug, Error)]
#[error("{0}, and it is Polder's own: install Polder again, with its libraries")]
pub struct OwnLibraryError(#[from] LibraryError);

/// Looks for a library of ours where an installation or a build puts it: beside the binary, or in
/// `../lib/polder`.
fn find_library(exe: &Path, name: &str) -> Option<PathBuf> {
    let folder = exe.canonicalize().ok()?.parent()?.to_owned();
    let places = [folder.join(name), folder.join("../lib/polder").join(name)];
    places.into_iter().find_map(|place| place.canonicalize().ok())
}

/// Looks for our libraries for CUDA and NVML and for the vendor's own. The environment is not asked: it is not
/// the one that the lease's programs will have.
fn find_cuda(exe: &Path, first: Option<&Path>) -> Option<CudaLibraries> {
    let (ours, vendor) = find_both(exe, first, CUDA_LIBRARY, CUDA_VENDOR)?;
    let nvml = find_both(exe, first, NVML_LIBRARY, NVML_VENDOR);
    let nvml = nvml.map(|(ours, vendor)| NvmlLibraries { ours, vendor });
    Some(CudaLibraries { ours, vendor, nvml })
}

/// Our library, and the vendor's that is called `name`, which is looked for in `first` before the
/// usual folders. What has the name and is no library of this host is passed over, as the system's loader
/// does.
fn find_both(
    exe: &Path,
    first: Option<&Path>,
    ours: &str,
    name: &str,
) -> Option<(PathBuf, PathBuf)> {
    let ours = find_library(exe, ours)?;
    let folders = first.into_iter().chain(CUDA_FOLDERS.iter().map(Path::new));
    let mut places = folders.filter_map(|folder| folder.join(name).canonicalize().ok());
    let vendor = places.find(|found| *found != ours && library::look(found).is_ok())?;
    Some((ours, vendor))
}

/// What was passed over for a vendor's library where none was found, and why.
fn passed_over(options: &AgentOptions) -> Vec<LibraryError> {
    let cuda = options.cuda_libraries.as_ref();
    let missing = [
        cuda.is_none().then_some(CUDA_VENDOR),
        cuda.is_none_or(|cuda| cuda.nvml.is_none()).then_some(NVML_VENDOR),
    ];
    let places = missing.into_iter().flatten().flat_map(|name| {
        CUDA_FOLDERS
            .iter()
            .filter_map(move |folder| Path::new(folder).join(name).canonicalize().ok())
    });
    places.filter_map(|place| library::look(&place).err()).collect()
}

/// Looks for MPS's control program.
fn find_mps() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(MPS_FOLDERS.map(PathBuf::from));
    let mut places = folders.filter(|folder| folder.is_absolute());
    places.find_map(|folder| folder.join(MPS_PROGRAM).canonicalize().ok().filter(|it| it.is_file()))
}

/// Why the agent could not start, or stopped.
#[derive(Debug, Error)]
pub enum AgentError {
    /// Its memory of earlier starts.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The node's devices.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// The arbiter.
    #[error(transparent)]
    Arbiter(#[from] ArbiterError),
    /// Another agent has the state folder.
    #[error("another agent works in {}: stop it, or choose another folder with --state", path.display())]
    InUse {
        /// Which folder.
        path: PathBuf,
    },
    /// Its folders.
    #[error("{}: {source}{}", path.display(), write_help(.source))]
    State {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its socket.
    #[error("the agent's socket {}: {source}", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel does not tell which boot this is.
    #[error("/proc/sys/kernel/random/boot_id: {source}: is /proc mounted?")]
    Boot {
        /// What the system said.
        source: io::Error,
    },
    /// The server has a newer agent of this node.
    #[error(transparent)]
    Refused(SyncRefusal),
    /// A fault of the agent itself.
    #[error("the agent failed while {what}: see its log")]
    Broken {
        /// Doing what.
        what: &'static str,
    },
}

/// Runs this node's agent until `shutdown`. Its leases run on without it, under their shims; the
/// next agent finds them again.
///
/// # Errors
/// [`AgentError`], at the start or when a newer agent of this node is at work. Nothing that happens
/// to the server is an error.
pub async fn run_agent(
    options: AgentOptions,
    shutdown: impl Future<Output = ()>,
) -> Result<(), AgentError> {
    let _lock = take_folder(&StatePaths(options.state_dir.clone()))?;
    if options.driver_library.is_none() && options.simulate.is_none() {
        tracing::warn!(
            "{DRIVER_LIBRARY} was not found beside {}: shares of devices are not enforced",
            options.exe.display()
        );
    }
    for error in passed_over(&options) {
        tracing::warn!(
            "{error}: it is passed over; if NVIDIA's driver is elsewhere, name its folder with \
             --driver-folder"
        );
    }
    let node = Node::open(options).await?;
    Box::pin(node.run(shutdown)).await
}

/// Makes the folders and takes them for this process; the lock goes with it.
fn take_folder(paths: &StatePaths) -> Result<OwnedFd, AgentError> {
    let fail = |path: PathBuf| move |source: io::Error| AgentError::State { path, source };
    let folder = paths.leases();
    DirBuilder::new().recursive(true).mode(0o711).create(&folder).map_err(fail(folder))?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let lock = rustix::fs::open(paths.lock(), flags, Mode::RUSR | Mode::WUSR);
    let lock = lock.map_err(io::Error::from).map_err(fail(paths.lock()))?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(AgentError::InUse { path: paths.0.clone() }),
        Err(errno) => Err(fail(paths.lock())(errno.into())),
    }
}
