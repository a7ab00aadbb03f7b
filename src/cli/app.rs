//! What every verb needs: the store, and the service that a machine's manager calls for.

use super::elsewhere;
use crate::error::{Kind, Result};
use crate::local::LocalService;
use crate::machine::{MachineName, MachineService, Manager, Selector};
use crate::paths::{Paths, Scope};
use crate::store::Store;
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
        SystemdService::new(Box::new(self.local()), self.store.clone(), self.scope)
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
            Err(error) if error.kind() == Kind::NoSuchMachine => Err(error),
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
        Err(match elsewhere::has(self, selector) {
            Some(hint) => error.with_hint(hint),
            None => error,
        })
    }
}
