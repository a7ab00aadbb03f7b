//! `create`: the record, then the units in one call. Also makes units anew that were lost or are out of date.
//!
//! `run` has the same call start the machine: then the service is the unit that is made and started, and its slice is
//! made along with it and becomes active because the service needs it. That is a round trip and a transaction less than
//! a start behind the call, and should the name be taken, nothing is started at all.

use std::path::Path;

use super::bus::Ticket;
use super::definition::Definition;
use super::failure::{Cause, Failure};
use super::family::Family;
use super::manager::{self, Interface, NewUnit, text};
use super::property::{Origin, check_properties};
use super::refused::Refused;
use super::service::SystemdService;
use super::stop::STOP_LIMIT;
use super::{schedule, unit};
use crate::error::{Error, Kind, Result};
use crate::machine::{Liveness, MachineName, Manager as Keeper, Record, View};
use crate::paths;
use crate::undo::Undo;

/// Which of a machine's units is to become active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Active {
    /// The slice alone: the machine is there and stopped.
    Anchor,
    /// The service: the machine starts.
    Machine,
}

/// What came of making units.
#[derive(Debug)]
pub(super) enum Anchored {
    /// They are loaded, and this call has the one that is to become active do so.
    Made(Ticket),
    /// They are defined by this file, so there is nothing to make.
    ByFile(String),
}

impl SystemdService {
    /// Keeps the record and makes the units.
    pub(super) fn create_machine(&self, mut record: Record, active: Active) -> Result<(View, Ticket)> {
        let name = record.spec.name.clone();
        let cannot = || format!("cannot create machine {name}");
        record.manager = Keeper::Systemd;
        record.stale = false;
        check_properties(&record.spec.properties).map_err(|e| e.context(cannot()))?;
        unit::slice_name(&name, record.spec.slice.as_deref()).map_err(|e| e.context(cannot()))?;

        let view = self.inner.create(record.clone())?;
        // Whoever removes it from now on waits until the units are there to be removed as well; who was faster has won.
        let claim = self.store.claim_same(&record).map_err(|e| match e.kind() {
            Kind::NoSuchMachine => Error::of(Kind::NoSuchMachine, "it was removed at this moment").context(cannot()),
            _ => e.context(cannot()),
        })?;
        let mut undo = Undo::new();
        undo.push(format!("the record of {name}"), || self.inner.delete(&name));
        match self.anchor(&record, active).map_err(|e| e.context(cannot()))? {
            Anchored::Made(ticket) => {
                undo.commit();
                drop(claim);
                Ok((self.decorate(view, Liveness::Down), ticket))
            }
            Anchored::ByFile(file) => {
                let generated = paths::generated_units(self.scope).is_some_and(|dir| Path::new(&file).starts_with(dir));
                let hint = match generated {
                    true => format!(
                        "once its machine file is gone, `systemctl {}daemon-reload` has systemd forget it",
                        self.manager_flag()
                    ),
                    false => "remove that file, or give the machine another name by `--name`".to_owned(),
                };
                let error = Error::of(Kind::Conflict, format!("its unit is defined already by {file}"));
                Err(error.context(cannot()).with_hint(hint))
            }
        }
    }

    /// Makes the machine's units. What an earlier machine of that name left behind is removed for it.
    pub(super) fn anchor(&self, record: &Record, active: Active) -> Result<Anchored> {
        let mut refused = Refused::load(self.store.paths());
        let executable = paths::own_executable()?;
        let family = Family::of(record, &executable, self.store.paths())?;
        let (anchor, mut service) = (family.anchor.to_unit()?, family.service.to_unit()?);
        let units =
            |definitions: &[Definition]| definitions.iter().map(Definition::to_unit).collect::<Result<Vec<_>>>();
        let (own, resolvers) = (units(&family.own)?, units(&family.shared)?);
        let mut missing = self.missing(&resolvers)?;
        service.properties.retain(|p| p.origin != Origin::Optional || !refused.contains(&p.name));
        let mut may_clear = true;
        let mut may_retry = true;
        loop {
            match self.make(&anchor, &service, own.iter().chain(missing.iter().copied()), active) {
                Ok(ticket) => return Ok(Anchored::Made(ticket)),
                Err(Failure { cause: Cause::Property(name), error }) => {
                    refuse(&mut service, &name, error)?;
                    refused.add(&name);
                }
                // Another machine on the network was quicker.
                Err(Failure { cause: Cause::UnitExists, .. })
                    if !missing.is_empty() && self.missing(&resolvers)?.len() < missing.len() =>
                {
                    missing = self.missing(&resolvers)?;
                }
                Err(Failure { cause: Cause::UnitExists, .. }) if may_clear => {
                    may_clear = false;
                    if let Some(file) = self.defined_by(&anchor, &service)? {
                        return Ok(Anchored::ByFile(file));
                    }
                    let left = self.slice_of(&record.spec.name)?;
                    if let Some(slice) = left.as_deref().filter(|slice| !unit::is_anchor_of(slice, &record.spec.name)) {
                        return Err(not_ours(&service.name, slice));
                    }
                    if let Some(left) = left.filter(|left| *left != anchor.name) {
                        self.clear(&left, &record.spec.name)?;
                    }
                    self.clear(&anchor.name, &record.spec.name)?;
                }
                Err(Failure { cause: Cause::NoReply, .. }) if may_retry => {
                    may_retry = false;
                    self.manager.borrow_mut().bus()?.await_manager()?;
                }
                Err(failure) => return Err(schedule::explained(failure.into(), record)),
            }
        }
    }

    fn make<'a>(
        &self,
        anchor: &'a NewUnit,
        service: &'a NewUnit,
        more: impl Iterator<Item = &'a NewUnit>,
        active: Active,
    ) -> Result<Ticket, Failure> {
        let (main, other) = match active {
            Active::Anchor => (anchor, service),
            Active::Machine => (service, anchor),
        };
        let others: Vec<&NewUnit> = std::iter::once(other).chain(more).collect();
        let make = manager::start_transient(main, &others);
        let mut manager = self.manager.borrow_mut();
        let ticket = manager.queue(make)?;
        manager.bus()?.peek(&ticket)?;
        Ok(ticket)
    }

    /// The file that defines one of these units, if they are not made by a call like ours.
    fn defined_by(&self, anchor: &NewUnit, service: &NewUnit) -> Result<Option<String>> {
        for unit in [service, anchor] {
            let asked = [(Interface::Unit, "Transient"), (Interface::Unit, "FragmentPath")];
            let answers = self.manager.borrow_mut().properties(&unit.name, &asked)?;
            if let [transient, Some(file)] = answers.as_slice() {
                let transient = transient.as_ref().is_some_and(|value| value.downcast_ref::<bool>() == Ok(true));
                if let (false, Some(file)) = (transient, text(file).filter(|file| !file.is_empty())) {
                    return Ok(Some(file));
                }
            }
        }
        Ok(None)
    }

    /// The slice that a machine's service is in now, if it is loaded.
    pub(super) fn slice_of(&self, name: &MachineName) -> Result<Option<String>> {
        let asked = [(Interface::Unit, "LoadState"), (Interface::Service, "Slice")];
        let answers = self.manager.borrow_mut().properties(&unit::service_name(name), &asked)?;
        let [Some(load), slice] = answers.as_slice() else { return Ok(None) };
        if text(load).as_deref() != Some("loaded") {
            return Ok(None);
        }
        Ok(slice.as_ref().and_then(text).filter(|slice| !slice.is_empty()))
    }

    /// Takes down all units of a machine, whatever they were for.
    pub(super) fn clear(&self, anchor: &str, name: &MachineName) -> Result<()> {
        let service = unit::service_name(name);
        // The timer first, if there is one: it would start what is being stopped.
        let mut manager = self.manager.borrow_mut();
        manager.stop_and_wait(&schedule::name_of(name), STOP_LIMIT)?;
        manager.stop_and_wait(&service, STOP_LIMIT)?;
        manager.stop_and_wait(anchor, STOP_LIMIT)?;
        manager.reset_failed(&[&service, anchor])?;
        Ok(())
    }
}

/// The error about a unit that has a machine's name and is somebody else's.
fn not_ours(service: &str, slice: &str) -> Error {
    Error::of(Kind::Conflict, format!("there is a unit {service} already, in {slice}, that is not a machine's"))
        .with_hint(format!("`systemctl stop {service}` ends it, `--name` gives the machine another name"))
}

/// Leaves out a property that the manager does not know, if the machine can do without it.
fn refuse(service: &mut NewUnit, name: &str, error: Error) -> Result<()> {
    let Some(at) = service.properties.iter().rposition(|property| property.name == name) else { return Err(error) };
    match &service.properties[at].origin {
        Origin::Required => Err(error),
        Origin::User(key) => Err(unknown_property(key)),
        Origin::Optional => {
            log::debug!("this systemd does not know {name}: left out");
            service.properties.remove(at);
            Ok(())
        }
    }
}

/// The error about a property that a person asked for.
pub(super) fn unknown_property(key: &str) -> Error {
    Error::new(format!("systemd does not know the unit property {key}"))
        .with_hint("`man systemd.directives` lists those of this systemd")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systemd::property::Property;

    #[test]
    fn only_what_we_added_ourselves_is_left_out() {
        let property = |name: &str, origin| Property::own(name, true.into(), origin);
        let mut unit = NewUnit {
            name: "x.service".into(),
            properties: vec![
                property("A", Origin::Optional),
                property("B", Origin::Required),
                property("CUSec", Origin::User("CSec".into())),
            ],
        };
        let refusal = || Error::new("refused");
        refuse(&mut unit, "A", refusal()).unwrap();
        assert_eq!(unit.properties.len(), 2);
        assert_eq!(refuse(&mut unit, "A", refusal()).unwrap_err(), refusal());
        assert_eq!(refuse(&mut unit, "B", refusal()).unwrap_err(), refusal());
        assert!(refuse(&mut unit, "CUSec", refusal()).unwrap_err().to_string().ends_with("property CSec"));
    }
}
