//! The addresses of machines on networks, given once, when a machine is created, and kept in its record: a stopped machine
//! has its own still.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::networks::Networks;
use super::nft;
use super::record::Network;
use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::{Attachment, Mac, MachineId, NetworkName, Record};
use crate::store::{Lock, Store};

/// The most interfaces that a machine has on networks.
pub const MOST: usize = 16;

/// Settles what a new machine's interfaces leave open: addresses, gateways, name servers, MACs. What is returned is held
/// until the record is kept, so that nobody else gets the same.
///
/// # Errors
/// When a network is not there, or what was asked for cannot be had: the error names who has it.
pub fn settle(store: &Store, record: &mut Record) -> Result<Option<Lock>> {
    if record.spec.networks.is_empty() {
        return Ok(None);
    }
    let networks = Networks::new(store.paths());
    networks.check_scope()?;
    let lock = networks.lock_records()?;
    let name = record.spec.name.clone();
    let mut holders = Holders::default();
    for other in store.names()?.into_iter().filter(|other| *other != name) {
        // Of one that cannot be read nobody knows what it has.
        if let Ok(other) = store.read(&other) {
            other.spec.networks.iter().for_each(|theirs| holders.add(other.spec.name.as_str(), theirs));
        }
    }
    let id = record.id;
    for (index, attachment) in record.spec.networks.iter_mut().enumerate() {
        let network = match attachment.foreign {
            true => None,
            false => Some(networks.read(&attachment.network.parse::<NetworkName>()?)?),
        };
        settle_one(attachment, network.as_ref(), &holders)
            .and_then(|()| settle_mac(attachment, id, index, &holders))
            .with_context(|| format!("cannot put {name} on network {}", attachment.network))?;
        attachment.ip.host.get_or_insert_with(|| name.as_host());
        holders.add(name.as_str(), attachment);
    }
    check_ports(record).with_context(|| format!("cannot create {name}"))?;
    Ok(Some(lock))
}

/// Ports lead to the machine's first interface on a network of ours.
fn check_ports(record: &Record) -> Result<()> {
    let spec = &record.spec;
    match spec.networks.iter().find(|attachment| !attachment.foreign) {
        _ if spec.ports.is_empty() => Ok(()),
        Some(attachment) => nft::check(record, &attachment.ip.addresses().collect::<Vec<_>>()),
        None => Err(Error::new("ports are published on networks of kraft's only, and the machine is on none")
            .with_hint("give it a `--network` that `kraft net create` made")),
    }
}

/// Who has which addresses.
#[derive(Debug, Default)]
struct Holders {
    addresses: Vec<(String, IpAddr, String)>,
    macs: Vec<(Mac, String)>,
}

impl Holders {
    fn add(&mut self, machine: &str, attachment: &Attachment) {
        let network = &attachment.network;
        self.addresses.extend(attachment.ip.addresses().map(|address| (network.clone(), address, machine.to_owned())));
        self.macs.extend(attachment.mac.map(|mac| (mac, machine.to_owned())));
    }

    fn of(&self, network: &str, address: IpAddr) -> Option<&str> {
        let is_it = |(on, theirs, _): &&(String, IpAddr, String)| on == network && *theirs == address;
        self.addresses.iter().find(is_it).map(|(_, _, machine)| machine.as_str())
    }

    fn on(&self, network: &str) -> BTreeSet<IpAddr> {
        self.addresses.iter().filter(|(on, _, _)| on == network).map(|(_, address, _)| *address).collect()
    }
}

/// On a bridge of somebody else's (`None`) nothing is given that was not asked for.
fn settle_one(attachment: &mut Attachment, network: Option<&Network>, holders: &Holders) -> Result<()> {
    let name = attachment.network.clone();
    let Some(network) = network else {
        return attachment.ip.addresses().try_for_each(|address| is_free(&name, address, holders));
    };
    let ip = &mut attachment.ip;
    match (ip.ipv4, network.ipv4) {
        (None, None) => {}
        (Some(wanted), Some(subnet)) => {
            check(IpNet::V4(wanted), IpNet::V4(subnet))?;
            is_free(&name, wanted.addr().into(), holders)?;
        }
        (Some(wanted), None) => return Err(not_in(wanted.addr().into(), network)),
        (None, Some(subnet)) => {
            let taken = holders.on(&name);
            let free = subnet.hosts().find(|host| *host != subnet.addr() && !taken.contains(&IpAddr::V4(*host)));
            ip.ipv4 = Some(with_prefix(free, |host| Ipv4Net::new(host, subnet.prefix_len()).ok(), subnet.into())?);
        }
    }
    match (ip.ipv6, network.ipv6) {
        (None, None) => {}
        (Some(wanted), Some(subnet)) => {
            check(IpNet::V6(wanted), IpNet::V6(subnet))?;
            is_free(&name, wanted.addr().into(), holders)?;
        }
        (Some(wanted), None) => return Err(not_in(wanted.addr().into(), network)),
        (None, Some(subnet)) => {
            let taken = holders.on(&name);
            // The subnet's first address is every router's.
            let mut hosts = subnet.hosts().filter(|host| *host != subnet.network());
            let free = hosts.find(|host| *host != subnet.addr() && !taken.contains(&IpAddr::V6(*host)));
            ip.ipv6 = Some(with_prefix(free, |host| Ipv6Net::new(host, subnet.prefix_len()).ok(), subnet.into())?);
        }
    }
    let given = |gateways: &[IpAddr], one: &IpAddr| gateways.iter().any(|given| given.is_ipv4() == one.is_ipv4());
    if !network.internal {
        let missing: Vec<IpAddr> = network.gateways().filter(|one| !given(&ip.gateways, one)).collect();
        ip.gateways.extend(missing);
    }
    if ip.dns.is_empty() {
        ip.dns.extend(network.gateways().next());
    }
    Ok(())
}

fn with_prefix<A, N>(free: Option<A>, net: impl FnOnce(A) -> Option<N>, subnet: IpNet) -> Result<N> {
    free.and_then(net)
        .ok_or_else(|| Error::of(Kind::Conflict, format!("all addresses of {} are taken", subnet.trunc())))
}

fn check(wanted: IpNet, subnet: IpNet) -> Result<()> {
    let address = wanted.addr();
    let bad = |why: String| Err(Error::of(Kind::Conflict, format!("address {address} cannot be had: {why}")));
    if !subnet.contains(&address) {
        return bad(format!("the subnet is {}", subnet.trunc()));
    }
    if wanted.prefix_len() != subnet.prefix_len() {
        return bad(format!("the subnet is {} and not {}", subnet.trunc(), wanted.trunc()));
    }
    if address == subnet.addr() {
        return bad("it is the gateway's".into());
    }
    if address == subnet.network() || (address.is_ipv4() && address == subnet.broadcast()) {
        return bad("it is the subnet's own".into());
    }
    Ok(())
}

fn is_free(network: &str, address: IpAddr, holders: &Holders) -> Result<()> {
    match holders.of(network, address) {
        Some(holder) => Err(Error::of(Kind::Conflict, format!("address {address} is taken: machine {holder} has it"))),
        None => Ok(()),
    }
}

fn not_in(address: IpAddr, network: &Network) -> Error {
    let subnets: Vec<String> = network.subnets().map(|subnet| subnet.trunc().to_string()).collect();
    Error::of(Kind::Conflict, format!("address {address} cannot be had: the subnet is {}", subnets.join(", ")))
}

/// A MAC that was asked for is checked; else it comes from the machine's id, which no other machine has.
fn settle_mac(attachment: &mut Attachment, id: MachineId, index: usize, holders: &Holders) -> Result<()> {
    let holder = |mac: Mac| holders.macs.iter().find(|(theirs, _)| *theirs == mac).map(|(_, machine)| machine);
    if let Some(mac) = attachment.mac {
        return match holder(mac) {
            Some(holder) => Err(Error::of(Kind::Conflict, format!("MAC {mac} is taken: machine {holder} has it"))),
            None => Ok(()),
        };
    }
    let bytes = id.to_bytes();
    let index = u8::try_from(index).unwrap_or(u8::MAX);
    let candidates = (0..=u8::MAX).flat_map(|salt| {
        // Other parts of the id where a machine has the same first part.
        bytes.windows(5).map(move |part| {
            Mac([0x02, part[0], part[1], part[2], part[3], part[4].wrapping_add(index).wrapping_add(salt)])
        })
    });
    let mac = candidates.into_iter().find(|mac| holder(*mac).is_none());
    attachment.mac = Some(mac.ok_or_else(|| Error::new("no MAC is free"))?);
    Ok(())
}

#[cfg(test)]
mod tests;
