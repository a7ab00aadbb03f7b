//! How a machine is on a network: what was asked, and what a guest is told of its interface.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::text::kept_as_text;
use crate::error::{Error, Result};

/// One interface of a machine on a network. In a record everything is settled: address and MAC stay the machine's while
/// it is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// One of our networks, or, where `foreign`, a bridge of the host's by its own name.
    pub network: String,
    /// A bridge that is not ours: used, never changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub foreign: bool,
    /// The interface's hardware address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// What the guest is told.
    #[serde(flatten)]
    pub ip: IpConfig,
}

/// What a guest is told of one of its interfaces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpConfig {
    /// IPv4 address and prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Net>,
    /// IPv6 address and prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Net>,
    /// The routers, at most one of a family.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<IpAddr>,
    /// Name servers, at most two.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<IpAddr>,
    /// The guest's host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The guest's domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Other names that the guest has among the machines of the network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
}

impl IpConfig {
    /// The interface's own addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.ipv4.map(|net| IpAddr::V4(net.addr()));
        v4.into_iter().chain(self.ipv6.map(|net| IpAddr::V6(net.addr())))
    }
}

/// A hardware address (EUI-48), written in hexadecimal with colons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl FromStr for Mac {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: &str| Error::new(format!("bad MAC address '{}': {why}", text.escape_debug()));
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()));
            let value = part.and_then(|part| u8::from_str_radix(part, 16).ok());
            *byte = value.ok_or_else(|| bad("it is not six bytes in hexadecimal with colons"))?;
        }
        if parts.next().is_some() {
            return Err(bad("it is not six bytes in hexadecimal with colons"));
        }
        if bytes[0] & 1 == 1 || bytes == [0; 6] {
            return Err(bad("it is no single interface's"));
        }
        Ok(Self(bytes))
    }
}

kept_as_text!(Mac);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Whether the kernel takes this as an interface's name. Dots alone would be a way to another file below /proc/sys.
pub fn is_interface_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | ':' | '%' | '"' | '\\');
    (1..=15).contains(&text.len()) && text.chars().all(fits) && text != "." && text != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_are_read_and_shown() {
        assert_eq!("02:B0:b0:00:00:01".parse::<Mac>().unwrap().to_string(), "02:b0:b0:00:00:01");
        for text in
            ["", "02:b0:b0:00:00", "02:b0:b0:00:00:01:02", "02:b0:b0:00:00:+1", "01:00:5e:00:00:01", "2:b0:b0:0:0:1"]
        {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }
}
