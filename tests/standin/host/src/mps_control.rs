//! A STAND-IN for NVIDIA's `nvidia-cuda-mps-control` of driver 590, which cuts static partitions: the
//! newest that Debian has is older. It follows the vendor's documentation and what people show of its
//! answers; no card and no server is behind it, so nothing computes. Tests copy it under the vendor's
//! name.
#![allow(clippy::print_stdout, reason = "a program for a terminal")]
#![allow(clippy::unwrap_used, reason = "a test's program ends where it fails")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

/// Chunks of the one card, and multiprocessors of each: most of an H200's 132.
const CHUNKS: u32 = 16;
const UNITS: u32 = 8;

fn pipe() -> PathBuf {
    PathBuf::from(std::env::var_os("CUDA_MPS_PIPE_DIRECTORY").unwrap())
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["-v"] => println!("13010"),
        ["-d"] => begin("--plain"),
        ["-d", "-S"] => begin("--partitions"),
        ["--plain"] => serve(false),
        ["--partitions"] => serve(true),
        [] => return ask(),
        _ => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}

/// Starts the daemon and waits until it listens.
#[allow(clippy::zombie_processes, reason = "the daemon is to outlive this process")]
fn begin(how: &str) {
    let null = Stdio::null;
    let mut daemon = Command::new(std::env::current_exe().unwrap());
    daemon.arg(how).stdin(null()).stdout(null()).stderr(null()).spawn().unwrap();
    while UnixStream::connect(pipe().join("control")).is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn ask() -> ExitCode {
    let Ok(mut daemon) = UnixStream::connect(pipe().join("control")) else {
        println!("Cannot find MPS control daemon process");
        return ExitCode::FAILURE;
    };
    for line in std::io::stdin().lines() {
        writeln!(daemon, "{}", line.unwrap()).unwrap();
    }
    daemon.shutdown(std::net::Shutdown::Write).unwrap();
    std::io::copy(&mut daemon, &mut std::io::stdout()).unwrap();
    ExitCode::SUCCESS
}

fn serve(partitions: bool) {
    let file = pipe().join("nvidia-cuda-mps-control.pid");
    std::fs::write(file, std::process::id().to_string()).unwrap();
    let listener = UnixListener::bind(pipe().join("control")).unwrap();
    let mut daemon = Daemon { percentage: "100.0".into(), partitions, ..Daemon::default() };
    for client in listener.incoming() {
        let client = client.unwrap();
        let lines: Vec<String> = BufReader::new(&client).lines().map_while(Result::ok).collect();
        for line in lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.first() == Some(&"quit") {
                return;
            }
            // Whoever does not wait for the answer gets none.
            let _ = (&client).write_all(daemon.answer(&words).as_bytes());
        }
    }
}

#[derive(Default)]
struct Daemon {
    percentage: String,
    memory: String,
    partitions: bool,
    made: u32,
    cut: BTreeMap<String, u32>,
}

impl Daemon {
    fn answer(&mut self, words: &[&str]) -> String {
        match *words {
            ["set_default_active_thread_percentage", value] => {
                self.percentage = format!("{:.1}", value.parse::<f64>().unwrap());
                String::new()
            }
            ["get_default_active_thread_percentage"] => format!("{}\n", self.percentage),
            ["set_default_device_pinned_mem_limit", "0", value] => {
                self.memory = value.to_owned();
                String::new()
            }
            ["get_default_device_pinned_mem_limit", "0"] => format!("{}\n", self.memory),
            ["get_server_list"] => String::new(),
            ["sm_partition", "add", uuid, chunks] if self.partitions => self.add(uuid, chunks),
            // A test says that a program computes there.
            ["sm_partition", "rm", ..] if self.partitions && pipe().join("busy").exists() => {
                "Failed to remove the requested SM partition\n".to_owned()
            }
            ["sm_partition", "rm", _, name] if self.partitions => {
                self.cut.remove(name);
                String::new()
            }
            ["lspart"] if self.partitions => self.list(),
            _ => format!("Unknown command \"{}\"\n", words.first().unwrap_or(&"")),
        }
    }

    /// In the columns that the documentation shows.
    fn list(&self) -> String {
        let taken: u32 = self.cut.values().sum();
        let (free, free_units) = (CHUNKS - taken, (CHUNKS - taken) * UNITS);
        let units = taken * UNITS;
        let head = "GPU Partition free used free used clients\nchunk chunk SM SM\n".to_owned();
        let card = format!("GPU-57a4d141 - {free} {taken} {free_units} {units} -\n");
        let line = |(name, chunks): (&String, &u32)| {
            format!("GPU-57a4d141 {name} - {chunks} - {} No\n", chunks * UNITS)
        };
        head + &card + &self.cut.iter().map(line).collect::<String>()
    }

    fn add(&mut self, uuid: &str, chunks: &str) -> String {
        let wanted: u32 = chunks.parse().unwrap();
        if self.cut.values().sum::<u32>() + wanted > CHUNKS {
            return format!(
                "Failed to fulfill the requested SM partition of {wanted} chunks, error \
                 CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION\n"
            );
        }
        self.made += 1;
        let name = format!("Dx{}AAAAAAAA", self.made);
        self.cut.insert(name.clone(), wanted);
        format!("Partition {uuid}/{name} created\n")
    }
}
