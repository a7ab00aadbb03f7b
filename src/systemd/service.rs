//! The service itself: who it asks, and the trait, each verb of which has a file of its own.

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use super::anchor::Active;
use super::manager::{Interface, Manager};
use super::unit;
use crate::error::{Error, Kind, Result};
use crate::machine::{
    Change, Changes, LogQuery, Logs, MachineName, MachineService, Manager as Keeper, Record, StopMode, View, Watch,
};
use crate::paths::Scope;
use crate::store::Store;

/// Machines that systemd keeps alive, over a service that keeps everything else.
///
/// Machines whose record names another manager are passed through. Nothing is connected to before it is needed, so that
/// a list without machines of systemd works without a bus.
pub struct SystemdService {
    pub(super) inner: Box<dyn MachineService>,
    pub(super) store: Store,
    pub(super) scope: Scope,
    pub(super) manager: RefCell<Manager>,
}

impl SystemdService {
    /// The service of a scope, over one that keeps records and status files in `store`.
    pub fn new(inner: Box<dyn MachineService>, store: Store, scope: Scope) -> Self {
        Self { inner, store, scope, manager: RefCell::new(Manager::new(scope)) }
    }

    /// Whether the service manager answers.
    pub fn is_reachable(&self) -> bool {
        self.manager_version().is_ok()
    }

    /// The version of the service manager.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub fn manager_version(&self) -> Result<String> {
        Ok(self.manager.borrow_mut().version()?)
    }

    /// Has systemd not start the machine again by itself after it ended. Does not wait, so that the machine's own sweep can
    /// ask. Who asked for a start meanwhile gets it.
    ///
    /// # Errors
    /// When the manager cannot be asked.
    pub fn forbid_restart(&self, name: &MachineName) -> Result<()> {
        Ok(self.manager.borrow_mut().stop_unless_asked(&unit::service_name(name))?)
    }

    /// How long systemd may have waited before this start of the machine: however long, if it is a restart of systemd's
    /// own. A drop-in may have any delay, so it is asked.
    pub fn restart_delay(&self, record: &Record) -> Duration {
        let asked = self
            .manager
            .borrow_mut()
            .properties(&unit::service_name(&record.spec.name), &[(Interface::Service, "NRestarts")]);
        let restarts = asked.ok().and_then(|answers| answers.into_iter().next().flatten());
        match restarts.and_then(|value| value.downcast_ref::<u32>().ok()) {
            Some(0) => Duration::ZERO,
            Some(_) => Duration::MAX,
            None => unit::restart_delay(record),
        }
    }

    /// The record, if it is one of ours; `None` passes the verb through.
    pub(super) fn ours(&self, name: &MachineName) -> Result<Option<Record>> {
        let record = match self.store.read(name) {
            Err(error) if error.kind() == Kind::NoSuchMachine => self.declared(name, error)?,
            record => record?,
        };
        Ok(match record.manager {
            Keeper::Systemd => Some(record),
            Keeper::Local => None,
        })
    }

    /// What will be the record of a machine that is declared and was never started.
    fn declared(&self, name: &MachineName, missing: Error) -> Result<Record> {
        match self.inner.get(name) {
            Ok(view) => view.record.ok_or(view.problem.unwrap_or(missing)),
            Err(_) => Err(missing),
        }
    }

    /// How to look at a unit's journal, as a person types it.
    pub(super) fn journal_hint(&self, name: &MachineName) -> String {
        format!("`journalctl {}-u {}` shows what happened", self.manager_flag(), unit::service_name(name))
    }

    /// What systemd's own tools are told to address our manager.
    pub(super) fn manager_flag(&self) -> &'static str {
        match self.scope {
            Scope::System => "",
            Scope::User => "--user ",
        }
    }
}

impl MachineService for SystemdService {
    fn create(&self, record: Record) -> Result<View> {
        self.create_machine(record, Active::Anchor).map(|(view, _)| view)
    }

    fn start(&self, name: &MachineName) -> Result<View> {
        self.start_machine(name)
    }

    fn create_and_start(&self, record: Record) -> Result<View> {
        let begun = Timestamp::now();
        let (view, ticket) = self.create_machine(record, Active::Machine)?;
        let Some(record) = view.record else { return self.start_machine(&view.name) };
        self.await_start(&record, ticket, begun)
            .inspect_err(|_| self.store.take_back(&record, |name| self.delete_machine(name)))
    }

    fn pause(&self, name: &MachineName) -> Result<View> {
        let view = self.inner.pause(name)?;
        self.with_units(view)
    }

    fn stop(&self, name: &MachineName, mode: StopMode) -> Result<View> {
        self.stop_machine(name, mode)
    }

    fn update(&self, name: &MachineName, changes: &Changes) -> Result<Vec<Change>> {
        self.update_machine(name, changes)
    }

    fn delete(&self, name: &MachineName) -> Result<()> {
        self.delete_machine(name)
    }

    fn get(&self, name: &MachineName) -> Result<View> {
        let view = self.inner.get(name)?;
        self.with_units(view)
    }

    fn list(&self) -> Result<Vec<View>> {
        self.list_machines()
    }

    fn watch(&self, names: Option<&[MachineName]>) -> Result<Watch> {
        self.watch_machines(names)
    }

    fn logs(&self, name: &MachineName, query: &LogQuery) -> Result<Logs> {
        self.machine_logs(name, query)
    }
}

impl fmt::Debug for SystemdService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemdService")
            .field("scope", &self.scope)
            .field("manager", &self.manager)
            .finish_non_exhaustive()
    }
}
