//! The bridge of a network: made, found again, taken away. Who calls holds the host's lock.

use netlink_packet_route::link::LinkAttribute;

use super::mark::{Mark, Owner};
use super::netlink::{Counters, Link, Netlink};
use super::nft::{self, Filter};
use super::record::Network;
use super::switches;
use crate::error::{Error, Kind, Result};

/// As Ethernet has it: every machine's interface has the same.
const MTU: u32 = 1500;

/// Whether a network's bridge is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is there and up.
    Up,
    /// It is not there, or not up: the next machine brings it up.
    Down,
}

/// A network's bridge as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// Whether it is up.
    pub state: State,
    /// What went through it.
    pub counters: Counters,
    /// How many interfaces are on it.
    pub ports: usize,
}

/// Brings a network up: its bridge with its addresses, and its rules. What is there already stays as it is, so that this is
/// called by whoever needs the network.
pub(super) fn up(netlink: &mut Netlink, filter: &mut Filter, network: &Network, mark: &Mark) -> Result<Link> {
    let cannot = || format!("cannot bring up network {}", network.name);
    let made = netlink.link(&network.bridge)?.is_none();
    if made {
        netlink.add_bridge(&network.bridge, mac(network), MTU).map_err(|e| e.context(cannot()))?;
    }
    let result = complete(netlink, filter, network, mark);
    // The rules come last and are made whole: there are none.
    if result.is_err()
        && made
        && let Err(error) = remove(netlink, network, mark)
    {
        log::warn!("{error}");
    }
    result.map_err(|e| e.context(cannot()))
}

fn complete(netlink: &mut Netlink, filter: &mut Filter, network: &Network, mark: &Mark) -> Result<Link> {
    let link = netlink.link(&network.bridge)?.filter(|link| is_ours(link, network, mark)).ok_or_else(|| {
        let name = &network.bridge;
        Error::of(Kind::Conflict, format!("there is an interface {name} that is not kraft's"))
            .with_hint(format!("`ip link show {name}` tells what it is; kraft leaves it alone"))
    })?;
    if link.alias.is_none() {
        netlink.set(&link, vec![LinkAttribute::IfAlias(mark.network(network))], None)?;
    }
    switches::for_bridge(network)?;
    for subnet in network.subnets() {
        netlink.add_address(&link, subnet)?;
    }
    if !link.up {
        netlink.set(&link, Vec::new(), Some(true))?;
    }
    filter.network_up(network)?;
    Ok(link)
}

/// Takes a network down: its rules, then its bridge. Gone already is a success, and a foreign interface of that name is left
/// alone.
pub(super) fn down(netlink: &mut Netlink, network: &Network, mark: &Mark) -> Vec<Error> {
    let mut errors: Vec<Error> = nft::network_down(network).err().into_iter().collect();
    errors.extend(remove(netlink, network, mark).err());
    errors
}

fn remove(netlink: &mut Netlink, network: &Network, mark: &Mark) -> Result<()> {
    match netlink.link(&network.bridge)? {
        Some(link) if is_ours(&link, network, mark) => netlink.remove(&link),
        _ => Ok(()),
    }
}

/// How a network's bridge is doing.
///
/// # Errors
/// When the kernel does not say.
pub(super) fn live(netlink: &mut Netlink, network: &Network, mark: &Mark) -> Result<Live> {
    let links = netlink.links()?;
    let link = links.iter().find(|link| link.name == network.bridge && is_ours(link, network, mark));
    Ok(match link {
        Some(link) => Live {
            state: if link.up { State::Up } else { State::Down },
            counters: link.counters,
            ports: links.iter().filter(|port| port.controller == Some(link.index)).count(),
        },
        None => Live { state: State::Down, counters: Counters::default(), ports: 0 },
    })
}

/// By its mark; or by its address, where whoever made it died before it was marked.
fn is_ours(link: &Link, network: &Network, mark: &Mark) -> bool {
    match &link.alias {
        Some(alias) => mark.owner(alias) == Some(Owner::Network(network.name.clone(), network.id)),
        None => link.bridge && link.mac == mac(network),
    }
}

/// The bridge's own address, from the network's id: it does not change with the interfaces on the bridge.
fn mac(network: &Network) -> [u8; 6] {
    let [a, b, c, d, e, ..] = network.id.to_bytes();
    [0x02, a, b, c, d, e]
}

/// Checks that somebody else's bridge is there to be used.
///
/// # Errors
/// When there is no such interface, it is not a bridge, or it is ours.
pub(super) fn check_foreign(name: &str, mark: &Mark) -> Result<Link> {
    let link = Netlink::open()?.link(name)?;
    let link = link.ok_or_else(|| {
        Error::of(Kind::NoSuchMachine, format!("no such bridge: {name} is neither a network nor an interface"))
            .with_hint(format!("`kraft net create {name}` creates a network"))
    })?;
    if let Some(Owner::Network(network, _)) = link.alias.as_deref().and_then(|alias| mark.owner(alias)) {
        return Err(Error::new(format!("bridge {name} is kraft's own, of network {network}"))
            .with_hint(format!("`--network {network}` is how to be on it")));
    }
    if !link.bridge {
        return Err(Error::new(format!("interface {name} is not a bridge")));
    }
    Ok(link)
}
