//! What is kept of a network: its subnets, and the bridge that it is on.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::machine::{MachineId, NetworkName, is_interface_name};

/// The newest layout of these records that this program reads and writes.
pub const SCHEMA: u32 = 1;

/// A network of ours: a bridge, and the subnets behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The layout of this record.
    pub schema: u32,
    /// Unique in its scope.
    pub name: NetworkName,
    /// 128 random bits, never used twice.
    pub id: MachineId,
    /// When it was created.
    pub created: Timestamp,
    /// The bridge's name among the host's interfaces, at most 15 characters.
    pub bridge: String,
    /// The gateway's address and the subnet's prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Net>,
    /// The same for IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Net>,
    /// Its machines reach each other and the host, nobody else.
    #[serde(default)]
    pub internal: bool,
    /// Whose it is, for who made it for a purpose.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Network {
    /// What is known of a network from its bridge alone, its record being gone.
    pub(super) fn gone(name: NetworkName, id: MachineId, bridge: String) -> Self {
        let created = Timestamp::UNIX_EPOCH;
        Self {
            schema: SCHEMA,
            name,
            id,
            created,
            bridge,
            ipv4: None,
            ipv6: None,
            internal: false,
            labels: BTreeMap::new(),
        }
    }

    /// Its subnets, each with the gateway's address.
    pub fn subnets(&self) -> impl Iterator<Item = IpNet> {
        self.ipv4.map(IpNet::V4).into_iter().chain(self.ipv6.map(IpNet::V6))
    }

    /// The host's own addresses on it, which are its machines' gateways.
    pub fn gateways(&self) -> impl Iterator<Item = IpAddr> {
        self.subnets().map(|subnet| subnet.addr())
    }
}

/// Reads a record. `path` is for messages, `name` is what the file is called.
pub(super) fn parse(text: &str, path: &Path, name: &NetworkName) -> Result<Network> {
    #[derive(Deserialize)]
    struct Version {
        schema: u32,
    }
    let bad = |e: toml::de::Error| {
        let line = e.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
        Error::new(format!("{}:{line}: {}", path.display(), e.message().trim_end().replace('\n', " ")))
    };
    let version: Version = toml::from_str(text).map_err(bad)?;
    if version.schema > SCHEMA {
        let why = format!("{}: written by a newer kraft (schema {})", path.display(), version.schema);
        return Err(Error::of(Kind::Newer, why).with_hint("use the newer kraft for this network"));
    }
    let network: Network = toml::from_str(text).map_err(bad)?;
    if network.name != *name {
        return Err(Error::new(format!("{}: it is the record of {}", path.display(), network.name)));
    }
    if !is_interface_name(&network.bridge) {
        let bridge = network.bridge.escape_debug();
        return Err(Error::new(format!("{}: '{bridge}' is no name of an interface", path.display())));
    }
    Ok(network)
}

#[cfg(test)]
impl Network {
    /// A network for tests: `10.1.2.1/24` on the bridge `kr-NAME`.
    pub(crate) fn example(name: &str) -> Self {
        Self {
            schema: SCHEMA,
            name: name.parse().expect("tests name networks well"),
            id: MachineId::from_bytes([7; 16]),
            created: Timestamp::UNIX_EPOCH,
            bridge: format!("kr-{name}"),
            ipv4: Some("10.1.2.1/24".parse().expect("it is a subnet")),
            ipv6: None,
            internal: false,
            labels: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Network> {
        parse(text, Path::new("/n/web.toml"), &"web".parse().unwrap())
    }

    #[test]
    fn records_survive_text() {
        let mut network = Network::example("web");
        assert_eq!(read(&toml::to_string(&network).unwrap()).unwrap(), network);
        network.ipv6 = Some("fd00:1::1/64".parse().unwrap());
        network.internal = true;
        network.labels.insert("a.b".into(), "c".into());
        assert_eq!(read(&toml::to_string(&network).unwrap()).unwrap(), network);
        network.bridge = "../../x".into();
        let error = read(&toml::to_string(&network).unwrap()).unwrap_err().to_string();
        assert_eq!(error, "/n/web.toml: '../../x' is no name of an interface");
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(read("schema = 1\nname = 1").unwrap_err().to_string().starts_with("/n/web.toml:2: "));
        assert_eq!(read("schema = 9").unwrap_err().kind(), Kind::Newer);
        let other = toml::to_string(&Network::example("db")).unwrap();
        assert_eq!(read(&other).unwrap_err().to_string(), "/n/web.toml: it is the record of db");
    }
}
