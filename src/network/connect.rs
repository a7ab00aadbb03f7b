//! A machine's interfaces on networks, from its start to its end.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use super::mark::Owner;
use super::netlink::Netlink;
use super::networks::Networks;
use super::nft::Filter;
use super::record::Network;
use super::{bridge, nft, resolver, switches, tap};
use crate::error::{Error, Kind, Result};
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
    let (mut netlink, mut filter) = (Netlink::open()?, Filter::default());
    let mut connections = Vec::new();
    let mut published: Option<Vec<IpAddr>> = None;
    for (index, attachment) in spec.networks.iter().enumerate() {
        let bridge = if attachment.foreign {
            bridge::check_foreign(&attachment.network, &mark)?
        } else {
            let network = networks.read(&attachment.network.parse::<NetworkName>()?)?;
            check_addresses(&network, &attachment.ip)?;
            let link = bridge::up(&mut netlink, &mut filter, &network, &mark)?;
            if published.is_none() && !spec.ports.is_empty() {
                published = Some(attachment.ip.addresses().collect());
                if spec.ports.iter().any(|port| port.host_ip.is_none_or(|ip| ip.is_unspecified() || ip.is_loopback())) {
                    switches::for_loopback(&network)?;
                }
            }
            resolver::announce(store.paths(), &network.name, record)?;
            if record.manager == Manager::Local {
                serve_names(store, &network.name);
            }
            link
        };
        let queue = tap::make(&mut netlink, record, index, &bridge, &mark)?;
        connections.push(Connection { mac: attachment.mac, ip: attachment.ip.clone(), queue, vhost: tap::vhost() });
    }
    if let Some(addresses) = published {
        filter.publish(record, &addresses, |name, id| Ok(tap::has(&Netlink::open()?.links()?, name, id)))?;
    }
    Ok(connections)
}

/// A network that was removed and created again may have another subnet.
fn check_addresses(network: &Network, ip: &IpConfig) -> Result<()> {
    match ip.addresses().find(|address| !network.subnets().any(|subnet| subnet.contains(address))) {
        None => Ok(()),
        Some(address) => {
            let subnets: Vec<String> = network.subnets().map(|subnet| subnet.trunc().to_string()).collect();
            let why = format!("its address {address} is not in network {}", network.name);
            let since = format!("which was created anew with {}: so has to be the machine", subnets.join(", "));
            Err(Error::of(Kind::Conflict, format!("{why}, {since}")))
        }
    }
}

/// The machines of a network find each other by name. One that cannot starts all the same.
fn serve_names(store: &Store, network: &NetworkName) {
    if let Err(error) = resolver::check().and_then(|_| resolver::ensure(store.paths(), network)) {
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
        let withdrawn =
            attachment.network.parse().and_then(|name| resolver::withdraw(store.paths(), &name, &spec.name, record.id));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_an_older_network_is_told() {
        let at = |ip: &str| IpConfig { ipv4: Some(ip.parse().unwrap()), ..IpConfig::default() };
        check_addresses(&Network::example("lan"), &at("10.1.2.9/24")).unwrap();
        let error = check_addresses(&Network::example("lan"), &at("10.1.3.9/24")).unwrap_err();
        let said = "its address 10.1.3.9 is not in network lan, which was created anew with 10.1.2.0/24: so has to be the machine";
        assert_eq!(error.to_string(), said);
    }
}
