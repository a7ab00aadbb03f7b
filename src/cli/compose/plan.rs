//! What is to be done to make a project's machines equal to its file. Changes nothing.

use super::labels::{DIRECTORY, FILES, Member, PROJECT};
use super::wanted::{Keeper, Place, wanted};
use crate::cli::app::App;
use crate::cli::apply::plan::{Action, is_same};
use crate::cli::images::Images;
use crate::cli::wanted::{Settled, Wanted};
use crate::compose::{Loaded, Service};
use crate::error::{Error, Kind, Result};
use crate::machine::{MachineName, Manager, Record};
use crate::paths::Scope;
use crate::platform;

/// One machine and what becomes of it.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) service: String,
    pub(super) name: MachineName,
    pub(super) action: Action,
    /// What it is to be, and what it is.
    pub(super) change: Option<(Settled, Option<Record>)>,
    /// What becomes of its units.
    pub(super) units: Units,
}

/// What becomes of a machine's units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Units {
    /// They are made, or made anew.
    Made,
    /// They stay.
    Stay,
}

/// The machines of services, each with its number.
pub(super) fn places<'a>(loaded: &Loaded, services: &[&'a Service]) -> Result<Vec<Place<'a>>, Vec<Error>> {
    let (mut places, mut flaws) = (Vec::<Place<'a>>::new(), Vec::new());
    for service in services {
        match loaded.project.machines(service) {
            Ok(names) => {
                for (index, name) in names.into_iter().enumerate() {
                    if let Some(other) = places.iter().find(|other| other.name == name) {
                        let why =
                            format!("services.{}: its machine {name} is {}'s, too", service.name, other.service.name);
                        flaws.push(service.place.error(Error::new(why)));
                    }
                    places.push(Place { service, name, number: index + 1 });
                }
            }
            Err(error) => flaws.push(error),
        }
    }
    if flaws.is_empty() { Ok(places) } else { Err(flaws) }
}

/// What is wanted, all of it checked that can be before the project's networks are there.
pub(super) fn check(
    app: &App,
    loaded: &Loaded,
    places: &[Place<'_>],
    keeper: Keeper,
    images: &Images<'_>,
) -> Result<Vec<Wanted>, Vec<Error>> {
    let (mut all, mut flaws) = (Vec::new(), Vec::new());
    for place in places {
        match check_one(app, loaded, place, keeper, images) {
            Ok(wanted) => all.push(wanted),
            Err(error) => flaws.push(error),
        }
        // A second machine of the same service has the same flaws.
        if !flaws.is_empty() && place.service.scale > 1 {
            break;
        }
    }
    if flaws.is_empty() { Ok(all) } else { Err(flaws) }
}

fn check_one(app: &App, loaded: &Loaded, place: &Place<'_>, keeper: Keeper, images: &Images<'_>) -> Result<Wanted> {
    let service = place.service;
    let at = |error: Error| service.place.error(error.context(format!("services.{}", service.name)));
    let wanted = wanted(loaded, place, keeper, images).map_err(at)?;
    if keeper.manager == Manager::Local {
        wanted.limits.need_systemd().map_err(at)?;
        if let Some(property) = wanted.properties.first() {
            let error = Error::new(format!("property {property} is systemd's, which does not run this machine"));
            return Err(at(error.with_hint("`kraft compose up --systemd` has systemd run it")));
        }
    }
    if app.scope == Scope::User && !wanted.networks.is_empty() {
        let error = Error::new("networks are the system's: only root has machines on them");
        let hint =
            "`network_mode: bridge` does without: ports are forwarded by the VMM; `sudo kraft compose` has networks";
        return Err(at(error.with_hint(hint)));
    }
    wanted.clone().sketch().map_err(at)?;
    // What probes reach by its networks is looked at once these are there.
    let alone = Wanted { networks: Vec::new(), health: None, ready: Default::default(), ..wanted.clone() };
    alone.settle(app).map_err(at)?;
    match app.store.read(&place.name) {
        Ok(old) if old.spec.labels.get(PROJECT) != Some(&loaded.project.name) => {
            let why = format!("machine {} exists already, and is not project {}'s", place.name, loaded.project.name);
            return Err(at(Error::of(Kind::Conflict, why).with_hint(format!("`kraft rm {}` removes it", place.name))));
        }
        Ok(old) if old.manager != keeper.manager => {
            let why = format!("machine {} is run by another manager ({})", place.name, old.manager);
            return Err(at(Error::of(Kind::Conflict, why).with_hint("`kraft compose down` first")));
        }
        Err(error) if error.kind() != Kind::NoSuchMachine => return Err(at(error)),
        Ok(_) | Err(_) => {}
    }
    Ok(wanted)
}

/// Compares what is wanted with the machines that there are. The project's networks are there.
pub(super) fn steps(app: &App, places: &[Place<'_>], all: Vec<Wanted>) -> Result<Vec<Step>, Vec<Error>> {
    let (mut steps, mut flaws) = (Vec::new(), Vec::new());
    for (place, wanted) in places.iter().zip(all) {
        match step(app, place, wanted) {
            Ok(step) => steps.push(step),
            Err(error) => {
                let error = error.context(format!("services.{}", place.service.name));
                flaws.push(place.service.place.error(error));
            }
        }
    }
    if flaws.is_empty() { Ok(steps) } else { Err(flaws) }
}

fn step(app: &App, place: &Place<'_>, wanted: Wanted) -> Result<Step> {
    let mut settled = wanted.settle(app)?;
    platform::vmm(settled.spec.platform).check(&settled.spec, &app.store.paths().runtime).map_err(|error| {
        // The network that a service is on without being asked is compose's doing.
        if place.service.networks.is_none() {
            error.with_hint("`network_mode: none` leaves out the project's network")
        } else {
            error
        }
    })?;
    let (service, name) = (place.service.name.clone(), place.name.clone());
    let old = match app.store.read(&name) {
        Err(error) if error.kind() == Kind::NoSuchMachine => {
            let change = Some((settled, None));
            return Ok(Step { service, name, action: Action::Created, change, units: Units::Made });
        }
        old => old?,
    };
    // Where the file is says nothing of the machine.
    for label in [DIRECTORY, FILES] {
        match old.spec.labels.get(label) {
            Some(value) => drop(settled.spec.labels.insert(label.to_owned(), value.clone())),
            None => drop(settled.spec.labels.remove(label)),
        }
    }
    if is_same(app, &mut settled, &old)? {
        return Ok(Step { service, name, action: Action::Unchanged, change: None, units: Units::Stay });
    }
    let stay = || -> Result<bool> {
        let systemd = app.systemd();
        let new = Record { spec: settled.spec.clone(), ..old.clone() };
        Ok(systemd.is_of_a_file(&name) || systemd.has_same_units(&old, &new)?)
    };
    let units = match old.manager {
        Manager::Systemd if stay()? => Units::Stay,
        Manager::Systemd | Manager::Local => Units::Made,
    };
    Ok(Step { service, name, action: Action::Changed, change: Some((settled, Some(old))), units })
}

/// The project's machines that its file has no service for, or not so many of.
pub(super) fn orphans(members: Vec<Member>, places: &[Place<'_>], services: &[String]) -> Vec<Member> {
    let is_wanted = |member: &Member| places.iter().any(|place| place.name == member.name);
    // One of a service that is there, but was not asked for, is no orphan.
    let asked = |member: &Member| places.iter().any(|place| place.service.name == member.service);
    let in_file = |member: &Member| services.contains(&member.service) && !asked(member);
    members.into_iter().filter(|member| !is_wanted(member) && !in_file(member)).collect()
}
