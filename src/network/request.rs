//! What was asked for behind `--network`, found on this host.

use ipnet::IpNet;

use super::bridge;
use super::networks::Networks;
use crate::error::{Error, Result};
use crate::machine::{Attachment, IpConfig, NetworkName, NetworkRequest};

/// Finds the network, and says what is to be settled when the machine is created.
///
/// # Errors
/// When there is no such network or bridge, or an address has no subnet to be in.
pub fn resolve(request: NetworkRequest, networks: &Networks) -> Result<Attachment> {
    networks.check_scope()?;
    let ours = request.name.parse::<NetworkName>().ok().filter(|name| networks.has(name));
    let network = match (&ours, request.bridge) {
        (Some(name), _) => Some(networks.read(name)?),
        (None, true) => None,
        (None, false) => return Err(networks.no_such(&request.name)),
    };
    if network.is_none() {
        bridge::check_foreign(&request.name, &networks.mark())?;
    }
    let mut ip = IpConfig {
        gateways: request.gateways,
        dns: request.dns,
        host: request.host,
        domain: request.domain,
        aliases: request.aliases,
        ..IpConfig::default()
    };
    for (address, prefix) in request.addresses {
        let subnet = network.as_ref().and_then(|n| n.subnets().find(|s| s.addr().is_ipv4() == address.is_ipv4()));
        let prefix = prefix.or(subnet.map(|subnet| subnet.prefix_len())).ok_or_else(|| {
            let why = match network {
                Some(_) => "the network has no subnet of that family",
                None => "on a bridge that is not kraft's it needs a mask, as in 192.0.2.7/24",
            };
            Error::new(format!("bad address {address} on {}: {why}", request.name))
        })?;
        match IpNet::new(address, prefix) {
            Ok(IpNet::V4(net)) => ip.ipv4 = Some(net),
            Ok(IpNet::V6(net)) => ip.ipv6 = Some(net),
            Err(_) => return Err(Error::new(format!("bad address {address}/{prefix}: no such prefix"))),
        }
    }
    Ok(Attachment { network: request.name, foreign: network.is_none(), mac: request.mac, ip })
}
