//! What the unit of a declared machine has done before its runner starts: the record is made of the machine's file, or
//! made anew if the file, or the kernel or the image that it names, is another by now.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use super::app::App;
use super::file_image::{self, Stands, over_image, stands};
use super::images::Images;
use super::wanted::Wanted;
use crate::config::{self, MachineFile, Rootfs};
use crate::declared;
use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::{Digest, MachineName, MachineService as _, Manager, Pull, Record, RestartPolicy};
use crate::store::Origin;

/// Has the record say what the machine's file says. Does nothing where it does already.
pub(super) fn declare(app: &App, name: &MachineName) -> Result<()> {
    let file = match config::load(&app.every_dir()?, name) {
        Ok(file) => file,
        Err(flaws) => return no_file(app, name, flaws),
    };
    let old = match app.store.read(name) {
        Err(error) if error.kind() == Kind::NoSuchMachine => None,
        old => Some(old?),
    };
    let origin = origin_of(app, &file);
    match old {
        Some(old) if old.manager == Manager::Systemd && is_current(app, &file, &old, origin) => return Ok(()),
        Some(old) if old.manager == Manager::Local => {
            let why = format!("machine {name} is there already, and is not the one of {}", file.path().display());
            return Err(Error::of(Kind::Conflict, why).with_hint(format!("`kraft rm {name}` removes it")));
        }
        old => {
            // It may be the boot: what is not here is not fetched.
            let images = Images::new(app, Pull::Never, true);
            let image = old.as_ref().and_then(|old| old.spec.image.as_ref());
            let wanted = over_image(&file, Wanted::of_file(&file)?, &images, Pull::Never, image)?;
            let new = wanted.settle(app)?.make(app, Manager::Systemd)?;
            // What the unit says of its journal, too.
            let record = Record { id: declared::record(&file, app.store.paths()).id, ..new.record };
            match old {
                Some(old) => {
                    let record = Record { created: old.created, ..record };
                    app.local().redefine(record, &old)?;
                }
                None => drop(app.local().create(record)?),
            }
            new.held.keep();
        }
    }
    app.store.write_origin(name, origin)
}

/// Whether the record is what the file asks for. A machine has its own kernel and root file system: where those that its
/// file names are gone, and the file says what it said, the machine starts with what was made of them.
fn is_current(app: &App, file: &MachineFile, old: &Record, origin: Origin) -> bool {
    let Some(known) = app.store.origin(&old.spec.name) else { return false };
    let missing = named(file).find(|path| !path.exists()).map(|path| path.display().to_string());
    let gone = || file_image::named(file).find(|image| stands(app, image) == Stands::ForNothing);
    let missing = missing.or_else(|| gone().map(|image| format!("the image {image}")));
    match missing {
        Some(what) if known.said == origin.said && old.spec.kernel.digest.is_some() => {
            log::warn!("{what} is not there any more: {} starts with what it has of it", old.spec.name);
            true
        }
        Some(_) | None => known == origin,
    }
}

/// The files that a file names and that are made the machine's own.
fn named(file: &MachineFile) -> impl Iterator<Item = PathBuf> {
    let settings = &file.settings;
    let rootfs = settings.rootfs.as_ref().and_then(Rootfs::path);
    settings.kernel.iter().chain(rootfs).cloned().chain(file_image::named(file).filter_map(file_image::index_of))
}

/// A machine whose file is gone since systemd read it: its record, if it has one, is all there is.
fn no_file(app: &App, name: &MachineName, flaws: config::Flaws) -> Result<()> {
    let only_gone = flaws.iter().all(|flaw| flaw.kind() == Kind::NotFound);
    if only_gone && app.store.directory(name).exists() {
        return Ok(());
    }
    match flaws.into_iter().next() {
        Some(flaw) => Err(flaw),
        None => Ok(()),
    }
}

/// Whether systemd starts a machine again, by its file.
pub(super) fn is_restarted(app: &App, name: &MachineName) -> bool {
    let file = app.every_dir().ok().and_then(|dirs| config::load(&dirs, name).ok());
    file.and_then(|file| file.settings.restart).is_some_and(|policy| policy != RestartPolicy::No)
}

/// What a record is known to be made of.
pub(super) fn origin_of(app: &App, file: &MachineFile) -> Origin {
    let said = Digest::from_bytes(Sha256::digest(file.settings.to_text()).into());
    let mut hash = Sha256::new();
    // Those are looked at when the record is made.
    for path in named(file) {
        if let Ok(metadata) = path.metadata() {
            let (seconds, fraction) = (metadata.mtime(), metadata.mtime_nsec());
            hash.update(format!("{} {} {seconds}.{fraction:09}\n", metadata.dev(), metadata.size()));
        }
    }
    for image in file_image::named(file) {
        match stands(app, image) {
            Stands::For(digest) => hash.update(format!("{digest}\n")),
            Stands::Fixed | Stands::ForNothing => {}
        }
    }
    Origin { said, named: Digest::from_bytes(hash.finalize().into()) }
}

/// Tells systemd, which shows it as the unit's status.
pub(super) fn tell(error: &Error) {
    let told = sd_notify::notify(&[sd_notify::NotifyState::Status(&error.to_string())]);
    if let Err(error) = told.context("cannot tell systemd") {
        log::debug!("{error}");
    }
}
