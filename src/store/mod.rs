//! The record of every machine on disk.
//!
//! ```text
//! STATE/machines/NAME/machine.toml     the record: what was asked           written by create, update
//! STATE/machines/NAME/exit.json        how it ended the last time           written by the runner, its sweep
//! STATE/machines/NAME/console.log[.1]  the console, with the local manager  written by the runner
//! STATE/machines/NAME/runner.log       what the runner said, with the local manager
//! STATE/machines/NAME/runner.lock      held by the runner as long as it lives
//! STATE/machines/NAME/kernel           the kernel
//! STATE/machines/NAME/rootfs.cpio      the root file system: what kraft made, or the RAM disk that was given
//! STATE/machines/NAME/root/            the same unpacked, for a kernel that mounts it; the guest writes there
//! STATE/machines/NAME/origin           what the record was made of, if a file declares the machine
//! STATE/machines/.new-RANDOM/          a record that is being made
//! STATE/machines/.gone-RANDOM/         a record that is being removed
//! RUNTIME/NAME/status.json             how the guest is doing               written by the runner, its sweep
//! RUNTIME/NAME/stop.json               how it is to be stopped              written by whoever stops it
//! RUNTIME/NAME/control.sock            the VMM's control socket
//! RUNTIME/.compose:NAME.lock           held by who makes or removes the machines of a project
//! ```
//!
//! The lock is beside the record and not in the runtime directory, since a user's is removed when the last session ends,
//! which a runner may outlive: it has to be found by whoever logs in again.
//!
//! A record appears and disappears by one rename, so that a name is claimed by exactly one creator and a crash leaves
//! either all of a machine or nothing. Every other file is replaced whole. Changes to a record, starts and removals
//! happen under a [`Claim`], an flock on the machine's directory.

mod blobs;
mod ceded;
mod claim;
mod copies;
mod file;
mod lock;
mod redefine;
mod root;
mod rootfs;
mod runtime;
mod shelf;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;

pub use blobs::{Begun, Blobs, BlobsAlone, Named, NewBlob, Removed, Target};
pub use ceded::Owner;
pub use claim::Claim;
pub use file::replace as replace_file;
pub use lock::{Lock, PassingLock};
pub use redefine::Origin;
pub use rootfs::{NewRootfs, RootfsCache};
pub use runtime::{RunnerLock, StopRequest};
pub use shelf::{Hold, Shelf};

use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::{Exit, MachineId, MachineName, Manager, Record, SCHEMA, Selector, Spec};
use crate::paths::Paths;

const RECORD: &str = "machine.toml";
const EXIT: &str = "exit.json";
const CONSOLE: &str = "console.log";
const RUNNER_LOG: &str = "runner.log";

/// The records of one scope.
#[derive(Debug, Clone)]
pub struct Store {
    paths: Paths,
    machines: PathBuf,
    shelf: Shelf,
    /// Where a runner that reaches no more than its runtime directory notes its events.
    notes: Option<Arc<File>>,
}

impl Store {
    /// The store in these directories. Touches no file.
    pub fn new(paths: Paths) -> Self {
        let machines = paths.state.join("machines");
        let shelf = Shelf::new(machines.clone());
        Self { paths, machines, shelf, notes: None }
    }

    /// The store as a confined runner sees it: of its machine it reaches the runtime directory alone. Its events go to
    /// `notes`, and its sweep keeps how it ended, from the status.
    pub fn confined(paths: Paths, notes: File) -> Self {
        Self { notes: Some(Arc::new(notes)), ..Self::new(paths) }
    }

    /// Where a confined runner notes its events.
    pub fn notes(&self) -> Option<Arc<File>> {
        self.notes.clone()
    }

    /// The directories that the store is in.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// A record as it would be kept.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new_record(spec: Spec, manager: Manager) -> Result<Record> {
        let id = MachineId::from_bytes(random()?);
        Ok(Record { schema: SCHEMA, id, created: Timestamp::now(), manager, stale: false, spec })
    }

    /// The directory that records appear in and disappear from, by a rename each.
    pub fn machines(&self) -> &Path {
        &self.machines
    }

    /// Keeps a new record. Of many at once for one name, one succeeds.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when the name is taken. Nothing is left then.
    pub fn create(&self, record: &Record) -> Result<()> {
        let name = &record.spec.name;
        let cannot = || format!("cannot create machine {name}");
        let text = toml::to_string(record).map_err(|e| Error::new(e.to_string())).with_context(cannot)?;
        let fill = |dir: &Path| {
            self.take_files(record, dir)?;
            if record.spec.has_own_root() {
                root::unpack(dir)?;
            }
            file::replace(&dir.join(RECORD), text.as_bytes())
        };
        self.shelf.put(name, fill).map_err(|error| match error.kind() {
            Kind::Conflict => taken(name),
            _ => error.context(cannot()),
        })
    }

    /// Looks whether a name is free, before anything is done for a machine that would have it.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when it is taken.
    pub fn check_free(&self, name: &MachineName) -> Result<()> {
        if self.directory(name).exists() { Err(taken(name)) } else { Ok(()) }
    }

    /// Reads one record.
    ///
    /// # Errors
    /// [`Kind::NoSuchMachine`], or the file and line of what is wrong in it.
    pub fn read(&self, name: &MachineName) -> Result<Record> {
        let path = self.directory(name).join(RECORD);
        // One that is made or removed meanwhile is not there; one that is there all the time without its record is broken.
        let is_there = || self.directory(name).exists();
        let was_there = is_there();
        match std::fs::read_to_string(&path) {
            Ok(text) => parse_record(&text, &path, name),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && (!was_there || !is_there()) => {
                Err(no_such_machine(name.as_str()))
            }
            Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// What stands in a record that may not be readable as one.
    pub fn record_text(&self, name: &MachineName) -> Option<String> {
        let text = std::fs::read(self.directory(name).join(RECORD)).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    /// The names of all records, sorted, readable or not.
    ///
    /// # Errors
    /// When the directory cannot be read; a missing one is empty.
    pub fn names(&self) -> Result<Vec<MachineName>> {
        self.shelf.names()
    }

    /// The machine that a person points at: a name, else the beginning of exactly one id.
    ///
    /// # Errors
    /// [`Kind::NoSuchMachine`], or that several begin so.
    pub fn resolve(&self, selector: &Selector) -> Result<MachineName> {
        if let Some(name) = selector.as_name()
            && self.directory(&name).exists()
        {
            return Ok(name);
        }
        let mut found = Vec::new();
        for name in self.names()? {
            if let Ok(record) = self.read(&name)
                && selector.matches_id(record.id)
            {
                found.push(name);
            }
        }
        match <[MachineName; 1]>::try_from(found) {
            Ok([name]) => Ok(name),
            Err(found) if found.is_empty() => Err(no_such_machine(selector.as_str())),
            Err(found) => {
                let names: Vec<_> = found.iter().map(MachineName::as_str).collect();
                Err(Error::of(Kind::Conflict, format!("id {selector} is not unique: {}", names.join(", "))))
            }
        }
    }

    /// Takes the machine for one change, waiting for who has it now.
    ///
    /// # Errors
    /// [`Kind::NoSuchMachine`]; [`Kind::Timeout`] when it stays taken.
    pub fn claim(&self, name: &MachineName) -> Result<Claim> {
        Claim::take(&self.directory(name), name)
    }

    /// The same without waiting; `None` when somebody has it.
    ///
    /// # Errors
    /// [`Kind::NoSuchMachine`].
    pub fn try_claim(&self, name: &MachineName) -> Result<Option<Claim>> {
        Claim::try_take(&self.directory(name), name)
    }

    /// Takes the machine of this very record for one change, waiting for who has it now.
    ///
    /// # Errors
    /// [`Kind::NoSuchMachine`], also when another machine has its name by now; [`Kind::Timeout`] when it stays taken.
    pub fn claim_same(&self, record: &Record) -> Result<Claim> {
        let name = &record.spec.name;
        let claim = self.claim(name)?;
        match self.read(name) {
            Ok(current) if current.id != record.id => Err(no_such_machine(name.as_str())),
            _ => Ok(claim),
        }
    }

    /// Removes a machine again that was created just now and never ran, unless somebody else has done so.
    pub fn take_back(&self, record: &Record, delete: impl FnOnce(&MachineName) -> Result<()>) {
        match self.claim_same(record).and_then(|claim| delete(&record.spec.name).map(|()| claim)) {
            Err(error) if error.kind() != Kind::NoSuchMachine => {
                log::warn!("cannot remove {} again: {error}", record.spec.name);
            }
            Ok(_) | Err(_) => {}
        }
    }

    /// Replaces a record.
    ///
    /// # Errors
    /// When it cannot be written; the old one is left then.
    pub fn replace(&self, record: &Record) -> Result<()> {
        let name = &record.spec.name;
        let text = toml::to_string(record).map_err(|e| Error::new(e.to_string()))?;
        file::replace(&self.directory(name).join(RECORD), text.as_bytes())
            .with_context(|| format!("cannot change the record of {name}"))
    }

    /// Removes all that is kept of a machine. One that is gone already is a success. Its runners are locked out before.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn remove(&self, name: &MachineName) -> Result<()> {
        let cannot = || format!("cannot remove the record of {name}");
        // First, as nothing leads here once the record is gone. A runner makes it again, but none can start now.
        self.remove_runtime(name).with_context(cannot)?;
        self.shelf.take(name).with_context(cannot)?;
        self.sweep_files();
        Ok(())
    }

    /// How the machine ended the last time.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn last_exit(&self, name: &MachineName) -> Result<Option<Exit>> {
        file::read_json(&self.directory(name).join(EXIT))
    }

    /// Keeps how it ended.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_exit(&self, name: &MachineName, exit: &Exit) -> Result<()> {
        if self.notes.is_some() {
            return Ok(());
        }
        let text = serde_json::to_vec(exit).context("cannot write an exit")?;
        file::replace(&self.directory(name).join(EXIT), &text).with_context(|| format!("cannot keep how {name} ended"))
    }

    /// Forgets how a machine that is down ran: it is another one by now.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn forget_run(&self, name: &MachineName) -> Result<()> {
        match std::fs::remove_file(self.directory(name).join(EXIT)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).with_context(|| format!("cannot forget how {name} ended"))
            }
            Ok(()) | Err(_) => self.remove_runtime(name),
        }
    }

    /// Where the local manager keeps the machine's console.
    pub fn console_log(&self, name: &MachineName) -> PathBuf {
        self.directory(name).join(CONSOLE)
    }

    /// Where a detached runner of the local manager says what it has to say.
    pub fn runner_log(&self, name: &MachineName) -> PathBuf {
        self.directory(name).join(RUNNER_LOG)
    }

    /// The directory of a machine's record.
    pub fn directory(&self, name: &MachineName) -> PathBuf {
        self.machines.join(name)
    }

    /// Removes what killed creators and removers left behind. What is held is still in use.
    pub fn sweep_leftovers(&self) {
        self.shelf.sweep();
        self.sweep_files();
    }
}

/// Reads a record. `path` is for messages, `name` is what the directory says.
fn parse_record(text: &str, path: &Path, name: &MachineName) -> Result<Record> {
    #[derive(Deserialize)]
    struct Version {
        schema: u32,
    }
    let bad = |e: toml::de::Error| {
        let line = e.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
        Error::new(format!("{}:{line}: {}", path.display(), e.message().trim_end().replace('\n', " ")))
    };
    // Read once where all is well: a list reads every record there is.
    let record: Result<Record, _> = toml::from_str(text);
    let schema = match &record {
        Ok(record) => record.schema,
        Err(_) => toml::from_str::<Version>(text).map_err(bad)?.schema,
    };
    if schema > SCHEMA {
        let why =
            format!("{}: written by a newer kraft (schema {schema}, this one reads up to {SCHEMA})", path.display());
        return Err(Error::of(Kind::Newer, why).with_hint("use the newer kraft for this machine"));
    }
    let record = record.map_err(bad)?;
    if record.spec.name != *name {
        return Err(Error::new(format!("{}: it is the record of {}", path.display(), record.spec.name)));
    }
    Ok(record)
}

/// The error about a machine that is not there.
pub fn no_such_machine(name: &str) -> Error {
    Error::of(Kind::NoSuchMachine, format!("no such machine: {name}"))
}

fn taken(name: &MachineName) -> Error {
    Error::of(Kind::Conflict, format!("machine {name} already exists"))
        .with_hint(format!("`kraft rm {name}` removes it, `--name` gives another name"))
}

/// Bytes for an id.
///
/// # Errors
/// When the system has no random numbers.
pub fn random() -> Result<[u8; 16]> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).context("cannot get random numbers")?;
    Ok(bytes)
}

#[cfg(test)]
pub(crate) mod tests;
