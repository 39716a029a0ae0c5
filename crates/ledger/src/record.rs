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
//! nobody heard of. Those behind the last record are told by the header, which a process that ends by
//! itself writes once more, and by each span, which says how many places were taken when it was
//! written. The file belongs to the tenant and may hold anything: [`Log::read`] takes what makes
//! sense, counts what does not and what it leaves out, and is bounded by [`RECORDS_MAX`] and by a
//! [`Budget`] over all files of a run.

use std::collections::BTreeMap;
use std::io::Read;
use thiserror::Error;

/// The variable that names the folder. Only `polder profile` sets it.
pub const PROFILE_VARIABLE: &str = "POLDER_PROFILE";
/// What the link to that folder is called that lies beside the lease's socket, for processes whose
/// environment was cleared.
pub const PROFILE_LINK: &str = "records";
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

/// Most records of a run that are read, of all processes together: 256 MiB of files, from which about
/// a gigabyte of memory is filled while a profile is made.
pub const READ_RECORDS_MAX: u64 = 2 << 20;
/// Most bytes of names of a run that are kept, of all processes together.
pub const READ_NAME_BYTES_MAX: usize = 64 << 20;

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
    /// The record, written when so many places were `taken` in its file.
    #[must_use]
    pub fn encode(&self, taken: u64) -> [u8; RECORD_BYTES] {
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
            taken,
        ])
    }

    /// The span, and how many places were taken when it was written.
    fn decode(words: &[u64; WORDS]) -> Option<(Self, u64)> {
        let [head, names, lane, called, returned, waited, cpu_called, cpu_returned, queued, ..] =
            *words;
        let [.., start, end, bytes, held, taken, _, _] = *words;
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
        sane.then_some((span, taken))
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
    /// Places that were taken, as far as the header was written since.
    pub taken: u64,
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
        let (dropped, dropped_ns) = (self.dropped, self.dropped_ns);
        let head = [MAGIC, RECORD_LAYOUT, pid, self.begun_ns, dropped, dropped_ns, comm, more];
        let mut words = [0; WORDS];
        words[..head.len()].copy_from_slice(&head);
        words[head.len()] = self.taken;
        pack(&words)
    }

    fn decode(words: &[u64; WORDS]) -> Result<Self, LogError> {
        let [magic, layout, pid, begun_ns, dropped, dropped_ns, comm, more, taken, ..] = *words;
        if magic != MAGIC {
            return Err(LogError::Foreign);
        }
        if layout != RECORD_LAYOUT {
            return Err(LogError::Layout(layout));
        }
        let mut name = [0; 16];
        name[..WORD].copy_from_slice(&comm.to_le_bytes());
        name[WORD..].copy_from_slice(&more.to_le_bytes());
        Ok(Self { pid: low_half(pid), comm: name, begun_ns, dropped, dropped_ns, taken })
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
    /// Whether there are more, for which there was no room.
    pub cut: bool,
    /// Parts of names for which there was no room.
    pub names_left_out: u64,
}

/// What may still be read of a run, over all its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Records of one file.
    pub records: u64,
    /// Bytes of names of all files.
    pub name_bytes: usize,
}

impl Budget {
    /// For files of so many records each, names and all. Where they are too many together, the longest
    /// are cut, all at the same length: of each process its first part is read.
    #[must_use]
    pub fn of(mut records: Vec<u64>) -> Self {
        records.sort_unstable();
        let (mut left, mut files) = (READ_RECORDS_MAX, records.len() as u64);
        for length in records {
            let length = length.min(RECORDS_MAX);
            if length > left / files {
                return Self { records: left / files, name_bytes: READ_NAME_BYTES_MAX };
            }
            (left, files) = (left - length, files - 1);
        }
        Self { records: RECORDS_MAX, name_bytes: READ_NAME_BYTES_MAX }
    }
}

impl Log {
    /// Reads a file, as far as the budget goes; names take their bytes from it.
    ///
    /// # Errors
    /// [`LogError`]; what stands behind a header that is one never makes an error.
    pub fn read(source: impl Read, budget: &mut Budget) -> Result<Self, LogError> {
        let mut source = std::io::BufReader::new(source);
        let header = next(&mut source)?.ok_or(LogError::Short)?;
        let header = LogHeader::decode(&words(&header))?;
        let mut log = Self {
            header,
            names: BTreeMap::new(),
            spans: Vec::new(),
            unfinished: 0,
            malformed: 0,
            cut: false,
            names_left_out: 0,
        };
        let (mut parts, mut read, mut taken) = (BTreeMap::new(), 0, header.taken);
        while let Some(record) = next(&mut source)? {
            if read >= budget.records.min(RECORDS_MAX) {
                log.cut = true;
                break;
            }
            read += 1;
            taken = taken.max(log.take(&record, &mut parts, &mut budget.name_bytes));
        }
        if !log.cut {
            log.unfinished += taken.min(RECORDS_MAX).saturating_sub(read);
        }
        log.names = parts
            .into_iter()
            .map(|(id, bytes): (u32, Vec<u8>)| (id, String::from_utf8_lossy(&bytes).into_owned()))
            .collect();
        Ok(log)
    }

    /// Takes a record; returns how many places were taken when it was written, as far as it says.
    fn take(
        &mut self,
        record: &[u8; RECORD_BYTES],
        parts: &mut BTreeMap<u32, Vec<u8>>,
        name_bytes: &mut usize,
    ) -> u64 {
        let words = words(record);
        let [tag, part, length, ..] = words[0].to_le_bytes();
        match tag {
            0 => self.unfinished += 1,
            TAG_SPAN => match Span::decode(&words) {
                Some((span, taken)) => {
                    self.spans.push(span);
                    return taken;
                }
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
                    return 0;
                }
                let Some(left) = name_bytes.checked_sub(length) else {
                    self.names_left_out += 1;
                    return 0;
                };
                *name_bytes = left;
                let text = &record[2 * WORD..2 * WORD + length];
                parts.entry(id).or_default().extend_from_slice(text);
            }
            _ => self.malformed += 1,
        }
        0
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
        LogHeader { pid: 77, comm, begun_ns: 5, dropped: 3, dropped_ns: 9, taken: 0 }
    }

    fn read(file: &[u8]) -> Result<Log, LogError> {
        Log::read(file, &mut Budget::of(vec![RECORDS_MAX]))
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
        file.extend(span().encode(0));
        file.extend([0; RECORD_BYTES]);
        file.extend(Span { start_ns: 9, end_ns: 8, ..span() }.encode(0));
        let log = read(&file).unwrap();
        assert_eq!((log.header, log.spans.as_slice()), (header(), &[span()][..]));
        assert_eq!(log.name(&span()), long);
        assert_eq!((log.unfinished, log.malformed), (1, 1));
        let cut = read(&file[..file.len() - 300]).unwrap();
        assert_eq!(cut.spans.len(), 0);
    }

    #[test]
    fn a_name_that_is_too_long_is_cut_and_one_that_is_missing_is_other() {
        let mut file = header().encode().to_vec();
        file.extend(encode_name(4, &"x".repeat(10_000)).flatten());
        let log = read(&file).unwrap();
        assert_eq!(log.name(&span()).len(), NAME_BYTES_MAX);
        assert_eq!(log.name(&Span { name: 5, ..span() }), OTHER);
    }

    #[test]
    fn places_behind_the_last_record_are_known_from_the_header_and_from_spans() {
        let header = |taken| LogHeader { taken, ..header() };
        let unfinished = |taken, told| {
            let mut file = header(taken).encode().to_vec();
            file.extend([0; RECORD_BYTES]);
            file.extend(span().encode(told));
            read(&file).unwrap().unfinished
        };
        assert_eq!(unfinished(0, 0), 1, "an older driver says neither");
        assert_eq!(unfinished(0, 7), 6, "a process that was killed");
        assert_eq!(unfinished(9, 7), 8, "one that ended by itself");
        assert_eq!(unfinished(u64::MAX, 0), RECORDS_MAX - 1);
        assert_eq!(read(&header(3).encode()).unwrap().unfinished, 3);
    }

    #[test]
    fn what_is_read_of_many_files_is_bounded_and_told() {
        assert_eq!(Budget::of(vec![RECORDS_MAX, 5]).records, RECORDS_MAX);
        assert_eq!(Budget::of(vec![]).records, RECORDS_MAX);
        let short = 1000;
        let cut = Budget::of(vec![u64::MAX, short, RECORDS_MAX, RECORDS_MAX]).records;
        assert_eq!(cut, (READ_RECORDS_MAX - short) / 3);
        let mut file = header().encode().to_vec();
        for id in 0..3 {
            file.extend(encode_name(id, "four").flatten());
        }
        file.extend(span().encode(0));
        let mut budget = Budget { records: 3, name_bytes: 9 };
        let log = Log::read(&file[..], &mut budget).unwrap();
        assert_eq!((log.spans.len(), log.cut, log.names_left_out), (0, true, 1));
        assert_eq!((log.names.len(), budget.name_bytes), (2, 1));
        let mut budget = Budget { records: 4, name_bytes: 12 };
        let log = Log::read(&file[..], &mut budget).unwrap();
        assert_eq!((log.spans.len(), log.cut, log.names_left_out), (1, false, 0));
    }

    #[test]
    fn what_is_no_record_is_refused_by_name() {
        let refused = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
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
            let log = read(&file).unwrap();
            let records = (noise.len() / RECORD_BYTES) as u64;
            let told = RECORDS_MAX.max(records);
            prop_assert!(log.spans.len() as u64 + log.unfinished + log.malformed <= told);
            let _ = read(&noise);
        }

        #[test]
        fn a_flipped_span_is_another_or_none(at in 0..RECORD_BYTES, bit in 0..8_u8) {
            let mut record = span().encode(0);
            record[at] ^= 1 << bit;
            let mut file = header().encode().to_vec();
            file.extend(record);
            let log = read(&file).unwrap();
            prop_assert!(log.spans.len() <= 1);
        }
    }
}
