//! `kraft enable`, `--enable`: a machine that is started at boot. It becomes a declared one, by a file that kraft writes.

use std::path::PathBuf;

use clap::Args;

use super::app::App;
use super::each::{Targets, each};
use super::{Outcome, declare, written};
use crate::config::{self, Install, MachineFile};
use crate::declared;
use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::{MachineName, Manager, Record};
use crate::store;

/// Have machines start at boot
///
/// Their definition is written to machine files, of which units are made at the next boot. They are not started now.
#[derive(Debug, Args)]
pub(crate) struct EnableArgs {
    #[command(flatten)]
    targets: Targets,
}

pub(crate) fn enable(app: &App, args: &EnableArgs) -> Outcome {
    each(app, &args.targets, |_, name| {
        let _claim = app.claim(name)?;
        enable_one(app, name)
    })
}

/// Whether a new machine is to start at boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Boot {
    Start,
    Leave,
}

impl Boot {
    /// Enables the machine, which was created, if it is to be.
    pub(crate) fn settle(self, app: &App, name: &MachineName) -> Result<()> {
        match self {
            Self::Start => enable_one(app, name),
            Self::Leave => Ok(()),
        }
    }
}

/// Has a machine start at boot. One that does is a success.
pub(super) fn enable_one(app: &App, name: &MachineName) -> Result<()> {
    let cannot = || format!("cannot enable {name}");
    if let Some(file) = file_of(app, name).with_context(cannot)?
        && !is_ours(&file)
    {
        if file.settings.install.is_some() {
            return Ok(());
        }
        let why = format!("it is declared in {}, which says nothing of when to start it", file.path().display());
        return Err(Error::of(Kind::Conflict, why)
            .context(cannot())
            .with_hint(format!("a table [install] in that file, then `systemctl daemon-reload`, enables {name}")));
    }
    let record = app.store.read(name)?;
    match record.manager {
        Manager::Systemd => write(app, &record).with_context(cannot),
        Manager::Local => Err(Error::of(Kind::Conflict, "it is not run by systemd")
            .context(cannot())
            .with_hint("`kraft run --systemd --enable` makes one that is")),
    }
}

/// Refuses to change a machine whose file somebody else wrote: the file would have it back.
pub(super) fn check_ours(app: &App, name: &MachineName) -> Result<()> {
    match file_of(app, name)? {
        Some(file) if !is_ours(&file) => {
            let why = format!("cannot update {name}: it is declared in {}", file.path().display());
            Err(Error::of(Kind::Conflict, why).with_hint(format!("edit that file, then `kraft restart {name}`")))
        }
        _ => Ok(()),
    }
}

/// Has the file of a machine that kraft enabled say what the record says by now.
pub(super) fn keep_in_step(app: &App, name: &MachineName) -> Result<()> {
    match file_of(app, name)? {
        Some(file) if is_ours(&file) => write(app, &app.store.read(name)?),
        _ => Ok(()),
    }
}

fn write(app: &App, record: &Record) -> Result<()> {
    let name = &record.spec.name;
    if record.spec.auto_remove {
        return Err(Error::of(Kind::Conflict, "it is removed when it ends (--rm)"));
    }
    let mut settings = written::settings_of(&record.spec);
    settings.install = Some(Install { wanted_by: vec![app.boot_target().to_owned()], ..Install::default() });
    let text = declared::heading(record.id) + &settings.to_text();
    let path = place_of(app, name)?;
    // Not written anew where it says this already: nothing is changed by asking twice.
    if std::fs::read(&path).is_ok_and(|old| old == text.as_bytes()) && app.store.origin(name).is_some() {
        return Ok(());
    }
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    store::replace_file(&path, text.as_bytes())?;
    // Read as it will be at boot: the record is known to be made of it.
    match config::load(&app.every_dir()?, name) {
        Ok(file) => app.store.write_origin(name, declare::origin_of(app, &file)),
        Err(flaws) => {
            std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            Err(flaws.into_iter().next().unwrap_or_else(|| Error::new("its file cannot be read")))
        }
    }
}

/// Where kraft writes a machine's file.
pub(super) fn place_of(app: &App, name: &MachineName) -> Result<PathBuf> {
    let dirs = app.every_dir()?;
    let dir = dirs.paths().first().ok_or_else(|| Error::new("there is no place for machine files"))?;
    Ok(dir.join(format!("{name}.toml")))
}

/// The file that declares a machine, if there is one. One of ours that somebody broke is an error like any other.
pub(super) fn file_of(app: &App, name: &MachineName) -> Result<Option<MachineFile>> {
    let Some(dirs) = app.dirs() else { return Ok(None) };
    match config::load(&dirs, name) {
        Ok(file) => Ok(Some(file)),
        Err(flaws) if flaws.iter().all(|flaw| flaw.kind() == Kind::NotFound) => Ok(None),
        Err(flaws) => Err(flaws.into_iter().next().unwrap_or_else(|| Error::new("its file cannot be read"))),
    }
}

/// The file that declares a machine, and whether by that it is started at boot.
pub(super) fn declared_by(app: &App, name: &MachineName) -> (Option<PathBuf>, bool) {
    let Some(dirs) = app.dirs() else { return (None, false) };
    let Some(file) = config::own_file(&dirs, name) else { return (None, false) };
    let enabled = config::load(&dirs, name).is_ok_and(|file| file.settings.install.is_some());
    (Some(file), enabled)
}

pub(super) fn is_ours(file: &MachineFile) -> bool {
    declared::written_for(file.path()).is_some()
}
