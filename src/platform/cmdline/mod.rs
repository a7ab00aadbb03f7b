//! A kernel's command line: what the guest is told of its addresses, mounts and environment, in the dialect that its
//! kernel understands, by pure functions. One file for each dialect that adds something.
//!
//! ```text
//! the kernel's arguments as typed | what is added | -- | the application's arguments
//! ```
//!
//! Every value arrives whole or is refused: a line is read back as its kernel will read it before it is given out.

mod linux;
mod split;
mod unikraft;

use std::borrow::Cow;
use std::net::Ipv4Addr;

use super::{Nic, NicBackend, Share};
use crate::error::{Error, Result};
use crate::machine::{Dialect, IpConfig, ShareDriver, Spec};

/// What a guest is told of its devices.
#[derive(Debug, Clone, Default)]
pub struct Told<'a> {
    /// Its network interfaces, in their order.
    pub interfaces: Vec<Interface<'a>>,
    /// What it mounts.
    pub mounts: Vec<Mounted<'a>>,
}

/// What a guest is told of an interface.
#[derive(Debug, Clone)]
pub struct Interface<'a> {
    /// Addresses and names.
    pub ip: Cow<'a, IpConfig>,
    /// Whether there is another way to learn of them.
    pub need: Need,
}

/// How much depends on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nobody else tells the guest.
    Must,
    /// A DHCP server does, too.
    May,
}

/// What a guest is told of a directory of the host's.
#[derive(Debug, Clone)]
pub struct Mounted<'a> {
    /// What it is called.
    pub tag: Cow<'a, str>,
    /// Where it belongs.
    pub target: &'a str,
    /// Whether the guest cannot write.
    pub read_only: bool,
    /// How it gets there.
    pub driver: ShareDriver,
}

/// What stands on the line before all else by the boot loader's doing, as far as Unikraft is concerned: it takes the
/// first word for the program's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loader {
    /// A name of so many bytes, as QEMU's for multiboot kernels puts the kernel's path there.
    Names(usize),
    /// Nothing.
    Nameless,
}

impl<'a> Told<'a> {
    /// Of finished devices.
    pub fn of(nics: &'a [Nic], shares: &'a [Share]) -> Self {
        let interface = |nic: &'a Nic| Interface {
            ip: Cow::Borrowed(&nic.ip),
            need: match nic.backend {
                NicBackend::User { .. } => Need::May,
                NicBackend::Tap { .. } => Need::Must,
            },
        };
        let mounted = |share: &'a Share| Mounted {
            tag: Cow::Borrowed(&share.tag),
            target: &share.target,
            read_only: share.read_only,
            driver: share.driver(),
        };
        Self { interfaces: nics.iter().map(interface).collect(), mounts: shares.iter().map(mounted).collect() }
    }

    /// Of devices to come, as far as they are settled.
    pub fn expected(spec: &'a Spec) -> Self {
        let mut interfaces: Vec<_> = spec
            .networks
            .iter()
            .map(|attachment| Interface { ip: Cow::Borrowed(&attachment.ip), need: Need::Must })
            .collect();
        if interfaces.is_empty() && !spec.ports.is_empty() {
            let ip = IpConfig { host: Some(spec.name.as_host()), ..Nic::user_ip() };
            interfaces.push(Interface { ip: Cow::Owned(ip), need: Need::May });
        }
        let mounted = |(index, mount): (usize, &'a crate::machine::Mount)| Mounted {
            tag: Cow::Owned(format!("fs{}", index + 1)),
            target: &mount.target,
            read_only: mount.read_only,
            driver: mount.driver,
        };
        Self { interfaces, mounts: spec.volumes.iter().enumerate().map(mounted).collect() }
    }

    /// The mounts, those above before those below them.
    fn mounts_in_order(&self) -> Vec<&Mounted<'a>> {
        let mut mounts: Vec<_> = self.mounts.iter().collect();
        mounts.sort_by_key(|mount| mount.target.split('/').filter(|part| !part.is_empty()).count());
        mounts
    }
}

/// What a machine's kernel is given.
///
/// # Errors
/// When its dialect cannot carry something: names the value and the dialect.
pub fn command_line(spec: &Spec, told: &Told<'_>, loader: Loader) -> Result<String> {
    match spec.kernel.dialect() {
        Dialect::Unikraft => unikraft::render(spec, told, loader, Dialect::Unikraft),
        Dialect::UnikraftOld => unikraft::render(spec, told, loader, Dialect::UnikraftOld),
        Dialect::Linux => linux::render(spec, told),
        Dialect::Plain => plain(spec, told),
    }
}

/// What a kernel of which nothing is known is given: nothing but what was typed.
fn plain(spec: &Spec, told: &Told<'_>) -> Result<String> {
    let refused = |what: &str| {
        let why = "nothing is known of how it takes that";
        Err(refusal(what, Dialect::Plain, why)
            .with_hint("`--dialect unikraft`, `unikraft-old` or `linux` says what the kernel understands"))
    };
    if !spec.env.is_empty() {
        return refused("an environment");
    }
    if told.interfaces.iter().any(|interface| interface.need == Need::Must && interface.ip.ipv4.is_some()) {
        return refused("an address");
    }
    if let Some(mount) = told.mounts.first() {
        return refused(&format!("a mount at {}", mount.target.escape_debug()));
    }
    let mut words: Vec<Cow<'_, str>> = spec.kernel_args.iter().map(|word| Cow::Borrowed(word.as_str())).collect();
    if !words.is_empty() && !spec.app_args.is_empty() {
        words.push("--".into());
    }
    for argument in &spec.app_args {
        words.push(plainly_quoted(argument)?);
    }
    Ok(words.join(" "))
}

/// An argument in quotes of the kind that it does not have itself, where it needs them.
fn plainly_quoted(argument: &str) -> Result<Cow<'_, str>> {
    let quoted = argument.is_empty() || argument.contains(|c: char| c.is_whitespace() || c == '"' || c == '\'');
    match (quoted, argument.contains('"'), argument.contains('\'')) {
        (false, _, _) => Ok(argument.into()),
        (true, false, _) => Ok(format!("\"{argument}\"").into()),
        (true, true, false) => Ok(format!("'{argument}'").into()),
        (true, true, true) => {
            Err(refusal(&shown("argument", argument), Dialect::Plain, "it holds quotes of both kinds"))
        }
    }
}

fn refusal(what: &str, dialect: Dialect, why: &str) -> Error {
    Error::new(format!("cannot give {what} to a kernel of dialect {dialect}: {why}"))
}

fn shown(what: &str, value: &str) -> String {
    format!("{what} '{}'", value.escape_debug())
}

/// The line, if a kernel takes so many bytes.
fn within(line: String, most: usize, dialect: Dialect) -> Result<String> {
    if line.len() <= most {
        return Ok(line);
    }
    let why = format!("it has {} bytes, of at most {most}", line.len());
    Err(refusal("such a command line", dialect, &why))
}

/// The addresses and names of an interface that have a place in formats made for IPv4. Beside an IPv4 address one of
/// IPv6 is left to router advertisements.
struct V4<'a> {
    address: Ipv4Addr,
    prefix: u8,
    mask: Ipv4Addr,
    gateway: Option<Ipv4Addr>,
    dns: Vec<Ipv4Addr>,
    host: &'a str,
    domain: &'a str,
}

impl<'a> V4<'a> {
    /// `None` if there is no address to be told of.
    fn of(interface: &'a Interface<'_>, dialect: Dialect) -> Result<Option<Self>> {
        let ip = &*interface.ip;
        let only_v4 = "it knows addresses of IPv4 alone";
        let Some(net) = ip.ipv4 else {
            return match ip.ipv6 {
                Some(net) => Err(refusal(&format!("address {net}"), dialect, only_v4)),
                None => Ok(None),
            };
        };
        let v4 = |addresses: &[std::net::IpAddr], what: &str| {
            let found: Vec<_> = addresses
                .iter()
                .filter_map(|address| match address {
                    std::net::IpAddr::V4(address) => Some(*address),
                    std::net::IpAddr::V6(_) => None,
                })
                .collect();
            match addresses.first() {
                Some(first) if found.is_empty() => Err(refusal(&format!("{what} {first}"), dialect, only_v4)),
                Some(_) | None => Ok(found),
            }
        };
        let (host, domain) = (ip.host.as_deref().unwrap_or(""), ip.domain.as_deref().unwrap_or(""));
        for (what, name) in [("host name", host), ("domain", domain)] {
            if name.contains(|c: char| c == ':' || c.is_whitespace() || c.is_control()) {
                return Err(refusal(&shown(what, name), dialect, "it holds a colon or a space"));
            }
        }
        let mut dns = v4(&ip.dns, "name server")?;
        dns.truncate(2);
        Ok(Some(Self {
            address: net.addr(),
            prefix: net.prefix_len(),
            mask: net.netmask(),
            gateway: v4(&ip.gateways, "router")?.first().copied(),
            dns,
            host,
            domain,
        }))
    }

    /// The name server of this index, or nothing.
    fn dns(&self, index: usize) -> String {
        self.dns.get(index).map(ToString::to_string).unwrap_or_default()
    }

    /// The router, or nothing.
    fn gateway(&self) -> String {
        self.gateway.as_ref().map(ToString::to_string).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
