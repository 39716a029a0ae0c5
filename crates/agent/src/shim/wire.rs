//! Packets of the control socket: one JSON value each, with descriptors beside it.

use super::protocol::{PACKET_BYTES_MAX, PACKET_FDS_MAX};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix,
};
use serde::{Serialize, de::DeserializeOwned};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// A packet that is not one of ours.
fn invalid(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// The address of a socket file.
///
/// # Errors
/// `InvalidInput` naming the path when it is longer than the kernel takes.
pub(crate) fn address(path: &Path) -> io::Result<SocketAddrUnix> {
    SocketAddrUnix::new(path).map_err(|_| {
        let why = format!(
            "the path {} is too long for a socket (at most 107 bytes): use a shorter state folder",
            path.display()
        );
        io::Error::new(io::ErrorKind::InvalidInput, why)
    })
}

/// Sends one value with descriptors.
///
/// # Errors
/// What the kernel says (`WouldBlock` with [`SendFlags::DONTWAIT`]); `SIGPIPE` is never raised.
pub(crate) fn send(
    socket: impl AsFd,
    value: &impl Serialize,
    fds: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> io::Result<()> {
    let packet = serde_json::to_vec(value)?;
    if packet.len() > PACKET_BYTES_MAX {
        return Err(invalid("the packet is too long"));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PACKET_FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
    }
    let parts = [IoSlice::new(&packet)];
    rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(&socket, &parts, &mut control, flags | SendFlags::NOSIGNAL)
    })?;
    Ok(())
}

/// Receives one value with descriptors, each close-on-exec. `None` when the other side closed.
///
/// The buffer lives only as long as the packet: between packets a connection costs no memory.
///
/// # Errors
/// What the kernel says (`WouldBlock` with [`RecvFlags::DONTWAIT`]), or `InvalidData` for a packet
/// that is not such a value.
pub(crate) fn receive<T: DeserializeOwned>(
    socket: impl AsFd,
    flags: RecvFlags,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let peek = flags | RecvFlags::PEEK | RecvFlags::TRUNC;
    let (_, length) =
        rustix::io::retry_on_intr(|| rustix::net::recv(&socket, [0u8; 0].as_mut_slice(), peek))?;
    let mut bytes = vec![0; length.clamp(1, PACKET_BYTES_MAX)];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PACKET_FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = flags | RecvFlags::CMSG_CLOEXEC;
        rustix::io::retry_on_intr(|| {
            rustix::net::recvmsg(&socket, &mut parts, &mut control, flags)
        })?
    };
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
        return Err(invalid("the packet is too long or brings too many descriptors"));
    }
    let value = serde_json::from_slice(&bytes[..got.bytes]).map_err(invalid)?;
    Ok(Some((value, fds)))
}
