//! Which subnet a network gets: the one that was asked for, if nobody has it, or the first free one of the pool. Pure.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

use crate::error::{Error, Kind, Result};

/// A subnet that is in use, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) subnet: IpNet,
    pub(super) by: String,
}

/// The pool that `kraft` has always had: 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/16 by /20.
fn pool() -> impl Iterator<Item = Ipv4Net> {
    let large = (17..=31).map(|second| (Ipv4Addr::new(172, second, 0, 0), 16));
    let small = (0..16).map(|third| (Ipv4Addr::new(192, 168, third * 16, 0), 20));
    large.chain(small).filter_map(|(address, prefix)| Ipv4Net::new(address, prefix).ok())
}

/// The first subnet of the pool that overlaps nothing, with its first address as the gateway.
///
/// # Errors
/// [`Kind::Conflict`] when there is none.
pub(super) fn first_free(taken: &[Taken]) -> Result<Ipv4Net> {
    let free = pool().find(|candidate| taken.iter().all(|taken| !overlap(&IpNet::V4(*candidate), &taken.subnet)));
    free.and_then(|subnet| Ipv4Net::new(subnet.hosts().next()?, subnet.prefix_len()).ok()).ok_or_else(|| {
        Error::of(Kind::Conflict, "no subnet of the pool (172.17.0.0/16 to 172.31.0.0/16, 192.168.0.0/16) is free")
            .with_hint("`-n GATEWAY/PREFIX` gives another one")
    })
}

/// Checks a subnet that was asked for.
///
/// # Errors
/// When no machine fits in, the gateway is none of its hosts, or ([`Kind::Conflict`]) somebody has it.
pub(super) fn check(wanted: IpNet, taken: &[Taken]) -> Result<()> {
    let bad = |why: &str| Err(Error::new(format!("bad subnet {wanted}: {why}")));
    let longest = if matches!(wanted, IpNet::V4(_)) { 30 } else { 126 };
    if wanted.prefix_len() > longest {
        return bad(&format!("no machine fits in, the longest prefix is {longest}"));
    }
    if wanted.prefix_len() < 8 {
        return bad("the shortest prefix is 8");
    }
    let address = wanted.addr();
    if address == wanted.network() || (wanted.addr().is_ipv4() && address == wanted.broadcast()) {
        return bad(&format!("{address} cannot be the gateway's, as in {}", example(&wanted)));
    }
    if address.is_loopback() || address.is_multicast() || address.is_unspecified() || is_link_local(&wanted) {
        return bad("such addresses are not for networks");
    }
    match taken.iter().find(|taken| overlap(&wanted, &taken.subnet)) {
        Some(taken) => {
            let why = format!("subnet {} overlaps {} of {}", wanted.trunc(), taken.subnet.trunc(), taken.by);
            Err(Error::of(Kind::Conflict, why))
        }
        None => Ok(()),
    }
}

fn is_link_local(subnet: &IpNet) -> bool {
    match subnet {
        IpNet::V4(subnet) => subnet.addr().is_link_local(),
        IpNet::V6(subnet) => subnet.addr().is_unicast_link_local(),
    }
}

fn example(subnet: &IpNet) -> String {
    let first = subnet.hosts().find(|host| *host != subnet.network());
    first.map_or_else(String::new, |first| format!("{first}/{}", subnet.prefix_len()))
}

fn overlap(one: &IpNet, two: &IpNet) -> bool {
    one.contains(&two.network()) || two.contains(&one.network())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn taken(subnets: &[&str]) -> Vec<Taken> {
        subnets.iter().map(|s| Taken { subnet: s.parse().unwrap(), by: format!("network {s}") }).collect()
    }

    #[test]
    fn the_first_free_one() {
        let first = |subnets: &[&str]| first_free(&taken(subnets)).map(|subnet| subnet.to_string());
        assert_eq!(first(&[]).unwrap(), "172.17.0.1/16");
        assert_eq!(first(&["172.17.9.0/24", "fd00::/8"]).unwrap(), "172.18.0.1/16");
        assert_eq!(first(&["172.16.0.0/12", "192.168.1.0/24"]).unwrap(), "192.168.16.1/20");
        assert_eq!(first(&["172.16.0.0/12", "192.168.0.0/16"]).unwrap_err().kind(), Kind::Conflict);
    }

    #[test]
    fn what_was_asked_for_is_checked() {
        let why = |subnet: &str| check(subnet.parse().unwrap(), &taken(&["10.1.0.0/16"])).unwrap_err().to_string();
        assert_eq!(why("10.1.2.1/24"), "subnet 10.1.2.0/24 overlaps 10.1.0.0/16 of network 10.1.0.0/16");
        assert_eq!(why("10.0.0.1/8"), "subnet 10.0.0.0/8 overlaps 10.1.0.0/16 of network 10.1.0.0/16");
        assert_eq!(why("10.2.0.0/24"), "bad subnet 10.2.0.0/24: 10.2.0.0 cannot be the gateway's, as in 10.2.0.1/24");
        assert_eq!(why("10.2.0.1/31"), "bad subnet 10.2.0.1/31: no machine fits in, the longest prefix is 30");
        assert_eq!(why("127.0.0.2/24"), "bad subnet 127.0.0.2/24: such addresses are not for networks");
        assert_eq!(why("fe80::1/64"), "bad subnet fe80::1/64: such addresses are not for networks");
        check("10.2.0.1/30".parse().unwrap(), &taken(&["10.1.0.0/16"])).unwrap();
        check("fd00::1/64".parse().unwrap(), &[]).unwrap();
    }

    proptest! {
        #[test]
        fn nothing_overlaps(subnets in proptest::collection::vec((any::<[u8; 4]>(), 8u8..=30), 0..20)) {
            let taken: Vec<Taken> = subnets
                .into_iter()
                .map(|(bytes, prefix)| Taken { subnet: IpNet::V4(Ipv4Net::new(bytes.into(), prefix).unwrap()), by: "x".into() })
                .collect();
            if let Ok(free) = first_free(&taken) {
                prop_assert!(check(IpNet::V4(free), &taken).is_ok());
            }
        }
    }
}
