//! Whether a file is a shared library that this program's own host can load, by its ELF header. A file that
//! is none is met at the start of an agent, by name, and not by every program of every lease.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Bytes of a library's beginning that are looked at: its header, and its segments where linkers put them.
const HEAD_BYTES: usize = 4096;
/// Bytes of an ELF header of 64 bits, and of one entry in its table of segments.
const HEADER_BYTES: usize = 64;
const SEGMENT_BYTES: usize = 56;
/// A file's type: a shared library.
const SHARED: u16 = 3;
/// A segment's type: a part of the file that is loaded.
const LOADED: u32 = 1;
/// The number by which ELF calls the processor that this program was built for; 0 where it is not known here.
const HOST: u16 = match std::env::consts::ARCH.as_bytes() {
    b"x86_64" => 62,
    b"aarch64" => 183,
    _ => 0,
};

/// What keeps a file from being a library for this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NoLibrary {
    /// A folder, a pipe or the like.
    #[error("is no file")]
    NoFile,
    /// No bytes at all.
    #[error("is empty")]
    Empty,
    /// The first bytes are not ELF's.
    #[error("is no library: it does not begin as one (ELF)")]
    NotElf,
    /// Another kind of ELF file: a program, an object.
    #[error("is no shared library but another ELF file (type {0})")]
    NotShared(u16),
    /// 32 bits, or the other order of bytes.
    #[error("is a library of 32 bits or of another order of bytes than this host's")]
    Class,
    /// Another processor's.
    #[error("is a library for another processor ({}, this host is {})", machine(*.0), machine(HOST))]
    Machine(u16),
    /// It ends before what its header says is in it.
    #[error("is cut off: it has {has} bytes and its header tells of {of}")]
    Cut {
        /// Its length.
        has: u64,
        /// How long it would be at least.
        of: u64,
    },
}

/// A file that was to be a library and is none, or cannot be read.
#[derive(Debug, Error)]
pub enum LibraryError {
    /// It is none.
    #[error("{} {why}", path.display())]
    Not {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: NoLibrary,
    },
    /// It cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Looks at a file.
///
/// # Errors
/// [`LibraryError`], with its path.
pub(crate) fn look(path: &Path) -> Result<(), LibraryError> {
    let not = |why| LibraryError::Not { path: path.to_owned(), why };
    let unread = |source| LibraryError::Read { path: path.to_owned(), source };
    // Before it is opened: a pipe would be waited for.
    let about = path.metadata().map_err(unread)?;
    if !about.is_file() {
        return Err(not(NoLibrary::NoFile));
    }
    let mut head = Vec::new();
    let file = File::open(path).map_err(unread)?;
    file.take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(unread)?;
    judge(&head, about.len()).map_err(not)
}

/// Judges a file by its beginning and its length. Pure.
///
/// # Errors
/// [`NoLibrary`].
fn judge(head: &[u8], has: u64) -> Result<(), NoLibrary> {
    if head.is_empty() {
        return Err(NoLibrary::Empty);
    }
    if !head.starts_with(b"\x7fELF") {
        return Err(NoLibrary::NotElf);
    }
    let Some(header) = head.get(..HEADER_BYTES) else {
        return Err(NoLibrary::Cut { has, of: HEADER_BYTES as u64 });
    };
    let order = if cfg!(target_endian = "little") { 1 } else { 2 };
    if (header[4], header[5]) != (2, order) {
        return Err(NoLibrary::Class);
    }
    match (half(header, 16), half(header, 18)) {
        (_, machine) if HOST != 0 && machine != HOST => return Err(NoLibrary::Machine(machine)),
        (kind, _) if kind != SHARED => return Err(NoLibrary::NotShared(kind)),
        _ => {}
    }
    let (table, entries) = (long(header, 32), u64::from(half(header, 56)));
    let loaded = (0..entries).filter_map(|at| loaded_to(head, table, at)).max();
    let of = table.saturating_add(entries * SEGMENT_BYTES as u64).max(loaded.unwrap_or(0));
    if of > has { Err(NoLibrary::Cut { has, of }) } else { Ok(()) }
}

/// Up to where an entry of the table of segments has the file loaded; none for one that loads nothing, or
/// that lies beyond what was read.
fn loaded_to(head: &[u8], table: u64, at: u64) -> Option<u64> {
    let from = usize::try_from(table.checked_add(at * SEGMENT_BYTES as u64)?).ok()?;
    let entry = head.get(from..)?.get(..SEGMENT_BYTES)?;
    let loads = entry.first_chunk().map(|kind| u32::from_ne_bytes(*kind)) == Some(LOADED);
    loads.then(|| long(entry, 8).saturating_add(long(entry, 32)))
}

fn half(bytes: &[u8], at: usize) -> u16 {
    let two = bytes.get(at..).and_then(<[u8]>::first_chunk);
    two.map_or(0, |two| u16::from_ne_bytes(*two))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    let eight = bytes.get(at..).and_then(<[u8]>::first_chunk);
    eight.map_or(0, |eight| u64::from_ne_bytes(*eight))
}

/// A processor in words.
fn machine(number: u16) -> String {
    match number {
        3 => "x86 of 32 bits".to_owned(),
        40 => "arm of 32 bits".to_owned(),
        62 => "x86-64".to_owned(),
        183 => "aarch64".to_owned(),
        other => format!("ELF's number {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A library of one segment that is loaded from 4096 bytes on, 100 bytes long.
    fn library() -> Vec<u8> {
        let mut file = vec![0; 4196];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        if cfg!(target_endian = "big") {
            file[5] = 2;
        }
        file[16..18].copy_from_slice(&SHARED.to_ne_bytes());
        file[18..20].copy_from_slice(&HOST.to_ne_bytes());
        file[32..40].copy_from_slice(&64_u64.to_ne_bytes());
        file[56..58].copy_from_slice(&1_u16.to_ne_bytes());
        file[64..68].copy_from_slice(&LOADED.to_ne_bytes());
        file[72..80].copy_from_slice(&4096_u64.to_ne_bytes());
        file[96..104].copy_from_slice(&100_u64.to_ne_bytes());
        file
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Vec<u8>), expect: Result<(), NoLibrary>) {
        let mut file = library();
        change(&mut file);
        let head = &file[..file.len().min(HEAD_BYTES)];
        assert_eq!(judge(head, file.len() as u64), expect);
    }

    #[test]
    fn a_file_that_is_no_library_of_this_host_says_why() {
        check(|_| (), Ok(()));
        check(Vec::clear, Err(NoLibrary::Empty));
        check(|file| *file = b"not a library\n".to_vec(), Err(NoLibrary::NotElf));
        check(|file| file[0] = 0, Err(NoLibrary::NotElf));
        check(|file| file[4] = 1, Err(NoLibrary::Class));
        check(|file| file[5] ^= 3, Err(NoLibrary::Class));
        check(|file| file[16..18].copy_from_slice(&[0, 0]), Err(NoLibrary::NotShared(0)));
        let other = if HOST == 183 { 62_u16 } else { 183 };
        let foreign = Err(NoLibrary::Machine(other));
        check(|file| file[18..20].copy_from_slice(&other.to_ne_bytes()), foreign);
        let said = NoLibrary::Machine(other).to_string();
        assert!(said.contains(&machine(other)) && said.contains(&machine(HOST)), "{said}");
    }

    #[test]
    fn a_library_that_was_cut_off_is_told_wherever_it_ends() {
        for has in [4, 63, 64, 119, 120, 4195] {
            let of = if has < 64 { 64 } else { 4196 };
            // Of a table that is cut off itself, what it loads is not known.
            let of = if (64..120).contains(&has) { 120 } else { of };
            check(|file| file.truncate(has), Err(NoLibrary::Cut { has: has as u64, of }));
        }
    }

    #[test]
    fn a_header_that_says_anything_is_an_answer_and_no_panic() {
        check(|file| file[32..40].fill(0xff), Err(NoLibrary::Cut { has: 4196, of: u64::MAX }));
        check(|file| file[72..80].fill(0xff), Err(NoLibrary::Cut { has: 4196, of: u64::MAX }));
        check(|file| file[64] = 2, Ok(()));
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let said = |path: &Path| look(path).unwrap_err().to_string();
        assert!(said(folder.path()).ends_with("is no file"));
        let pipe = folder.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(said(&pipe).ends_with("is no file"));
        let gone = folder.path().join("gone");
        assert!(said(&gone).contains("gone cannot be read: "));
        // What every host has: this program's own C library among others.
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let libraries = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
        let mut loaded = libraries.filter(|path| path.contains(".so"));
        let libc = loaded.next().expect("a test that loads nothing");
        look(Path::new(libc)).unwrap();
    }
}
