//! Where the lease's shim listens: by the variable or, when the environment was cleared, by the lease's own
//! mount.
//!
//! Invariant: this says only *where* to ask. Whoever points a process elsewhere (a variable, a mount of its
//! own) changes nothing of what it may have: the shim that is found lets in the processes of its own lease
//! alone, whatever they say.
//!
//! The runner binds the lease's socket onto itself in the lease's mount namespace, and into its containers at
//! the same path, so the kernel's list of the process's mounts names it. No path that every machine, user and
//! image has would serve as well.

use polder_ledger::attach::{SOCKET_FILE, SOCKET_VARIABLE};
use polder_ledger::record::PROFILE_LINK;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// The kernel's list of the mounts that this process sees.
const MOUNTS: &str = "/proc/self/mountinfo";
/// Most bytes of it that are read; tens of thousands of mounts have fewer.
const MOUNTS_BYTES_MAX: u64 = 16 << 20;
/// Most sockets that are tried, the newest mounts first.
const CANDIDATES_MAX: usize = 4;
/// Place of the mount point in a line, counted from 0 (proc_pid_mountinfo(5)).
const MOUNT_POINT: usize = 4;

/// Where to ask, the likeliest first: what the variable says and nothing else, or the mounts.
pub(crate) fn candidates() -> Vec<PathBuf> {
    if let Some(path) = std::env::var_os(SOCKET_VARIABLE) {
        return vec![path.into()];
    }
    File::open(MOUNTS).map_or_else(|_| Vec::new(), |list| mounted(list.take(MOUNTS_BYTES_MAX)))
}

/// Where a process whose environment was cleared writes its part of a profile: the shim has put a link to it
/// beside the socket. Who still has the variable for the socket was not told to record.
pub(crate) fn records() -> Option<PathBuf> {
    if std::env::var_os(SOCKET_VARIABLE).is_some() {
        return None;
    }
    let socket = candidates().into_iter().next()?;
    std::fs::read_link(socket.with_file_name(PROFILE_LINK)).ok()
}

/// Mount points called as a lease's socket is, the newest first.
fn mounted(list: impl Read) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in BufReader::new(list).split(b'\n').map_while(Result::ok) {
        let point = line.split(|byte| *byte == b' ').nth(MOUNT_POINT);
        let path = point.map(unescape).filter(|path| path.ends_with(SOCKET_FILE));
        found.extend(path);
        if found.len() > CANDIDATES_MAX {
            found.remove(0);
        }
    }
    found.reverse();
    found
}

/// A path as it is: the kernel writes blanks, newlines and backslashes as three octal digits.
fn unescape(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let octal = (*first == b'\\').then(|| after.split_at_checked(3)).flatten();
        let coded = octal.and_then(|(digits, after)| Some((octal_byte(digits)?, after)));
        let (byte, left) = coded.unwrap_or((*first, after));
        bytes.push(byte);
        rest = left;
    }
    PathBuf::from(OsString::from_vec(bytes))
}

fn octal_byte(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(list: &str, expect: &[&str]) {
        let expect: Vec<PathBuf> = expect.iter().map(PathBuf::from).collect();
        assert_eq!(mounted(list.as_bytes()), expect, "{list}");
    }

    #[test]
    fn the_leases_socket_is_found_among_the_mounts_the_newest_first() {
        check("", &[]);
        check("36 35 98:0 / / rw - ext4 /dev/sda rw\n", &[]);
        let one =
            "36 35 98:0 /v/L7/driver.sock /v/L7/driver.sock rw,noatime master:1 - ext4 x rw\n";
        check(one, &["/v/L7/driver.sock"]);
        check("1 2 3:4 /driver.sock /run/other.sock rw - ext4 x rw\n", &[]);
        check("1 2 3:4 / /s/not-driver.sock rw - ext4 x rw\n", &[]);
        let blank = "9 3 3:4 / /my\\040own\\134/driver.sock rw - ext4 x rw\n";
        check(&format!("{one}{blank}"), &["/my own\\/driver.sock", "/v/L7/driver.sock"]);
        check("9 3 3:4 / /a\\9zz\\04/driver.sock rw", &["/a\\9zz\\04/driver.sock"]);
        check("9 3 3:4", &[]);
    }

    #[test]
    fn of_many_only_the_newest_are_tried() {
        let many: String = (0..50).map(|n| format!("1 2 3:4 / /L{n}/driver.sock rw\n")).collect();
        check(
            &many,
            &["/L49/driver.sock", "/L48/driver.sock", "/L47/driver.sock", "/L46/driver.sock"],
        );
    }
}
