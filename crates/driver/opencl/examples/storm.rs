//! A tenant's program that allocates, frees and dies: what the API answers is all it goes by.
//!
//! ```text
//! storm --cap                         allocate up to the limit, then one byte more
//! storm --kills N                     kill a holder of everything; when can another have it?
//! storm --steps N --processes P       random allocate, free, fork, exec and kill; what is held in the end?
//! ```
//! The last line on standard output is a JSON object. `storm --serve` is a child of the others.

#![allow(unsafe_code)] // `call!` calls the C API, and a fork

#[path = "common/mod.rs"]
mod common;

use common::{Cl, call, check};
use polder_gpuapi::opencl::types::*;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

const CL_DEVICE_GLOBAL_MEM_SIZE: cl_device_info = 0x101F;
const MIB: usize = 1 << 20;
/// How long a process that was left behind lives on.
const ORPHAN: Duration = Duration::from_millis(300);
type Failure = Box<dyn std::error::Error>;

/// The first device of the first platform, and buffers on it.
struct Memory {
    cl: Cl,
    context: cl_context,
    limit: usize,
}

impl Memory {
    fn open() -> Result<Self, Failure> {
        let cl = Cl::load();
        let platform = *cl.platforms().first().ok_or("no OpenCL platform is visible")?;
        let device = *cl.devices(platform).first().ok_or("the platform shows no device")?;
        let limit = usize::try_from(cl.device_u64(device, CL_DEVICE_GLOBAL_MEM_SIZE))?;
        let context = cl.context(&[device]);
        Ok(Self { cl, context, limit })
    }

    fn free(&self, buffer: cl_mem) {
        check(call!(self.cl, clReleaseMemObject(buffer)));
    }

    /// Allocates in ever smaller steps until even one byte is refused; what was had, and the error.
    fn fill(&self) -> (usize, cl_int) {
        let (mut had, mut step) = (0, 4 * MIB);
        loop {
            match self.cl.buffer(self.context, step) {
                Ok(_) => had += step,
                Err(error) if step == 1 => return (had, error),
                Err(_) => step /= 2,
            }
        }
    }
}

/// A child that allocates and frees as it is told.
struct Server {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    held: BTreeMap<u64, usize>,
}

impl Server {
    fn start() -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let to = child.stdin.take().ok_or("no pipe")?;
        let from = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        Ok(Self { child, to, from, held: BTreeMap::new() })
    }

    fn ask(&mut self, line: &str) -> Result<String, Failure> {
        writeln!(self.to, "{line}")?;
        let mut answer = String::new();
        self.from.read_line(&mut answer)?;
        Ok(answer.trim().to_owned())
    }

    /// Allocates under the name `id`; the API's error when it refuses.
    fn allocate(&mut self, id: u64, bytes: usize) -> Result<Result<(), i32>, Failure> {
        let answer = self.ask(&format!("allocate {id} {bytes}"))?;
        match answer.strip_prefix("error ") {
            Some(code) => Ok(Err(code.parse()?)),
            None if answer == "ok" => {
                self.held.insert(id, bytes);
                Ok(Ok(()))
            }
            None => Err(format!("the child answered {answer:?}").into()),
        }
    }

    fn free(&mut self, id: u64) -> Result<(), Failure> {
        self.ask(&format!("free {id}"))?;
        self.held.remove(&id);
        Ok(())
    }

    /// The child leaves one of its own behind, which lives on for a while whatever becomes of it.
    fn fork(&mut self) -> Result<(), Failure> {
        self.told("fork")
    }

    /// The child becomes another program, which holds nothing.
    fn exec(&mut self) -> Result<(), Failure> {
        self.told("exec")?;
        self.held.clear();
        Ok(())
    }

    fn told(&mut self, what: &str) -> Result<(), Failure> {
        match self.ask(what)?.as_str() {
            "ok" => Ok(()),
            other => Err(format!("the child answered {other:?} to {what}").into()),
        }
    }

    fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill()?;
        self.child.wait()?;
        self.held.clear();
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Leaves a process behind that has what this one has, and ends by itself.
fn leave_behind() -> Result<(), Failure> {
    // SAFETY: the child only sleeps and ends.
    match unsafe { libc::fork() } {
        0 => {
            std::thread::sleep(ORPHAN);
            // SAFETY: ends the process, and runs nothing that it has inherited.
            unsafe { libc::_exit(0) }
        }
        -1 => Err(std::io::Error::last_os_error().into()),
        _ => Ok(()),
    }
}

/// A line, read byte by byte: what comes after it is for the program that this one may become.
fn line() -> Result<Option<String>, Failure> {
    let mut bytes = Vec::new();
    loop {
        let mut byte = [0];
        // SAFETY: room for one byte.
        match unsafe { libc::read(0, byte.as_mut_ptr().cast(), 1) } {
            1 if byte[0] == b'\n' => return Ok(Some(String::from_utf8(bytes)?)),
            1 => bytes.push(byte[0]),
            0 => return Ok(None),
            _ => return Err(std::io::Error::last_os_error().into()),
        }
    }
}

fn serve(again: bool) -> Result<(), Failure> {
    let memory = Memory::open()?;
    let mut buffers = BTreeMap::new();
    let mut out = std::io::stdout();
    if again {
        writeln!(out, "ok")?;
    }
    while let Some(line) = line()? {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["allocate", id, bytes] => match memory.cl.buffer(memory.context, bytes.parse()?) {
                Ok(buffer) => {
                    buffers.insert(id.to_owned(), buffer);
                    writeln!(out, "ok")?;
                }
                Err(error) => writeln!(out, "error {error}")?,
            },
            ["free", id] => {
                if let Some(buffer) = buffers.remove(id) {
                    memory.free(buffer);
                }
                writeln!(out, "ok")?;
            }
            ["fork"] => {
                leave_behind()?;
                writeln!(out, "ok")?;
            }
            ["exec"] => {
                let mut other = Command::new(std::env::current_exe()?);
                return Err(other.args(["--serve", "again"]).exec().into());
            }
            _ => return Err(format!("not a command: {line:?}").into()),
        }
        out.flush()?;
    }
    Ok(())
}

fn cap() -> Result<String, Failure> {
    let memory = Memory::open()?;
    let (granted, error) = memory.fill();
    let limit = memory.limit;
    Ok(format!(
        "{{\"granted_bytes\":{granted},\"limit_bytes\":{limit},\"error_past_cap\":{error}}}"
    ))
}

/// Kills holders of everything; milliseconds from each one's exit, as `waitpid` tells it, until
/// another process is granted the same bytes.
fn kills(count: usize) -> Result<String, Failure> {
    let limit = Memory::open()?.limit;
    let mut waiter = Server::start()?;
    let mut times = Vec::new();
    for round in 0..count {
        let id = round as u64;
        let mut holder = Server::start()?;
        holder.allocate(id, limit)?.map_err(|error| format!("nothing is held, yet: {error}"))?;
        if waiter.allocate(id, limit)?.is_ok() {
            return Err("two processes hold everything at once".into());
        }
        holder.kill()?;
        let exit = Instant::now();
        while waiter.allocate(id, limit)?.is_err() {
            if exit.elapsed() > Duration::from_secs(5) {
                return Err("the dead holder's memory is not free after 5 s".into());
            }
        }
        times.push(exit.elapsed().as_secs_f64() * 1000.0);
        waiter.free(id)?;
    }
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    Ok(format!(
        "{{\"kills\":{count},\"freed_ms_p50\":{:.3},\"freed_ms_p99\":{:.3}}}",
        at(50),
        at(99)
    ))
}

/// A small generator with a fixed seed: the same steps in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % below
    }
}

fn random(steps: usize, processes: usize) -> Result<String, Failure> {
    let limit = Memory::open()?.limit;
    let mut dice = Dice(42);
    let mut servers = (0..processes).map(|_| Server::start()).collect::<Result<Vec<_>, _>>()?;
    let (mut most, mut granted, mut refused, mut killed) = (0, 0_u64, 0_u64, 0_u64);
    let (mut forked, mut became, mut slowest) = (0_u64, 0_u64, Duration::ZERO);
    for step in 0..steps {
        let which = dice.roll(processes);
        let server = &mut servers[which];
        match dice.roll(100) {
            0 => {
                server.kill()?;
                *server = Server::start()?;
                killed += 1;
            }
            1 => {
                server.exec()?;
                became += 1;
            }
            2 => {
                server.fork()?;
                forked += 1;
            }
            3..40 if !server.held.is_empty() => {
                let nth = dice.roll(server.held.len());
                let id = *server.held.keys().nth(nth).expect("below its length");
                server.free(id)?;
            }
            _ => {
                let bytes = 1 + dice.roll(limit / 8);
                let asked = Instant::now();
                match server.allocate(step as u64, bytes)? {
                    Ok(()) => granted += 1,
                    Err(_) => refused += 1,
                }
                slowest = slowest.max(asked.elapsed());
            }
        }
        most = most.max(servers.iter().flat_map(|server| server.held.values()).sum());
    }
    drop(servers);
    // Only what is really free can be had: the rest is still held by somebody.
    let asked = Instant::now();
    let mut last = Server::start()?;
    while last.allocate(0, limit)?.is_err() && asked.elapsed() < Duration::from_secs(2) {}
    let held = if last.held.is_empty() { limit - Memory::open()?.fill().0 } else { 0 };
    Ok(format!(
        "{{\"steps\":{steps},\"processes\":{processes},\"granted\":{granted},\"refused\":{refused},\
         \"killed\":{killed},\"execs\":{became},\"forks\":{forked},\"limit_bytes\":{limit},\
         \"most_held\":{most},\"held_at_end\":{held},\"slowest_ms\":{:.3}}}",
        slowest.as_secs_f64() * 1000.0
    ))
}

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let answer = match words[..] {
        ["--serve"] => return serve(false),
        ["--serve", "again"] => return serve(true),
        ["--cap"] => cap()?,
        ["--kills", count] => kills(count.parse()?)?,
        ["--steps", steps, "--processes", processes] => random(steps.parse()?, processes.parse()?)?,
        _ => return Err("see the top of the file for its flags".into()),
    };
    writeln!(std::io::stdout(), "{answer}")?;
    Ok(())
}
