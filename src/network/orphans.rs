//! What nobody is left to take away: taps, published ports and names of machines that do not run, bridges and rules of
//! networks that are gone. They are found by our own marks alone.

use std::collections::BTreeMap;

use super::bridge;
use super::mark::Owner;
use super::netlink::{Link, Netlink};
use super::networks::Networks;
use super::nft;
use super::record::Network;
use super::resolver;
use super::tap;
use crate::error::Result;
use crate::machine::{MachineId, MachineName, NetworkName, Port};
use crate::store::Store;
use crate::undo::Orphan;

/// Finds them. Changes nothing.
///
/// # Errors
/// When the host's interfaces or its packet filter cannot be read.
pub fn orphans(store: &Store) -> Result<Vec<Orphan>> {
    let networks = Networks::new(store.paths());
    if networks.check_scope().is_err() {
        return Ok(Vec::new());
    }
    // Nobody is half-way through a start or an end, or through making a network.
    let _records = networks.is_used().then(|| networks.lock_records()).transpose()?;
    let _host = networks.is_used().then(|| networks.lock_host()).transpose()?;
    let links = Netlink::open()?.links()?;
    let mut found = interfaces(store, &networks, &links);
    let known = nft::known()?;
    found.extend(rules(&networks, &links, known.networks));
    found.extend(ports(&networks, &links, known.ports));
    found.extend(names(store, &networks));
    Ok(found)
}

/// Rules of networks that are gone, and their bridges with them.
fn rules(networks: &Networks, links: &[Link], known: Vec<(NetworkName, MachineId, String)>) -> Vec<Orphan> {
    // With a bridge it may be of another state directory.
    let is_gone = |(name, id, bridge): &(NetworkName, MachineId, String)| {
        !links.iter().any(|link| link.name == *bridge) && !exists(networks, name, *id)
    };
    let orphan = |(name, id, bridge): (NetworkName, MachineId, String)| {
        let networks = networks.clone();
        Orphan::new(format!("rules of network {name}, which is gone"), move || {
            let _host = networks.lock_host()?;
            match Netlink::open()?.link(&bridge)? {
                Some(_) => Ok(()),
                None => nft::network_down(&Network::gone(name, id, bridge)),
            }
        })
    };
    known.into_iter().filter(is_gone).map(orphan).collect()
}

/// Published ports of machines without an interface.
fn ports(networks: &Networks, links: &[Link], known: Vec<(MachineName, MachineId, Port)>) -> Vec<Orphan> {
    let mut published: BTreeMap<(MachineName, MachineId), Vec<Port>> = BTreeMap::new();
    for (name, id, port) in known {
        if !tap::has(links, &name, id) {
            published.entry((name, id)).or_default().push(port);
        }
    }
    let orphan = |((name, id), ports): ((MachineName, MachineId), Vec<Port>)| {
        let shown: Vec<String> = ports.iter().map(Port::to_string).collect();
        let what = format!("published ports {} of {name}, which does not run", shown.join(", "));
        let networks = networks.clone();
        Orphan::new(what, move || {
            let _host = networks.lock_host()?;
            match tap::has(&Netlink::open()?.links()?, &name, id) {
                true => Ok(()),
                false => nft::unpublish(&name, id, &ports),
            }
        })
    };
    published.into_iter().map(orphan).collect()
}

/// Names that lead to machines that do not run.
fn names(store: &Store, networks: &Networks) -> Vec<Orphan> {
    let announced = resolver::announced(&networks.paths).into_iter();
    let dead = announced.filter(|(_, machine, id)| !runs(store, machine, *id));
    dead.map(|(network, machine, id)| {
        let (networks, store) = (networks.clone(), store.clone());
        Orphan::new(format!("name of {machine} on network {network}, which does not run"), move || {
            let _host = networks.lock_host()?;
            match runs(&store, &machine, id) {
                true => Ok(()),
                false => resolver::withdraw(&networks.paths, &network, &machine, id),
            }
        })
    })
    .collect()
}

fn interfaces(store: &Store, networks: &Networks, links: &[Link]) -> Vec<Orphan> {
    let mark = networks.mark();
    let mut found = Vec::new();
    for link in links {
        let Some(owner) = link.alias.as_deref().and_then(|alias| mark.owner(alias)) else { continue };
        let (networks, link) = (networks.clone(), link.clone());
        match owner {
            Owner::Machine(name, id) if !runs(store, &name, id) => {
                let what = format!("tap {} of {name}, which does not run", link.name);
                found.push(Orphan::new(what, move || remove(&networks, &link)));
            }
            Owner::Network(name, id) if !exists(&networks, &name, id) && !is_used(&link, links) => {
                let what = format!("bridge {} of network {name}, which is gone", link.name);
                found.push(Orphan::new(what, move || {
                    let network = Network::gone(name, id, link.name.clone());
                    let _host = networks.lock_host()?;
                    bridge::down(&mut Netlink::open()?, &network, &networks.mark())
                        .into_iter()
                        .next()
                        .map_or(Ok(()), Err)
                }));
            }
            Owner::Machine(..) | Owner::Network(..) => {}
        }
    }
    found
}

/// Removes the interface if it is still the one that was found. No mark is ever used twice.
fn remove(networks: &Networks, link: &Link) -> Result<()> {
    let _host = networks.lock_host()?;
    let mut netlink = Netlink::open()?;
    match netlink.link(&link.name)? {
        Some(now) if now.alias == link.alias => netlink.remove(&now),
        _ => Ok(()),
    }
}

/// One that cannot be told is taken to run.
fn runs(store: &Store, name: &MachineName, id: MachineId) -> bool {
    match store.runner(name) {
        Ok(Some(_)) => store.read(name).map_or(true, |record| record.id == id),
        Ok(None) => false,
        Err(_) => true,
    }
}

fn exists(networks: &Networks, name: &NetworkName, id: MachineId) -> bool {
    networks.has(name) && networks.read(name).map_or(true, |network| network.id == id)
}

fn is_used(bridge: &Link, links: &[Link]) -> bool {
    links.iter().any(|link| link.controller == Some(bridge.index))
}
