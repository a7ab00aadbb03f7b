//! What nobody is left to take away: taps and published ports of machines that do not run, bridges of networks that are
//! gone. They are found by our own marks alone.

use std::collections::BTreeMap;
use std::path::Path;

use super::mark::{self, Owner};
use super::netlink::{Link, Netlink};
use super::networks::Networks;
use super::nft;
use crate::error::Result;
use crate::machine::{MachineId, MachineName, NetworkName, Port};
use crate::paths;
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
    let mut published: BTreeMap<(MachineName, String), (MachineId, Vec<Port>)> = BTreeMap::new();
    // Where there is no nft nothing was published.
    let holders = if paths::find_program(Path::new("nft")).is_some() { nft::holders()? } else { Vec::new() };
    for (name, id, port) in holders {
        if !has_tap(&links, &name, id) {
            published.entry((name, id.to_string())).or_insert((id, Vec::new())).1.push(port);
        }
    }
    found.extend(published.into_iter().map(|((name, _), (id, ports))| {
        let shown: Vec<String> = ports.iter().map(Port::to_string).collect();
        let what = format!("published ports {} of {name}, which does not run", shown.join(", "));
        let networks = networks.clone();
        Orphan::new(what, move || {
            let _host = networks.lock_host()?;
            match has_tap(&Netlink::open()?.links()?, &name, id) {
                true => Ok(()),
                false => nft::unpublish(&name, id, &ports),
            }
        })
    }));
    Ok(found)
}

fn interfaces(store: &Store, networks: &Networks, links: &[Link]) -> Vec<Orphan> {
    let mark = networks.mark();
    let mut found = Vec::new();
    for link in links {
        let Some(owner) = link.alias.as_deref().and_then(|alias| mark.owner(alias)) else { continue };
        let what = match owner {
            Owner::Machine(name, id) if !runs(store, &name, id) => {
                format!("tap {} of {name}, which does not run", link.name)
            }
            Owner::Network(name, id) if !exists(networks, &name, id) && !is_used(link, links) => {
                format!("bridge {} of network {name}, which is gone", link.name)
            }
            Owner::Machine(..) | Owner::Network(..) => continue,
        };
        let (networks, link) = (networks.clone(), link.clone());
        found.push(Orphan::new(what, move || remove(&networks, &link)));
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

/// A machine that runs on a network has a tap, wherever its record is.
fn has_tap(links: &[Link], name: &MachineName, id: MachineId) -> bool {
    let of = |link: &Link| link.alias.as_deref().and_then(mark::machine);
    links.iter().filter_map(of).any(|(theirs, its)| theirs == *name && its == id)
}
