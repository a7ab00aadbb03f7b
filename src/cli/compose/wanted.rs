//! A service of a project as what is wanted of a machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::condition::Awaited;
use super::labels;
use super::pulling::Pulling;
use crate::cli::program;
use crate::cli::wanted::Wanted;
use crate::compose::{self, Condition, DEFAULT_NETWORK, Loaded, Project, Service, ShareSource, Variables};
use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::{
    Limit, MachineName, Manager, MountRequest, MountSource, NetworkRequest, Platform, Ready, SecretRequest,
};
use crate::paths::{self, Scope};
use crate::source::{self, As, Asked, Found};
use crate::systemd;
use crate::volume::Missing;

/// One machine of a service's.
#[derive(Debug, Clone)]
pub(super) struct Place<'a> {
    pub(super) service: &'a Service,
    pub(super) name: MachineName,
    /// Which of them, from 1 on.
    pub(super) number: usize,
}

/// Who is to keep the machines, and whose they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keeper {
    pub(super) manager: Manager,
    pub(super) scope: Scope,
}

/// What is wanted of the machine. What is said of its networks is of those that are in use.
///
/// # Errors
/// With the place of the service.
pub(super) fn wanted(loaded: &Loaded, at: &Place<'_>, keeper: Keeper, pulling: &Pulling<'_>) -> Result<Wanted> {
    let (project, service) = (&loaded.project, at.service);
    let own = service.own.clone();
    let usual = Wanted::new(PathBuf::new());
    let needed = needed_probe(project, service);
    let mut limits = service.limits.clone();
    if let Some(most) = own.memory_max {
        limits.set(Limit::MemoryMax(Some(most)));
    }
    let mut wanted = Wanted {
        name: Some(at.name.clone()),
        kernel_args: own.kernel_args,
        workdir: service.working_dir.clone(),
        pull: pulling.of(service),
        elfloader: own.elfloader.map(|loader| elfloader(loaded, loader)),
        app_args: service.command.iter().flatten().cloned().collect(),
        platform: own.platform.unwrap_or(usual.platform),
        arch: own.arch,
        memory: service.memory.unwrap_or(usual.memory),
        cpus: service.cpus.unwrap_or(usual.cpus),
        accel: own.accel.unwrap_or(usual.accel),
        machine_type: own.machine_type,
        dialect: own.dialect,
        env: environment(loaded, service)?,
        rootfs: own.rootfs.map(|path| inside(project, &path, &loaded.variables)),
        rootfs_compress: own.rootfs_compress,
        ports: service.ports.clone(),
        networks: networks(project, service),
        volumes: volumes(loaded, service)?,
        missing: Missing::Refuse,
        stop_timeout: service.stop_grace_period.unwrap_or(usual.stop_timeout),
        restart: service.restart,
        labels: labels::of_machine(project, service, at.number),
        properties: own.properties,
        sandbox: own.sandbox,
        machined: own.machined.unwrap_or(usual.machined),
        limits,
        secrets: secrets(loaded, service)?,
        ready: own.ready.or(needed).unwrap_or_default(),
        ready_timeout: own.ready_timeout,
        health: service.health.clone(),
        ..usual
    };
    for share in &service.volumes {
        match &share.source {
            ShareSource::Path(_, true) => wanted.missing = Missing::Make,
            ShareSource::Path(path, false) => {
                let path = inside(project, path, &loaded.variables);
                if !path.is_dir() {
                    let error = Error::of(Kind::NotFound, format!("no such directory: {}", path.display()));
                    return Err(share.place.error(error).with_hint("`create_host_path: true` makes it"));
                }
            }
            ShareSource::Volume(..) => {}
        }
    }
    match keeper.manager {
        Manager::Local => {}
        Manager::Systemd => {
            wanted.slice = Some(systemd::project_slice(&project.name));
            wanted.properties.extend(unit_dependencies(project, at, keeper.scope)?);
        }
    }
    let found = image(loaded, service, pulling)?;
    Ok(match found.what {
        // What it starts on is not known yet.
        As::Binary => wanted.over(found),
        As::Kernel | As::Project | As::Oci => {
            let placed = program::placed(wanted, &found.kernel);
            placed.map_err(|error| error.context("working_dir"))?.over(found)
        }
    })
}

/// The path that a service's image is, if it is none of a registry's: relative to the project's directory.
pub(super) fn image_path(loaded: &Loaded, service: &Service) -> Option<PathBuf> {
    let path = inside(&loaded.project, Path::new(&service.image), &loaded.variables);
    (path.exists() || service.image.starts_with(['/', '.', '~'])).then_some(path)
}

/// A loader that is given by a path, relative to the project's directory, or by an image's name.
fn elfloader(loaded: &Loaded, given: String) -> String {
    let path = inside(&loaded.project, Path::new(&given), &loaded.variables);
    let is_path = path.exists() || given.starts_with(['/', '.', '~']);
    path.to_str().filter(|_| is_path).map_or(given.clone(), str::to_owned)
}

/// What a service's image is: whatever `kraft run` takes.
fn image(loaded: &Loaded, service: &Service, pulling: &Pulling<'_>) -> Result<Found> {
    let argument = image_path(loaded, service).unwrap_or_else(|| PathBuf::from(&service.image));
    let variables = |name: &str| loaded.variables.values.get(name).cloned();
    let resolve = |name: &str, arch| pulling.images.resolve_by(pulling.of(service), name, arch);
    let platform = service.own.platform.unwrap_or(Platform::Qemu);
    let asked = Asked::new(platform, service.own.arch, &variables, &resolve);
    let found = source::look(Some(&argument), &asked).found?;
    Ok(match &service.entrypoint {
        // The image's command is for its own.
        Some(own) => Found { entrypoint: own.clone(), command: Vec::new(), ..found },
        None => found,
    })
}

/// A path, relative to the project's directory; `~` is the home directory.
fn inside(project: &Project, path: &Path, variables: &Variables) -> PathBuf {
    let home = variables.values.get("HOME").filter(|home| !home.is_empty());
    let path = match (path.strip_prefix("~"), home) {
        (Ok(below), Some(home)) => Path::new(home).join(below),
        _ => path.to_owned(),
    };
    project.dir.join(path).components().collect()
}

/// What decides that a machine is ready which others want to be healthy: its probe.
fn needed_probe(project: &Project, service: &Service) -> Option<Ready> {
    let waits = |other: &Service| {
        other.depends_on.iter().any(|on| on.service == service.name && on.condition == Condition::Healthy)
    };
    let probe = service.health.as_ref()?.probe.clone();
    project.file.services.iter().any(waits).then_some(Ready::Probe(probe))
}

fn environment(loaded: &Loaded, service: &Service) -> Result<BTreeMap<String, String>> {
    let mut environment = BTreeMap::new();
    for file in &service.env_files {
        let path = inside(&loaded.project, &file.path, &loaded.variables);
        let text = match std::fs::read_to_string(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !file.required => continue,
            text => text.with_context(|| format!("{}: cannot read {}", file.place, path.display()))?,
        };
        environment.extend(compose::dotenv(&text, &path, &loaded.variables)?);
    }
    for (key, value) in &service.environment {
        match value.as_ref().or_else(|| loaded.variables.values.get(key)) {
            Some(value) => drop(environment.insert(key.clone(), value.clone())),
            None => log::warn!("{}: services.{}.environment: {key} is not set", service.place, service.name),
        }
    }
    Ok(environment)
}

fn networks(project: &Project, service: &Service) -> Vec<NetworkRequest> {
    let request = |key: &str| NetworkRequest {
        name: project.network(key),
        dns: service.dns.clone(),
        host: service.hostname.clone(),
        domain: service.domainname.clone(),
        aliases: vec![service.name.clone()],
        ..NetworkRequest::default()
    };
    let Some(links) = &service.networks else { return vec![request(DEFAULT_NETWORK)] };
    let of = |link: &compose::Link| {
        let mut request = request(&link.network);
        request.addresses = link.addresses.iter().map(|ip| (*ip, None)).collect();
        request.mac = link.mac;
        request.aliases.extend(link.aliases.clone());
        request
    };
    links.iter().map(of).collect()
}

fn volumes(loaded: &Loaded, service: &Service) -> Result<Vec<MountRequest>> {
    let of = |share: &compose::Share| {
        let source = match &share.source {
            ShareSource::Path(path, _) => MountSource::Path(inside(&loaded.project, path, &loaded.variables)),
            ShareSource::Volume(key, below) => {
                let name = loaded.project.volume(key).parse();
                MountSource::Volume(name.map_err(|error| share.place.error(error))?, below.clone())
            }
        };
        Ok(MountRequest { source, target: share.target.clone(), read_only: share.read_only, driver: share.driver })
    };
    service.volumes.iter().map(of).collect()
}

fn secrets(loaded: &Loaded, service: &Service) -> Result<Vec<SecretRequest>> {
    let of = |used: &compose::SecretUse| {
        let declared = loaded.project.file.secrets.get(&used.source);
        let file = declared.and_then(|secret| secret.file.as_ref());
        let name = match (file, declared.and_then(|secret| secret.name.clone())) {
            // One of systemd's is looked for by its own name.
            (None, Some(name)) => name,
            _ => used.target.clone(),
        };
        // The name is checked as a person's would be.
        let request: SecretRequest = name.parse().map_err(|error| used.place.error(error))?;
        let source = file.map(|file| inside(&loaded.project, file, &loaded.variables));
        Ok(SecretRequest { source, ..request })
    };
    service.secrets.iter().map(of).collect()
}

/// What has to be there first, as a unit says it: the order; what is started along with it; and that it is not started
/// unless they have come to what the file wants. `Requires=` would stop and restart it with each restart of theirs.
fn unit_dependencies(project: &Project, at: &Place<'_>, scope: Scope) -> Result<Vec<String>> {
    let service = at.service;
    let (mut properties, mut awaited, mut waits_for_end) = (Vec::new(), Vec::new(), false);
    for on in &service.depends_on {
        let Some(other) = project.file.services.iter().find(|other| other.name == on.service) else { continue };
        for machine in project.machines(other)? {
            let unit = systemd::service_name(&machine);
            properties.extend([format!("After={unit}"), format!("Wants={unit}")]);
            if on.restart {
                properties.push(format!("PartOf={unit}"));
            }
            if on.required {
                waits_for_end |= on.condition == Condition::Completed;
                awaited.push(Awaited { machine, condition: on.condition });
            }
        }
    }
    if awaited.is_empty() {
        return Ok(properties);
    }
    if waits_for_end {
        properties.push("TimeoutStartSec=infinity".into());
    }
    let executable = paths::own_executable()?;
    let executable = executable.to_str().ok_or_else(|| Error::new("kraft's own path is not UTF-8"))?;
    let mut words: Vec<String> = match scope {
        Scope::System => vec!["--system".into()],
        Scope::User => vec!["--user".into()],
    };
    words.push("runner".into());
    words.extend(awaited.iter().map(|awaited| format!("--awaits={awaited}")));
    words.push(at.name.to_string());
    properties.push(systemd::condition(executable, &words));
    Ok(properties)
}
