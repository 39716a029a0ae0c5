//! What a process has mapped that matters: a vendor's library, a device, a usage page.

use std::io::{self, BufRead, BufReader, Read};

/// Most bytes of a process's memory map that are read; more than the kernel's usual limit of 65,530
/// mappings takes.
const MAPS_BYTES_MAX: u64 = 32 << 20;
/// What the usage page is called in a memory map.
const USAGE: &[u8] = b"/memfd:polder-usage";
/// Device nodes that a program maps which drives the device: NVIDIA's and AMD's.
const NODES: [&[u8]; 2] = [b"/dev/nvidia", b"/dev/kfd"];
/// NVIDIA's control node alone is mapped by programs that only ask.
const NOT_A_DEVICE: &[u8] = b"/dev/nvidiactl";

/// What a memory map names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Mapped {
    /// Code of a vendor's library, or a device: the path.
    pub(super) device_use: Option<String>,
    /// A lease's usage page.
    pub(super) usage: bool,
}

/// A library's file name up to its version: one vendor's library by whichever of its names.
pub(super) fn stem(library: &str) -> Option<&str> {
    let name = library.rsplit('/').next()?;
    let end = name.find(".so")? + 3;
    name.get(..end).filter(|stem| stem.len() > 3)
}

/// Reads the memory map of `pid`. `libraries` are stems.
///
/// # Errors
/// What the system says; a process of another user cannot be looked at without privileges.
pub(super) fn mapped(pid: u32, libraries: &[String]) -> io::Result<Mapped> {
    let file = std::fs::File::open(format!("/proc/{pid}/maps"))?;
    parse(BufReader::new(file.take(MAPS_BYTES_MAX)), libraries)
}

fn parse(mut maps: impl BufRead, libraries: &[String]) -> io::Result<Mapped> {
    let mut found = Mapped::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        if maps.read_until(b'\n', &mut line)? == 0 {
            return Ok(found);
        }
        // `begin-end perms offset device inode   path`; a path may hold spaces, never a line's end.
        let Some(at) = line.iter().position(|byte| *byte == b'/') else { continue };
        let path = line[at..].strip_suffix(b"\n").unwrap_or(&line[at..]);
        found.usage |= path.starts_with(USAGE);
        if found.device_use.is_some() {
            continue;
        }
        let runs =
            line.split(|byte| *byte == b' ').nth(1).is_some_and(|perms| perms.contains(&b'x'));
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let library = || runs && libraries.iter().any(|stem| is_version(name, stem.as_bytes()));
        let device =
            || NODES.iter().any(|node| path.starts_with(node)) && !path.starts_with(NOT_A_DEVICE);
        if library() || device() {
            found.device_use = Some(String::from_utf8_lossy(path).into_owned());
        }
    }
}

/// Whether `name` is the library `stem` with or without a version: not another whose name only
/// begins alike.
fn is_version(name: &[u8], stem: &[u8]) -> bool {
    name.strip_prefix(stem).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"."))
        || name.strip_prefix(stem).is_some_and(|rest| rest.starts_with(b" (deleted)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, device_use: bool, usage: bool) {
        let libraries = ["libpocl.so".to_owned()];
        let text =
            format!("7f00-7f01 r--p 0000 00:1b 9 /usr/lib/libc.so.6\n{line}\n7f02-7f03 rw-p 0");
        let found = parse(text.as_bytes(), &libraries).unwrap();
        assert_eq!((found.device_use.is_some(), found.usage), (device_use, usage), "{line}");
    }

    #[test]
    fn code_of_the_vendors_library_counts_under_any_name_and_nothing_else() {
        check("7f0-7f1 r-xp 0 08:01 5 /usr/lib/libpocl.so.2.10.0", true, false);
        check("7f0-7f1 r-xp 0 08:01 5     /tmp/a b/libpocl.so", true, false);
        check("7f0-7f1 r-xp 0 08:01 5 /tmp/libpocl.so.2 (deleted)", true, false);
        check("7f0-7f1 r-xp 0 08:01 5 /tmp/libpocl.so (deleted)", true, false);
        check("7f0-7f1 r--p 0 08:01 5 /usr/lib/libpocl.so.2.10.0", false, false);
        check("7f0-7f1 r-xp 0 08:01 5 /usr/lib/libpocl.sofa", false, false);
        check("7f0-7f1 r-xp 0 08:01 5 /usr/lib/libpocl.so.d/libm.so.6", false, false);
        check("7f0-7f1 rw-s 0 00:01 5 /memfd:polder-usage (deleted)", false, true);
        check("7f0-7f1 rw-s 0 00:05 5 /dev/nvidia0", true, false);
        check("7f0-7f1 rw-s 0 00:05 5 /dev/nvidia-uvm", true, false);
        check("7f0-7f1 rw-s 0 00:05 5 /dev/nvidiactl", false, false);
        check("7f0-7f1 rw-s 0 00:05 5 /dev/kfd", true, false);
        for nonsense in ["", "/", " /", "\0\u{fffd}/libpocl.so", "a b c d e f"] {
            check(nonsense, false, false);
        }
    }

    #[test]
    fn a_library_is_known_by_its_name_without_version() {
        assert_eq!(stem("libpocl.so.2.10.0"), Some("libpocl.so"));
        assert_eq!(stem("/opt/x/libnvidia-opencl.so.1"), Some("libnvidia-opencl.so"));
        for none in ["", ".so", "/a/.so.1", "pocl", "libpocl.so/"] {
            assert_eq!(stem(none), None, "{none}");
        }
    }
}
