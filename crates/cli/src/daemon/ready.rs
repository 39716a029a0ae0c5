//! Saying that the daemon is ready, to whoever started it.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The variable in which systemd says where it listens.
const NOTIFY_VARIABLE: &str = "NOTIFY_SOCKET";

/// Tells systemd, if it asked. Tasks do not get the variable: they are not the service.
pub(super) fn tell_systemd(state: &str) -> io::Result<()> {
    match env::var(NOTIFY_VARIABLE) {
        Ok(socket) if !socket.is_empty() => send(&socket, state),
        _ => Ok(()),
    }
}

fn send(socket: &str, state: &str) -> io::Result<()> {
    let address = match socket.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_socket_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        send(path.to_str().unwrap(), "READY=1").unwrap();
        let mut read = [0; 32];
        assert_eq!(listener.recv(&mut read).unwrap(), 7);
        let name = format!("polder-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let listener = UnixDatagram::bind_addr(&address).unwrap();
        send(&format!("@{name}"), "STOPPING=1").unwrap();
        assert_eq!(listener.recv(&mut read).unwrap(), 10);
        assert!(send("/no/such/socket", "READY=1").is_err());
    }
}
