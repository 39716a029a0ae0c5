//! How a process of a lease gets its slot and descriptors.
//!
//! The shim listens on a `SOCK_SEQPACKET` Unix socket, one per lease; `POLDER_SOCKET` says where, and where
//! it was cleared a mount of that name in the process's mount namespace. Both say only *where*: what a process may have is decided by who it is (it must descend
//! from the shim), never by what it says. One packet each way:
//!
//! ```text
//! process -> shim   Hello
//! shim -> process   Welcome + limits, usage, doorbell      or      Refused
//! shim -> process   NewLimits + limits                     later, when an agent has restarted
//! ```
//!
//! The process keeps the connection open, close-on-exec, for as long as it uses its slot: its end
//! tells the shim that the process is gone or has become another program. Every length is checked;
//! a packet is at most [`PACKET_MAX`] bytes.

use thiserror::Error;

/// The variable that says where the shim listens.
pub const SOCKET_VARIABLE: &str = "POLDER_SOCKET";
/// The socket's name in the lease's folder.
pub const SOCKET_FILE: &str = "driver.sock";
/// Longest packet.
pub const PACKET_MAX: usize = 16 * 1024;
/// Descriptors that come with [`Message::Welcome`], in this order: limits, usage, doorbell.
pub const WELCOME_FDS: usize = 3;

const TEXT_MAX: usize = 512;
const PREFIX: [u8; 4] = *b"PLDR";

/// One device of the lease, as its programs reach it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// The vendor's ICD library; empty for a device without OpenCL.
    pub library: String,
    /// `CL_PLATFORM_NAME`.
    pub platform: String,
    /// Place in the platform's list of all devices, from 0.
    pub index: u32,
    /// How CUDA reaches it, where it does.
    pub cuda: Option<Cuda>,
}

/// One device of the lease, as CUDA and NVML know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cuda {
    /// The vendor's own `libcuda`, by its path: never a name that a search could find ours under.
    pub library: String,
    /// The vendor's own NVML likewise; empty where there is none.
    pub nvml: String,
    /// What `cuDeviceGetUuid` says: an ordinal depends on the process's environment, this does not.
    pub uuid: [u8; 16],
}

/// A packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A process asks to be let in; it speaks this layout.
    Hello {
        /// [`crate::LAYOUT`].
        layout: u32,
    },
    /// It is let in.
    Welcome {
        /// Its lease.
        lease: u64,
        /// Its slot.
        slot: u32,
        /// Which process of that slot it is.
        generation: u32,
        /// The lease's devices, in the order of the pages.
        routes: Vec<Route>,
    },
    /// It is not, and why.
    Refused {
        /// What is wrong and what to do.
        why: String,
    },
    /// A restarted agent has made a new `Limits` page.
    NewLimits,
}

/// A packet that is not one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not a packet of the attach protocol: {0}")]
pub struct Malformed(pub &'static str);

struct Writer(Vec<u8>);

impl Writer {
    fn u32(&mut self, value: u32) {
        self.0.extend(value.to_le_bytes());
    }
    fn u64(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }
    fn text(&mut self, text: &str) {
        let mut end = text.len().min(TEXT_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.u32(u32::try_from(end).expect("TEXT_MAX is small"));
        self.0.extend(&text.as_bytes()[..end]);
    }
    fn cuda(&mut self, cuda: Option<&Cuda>) {
        self.u32(u32::from(cuda.is_some()));
        if let Some(cuda) = cuda {
            self.text(&cuda.library);
            self.text(&cuda.nvml);
            self.0.extend(cuda.uuid);
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.0.split_at_checked(length).ok_or(Malformed("it ends too early"))?;
        self.0 = tail;
        Ok(head)
    }
    fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into().expect("four bytes were taken")))
    }
    fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes were taken")))
    }
    fn text(&mut self) -> Result<String, Malformed> {
        let length = self.u32()? as usize;
        if length > TEXT_MAX {
            return Err(Malformed("a text is too long"));
        }
        let bytes = self.take(length)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| Malformed("a text is not UTF-8"))
    }
    fn cuda(&mut self) -> Result<Option<Cuda>, Malformed> {
        match self.u32()? {
            0 => return Ok(None),
            1 => {}
            _ => return Err(Malformed("a device is neither CUDA's nor not")),
        }
        let (library, nvml) = (self.text()?, self.text()?);
        let uuid = self.take(16)?.try_into().expect("sixteen bytes were taken");
        Ok(Some(Cuda { library, nvml, uuid }))
    }
}

impl Message {
    /// The packet.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer(PREFIX.to_vec());
        match self {
            Self::Hello { layout } => {
                out.u32(1);
                out.u32(*layout);
            }
            Self::Welcome { lease, slot, generation, routes } => {
                let routes = &routes[..routes.len().min(crate::DEVICES_MAX)];
                // A kind of its own: in a lease without CUDA, a library and a shim of any age
                // understand each other.
                let cuda = routes.iter().any(|route| route.cuda.is_some());
                out.u32(if cuda { 5 } else { 2 });
                out.u64(*lease);
                out.u32(*slot);
                out.u32(*generation);
                out.u32(u32::try_from(routes.len()).expect("DEVICES_MAX is small"));
                for route in routes {
                    out.text(&route.library);
                    out.text(&route.platform);
                    out.u32(route.index);
                    if cuda {
                        out.cuda(route.cuda.as_ref());
                    }
                }
            }
            Self::Refused { why } => {
                out.u32(3);
                out.text(why);
            }
            Self::NewLimits => out.u32(4),
        }
        out.0
    }

    /// Reads a packet.
    ///
    /// # Errors
    /// [`Malformed`], for anything that [`encode`](Self::encode) does not write.
    pub fn decode(packet: &[u8]) -> Result<Self, Malformed> {
        let mut read = Reader(packet);
        if read.take(4)? != PREFIX {
            return Err(Malformed("it does not start with PLDR"));
        }
        let message = match read.u32()? {
            1 => Self::Hello { layout: read.u32()? },
            kind @ (2 | 5) => {
                let (lease, slot, generation) = (read.u64()?, read.u32()?, read.u32()?);
                let count = read.u32()? as usize;
                if count > crate::DEVICES_MAX {
                    return Err(Malformed("it names too many devices"));
                }
                let mut routes = Vec::with_capacity(count);
                for _ in 0..count {
                    routes.push(Route {
                        library: read.text()?,
                        platform: read.text()?,
                        index: read.u32()?,
                        cuda: if kind == 5 { read.cuda()? } else { None },
                    });
                }
                if slot as usize >= crate::SLOTS_MAX {
                    return Err(Malformed("its slot is out of range"));
                }
                Self::Welcome { lease, slot, generation, routes }
            }
            3 => Self::Refused { why: read.text()? },
            4 => Self::NewLimits,
            _ => return Err(Malformed("its kind is unknown")),
        };
        if read.0.is_empty() { Ok(message) } else { Err(Malformed("it is too long")) }
    }
}

#[cfg(not(loom))]
mod wire {
    use super::{Malformed, Message, PACKET_MAX, WELCOME_FDS};
    use rustix::net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags,
    };
    use std::io::{self, IoSlice, IoSliceMut};
    use std::mem::MaybeUninit;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

    /// Sends one packet with descriptors.
    ///
    /// # Errors
    /// What the kernel says; `SIGPIPE` is never raised.
    pub fn send(socket: impl AsFd, message: &Message, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let packet = message.encode();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(WELCOME_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
        }
        let parts = [IoSlice::new(&packet)];
        rustix::net::sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Receives one packet with descriptors, each close-on-exec. `None` when the other side closed.
    ///
    /// # Errors
    /// What the kernel says (`WouldBlock` with [`RecvFlags::DONTWAIT`]), or `InvalidData` for a
    /// packet that is not one.
    pub fn receive(
        socket: impl AsFd,
        flags: RecvFlags,
    ) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
        let mut bytes = [0; PACKET_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(WELCOME_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let got = rustix::net::recvmsg(
            socket,
            &mut parts,
            &mut control,
            flags | RecvFlags::CMSG_CLOEXEC,
        )?;
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if got.bytes == 0 {
            return Ok(None);
        }
        let invalid = |error: Malformed| io::Error::new(io::ErrorKind::InvalidData, error);
        if got.flags.contains(ReturnFlags::TRUNC) {
            return Err(invalid(Malformed("it is too long")));
        }
        Ok(Some((Message::decode(&bytes[..got.bytes]).map_err(invalid)?, fds)))
    }
}
#[cfg(not(loom))]
pub use wire::{receive, send};

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn welcome() -> Message {
        let library = "libpocl.so.2".to_owned();
        let pocl = Route { library, platform: "PoCL".into(), index: 0, cuda: None };
        let (library, nvml) = ("/real/libcuda.so.1".into(), "/real/libnvidia-ml.so.1".into());
        let cuda = Cuda { library, nvml, uuid: *b"0123456789abcdef" };
        let card = Route { cuda: Some(cuda), ..Route::default() };
        Message::Welcome { lease: 7, slot: 3, generation: 1, routes: vec![pocl, card] }
    }

    #[test]
    fn packets_survive_the_wire_with_their_descriptors() {
        use std::os::fd::AsFd;
        let (here, there) = rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::SEQPACKET,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let file = tempfile::tempfile().unwrap();
        send(&here, &welcome(), &[file.as_fd(), file.as_fd(), file.as_fd()]).unwrap();
        let (message, fds) = receive(&there, rustix::net::RecvFlags::empty()).unwrap().unwrap();
        assert_eq!((message, fds.len()), (welcome(), 3));
        drop(here);
        assert!(receive(&there, rustix::net::RecvFlags::empty()).unwrap().is_none());
    }

    #[test]
    fn a_lease_without_cuda_is_welcomed_as_it_always_was() {
        let route = Route { library: "a".into(), platform: "b".into(), index: 3, cuda: None };
        let welcome = Message::Welcome { lease: 7, slot: 3, generation: 1, routes: vec![route] };
        let packet = welcome.encode();
        let index = packet.len() - 4;
        assert_eq!(packet[index..], 3_u32.to_le_bytes(), "nothing follows the last index");
        assert_eq!(Message::decode(&packet), Ok(welcome));
    }

    #[test]
    fn no_cut_or_flipped_packet_is_taken_for_another_or_panics() {
        let packet = welcome().encode();
        for length in 0..packet.len() {
            assert!(Message::decode(&packet[..length]).is_err(), "cut at {length}");
        }
        for at in 0..packet.len() {
            let mut other = packet.clone();
            other[at] ^= 0x80;
            // A flip inside a number or text may still be a packet, but never the same one.
            assert_ne!(Message::decode(&other), Ok(welcome()), "flip at {at}");
        }
        assert!(Message::decode(&[packet.as_slice(), &[0]].concat()).is_err());
    }
}
