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

/// The part of it that may need rights which the VMM does not.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub(super) nics: Vec<Nic>,
    /// One for each volume.
    pub(super) directories: Vec<OwnedFd>,
}

/// Makes all that the machine needs. Nothing is left of it when that fails.
///
/// # Errors
/// Names what could not be had.
pub fn attach(store: &Store, record: &Record) -> Result<Attached> {
    let prepared = prepare(store, record)?;
    serve(store, record, prepared).inspect_err(|_| take_all_back(store, record))
}

/// Makes the other part.
fn serve(store: &Store, record: &Record, prepared: Prepared) -> Result<Attached> {
    let Prepared { nics, directories } = prepared;
    let (secrets, initrd) = secrets::open(record, record.spec.initrd.as_deref())?;
    let (shares, servers) = shares::serve(store, &record.spec, directories)?;
    Ok(Attached { nics, shares, servers, secrets, initrd })
}

/// Makes that part. Nothing is left of it when that fails.
pub(super) fn prepare(store: &Store, record: &Record) -> Result<Prepared> {
    ports::check(store, record)?;
    try_prepare(store, record).inspect_err(|_| take_all_back(store, record))
}

fn try_prepare(store: &Store, record: &Record) -> Result<Prepared> {
    let spec = &record.spec;
    let mut prepared = Prepared::default();
    prepared.nics.extend(user_nic(spec));
    let connections = network::connect(store, record)?.into_iter();
    prepared.nics.extend(connections.map(|connection| Nic {
        mac: connection.mac,
        ip: connection.ip,
        backend: NicBackend::Tap { queue: connection.queue, vhost: connection.vhost },
    }));
    prepared.directories = shares::open(store, spec)?;
    Ok(prepared)
}

fn take_all_back(store: &Store, record: &Record) {
    for error in detach(store, record) {
        log::warn!("{error}");
    }
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
