//! What the unit of a declared machine has done before its runner starts: the record is made of the machine's file, or
//! made anew if the file, or the kernel that it names, is another by now.

use std::os::unix::fs::MetadataExt as _;

use sha2::{Digest as _, Sha256};

use super::app::App;
use super::wanted::Wanted;
use crate::config::{self, MachineFile};
use crate::declared;
use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::{Digest, MachineName, MachineService as _, Manager, Record, RestartPolicy};

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
    let origin = origin_of(&file);
    match old {
        Some(old) if old.manager == Manager::Systemd && app.store.origin(name) == Some(origin) => return Ok(()),
        Some(old) if old.manager == Manager::Local => {
            let why = format!("machine {name} is there already, and is not the one of {}", file.path().display());
            return Err(Error::of(Kind::Conflict, why).with_hint(format!("`kraft rm {name}` removes it")));
        }
        old => {
            let new = Wanted::of_file(&file)?.settle(app)?.make(app, Manager::Systemd)?;
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
pub(super) fn origin_of(file: &MachineFile) -> Digest {
    let mut hash = Sha256::new();
    hash.update(file.settings.to_text());
    // Those are looked at when the record is made.
    for path in file.settings.kernel.iter().chain(&file.settings.rootfs) {
        if let Ok(metadata) = path.metadata() {
            let (seconds, fraction) = (metadata.mtime(), metadata.mtime_nsec());
            hash.update(format!("{} {} {seconds}.{fraction:09}\n", metadata.dev(), metadata.size()));
        }
    }
    Digest::from_bytes(hash.finalize().into())
}

/// Tells systemd, which shows it as the unit's status.
pub(super) fn tell(error: &Error) {
    let told = sd_notify::notify(&[sd_notify::NotifyState::Status(&error.to_string())]);
    if let Err(error) = told.context("cannot tell systemd") {
        log::debug!("{error}");
    }
}
