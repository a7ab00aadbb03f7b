//! What is to be done to make a project's machines equal to its file. Changes nothing.

use super::labels::{DIRECTORY, FILES, Member, PROJECT};
use super::pulling::Pulling;
use super::shared::Missing;
use super::wanted::{Keeper, Place, wanted};
use crate::cli::app::App;
use crate::cli::apply::plan::{Action, is_same};
use crate::cli::wanted::{Attached, Settled};
use crate::compose::{self, Loaded, Service};
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
    let (mut places, mut flaws) = (Vec::<Place<'a>>::new(), compose::clashing_ports(services));
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

/// A machine that is settled but for what the project's networks and volumes make of it.
#[derive(Debug)]
pub(super) struct Checked {
    settled: Settled,
    attached: Attached,
}

/// What is wanted, all of it checked that can be before the project's networks are there.
pub(super) fn check(
    app: &App,
    loaded: &Loaded,
    places: &[Place<'_>],
    keeper: Keeper,
    pulling: &Pulling<'_>,
) -> Result<Vec<Checked>, Vec<Error>> {
    let (mut all, mut flaws) = (Vec::new(), Vec::<Error>::new());
    for place in places {
        match check_one(app, loaded, place, keeper, pulling) {
            Ok(checked) => all.push(checked),
            // A second machine of the same service has the same flaws.
            Err(_) if place.number > 1 && !flaws.is_empty() => {}
            Err(error) => flaws.push(error),
        }
    }
    if flaws.is_empty() { Ok(all) } else { Err(flaws) }
}

fn check_one(app: &App, loaded: &Loaded, place: &Place<'_>, keeper: Keeper, pulling: &Pulling<'_>) -> Result<Checked> {
    let service = place.service;
    let at = |error: Error| service.place.error(error.context(format!("services.{}", service.name)));
    let wanted = wanted(loaded, place, keeper, pulling).map_err(at)?;
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
    there(app, loaded, place, keeper).map_err(at)?;
    wanted.clone().sketch().map_err(at)?;
    let (alone, attached) = wanted.apart();
    Ok(Checked { settled: alone.settle(app).map_err(at)?, attached })
}

/// The machine as it is, if there is one.
///
/// # Errors
/// When it is somebody else's.
fn there(app: &App, loaded: &Loaded, place: &Place<'_>, keeper: Keeper) -> Result<Option<Record>> {
    let name = &place.name;
    match app.store.read(name) {
        Ok(old) if old.spec.labels.get(PROJECT) != Some(&loaded.project.name) => {
            let why = format!("machine {name} exists already, and is not project {}'s", loaded.project.name);
            Err(Error::of(Kind::Conflict, why).with_hint(format!("`kraft rm {name}` removes it")))
        }
        Ok(old) if old.manager != keeper.manager => {
            let why = format!("machine {name} is run by another manager ({})", old.manager);
            Err(Error::of(Kind::Conflict, why).with_hint("`kraft compose down` first"))
        }
        Ok(old) => Ok(Some(old)),
        Err(error) if error.kind() == Kind::NoSuchMachine => Ok(None),
        Err(error) => Err(error),
    }
}

/// Compares what is wanted with the machines that there are. The project's networks and volumes are there, but for those
/// that are only to be thought of.
pub(super) fn steps(
    app: &App,
    loaded: &Loaded,
    places: &[Place<'_>],
    keeper: Keeper,
    all: Vec<Checked>,
    missing: &Missing,
) -> Result<Vec<Step>, Vec<Error>> {
    let (mut steps, mut flaws) = (Vec::new(), Vec::new());
    for (place, checked) in places.iter().zip(all) {
        let old = there(app, loaded, place, keeper);
        match old.and_then(|old| step(app, place, old, checked, missing)) {
            Ok(step) => steps.push(step),
            Err(error) => {
                let error = error.context(format!("services.{}", place.service.name));
                flaws.push(place.service.place.error(error));
            }
        }
    }
    if flaws.is_empty() { Ok(steps) } else { Err(flaws) }
}

fn step(app: &App, place: &Place<'_>, old: Option<Record>, checked: Checked, missing: &Missing) -> Result<Step> {
    let Checked { mut settled, attached } = checked;
    let (service, name) = (place.service.name.clone(), place.name.clone());
    if attached.is_missing(|network| missing.has_network(network), |volume| missing.has_volume(volume)) {
        // It cannot be what it was.
        let action = if old.is_some() { Action::Changed } else { Action::Created };
        return Ok(Step { service, name, action, change: None, units: Units::Made });
    }
    settled.attach(app, attached)?;
    platform::vmm(settled.spec.platform).check(&settled.spec, &app.store.paths().runtime).map_err(|error| {
        // The network that a service is on without being asked is compose's doing.
        if place.service.networks.is_none() {
            error.with_hint("`network_mode: none` leaves out the project's network")
        } else {
            error
        }
    })?;
    let Some(old) = old else {
        let change = Some((settled, None));
        return Ok(Step { service, name, action: Action::Created, change, units: Units::Made });
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

/// What others name is made before them.
pub(super) fn in_order(loaded: &Loaded, mut steps: Vec<Step>) -> Vec<Step> {
    let levels = loaded.project.levels().concat();
    steps.sort_by_key(|step| levels.iter().position(|service| *service == step.service));
    steps
}

/// The project's machines that its file has no service for, or not so many of.
pub(super) fn orphans(members: Vec<Member>, places: &[Place<'_>], services: &[String]) -> Vec<Member> {
    let is_wanted = |member: &Member| places.iter().any(|place| place.name == member.name);
    // One of a service that is there, but was not asked for, is no orphan.
    let asked = |member: &Member| places.iter().any(|place| place.service.name == member.service);
    let in_file = |member: &Member| services.contains(&member.service) && !asked(member);
    members.into_iter().filter(|member| !is_wanted(member) && !in_file(member)).collect()
}
