//! The kernel's switches for networks (`sysctl`), each set only where it is not so already.

use std::path::Path;

use super::record::Network;
use crate::error::{Context as _, Result};
use crate::paths;

/// What a bridge of ours needs. The host's own interfaces are left as they are, but that it forwards.
pub(super) fn for_bridge(network: &Network) -> Result<()> {
    let name = &network.bridge;
    match network.ipv6 {
        Some(_) => {
            set(&format!("ipv6/conf/{name}/disable_ipv6"), "0")?;
            // It is a router there: it takes no other's word.
            set(&format!("ipv6/conf/{name}/accept_ra"), "0")?;
            set(&format!("ipv6/conf/{name}/autoconf"), "0")?;
        }
        None => without_ipv6(name)?,
    }
    if !network.internal {
        if network.ipv4.is_some() {
            set("ipv4/ip_forward", "1")?;
        }
        if network.ipv6.is_some() {
            set("ipv6/conf/all/forwarding", "1")?;
        }
    }
    Ok(())
}

/// Lets what the host sends to a published port of its own 127.0.0.1 leave through the bridge.
pub(super) fn for_loopback(network: &Network) -> Result<()> {
    set(&format!("ipv4/conf/{}/route_localnet", network.bridge), "1")
}

/// The host has no address on this interface, not even a link-local one. A kernel without IPv6 has none anyway.
pub(super) fn without_ipv6(interface: &str) -> Result<()> {
    set(&format!("ipv6/conf/{interface}/disable_ipv6"), "1")
}

fn set(switch: &str, value: &str) -> Result<()> {
    let path = Path::new(paths::NET_SWITCHES).join(switch);
    let cannot = || format!("cannot set {} to {value}", switch.replace('/', "."));
    match std::fs::read_to_string(&path) {
        Ok(now) if now.trim() == value => Ok(()),
        // What is not there is off.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && switch.starts_with("ipv6/") && value != "0" => Ok(()),
        Ok(_) => std::fs::write(&path, value).with_context(cannot),
        Err(e) => Err(e).with_context(cannot),
    }
}
