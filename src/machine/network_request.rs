//! What a person types behind `--network`:
//! `[bridge:]NAME[:ip[/mask][:gw[:dns0[:dns1[:host[:domain]]]]]]`. An IPv6 address stands in brackets, and a field may be
//! empty.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{Ipv4Net, Ipv6Net};

use super::{Attachment, IpConfig, Mac, NetworkName, is_interface_name};
use crate::error::{Error, Result};

/// An interface on a network, as it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkRequest {
    /// It was asked for by `bridge:`: a bridge of the host's may be meant.
    pub bridge: bool,
    /// The network's name, or the bridge's.
    pub name: String,
    /// Its addresses, at most one of a family, if they are not left to us, and the prefix of each if one was given.
    pub addresses: Vec<(IpAddr, Option<u8>)>,
    /// The gateways, if they are not the network's own.
    pub gateways: Vec<IpAddr>,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// The guest's host name, if it is not the machine's name.
    pub host: Option<String>,
    /// The guest's domain.
    pub domain: Option<String>,
    /// Other names that the guest has there.
    pub aliases: Vec<String>,
    /// Its MAC, if it is not left to us.
    pub mac: Option<Mac>,
}

impl FromStr for NetworkRequest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: String| Error::new(format!("bad network '{}': {why}", text.escape_debug()));
        let mut fields = split(text).ok_or_else(|| bad("a bracket is not closed".into()))?.into_iter();
        let mut request = Self::default();
        let mut name = fields.next().unwrap_or_default();
        if name == "bridge"
            && let Some(next) = fields.next()
        {
            request.bridge = true;
            name = next;
        }
        let known = if request.bridge { is_interface_name(name) } else { false };
        if !known && let Err(error) = name.parse::<NetworkName>() {
            return Err(bad(error.to_string()));
        }
        request.name = name.to_owned();
        let mut field = || fields.next().filter(|field| !field.is_empty());
        request.addresses.extend(field().map(address_and_prefix).transpose().map_err(bad)?);
        request.gateways.extend(field().map(address).transpose().map_err(bad)?);
        for _ in 0..2 {
            request.dns.extend(field().map(address).transpose().map_err(bad)?);
        }
        request.host = field().map(|host| host_name(host, 64)).transpose().map_err(bad)?;
        request.domain = field().map(|domain| host_name(domain, 253)).transpose().map_err(bad)?;
        match fields.next() {
            None => Ok(request),
            Some(more) => Err(bad(format!("'{}' is one field too many", more.escape_debug()))),
        }
    }
}

impl NetworkRequest {
    /// What is known before the host is asked: the addresses that are given, each by itself.
    pub fn attachment(&self) -> Attachment {
        let mut ip = IpConfig { aliases: self.aliases.clone(), ..IpConfig::default() };
        for (address, prefix) in &self.addresses {
            match address {
                IpAddr::V4(v4) => ip.ipv4 = Ipv4Net::new(*v4, prefix.unwrap_or(32)).ok(),
                IpAddr::V6(v6) => ip.ipv6 = Ipv6Net::new(*v6, prefix.unwrap_or(128)).ok(),
            }
        }
        Attachment { network: self.name.clone(), foreign: self.bridge, mac: self.mac, ip }
    }

    /// An address, with or without a prefix. An IPv6 address may stand in brackets.
    ///
    /// # Errors
    /// When it is none.
    pub fn address(text: &str) -> Result<(IpAddr, Option<u8>)> {
        let (ip, prefix) = text.split_once('/').map_or((text, None), |(ip, prefix)| (ip, Some(prefix)));
        let bracketed = if ip.contains(':') && !ip.starts_with('[') { format!("[{ip}]") } else { ip.to_owned() };
        let typed = prefix.map_or(bracketed.clone(), |prefix| format!("{bracketed}/{prefix}"));
        address_and_prefix(&typed).map_err(|why| Error::new(format!("bad address: {why}")))
    }

    /// A name that may stand on a kernel's command line.
    ///
    /// # Errors
    /// When it is none.
    pub fn host_name(text: &str) -> Result<String> {
        host_name(text, 253).map_err(Error::new)
    }
}

/// The fields between colons, but not those in brackets.
fn split(text: &str) -> Option<Vec<&str>> {
    let (mut fields, mut start, mut inside) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            '[' if !inside => inside = true,
            ']' if inside => inside = false,
            ':' if !inside => {
                fields.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    fields.push(&text[start..]);
    (!inside).then_some(fields)
}

/// `10.0.0.2`, `[fd00::2]`.
fn address(text: &str) -> std::result::Result<IpAddr, String> {
    let ip = match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(inner) => inner.parse().map(IpAddr::V6).ok(),
        None => text.parse().map(IpAddr::V4).ok(),
    };
    ip.ok_or_else(|| format!("'{}' is not an IP address", text.escape_debug()))
}

/// `10.0.0.2`, `10.0.0.2/24`, `10.0.0.2/255.255.255.0`, `[fd00::2]/64`, `[fd00::2/64]`.
fn address_and_prefix(text: &str) -> std::result::Result<(IpAddr, Option<u8>), String> {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).filter(|text| text.contains('/'));
    let text = inner.map_or(text.to_owned(), |inner| format!("[{}", inner.replacen('/', "]/", 1)));
    let Some((ip, mask)) = text.split_once('/') else { return address(&text).map(|ip| (ip, None)) };
    let ip = address(ip)?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let number = mask.parse::<u8>().ok().filter(|prefix| *prefix <= most && !mask.starts_with('+'));
    let dotted = || mask.parse().ok().filter(|_| ip.is_ipv4()).and_then(|mask| ipnet::ip_mask_to_prefix(mask).ok());
    match number.or_else(dotted) {
        Some(prefix) => Ok((ip, Some(prefix))),
        None => Err(format!("'{}' is not a mask", mask.escape_debug())),
    }
}

/// A name that may stand on a kernel's command line.
fn host_name(text: &str, most: usize) -> std::result::Result<String, String> {
    let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins && text.len() <= most && text.chars().all(ok) {
        return Ok(text.to_owned());
    }
    Err(format!("'{}' is no host name", text.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> NetworkRequest {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_typed_is_read() {
        let name = |name: &str| NetworkRequest { name: name.into(), ..NetworkRequest::default() };
        assert_eq!(read("web"), name("web"));
        assert_eq!(read("bridge"), name("bridge"));
        assert_eq!(read("bridge:br0"), NetworkRequest { bridge: true, ..name("br0") });
        assert_eq!(read("bridge:BR+0"), NetworkRequest { bridge: true, ..name("BR+0") });
        assert_eq!(read("web:10.0.0.2"), NetworkRequest { addresses: vec![(ip("10.0.0.2"), None)], ..name("web") });
        for text in ["web:10.0.0.2/24", "web:10.0.0.2/255.255.255.0"] {
            assert_eq!(read(text), NetworkRequest { addresses: vec![(ip("10.0.0.2"), Some(24))], ..name("web") });
        }
        for text in ["web:[fd00::2]/64", "web:[fd00::2/64]"] {
            assert_eq!(read(text), NetworkRequest { addresses: vec![(ip("fd00::2"), Some(64))], ..name("web") });
        }
        let all = NetworkRequest {
            bridge: true,
            addresses: vec![(ip("10.0.0.2"), Some(24))],
            gateways: vec![ip("10.0.0.1")],
            dns: vec![ip("1.1.1.1"), ip("2606:4700::1111")],
            host: Some("www".into()),
            domain: Some("example.org".into()),
            ..name("web")
        };
        assert_eq!(read("bridge:web:10.0.0.2/24:10.0.0.1:1.1.1.1:[2606:4700::1111]:www:example.org"), all);
        assert_eq!(read("web::::::::".trim_end_matches("::")), name("web"));
        assert_eq!(read("web:::::www"), NetworkRequest { host: Some("www".into()), ..name("web") });
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, why) in [
            ("", "bad network name ''"),
            ("..", "bad network name '..'"),
            ("../x", "bad network name '../x'"),
            ("a,b", "bad network name 'a,b'"),
            ("a b", "bad network name 'a b'"),
            ("bridge:../x", "bad network name '../x'"),
            ("bridge:", "bad network name ''"),
            ("web:10.0.0.2/33", "'33' is not a mask"),
            ("web:10.0.0.2/255.0.255.0", "'255.0.255.0' is not a mask"),
            ("web:10.0.0", "'10.0.0' is not an IP address"),
            ("web:fd00::2", "'fd00' is not an IP address"),
            ("web:[fd00::2", "a bracket is not closed"),
            ("web::10.0.0.1/24", "'10.0.0.1/24' is not an IP address"),
            ("web:::::a\"b", "'a\\\"b' is no host name"),
            ("web::::::d:e", "'e' is one field too many"),
        ] {
            let error = text.parse::<NetworkRequest>().expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!("a".repeat(300).parse::<NetworkRequest>().is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(bridge:)?[a-z:.\\[\\]/0-9, \"\\n]{0,40}") {
            if let Ok(request) = text.parse::<NetworkRequest>() {
                prop_assert!(!request.name.contains(['/', '\n', ' ', '"']) && request.name != "..");
            }
        }
    }
}
