//! What client and host say to each other: one message of nine words each way.

/// Words of a message.
pub(crate) const WORDS: usize = 9;
/// Bytes of a message.
pub(crate) const BYTES: usize = WORDS * 8;

/// A message as words.
pub(crate) type Words = [u64; WORDS];

/// What a client says. Only those that say so are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Who it is; answered with [`Info`] and the client's page.
    Hello {
        /// Process id.
        pid: u32,
    },
    /// Opens the client's context if it has none. Answered with zero, or the fault's number.
    Open,
    /// Closes it.
    Close,
    /// A kernel, or a graph of so many of them.
    Launch {
        /// In which stream.
        stream: u32,
        /// Blocks of the grid.
        blocks: u32,
        /// Threads of a block.
        threads: u32,
        /// Scripted length, nanoseconds.
        length_ns: u64,
        /// Nodes, if it is a graph; zero for a kernel.
        nodes: u32,
        /// All its blocks must be resident at once.
        cooperative: bool,
    },
    /// A copy.
    Copy {
        /// In which stream.
        stream: u32,
        /// Bytes.
        bytes: u64,
        /// 0 to the device, 1 to the host, 2 within the device.
        direction: u32,
    },
    /// What has been sent for this stream so far is marked: the page says when it is over.
    Mark {
        /// Which stream.
        stream: u32,
        /// The client's number for it, counted up from one.
        mark: u64,
    },
    /// What comes next in this stream waits until a mark is over.
    After {
        /// Which stream.
        stream: u32,
        /// The client's number of the mark.
        mark: u64,
    },
    /// Takes memory. Answered with zero, or the free bytes plus one when there is too little.
    Allocate {
        /// Bytes.
        bytes: u64,
    },
    /// Gives it back.
    Free {
        /// Bytes, as they were asked for.
        bytes: u64,
    },
    /// Answered with total and used memory, utilisation in percent, XID events so far, throttle
    /// reasons.
    State,
    /// The process at this place among those that have contexts: answered with its pid, memory and
    /// utilisation, or zeros.
    Process {
        /// Place.
        index: u32,
    },
    /// What a process has had: answered with ran, switched and completed.
    Truth {
        /// Process id.
        pid: u32,
    },
    /// Something goes wrong now, by its XID; with the pid of whose context, or zero for all.
    Fail {
        /// The number of the fault.
        xid: u32,
        /// Process id.
        pid: u32,
    },
    /// The fault at this place among all so far: answered with its XID and the pid of whose context it
    /// took, zero for all; or zeros.
    Xid {
        /// Place.
        index: u32,
    },
    /// A process is moved off the device, or back: answered with a [`CUresult`] and with its state.
    ///
    /// [`CUresult`]: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__CHECKPOINT.html
    Checkpoint {
        /// Process id.
        pid: u32,
        /// What is to be done.
        step: Step,
        /// Most milliseconds that what it has begun may take; zero for any.
        most_ms: u32,
    },
    /// From now on it runs at this speed, and says why.
    Throttle {
        /// Bits of NVML's clock event reasons.
        reasons: u64,
        /// What is left of its speed, thousandths.
        speed: u32,
    },
}

/// A step on the way of a process off the device and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing; its state is told.
    Look,
    /// Its calls wait, once what it has begun is over.
    Lock,
    /// What it has on the device goes to the host.
    Checkpoint,
    /// And back.
    Restore,
    /// Its calls go on.
    Unlock,
}

impl Step {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::Look, Self::Lock, Self::Checkpoint, Self::Restore, Self::Unlock];
}

/// What the host says of its device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Info {
    /// Place of the model in [`polder_standin::MODELS`].
    pub model: usize,
}

impl Ask {
    pub(crate) fn words(self) -> Words {
        let mut words = [0; WORDS];
        let mut put = |values: &[u64]| words[..values.len()].copy_from_slice(values);
        match self {
            Self::Hello { pid } => put(&[1, pid.into()]),
            Self::Open => put(&[2]),
            Self::Close => put(&[3]),
            Self::Launch { stream, blocks, threads, length_ns, nodes, cooperative } => put(&[
                4,
                stream.into(),
                blocks.into(),
                threads.into(),
                length_ns,
                nodes.into(),
                cooperative.into(),
            ]),
            Self::Copy { stream, bytes, direction } => {
                put(&[5, stream.into(), bytes, direction.into()]);
            }
            Self::Mark { stream, mark } => put(&[6, stream.into(), mark]),
            Self::After { stream, mark } => put(&[13, stream.into(), mark]),
            Self::Allocate { bytes } => put(&[7, bytes]),
            Self::Free { bytes } => put(&[8, bytes]),
            Self::State => put(&[9]),
            Self::Process { index } => put(&[10, index.into()]),
            Self::Truth { pid } => put(&[11, pid.into()]),
            Self::Fail { xid, pid } => put(&[12, xid.into(), pid.into()]),
            Self::Xid { index } => put(&[14, index.into()]),
            Self::Checkpoint { pid, step, most_ms } => {
                put(&[16, pid.into(), step as u64, most_ms.into()]);
            }
            Self::Throttle { reasons, speed } => put(&[15, reasons, speed.into()]),
        }
        words
    }

    pub(crate) fn of(words: &Words) -> Option<Self> {
        let small = |at: usize| u32::try_from(words[at]).ok();
        Some(match words[0] {
            1 => Self::Hello { pid: small(1)? },
            2 => Self::Open,
            3 => Self::Close,
            4 => Self::Launch {
                stream: small(1)?,
                blocks: small(2)?,
                threads: small(3)?,
                length_ns: words[4],
                nodes: small(5)?,
                cooperative: words[6] != 0,
            },
            5 => Self::Copy { stream: small(1)?, bytes: words[2], direction: small(3)? },
            6 => Self::Mark { stream: small(1)?, mark: words[2] },
            13 => Self::After { stream: small(1)?, mark: words[2] },
            7 => Self::Allocate { bytes: words[1] },
            8 => Self::Free { bytes: words[1] },
            9 => Self::State,
            10 => Self::Process { index: small(1)? },
            11 => Self::Truth { pid: small(1)? },
            12 => Self::Fail { xid: small(1)?, pid: small(2)? },
            14 => Self::Xid { index: small(1)? },
            16 => {
                let step = Step::ALL.get(usize::try_from(words[2]).ok()?);
                Self::Checkpoint { pid: small(1)?, step: *step?, most_ms: small(3)? }
            }
            15 => Self::Throttle { reasons: words[1], speed: small(2)? },
            _ => return None,
        })
    }
}

pub(crate) fn bytes_of(words: &Words) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

pub(crate) fn words_of(bytes: &[u8; BYTES]) -> Words {
    let mut words = [0; WORDS];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_ne_bytes(chunk.try_into().expect("chunks of eight"));
    }
    words
}
