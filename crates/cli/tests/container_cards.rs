//! Cards of NVIDIA's in containers: a share through CUDA, the whole card, and a spatial part of it, with
//! podman and with Docker.
//!
//! There is no card here: the vendor's libraries are the stand-ins of `tests/standin`, which have no device
//! node; which nodes a real card gets is said in `runner/container/hand.rs` on files like the kernel's. MPS's
//! control daemon is NVIDIA's own, and is spoken to from inside the container.
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(clippy::print_stderr, reason = "a skip is said aloud")]

mod common;
#[path = "common/image.rs"]
mod image;
#[path = "../../agent/tests/support/mps_program.rs"]
mod mps_program;

use common::{POLDER, Pool, Said, say, soon};
use image::{Engine, Image};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where everything is built.
fn built(name: &str) -> PathBuf {
    Path::new(POLDER).parent().unwrap().join(name)
}

/// A stand-in H200 with its libraries, ours, and a tenant's program.
struct Machine {
    host: Child,
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let profile = Path::new(POLDER).parent().unwrap();
        let build = |words: &[&str]| {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["build", "--quiet"]).args(words).arg("--target-dir");
            cargo.arg(profile.parent().unwrap());
            if profile.ends_with("release") {
                cargo.arg("--release");
            }
            assert!(cargo.status().unwrap().success(), "{words:?} builds");
        };
        let stand_ins = ["polder-standin-cuda", "polder-standin-nvml", "polder-standin-host"];
        for package in stand_ins.into_iter().chain(["polder-driver-cuda", "polder-driver-nvml"]) {
            build(&["--package", package]);
        }
        build(&["--package", "polder-driver-cuda", "--example", "cuda_tenant"]);
        build(&["--package", "polder-standin-cuda", "--example", "client"]);
        let folder = tempfile::tempdir().unwrap();
        for (library, name) in
            [("libstandin_cuda.so", "libcuda.so.1"), ("libstandin_nvml.so", "libnvidia-ml.so.1")]
        {
            std::fs::copy(profile.join(library), folder.path().join(name)).unwrap();
        }
        let open = PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let socket = folder.path().join("device");
        let mut host = Command::new(profile.join("standin-host"));
        host.arg(&socket).arg("H200").stdin(Stdio::piped()).stdout(Stdio::null());
        let host = host.spawn().unwrap();
        soon("the stand-in card", || socket.exists().then_some(()));
        Self { host, folder }
    }

    fn pool(&self, engine: &Engine, more: &[&str], program: Option<&Path>) -> Option<Pool> {
        let here = self.folder.path().display().to_string();
        let mut flags = engine.flags();
        flags.extend(["--driver-folder".to_owned(), here.clone()]);
        flags.extend(more.iter().map(|word| (*word).to_owned()));
        let path = std::env::var("PATH").unwrap_or_default();
        let program = program.and_then(Path::parent).map(|it| it.display().to_string());
        let path = program.map_or(path.clone(), |program| format!("{program}:{path}"));
        let socket = format!("{here}/device");
        let variables =
            [("LD_LIBRARY_PATH", &*here), ("STANDIN_SOCKET", &*socket), ("PATH", &*path)];
        Pool::start_in(&flags.iter().map(String::as_str).collect::<Vec<_>>(), &variables)
    }

    /// Runs a job where the stand-in's socket is: the container sees its directory.
    fn run(&self, pool: &Pool, image: &Image<'_>, flags: &[&str], script: &str) -> Said {
        let flags = [&["--quiet", "--model", "H200", "--image", &image.name], flags].concat();
        let mut command = pool.run(&flags, script);
        command.current_dir(self.folder.path());
        command.env("STANDIN_SOCKET", self.folder.path().join("device"));
        say(command)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.host.kill();
        let _ = self.host.wait();
    }
}

/// The program opens the library by the name that every program uses, with no path to it.
const TENANT: &str = "CUDA_LIBRARY=libcuda.so.1 cuda_tenant";
const SHARE: [&str; 6] = ["--mechanism", "time-slice", "--compute", "30%", "--memory", "64MiB"];
const PART: [&str; 6] = ["--mechanism", "spatial", "--compute", "30%", "--memory", "10GiB"];

fn cards(engine: &Engine) {
    let machine = Machine::new();
    let program = mps_program::find();
    let fill = |tree: &Path| {
        let mut programs = vec![built("examples/cuda_tenant"), built("examples/client")];
        programs.extend(program.map(Path::to_owned));
        image::plain(tree, &programs, &[]);
    };
    let Some(image) = engine.image(fill) else { return };
    if let Some(pool) = machine.pool(engine, &[], None) {
        shared(&machine, &pool, &image);
    }
    let Some(program) = program else { return };
    if let Some(pool) = machine.pool(engine, &["--spatial", "all"], Some(program)) {
        beside(&machine, &pool, &image);
    }
}

fn shared(machine: &Machine, pool: &Pool, image: &Image<'_>) {
    // A share is held by our library under the vendor's name: 40 and 30 MiB are not in 64.
    let said = machine.run(pool, image, &SHARE, &format!("{TENANT} memory"));
    for line in ["free 64 of 64", "alloc 40 0", "alloc 30 2", "free 24 of 64"] {
        assert!(said.stdout.lines().any(|it| it == line), "no {line}: {said:?}");
    }
    let said = machine.run(pool, image, &SHARE, "client libcuda.so.1 saturate kernel 1000 1");
    assert_eq!(said.code, 0, "{said:?}");
    let jobs = pool.json(&["show", "--limit", "100"]);
    let job = jobs["jobs"].as_array().unwrap().iter().filter_map(|job| job["id"].as_u64()).max();
    let lease = pool.json(&["show", &job.unwrap().to_string()])["leases"][0].clone();
    assert_eq!(lease["lease"]["isolation"], "soft", "{lease}");
    let used = &lease["ending"]["end"]["sample"];
    assert!(used["launches"].as_u64().unwrap() >= 50, "{used}");
    assert!(used["devices"][0]["device_time"].as_u64().unwrap() > 0, "{used}");

    // The whole card is the vendor's driver alone, and nothing of ours is beside it.
    let said = machine.run(pool, image, &["--whole"], &format!("{TENANT} devices"));
    let total = said.stdout.lines().find_map(|line| line.strip_prefix("total "));
    let total: u64 = total.unwrap_or_else(|| panic!("{said:?}")).parse().unwrap();
    assert!(total > 100_000, "MiB of an H200: {said:?}");
}

fn beside(machine: &Machine, pool: &Pool, image: &Image<'_>) {
    let ask = "echo get_default_active_thread_percentage | nvidia-cuda-mps-control";
    let script = format!("{ask}; env; {TENANT} devices");
    let said = machine.run(pool, image, &PART, &script);
    assert_eq!(said.stdout.lines().next(), Some("30.0"), "the daemon's own answer: {said:?}");
    for line in [
        &format!("CUDA_MPS_PIPE_DIRECTORY={}", pool.file("mps/0").display()),
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=30",
        "CUDA_VISIBLE_DEVICES=GPU-7374616e-642d-696e-2064-657669636530",
        "NVIDIA_VISIBLE_DEVICES=void",
        "devices 1",
    ] {
        assert!(said.stdout.lines().any(|it| it == line), "no {line}: {said:?}");
    }
}

#[test]
fn cards_are_handed_into_podmans_containers() {
    if let Some(podman) = Engine::podman() {
        cards(&podman);
    }
}

#[test]
fn cards_are_handed_into_dockers_containers() {
    if let Some(docker) = Engine::docker() {
        cards(&docker);
    }
}
