//! What a profiled process writes down: one file of its own in a folder that `polder profile` names,
//! a header and then records of one size.
//!
//! ```text
//! 0    header   magic, layout, process, when it began, records left out
//! 128  record   a span (a launch, a copy, a wait for the device), or part of a name
//! 256  ...
//! ```
//!
//! Numbers are little-endian words of eight bytes. A record's place is taken before its work is
//! handed over and written when its end is heard of, so places that stay empty are work whose end
//! nobody heard of. The file belongs to the tenant and may hold anything: [`Log::read`] takes what
//! makes sense, counts what does not, and is bounded by [`RECORDS_MAX`].

use std::collections::BTreeMap;
use std::io::Read;
use thiserror::Error;

/// The variable that names the folder. Only `polder profile` sets it.
pub const PROFILE_VARIABLE: &str = "POLDER_PROFILE";
/// What the files' names end with.
pub const RECORD_SUFFIX: &str = "rec";
/// Version of what is described here.
pub const RECORD_LAYOUT: u64 = 1;
/// Bytes of the header and of each record.
pub const RECORD_BYTES: usize = 128;
/// Most records of a process, names among them: 128 MiB. Beyond it spans are only counted.
pub const RECORDS_MAX: u64 = 1 << 20;
/// Most names of a process; what comes after is called [`OTHER`].
pub const NAMES_MAX: u32 = 4096;
/// Longest name, bytes; longer ones are cut.
pub const NAME_BYTES_MAX: usize = NAME_PART * 5;
/// What a name is beyond [`NAMES_MAX`], and one that was not written.
pub const OTHER: &str = "(other)";

/// Bytes of a name in one record.
const NAME_PART: usize = RECORD_BYTES - 2 * WORD;
const WORD: usize = 8;
const WORDS: usize = RECORD_BYTES / WORD;
const MAGIC: u64 = u64::from_le_bytes(*b"PLDRPROF");
const TAG_SPAN: u8 = 1;
const TAG_NAME: u8 = 2;

/// What a span was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SpanKind {
    /// A kernel, or a graph of them.
    Kernel,
    /// Bytes from the program's memory to the device.
    ToDevice,
    /// Bytes from the device to the program's memory.
    ToHost,
    /// A copy or fill within the device.
    Within,
    /// The program waited for the device: nothing ran because of it.
    Wait,
}

impl SpanKind {
    const ALL: [Self; 5] = [Self::Kernel, Self::ToDevice, Self::ToHost, Self::Within, Self::Wait];

    fn code(self) -> u8 {
        match self {
            Self::Kernel => 0,
            Self::ToDevice => 1,
            Self::ToHost => 2,
            Self::Within => 3,
            Self::Wait => 4,
        }
    }
}

/// One launch, copy or wait. Host times are nanoseconds of the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// What it was.
    pub kind: SpanKind,
    /// Whether the driver says that it failed.
    pub failed: bool,
    /// Whether `queued_ns`, `start_ns` and `end_ns` are of the device's own clock, not the host's.
    pub device_clock: bool,
    /// Device of the lease, from 0.
    pub device: u16,
    /// Number of its name.
    pub name: u32,
    /// Kernel id of the thread that called.
    pub thread: u32,
    /// Its queue or stream, as a number.
    pub lane: u64,
    /// When the program called.
    pub called_ns: u64,
    /// When the call returned.
    pub returned_ns: u64,
    /// How much of the call the thread waited for the lease's turn, nanoseconds.
    pub waited_ns: u64,
    /// CPU time of the thread at the call, nanoseconds.
    pub cpu_called_ns: u64,
    /// CPU time of the thread at the return, nanoseconds.
    pub cpu_returned_ns: u64,
    /// When the driver took it.
    pub queued_ns: u64,
    /// When the device began; 0 where that is not known.
    pub start_ns: u64,
    /// When the device was done.
    pub end_ns: u64,
    /// Bytes moved, as far as the call says.
    pub bytes: u64,
    /// Bytes of device memory that the process held then.
    pub held_bytes: u64,
}

impl Span {
    /// The record.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        let flags = u64::from(self.failed) | u64::from(self.device_clock) << 1;
        let head = u64::from(TAG_SPAN)
            | u64::from(self.kind.code()) << 8
            | flags << 16
            | u64::from(self.device) << 32;
        pack(&[
            head,
            u64::from(self.name) | u64::from(self.thread) << 32,
            self.lane,
            self.called_ns,
            self.returned_ns,
            self.waited_ns,
            self.cpu_called_ns,
            self.cpu_returned_ns,
            self.queued_ns,
            self.start_ns,
            self.end_ns,
            self.bytes,
            self.held_bytes,
        ])
    }

    fn decode(words: &[u64; WORDS]) -> Option<Self> {
        let [head, names, lane, called, returned, waited, cpu_called, cpu_returned, queued, ..] =
            *words;
        let [.., start, end, bytes, held, _, _, _] = *words;
        let [_, kind, flags, _, low, high, _, _] = head.to_le_bytes();
        let span = Self {
            kind: *SpanKind::ALL.get(usize::from(kind))?,
            failed: flags & 1 != 0,
            device_clock: flags & 2 != 0,
            device: u16::from_le_bytes([low, high]),
            name: low_half(names),
            thread: low_half(names >> 32),
            lane,
            called_ns: called,
            returned_ns: returned,
            waited_ns: waited,
            cpu_called_ns: cpu_called,
            cpu_returned_ns: cpu_returned,
            queued_ns: queued,
            start_ns: start,
            end_ns: end,
            bytes,
            held_bytes: held,
        };
        let sane = span.called_ns <= span.returned_ns
            && span.cpu_called_ns <= span.cpu_returned_ns
            && (span.start_ns == 0 || span.start_ns <= span.end_ns);
        sane.then_some(span)
    }
}

/// What a file begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogHeader {
    /// The process.
    pub pid: u32,
    /// Its name, as the kernel has it; NUL behind its end.
    pub comm: [u8; 16],
    /// When it began to be written, nanoseconds of the monotonic clock.
    pub begun_ns: u64,
    /// Spans that were left out: too many, or the disk was full.
    pub dropped: u64,
    /// Device time of those whose time was known, nanoseconds.
    pub dropped_ns: u64,
}

impl LogHeader {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        let half = |at: usize| {
            let mut bytes = [0; WORD];
            bytes.copy_from_slice(&self.comm[at..at + WORD]);
            u64::from_le_bytes(bytes)
        };
        let pid = u64::from(self.pid);
        let (comm, more) = (half(0), half(WORD));
        pack(&[MAGIC, RECORD_LAYOUT, pid, self.begun_ns, self.dropped, self.dropped_ns, comm, more])
    }

    fn decode(words: &[u64; WORDS]) -> Result<Self, LogError> {
        let [magic, layout, pid, begun_ns, dropped, dropped_ns, comm, more, ..] = *words;
        if magic != MAGIC {
            return Err(LogError::Foreign);
        }
        if layout != RECORD_LAYOUT {
            return Err(LogError::Layout(layout));
        }
        let mut name = [0; 16];
        name[..WORD].copy_from_slice(&comm.to_le_bytes());
        name[WORD..].copy_from_slice(&more.to_le_bytes());
        Ok(Self { pid: low_half(pid), comm: name, begun_ns, dropped, dropped_ns })
    }
}

/// The records that make up the name of number `id`.
pub fn encode_name(id: u32, name: &str) -> impl Iterator<Item = [u8; RECORD_BYTES]> {
    let bytes = &name.as_bytes()[..name.len().min(NAME_BYTES_MAX)];
    bytes.chunks(NAME_PART).enumerate().map(move |(part, chunk)| {
        let length = chunk.len() as u64;
        let mut record =
            pack(&[u64::from(TAG_NAME) | (part as u64) << 8 | length << 16, u64::from(id)]);
        record[2 * WORD..2 * WORD + chunk.len()].copy_from_slice(chunk);
        record
    })
}

/// Why a file tells nothing.
#[derive(Debug, Error)]
pub enum LogError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// It is shorter than its header.
    #[error("it ends within its header")]
    Short,
    /// It is something else.
    #[error("it is no record of a profiled process")]
    Foreign,
    /// It was written by another version.
    #[error(
        "its layout is {0}, and this polder reads {RECORD_LAYOUT}: use the polder that wrote it"
    )]
    Layout(u64),
}

/// What one process wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Its header.
    pub header: LogHeader,
    /// Names by their number.
    pub names: BTreeMap<u32, String>,
    /// All spans, in the order of their places.
    pub spans: Vec<Span>,
    /// Places that were taken and never written: work whose end nobody heard of.
    pub unfinished: u64,
    /// Records that make no sense.
    pub malformed: u64,
}

impl Log {
    /// Reads a file, as far as [`RECORDS_MAX`].
    ///
    /// # Errors
    /// [`LogError`]; what stands behind a header that is one never makes an error.
    pub fn read(source: impl Read) -> Result<Self, LogError> {
        let mut source = std::io::BufReader::new(source);
        let header = next(&mut source)?.ok_or(LogError::Short)?;
        let header = LogHeader::decode(&words(&header))?;
        let mut log =
            Self { header, names: BTreeMap::new(), spans: Vec::new(), unfinished: 0, malformed: 0 };
        let mut parts: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        for _ in 0..RECORDS_MAX {
            let Some(record) = next(&mut source)? else { break };
            log.take(&record, &mut parts);
        }
        log.names = parts
            .into_iter()
            .map(|(id, bytes)| (id, String::from_utf8_lossy(&bytes).into_owned()))
            .collect();
        Ok(log)
    }

    fn take(&mut self, record: &[u8; RECORD_BYTES], parts: &mut BTreeMap<u32, Vec<u8>>) {
        let words = words(record);
        let [tag, part, length, ..] = words[0].to_le_bytes();
        match tag {
            0 => self.unfinished += 1,
            TAG_SPAN => match Span::decode(&words) {
                Some(span) => self.spans.push(span),
                None => self.malformed += 1,
            },
            TAG_NAME => {
                let (id, length) = (low_half(words[1]), usize::from(length).min(NAME_PART));
                let known = parts.get(&id).map_or(0, Vec::len);
                if id >= NAMES_MAX
                    || known != usize::from(part) * NAME_PART
                    || known >= NAME_BYTES_MAX
                {
                    self.malformed += 1;
                    return;
                }
                let text = &record[2 * WORD..2 * WORD + length];
                parts.entry(id).or_default().extend_from_slice(text);
            }
            _ => self.malformed += 1,
        }
    }

    /// The name of a span.
    #[must_use]
    pub fn name(&self, span: &Span) -> &str {
        self.names.get(&span.name).map_or(OTHER, String::as_str)
    }
}

/// The next record; none at the end, also within a record.
fn next(source: &mut impl Read) -> std::io::Result<Option<[u8; RECORD_BYTES]>> {
    let mut record = [0; RECORD_BYTES];
    match source.read_exact(&mut record) {
        Ok(()) => Ok(Some(record)),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

fn pack(words: &[u64]) -> [u8; RECORD_BYTES] {
    let mut bytes = [0; RECORD_BYTES];
    for (place, word) in bytes.chunks_exact_mut(WORD).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

fn words(record: &[u8; RECORD_BYTES]) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(record.chunks_exact(WORD)) {
        *word = u64::from_le_bytes(bytes.try_into().expect("chunks of a word"));
    }
    words
}

fn low_half(word: u64) -> u32 {
    u32::try_from(word & 0xffff_ffff).expect("masked")
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> LogHeader {
        let comm = *b"python3\0\0\0\0\0\0\0\0\0";
        LogHeader { pid: 77, comm, begun_ns: 5, dropped: 3, dropped_ns: 9 }
    }

    fn span() -> Span {
        Span {
            kind: SpanKind::ToHost,
            failed: false,
            device_clock: true,
            device: 3,
            name: 4,
            thread: 78,
            lane: 0xdead_beef,
            called_ns: 10,
            returned_ns: 20,
            waited_ns: 4,
            cpu_called_ns: 1,
            cpu_returned_ns: 2,
            queued_ns: 111,
            start_ns: 112,
            end_ns: 113,
            bytes: 4096,
            held_bytes: 1 << 40,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let long = "gemm_".repeat(100);
        let mut file = header().encode().to_vec();
        file.extend(encode_name(4, &long).flatten());
        file.extend(span().encode());
        file.extend([0; RECORD_BYTES]);
        file.extend(Span { start_ns: 9, end_ns: 8, ..span() }.encode());
        let log = Log::read(&file[..]).unwrap();
        assert_eq!((log.header, log.spans.as_slice()), (header(), &[span()][..]));
        assert_eq!(log.name(&span()), long);
        assert_eq!((log.unfinished, log.malformed), (1, 1));
        let cut = Log::read(&file[..file.len() - 300]).unwrap();
        assert_eq!(cut.spans.len(), 0);
    }

    #[test]
    fn a_name_that_is_too_long_is_cut_and_one_that_is_missing_is_other() {
        let mut file = header().encode().to_vec();
        file.extend(encode_name(4, &"x".repeat(10_000)).flatten());
        let log = Log::read(&file[..]).unwrap();
        assert_eq!(log.name(&span()).len(), NAME_BYTES_MAX);
        assert_eq!(log.name(&Span { name: 5, ..span() }), OTHER);
    }

    #[test]
    fn what_is_no_record_is_refused_by_name() {
        let refused = |bytes: &[u8]| Log::read(bytes).unwrap_err().to_string();
        assert_eq!(refused(b"PLDR"), "it ends within its header");
        assert_eq!(refused(&[b'x'; 500]), "it is no record of a profiled process");
        let mut newer = header().encode();
        newer[8] = 9;
        assert!(refused(&newer).starts_with("its layout is 9"));
    }

    proptest! {
        #[test]
        fn nonsense_is_counted_and_harms_nobody(noise in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut file = header().encode().to_vec();
            file.extend(&noise);
            let log = Log::read(&file[..]).unwrap();
            let records = (noise.len() / RECORD_BYTES) as u64;
            prop_assert!(log.spans.len() as u64 + log.unfinished + log.malformed <= records);
            let _ = Log::read(&noise[..]);
        }

        #[test]
        fn a_flipped_span_is_another_or_none(at in 0..RECORD_BYTES, bit in 0..8_u8) {
            let mut record = span().encode();
            record[at] ^= 1 << bit;
            let mut file = header().encode().to_vec();
            file.extend(record);
            let log = Log::read(&file[..]).unwrap();
            prop_assert!(log.spans.len() <= 1);
        }
    }
}
