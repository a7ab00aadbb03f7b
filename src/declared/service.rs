//! [`DeclaredService`]: the machines that files declare and that have no record yet, among those that have one.

use std::fmt;

use super::provisional;
use crate::config::{self, Dirs, MachineFile};
use crate::error::{Error, Kind, Result};
use crate::machine::{
    Change, Changes, Liveness, LogQuery, Logs, MachineName, MachineService, Record, StopMode, View, Watch,
};
use crate::paths::Paths;

/// Machines of a service, and those that only files know of so far. These can be looked at; to start one is the service
/// manager's affair, whose unit makes the record.
pub struct DeclaredService {
    inner: Box<dyn MachineService>,
    dirs: Dirs,
    paths: Paths,
}

impl DeclaredService {
    /// Over a service, with the files in these directories.
    pub fn new(inner: Box<dyn MachineService>, dirs: Dirs, paths: Paths) -> Self {
        Self { inner, dirs, paths }
    }

    /// The file of a machine that has no record.
    fn file(&self, name: &MachineName) -> Option<Result<MachineFile>> {
        match config::load(&self.dirs, name) {
            Ok(file) => Some(Ok(file)),
            Err(flaws) if flaws.iter().all(|flaw| flaw.kind() == Kind::NotFound) => None,
            Err(flaws) => flaws.into_iter().next().map(Err),
        }
    }

    fn view(&self, name: &MachineName) -> Option<View> {
        Some(match self.file(name)? {
            Ok(file) => View::new(provisional::record(&file, &self.paths), Liveness::Down, None, None),
            Err(flaw) => View::unknown(name.clone(), flaw),
        })
    }

    /// What is said where a record is needed: that the machine is there, and what to do.
    fn not_yet(&self, name: &MachineName, error: Error) -> Error {
        match self.file(name) {
            Some(Ok(file)) if error.kind() == Kind::NoSuchMachine => {
                let file = file.path().display().to_string();
                Error::of(Kind::Conflict, format!("machine {name} is declared in {file} and was never started"))
                    .with_hint(format!("`kraft start {name}` starts it; to change it, edit the file"))
            }
            Some(Err(flaw)) if error.kind() == Kind::NoSuchMachine => flaw,
            _ => error,
        }
    }
}

impl MachineService for DeclaredService {
    fn create(&self, record: Record) -> Result<View> {
        self.inner.create(record)
    }

    fn start(&self, name: &MachineName) -> Result<View> {
        self.inner.start(name).map_err(|error| self.not_yet(name, error))
    }

    fn create_and_start(&self, record: Record) -> Result<View> {
        self.inner.create_and_start(record)
    }

    fn pause(&self, name: &MachineName) -> Result<View> {
        self.inner.pause(name).map_err(|error| self.not_yet(name, error))
    }

    fn stop(&self, name: &MachineName, mode: StopMode) -> Result<View> {
        self.inner.stop(name, mode).map_err(|error| self.not_yet(name, error))
    }

    fn update(&self, name: &MachineName, changes: &Changes) -> Result<Vec<Change>> {
        self.inner.update(name, changes).map_err(|error| self.not_yet(name, error))
    }

    fn delete(&self, name: &MachineName) -> Result<()> {
        self.inner.delete(name)
    }

    fn get(&self, name: &MachineName) -> Result<View> {
        match self.inner.get(name) {
            Err(error) if error.kind() == Kind::NoSuchMachine => self.view(name).ok_or(error),
            result => result,
        }
    }

    fn list(&self) -> Result<Vec<View>> {
        let mut views = self.inner.list()?;
        let (mut declared, _) = config::names(&self.dirs);
        declared.retain(|name| views.binary_search_by(|view| view.name.cmp(name)).is_err());
        views.extend(declared.iter().filter_map(|name| self.view(name)));
        views.sort_by(|one, two| one.name.cmp(&two.name));
        Ok(views)
    }

    fn watch(&self, names: Option<&[MachineName]>) -> Result<Watch> {
        self.inner.watch(names)
    }

    fn logs(&self, name: &MachineName, query: &LogQuery) -> Result<Logs> {
        self.inner.logs(name, query)
    }
}

impl fmt::Debug for DeclaredService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeclaredService").field("dirs", &self.dirs).finish_non_exhaustive()
    }
}
