//! What may be asked: the contradictions that no pool could serve, each named.

use super::place::PLACE_ENTRIES_MAX;
use super::{Ask, GANG_MAX, Stdio, TEXT_BYTES_MAX, Work};
use crate::{Bytes, Mechanism, Micros, Permille};
use thiserror::Error;

/// Longest name of a job, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// Longest name of an image, in bytes.
const IMAGE_BYTES_MAX: usize = 512;
/// Most retries of one task.
const RETRIES_MAX: u32 = 100;
/// Most network bandwidth of one task, bits a second.
const NIC_MAX: u64 = 1_000_000_000_000_000;

/// Why an ask makes no sense, whatever the pool looks like.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AskError {
    /// No program.
    #[error("the command is empty: say what to run, for example `-- python train.py`")]
    NoCommand,
    /// The directory is not absolute.
    #[error("directory {0:?} is not absolute: give a path that starts with /")]
    Directory(String),
    /// What cannot be the name of an image.
    #[error(
        "{0:?} is no image: name one as podman does, for example docker.io/library/debian:12, in at \
         most {IMAGE_BYTES_MAX} letters, digits and . _ - / : @ +, a letter or digit first"
    )]
    Image(String),
    /// A text has a NUL byte or an environment name has `=` or is empty.
    #[error("{field} holds a character no program can receive: remove the NUL or '='")]
    Text {
        /// Where.
        field: &'static str,
    },
    /// Command and environment together are too long.
    #[error(
        "command, environment and names are {bytes} bytes, and at most {TEXT_BYTES_MAX} are kept: \
         pass long texts in files, and unset variables that the job does not need (`env -u NAME`)"
    )]
    TooLong {
        /// How long.
        bytes: usize,
    },
    /// The name would not fit a table.
    #[error("the name is {bytes} bytes: at most {NAME_BYTES_MAX}")]
    LongName {
        /// How long.
        bytes: usize,
    },
    /// The name holds what would break a line or mislead who reads it.
    #[error("the name holds {}, which would mislead who reads it: leave it out", .0.escape_unicode())]
    MisleadingName(char),
    /// A number outside its range.
    #[error("{field} is {value}: it must lie between {min} and {max}")]
    Range {
        /// Which number.
        field: &'static str,
        /// What was given.
        value: i128,
        /// Smallest.
        min: i128,
        /// Largest.
        max: i128,
    },
    /// A size outside its range.
    #[error("{field} is {value}: it must lie between {min} and {max}")]
    Size {
        /// Which.
        field: &'static str,
        /// What was given.
        value: Bytes,
        /// Smallest.
        min: Bytes,
        /// Largest.
        max: Bytes,
    },
    /// A length of time outside its range.
    #[error("{field} is {value}: it must lie between {min} and {max}")]
    Length {
        /// Which.
        field: &'static str,
        /// What was given.
        value: Micros,
        /// Shortest.
        min: Micros,
        /// Longest.
        max: Micros,
    },
    /// A whole device and a share of one at once.
    #[error("a whole device has all compute and all memory: leave out {field}")]
    WholeAndShare {
        /// The field that contradicts.
        field: &'static str,
    },
    /// Host memory behind a device that is not shared in turns.
    #[error(
        "host memory behind devices (--host-backed) is for devices shared in turns, and this ask is for \
         {mechanism}: leave it out, or ask for a share"
    )]
    BackingAlone {
        /// How the ask has its devices cut.
        mechanism: Mechanism,
    },
    /// The cap is below the guarantee.
    #[error(
        "the most compute ({max}) is below the guaranteed compute ({guaranteed}): raise it or leave it out"
    )]
    CapBelowGuarantee {
        /// The cap.
        max: Permille,
        /// The guarantee.
        guaranteed: Permille,
    },
    /// Several devices for one task, each cut spatially.
    #[error(
        "a task can have a spatial part of one device, and {count} are asked for: ask for one, for more \
         tasks, or for whole devices"
    )]
    SpatialCount {
        /// How many.
        count: u32,
    },
    /// A spatial part that would grow when others are idle.
    #[error("a spatial part is as large as it is, also when others are idle: leave out {field}")]
    SpatialCap {
        /// The field that contradicts.
        field: &'static str,
    },
    /// Something is asked of devices, and no device.
    #[error("{field} is 0 and yet something is asked of devices: leave it out, or ask for one")]
    NoDevice {
        /// The number of devices.
        field: &'static str,
    },
    /// A text of `place` or `hints` is too long or holds what no name may.
    #[error("{field} is not a name: use 1 to 128 printable characters")]
    Name {
        /// Where.
        field: &'static str,
    },
    /// A list of `place` is too long.
    #[error("{field} has {number} entries: at most {PLACE_ENTRIES_MAX}")]
    Entries {
        /// Where.
        field: &'static str,
        /// How many it has.
        number: usize,
    },
    /// A gang cannot read one client's descriptors.
    #[error("a gang of {0} tasks cannot share one terminal: use `polder submit` and `polder logs`")]
    GangOnTerminal(u32),
    /// A service runs until it is cancelled.
    #[error("a service runs until it is cancelled: leave out {field}")]
    ServiceEnds {
        /// The field that contradicts.
        field: &'static str,
    },
}

impl AskError {
    /// The field that it names, as an ask calls it, with what may be noted behind it: whoever asks by
    /// other names can put theirs in its place.
    #[must_use]
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::Text { field }
            | Self::Range { field, .. }
            | Self::Size { field, .. }
            | Self::Length { field, .. }
            | Self::WholeAndShare { field }
            | Self::SpatialCap { field }
            | Self::NoDevice { field }
            | Self::Name { field }
            | Self::Entries { field, .. }
            | Self::ServiceEnds { field } => Some(field),
            Self::NoCommand
            | Self::Directory(_)
            | Self::Image(_)
            | Self::TooLong { .. }
            | Self::LongName { .. }
            | Self::MisleadingName(_)
            | Self::BackingAlone { .. }
            | Self::CapBelowGuarantee { .. }
            | Self::SpatialCount { .. }
            | Self::GangOnTerminal(_) => None,
        }
    }
}

/// Refuses a number outside its range.
pub(super) fn range(
    field: &'static str,
    value: i128,
    min: i128,
    max: i128,
) -> Result<(), AskError> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(AskError::Range { field, value, min, max })
    }
}

/// Refuses a size outside its range.
pub(super) fn size(field: &'static str, value: Bytes, min: Bytes) -> Result<(), AskError> {
    let max = Bytes::MEMORY_MAX;
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(AskError::Size { field, value, min, max })
    }
}

/// Refuses a length of time outside its range.
fn length(field: &'static str, value: Micros, min: Micros, max: Micros) -> Result<(), AskError> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(AskError::Length { field, value, min, max })
    }
}

impl Ask {
    /// Refuses what could never make sense. Says nothing of whether the pool could serve it. What older
    /// programs took in must pass, for journals are checked so too: see [`Ask::check_written`].
    ///
    /// # Errors
    /// The first contradiction found, naming the field.
    pub fn check(&self) -> Result<(), AskError> {
        self.work.check(self.name.as_deref())?;
        self.devices.check()?;
        range("gang.min", self.gang.min.into(), 1, GANG_MAX.into())?;
        range("gang.max", self.gang.max.into(), self.gang.min.into(), GANG_MAX.into())?;
        self.check_service()?;
        range("when.priority", self.when.priority.into(), -1000, 1000)?;
        range("yields.retries", self.yields.retries.into(), 0, RETRIES_MAX.into())?;
        let (none, shortest) = (Micros(0), Micros(1));
        let (year, decade) = (Micros::from_secs(366 * 86_400), Micros::SPELLED_MAX);
        length("yields.grace", self.yields.grace, none, year)?;
        for (field, given) in [
            ("when.time_limit", self.when.time_limit),
            ("when.estimate", self.when.estimate),
            ("yields.checkpoint_interval", self.yields.checkpoint_interval),
        ] {
            if let Some(given) = given {
                length(field, given, shortest, decade)?;
            }
        }
        length("yields.runtime_min", self.yields.runtime_min, none, year)?;
        length("yields.restart_cost", self.yields.restart_cost, none, year)?;
        self.place.check()?;
        self.hints.check()?;
        if let Some(cpu) = self.host.cpu {
            range("host.cpu", cpu.0.into(), 10, 10_000_000)?;
        }
        if let Some(memory) = self.host.memory {
            size("host.memory", memory, Bytes(1 << 20))?;
        }
        if let Some(nic) = self.host.nic {
            range("host.nic (bits a second)", nic.0.into(), 1, i128::from(NIC_MAX))?;
        }
        if let Some(pids) = self.host.pids {
            range("host.pids", pids.into(), 1, 4 << 20)?;
        }
        if self.work.stdio == Stdio::Client && self.gang.max > 1 {
            return Err(AskError::GangOnTerminal(self.gang.max));
        }
        Ok(())
    }
}

/// Whether a text can be the name of an image, and nothing else to whoever starts it.
fn is_image(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@+".contains(&byte);
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    first && text.len() <= IMAGE_BYTES_MAX && text.bytes().all(inside)
}

impl Work {
    fn check(&self, name: Option<&str>) -> Result<(), AskError> {
        if self.command.first().is_none_or(String::is_empty) {
            return Err(AskError::NoCommand);
        }
        if !self.directory.starts_with('/') {
            return Err(AskError::Directory(self.directory.clone()));
        }
        let texts = [self.directory.as_str(), name.unwrap_or("")];
        if let Some(bytes) = name.map(str::len).filter(|bytes| *bytes > NAME_BYTES_MAX) {
            return Err(AskError::LongName { bytes });
        }
        if let Some(character) = name.and_then(|name| name.chars().find(|c| misleads(*c))) {
            return Err(AskError::MisleadingName(character));
        }
        if let Some(image) = self.image.as_ref().filter(|image| !is_image(image)) {
            return Err(AskError::Image(image.chars().take(IMAGE_BYTES_MAX).collect()));
        }
        if let Some(umask) = self.umask.filter(|umask| *umask > 0o777) {
            let (value, max) = (umask.into(), 0o777);
            return Err(AskError::Range { field: "work.umask", value, min: 0, max });
        }
        for (field, text) in texts
            .into_iter()
            .map(|text| ("directory or name", text))
            .chain(self.command.iter().map(|text| ("command", text.as_str())))
            .chain(self.environment.values().map(|text| ("environment", text.as_str())))
        {
            if text.contains('\0') {
                return Err(AskError::Text { field });
            }
        }
        if self.environment.keys().any(|key| key.is_empty() || key.contains(['=', '\0'])) {
            return Err(AskError::Text { field: "environment" });
        }
        let pairs = self.environment.iter().map(|(key, value)| key.len() + value.len() + 2);
        let bytes = texts.iter().map(|text| text.len()).sum::<usize>()
            + self.command.iter().map(|text| text.len() + 1).sum::<usize>()
            + pairs.sum::<usize>();
        if bytes > TEXT_BYTES_MAX {
            return Err(AskError::TooLong { bytes });
        }
        Ok(())
    }
}

/// Whether a character breaks a line, moves the cursor, or turns the order in which text is shown, so
/// that a name looks like another.
#[must_use]
pub fn misleads(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Refuses a text that no table or key could hold.
pub(super) fn name(field: &'static str, text: &str) -> Result<(), AskError> {
    let fits = (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(misleads);
    if fits { Ok(()) } else { Err(AskError::Name { field }) }
}
