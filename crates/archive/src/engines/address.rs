//! Where an engine listens.

use std::fmt;

use crate::EngineError;

/// Where an engine listens, as `DOCKER_HOST` has it.
///
/// ```
/// use lith_archive::EngineAddress;
///
/// assert_eq!(EngineAddress::default().to_string(), "unix:///var/run/docker.sock");
/// let far: EngineAddress = "tcp://build.example:2375".parse()?;
/// assert!("ssh://build.example".parse::<EngineAddress>().is_err());
/// # Ok::<(), lith_archive::EngineError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineAddress(pub(super) Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// The socket's path.
    Unix(String),
    /// Host and port.
    Tcp(String),
}

/// The port of an engine without TLS.
const PORT: &str = ":2375";

impl Default for EngineAddress {
    fn default() -> Self {
        EngineAddress(Kind::Unix("/var/run/docker.sock".into()))
    }
}

impl std::str::FromStr for EngineAddress {
    type Err = EngineError;

    /// Reads `unix://PATH`, `tcp://HOST[:PORT]` or `http://HOST[:PORT]`.
    fn from_str(text: &str) -> Result<Self, EngineError> {
        let refused = |reason| EngineError::Address {
            address: text.to_owned(),
            reason,
        };
        let kind = match text.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Kind::Unix(path.to_owned()),
            Some(("tcp" | "http", host)) => {
                let host = host.trim_end_matches('/');
                let plain = !host.is_empty() && !host.contains(['/', '@', '?', '#', ' ']);
                if !plain {
                    return Err(refused("it is no host with or without a port"));
                }
                // The colons of an address of version 6 are inside of brackets.
                let name = host.rsplit_once(']').map_or(host, |(_, behind)| behind);
                let port = if name.contains(':') { "" } else { PORT };
                Kind::Tcp(format!("{host}{port}"))
            }
            Some(("https", _)) => return Err(refused("TLS is not supported")),
            _ => {
                return Err(refused(
                    "only unix:///PATH and tcp://HOST:PORT are supported",
                ));
            }
        };
        Ok(EngineAddress(kind))
    }
}

impl fmt::Display for EngineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Unix(path) => write!(f, "unix://{path}"),
            Kind::Tcp(host) => write!(f, "tcp://{host}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, shown) in [
            ("unix:///run/x.sock", "unix:///run/x.sock"),
            ("tcp://a:1", "tcp://a:1"),
            ("tcp://a/", "tcp://a:2375"),
            ("http://[::1]", "tcp://[::1]:2375"),
            ("tcp://[::1]:7", "tcp://[::1]:7"),
        ] {
            assert_eq!(text.parse::<EngineAddress>().unwrap().to_string(), shown);
        }
        for text in [
            "",
            "x",
            "unix://x",
            "tcp://",
            "https://a",
            "ssh://a",
            "npipe://x",
            "tcp://a/b",
        ] {
            assert!(text.parse::<EngineAddress>().is_err(), "{text}");
        }
    }
}
