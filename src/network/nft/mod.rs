//! The host's packet filter: what our networks and the machines' published ports need of it.

use std::net::IpAddr;

use super::Network;
use crate::error::Result;
use crate::machine::{MachineId, MachineName, Port, Record};

/// Lets a network's machines out, unless it is internal.
///
/// # Errors
/// When the packet filter refuses.
pub fn network_up(_network: &Network) -> Result<()> {
    Ok(())
}

/// Takes that back. Gone already is a success.
///
/// # Errors
/// When the packet filter refuses.
pub fn network_down(_network: &Network) -> Result<()> {
    Ok(())
}

/// Publishes a machine's ports on the host.
///
/// # Errors
/// When the packet filter refuses.
pub fn publish(_record: &Record, _addresses: &[IpAddr]) -> Result<()> {
    Ok(())
}

/// Takes that back. Gone already is a success.
///
/// # Errors
/// When the packet filter refuses.
pub fn unpublish(_name: &MachineName, _id: MachineId, _ports: &[Port]) -> Result<()> {
    Ok(())
}

/// Whose ports are published.
///
/// # Errors
/// When the packet filter cannot be read.
pub fn holders() -> Result<Vec<(MachineName, MachineId, Port)>> {
    Ok(Vec::new())
}
