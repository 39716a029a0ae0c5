//! Where loopback HTTP is served.

use std::fmt;
use std::str::FromStr;

/// The port of a daemon that is told of no other.
const PORT_DEFAULT: u16 = 7437;

/// A loopback address: `127.0.0.1:7437`, or only its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listen {
    /// 0 takes any free one.
    pub(crate) port: u16,
}

impl Default for Listen {
    fn default() -> Self {
        Self { port: PORT_DEFAULT }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "127.0.0.1:{}", self.port)
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = match text.rsplit_once(':') {
            Some(("127.0.0.1" | "localhost", port)) => port,
            Some((host, _)) => {
                return Err(format!(
                    "{host:?} is not 127.0.0.1: requests are not encrypted, so only this machine \
                     is served; use ssh -L from others"
                ));
            }
            None => text,
        };
        port.parse()
            .map(|port| Self { port })
            .map_err(|_| format!("{port:?} is not a port: write 127.0.0.1:{PORT_DEFAULT}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_served() {
        let check = |text: &str, expect: Result<u16, &str>| match (text.parse::<Listen>(), expect) {
            (Ok(listen), Ok(port)) => assert_eq!(listen.port, port),
            (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
            (got, _) => panic!("{text}: {got:?}"),
        };
        check("127.0.0.1:80", Ok(80));
        check("localhost:0", Ok(0));
        check("7000", Ok(7000));
        check("0.0.0.0:80", Err("\"0.0.0.0\" is not 127.0.0.1"));
        check("127.0.0.1:70000", Err("not a port"));
        check("web", Err("not a port"));
    }
}
