use proptest::prelude::*;

use super::*;
use crate::machine::IpConfig;

fn attachment(address: Option<&str>) -> Attachment {
    let ip = IpConfig { ipv4: address.map(|a| a.parse().unwrap()), ..IpConfig::default() };
    Attachment { network: "web".into(), foreign: false, mac: None, ip }
}

fn settled(address: Option<&str>, holders: &Holders) -> Result<Attachment> {
    let mut one = attachment(address);
    settle_one(&mut one, Some(&Network::example("web")), holders)?;
    Ok(one)
}

#[test]
fn the_lowest_free_one() {
    let mut holders = Holders::default();
    for expected in ["10.1.2.2/24", "10.1.2.3/24", "10.1.2.4/24"] {
        let one = settled(None, &holders).unwrap();
        assert_eq!(one.ip.ipv4.unwrap().to_string(), expected);
        assert_eq!(one.ip.gateways, ["10.1.2.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(one.ip.dns, ["10.1.2.1".parse::<IpAddr>().unwrap()]);
        holders.add("m", &one);
    }
    // Another network's are others.
    holders.addresses.iter_mut().for_each(|(network, _, _)| *network = "db".into());
    assert_eq!(settled(None, &holders).unwrap().ip.ipv4.unwrap().to_string(), "10.1.2.2/24");
}

#[test]
fn what_was_asked_for_is_checked() {
    let mut holders = Holders::default();
    holders.add("db", &attachment(Some("10.1.2.9/24")));
    let why = |address| settled(Some(address), &holders).unwrap_err().to_string();
    assert_eq!(why("10.1.2.9/24"), "address 10.1.2.9 is taken: machine db has it");
    assert_eq!(why("10.1.2.1/24"), "address 10.1.2.1 cannot be had: it is the gateway's");
    assert_eq!(why("10.1.2.255/24"), "address 10.1.2.255 cannot be had: it is the subnet's own");
    assert_eq!(why("10.1.2.0/24"), "address 10.1.2.0 cannot be had: it is the subnet's own");
    assert_eq!(why("10.1.3.2/24"), "address 10.1.3.2 cannot be had: the subnet is 10.1.2.0/24");
    assert_eq!(why("10.1.2.7/16"), "address 10.1.2.7 cannot be had: the subnet is 10.1.2.0/24 and not 10.1.0.0/16");
    assert!(settled(Some("10.1.2.8/24"), &holders).is_ok());
}

#[test]
fn a_small_network_runs_out() {
    let mut network = Network::example("web");
    network.ipv4 = Some("10.1.2.1/30".parse().unwrap());
    let mut holders = Holders::default();
    let mut one = attachment(None);
    settle_one(&mut one, Some(&network), &holders).unwrap();
    holders.add("m", &one);
    let error = settle_one(&mut attachment(None), Some(&network), &holders).unwrap_err();
    assert_eq!(error.to_string(), "all addresses of 10.1.2.0/30 are taken");
}

#[test]
fn both_families_and_none_for_the_internal() {
    let mut network = Network::example("web");
    network.ipv6 = Some("fd00:1::1/64".parse().unwrap());
    network.internal = true;
    let mut one = attachment(None);
    settle_one(&mut one, Some(&network), &Holders::default()).unwrap();
    assert_eq!(one.ip.ipv6.unwrap().to_string(), "fd00:1::2/64");
    assert!(one.ip.gateways.is_empty());
}

proptest! {
    #[test]
    fn macs_are_local_single_and_distinct(ids in proptest::collection::vec(any::<[u8; 16]>(), 1..40)) {
        let mut holders = Holders::default();
        for (n, id) in ids.iter().chain(&ids).enumerate() {
            let mut one = attachment(None);
            settle_mac(&mut one, MachineId::from_bytes(*id), n % MOST, &holders).unwrap();
            let mac = one.mac.unwrap();
            prop_assert_eq!(mac.0[0], 0x02);
            prop_assert!(holders.macs.iter().all(|(theirs, _)| *theirs != mac));
            holders.add("m", &one);
        }
    }

    #[test]
    fn addresses_are_distinct_and_inside(prefix in 24u8..=29, count in 1usize..6) {
        let mut network = Network::example("web");
        network.ipv4 = Some(Ipv4Net::new([10, 1, 2, 1].into(), prefix).unwrap());
        let mut holders = Holders::default();
        for _ in 0..count {
            let mut one = attachment(None);
            if settle_one(&mut one, Some(&network), &holders).is_ok() {
                let net = one.ip.ipv4.unwrap();
                prop_assert!(holders.of("web", net.addr().into()).is_none());
                prop_assert!(check(IpNet::V4(net), IpNet::V4(network.ipv4.unwrap())).is_ok());
                holders.add("m", &one);
            }
        }
    }
}
