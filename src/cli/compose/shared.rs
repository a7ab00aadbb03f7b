//! What the machines of a project share: its networks and its volumes. They are made before machines, and go after them.

use std::collections::BTreeMap;

use super::labels::{NETWORK, PROJECT, VOLUME};
use crate::cli::app::App;
use crate::cli::net::rm;
use crate::cli::output;
use crate::compose::Project;
use crate::error::{Error, Kind, Result};
use crate::machine::{NetworkName, ShareDriver, VolumeName};
use crate::network::{self, Keep, Networks};
use crate::volume::Volumes;

/// What a project lacks.
#[derive(Debug, Default)]
pub(super) struct Missing {
    networks: Vec<network::Wanted>,
    volumes: Vec<MissingVolume>,
}

#[derive(Debug)]
struct MissingVolume {
    name: VolumeName,
    driver: ShareDriver,
    labels: BTreeMap<String, String>,
}

impl Missing {
    /// Whether a network is among it.
    pub(super) fn has_network(&self, name: &str) -> bool {
        self.networks.iter().any(|network| network.name.as_str() == name)
    }

    /// Whether a volume is.
    pub(super) fn has_volume(&self, name: &VolumeName) -> bool {
        self.volumes.iter().any(|volume| volume.name == *name)
    }

    /// Makes all of it.
    ///
    /// # Errors
    /// When something cannot be made. What was made is taken back then.
    pub(super) fn make(self, app: &App) -> Result<Made> {
        let mut made = Made::default();
        match self.try_make(app, &mut made) {
            Ok(()) => Ok(made),
            Err(error) => {
                made.undo(app);
                Err(error)
            }
        }
    }

    fn try_make(self, app: &App, made: &mut Made) -> Result<()> {
        let networks = Networks::new(app.store.paths());
        for wanted in self.networks {
            made.networks.push(network::create(&networks, wanted)?.name);
        }
        let volumes = Volumes::new(app.store.paths());
        for MissingVolume { name, driver, labels } in self.volumes {
            made.volumes.push(volumes.create_for(&name, driver, labels)?.name);
        }
        Ok(())
    }

    /// What it would be if it were made.
    pub(super) fn would_be(self) -> Made {
        Made {
            networks: self.networks.into_iter().map(|network| network.name).collect(),
            volumes: self.volumes.into_iter().map(|volume| volume.name).collect(),
        }
    }
}

/// What was made, to be taken back unless all goes well.
#[derive(Debug, Default)]
pub(super) struct Made {
    networks: Vec<NetworkName>,
    volumes: Vec<VolumeName>,
}

impl Made {
    /// Takes it back.
    pub(super) fn undo(self, app: &App) {
        for name in &self.networks {
            tell(remove_network(app, name));
        }
        for name in &self.volumes {
            tell(remove_volume(app, name));
        }
    }

    /// It stays; says what it is.
    pub(super) fn keep(self) -> Result<()> {
        for name in self.networks {
            output::line(format!("created network {name}"))?;
        }
        for name in self.volumes {
            output::line(format!("created volume {name}"))?;
        }
        Ok(())
    }
}

fn tell(result: Result<()>) {
    if let Err(error) = result {
        log::warn!("{error}");
    }
}

fn own_labels(project: &Project, key: &str, name: &str, more: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut labels = more.clone();
    labels.insert(PROJECT.to_owned(), project.name.clone());
    labels.insert(key.to_owned(), name.to_owned());
    labels
}

/// Looks which networks and volumes are missing. Changes nothing.
///
/// # Errors
/// When an external one is not there, or something else is in the way.
pub(super) fn look(app: &App, project: &Project) -> Result<Missing> {
    let networks = Networks::new(app.store.paths());
    let mut missing = Missing::default();
    for key in project.networks() {
        let given = project.file.networks.get(&key).cloned().unwrap_or_default();
        let at = |error: Error| error.context(format!("networks.{key}"));
        let name: NetworkName = project.network(&key).parse().map_err(at)?;
        if given.external || networks.has(&name) {
            // Says so if it is not there.
            let there = networks.read(&name).map_err(at)?;
            check_same(&there, &given, project, &key)?;
            continue;
        }
        let labels = own_labels(project, NETWORK, &key, &given.labels);
        let wanted = network::Wanted { name, ipv4: given.ipv4, ipv6: given.ipv6, internal: given.internal, labels };
        missing.networks.push(wanted);
    }
    let volumes = Volumes::new(app.store.paths());
    for key in project.volumes() {
        let given = project.file.volumes.get(&key).cloned().unwrap_or_default();
        let at = |error: Error| error.context(format!("volumes.{key}"));
        let name: VolumeName = project.volume(&key).parse().map_err(at)?;
        match volumes.read(&name) {
            Ok(there) if !given.external && there.labels.get(PROJECT) != Some(&project.name) => {
                let why = format!("there is a volume {name} already, which is not project {}'s", project.name);
                return Err(
                    at(Error::of(Kind::Conflict, why)).with_hint("`external: true` uses one that is somebody else's")
                );
            }
            Ok(_) => {}
            Err(error) if error.kind() != Kind::NotFound => return Err(at(error)),
            Err(error) if given.external => {
                return Err(error.context(format!("volumes.{key} is external")));
            }
            Err(_) => {
                let labels = own_labels(project, VOLUME, &key, &given.labels);
                let driver = given.driver.unwrap_or(ShareDriver::NineP);
                missing.volumes.push(MissingVolume { name, driver, labels });
            }
        }
    }
    Ok(missing)
}

/// A network that is there is what the file says it is.
fn check_same(there: &network::Network, given: &crate::compose::Network, project: &Project, key: &str) -> Result<()> {
    if given.external {
        return Ok(());
    }
    let name = &there.name;
    let conflict = |why: String| {
        let hint = format!("`kraft compose down` removes it with its machines, `kraft net rm {name}` alone");
        Err(Error::of(Kind::Conflict, why).context(format!("networks.{key}")).with_hint(hint))
    };
    if there.labels.get(PROJECT) != Some(&project.name) {
        let why = format!("networks.{key}: there is a network {name} already, which is not project {}'s", project.name);
        return Err(Error::of(Kind::Conflict, why).with_hint("`external: true` uses one that is somebody else's"));
    }
    let differs = given.ipv4.is_some_and(|net| there.ipv4 != Some(net)) || given.ipv6 != there.ipv6;
    if differs || given.internal != there.internal {
        return conflict(format!("network {name} is another one than the file says"));
    }
    Ok(())
}

/// The networks of a project.
///
/// # Errors
/// When they cannot be listed.
pub(super) fn networks_of(app: &App, project: &str) -> Result<Vec<NetworkName>> {
    let is_ours = |network: &network::Network| network.labels.get(PROJECT).is_some_and(|of| of == project);
    let all = Networks::new(app.store.paths()).all()?;
    Ok(all.into_iter().filter(is_ours).map(|network| network.name).collect())
}

/// The volumes of a project.
///
/// # Errors
/// When they cannot be listed.
pub(super) fn volumes_of(app: &App, project: &str) -> Result<Vec<VolumeName>> {
    let volumes = Volumes::new(app.store.paths());
    let is_ours = |name: &VolumeName| {
        volumes.read(name).is_ok_and(|volume| volume.labels.get(PROJECT).is_some_and(|of| of == project))
    };
    Ok(volumes.names()?.into_iter().filter(is_ours).collect())
}

/// Removes a network; one that others are on stays, and is an error.
pub(super) fn remove_network(app: &App, name: &NetworkName) -> Result<()> {
    rm::remove(app, &Networks::new(app.store.paths()), name, Keep::ForAny)
}

/// Removes a volume, with all its files.
pub(super) fn remove_volume(app: &App, name: &VolumeName) -> Result<()> {
    Volumes::new(app.store.paths()).remove(name, &app.store)
}
