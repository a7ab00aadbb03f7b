//! The host's interfaces, by rtnetlink: one blocking socket, a request and its answer at a time.
//!
//! What the kernel says is taken apart by the crates; what they do not understand (a newer kernel's) is left out of a
//! list with a word in the log, and is an error where it is about the one interface that was asked for.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::time::Duration;

use ipnet::IpNet;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    BridgeStpState, InfoBridge, InfoData, InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, State,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use crate::error::{Context as _, Error, Result};

/// The kernel answers at once; only one that is broken does not.
const DEADLINE: Duration = Duration::from_secs(10);
/// Larger than any datagram of the kernel's.
const BUFFER: usize = 1 << 17;
/// A list that changes while it is made is made anew so often.
const TRIES: usize = 8;

/// An interface of the host's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) alias: Option<String>,
    pub(super) mac: Vec<u8>,
    pub(super) mtu: u32,
    pub(super) up: bool,
    pub(super) carrier: bool,
    pub(super) bridge: bool,
    pub(super) controller: Option<u32>,
    pub(super) counters: Counters,
}

/// What went through an interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    /// Bytes that came in.
    pub rx_bytes: u64,
    /// Packets that came in.
    pub rx_packets: u64,
    /// Bytes that went out.
    pub tx_bytes: u64,
    /// Packets that went out.
    pub tx_packets: u64,
}

/// A connection to the kernel.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// Why a request failed: the kernel's errno, or what kept it from being answered.
type Answer<T> = std::result::Result<T, io::Error>;

impl Netlink {
    pub(super) fn open() -> Result<Self> {
        let open = || -> Answer<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            set_socket_timeout(socket.as_fd(), Timeout::Recv, Some(DEADLINE))?;
            Ok(socket)
        };
        Ok(Self { socket: open().context("cannot open a netlink socket")?, sequence: 0 })
    }

    /// The interface of this name.
    pub(super) fn link(&mut self, name: &str) -> Result<Option<Link>> {
        let cannot = || format!("cannot look at interface {name}");
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        match self.ask(RouteNetlinkMessage::GetLink(message), 0) {
            Ok(Answers { messages, not_understood: 0, .. }) => Ok(messages.into_iter().find_map(link)),
            Ok(_) => Err(Error::new("the kernel's answer is not understood").context(cannot())),
            Err(e) if is(&e, rustix::io::Errno::NODEV) => Ok(None),
            Err(e) => Err(e).with_context(cannot),
        }
    }

    /// All interfaces.
    pub(super) fn links(&mut self) -> Result<Vec<Link>> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        Ok(self.list(request).context("cannot list the interfaces")?.into_iter().filter_map(link).collect())
    }

    /// All addresses, each with its subnet and the index of its interface.
    pub(super) fn addresses(&mut self) -> Result<Vec<(u32, IpNet)>> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        Ok(self.list(request).context("cannot list the addresses")?.into_iter().filter_map(address).collect())
    }

    /// The destinations of all routes but the default ones.
    pub(super) fn routes(&mut self) -> Result<Vec<IpNet>> {
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let answers = self.list(RouteNetlinkMessage::GetRoute(message)).context("cannot list the routes")?;
            found.extend(answers.into_iter().filter_map(route));
        }
        Ok(found)
    }

    /// Makes a bridge. `Ok(false)` if there is an interface of that name.
    pub(super) fn add_bridge(&mut self, name: &str, mac: [u8; 6], mtu: u32) -> Result<bool> {
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Address(mac.to_vec()),
            LinkAttribute::Mtu(mtu),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Bridge),
                LinkInfo::Data(InfoData::Bridge(vec![
                    InfoBridge::ForwardDelay(0),
                    InfoBridge::StpState(BridgeStpState::Disabled),
                    InfoBridge::MulticastSnooping(false),
                ])),
            ]),
        ];
        match self.ask(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK) {
            Ok(_) => Ok(true),
            Err(e) if is(&e, rustix::io::Errno::EXIST) => Ok(false),
            Err(e) => Err(e).with_context(|| format!("cannot make bridge {name}")),
        }
    }

    /// Changes an interface: each of these attributes, and whether it is up.
    pub(super) fn set(&mut self, link: &Link, attributes: Vec<LinkAttribute>, up: Option<bool>) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = link.index;
        if let Some(up) = up {
            message.header.change_mask = LinkFlags::Up;
            message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        }
        message.attributes = attributes;
        self.ask(RouteNetlinkMessage::SetLink(message), NLM_F_ACK)
            .map(drop)
            .with_context(|| format!("cannot change interface {}", link.name))
    }

    /// Removes an interface. One that is gone is a success.
    pub(super) fn remove(&mut self, link: &Link) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = link.index;
        match self.ask(RouteNetlinkMessage::DelLink(message), NLM_F_ACK) {
            Err(e) if !is(&e, rustix::io::Errno::NODEV) => {
                Err(e).with_context(|| format!("cannot remove interface {}", link.name))
            }
            _ => Ok(()),
        }
    }

    /// Gives an interface an address. One that it has is a success.
    pub(super) fn add_address(&mut self, link: &Link, address: IpNet) -> Result<()> {
        let mut message = AddressMessage::default();
        message.header.index = link.index;
        message.header.prefix_len = address.prefix_len();
        message.attributes.push(AddressAttribute::Local(address.addr()));
        message.attributes.push(AddressAttribute::Address(address.addr()));
        match address {
            IpNet::V4(address) => {
                message.header.family = AddressFamily::Inet;
                message.attributes.push(AddressAttribute::Broadcast(address.broadcast()));
            }
            IpNet::V6(_) => {
                message.header.family = AddressFamily::Inet6;
                // Usable at once: nobody else can have it, as the bridge is ours.
                message.header.flags = AddressHeaderFlags::Nodad;
            }
        }
        match self.ask(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK) {
            Err(e) if !is(&e, rustix::io::Errno::EXIST) => {
                Err(e).with_context(|| format!("cannot give {address} to interface {}", link.name))
            }
            _ => Ok(()),
        }
    }

    /// A whole list, made anew where it changed meanwhile.
    fn list(&mut self, request: RouteNetlinkMessage) -> Answer<Vec<RouteNetlinkMessage>> {
        let mut tries = 1;
        loop {
            let answers = self.ask(request.clone(), NLM_F_DUMP)?;
            if answers.not_understood > 0 {
                log::debug!("{} of the kernel's answers are not understood", answers.not_understood);
            }
            if answers.whole || tries == TRIES {
                return Ok(answers.messages);
            }
            tries += 1;
        }
    }

    /// Sends a request and reads its answers to the end.
    fn ask(&mut self, request: RouteNetlinkMessage, flags: u16) -> Answer<Answers> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(request);
        message.header.flags = NLM_F_REQUEST | flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut answers = Answers { messages: Vec::new(), not_understood: 0, whole: true };
        let mut buffer = Vec::with_capacity(BUFFER);
        loop {
            buffer.clear();
            match self.socket.recv(&mut buffer, 0) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel does not answer"));
                }
                result => result?,
            };
            // A dump ends by a message of its own, everything else by the answer or its acknowledgement.
            let last = flags & (NLM_F_DUMP | NLM_F_ACK) == 0;
            if answers.take(&buffer, self.sequence)? || last {
                return Ok(answers);
            }
        }
    }
}

/// What the kernel answered.
#[derive(Debug)]
struct Answers {
    messages: Vec<RouteNetlinkMessage>,
    not_understood: usize,
    /// Nothing changed while a list was made.
    whole: bool,
}

impl Answers {
    /// Takes in one datagram; returns whether it was the last one.
    fn take(&mut self, datagram: &[u8], sequence: u32) -> Answer<bool> {
        let mut rest = datagram;
        // A message has its length in its first four bytes, and begins at a multiple of four.
        while let Some(Ok(length)) = rest.get(..4).map(TryInto::try_into).map(|b| b.map(u32::from_ne_bytes)) {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let Some(message) = rest.get(..length).filter(|message| message.len() >= 16) else {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is cut off"));
            };
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message) else {
                self.not_understood += 1;
                continue;
            };
            if message.header.sequence_number != sequence {
                continue;
            }
            self.whole &= message.header.flags & NLM_F_DUMP_INTR == 0;
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(true),
                NetlinkPayload::Error(error) if error.code.is_none() => return Ok(true),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(message) => self.messages.push(message),
                _ => {}
            }
        }
        Ok(false)
    }
}

fn is(error: &io::Error, errno: rustix::io::Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

fn link(message: RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    let mut link =
        Link { index: message.header.index, up: message.header.flags.contains(LinkFlags::Up), ..Link::default() };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
            LinkAttribute::Address(mac) => link.mac = mac,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Controller(index) => link.controller = Some(index),
            LinkAttribute::OperState(state) => link.carrier = state == State::Up,
            LinkAttribute::LinkInfo(infos) => link.bridge = infos.contains(&LinkInfo::Kind(InfoKind::Bridge)),
            LinkAttribute::Stats64(stats) => {
                link.counters = Counters {
                    rx_bytes: stats.rx_bytes,
                    rx_packets: stats.rx_packets,
                    tx_bytes: stats.tx_bytes,
                    tx_packets: stats.tx_packets,
                };
            }
            _ => {}
        }
    }
    Some(link)
}

fn address(message: RouteNetlinkMessage) -> Option<(u32, IpNet)> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    let (mut local, mut address) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => address = Some(*ip),
            _ => {}
        }
    }
    // On a point-to-point link the subnet is that of the other end.
    Some((message.header.index, IpNet::new(address.or(local)?, message.header.prefix_len).ok()?))
}

fn route(message: RouteNetlinkMessage) -> Option<IpNet> {
    let RouteNetlinkMessage::NewRoute(message) = message else { return None };
    if !matches!(message.header.kind, RouteType::Unicast | RouteType::BlackHole | RouteType::Unreachable) {
        return None;
    }
    let destination = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
        RouteAttribute::Destination(RouteAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
        _ => None,
    })?;
    IpNet::new(destination, message.header.destination_prefix_length).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_loopback_is_seen() {
        let mut netlink = Netlink::open().unwrap();
        let lo = netlink.link("lo").unwrap().unwrap();
        assert_eq!((lo.name.as_str(), lo.bridge, lo.alias), ("lo", false, None));
        assert!(netlink.links().unwrap().iter().any(|link| link.name == "lo"));
        assert_eq!(netlink.link("kr-no-such").unwrap(), None);
        netlink.addresses().unwrap();
        netlink.routes().unwrap();
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 16u16..28) {
            let mut answers = Answers { messages: Vec::new(), not_understood: 0, whole: true };
            let _ = answers.take(&bytes, 1);
            // The same behind a header that is right.
            let length = u32::try_from(bytes.len() + 16).unwrap();
            let mut message = length.to_ne_bytes().to_vec();
            message.extend(kind.to_ne_bytes());
            message.extend([0, 0]);
            message.extend(1u32.to_ne_bytes());
            message.extend([0; 4]);
            message.extend(&bytes);
            if answers.take(&message, 1).is_ok() {
                for message in answers.messages {
                    let _ = (link(message.clone()), address(message.clone()), route(message));
                }
            }
        }
    }
}
