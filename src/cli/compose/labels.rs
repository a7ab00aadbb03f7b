//! How what is a project's is known: by the labels that docker's compose gives, with the same meaning.

use std::collections::BTreeMap;

use crate::cli::app::App;
use crate::compose::{Condition, Dependency, Project, Service, levels};
use crate::error::{Error, Kind, Result};
use crate::machine::{MachineName, Record};

/// The project's name.
pub(super) const PROJECT: &str = "com.docker.compose.project";
/// The service's name.
pub(super) const SERVICE: &str = "com.docker.compose.service";
/// Which of the service's machines it is.
const NUMBER: &str = "com.docker.compose.container-number";
/// What it waits for: `SERVICE:CONDITION:RESTART,...`.
const DEPENDS_ON: &str = "com.docker.compose.depends_on";
/// The project's directory.
pub(super) const DIRECTORY: &str = "com.docker.compose.project.working_dir";
/// The project's files, with commas.
pub(super) const FILES: &str = "com.docker.compose.project.config_files";
/// The key of a network in the file.
pub(super) const NETWORK: &str = "com.docker.compose.network";
/// The key of a volume in the file.
pub(super) const VOLUME: &str = "com.docker.compose.volume";

/// Those of a service's machine.
pub(super) fn of_machine(project: &Project, service: &Service, number: usize) -> BTreeMap<String, String> {
    let files: Vec<String> = project.files.iter().map(|file| file.display().to_string()).collect();
    let mut labels = service.labels.clone();
    let own = [
        (PROJECT, project.name.clone()),
        (SERVICE, service.name.clone()),
        (NUMBER, number.to_string()),
        (DEPENDS_ON, dependencies(&service.depends_on)),
        (DIRECTORY, project.dir.display().to_string()),
        (FILES, files.join(",")),
    ];
    labels.extend(own.into_iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| (key.to_owned(), value)));
    labels
}

fn dependencies(all: &[Dependency]) -> String {
    let one = |on: &Dependency| format!("{}:{}:{}", on.service, on.condition, on.restart);
    all.iter().map(one).collect::<Vec<_>>().join(",")
}

/// What a label says that a service waits for. Whether it can do without is not told there.
fn waits_for(label: &str) -> Vec<(String, Condition)> {
    let one = |text: &str| {
        let (service, rest) = text.split_once(':')?;
        Some((service.to_owned(), rest.split(':').next()?.parse().ok()?))
    };
    label.split(',').filter_map(one).collect()
}

/// A machine of a project.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) service: String,
    pub(super) name: MachineName,
    pub(super) record: Record,
    /// What it waits for.
    pub(super) waits: Vec<(String, Condition)>,
}

impl Member {
    fn of(record: Record) -> Option<Self> {
        let label = |key| record.spec.labels.get(key).map(String::as_str);
        let service = label(SERVICE)?.to_owned();
        let waits = label(DEPENDS_ON).map(waits_for).unwrap_or_default();
        Some(Self { service, name: record.spec.name.clone(), record, waits })
    }
}

/// The machines of a project, by name.
pub(super) fn members(app: &App, project: &str) -> Result<Vec<Member>> {
    let of_project = |record: &Record| record.spec.labels.get(PROJECT).is_some_and(|of| of == project);
    let records = app.store.names()?.into_iter().filter_map(|name| app.store.read(&name).ok());
    Ok(records.filter(of_project).filter_map(Member::of).collect())
}

/// Machines that may be a project's by their names, and whose records cannot be read, each as an error.
pub(super) fn unreadable(app: &App, project: &str) -> Result<Vec<Error>> {
    let prefix = format!("{project}-");
    let named = app.store.names()?.into_iter().filter(|name| name.as_str().starts_with(&prefix));
    let broken = named.filter_map(|name| app.store.read(&name).err().map(|error| (name, error)));
    let tell = |(name, error): (MachineName, Error)| {
        error.with_hint(format!("`kraft rm {name}` removes it, if it is project {project}'s"))
    };
    Ok(broken.filter(|(_, error)| error.kind() != Kind::NoSuchMachine).map(tell).collect())
}

/// The projects that there are machines of.
pub(super) fn projects(app: &App) -> Result<Vec<String>> {
    let records = app.store.names()?.into_iter().filter_map(|name| app.store.read(&name).ok());
    let mut projects: Vec<String> = records.filter_map(|record| record.spec.labels.get(PROJECT).cloned()).collect();
    projects.sort();
    projects.dedup();
    Ok(projects)
}

/// Those of the machines that wait for one of these services, or for a machine that does.
pub(super) fn dependents(all: &[Member], services: &[String]) -> Vec<Member> {
    let mut held = services.to_vec();
    let mut found: Vec<Member> = Vec::new();
    loop {
        let is_new = |member: &&Member| !found.iter().any(|known| known.name == member.name);
        let waits = |member: &&Member| member.waits.iter().any(|(service, _)| held.contains(service));
        let more: Vec<Member> = all.iter().filter(is_new).filter(waits).cloned().collect();
        if more.is_empty() {
            return found;
        }
        held.extend(more.iter().map(|member| member.service.clone()));
        found.extend(more);
    }
}

/// Machines in the order in which they are started: each group waits for those before it.
pub(super) fn in_levels(members: Vec<Member>) -> Vec<Vec<Member>> {
    let mut services: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for member in &members {
        let waits = services.entry(member.service.clone()).or_default();
        waits.extend(member.waits.iter().map(|(service, _)| service.clone()));
    }
    let order = levels(&services);
    let mut groups: Vec<Vec<Member>> = order.iter().map(|_| Vec::new()).collect();
    let mut rest = Vec::new();
    for member in members {
        match order.iter().position(|level| level.contains(&member.service)) {
            Some(level) => groups[level].push(member),
            // A circle, which no file of ours has.
            None => rest.push(member),
        }
    }
    groups.push(rest);
    groups.retain(|group| !group.is_empty());
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for_comes_back() {
        let on = |service: &str, condition| Dependency {
            place: crate::compose::Place { path: std::path::Path::new("c").into(), line: 1 },
            service: service.into(),
            condition,
            required: true,
            restart: false,
        };
        let text = dependencies(&[on("db", Condition::Healthy), on("a", Condition::Completed)]);
        assert_eq!(text, "db:service_healthy:false,a:service_completed_successfully:false");
        let expected = [("db".to_owned(), Condition::Healthy), ("a".to_owned(), Condition::Completed)];
        assert_eq!(waits_for(&text), expected);
        assert!(waits_for("").is_empty() && waits_for("x,y:z").is_empty());
    }
}
