//! Doing what a plan says: machines made, changed, removed. Nothing is started here.

use super::labels::{self, Member};
use super::plan::{Step, Units};
use super::staged;
use crate::cli::app::App;
use crate::cli::apply::{self, plan::Action};
use crate::cli::disable::{self, Removed};
use crate::cli::enable::{self, Boot};
use crate::cli::output;
use crate::cli::wanted::NewMachine;
use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::{MachineService, Manager, Record, StopMode};
use crate::systemd;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// The services of which a machine was changed.
    pub(super) changed: Vec<String>,
    pub(super) errors: Vec<Error>,
}

/// Carries out every step; one that fails does not keep the others from being done.
pub(super) fn all(app: &App, manager: Manager, boot: Boot, steps: Vec<Step>) -> Done {
    let mut done = Done::default();
    for step in steps {
        let (action, name, service) = (step.action, step.name.clone(), step.service.clone());
        match one(app, manager, boot, step) {
            Ok(()) => {
                done.errors.extend(output::line(format!("{action} {name}")).err());
                if action == Action::Changed {
                    done.changed.push(service);
                }
            }
            Err(error) => done.errors.push(error),
        }
    }
    done
}

fn one(app: &App, manager: Manager, boot: Boot, step: Step) -> Result<()> {
    let name = &step.name;
    let service = app.service(manager);
    match step.change {
        None => {}
        Some((settled, None)) => {
            let NewMachine { record, held } =
                settled.make(app, manager).with_context(|| format!("cannot create {name}"))?;
            apply::create(service.as_ref(), record, held)?;
        }
        Some((settled, Some(old))) => {
            let new = settled.make(app, manager).with_context(|| format!("cannot change {name}"))?;
            match disable::look(app, name)? {
                Removed::NotThere if step.units == Units::Stay => {
                    redefine(app, service.as_ref(), new, &old, step.units)?
                }
                Removed::NotThere => {
                    apply::replace(app, service.as_ref(), new, old)?;
                }
                Removed::Yes => {
                    redefine(app, service.as_ref(), new, &old, step.units)?;
                    enable::enable_one(app, name)?;
                }
                Removed::Theirs(file) => {
                    let why = format!("cannot change {name}: it is declared in {file}");
                    return Err(Error::of(Kind::Conflict, why).with_hint("edit that file, or remove it"));
                }
            }
        }
    }
    boot.settle(app, name)
}

/// Changes a machine under its name and its units, which others may name, and which may be those of a file.
fn redefine(app: &App, service: &dyn MachineService, new: NewMachine<'_>, old: &Record, units: Units) -> Result<()> {
    let name = &old.spec.name;
    let cannot = || format!("cannot change {name}");
    let systemd = app.systemd();
    let as_before = || systemd.has_same_units(old, &Record { id: old.id, created: old.created, ..new.record.clone() });
    let waits_for_reload = systemd.is_of_a_file(name) && !as_before().with_context(cannot)?;
    service.stop(name, StopMode::Graceful(None))?;
    let _claim = app.store.claim(name)?;
    let record = Record { id: old.id, created: old.created, stale: units == Units::Made, ..new.record };
    app.local().redefine(record, old).with_context(cannot)?;
    new.held.keep();
    // What the old one did is not done by this one.
    app.store.forget_run(name)?;
    if waits_for_reload {
        let unit = systemd::service_name(name);
        log::warn!("{unit} is as the file says after `systemctl daemon-reload` and a restart");
    }
    Ok(())
}

/// The machines that wait for some which are made anew: systemd keeps a unit that another one names, and makes none of
/// that name.
pub(super) fn held_back(app: &App, there: &[Member], steps: &[Step]) -> Vec<Member> {
    let anew: Vec<String> =
        steps.iter().filter(|step| step.units == Units::Made).map(|step| step.service.clone()).collect();
    let systemd = app.systemd();
    let mut held = labels::dependents(there, &anew);
    held.retain(|member| !systemd.is_of_a_file(&member.name));
    held
}

/// Stops these and lets go of their units. They are started again with the rest.
pub(super) fn let_go(app: &App, held: &[Member]) -> Vec<Error> {
    let mut errors = staged::stop(app, held.to_vec(), StopMode::Graceful(None));
    let systemd = app.systemd();
    errors.extend(held.iter().filter_map(|member| systemd.unload(&member.record).err()));
    errors
}
