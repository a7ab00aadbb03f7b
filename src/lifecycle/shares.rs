//! A machine's volumes, as its VMM is given them.

use std::os::fd::OwnedFd;

use crate::error::{Error, Result};
use crate::machine::{Mount, Sandbox, ShareDriver, Spec};
use crate::platform::{Share, ShareBackend};
use crate::store::Store;
use crate::volume::virtiofsd::{self, Virtiofsd};
use crate::volume::{self, Missing, Volumes};

/// Opens a directory that is to be mounted.
///
/// # Errors
/// When it is not there, or no directory; of a named volume, when the way leads out of it.
pub fn open_source(volumes: &Volumes, mount: &Mount, missing: Missing) -> Result<OwnedFd> {
    match &mount.volume {
        Some(name) => {
            volumes.read(name)?;
            volume::open_below(&volumes.data(name), &mount.source, &format!("volume {}", mount.what()), missing)
        }
        None => volume::open_dir(&mount.source, missing),
    }
}

/// Checks that there are the programs that the machine's volumes need. Looks at no volume.
///
/// # Errors
/// Names the program that is missing, or cannot do what is asked.
pub fn check(spec: &Spec) -> Result<()> {
    let by_program = |mount: &&Mount| mount.driver == ShareDriver::Virtiofs;
    spec.volumes.iter().filter(by_program).try_for_each(|mount| virtiofsd::check(mount).map(drop))
}

/// Checks that a machine of the system's can have its volumes within its sandbox.
///
/// # Errors
/// Names the volume that virtiofsd would serve: it takes a directory by its path, and a strict machine sees none of the
/// host's but what it is handed.
pub fn check_confined(spec: &Spec) -> Result<()> {
    let served = spec.volumes.iter().find(|mount| mount.driver == ShareDriver::Virtiofs);
    match served {
        Some(mount) if spec.sandbox == Sandbox::Strict => {
            let hint = "`--sandbox compatible` lets virtiofsd see the host's files, or leave out the option virtiofs";
            Err(Error::new(format!("cannot share {} by virtiofs in a strict sandbox", mount.what())).with_hint(hint))
        }
        _ => Ok(()),
    }
}

/// All of a machine's directories.
pub(super) fn open(store: &Store, spec: &Spec) -> Result<Vec<OwnedFd>> {
    let volumes = Volumes::new(store.paths());
    spec.volumes.iter().map(|mount| open_source(&volumes, mount, Missing::Refuse)).collect()
}

/// The machine's directories as its VMM is given them, and the programs that serve those that the VMM does not.
pub(super) fn serve(store: &Store, spec: &Spec, directories: Vec<OwnedFd>) -> Result<(Vec<Share>, Vec<Virtiofsd>)> {
    let (mut shares, mut servers) = (Vec::new(), Vec::new());
    for (index, (mount, root)) in spec.volumes.iter().zip(directories).enumerate() {
        let backend = match mount.driver {
            ShareDriver::NineP => ShareBackend::NineP { root },
            ShareDriver::Virtiofs => {
                let (server, socket) = virtiofsd::start(store, spec, mount, root)?;
                servers.push(server);
                ShareBackend::Virtiofs { socket }
            }
        };
        let tag = format!("fs{}", index + 1);
        shares.push(Share { tag, target: mount.target.clone(), read_only: mount.read_only, backend });
    }
    Ok((shares, servers))
}
