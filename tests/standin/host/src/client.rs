//! The end of a process that uses the device.

use crate::page::{MARKS_MAX, Page, STREAMS_MAX};
use crate::wire::{Ask, BYTES, Info, Words, bytes_of, words_of};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why the host cannot be spoken with.
#[derive(Debug)]
pub enum ClientError {
    /// The system's word for it.
    System(rustix::io::Errno),
    /// It answered with something else than what was asked for.
    Nonsense,
}

impl From<rustix::io::Errno> for ClientError {
    fn from(error: rustix::io::Errno) -> Self {
        Self::System(error)
    }
}

/// A moment in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    stream: u32,
    number: u64,
}

/// One process's way to the device.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    /// One question at a time; work needs no lock.
    asking: Mutex<()>,
    page: Page,
    info: Info,
    marks: AtomicU64,
}

impl Client {
    /// Connects to the host that serves `path`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn connect(path: &Path, pid: u32) -> Result<Self, ClientError> {
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        rustix::net::send(&socket, &bytes_of(&Ask::Hello { pid }.words()), SendFlags::NOSIGNAL)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; BYTES];
        let mut into = [std::io::IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let got = rustix::net::recvmsg(&socket, &mut into, &mut control, flags)?.bytes;
        let page = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut files) => files.next(),
            _ => None,
        });
        let (BYTES, Some(page)) = (got, page) else { return Err(ClientError::Nonsense) };
        let model = usize::try_from(words_of(&bytes)[0]).map_err(|_| ClientError::Nonsense)?;
        Ok(Self {
            socket,
            asking: Mutex::new(()),
            page: Page::map(page)?,
            info: Info { model },
            marks: AtomicU64::new(0),
        })
    }

    /// What the device is.
    #[must_use]
    pub fn info(&self) -> Info {
        self.info
    }

    /// Says something that is not answered.
    ///
    /// # Errors
    /// [`ClientError::System`] when the host is gone.
    pub fn tell(&self, what: Ask) -> Result<(), ClientError> {
        rustix::net::send(&self.socket, &bytes_of(&what.words()), SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Asks something and waits for the answer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn ask(&self, what: Ask) -> Result<[u64; 9], ClientError> {
        let _one = self.asking.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.tell(what)?;
        let mut bytes = [0; BYTES];
        let (got, _) = rustix::net::recv(&self.socket, &mut bytes[..], RecvFlags::empty())?;
        if got != BYTES {
            return Err(ClientError::Nonsense);
        }
        let words: Words = words_of(&bytes);
        Ok(words)
    }

    /// Marks what has been sent for a stream so far.
    ///
    /// # Errors
    /// [`ClientError::System`] when the host is gone.
    ///
    /// # Panics
    /// Never: streams are numbered below [`STREAMS_MAX`].
    pub fn mark(&self, stream: u32) -> Result<Mark, ClientError> {
        let stream = stream % u32::try_from(STREAMS_MAX).expect("a small number");
        let number = self.marks.fetch_add(1, Ordering::Relaxed) + 1;
        self.tell(Ask::Mark { stream, mark: number })?;
        Ok(Mark { stream, number })
    }

    /// What comes next in `stream` waits for the mark.
    ///
    /// # Errors
    /// [`ClientError::System`] when the host is gone.
    pub fn after(&self, stream: u32, mark: Mark) -> Result<(), ClientError> {
        self.tell(Ask::After { stream, mark: mark.number })
    }

    /// Waits until something has changed since `seen`, or a tenth of a second has passed; what it
    /// returns is seen then.
    #[must_use]
    pub fn changed(&self, seen: u32) -> u32 {
        self.page.wait(seen);
        self.page.layout().turn.load(Ordering::Acquire)
    }

    /// Ends every wait of this client, as a change would.
    pub fn nudge(&self) {
        self.page.told();
    }

    /// Whether it is over; for ever after a fault.
    #[must_use]
    pub fn over(&self, mark: Mark) -> bool {
        let page = self.page.layout();
        let marked = page.marked[mark.stream as usize].load(Ordering::Acquire);
        marked >= mark.number || self.fault() != 0
    }

    /// Waits until it is over.
    pub fn wait(&self, mark: Mark) {
        loop {
            let seen = self.page.layout().turn.load(Ordering::Acquire);
            if self.over(mark) {
                return;
            }
            self.page.wait(seen);
        }
    }

    /// When it was over, by the host's clock; of the last few thousand marks.
    #[must_use]
    pub fn over_at_ns(&self, mark: Mark) -> u64 {
        let place = usize::try_from(mark.number % MARKS_MAX as u64).unwrap_or_default();
        self.page.layout().at_ns[place].load(Ordering::Acquire)
    }

    /// Waits for as long as the process is locked.
    pub fn wait_unlocked(&self) {
        loop {
            let seen = self.page.layout().turn.load(Ordering::Acquire);
            if self.page.layout().locked.load(Ordering::Acquire) == 0 {
                return;
            }
            self.page.wait(seen);
        }
    }

    /// The fault to which the context was lost, by its XID; zero while it is well.
    #[must_use]
    pub fn fault(&self) -> u32 {
        self.page.layout().fault.load(Ordering::Acquire)
    }
}
