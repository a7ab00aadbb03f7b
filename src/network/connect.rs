//! A machine's interfaces on networks, from its start to its end.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use super::mark::Owner;
use super::netlink::Netlink;
use super::networks::Networks;
use super::{bridge, nft, resolver, switches, tap};
use crate::error::{Error, Result};
use crate::machine::{IpConfig, Mac, Manager, NetworkName, Record};
use crate::store::Store;

/// One interface, ready for the VMM.
#[derive(Debug)]
pub struct Connection {
    /// Its hardware address.
    pub mac: Option<Mac>,
    /// What the guest is told of it.
    pub ip: IpConfig,
    /// The open tap.
    pub queue: OwnedFd,
    /// The kernel carries the packets past the VMM.
    pub vhost: Option<OwnedFd>,
}

/// Connects a machine to its networks, bringing up those that are down, and publishes its ports. What was made before a
/// failure is taken back by [`disconnect`].
///
/// # Errors
/// When a network is gone, or the host refuses.
pub fn connect(store: &Store, record: &Record) -> Result<Vec<Connection>> {
    let spec = &record.spec;
    if spec.networks.is_empty() {
        return Ok(Vec::new());
    }
    let networks = Networks::new(store.paths());
    networks.check_scope()?;
    let mark = networks.mark();
    let _turn = networks.lock_host()?;
    let mut netlink = Netlink::open()?;
    let mut connections = Vec::new();
    let mut published: Option<Vec<IpAddr>> = None;
    for (index, attachment) in spec.networks.iter().enumerate() {
        let bridge = if attachment.foreign {
            bridge::check_foreign(&attachment.network, &mark)?
        } else {
            let network = networks.read(&attachment.network.parse::<NetworkName>()?)?;
            let link = bridge::up(&mut netlink, &network, &mark)?;
            if published.is_none() && !spec.ports.is_empty() {
                published = Some(attachment.ip.addresses().collect());
                if spec.ports.iter().any(|port| port.host_ip.is_none_or(|ip| ip.is_unspecified() || ip.is_loopback())) {
                    switches::for_loopback(&network)?;
                }
            }
            resolver::announce(store.paths(), &network.name, record, &attachment.ip)?;
            if record.manager == Manager::Local {
                serve_names(store, &network.name);
            }
            link
        };
        let queue = tap::make(&mut netlink, record, index, &bridge, &mark)?;
        connections.push(Connection { mac: attachment.mac, ip: attachment.ip.clone(), queue, vhost: tap::vhost() });
    }
    match published {
        Some(addresses) => nft::publish(record, &addresses)?,
        None if spec.ports.is_empty() => {}
        None => {
            return Err(Error::new("ports are published on networks of kraft's only, and the machine is on none")
                .with_hint("give it a `--network` that `kraft net create` made"));
        }
    }
    Ok(connections)
}

/// The machines of a network find each other by name. One that cannot starts all the same.
fn serve_names(store: &Store, network: &NetworkName) {
    if let Err(error) = resolver::check().and_then(|()| resolver::ensure(store.paths(), network)) {
        log::warn!("{error}{}", error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default());
    }
}

/// Takes back what [`connect`] made, by the machine's marks. Gone already is a success.
pub fn disconnect(store: &Store, record: &Record) -> Vec<Error> {
    let spec = &record.spec;
    if spec.networks.is_empty() {
        return Vec::new();
    }
    let networks = Networks::new(store.paths());
    let _turn = match networks.lock_host() {
        Ok(turn) => turn,
        Err(error) => return vec![error],
    };
    let mut errors = Vec::new();
    if !spec.ports.is_empty() {
        errors.extend(nft::unpublish(&spec.name, record.id, &spec.ports).err());
    }
    for attachment in spec.networks.iter().filter(|attachment| !attachment.foreign) {
        let withdrawn = attachment.network.parse().and_then(|name| resolver::withdraw(store.paths(), &name, record));
        errors.extend(withdrawn.err());
    }
    let mark = networks.mark();
    let owner = Owner::Machine(spec.name.clone(), record.id);
    let removed = Netlink::open().and_then(|mut netlink| {
        for index in 0..spec.networks.len() {
            // As a rule it went with its last descriptor.
            if let Some(link) = netlink.link(&tap::name(record, index))?
                && link.alias.as_deref().and_then(|alias| mark.owner(alias)).as_ref() == Some(&owner)
            {
                netlink.remove(&link)?;
            }
        }
        Ok(())
    });
    errors.extend(removed.err());
    errors
}
