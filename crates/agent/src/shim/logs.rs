//! The task's output in files of bounded size and number.
//!
//! `stdout.log` is written; when it holds [`LOG_FILE_BYTES_MAX`] bytes it becomes `stdout.log.0`,
//! the next one `stdout.log.1`, and so on; only the last [`LOG_FILES_MAX`] files are kept. Every
//! numbered file is exactly full, so number times size is where it begins in the whole output.
//!
//! The task never feels the disk: bytes that cannot be written are counted and dropped, and the count
//! is kept in `stdout.lost` as soon as the disk takes that.

use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// When a file is full.
pub const LOG_FILE_BYTES_MAX: u64 = 16 << 20;
/// Files kept of each stream, the one that is written included.
pub const LOG_FILES_MAX: u64 = 4;
/// Bytes taken from a pipe at one time; as many as a pipe holds.
const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks taken before others have their turn.
const CHUNKS_MAX: usize = 4;
/// Chunks taken from a pipe whose writers are all dead; more than any pipe holds.
const LAST_CHUNKS_MAX: usize = 64;
/// How often a reader looks again because files were renamed under it.
const READ_TRIES: usize = 8;

/// Which output of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Its standard output.
    Output,
    /// Its standard error.
    Error,
}

impl Stream {
    /// The file that is written now.
    #[must_use]
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Output => "stdout.log",
            Self::Error => "stderr.log",
        }
    }

    /// The file that tells how many bytes could not be written.
    const fn lost_name(self) -> &'static str {
        match self {
            Self::Output => "stdout.lost",
            Self::Error => "stderr.lost",
        }
    }
}

/// Where the bytes that are kept of a stream begin and end, counted from the task's first.
///
/// # Errors
/// What the system says; a folder that is not there yet has had no output.
pub fn log_range(dir: &Path, stream: Stream) -> io::Result<Range<u64>> {
    let name = stream.file_name();
    let numbers = match numbers(dir, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0..0),
        numbers => numbers?,
    };
    let full = numbers.last().map_or(0, |last| last + 1);
    let first = numbers.first().copied().unwrap_or(full);
    let open = std::fs::metadata(dir.join(name)).map_or(0, |data| data.len());
    let at = |number: u64| number.saturating_mul(LOG_FILE_BYTES_MAX);
    Ok(at(first)..at(full).saturating_add(open))
}

/// How many bytes of a stream could not be written.
#[must_use]
pub fn log_lost(dir: &Path, stream: Stream) -> u64 {
    let told = std::fs::read_to_string(dir.join(stream.lost_name())).ok();
    told.and_then(|told| told.trim().parse().ok()).unwrap_or(0)
}

/// A part of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPart {
    /// Where it begins in the whole output: later than asked when that was deleted already.
    pub offset: u64,
    /// The bytes; empty when there is nothing new.
    pub bytes: Vec<u8>,
}

/// Reads at most `bytes_max` of a stream from `offset` on; `offset` counts from the task's first
/// byte, whatever was deleted since.
///
/// # Errors
/// What the system says.
pub fn read_log(dir: &Path, stream: Stream, offset: u64, bytes_max: u64) -> io::Result<LogPart> {
    for _ in 0..READ_TRIES {
        let numbers = numbers(dir, stream.file_name())?;
        let current = numbers.last().map_or(0, |last| last + 1);
        let first = numbers.first().copied().unwrap_or(current);
        let offset = offset.max(first * LOG_FILE_BYTES_MAX);
        let number = (offset / LOG_FILE_BYTES_MAX).min(current);
        let name = file_name(stream.file_name(), (number < current).then_some(number));
        let file = match File::open(dir.join(name)) {
            // Nothing was written yet, or the file was renamed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound && number < current => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            other => Some(other?),
        };
        // Had it been renamed between the look and the opening, it would hold other bytes.
        if self::numbers(dir, stream.file_name())? != numbers {
            continue;
        }
        let mut bytes = Vec::new();
        if let Some(mut file) = file {
            file.seek(SeekFrom::Start(offset - number * LOG_FILE_BYTES_MAX))?;
            file.take(bytes_max).read_to_end(&mut bytes)?;
        }
        return Ok(LogPart { offset, bytes });
    }
    Ok(LogPart { offset, bytes: Vec::new() })
}

/// The numbers of a stream's full files, ascending.
fn numbers(dir: &Path, name: &str) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?.file_name();
        let number = entry.to_str().and_then(|text| text.strip_prefix(name)?.strip_prefix('.'));
        found.extend(number.and_then(|text| text.parse::<u64>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

fn file_name(name: &str, number: Option<u64>) -> String {
    number.map_or_else(|| name.to_owned(), |number| format!("{name}.{number}"))
}

/// One stream's files.
#[derive(Debug)]
struct LogFiles {
    dir: PathBuf,
    name: &'static str,
    file: Option<File>,
    /// Bytes in the file that is written.
    filled: u64,
    /// The number it gets when it is full.
    number: u64,
    file_bytes_max: u64,
}

impl LogFiles {
    /// Writes all of `bytes`; returns how many were lost.
    fn write(&mut self, mut bytes: &[u8]) -> u64 {
        while !bytes.is_empty() {
            match self.write_some(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(_) => return bytes.len() as u64,
            }
        }
        0
    }

    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.filled >= self.file_bytes_max {
            self.turn()?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(self::create(&self.dir.join(self.name))?),
        };
        let room = usize::try_from(self.file_bytes_max - self.filled).unwrap_or(usize::MAX);
        match file.write(&bytes[..bytes.len().min(room)]) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                self.filled += written as u64;
                Ok(written)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// The full file gets its number, and the oldest goes.
    fn turn(&mut self) -> io::Result<()> {
        let path = self.dir.join(self.name);
        std::fs::rename(&path, self.dir.join(file_name(self.name, Some(self.number))))?;
        if let Some(oldest) = (self.number + 1).checked_sub(LOG_FILES_MAX - 1)
            && let Some(oldest) = oldest.checked_sub(1)
        {
            // Gone already is as good.
            let _ = std::fs::remove_file(self.dir.join(file_name(self.name, Some(oldest))));
        }
        self.number += 1;
        self.filled = 0;
        self.file = None;
        Ok(())
    }
}

fn create(path: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    Ok(File::from(rustix::fs::open(path, flags | OFlags::NOFOLLOW, mode)?))
}

fn write_over(path: &Path, text: &str) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut file = File::from(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?);
    file.write_all(text.as_bytes())
}

/// One stream of the task, from its pipe into its files.
#[derive(Debug)]
pub(super) struct LogPump {
    pipe: OwnedFd,
    stream: Stream,
    files: LogFiles,
    buffer: Vec<u8>,
    /// Bytes that could not be kept.
    pub(super) lost: u64,
    /// How many of them are told in the folder.
    told: u64,
}

/// How much of a stream was lost, where the disk refused to be told so.
#[derive(Debug)]
pub(super) struct Loss {
    path: PathBuf,
    lost: u64,
}

impl Loss {
    /// Tries to tell it; whether that went well, or there is no folder to tell it in.
    pub(super) fn tell(&mut self) -> bool {
        match write_over(&self.path, &lost_line(self.lost)) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

/// Always as long: written over what is there, it needs no new room.
fn lost_line(lost: u64) -> String {
    format!("{lost:020}\n")
}

impl LogPump {
    /// `pipe` does not block.
    pub(super) fn new(dir: &Path, stream: Stream, pipe: OwnedFd) -> Self {
        let files = LogFiles {
            dir: dir.to_owned(),
            name: stream.file_name(),
            file: None,
            filled: 0,
            number: 0,
            file_bytes_max: LOG_FILE_BYTES_MAX,
        };
        Self { pipe, stream, files, buffer: Vec::new(), lost: 0, told: 0 }
    }

    pub(super) fn pipe(&self) -> &OwnedFd {
        &self.pipe
    }

    /// Takes what is there. False when every writer has closed the pipe.
    pub(super) fn pump(&mut self) -> bool {
        let open = self.take(CHUNKS_MAX);
        self.tell_lost();
        open
    }

    /// Takes what is left after the task's processes are dead. A pipe that somebody outside the
    /// lease still holds open is read no further.
    pub(super) fn finish(&mut self) {
        self.take(LAST_CHUNKS_MAX);
        self.tell_lost();
    }

    /// Writes down how much was lost. A full disk may refuse that too: the next call tries again.
    fn tell_lost(&mut self) {
        if self.lost > self.told && write_over(&self.lost_path(), &lost_line(self.lost)).is_ok() {
            self.told = self.lost;
        }
    }

    fn lost_path(&self) -> PathBuf {
        self.files.dir.join(self.stream.lost_name())
    }

    /// What is still to be told of a stream that is over.
    pub(super) fn untold(self) -> Option<Loss> {
        let path = self.lost_path();
        (self.lost > self.told).then_some(Loss { path, lost: self.lost })
    }

    fn take(&mut self, chunks: usize) -> bool {
        // Allocated with the first output: a silent task costs nothing.
        self.buffer.resize(CHUNK_BYTES, 0);
        for _ in 0..chunks {
            match rustix::io::read(&self.pipe, &mut self.buffer[..]) {
                Ok(0) => return false,
                Ok(read) => self.lost += self.files.write(&self.buffer[..read]),
                Err(rustix::io::Errno::AGAIN) => return true,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(dir: &Path, file_bytes_max: u64) -> LogFiles {
        let name = Stream::Output.file_name();
        LogFiles { dir: dir.to_owned(), name, file: None, filled: 0, number: 0, file_bytes_max }
    }

    #[test]
    fn full_files_are_numbered_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = files(dir.path(), 10);
        for part in 0..7 {
            assert_eq!(log.write(format!("{part:0>8}").as_bytes()), 0);
        }
        // 56 bytes: five full files, of which three are kept, and six bytes.
        assert_eq!(numbers(dir.path(), "stdout.log").unwrap(), [2, 3, 4]);
        let text = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(text("stdout.log.2"), "0002000000");
        assert_eq!(text("stdout.log"), "000006");
    }

    #[test]
    fn an_offset_means_the_same_byte_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = files(dir.path(), LOG_FILE_BYTES_MAX);
        assert_eq!(read_log(dir.path(), Stream::Output, 0, 9).unwrap().bytes, b"");
        let block = vec![b'x'; 1 << 20];
        for _ in 0..LOG_FILES_MAX * 16 {
            log.write(&block);
        }
        log.write(b"tail");
        let end = LOG_FILES_MAX * LOG_FILE_BYTES_MAX;
        let read = |offset, bytes_max| {
            let part = read_log(dir.path(), Stream::Output, offset, bytes_max).unwrap();
            (part.offset, String::from_utf8(part.bytes).unwrap())
        };
        let range = log_range(dir.path(), Stream::Output).unwrap();
        assert_eq!(range, LOG_FILE_BYTES_MAX..end + 4);
        assert_eq!(read(end, 100), (end, "tail".into()));
        assert_eq!(read(end - 2, 100), (end - 2, "xx".into()));
        assert_eq!(read(0, 1), (LOG_FILE_BYTES_MAX, "x".into()));
        assert_eq!(read(end + 50, 1), (end + 50, String::new()));
    }

    #[test]
    fn what_was_lost_is_told_in_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = std::io::pipe().unwrap();
        let mut pump = LogPump::new(dir.path(), Stream::Output, from.into());
        pump.files.file = Some(File::options().write(true).open("/dev/full").unwrap());
        (&to).write_all(b"lost").unwrap();
        drop(to);
        assert!(!pump.pump());
        let told = |stream| log_lost(dir.path(), stream);
        assert_eq!((told(Stream::Output), told(Stream::Error)), (4, 0));
        pump.lost = 12;
        pump.finish();
        assert_eq!(told(Stream::Output), 12);
        assert_eq!(log_range(dir.path(), Stream::Output).unwrap(), 0..0);
        assert!(pump.untold().is_none());
    }

    #[test]
    fn what_could_not_be_told_is_told_later() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = std::io::pipe().unwrap();
        let mut pump = LogPump::new(dir.path(), Stream::Output, from.into());
        pump.files.file = Some(File::options().write(true).open("/dev/full").unwrap());
        // The disk refuses the number too.
        let path = dir.path().join(Stream::Output.lost_name());
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        (&to).write_all(b"lost").unwrap();
        drop(to);
        assert!(!pump.pump());
        let mut loss = pump.untold().unwrap();
        assert!(!loss.tell());
        std::fs::remove_file(&path).unwrap();
        assert!(loss.tell());
        assert_eq!(log_lost(dir.path(), Stream::Output), 4);
        drop(dir);
        assert!(loss.tell(), "a folder that is gone needs no word");
    }

    #[test]
    fn what_the_disk_refuses_is_counted_and_the_rest_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = files(dir.path(), 100);
        log.file = Some(File::options().write(true).open("/dev/full").unwrap());
        assert_eq!(log.write(b"lost"), 4);
        log.file = None;
        assert_eq!(log.write(b"kept"), 0);
        assert_eq!(read_log(dir.path(), Stream::Output, 0, 9).unwrap().bytes, b"kept");
    }
}
