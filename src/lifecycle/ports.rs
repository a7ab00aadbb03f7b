//! Whether a machine's ports are free, and who has them if not.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use super::listener;
use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::{Phase, Port, Protocol, Record};
use crate::store::Store;

/// Checks that nobody has one of the machine's ports: no other machine, and nobody else on this host.
///
/// # Errors
/// [`Kind::Conflict`], with the port and who has it.
pub fn check(store: &Store, record: &Record) -> Result<()> {
    let ports = &record.spec.ports;
    if ports.is_empty() {
        return Ok(());
    }
    let others = holders(store, record)?;
    for port in ports {
        if let Some((holder, theirs)) =
            others.iter().find_map(|other| Some((other, other.spec.ports.iter().find(|theirs| theirs.collides(port))?)))
        {
            return Err(taken(port, &format!("machine {} has {theirs}", holder.spec.name)));
        }
        try_bind(port)?;
    }
    Ok(())
}

/// The other machines whose guests have their ports at this moment.
fn holders(store: &Store, record: &Record) -> Result<Vec<Record>> {
    let mut holders = Vec::new();
    for name in store.names()? {
        if name == record.spec.name {
            continue;
        }
        // One that cannot be read is told of by those who list machines.
        let Ok(Some(status)) = store.status(&name) else { continue };
        let live = matches!(status.phase, Phase::Starting | Phase::Running | Phase::Paused | Phase::Stopping);
        if live
            && let Ok(other) = store.read(&name)
            && !other.spec.ports.is_empty()
            && store.runner(&name)?.is_some()
        {
            holders.push(other);
        }
    }
    Ok(holders)
}

/// Takes the port for a moment, as whoever publishes it will.
fn try_bind(port: &Port) -> Result<()> {
    let address = SocketAddr::new(port.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), port.host);
    let bound = match port.protocol {
        Protocol::Tcp => TcpListener::bind(address).map(drop),
        Protocol::Udp => UdpSocket::bind(address).map(drop),
    };
    match bound {
        Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => Err(taken(port, &whoever_listens(port))),
        bound => bound.with_context(|| format!("cannot publish port {port}")),
    }
}

/// The process that listens there, if one can be found.
fn whoever_listens(port: &Port) -> String {
    match listener::listener(port.host, port.protocol) {
        Some((pid, name)) => format!("process {pid} ({name}) listens there"),
        None => "another process listens there".into(),
    }
}

fn taken(port: &Port, by: &str) -> Error {
    Error::of(Kind::Conflict, format!("port {}/{} is taken: {by}", port.host, port.protocol))
        .with_hint(format!("another one is published by `-p OTHER:{}`", port.guest))
}
