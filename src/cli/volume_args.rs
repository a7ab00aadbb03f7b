//! The arguments that give a machine volumes, and the volumes that they amount to.

use clap::Args;

use super::app::App;
use crate::error::{Error, Kind, Result};
use crate::lifecycle::shares;
use crate::machine::{Mount, MountRequest, MountSource, ShareDriver, Spec, VolumeName};
use crate::paths;
use crate::store::Hold;
use crate::volume::{Missing, Volumes};

/// What a machine sees of the host's directories.
#[derive(Debug, Clone, Args)]
pub(crate) struct VolumeArgs {
    /// Show a directory of the host's (a path that begins with / or .) or a named volume, or a directory in one, to the
    /// guest; may be repeated
    #[arg(short, long, value_name = "SRC:DST[:ro,rw,9p,virtiofs]", value_hint = clap::ValueHint::DirPath)]
    volume: Vec<String>,

    /// Make the directories of the host's that --volume names where they are missing
    #[arg(long, requires = "volume")]
    mkdir: bool,
}

/// The volumes of a machine that is being made: nobody removes them, and those that were made for it go again unless
/// it is.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    app: &'a App,
    holds: Vec<Hold>,
    made: Vec<VolumeName>,
}

impl VolumeArgs {
    /// Reads them. Looks at no file but what is known of named volumes.
    pub(crate) fn mounts(&self, app: &App) -> Result<Vec<Mount>> {
        let volumes = Volumes::new(app.store.paths());
        self.volume.iter().map(|text| mount(&volumes, text.parse()?)).collect()
    }

    /// Makes what is missing and may be made, and looks whether all of it can be shared.
    pub(crate) fn hold<'a>(&self, app: &'a App, spec: &Spec) -> Result<Held<'a>> {
        shares::check(spec)?;
        let volumes = Volumes::new(app.store.paths());
        let missing = if self.mkdir { Missing::Make } else { Missing::Refuse };
        let mut held = Held { app, holds: Vec::new(), made: Vec::new() };
        for mount in &spec.volumes {
            if let Some(name) = &mount.volume {
                held.hold(&volumes, name, mount)?;
            }
            shares::open_source(&volumes, mount, missing)?;
        }
        Ok(held)
    }
}

impl Held<'_> {
    fn hold(&mut self, volumes: &Volumes, name: &VolumeName, mount: &Mount) -> Result<()> {
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
    pub(crate) fn keep(mut self) {
        self.made.clear();
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.holds.clear();
        for name in &self.made {
            match Volumes::new(self.app.store.paths()).remove(name, &self.app.store) {
                // Another machine took a liking to it.
                Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => {}
                Err(error) => log::warn!("{error}"),
                Ok(()) => {}
            }
        }
    }
}

fn mount(volumes: &Volumes, request: MountRequest) -> Result<Mount> {
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
    Ok(Mount { volume, source, target, read_only, driver: driver.unwrap_or(usual) })
}
