//! Whether a machine's ports are free, and who has them if not.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use super::listener;
use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::{MachineName, Phase, Port, Protocol, Record, Status};
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

/// The other machines whose guests have their ports at this moment, or will have them before this one.
fn holders(store: &Store, record: &Record) -> Result<Vec<Record>> {
    let ours = store.status(&record.spec.name)?.map(|status| (status, &record.spec.name));
    let mut holders = Vec::new();
    for name in store.names()? {
        if name == record.spec.name {
            continue;
        }
        // One that cannot be read is told of by those who list machines.
        let Ok(Some(status)) = store.status(&name) else { continue };
        if is_before((&status, &name), ours.as_ref().map(|(status, name)| (status, *name)))
            && let Ok(other) = store.read(&name)
            && !other.spec.ports.is_empty()
            && store.runner(&name)?.is_some()
        {
            holders.push(other);
        }
    }
    Ok(holders)
}

/// Whether a machine's ports are to be left to it. Of two that start at once, the one that began first has them: the
/// other one finds it by the same rule.
fn is_before(other: (&Status, &MachineName), ours: Option<(&Status, &MachineName)>) -> bool {
    match (other.0.phase, ours) {
        (Phase::Starting, Some((ours, name))) if ours.phase == Phase::Starting => {
            (other.0.started, other.1) < (ours.started, name)
        }
        (Phase::Starting | Phase::Running | Phase::Paused | Phase::Stopping, _) => true,
        (Phase::Restarting | Phase::Ended, _) => false,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::{Timestamp, ToSpan as _};

    #[test]
    fn one_of_two_that_start_at_once_has_the_port() {
        let (web, db): (MachineName, MachineName) = ("web".parse().unwrap(), "db".parse().unwrap());
        let first = Status::starting(1, Timestamp::UNIX_EPOCH);
        let later = Status::starting(2, Timestamp::UNIX_EPOCH + 1.millisecond());
        assert!(is_before((&first, &web), Some((&later, &db))));
        assert!(!is_before((&later, &db), Some((&first, &web))));
        // In the same moment it goes by their names, for both alike.
        assert!(is_before((&first, &db), Some((&first, &web))));
        assert!(!is_before((&first, &web), Some((&first, &db))));
        // One that has no turn yet leaves it to all that have, and one that runs was first.
        assert!(is_before((&later, &db), None));
        let runs = Status { phase: Phase::Running, ..later };
        assert!(is_before((&runs, &db), Some((&first, &web))));
    }
}
