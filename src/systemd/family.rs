//! All units of a machine: its anchor, its service, and those beside them.

use std::path::Path;

use super::definition::Definition;
use super::{machined, resolver, schedule, unit};
use crate::error::Result;
use crate::machine::Record;
use crate::paths::Paths;

/// The units of one machine.
#[derive(Debug)]
pub(super) struct Family {
    /// The slice.
    pub(super) anchor: Definition,
    /// What runs the machine.
    pub(super) service: Definition,
    /// What it has for itself: its timer, the one that registers it.
    pub(super) own: Vec<Definition>,
    /// What it shares with others: those that answer for names on its networks.
    pub(super) shared: Vec<Definition>,
}

impl Family {
    /// The units of a machine. Looks whether machined is installed, and changes nothing.
    ///
    /// # Errors
    /// When the slice is not possible, or a path is not UTF-8, which D-Bus asks for.
    pub(super) fn of(record: &Record, executable: &Path, paths: &Paths) -> Result<Self> {
        let (anchor, mut service) = unit::units(record, executable, paths)?;
        let registrar = machined::registrar(record, executable, paths)?;
        if let Some(registrar) = &registrar {
            service.required("Wants", &*registrar.name);
        }
        let own = schedule::timer(record)?.into_iter().chain(registrar).collect();
        Ok(Self { anchor, service, own, shared: resolver::units(record, executable, paths)? })
    }

    /// Each of them, the service first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Definition> {
        [&self.service, &self.anchor].into_iter().chain(&self.own).chain(&self.shared)
    }
}
