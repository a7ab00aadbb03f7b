//! `delete`: the machine is stopped, its anchor is let go, then its record goes.

use super::service::SystemdService;
use super::unit;
use crate::error::{Kind, Result};
use crate::machine::{MachineName, MachineService as _, StopMode};
use crate::paths::{self, Scope};

impl SystemdService {
    pub(super) fn delete_machine(&self, name: &MachineName) -> Result<()> {
        let cannot = || format!("cannot remove {name}");
        let anchor = match self.ours(name) {
            Ok(Some(record)) => {
                self.stop_timer(&record).map_err(|e| e.context(cannot()))?;
                self.stop(name, StopMode::Force).map_err(|e| e.context(cannot()))?;
                unit::slice_name(name, record.spec.slice.as_deref())?
            }
            Ok(None) => return self.inner.delete(name),
            Err(e) if e.kind() == Kind::NoSuchMachine => return self.inner.delete(name),
            // What else a newer kraft made for it is not known here.
            Err(e) if e.kind() == Kind::Newer => return Err(e.context(cannot())),
            // An unreadable record: its units, if it has any, say where they are.
            Err(_) => match self.slice_of(name).map_err(|e| e.context(cannot()))? {
                Some(slice) if unit::is_anchor_of(&slice, name) => slice,
                Some(_) => return self.inner.delete(name),
                None => unit::slice_name(name, None)?,
            },
        };
        self.clear(&anchor, name).map_err(|e| e.context(cannot()))?;
        self.forget_log_fields(name);
        self.inner.delete(name)
    }

    /// systemd (252 at least) leaves this file behind for every unit that had extra fields.
    fn forget_log_fields(&self, name: &MachineName) {
        match self.scope {
            Scope::System => {
                let _ = std::fs::remove_file(paths::log_fields_of_unit(&unit::service_name(name)));
            }
            Scope::User => {}
        }
    }

    /// Lets go of the machine's units without waiting, so that the machine's own sweep can ask before it removes the
    /// record. A unit that ends as failed stays listed until it is reset.
    ///
    /// # Errors
    /// When the manager cannot be asked.
    pub fn release(&self, name: &MachineName, slice: Option<&str>) -> Result<()> {
        let anchor = unit::slice_name(name, slice)?;
        Ok(self.manager.borrow_mut().stop_soon(&anchor)?)
    }
}
