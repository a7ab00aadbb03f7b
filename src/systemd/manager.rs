//! Thin calls of the service manager: the dozen methods that we use, and what their answers hold.

use std::fmt;

use zbus::{OwnedObjectPath, OwnedVariant, Variant};

use super::bus::{Bus, Call};
use super::failure::{Cause, Failure};
use super::property::Property;
use super::unit;
use crate::error::{Error, Result};
use crate::paths::Scope;

const PATH: &str = "/org/freedesktop/systemd1";
const INTERFACE: &str = "org.freedesktop.systemd1.Manager";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
const TIMER: &str = "org.freedesktop.systemd1.Timer";

/// A unit with its properties, to be made.
#[derive(Debug)]
pub(super) struct NewUnit {
    /// Its name.
    pub(super) name: String,
    /// All that is set.
    pub(super) properties: Vec<Property>,
}

/// One line of a unit list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnitState {
    /// Its name.
    pub(super) name: String,
    /// `loaded`, `not-found`, `masked`, ...
    pub(super) load: String,
    /// `active`, `inactive`, `failed`, `activating`, ...
    pub(super) active: String,
    /// The finer state.
    pub(super) sub: String,
}

/// The service manager of a scope, connected when it is first needed.
pub(super) struct Manager {
    scope: Scope,
    bus: Option<Bus>,
    /// Signals of jobs are asked for already on this connection.
    pub(super) follows_jobs: bool,
}

impl Manager {
    /// The manager of a scope. Connects to nothing.
    pub(super) fn new(scope: Scope) -> Self {
        Self { scope, bus: None, follows_jobs: false }
    }

    /// The connection; made now if there is none, or if the one there was is lost.
    pub(super) fn bus(&mut self) -> Result<&mut Bus> {
        if self.bus.as_ref().is_none_or(Bus::is_closed) {
            self.follows_jobs = false;
            self.bus = Some(Bus::connect(self.scope)?);
        }
        self.bus.as_mut().ok_or_else(|| Error::new("no connection to the service manager"))
    }

    /// The loaded units whose names match any of these patterns.
    pub(super) fn list(&mut self, patterns: &[&str]) -> Result<Vec<UnitState>, Failure> {
        let message = self.bus()?.call_again(|| list(patterns))?;
        units(&message)
    }

    /// Properties of a unit in one round trip. What cannot be had is left out.
    pub(super) fn properties(&mut self, unit: &str, names: &[(Interface, &str)]) -> Result<Vec<Option<OwnedVariant>>> {
        let bus = self.bus()?;
        let tickets = bus.send(names.iter().map(|&(interface, name)| get(unit, interface, name)).collect())?;
        Ok(tickets
            .into_iter()
            .map(|ticket| bus.answer(ticket).ok().and_then(|message| message.body().deserialize().ok()))
            .collect())
    }

    /// Changes properties of a loaded unit until it is unloaded. All or none.
    pub(super) fn set_properties(&mut self, unit: &str, properties: &[&Property]) -> Result<(), Failure> {
        let call = || {
            method(
                "SetUnitProperties",
                &(unit, true, values(properties.iter().copied())),
                format!("set properties of {unit}"),
            )
        };
        self.bus()?.call_again(call).map(drop)
    }

    /// Makes failed units inactive. One that is not loaded is no error.
    pub(super) fn reset_failed(&mut self, units: &[&str]) -> Result<(), Failure> {
        let bus = self.bus()?;
        let mut outcome = Ok(());
        for unit in units {
            match bus.call_again(|| method("ResetFailedUnit", unit, format!("reset {unit}"))) {
                Err(failure) if failure.cause != Cause::NoSuchUnit => outcome = Err(failure),
                Ok(_) | Err(_) => {}
            }
        }
        outcome
    }

    /// Lets the processes of a frozen unit run again.
    pub(super) fn thaw(&mut self, unit: &str) -> Result<(), Failure> {
        self.bus()?.call(method("ThawUnit", &unit, format!("thaw {unit}"))).map(drop)
    }

    /// Sends SIGTERM to a unit's main process. One that is gone is no error.
    pub(super) fn terminate(&mut self, unit: &str) -> Result<(), Failure> {
        let call = method("KillUnit", &(unit, "main", nix::libc::SIGTERM), format!("signal {unit}"));
        match self.bus()?.call(call) {
            Err(failure) if matches!(failure.cause, Cause::NoReply | Cause::Timeout) => Err(failure),
            _ => Ok(()),
        }
    }

    /// Asks for a unit to be stopped without waiting until it is.
    pub(super) fn stop_soon(&mut self, unit: &str) -> Result<(), Failure> {
        match self.bus()?.call_again(|| stop(unit)) {
            Err(failure) if failure.cause == Cause::NoSuchUnit => Ok(()),
            result => result.map(drop),
        }
    }

    /// The same, but not in the place of what somebody else asked for: a start that waits for the unit's end still comes.
    pub(super) fn stop_unless_asked(&mut self, unit: &str) -> Result<(), Failure> {
        let call = || method("StopUnit", &(unit, "fail"), format!("stop unit {unit}"));
        match self.bus()?.call_again(call) {
            Err(failure) if failure.cause == Cause::NoSuchUnit => Ok(()),
            Err(failure) if failure.cause == Cause::JobExists => {
                if self.is_to_start_again(unit)? {
                    Ok(())
                } else {
                    self.stop_soon(unit)
                }
            }
            result => result.map(drop),
        }
    }

    /// Whether a job waits for a unit's end to start it then. That of a start that has failed is there until that end, too, but
    /// does not wait for it.
    fn is_to_start_again(&mut self, unit: &str) -> Result<bool, Failure> {
        type Row<'a> = (u32, &'a str, &'a str, &'a str, OwnedObjectPath, OwnedObjectPath);
        let message = self.bus()?.call_again(|| method("ListJobs", &(), "list jobs"))?;
        let body = message.body();
        let rows: Vec<Row<'_>> = body.deserialize().map_err(unreadable)?;
        let waits = |kind: &str, state: &str| kind == "restart" || (kind == "start" && state == "waiting");
        Ok(rows.into_iter().any(|(_, of, kind, state, ..)| of == unit && waits(kind, state)))
    }

    /// What the manager says its version is.
    pub(super) fn version(&mut self) -> Result<String, Failure> {
        let call = || Call::new(PATH, PROPERTIES, "Get", &(INTERFACE, "Version"), "ask for the version of systemd");
        let message = self.bus()?.call_again(call)?;
        let version: OwnedVariant = message.body().deserialize().map_err(unreadable)?;
        text(&version).ok_or_else(|| Error::new("the version of systemd is not a text").into())
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").field("scope", &self.scope).field("bus", &self.bus).finish_non_exhaustive()
    }
}

/// Which of a unit's interfaces has a property.
#[derive(Debug, Clone, Copy)]
pub(super) enum Interface {
    /// What every unit has.
    Unit,
    /// What services have.
    Service,
    /// What timers have.
    Timer,
}

/// The call that makes units: `main` becomes active, the others loaded.
pub(super) fn start_transient(main: &NewUnit, others: &[&NewUnit]) -> Call {
    let others: Vec<_> = others.iter().map(|unit| (unit.name.as_str(), values(&unit.properties))).collect();
    let body = (main.name.as_str(), "fail", values(&main.properties), others);
    method("StartTransientUnit", &body, format!("make unit {}", main.name))
}

/// The call that starts a unit.
pub(super) fn start(unit: &str) -> Call {
    method("StartUnit", &(unit, "replace"), format!("start unit {unit}"))
}

/// The call that starts a unit once it has ended, and ends it for that.
pub(super) fn restart(unit: &str) -> Call {
    method("RestartUnit", &(unit, "replace"), format!("start unit {unit} again"))
}

/// The call that stops a unit.
pub(super) fn stop(unit: &str) -> Call {
    method("StopUnit", &(unit, "replace"), format!("stop unit {unit}"))
}

/// The call that asks for a job by its number.
pub(super) fn job(id: u32) -> Call {
    method("GetJob", &id, "ask for a job")
}

/// The call that has the manager send signals to this connection.
pub(super) fn subscribe() -> Call {
    // Nobody needs the answer: a failure shows as a job that is never heard of, and that has a deadline.
    Call::one_way(PATH, INTERFACE, "Subscribe", "subscribe to signals")
}

/// The call that lists units by patterns.
pub(super) fn list(patterns: &[&str]) -> Call {
    method("ListUnitsByPatterns", &(Vec::<&str>::new(), patterns), "list units")
}

/// The call that gets one property.
pub(super) fn get(unit: &str, interface: Interface, name: &str) -> Call {
    let interface = match interface {
        Interface::Unit => UNIT,
        Interface::Service => SERVICE,
        Interface::Timer => TIMER,
    };
    Call::new(&unit::object_path(unit), PROPERTIES, "Get", &(interface, name), format!("read {name} of {unit}"))
}

/// The units in the answer to [`list`].
pub(super) fn units(message: &zbus::Message) -> Result<Vec<UnitState>, Failure> {
    type Row<'a> =
        (&'a str, &'a str, &'a str, &'a str, &'a str, &'a str, OwnedObjectPath, u32, &'a str, OwnedObjectPath);
    let body = message.body();
    let rows: Vec<Row<'_>> = body.deserialize().map_err(unreadable)?;
    Ok(rows
        .into_iter()
        .map(|(name, _, load, active, sub, ..)| UnitState {
            name: name.to_owned(),
            load: load.to_owned(),
            active: active.to_owned(),
            sub: sub.to_owned(),
        })
        .collect())
}

/// A property's value as text, if it is one.
pub(super) fn text(value: &OwnedVariant) -> Option<String> {
    value.downcast_ref::<&str>().ok().map(str::to_owned)
}

/// An answer that does not have the form that systemd's interface documents.
pub(super) fn unreadable(error: zbus::Error) -> Failure {
    Error::new(format!("cannot read the service manager's answer: {error}")).into()
}

/// Properties in the form that the manager takes them, `a(sv)`.
fn values<'a>(properties: impl IntoIterator<Item = &'a Property>) -> Vec<(&'a str, &'a Variant<'static>)> {
    properties.into_iter().map(|property| (property.name.as_str(), &property.value)).collect()
}

fn method<B>(member: &str, body: &B, what: impl Into<String>) -> Call
where
    B: serde::Serialize + zbus::DynamicType,
{
    Call::new(PATH, INTERFACE, member, body, what)
}
