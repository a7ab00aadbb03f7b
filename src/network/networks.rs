//! The records of all networks on disk, and the two locks that changes take turns by.
//!
//! ```text
//! STATE/networks/NAME.toml    a network's record
//! STATE/networks/.lock        held by who creates or removes a network, or gives a machine an address
//! RUNTIME/.network.lock       held by who changes the host's interfaces or its packet filter
//! ```
//!
//! Who needs both takes them in this order. The dots keep them apart from what has a name of a person's choice.

use std::path::PathBuf;

use super::mark::Mark;
use super::record::{self, Network};
use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::NetworkName;
use crate::paths::{Paths, Scope};
use crate::store::{self, Lock};

const EXTENSION: &str = ".toml";
const RECORDS_LOCK: &str = ".lock";
const HOST_LOCK: &str = ".network.lock";

/// The networks of one scope.
#[derive(Debug, Clone)]
pub struct Networks {
    pub(super) paths: Paths,
    dir: PathBuf,
}

impl Networks {
    /// The networks in these directories. Touches no file.
    pub fn new(paths: &Paths) -> Self {
        Self { paths: paths.clone(), dir: paths.state.join("networks") }
    }

    /// Networks are the system's: a bridge belongs to the host.
    ///
    /// # Errors
    /// In the user scope.
    pub fn check_scope(&self) -> Result<()> {
        match self.paths.scope {
            Scope::System => Ok(()),
            Scope::User => Err(Error::new("networks are the system's: only root has machines on them")
                .with_hint("`-p` publishes ports without a network; with `sudo kraft` a machine can be on one")),
        }
    }

    /// There was a network at some time.
    pub(super) fn is_used(&self) -> bool {
        self.dir.exists()
    }

    /// Holds all records still: no network comes or goes, no address is given.
    ///
    /// # Errors
    /// When it stays taken.
    pub fn lock_records(&self) -> Result<Lock> {
        Lock::take(&self.dir.join(RECORDS_LOCK), "the networks' records")
    }

    /// Holds the host's network still.
    ///
    /// # Errors
    /// When it stays taken.
    pub fn lock_host(&self) -> Result<Lock> {
        Lock::take(&self.paths.runtime.join(HOST_LOCK), "the host's network")
    }

    /// What tells our interfaces from everybody else's, and from those of another state directory.
    pub(super) fn mark(&self) -> Mark {
        Mark::of(&self.paths)
    }

    /// The names of all records, sorted, readable or not.
    ///
    /// # Errors
    /// When the directory cannot be read; a missing one is empty.
    pub fn names(&self) -> Result<Vec<NetworkName>> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e).with_context(|| format!("cannot list {}", self.dir.display())),
        };
        let name = |entry: std::fs::DirEntry| entry.file_name().to_str()?.strip_suffix(EXTENSION)?.parse().ok();
        let mut names: Vec<NetworkName> = entries.filter_map(|entry| name(entry.ok()?)).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Reads one record.
    ///
    /// # Errors
    /// [`Kind::NoSuchMachine`] with the networks that there are, or the file and line of what is wrong.
    pub fn read(&self, name: &NetworkName) -> Result<Network> {
        let path = self.file(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => record::parse(&text, &path, name),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(self.no_such(name.as_str())),
            Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Whether there is a record of that name, readable or not.
    pub fn has(&self, name: &NetworkName) -> bool {
        self.file(name).exists()
    }

    /// The records that can be read.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn all(&self) -> Result<Vec<Network>> {
        let names = self.names()?;
        Ok(names.iter().filter_map(|name| self.read(name).inspect_err(|error| log::warn!("{error}")).ok()).collect())
    }

    /// The error about a network that is not there.
    pub(super) fn no_such(&self, name: &str) -> Error {
        if let Err(error) = self.check_scope() {
            return error;
        }
        let known = self.names().unwrap_or_default();
        let known: Vec<&str> = known.iter().map(NetworkName::as_str).collect();
        let known = if known.is_empty() { "there are none".into() } else { format!("known are {}", known.join(", ")) };
        let name = name.escape_debug();
        Error::of(Kind::NoSuchMachine, format!("no such network: {name} ({known})"))
            .with_hint(format!("`kraft net create {name}` creates it"))
    }

    /// Keeps a record. The records are locked.
    pub(super) fn write(&self, network: &Network) -> Result<()> {
        let text = toml::to_string(network).map_err(|e| Error::new(e.to_string()))?;
        store::replace_file(&self.file(&network.name), text.as_bytes())
    }

    /// Removes a record. One that is gone already is a success. The records are locked.
    pub(super) fn forget(&self, name: &NetworkName) -> Result<()> {
        match std::fs::remove_file(self.file(name)) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            result => result.with_context(|| format!("cannot remove the record of network {name}")),
        }
    }

    fn file(&self, name: &NetworkName) -> PathBuf {
        self.dir.join(format!("{name}{EXTENSION}"))
    }
}
