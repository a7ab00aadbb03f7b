//! Published ports as elements of maps: pure.
//!
//! ```text
//! at4_host, at4_port     one address of the host's . protocol . port   ->   the machine's address, its port
//! any4_host, any4_port                    protocol . port   ->   the same, for every address of the host's
//! ```

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

use super::element::{Element, Owner};
use super::table::{Table, Transaction, difference};
use crate::error::{Error, Kind, Result};
use crate::machine::{MachineId, MachineName, Port, Protocol, Record};
use crate::network::Network;

/// The maps of addresses; the one of ports that belongs to each ends by [`PORT`].
const HOST: &str = "_host";
const PORT: &str = "_port";

/// The elements that publish a machine's ports by these addresses of its own, at most one of a family.
pub(super) fn elements(record: &Record, addresses: &[IpAddr]) -> Result<Vec<Element>> {
    let owner = Owner::machine(&record.spec.name, record.id);
    let v4 = addresses.iter().find(|ip| ip.is_ipv4());
    let v6 = addresses.iter().find(|ip| ip.is_ipv6());
    let mut elements = Vec::new();
    for port in &record.spec.ports {
        if port.host_ip.is_some_and(|ip| ip.is_ipv6() && ip.is_loopback()) {
            return Err(Error::new(format!("port {port} leads nowhere: what is sent to ::1 never leaves the host"))
                .with_hint("on a network, publish it on another address of the host's, or on 127.0.0.1"));
        }
        let targets = match port.host_ip {
            None => [v4, v6],
            Some(IpAddr::V4(_)) => [v4, None],
            Some(IpAddr::V6(_)) => [None, v6],
        };
        if targets == [None, None] {
            let family = match port.host_ip {
                Some(IpAddr::V6(_)) => "IPv6 ",
                Some(IpAddr::V4(_)) => "IPv4 ",
                None => "",
            };
            return Err(Error::new(format!("port {port} leads nowhere: the machine has no {family}address")));
        }
        for target in targets.into_iter().flatten() {
            let (maps, key) = key(port, target);
            let to = json!(target.to_string());
            elements.push(Element::entry(format!("{maps}{HOST}"), key.clone(), to, &owner));
            elements.push(Element::entry(format!("{maps}{PORT}"), key, json!(port.guest), &owner));
        }
    }
    Ok(elements)
}

/// The maps that a port belongs to if it leads to such an address, and its key in them.
fn key(port: &Port, target: &IpAddr) -> (String, Value) {
    let family = if target.is_ipv4() { '4' } else { '6' };
    let protocol = number_of(port.protocol);
    match port.host_ip.filter(|ip| !ip.is_unspecified()) {
        Some(ip) => (format!("at{family}"), json!({"concat": [ip.to_string(), protocol, port.host]})),
        None => (format!("any{family}"), json!({"concat": [protocol, port.host]})),
    }
}

/// A protocol by its number, as its name depends on the host's list of them.
fn number_of(protocol: Protocol) -> u64 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}

/// What publishes a machine's ports and takes back what it published before, and all of those in its way that are not
/// there any more.
pub(super) fn publish(
    table: &Table,
    record: &Record,
    wanted: &[Element],
    is_there: impl Fn(&MachineName, MachineId) -> Result<bool>,
) -> Result<Transaction> {
    let (mut gone, new) = difference(&table.of(&Owner::machine(&record.spec.name, record.id)), wanted);
    let others: Vec<_> = holders(table).into_iter().filter(|(_, id, _)| *id != record.id).collect();
    let mut dead = BTreeSet::new();
    for port in &record.spec.ports {
        for (name, id, theirs) in others.iter().filter(|(_, _, theirs)| theirs.collides(port)) {
            if is_there(name, *id)? {
                let why = format!("port {}/{} is taken: machine {name} has {theirs}", port.host, port.protocol);
                return Err(Error::of(Kind::Conflict, why)
                    .with_hint(format!("another one is published by `-p OTHER:{}`", port.guest)));
            }
            if dead.insert(*id) {
                gone.extend(table.of(&Owner::machine(name, *id)));
            }
        }
    }
    let mut transaction = Transaction::default();
    transaction.delete(&gone);
    transaction.add(&new);
    Ok(transaction)
}

/// What takes back all that is published by this mark.
pub(super) fn unpublish(table: &Table, owner: &Owner) -> Transaction {
    let mut transaction = Transaction::default();
    transaction.delete(&table.of(owner));
    transaction
}

/// All that is published, and by whom. A port that is published in both families is one.
pub(super) fn holders(table: &Table) -> Vec<(MachineName, MachineId, Port)> {
    let mut holders: Vec<_> = table.elements.iter().filter_map(holder).collect();
    holders.sort_unstable();
    holders.dedup();
    holders
}

fn holder(element: &Element) -> Option<(MachineName, MachineId, Port)> {
    element.set.strip_suffix(PORT)?;
    let (name, id) = element.owner.as_machine()?;
    let key = element.key.get("concat")?.as_array()?;
    let (ip, protocol, host) = match key.as_slice() {
        [ip, protocol, host] => (Some(ip.as_str()?.parse().ok()?), protocol, host),
        [protocol, host] => (None, protocol, host),
        _ => return None,
    };
    let number = |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok());
    let protocol =
        [Protocol::Tcp, Protocol::Udp].into_iter().find(|known| Some(number_of(*known)) == protocol.as_u64())?;
    let guest = number(element.data.as_ref()?)?;
    Some((name, id, Port { host_ip: ip, host: number(host)?, guest, protocol }))
}

/// What leads to machines on a network.
pub(super) fn into(table: &Table, network: &Network) -> Vec<Element> {
    let leads_there = |element: &Element| {
        let to = element.data.as_ref().and_then(Value::as_str).unwrap_or_default();
        let v4 = to.parse().is_ok_and(|ip: Ipv4Addr| network.ipv4.is_some_and(|net| net.contains(&ip)));
        v4 || to.parse().is_ok_and(|ip: Ipv6Addr| network.ipv6.is_some_and(|net| net.contains(&ip)))
    };
    let hosts = table.elements.iter().filter(|element| leads_there(element)).filter_map(|element| {
        let ports = format!("{}{PORT}", element.set.strip_suffix(HOST)?);
        Some((element, ports))
    });
    hosts
        .flat_map(|(host, ports)| {
            let port = table.elements.iter().find(move |other| other.set == ports && other.key == host.key);
            std::iter::once(host).chain(port)
        })
        .cloned()
        .collect()
}
