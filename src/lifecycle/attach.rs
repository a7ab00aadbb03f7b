//! What a machine is given from the host before its VMM starts, and how all of it is taken back.
//!
//! Everything that stays behind when a process dies carries the machine's mark, so that [`detach`] finds it without
//! having been there when it was made: after a failed start, a normal end, a killed runner, or by `kraft doctor --fix`.

use std::os::fd::OwnedFd;

use crate::error::{Error, Result};
use crate::lifecycle::{ports, secrets, shares};
use crate::machine::{IpConfig, Record, Spec};
use crate::network;
use crate::platform::{Nic, NicBackend, SecretFile, Share};
use crate::store::Store;
use crate::volume::virtiofsd::Virtiofsd;

/// What a VMM is handed: interfaces and shared directories, ready.
#[derive(Debug, Default)]
pub struct Attached {
    /// In the order in which the guest sees them.
    pub nics: Vec<Nic>,
    /// In the order in which the guest mounts them.
    pub shares: Vec<Share>,
    /// The programs that serve some of them: they end with this value.
    pub servers: Vec<Virtiofsd>,
    /// Those of its secrets that the VMM shows to the guest.
    pub secrets: Vec<SecretFile>,
    /// The RAM disk with its other secrets in it.
    pub initrd: Option<OwnedFd>,
}

/// Makes all that the machine needs. Nothing is left of it when that fails.
///
/// # Errors
/// Names what could not be had.
pub fn attach(store: &Store, record: &Record) -> Result<Attached> {
    ports::check(store, record)?;
    try_attach(store, record).inspect_err(|_| {
        for error in detach(store, record) {
            log::warn!("{error}");
        }
    })
}

fn try_attach(store: &Store, record: &Record) -> Result<Attached> {
    let spec = &record.spec;
    let mut attached = Attached::default();
    attached.nics.extend(user_nic(spec));
    let connections = network::connect(store, record)?.into_iter();
    attached.nics.extend(connections.map(|connection| Nic {
        mac: connection.mac,
        ip: connection.ip,
        backend: NicBackend::Tap { queue: connection.queue, vhost: connection.vhost },
    }));
    (attached.secrets, attached.initrd) = secrets::open(record)?;
    (attached.shares, attached.servers) = shares::open(store, spec)?;
    Ok(attached)
}

/// The one interface of a machine without networks that has ports.
fn user_nic(spec: &Spec) -> Option<Nic> {
    if spec.ports.is_empty() || !spec.networks.is_empty() {
        return None;
    }
    let ip = IpConfig { host: Some(spec.name.as_host()), ..Nic::user_ip() };
    Some(Nic { mac: None, ip, backend: NicBackend::User { forwards: spec.ports.clone() } })
}

/// Takes back whatever of the machine is there. What is gone already is a success; nothing keeps the rest from being
/// taken back.
pub fn detach(store: &Store, record: &Record) -> Vec<Error> {
    network::disconnect(store, record)
}
