//! What networks and published ports need of this host.

use std::fs::OpenOptions;
use std::path::Path;

use super::Check;
use crate::error::{Context as _, Error, IntoError as _, Result};
use crate::network::resolver;
use crate::paths::{self, find_program};

fn open_device(device: &str) -> Result<(), Error> {
    OpenOptions::new().read(true).write(true).open(device).map(drop).with_context(|| format!("cannot open {device}"))
}

pub(super) fn tun() -> Check {
    match open_device(paths::TUN) {
        Ok(()) => Check::ok("tun", format!("{} opens", paths::TUN)),
        Err(error) => Check::warn(
            "tun",
            error.to_string(),
            "`modprobe tun` (in a container, pass the device in); until then, machines have QEMU's own network only",
        ),
    }
}

/// For information: nothing needs it.
pub(super) fn vhost_net() -> Check {
    match open_device(paths::VHOST_NET) {
        Ok(()) => Check::ok("vhost-net", format!("{} opens", paths::VHOST_NET)),
        Err(error) => Check::ok("vhost-net", format!("not used: {error}")),
    }
}

pub(super) fn nft() -> Check {
    match find_program(Path::new("nft")) {
        Some(path) => Check::ok("nft", path.display().to_string()),
        None => Check::warn(
            "nft",
            "not found in PATH",
            "install nftables; until then, networks have no NAT and publish no ports",
        ),
    }
}

/// What answers for the names of machines.
pub(super) fn dnsmasq() -> Check {
    match resolver::check() {
        Ok(path) => Check::ok("dnsmasq", path.display().to_string()),
        Err(error) => Check::warn("dnsmasq", error.to_string(), error.hint().unwrap_or("install it")),
    }
}

/// Machines on networks reach the world through the host.
pub(super) fn forwarding() -> Check {
    let path = Path::new(paths::NET_SWITCHES).join("ipv4/ip_forward");
    match std::fs::read_to_string(&path) {
        Ok(text) if text.trim() == "1" => Check::ok("ip_forward", "on"),
        // Nothing to be cured: who needs it turns it on.
        Ok(_) => Check::ok("ip_forward", "off: the first network turns it on"),
        Err(error) => Check::warn(
            "ip_forward",
            error.into_error().context(format!("cannot read {}", path.display())).to_string(),
            "mount the proc file system: networks cannot be used without it",
        ),
    }
}
