//! What is made for a machine before it is there: nobody takes it away meanwhile, and it goes again unless the machine
//! comes to be.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, OwnedFd};

use super::app::App;
use super::images::HeldImages;
use crate::error::{Error, Kind, Result};
use crate::lifecycle::shares;
use crate::machine::{Mount, MountRequest, MountSource, ShareDriver, Spec, VolumeName};
use crate::paths;
use crate::store::{Hold, RootfsCache};
use crate::volume::{self, Missing};

/// What was made for a machine and is its own once it is created; until then nobody takes it away.
#[derive(Debug)]
pub(crate) struct HeldParts<'a> {
    volumes: Volumes<'a>,
    files: Vec<RootfsCache>,
    images: Vec<HeldImages>,
}

impl<'a> HeldParts<'a> {
    pub(super) fn new(volumes: Volumes<'a>, files: Vec<RootfsCache>) -> Self {
        Self { volumes, files, images: Vec::new() }
    }

    /// What it was made of stays until it is there.
    pub(super) fn hold_images(&mut self, images: Option<HeldImages>) {
        self.images.extend(images);
    }

    /// The machine has its own files: others' may be swept again.
    pub(crate) fn files_taken(&mut self) {
        self.files.clear();
        self.images.clear();
    }

    /// The machine is there: from now on its record keeps what it has.
    pub(crate) fn keep(self) {
        self.volumes.keep();
        drop((self.files, self.images));
    }
}

/// The volumes of a machine that is being made: nobody removes them, and those that were made for it go again unless
/// it is.
#[derive(Debug)]
pub(super) struct Volumes<'a> {
    app: &'a App,
    holds: Vec<Hold>,
    made: Vec<VolumeName>,
    /// What is shared, each open.
    opened: Vec<(String, OwnedFd)>,
}

impl<'a> Volumes<'a> {
    /// Makes what is missing and may be made, and looks whether all of it can be shared.
    pub(super) fn hold(app: &'a App, spec: &Spec, missing: Missing) -> Result<Self> {
        shares::check(spec)?;
        let volumes = volume::Volumes::new(app.store.paths());
        let mut held = Self { app, holds: Vec::new(), made: Vec::new(), opened: Vec::new() };
        for mount in spec.volumes.iter().filter(|mount| !mount.own) {
            if let Some(name) = &mount.volume {
                held.hold_one(&volumes, name, mount)?;
            }
            held.opened.push((mount.what(), shares::open_source(&volumes, mount, missing)?));
        }
        Ok(held)
    }

    /// One that belongs to whom it does, whatever machine is given it.
    pub(super) fn of_fixed_owners(&self) -> Option<&str> {
        // Those of a mount are alike, and to try one makes a process.
        let mut mapping = BTreeSet::new();
        let fixed = self.opened.iter().find(|(_, directory)| {
            let mount = volume::mount_of(directory.as_fd());
            if mount.is_some_and(|mount| mapping.contains(&mount)) {
                return false;
            }
            let maps = volume::maps_owners(directory.as_fd());
            mapping.extend(mount.filter(|_| maps));
            !maps
        });
        fixed.map(|(what, _)| what.as_str())
    }

    fn hold_one(&mut self, volumes: &volume::Volumes, name: &VolumeName, mount: &Mount) -> Result<()> {
        loop {
            match volumes.hold(name) {
                Err(error) if error.kind() == Kind::NotFound && mount.source.as_os_str().is_empty() => {}
                hold => {
                    self.holds.push(hold?);
                    return Ok(());
                }
            }
            match volumes.create(name, mount.driver) {
                // Another made it at this moment.
                Err(error) if error.kind() == Kind::Conflict => {}
                result => self.made.push(result?.name),
            }
        }
    }

    /// The machine is there: from now on its record keeps its volumes.
    fn keep(mut self) {
        self.made.clear();
    }
}

impl Drop for Volumes<'_> {
    fn drop(&mut self) {
        self.holds.clear();
        for name in &self.made {
            match volume::Volumes::new(self.app.store.paths()).remove(name, &self.app.store) {
                // Another machine took a liking to it.
                Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => {}
                Err(error) => log::warn!("{error}"),
                Ok(()) => {}
            }
        }
    }
}

/// Where volumes are. Looks at no file but what is known of named ones.
pub(super) fn mounts(app: &App, requests: Vec<MountRequest>) -> Result<Vec<Mount>> {
    let volumes = volume::Volumes::new(app.store.paths());
    requests.into_iter().map(|request| mount(&volumes, request)).collect()
}

fn mount(volumes: &volume::Volumes, request: MountRequest) -> Result<Mount> {
    let MountRequest { source, target, read_only, driver } = request;
    let (volume, source, usual) = match source {
        MountSource::Path(path) => (None, paths::absolute(&path)?, ShareDriver::NineP),
        MountSource::Volume(name, below) => match volumes.read(&name) {
            Ok(volume) => (Some(name), below, volume.driver),
            // A missing volume is made, but not if it looks like somebody's directory.
            Err(error) if error.kind() == Kind::NotFound && below.as_os_str().is_empty() => {
                (Some(name), below, driver.unwrap_or(ShareDriver::NineP))
            }
            Err(error) if error.kind() == Kind::NotFound => {
                let hint = format!("the path is './{name}/{}'", below.display());
                return Err(Error::of(Kind::NotFound, format!("no such volume: {name}")).with_hint(hint));
            }
            Err(error) => return Err(error),
        },
    };
    Ok(Mount { volume, source, target, read_only, driver: driver.unwrap_or(usual), own: false })
}
