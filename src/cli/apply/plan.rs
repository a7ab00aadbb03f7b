//! What is to be done to make machines equal to files. Changes nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use crate::cli::app::App;
use crate::cli::file_image::{is_elsewhere, over_image};
use crate::cli::images::Images;
use crate::cli::wanted::Settled;
use crate::cli::written::{self, APPLIED};
use crate::config::{self, Dirs, MachineFile};
use crate::error::{Error, Kind, Result};
use crate::machine::{Attachment, Kernel, MachineName, Manager, Pull, Record, Spec};
use crate::{paths, platform};

/// What becomes of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Action {
    /// There was none.
    Created,
    /// There was another one.
    Changed,
    /// It is as it is to be.
    Unchanged,
    /// No file wants it any more.
    Removed,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Removed => "removed",
        })
    }
}

/// What becomes of machines that have no file any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unlisted {
    /// They go.
    Remove,
    /// They stay.
    Leave,
}

/// What a plan is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be carried out.
    Do,
    /// To be told, and nothing else: no image is fetched.
    Tell,
}

/// What is asked of a plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    pub(super) purpose: Purpose,
    pub(super) unlisted: Unlisted,
    /// What goes before what files say.
    pub(super) pull: Option<Pull>,
}

/// One machine and what becomes of it.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) name: MachineName,
    pub(super) action: Action,
    /// What it is to be.
    pub(super) wanted: Option<Settled>,
    /// What it is.
    pub(super) old: Option<Record>,
}

/// All that is to be done, in order: what goes first makes room.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) steps: Vec<Step>,
    /// What they are made of stays until they are there.
    pub(super) images: Images<'a>,
}

impl<'a> Plan<'a> {
    /// Compares the files of a directory with the machines that there are.
    pub(super) fn of(app: &'a App, dir: &Path, how: How) -> Result<Self, Vec<Error>> {
        let images = Images::new(app, Pull::Missing, false);
        let dir = directory(dir).map_err(|error| vec![error])?;
        let dirs = Dirs::only(&dir);
        let (names, mut errors) = config::names(&dirs);
        let mut steps = Vec::new();
        let mut listed = BTreeSet::new();
        for name in names {
            match config::load(&dirs, &name).and_then(|file| step(app, &file, &dir, &images, how)) {
                Ok(step) => steps.push(step),
                Err(flaws) => errors.extend(flaws),
            }
            listed.insert(name);
        }
        if how.unlisted == Unlisted::Remove {
            let gone = unlisted_machines(app, &dir, &listed).map_err(|error| vec![error])?;
            steps.splice(
                0..0,
                gone.into_iter().map(|name| Step { name, action: Action::Removed, wanted: None, old: None }),
            );
        }
        if errors.is_empty() { Ok(Self { steps, images }) } else { Err(errors) }
    }
}

/// The directory by the name under which machines are known to be of it.
fn directory(dir: &Path) -> Result<String> {
    let absolute = paths::absolute(dir)?.components().collect::<std::path::PathBuf>();
    if !absolute.is_dir() {
        return Err(Error::of(Kind::NotFound, format!("no such directory: {}", dir.display())));
    }
    let text = absolute.to_str().map(str::to_owned);
    text.ok_or_else(|| Error::new(format!("cannot apply {}: its name is not UTF-8", dir.display())))
}

/// The machines that were made of this directory's files and have none any more.
fn unlisted_machines(app: &App, dir: &str, listed: &BTreeSet<MachineName>) -> Result<Vec<MachineName>> {
    let is_ours = |name: &MachineName| {
        let record = app.store.read(name).ok();
        record.is_some_and(|record| record.spec.labels.get(APPLIED).is_some_and(|of| of == dir))
    };
    Ok(app.store.names()?.into_iter().filter(|name| !listed.contains(name) && is_ours(name)).collect())
}

fn step(app: &App, file: &MachineFile, dir: &str, images: &Images<'_>, how: How) -> Result<Step, Vec<Error>> {
    let mut wanted = written::wanted(file)?;
    wanted.properties.extend(written::properties(file)?);
    wanted.labels.insert(APPLIED.to_owned(), dir.to_owned());
    let at = |error: Error| vec![error.context(file.path().display().to_string())];
    let name = file.name.clone();
    let old = match app.store.read(&name) {
        Err(error) if error.kind() == Kind::NoSuchMachine => None,
        old => Some(old.map_err(at)?),
    };
    let pull = match (how.purpose, how.pull.or(file.settings.pull).unwrap_or_default()) {
        (Purpose::Tell, pull) if old.is_none() && pull != Pull::Never && is_elsewhere(file, images) => {
            return Ok(Step { name, action: Action::Created, wanted: None, old });
        }
        (Purpose::Tell, _) => Pull::Never,
        (Purpose::Do, pull) => pull,
    };
    let image = old.as_ref().and_then(|old| old.spec.image.as_ref());
    let wanted = over_image(file, wanted, images, pull, image).map_err(|error| vec![error])?;
    let settled = wanted.settle(app).map_err(at)?;
    platform::vmm(settled.spec.platform).check(&settled.spec, &app.store.paths().runtime).map_err(at)?;
    match old {
        None => Ok(Step { name, action: Action::Created, wanted: Some(settled), old: None }),
        Some(old) => compared(app, settled, old, dir).map_err(at),
    }
}

fn compared(app: &App, mut settled: Settled, old: Record, dir: &str) -> Result<Step> {
    let name = old.spec.name.clone();
    match old.spec.labels.get(APPLIED) {
        Some(of) if of == dir && old.manager == Manager::Systemd => {}
        Some(of) => {
            let why = format!("machine {name} was applied from {of}");
            return Err(Error::of(Kind::Conflict, why).with_hint(format!("`kraft rm {name}` removes it")));
        }
        None => {
            let why = format!("machine {name} exists already, and was not made by `kraft apply`");
            return Err(Error::of(Kind::Conflict, why).with_hint(format!("`kraft rm {name}` removes it")));
        }
    }
    if is_same(app, &mut settled, &old)? {
        return Ok(Step { name, action: Action::Unchanged, wanted: None, old: None });
    }
    Ok(Step { name, action: Action::Changed, wanted: Some(settled), old: Some(old) })
}

/// What a machine would be that has no files of its own where the old one has none: an earlier kraft made it.
fn like(new: &Spec, old: &Spec) -> Spec {
    let mut spec = new.clone();
    if old.kernel.digest.is_none() {
        let path = spec.kernel.given().to_owned();
        spec.kernel = Kernel { path, given: None, digest: None, ..spec.kernel };
    }
    if old.rootfs_digest.is_none() && old.initrd == old.rootfs {
        spec.initrd.clone_from(&spec.rootfs);
        spec.rootfs_digest = None;
    }
    spec
}

/// Whether a machine is what it is to be, content included. What was left open stays what the machine has.
pub(in crate::cli) fn is_same(app: &App, settled: &mut Settled, old: &Record) -> Result<bool> {
    keep_addresses(&mut settled.spec, &old.spec);
    keep_image(&mut settled.spec, &old.spec);
    settled.stay_loosened(&old.spec);
    settled.pack(app)?;
    Ok(like(&settled.spec, &old.spec) == old.spec)
}

/// The same content by the same name is the same image, whether its digest was said or not.
fn keep_image(new: &mut Spec, old: &Spec) {
    for (new, old) in [(&mut new.image, &old.image), (&mut new.rootfs_image, &old.rootfs_image)] {
        if let (Some(new), Some(old)) = (new, old)
            && new.is_same(old)
        {
            new.reference.clone_from(&old.reference);
        }
    }
}

/// What was left open and chosen when the machine was created stays.
fn keep_addresses(new: &mut Spec, old: &Spec) {
    let host = old.name.as_host();
    for (new, old) in new.networks.iter_mut().zip(&old.networks) {
        if (&new.network, new.foreign) == (&old.network, old.foreign) {
            keep_address(new, old, &host);
        }
    }
}

fn keep_address(new: &mut Attachment, old: &Attachment, usual_host: &str) {
    new.mac = new.mac.or(old.mac);
    let (new, old) = (&mut new.ip, &old.ip);
    new.ipv4 = new.ipv4.or(old.ipv4);
    new.ipv6 = new.ipv6.or(old.ipv6);
    for gateway in &old.gateways {
        if !new.gateways.iter().any(|given| given.is_ipv4() == gateway.is_ipv4()) {
            new.gateways.push(*gateway);
        }
    }
    if new.dns.is_empty() {
        new.dns.clone_from(&old.dns);
    }
    if new.host.is_none() && old.host.as_deref() == Some(usual_host) {
        new.host.clone_from(&old.host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::IpConfig;

    #[test]
    fn only_what_was_left_open_is_kept() {
        let on = |ip: IpConfig| Attachment { network: "front".into(), foreign: false, mac: None, ip };
        let open = on(IpConfig::default());
        let chosen = IpConfig {
            ipv4: Some("10.0.0.2/24".parse().unwrap()),
            gateways: vec!["10.0.0.1".parse().unwrap()],
            dns: vec!["10.0.0.1".parse().unwrap()],
            host: Some("web".into()),
            ..IpConfig::default()
        };
        let old = Spec {
            networks: vec![Attachment { mac: Some("02:b0:b0:00:00:01".parse().unwrap()), ..on(chosen.clone()) }],
            ..Spec::example("web")
        };
        let mut new = Spec { networks: vec![open.clone()], ..old.clone() };
        keep_addresses(&mut new, &old);
        assert_eq!(new, old);
        let other = IpConfig { ipv4: Some("10.0.0.3/24".parse().unwrap()), ..IpConfig::default() };
        let mut new = Spec { networks: vec![on(other)], ..old.clone() };
        keep_addresses(&mut new, &old);
        assert_eq!(new.networks[0].ip.ipv4, Some("10.0.0.3/24".parse().unwrap()));
        let mut new = Spec { networks: vec![Attachment { network: "back".into(), ..open.clone() }], ..old.clone() };
        keep_addresses(&mut new, &old);
        assert_eq!(new.networks[0].ip, IpConfig::default());
    }
}
