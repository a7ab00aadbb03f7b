//! What the machines of a project share: its networks and its volumes. They are made before machines, and go after them.

use std::collections::BTreeMap;

use super::labels::{self, NETWORK, PROJECT, VOLUME};
use crate::cli::app::App;
use crate::cli::output;
use crate::compose::{Project, ShareSource};
use crate::error::{Error, Kind, Result};
use crate::machine::{NetworkName, ShareDriver, VolumeName};
use crate::network::{self, Keep, Networks};
use crate::volume::Volumes;

/// What was made, to be taken back unless all goes well.
#[derive(Debug, Default)]
pub(super) struct Made {
    networks: Vec<NetworkName>,
    volumes: Vec<VolumeName>,
}

impl Made {
    /// Takes it back.
    pub(super) fn undo(self, app: &App) {
        let networks = Networks::new(app.store.paths());
        for name in &self.networks {
            tell(network::remove(&networks, &app.store, name, Keep::ForAny));
        }
        for name in &self.volumes {
            tell(Volumes::new(app.store.paths()).remove(name, &app.store));
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

/// Makes the networks and the volumes that are missing.
///
/// # Errors
/// When one cannot be made, or an external one is not there. What was made is taken back then.
pub(super) fn make(app: &App, project: &Project) -> Result<Made> {
    let mut made = Made::default();
    match try_make(app, project, &mut made) {
        Ok(()) => Ok(made),
        Err(error) => {
            made.undo(app);
            Err(error)
        }
    }
}

fn try_make(app: &App, project: &Project, made: &mut Made) -> Result<()> {
    let networks = Networks::new(app.store.paths());
    for key in project.networks() {
        let given = project.file.networks.get(&key).cloned().unwrap_or_default();
        let name: NetworkName =
            project.network(&key).parse().map_err(|error: Error| error.context(format!("networks.{key}")))?;
        if given.external || networks.has(&name) {
            // Says so if it is not there.
            let there = networks.read(&name)?;
            check_same(&there, &given, project, &key)?;
            continue;
        }
        let labels = own_labels(project, NETWORK, &key, &given.labels);
        let wanted = network::Wanted { name, ipv4: given.ipv4, ipv6: given.ipv6, internal: given.internal, labels };
        made.networks.push(network::create(&networks, wanted)?.name);
    }
    let volumes = Volumes::new(app.store.paths());
    let mut keys: Vec<&String> = Vec::new();
    for share in project.file.services.iter().flat_map(|service| &service.volumes) {
        match &share.source {
            ShareSource::Volume(key, _) if !keys.contains(&key) => keys.push(key),
            ShareSource::Volume(..) | ShareSource::Path(..) => {}
        }
    }
    for key in keys {
        let given = project.file.volumes.get(key).cloned().unwrap_or_default();
        let name: VolumeName =
            project.volume(key).parse().map_err(|error: Error| error.context(format!("volumes.{key}")))?;
        let missing = match volumes.read(&name) {
            Err(error) if error.kind() == Kind::NotFound => Some(error),
            there => there.map(|_| None)?,
        };
        match missing {
            None => {}
            Some(error) if given.external => {
                return Err(error.context(format!("volumes.{key} is external")));
            }
            Some(_) => {
                let labels = own_labels(project, VOLUME, key, &given.labels);
                let driver = given.driver.unwrap_or(ShareDriver::NineP);
                made.volumes.push(volumes.create_for(&name, driver, labels)?.name);
            }
        }
    }
    Ok(())
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

/// Removes the networks of a project; one that others are on stays, and is an error.
pub(super) fn remove_networks(app: &App, project: &str) -> Vec<Error> {
    let networks = Networks::new(app.store.paths());
    let all = match networks.all() {
        Ok(all) => all,
        Err(error) => return vec![error],
    };
    let ours = all.into_iter().filter(|network| network.labels.get(PROJECT).is_some_and(|of| of == project));
    ours.filter_map(|network| {
        let removed = network::remove(&networks, &app.store, &network.name, Keep::ForAny);
        removed.and_then(|()| output::line(format!("removed network {}", network.name))).err()
    })
    .collect()
}

/// Removes the volumes of a project, with all their files.
pub(super) fn remove_volumes(app: &App, project: &str) -> Vec<Error> {
    let volumes = Volumes::new(app.store.paths());
    let names = match volumes.names() {
        Ok(names) => names,
        Err(error) => return vec![error],
    };
    let is_ours = |name: &VolumeName| {
        volumes.read(name).is_ok_and(|volume| volume.labels.get(labels::PROJECT).is_some_and(|of| of == project))
    };
    let ours = names.into_iter().filter(is_ours);
    ours.filter_map(|name| {
        let removed = volumes.remove(&name, &app.store);
        removed.and_then(|()| output::line(format!("removed volume {name}"))).err()
    })
    .collect()
}
