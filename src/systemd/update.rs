//! `update`: the record, then what systemd takes while the machine runs. The rest waits for units that are made anew.

use super::anchor::unknown_property;
use super::failure::Cause;
use super::limits;
use super::manager::Interface;
use super::property::{self, Origin, Property, check_properties, key_of};
use super::service::SystemdService;
use super::unit;
use crate::error::Result;
use crate::machine::{Change, Changes, MachineName, Progress, Record};

impl SystemdService {
    pub(super) fn update_machine(&self, name: &MachineName, changes: &Changes) -> Result<Vec<Change>> {
        let Some(before) = self.ours(name)? else { return self.inner.update(name, changes) };
        let cannot = || format!("cannot update {name}");
        check_properties(&changes.properties).map_err(|e| e.context(cannot()))?;
        self.check_known(name, &changes.properties).map_err(|e| e.context(cannot()))?;
        let mut report = self.inner.update(name, changes)?;
        let is_a_limit = |setting: &str| changes.limits.iter().any(|limit| limit.name() == setting);
        report.retain(|change| !change.setting.starts_with("property") && !is_a_limit(&change.setting));
        let after = self.without_replaced(name, changes)?;

        let mut stale = false;
        for change in &mut report {
            // These are part of the unit as well, where they cannot be changed under a running service.
            if matches!(change.setting.as_str(), "restart" | "stop-timeout" | "sandbox") {
                change.progress = Progress::NeedsRestart;
                stale = true;
            }
        }
        let room = limits::more_room(&before.spec, &after.spec);
        stale |= room.less;
        let mut typed = room.more;
        typed.extend(changes.limits.iter().flat_map(|limit| limits::changed(limit, &after.spec)));
        typed.retain(|limit| !after.spec.properties.iter().any(|property| key_of(property) == key_of(limit)));
        typed.extend(changes.properties.iter().cloned());
        // What the manager refuses altogether is not kept either.
        let refused = self.set_live(name, &typed).inspect_err(|_| {
            let _ = self.store.replace(&before);
        })?;
        let progress = |key: &str| {
            if refused.iter().any(|refused| refused == key) { Progress::NeedsRestart } else { Progress::Live }
        };
        for limit in &changes.limits {
            report.push(Change { setting: limit.name().to_owned(), progress: progress(limits::key(limit)) });
        }
        for typed in &changes.properties {
            let key = key_of(typed);
            report.push(Change { setting: format!("property {key}"), progress: progress(key) });
        }
        stale |= !refused.is_empty();
        if stale {
            self.mark_stale(name)?;
        }
        Ok(report)
    }

    /// The record after the update. A limit takes the place of the property that said the same before.
    fn without_replaced(&self, name: &MachineName, changes: &Changes) -> Result<Record> {
        let mut record = self.store.read(name)?;
        let set_now = |key: &str| changes.properties.iter().any(|typed| key_of(typed) == key);
        let replaced = |key: &str| changes.limits.iter().any(|limit| limits::key(limit) == key) && !set_now(key);
        if record.spec.properties.iter().any(|typed| replaced(key_of(typed))) {
            record.spec.properties.retain(|typed| !replaced(key_of(typed)));
            self.store.replace(&record)?;
        }
        Ok(record)
    }

    /// Whether systemd knows these properties. It refuses what it does not know and what cannot be changed now by the same
    /// words, so it is asked for their present values: an unknown one has none.
    fn check_known(&self, name: &MachineName, typed: &[String]) -> Result<()> {
        let mut properties = Vec::new();
        for typed in typed {
            properties.extend(property::parse(typed)?);
        }
        // A percentage can be set and not read.
        properties.retain(|property| !property.name.ends_with("Scale"));
        let asked: Vec<_> = properties
            .iter()
            .flat_map(|p| [(Interface::Unit, p.name.as_str()), (Interface::Service, p.name.as_str())])
            .collect();
        if asked.is_empty() {
            return Ok(());
        }
        let answers = self.manager.borrow_mut().properties(&unit::service_name(name), &asked)?;
        match properties.iter().zip(answers.chunks(2)).find(|(_, answers)| answers.iter().all(Option::is_none)) {
            Some((Property { origin: Origin::User(key), .. }, _)) => Err(unknown_property(key)),
            Some((Property { name, .. }, _)) => Err(unknown_property(name)),
            None => Ok(()),
        }
    }

    /// Sets what can be set in the loaded unit; returns the keys of what cannot.
    fn set_live(&self, name: &MachineName, typed: &[String]) -> Result<Vec<String>> {
        let mut properties: Vec<Property> = Vec::new();
        for typed in typed {
            properties.extend(property::parse(typed)?);
        }
        let mut refused = Vec::new();
        let mut manager = self.manager.borrow_mut();
        while !properties.is_empty() {
            match manager.set_properties(&unit::service_name(name), &properties.iter().collect::<Vec<_>>()) {
                Ok(()) => break,
                Err(failure) => match &failure.cause {
                    Cause::Property(property) => {
                        let Some(at) = properties.iter().position(|known| known.name == *property) else {
                            return Err(failure.into());
                        };
                        let Origin::User(key) = properties.remove(at).origin else { continue };
                        refused.push(key);
                    }
                    // Nothing is loaded: the next start makes the units from the record.
                    Cause::NoSuchUnit => {
                        refused.extend(typed.iter().map(|typed| key_of(typed).to_owned()));
                        break;
                    }
                    Cause::UnitExists
                    | Cause::NoSuchJob
                    | Cause::JobExists
                    | Cause::NoReply
                    | Cause::Timeout
                    | Cause::Other => {
                        return Err(failure.into());
                    }
                },
            }
        }
        Ok(refused)
    }

    fn mark_stale(&self, name: &MachineName) -> Result<()> {
        let current = self.store.read(name)?;
        if current.stale { Ok(()) } else { self.store.replace(&Record { stale: true, ..current }) }
    }
}
