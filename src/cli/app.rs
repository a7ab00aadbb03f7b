//! What every verb needs: the store, and the service that a machine's manager calls for.

use super::elsewhere;
use crate::config::{self, Dirs};
use crate::declared::DeclaredService;
use crate::error::{Kind, Result};
use crate::generator;
use crate::local::LocalService;
use crate::machine::{MachineName, MachineService, Manager, Selector};
use crate::paths::{self, Paths, Scope};
use crate::store::{Claim, Store};
use crate::systemd::SystemdService;

/// One invocation of kraft.
#[derive(Debug, Clone)]
pub(crate) struct App {
    /// Whose machines.
    pub(crate) scope: Scope,
    /// Their records.
    pub(crate) store: Store,
}

impl App {
    pub(crate) fn new(scope: Scope) -> Result<Self> {
        Ok(Self { scope, store: Store::new(Paths::find(scope)?) })
    }

    /// The local manager's service.
    pub(crate) fn local(&self) -> LocalService {
        LocalService::new(self.store.clone())
    }

    /// The systemd manager's service.
    pub(crate) fn systemd(&self) -> SystemdService {
        let local = Box::new(self.local());
        let inner: Box<dyn MachineService> = match self.dirs() {
            Some(dirs) => Box::new(DeclaredService::new(local, dirs, self.store.paths().clone())),
            None => local,
        };
        SystemdService::new(inner, self.store.clone(), self.scope)
    }

    /// Where the files of declared machines are. Machines that are kept elsewhere than usual have none: the units that are
    /// made of files are those of the usual ones.
    pub(crate) fn dirs(&self) -> Option<Dirs> {
        let elsewhere = self.store.paths().overridden && !paths::has_own_machine_files();
        if elsewhere { None } else { self.every_dir().ok() }
    }

    /// The same for who knows that these machines are declared.
    pub(crate) fn every_dir(&self) -> Result<Dirs> {
        Dirs::find(self.scope)
    }

    /// Every machine, those too that only files know of so far.
    pub(crate) fn names(&self) -> Result<Vec<MachineName>> {
        let mut names = self.store.names()?;
        names.extend(self.dirs().map(|dirs| config::names(&dirs).0).unwrap_or_default());
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Whether a machine has no record, but a file.
    pub(crate) fn is_only_declared(&self, name: &MachineName) -> bool {
        !self.store.directory(name).exists() && self.dirs().is_some_and(|dirs| config::own_file(&dirs, name).is_some())
    }

    /// Takes a machine for one change. One that has no record yet cannot be taken, and need not be: its unit makes it.
    pub(crate) fn claim(&self, name: &MachineName) -> Result<Option<Claim>> {
        match self.store.claim(name) {
            Err(error) if error.kind() == Kind::NoSuchMachine && self.is_only_declared(name) => Ok(None),
            claim => claim.map(Some),
        }
    }

    /// What is started at boot.
    pub(crate) fn boot_target(&self) -> &'static str {
        generator::default_target(self.scope)
    }

    /// The service of a manager.
    pub(crate) fn service(&self, manager: Manager) -> Box<dyn MachineService> {
        match manager {
            Manager::Local => Box::new(self.local()),
            Manager::Systemd => Box::new(self.systemd()),
        }
    }

    /// Who keeps the machine alive. One whose record cannot be read may have units.
    pub(crate) fn manager_of(&self, name: &MachineName) -> Result<Manager> {
        match self.store.read(name) {
            Ok(record) => Ok(record.manager),
            Err(error) if error.kind() == Kind::NoSuchMachine => {
                if self.is_only_declared(name) {
                    Ok(Manager::Systemd)
                } else {
                    Err(error)
                }
            }
            Err(_) if self.systemd().is_reachable() => Ok(Manager::Systemd),
            Err(_) => Ok(Manager::Local),
        }
    }

    /// The service that looks after this machine.
    pub(crate) fn service_of(&self, name: &MachineName) -> Result<Box<dyn MachineService>> {
        self.manager_of(name).map(|manager| self.service(manager))
    }

    /// The service that sees all machines, of every manager.
    pub(crate) fn everything(&self) -> SystemdService {
        self.systemd()
    }

    /// The machine that a person points at.
    pub(crate) fn resolve(&self, selector: &Selector) -> Result<MachineName> {
        let error = match self.store.resolve(selector) {
            Err(error) if error.kind() == Kind::NoSuchMachine => error,
            result => return result,
        };
        if let Some(name) = selector.as_name().filter(|name| self.is_only_declared(name)) {
            return Ok(name);
        }
        Err(match elsewhere::has(self, selector) {
            Some(hint) => error.with_hint(hint),
            None => error,
        })
    }
}
