//! Published ports: `[hostIP:]hostPort:port[/tcp|udp]`, and ranges of them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Protocol;
use super::text::kept_as_text;
use crate::error::{Error, Result};

/// A port of the host that leads to one of the guest's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Port {
    /// The host's address that it is published on; every address if none was given.
    pub host_ip: Option<IpAddr>,
    /// The host's port, not 0.
    pub host: u16,
    /// The guest's port, not 0.
    pub guest: u16,
    /// What is carried.
    pub protocol: Protocol,
}

impl Port {
    /// The most ports that one range has.
    pub const RANGE: usize = 1024;

    /// Reads what a person types: one port or a range, `[hostIP:]hostPort[-last]:port[-last][/tcp|udp]`. An IPv6 address
    /// stands in brackets.
    ///
    /// # Errors
    /// Names the text and what is wrong in it.
    pub fn parse(text: &str) -> Result<Vec<Self>> {
        let bad = |why: String| Error::new(format!("bad port '{}': {why}", text.escape_debug()));
        let (rest, protocol) = match text.rsplit_once('/') {
            Some((rest, protocol)) => (rest, protocol.parse().map_err(|e: Error| bad(e.to_string()))?),
            None => (text, Protocol::Tcp),
        };
        let (rest, guest) =
            rest.rsplit_once(':').ok_or_else(|| bad("it is not [hostIP:]hostPort:port[/tcp|udp]".into()))?;
        let (host_ip, host) = match rest.rsplit_once(':') {
            Some((ip, host)) => (Some(address(ip).map_err(bad)?), host),
            None => (None, rest),
        };
        let (hosts, guests) = (range(host).map_err(bad)?, range(guest).map_err(bad)?);
        let count = hosts.1 - hosts.0;
        if guests.1 - guests.0 != count {
            return Err(bad(format!("{host} and {guest} are not equally many")));
        }
        if usize::from(count) >= Self::RANGE {
            return Err(bad(format!("it has more than {} ports", Self::RANGE)));
        }
        Ok((0..=count).map(|n| Self { host_ip, host: hosts.0 + n, guest: guests.0 + n, protocol }).collect())
    }

    /// Whether the two cannot be published at once.
    pub fn collides(&self, other: &Self) -> bool {
        let overlap = match (self.host_ip, other.host_ip) {
            (Some(one), Some(two)) => one == two || one.is_unspecified() || two.is_unspecified(),
            _ => true,
        };
        self.protocol == other.protocol && self.host == other.host && overlap
    }
}

/// An address without a zone. Every address of a family is as good as none at all.
fn address(text: &str) -> std::result::Result<IpAddr, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let ip = match bare {
        Some(bare) => bare.parse().map(IpAddr::V6).map_err(|_| ()),
        None => text.parse().map(IpAddr::V4).map_err(|_| ()),
    };
    ip.map_err(|()| format!("'{}' is not an IP address", text.escape_debug()))
}

fn range(text: &str) -> std::result::Result<(u16, u16), String> {
    let number = |text: &str| match text.parse::<u16>() {
        Ok(number) if number > 0 && !text.starts_with('+') => Ok(number),
        _ => Err(format!("'{}' is not a port (1 to 65535)", text.escape_debug())),
    };
    let Some((first, last)) = text.split_once('-') else {
        return number(text).map(|port| (port, port));
    };
    match (number(first)?, number(last)?) {
        (first, last) if first <= last => Ok((first, last)),
        _ => Err(format!("the range {text} ends before it begins")),
    }
}

impl FromStr for Port {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match Self::parse(text)?.as_slice() {
            [port] => Ok(*port),
            _ => Err(Error::new(format!("bad port '{}': it is a range", text.escape_debug()))),
        }
    }
}

kept_as_text!(Port);

impl fmt::Display for Port {
    /// As it is typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_ip {
            None => {}
            Some(IpAddr::V4(ip)) => write!(f, "{ip}:")?,
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:")?,
        }
        write!(f, "{}:{}/{}", self.host, self.guest, self.protocol)
    }
}

impl Port {
    /// As lists show it: `hostIP:hostPort->port/protocol`.
    pub fn arrow(&self) -> String {
        let ip = match self.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        format!("{ip}:{}->{}/{}", self.host, self.guest, self.protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        Port::parse(text).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_typed_is_read_and_shown() {
        assert_eq!(shown("8080:80"), ["8080:80/tcp"]);
        assert_eq!(shown("127.0.0.1:8080:80/udp"), ["127.0.0.1:8080:80/udp"]);
        assert_eq!(shown("[::1]:8080:80"), ["[::1]:8080:80/tcp"]);
        assert_eq!(shown("9000-9002:80-82"), ["9000:80/tcp", "9001:81/tcp", "9002:82/tcp"]);
        assert_eq!("[::1]:8080:80".parse::<Port>().unwrap().arrow(), "[::1]:8080->80/tcp");
        assert_eq!("8080:80".parse::<Port>().unwrap().arrow(), "0.0.0.0:8080->80/tcp");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, why) in [
            ("80", "it is not [hostIP:]hostPort:port[/tcp|udp]"),
            ("", "it is not [hostIP:]hostPort:port[/tcp|udp]"),
            ("0:80", "'0' is not a port (1 to 65535)"),
            ("80:65536", "'65536' is not a port (1 to 65535)"),
            ("+1:80", "'+1' is not a port (1 to 65535)"),
            ("::1:80:80", "'::1' is not an IP address"),
            ("host:80:80", "'host' is not an IP address"),
            ("80:80/sctp", "unknown protocol 'sctp': known are tcp, udp"),
            ("1-2:80", "1-2 and 80 are not equally many"),
            ("2-1:80-81", "the range 2-1 ends before it begins"),
            ("1-2000:1-2000", "it has more than 1024 ports"),
        ] {
            assert_eq!(Port::parse(text).unwrap_err().to_string(), format!("bad port '{text}': {why}"));
        }
    }

    #[test]
    fn ports_collide_where_their_addresses_overlap() {
        let port = |text: &str| text.parse::<Port>().unwrap();
        let collide = |one: &str, two: &str| port(one).collides(&port(two));
        assert!(collide("8080:80", "127.0.0.1:8080:81"));
        assert!(collide("0.0.0.0:8080:80", "127.0.0.1:8080:81"));
        assert!(!collide("127.0.0.2:8080:80", "127.0.0.1:8080:80"));
        assert!(!collide("8080:80", "8081:80"));
        assert!(!collide("8080:80", "8080:80/udp"));
    }
}
