//! A project: the services of a file that are wanted, under a name. Pure.

use std::path::{Path, PathBuf};

use super::model::{File, Service, Share, ShareSource};
use super::order;
use crate::error::{Error, Result};
use crate::machine::MachineName;

/// The network that services are on which name none.
pub const DEFAULT_NETWORK: &str = "default";

/// A project's name: `[a-z0-9][a-z0-9_-]*`.
///
/// # Errors
/// When it is none.
pub fn check_name(name: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bad = |why: &str| Error::new(format!("bad project name '{}': {why}", name.escape_debug()));
    if name.is_empty() {
        return Err(bad("it is empty"));
    }
    if !name.starts_with(allowed) {
        return Err(bad("it has to begin with a-z or 0-9"));
    }
    if name.len() > 63 {
        return Err(bad("it has more than 63 characters"));
    }
    match name.chars().find(|&c| !allowed(c) && c != '_' && c != '-') {
        Some(c) => Err(bad(&format!("'{}' is not one of a-z 0-9 _ -", c.escape_debug()))),
        None => Ok(()),
    }
}

/// The name that a directory gives, if it gives one.
pub fn name_of(dir: &Path) -> Option<String> {
    let name = dir.file_name()?.to_string_lossy().to_lowercase();
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || "_-".contains(*c)).collect();
    let name = name.trim_start_matches(['_', '-']).to_owned();
    check_name(&name).is_ok().then_some(name)
}

/// The services of a file that are wanted, under a name.
#[derive(Debug, Clone)]
pub struct Project {
    /// Its name.
    pub name: String,
    /// What relative paths are relative to.
    pub dir: PathBuf,
    /// The files that it is of.
    pub files: Vec<PathBuf>,
    /// What they say, but for services that no profile has.
    pub file: File,
    /// The services that only other profiles have.
    pub others: Vec<String>,
}

impl Project {
    /// Leaves out the services that none of these profiles has, but for those that are `wanted` by name.
    ///
    /// # Errors
    /// When there is no such service, or a service waits for one that is left out.
    pub fn select(&mut self, profiles: &[String], wanted: &[String]) -> Result<(), Vec<Error>> {
        // Whoever names a service means its profiles, too.
        let named = self.file.services.iter().filter(|service| wanted.contains(&service.name));
        let profiles: Vec<String> =
            profiles.iter().chain(named.flat_map(|service| &service.profiles)).cloned().collect();
        let has = |service: &Service| {
            service.profiles.is_empty()
                || profiles.iter().any(|profile| profile == "*" || service.profiles.contains(profile))
        };
        let mut flaws = Vec::new();
        for name in wanted {
            if !self.file.services.iter().any(|service| service.name == *name) {
                flaws.push(self.no_such(name));
            }
        }
        let (in_use, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.file.services).into_iter().partition(has);
        for service in &in_use {
            for on in &service.depends_on {
                if let Some(other) = others.iter().find(|other| other.name == on.service)
                    && on.required
                {
                    let why = format!(
                        "services.{}.depends_on: {} has the profiles {}, and none of them is in use",
                        service.name,
                        other.name,
                        other.profiles.join(", ")
                    );
                    let hint = format!("`--profile {}` has it run", other.profiles.first().map_or("", String::as_str));
                    flaws.push(on.place.error(Error::new(why).with_hint(hint)));
                }
            }
        }
        self.others = others.into_iter().map(|service| service.name).collect();
        self.file.services = in_use;
        if flaws.is_empty() { Ok(()) } else { Err(flaws) }
    }

    /// The error about a service that is not there.
    pub fn no_such(&self, name: &str) -> Error {
        let known: Vec<&str> = self.file.services.iter().map(|service| service.name.as_str()).collect();
        Error::new(format!(
            "project {} has no service '{}': known are {}",
            self.name,
            name.escape_debug(),
            known.join(", ")
        ))
    }

    /// These services and those that they wait for; all of them if none is named.
    ///
    /// # Errors
    /// When there is no such service.
    pub fn with_dependencies(&self, named: &[String]) -> Result<Vec<&Service>> {
        let mut wanted: Vec<&str> = Vec::new();
        let mut left: Vec<&str> = named.iter().map(String::as_str).collect();
        if named.is_empty() {
            left = self.file.services.iter().map(|service| service.name.as_str()).collect();
        }
        while let Some(name) = left.pop() {
            if wanted.contains(&name) {
                continue;
            }
            let found = self.file.services.iter().find(|service| service.name == name);
            match found {
                Some(service) => left.extend(service.depends_on.iter().map(|on| on.service.as_str())),
                // One that it waits for may be left out.
                None if named.iter().any(|known| known == name) => return Err(self.no_such(name)),
                None => continue,
            }
            wanted.push(name);
        }
        Ok(self.file.services.iter().filter(|service| wanted.contains(&service.name.as_str())).collect())
    }

    /// The services in the order in which they are started, by levels.
    pub fn levels(&self) -> Vec<Vec<String>> {
        order::levels(&order::names(&self.file.services))
    }

    /// The names of a service's machines.
    ///
    /// # Errors
    /// When the service's name makes none.
    pub fn machines(&self, service: &Service) -> Result<Vec<MachineName>> {
        (1..=service.scale).map(|number| self.machine(service, number)).collect()
    }

    fn machine(&self, service: &Service, number: u32) -> Result<MachineName> {
        if let Some(name) = &service.container_name {
            return Ok(name.clone());
        }
        // Machines have small letters only.
        let named = format!("{}-{}-{number}", self.name, service.name.to_ascii_lowercase()).parse();
        named.map_err(|error: Error| {
            let hint = "`container_name` gives its machine another name";
            service.place.error(error.context(format!("services.{}", service.name)).with_hint(hint))
        })
    }

    /// A network's name on the host.
    pub fn network(&self, key: &str) -> String {
        let given = self.file.networks.get(key);
        match given {
            Some(network) if network.external => network.name.clone().unwrap_or_else(|| key.to_owned()),
            Some(network) if network.name.is_some() => network.name.clone().unwrap_or_default(),
            _ => format!("{}_{key}", self.name),
        }
    }

    /// A volume's name on the host.
    pub fn volume(&self, key: &str) -> String {
        match self.file.volumes.get(key) {
            Some(volume) if volume.external => volume.name.clone().unwrap_or_else(|| key.to_owned()),
            Some(volume) if volume.name.is_some() => volume.name.clone().unwrap_or_default(),
            _ => format!("{}_{key}", self.name),
        }
    }

    /// The volumes that services see, in the order of their names.
    pub fn volumes(&self) -> Vec<String> {
        let shares = self.file.services.iter().flat_map(|service| &service.volumes);
        let key = |share: &Share| match &share.source {
            ShareSource::Volume(key, _) => Some(key.clone()),
            ShareSource::Path(..) => None,
        };
        let mut keys: Vec<String> = shares.filter_map(key).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    /// The networks that services are on, in the order of their names.
    pub fn networks(&self) -> Vec<String> {
        let mut keys: Vec<String> = Vec::new();
        for service in &self.file.services {
            match &service.networks {
                Some(links) => keys.extend(links.iter().map(|link| link.network.clone())),
                None => keys.push(DEFAULT_NETWORK.to_owned()),
            }
        }
        keys.sort();
        keys.dedup();
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_projects() {
        for (dir, name) in [("/srv/My App", Some("myapp")), ("/srv/_x-1", Some("x-1")), ("/", None), ("/srv/äö", None)]
        {
            assert_eq!(name_of(Path::new(dir)).as_deref(), name, "{dir}");
        }
        for bad in ["", "A", "-a", "a.b", "a b"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert!(check_name("a-b_1").is_ok());
    }
}
