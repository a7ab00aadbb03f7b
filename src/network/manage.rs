//! What can be done with a network: create, up, down, remove; and who is on it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::Timestamp;

use super::bridge::{self, Live};
use super::mark::Owner;
use super::netlink::{Link, Netlink};
use super::networks::Networks;
use super::nft::{self, Filter};
use super::pool::{self, Taken};
use super::record::{Network, SCHEMA};
use super::resolver;
use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::{Mac, MachineId, MachineName, NetworkName};
use crate::store::{self, Lock, Store};

/// A network, as it is asked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its name.
    pub name: NetworkName,
    /// The gateway's address and the prefix; one of the pool if not given.
    pub ipv4: Option<Ipv4Net>,
    /// The same for IPv6; none if not given.
    pub ipv6: Option<Ipv6Net>,
    /// Nothing leaves it.
    pub internal: bool,
    /// Whose it is.
    pub labels: BTreeMap<String, String>,
}

/// A machine on a network, whatever its state.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Member {
    /// The machine.
    pub machine: MachineName,
    /// It runs, or is about to.
    pub running: bool,
    /// Its addresses there.
    pub addresses: Vec<IpAddr>,
    /// Its MAC there.
    pub mac: Option<Mac>,
}

/// Creates a network and brings it up.
///
/// # Errors
/// [`Kind::Conflict`] when the name or the subnet is taken. Nothing is left then.
pub fn create(networks: &Networks, wanted: Wanted) -> Result<Network> {
    networks.check_scope()?;
    let name = wanted.name.clone();
    let cannot = || format!("cannot create network {name}");
    let _records = networks.lock_records()?;
    if networks.has(&name) {
        return Err(Error::of(Kind::Conflict, format!("network {name} already exists"))
            .with_hint(format!("`kraft net rm {name}` removes it")));
    }
    let mut netlink = Netlink::open()?;
    let network = settle(networks, &mut netlink, wanted).with_context(cannot)?;
    let _host = networks.lock_host().with_context(cannot)?;
    networks.write(&network).with_context(cannot)?;
    if let Err(error) = bridge::up(&mut netlink, &mut Filter::default(), &network, &networks.mark()) {
        if let Err(error) = networks.forget(&network.name) {
            log::warn!("{error}");
        }
        return Err(error.context(cannot()));
    }
    Ok(network)
}

fn settle(networks: &Networks, netlink: &mut Netlink, wanted: Wanted) -> Result<Network> {
    let others = networks.all()?;
    let links = netlink.links()?;
    let mut taken: Vec<Taken> = others
        .iter()
        .flat_map(|other| other.subnets().map(|subnet| Taken { subnet, by: format!("network {}", other.name) }))
        .collect();
    for (index, subnet) in netlink.addresses()? {
        let by = links.iter().find(|link| link.index == index).map_or("?", |link| &link.name);
        taken.push(Taken { subnet, by: format!("interface {by}") });
    }
    for subnet in wanted.ipv4.map(IpNet::V4).into_iter().chain(wanted.ipv6.map(IpNet::V6)) {
        pool::check(subnet, &taken)?;
    }
    let ipv4 = match wanted.ipv4 {
        Some(given) => given,
        None => {
            // What is routed elsewhere is avoided; who asks for it by name may have a reason.
            taken.extend(netlink.routes()?.into_iter().map(|subnet| Taken { subnet, by: "a route".into() }));
            pool::first_free(&taken)?
        }
    };
    let id = MachineId::from_bytes(store::random()?);
    let plain = format!("kr-{}", wanted.name);
    let in_use =
        |name: &str| links.iter().any(|link| link.name == name) || others.iter().any(|other| other.bridge == name);
    let bridge = if plain.len() <= 15 && !in_use(&plain) { plain } else { format!("kr-{}", id.short()) };
    Ok(Network {
        schema: SCHEMA,
        name: wanted.name,
        id,
        created: Timestamp::now(),
        bridge,
        ipv4: Some(ipv4),
        ipv6: wanted.ipv6,
        internal: wanted.internal,
        labels: wanted.labels,
    })
}

/// Brings a network up. One that is up is a success.
///
/// # Errors
/// When the host refuses.
pub fn up(networks: &Networks, name: &NetworkName) -> Result<()> {
    networks.read(name)?;
    let _host = networks.lock_host()?;
    // One that is removed at this moment is not brought up again behind its removal.
    let network = networks.read(name)?;
    bridge::up(&mut Netlink::open()?, &mut Filter::default(), &network, &networks.mark()).map(drop)
}

/// What becomes of machines that run on a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InUse {
    /// The network stays.
    Refuse,
    /// They lose their connection.
    Cut,
}

/// Takes a network's bridge and rules away; its record stays, and the next machine brings it up again.
///
/// # Errors
/// [`Kind::Conflict`] when machines run on it and are not to be cut off.
pub fn down(networks: &Networks, store: &Store, name: &NetworkName, in_use: InUse) -> Result<()> {
    let network = networks.read(name)?;
    let _host = networks.lock_host()?;
    let members = members(store, name)?;
    if in_use == InUse::Refuse {
        refuse(&members, |member| member.running, || format!("cannot take down network {name}: in use by"))
            .map_err(|error| error.with_hint("`kraft stop` ends them, `--force` cuts them off"))?;
    }
    one_error(bridge::down(&mut Netlink::open()?, &network, &networks.mark()), || {
        format!("cannot take down network {name}")
    })
}

/// Which machines keep a network from being removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Every one that is on it, whatever its state.
    ForAny,
    /// Those that run.
    ForRunning,
}

/// Removes a network.
///
/// # Errors
/// [`Kind::NoSuchMachine`]; [`Kind::Conflict`] when machines are on it.
pub fn remove(networks: &Networks, store: &Store, name: &NetworkName, keep: Keep) -> Result<()> {
    let records = networks.lock_records()?;
    let network = match (networks.read(name), keep) {
        (Err(error), _) if !networks.has(name) || error.kind() == Kind::Newer => return Err(error),
        (Err(error), Keep::ForAny) => {
            return Err(error.with_hint(format!("`kraft net rm --force {name}` removes it all the same")));
        }
        (Err(error), Keep::ForRunning) => {
            log::warn!("{error}");
            by_mark(networks, name)?
        }
        (Ok(network), _) => network,
    };
    let members = members(store, name)?;
    let holds = |member: &Member| member.running || keep == Keep::ForAny;
    refuse(&members, holds, || format!("cannot remove network {name}: in use by")).map_err(|error| {
        error.with_hint("`kraft rm` removes the machines; `--force` removes the network of those that do not run")
    })?;
    take_away(networks, &network, &records)
}

/// What is known of a network whose record cannot be read: what the mark on its bridge says, or that on its rules.
fn by_mark(networks: &Networks, name: &NetworkName) -> Result<Network> {
    let mark = networks.mark();
    let ours = |link: &Link| match mark.owner(link.alias.as_deref()?)? {
        Owner::Network(theirs, id) if theirs == *name => Some(Network::gone(theirs, id, link.name.clone())),
        Owner::Network(..) | Owner::Machine(..) => None,
    };
    if let Some(network) = Netlink::open()?.links()?.iter().find_map(ours) {
        return Ok(network);
    }
    let ruled = nft::known()?.networks.into_iter().find(|(theirs, _, _)| theirs == name);
    // One that has neither is down already, and no interface of that name is ours.
    let (_, id, bridge) = ruled.unwrap_or_else(|| (name.clone(), MachineId::from_bytes([0; 16]), "kr-".into()));
    Ok(Network::gone(name.clone(), id, bridge))
}

/// Removes all networks that no machine is on; returns their names.
///
/// # Errors
/// When the host refuses.
pub fn prune(networks: &Networks, store: &Store) -> Result<(Vec<NetworkName>, Vec<Error>)> {
    let records = networks.lock_records()?;
    let (mut removed, mut errors) = (Vec::new(), Vec::new());
    for network in networks.all()? {
        if members(store, &network.name)?.is_empty() {
            match take_away(networks, &network, &records) {
                Ok(()) => removed.push(network.name),
                Err(error) => errors.push(error),
            }
        }
    }
    Ok((removed, errors))
}

fn take_away(networks: &Networks, network: &Network, _records: &Lock) -> Result<()> {
    let name = &network.name;
    let _host = networks.lock_host()?;
    one_error(bridge::down(&mut Netlink::open()?, network, &networks.mark()), || {
        format!("cannot remove network {name}")
    })?;
    resolver::forget(&networks.paths, name)?;
    networks.forget(name)
}

/// The machines on a network, in any state.
///
/// # Errors
/// When the records cannot be listed.
pub fn members(store: &Store, name: &NetworkName) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    for machine in store.names()? {
        let Ok(record) = store.read(&machine) else { continue };
        let theirs = record.spec.networks.iter().filter(|a| !a.foreign && a.network == name.as_str());
        let running = store.runner(&machine).is_ok_and(|runner| runner.is_some());
        members.extend(theirs.map(|attachment| Member {
            machine: machine.clone(),
            running,
            addresses: attachment.ip.addresses().collect(),
            mac: attachment.mac,
        }));
    }
    Ok(members)
}

/// How a network's bridge is doing.
///
/// # Errors
/// When the kernel does not say.
pub fn live(networks: &Networks, network: &Network) -> Result<Live> {
    bridge::live(&mut Netlink::open()?, network, &networks.mark())
}

fn refuse(members: &[Member], holds: impl Fn(&Member) -> bool, what: impl Fn() -> String) -> Result<()> {
    let mut holders: Vec<&str> = members.iter().filter(|m| holds(m)).map(|m| m.machine.as_str()).collect();
    holders.dedup();
    if holders.is_empty() {
        return Ok(());
    }
    let noun = if holders.len() == 1 { "machine" } else { "machines" };
    Err(Error::of(Kind::Conflict, format!("{} {noun} {}", what(), holders.join(", "))))
}

fn one_error(errors: Vec<Error>, what: impl Fn() -> String) -> Result<()> {
    let mut errors = errors.into_iter();
    let first = errors.next();
    errors.for_each(|error| log::warn!("{error}"));
    first.map_or(Ok(()), |error| Err(error.context(what())))
}
