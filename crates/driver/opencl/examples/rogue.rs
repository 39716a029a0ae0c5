//! A tenant's program that breaks the rules, or looks as if it did.
//!
//! ```text
//! rogue hold LIBRARY       loads a vendor's library by itself, and waits
//! rogue quit               gets its slot, gives it up, keeps the library, and waits
//! rogue fork               gets its slot, and waits beside a fork of itself that does nothing
//! rogue storm N            starts N programs one after another, each of which gets its slot
//! rogue lie FIELD          gets its slot, writes one lie into it, and waits
//! rogue scribble SECONDS   gets its slot, writes noise all over the page, and ends
//! ```
//! Whoever waits first says `ready`, its process id, and since when it breaks the rules: microseconds
//! since 1970. `rogue once` is a child of the others.

#![allow(unsafe_code)] // it does what no program should

#[path = "common/mod.rs"]
mod common;

use common::{Cl, call, check};
use polder_gpuapi::opencl::types::cl_context;
use polder_ledger::{DEVICES_MAX, Usage};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

type Failure = Box<dyn std::error::Error>;

/// However the test fails, the program ends.
const LONGEST: Duration = Duration::from_secs(120);

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["hold", library] => {
            // SAFETY: running the initialisers of a library that the test names.
            let _library = unsafe { libloading::Library::new(library)? };
            wait()
        }
        ["quit"] => {
            let _held = attach()?;
            quit()?;
            wait()
        }
        ["fork"] => {
            let _held = attach()?;
            fork()?;
            wait()
        }
        ["storm", count] => {
            for _ in 0..count.parse()? {
                let once = Command::new(std::env::current_exe()?).arg("once").status()?;
                if !once.success() {
                    return Err(format!("a program of the storm: {once}").into());
                }
            }
            Ok(())
        }
        ["once"] => {
            let (cl, context) = attach()?;
            check(call!(cl, clReleaseContext(context)));
            Ok(())
        }
        ["lie", field] => {
            let _held = attach()?;
            lie(field)?;
            wait()
        }
        ["scribble", seconds] => {
            let _held = attach()?;
            scribble(Duration::from_secs(seconds.parse()?))
        }
        _ => Err("see the first lines of its source".into()),
    }
}

/// Gets a slot, as any program does that looks for devices.
fn attach() -> Result<(Cl, cl_context), Failure> {
    let cl = Cl::load();
    let platform = *cl.platforms().first().ok_or("no OpenCL platform is visible")?;
    let device = *cl.devices(platform).first().ok_or("the platform shows no device")?;
    let context = cl.context(&[device]);
    Ok((cl, context))
}

fn wait() -> Result<(), Failure> {
    say("ready")?;
    std::thread::sleep(LONGEST);
    Ok(())
}

fn say(word: &str) -> Result<(), Failure> {
    use std::io::Write;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{word} {} {now}", std::process::id())?;
    Ok(out.flush()?)
}

/// The bytes of the page in this process.
fn page() -> Result<(usize, usize), Failure> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let line = maps.lines().find(|line| line.contains("/memfd:polder-usage"));
    let range = line.and_then(|line| line.split(' ').next()).ok_or("no page is mapped")?;
    let (begin, end) = range.split_once('-').ok_or("a mapping without an end")?;
    let begin = usize::from_str_radix(begin, 16)?;
    Ok((begin, usize::from_str_radix(end, 16)? - begin))
}

/// Gives up the connection to the shim and the page.
fn quit() -> Result<(), Failure> {
    for entry in std::fs::read_dir("/proc/self/fd")?.flatten() {
        let socket = std::fs::read_link(entry.path())
            .is_ok_and(|target| target.to_string_lossy().starts_with("socket:"));
        let number: Option<i32> = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(number) = number.filter(|number| socket && *number > 2) {
            // SAFETY: nobody here uses the connection after this.
            unsafe { libc::close(number) };
        }
    }
    while let Ok((begin, bytes)) = page() {
        // SAFETY: nobody here uses the page after this.
        unsafe { libc::munmap(begin as *mut libc::c_void, bytes) };
    }
    Ok(())
}

/// A fork that does nothing, and ends with its parent.
fn fork() -> Result<(), Failure> {
    // SAFETY: the child calls nothing but the system.
    match unsafe { libc::fork() } {
        -1 => Err(std::io::Error::last_os_error().into()),
        // SAFETY: as above.
        0 => unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            loop {
                libc::pause();
            }
        },
        _ => Ok(()),
    }
}

/// The page as the ledger lays it out.
fn usage() -> Result<&'static Usage, Failure> {
    let (begin, bytes) = page()?;
    assert!(bytes >= size_of::<Usage>(), "a whole page is mapped");
    // SAFETY: the driver maps it for as long as the process lives, and every field is an atomic.
    Ok(unsafe { &*(begin as *const Usage) })
}

fn lie(field: &str) -> Result<(), Failure> {
    let usage = usage()?;
    let mine =
        usage.slots().iter().find(|slot| slot.pid.load(Ordering::Relaxed) == std::process::id());
    let slot = mine.ok_or("it has no slot")?;
    match field {
        "header" => {
            // SAFETY: the page begins with its header, of which any bytes are valid atomics.
            unsafe { &*std::ptr::from_ref(usage).cast::<AtomicU64>() }.store(0, Ordering::Relaxed);
        }
        "pid" => slot.pid.store(1, Ordering::Relaxed),
        "waiting" => slot.waiting.store(1 << 30, Ordering::Relaxed),
        "inflight" => slot.inflight.store(1 << 30, Ordering::Relaxed),
        // A lie that adds up, about work that never ends.
        "stuck" => {
            slot.inflight.store(1, Ordering::Relaxed);
            slot.launched.store(slot.completed.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        "completed" => slot.completed.store(u64::MAX, Ordering::Relaxed),
        "longest" => slot.longest_ns.store(u64::MAX, Ordering::Relaxed),
        // The claim in the row of what it has pinned: of a lease of one device, the last.
        "turns" => slot.device[DEVICES_MAX - 1].claim.store(u64::MAX, Ordering::Relaxed),
        "held" => slot.device[0].held.store(u64::MAX, Ordering::Relaxed),
        _ => return Err(format!("no such lie: {field}").into()),
    }
    Ok(())
}

/// Noise into every field, from a generator that anybody can repeat.
fn scribble(time: Duration) -> Result<(), Failure> {
    let (begin, bytes) = page()?;
    let words = bytes / size_of::<AtomicU64>();
    let until = Instant::now() + time;
    let mut state = u64::from(std::process::id()) | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    say("ready")?;
    while Instant::now() < until {
        for _ in 0..1000 {
            let at = usize::try_from(random())? % words;
            // Small numbers are believed sooner than large ones.
            let value = if random() % 2 == 0 { random() } else { random() % 8 };
            // SAFETY: inside the mapping, aligned, and every word of it is an atomic.
            unsafe { &*(begin as *const AtomicU64).add(at) }.store(value, Ordering::Relaxed);
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}
