//! What the machines of a compose project have in common: a slice around theirs, and the condition of their start.

use super::definition::quote_all;
use super::family::Family;
use super::service::SystemdService;
use super::stop::STOP_LIMIT;
use super::unit;
use crate::error::{Context as _, Result};
use crate::machine::{MachineName, Record};
use crate::paths;

/// The slice that the slices of a project's machines are in: `kraft-compose:NAME.slice`. No machine's name has a `:`.
pub fn project_slice(project: &str) -> String {
    format!("kraft-compose:{}.slice", unit::escape(project))
}

/// The property by which a unit is started only if a command succeeds. The command sees all of the host, whatever confines
/// the machine: `PermissionsStartOnly=` holds for it, too.
pub fn condition(executable: &str, words: &[String]) -> String {
    let words = std::iter::once(executable).chain(words.iter().map(String::as_str));
    format!("ExecCondition=:{}", quote_all(words))
}

impl SystemdService {
    /// Whether a machine whose record becomes another one keeps its units as they are.
    ///
    /// # Errors
    /// When the units of either are not possible.
    pub fn has_same_units(&self, old: &Record, new: &Record) -> Result<bool> {
        let executable = paths::own_executable()?;
        let of = |record| Family::of(record, &executable, self.store.paths());
        Ok(of(old)?.all().eq(of(new)?.all()))
    }

    /// Whether a file defines the machine's unit, which this systemd goes by until it reads all files again.
    pub fn is_of_a_file(&self, name: &MachineName) -> bool {
        paths::generated_units(self.scope).is_some_and(|dir| dir.join(unit::service_name(name)).exists())
    }

    /// Lets go of the units of a machine that is down; its next start makes them anew. As long as they are there they keep
    /// those of other machines that they name.
    ///
    /// # Errors
    /// When the manager cannot be asked.
    pub fn unload(&self, record: &Record) -> Result<()> {
        let name = &record.spec.name;
        let anchor = unit::slice_name(name, record.spec.slice.as_deref())?;
        self.clear(&anchor, name).with_context(|| format!("cannot let go of the units of {name}"))
    }

    /// Lets go of a project's slice, and of all that is left in it.
    ///
    /// # Errors
    /// When the manager cannot be asked.
    pub fn release_project(&self, project: &str) -> Result<()> {
        let slice = project_slice(project);
        let mut manager = self.manager.borrow_mut();
        let stopped = manager.stop_and_wait(&slice, STOP_LIMIT).map_err(crate::error::Error::from);
        stopped.with_context(|| format!("cannot stop {slice}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systemd::check_properties;

    #[test]
    fn a_project_has_a_slice_of_its_own() {
        assert_eq!(project_slice("my-app"), "kraft-compose:my\\x2dapp.slice");
        unit::check_slice(&project_slice("my-app")).unwrap();
        let name = "my-app-web-1".parse().unwrap();
        let slice = unit::slice_name(&name, Some(&project_slice("my-app"))).unwrap();
        assert_eq!(slice, "kraft-compose:my\\x2dapp-kraft\\x2dmy\\x2dapp\\x2dweb\\x2d1.slice");
        assert!(unit::is_anchor_of(&slice, &name));
    }

    #[test]
    fn a_condition_is_a_property() {
        let words = ["runner".to_owned(), "--awaits=a:service_started".to_owned()];
        let property = condition("/opt/a b/kraft", &words);
        assert_eq!(property, "ExecCondition=:\"/opt/a b/kraft\" runner --awaits=a:service_started");
        check_properties(&[property]).unwrap();
    }
}
