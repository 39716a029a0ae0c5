//! JSON packets with descriptors over `SOCK_SEQPACKET` Unix sockets.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::{Serialize, de::DeserializeOwned};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Longest packet.
pub(crate) const PACKET_MAX: usize = 16 * 1024;
/// Most descriptors with one packet.
pub(crate) const FDS_MAX: usize = 4;

/// Sends one packet; never raises `SIGPIPE`.
///
/// # Errors
/// What the kernel says, or `InvalidInput` for a packet that is too long.
pub(crate) fn send(
    socket: impl AsFd,
    message: &impl Serialize,
    fds: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> io::Result<()> {
    let packet = serde_json::to_vec(message)?;
    if packet.len() > PACKET_MAX || fds.len() > FDS_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the packet is too long"));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
    }
    let parts = [IoSlice::new(&packet)];
    rustix::net::sendmsg(socket, &parts, &mut control, flags | SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one packet, its descriptors close-on-exec; `None` when the other side has closed.
///
/// # Errors
/// What the kernel says, or `InvalidData` for a packet that is not such a message.
pub(crate) fn receive<T: DeserializeOwned>(
    socket: impl AsFd,
    flags: RecvFlags,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; PACKET_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let got = rustix::net::recvmsg(socket, &mut parts, &mut control, flags)?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if got.bytes == 0 {
        return Ok(None);
    }
    if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the packet is too long"));
    }
    let message = serde_json::from_slice(&bytes[..got.bytes])
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(Some((message, fds)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn packets_keep_their_bounds_and_descriptors() {
        let (here, there) = pair();
        let file = tempfile::tempfile().unwrap();
        send(&here, &"one", &[file.as_fd(), file.as_fd()], SendFlags::empty()).unwrap();
        send(&here, &"two", &[], SendFlags::empty()).unwrap();
        let (text, fds) = receive::<String>(&there, RecvFlags::empty()).unwrap().unwrap();
        assert_eq!((text.as_str(), fds.len()), ("one", 2));
        let (text, fds) = receive::<String>(&there, RecvFlags::empty()).unwrap().unwrap();
        assert_eq!((text.as_str(), fds.len()), ("two", 0));
        drop(here);
        assert!(receive::<String>(&there, RecvFlags::empty()).unwrap().is_none());
    }

    #[test]
    fn what_is_not_a_message_is_an_error() {
        let (here, there) = pair();
        rustix::net::send(&here, b"{\"half\":", SendFlags::empty()).unwrap();
        let error = receive::<String>(&there, RecvFlags::empty()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let long = "x".repeat(PACKET_MAX);
        assert!(send(&here, &long, &[], SendFlags::empty()).is_err());
    }
}
