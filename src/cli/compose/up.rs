//! `kraft compose up`: the project's machines made equal to its file, and started in its order.

use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;

use super::labels::{self, Member};
use super::plan::{self, Step, Units};
use super::wanted::Keeper;
use super::{ComposeArgs, Services, logs, shared, staged};
use crate::cli::app::App;
use crate::cli::apply::{self, plan::Action};
use crate::cli::disable::{self, Removed};
use crate::cli::enable::{self, Boot};
use crate::cli::images::Images;
use crate::cli::wanted::NewMachine;
use crate::cli::{Outcome, linger, output};
use crate::compose::{Loaded, Service};
use crate::error::{Context as _, Error, Kind, Result};
use crate::image::oci::pull::Policy;
use crate::machine::{MachineName, MachineService, Manager, Reason, Record, RestartPolicy, State, StopMode};
use crate::systemd;

/// Create and start the project's machines, and what they have in common
///
/// One that is missing is created, one that the file has changed is made anew, one that is equal goes on undisturbed.
/// They are started in the order of depends_on. Without --detach their consoles are shown; Ctrl-C stops them.
#[derive(Debug, Args)]
pub(super) struct UpArgs {
    #[command(flatten)]
    services: Services,

    /// Return once the machines run
    #[arg(short, long)]
    detach: bool,

    /// Have systemd run the machines, in a slice of the project's; as before if the project is there
    #[arg(long)]
    systemd: bool,

    /// Have the machines start at boot, too, in the order of the file
    #[arg(long, requires = "systemd", conflicts_with = "no_start")]
    enable: bool,

    /// Remove machines of the project that its file has no service for
    #[arg(long)]
    remove_orphans: bool,

    /// Create the machines and start none
    #[arg(long, conflicts_with = "detach")]
    no_start: bool,
}

pub(super) fn up(app: &App, args: &ComposeArgs, verb: &UpArgs) -> Outcome {
    let one = |error| vec![error];
    let named = &verb.services.services;
    let loaded = args.load(named)?;
    let project = &loaded.project;
    let services = project.with_dependencies(named).map_err(one)?;
    if services.is_empty() {
        return Err(vec![Error::new(format!("project {} has no service that its profiles choose", project.name))]);
    }
    let began = Timestamp::now();
    let there = labels::members(app, &project.name).map_err(one)?;
    let manager = manager(verb, &there, project.file.enable);
    let boot = if verb.enable || project.file.enable { Boot::Start } else { Boot::Leave };
    if boot == Boot::Start && manager == Manager::Local {
        return Err(vec![
            Error::new("machines start at boot by systemd, which does not run these")
                .with_hint("`kraft compose down`, then `kraft compose up --systemd`"),
        ]);
    }

    let places = plan::places(&loaded, &services)?;
    // Held until their machines are there.
    let images = Images::new(app, Policy::Missing, false);
    let keeper = Keeper { manager, scope: app.scope };
    let all = plan::check(app, &loaded, &places, keeper, &images)?;
    let made = shared::make(app, &in_use(&loaded, &services)).map_err(one)?;
    let mut steps = match plan::steps(app, &places, all) {
        Ok(steps) => steps,
        Err(flaws) => {
            made.undo(app);
            return Err(flaws);
        }
    };
    made.keep().map_err(one)?;

    if manager == Manager::Systemd {
        let errors = let_go(app, &there, &steps);
        if !errors.is_empty() {
            return Err(errors);
        }
    }
    let mut errors = orphans(app, &loaded, there, &places, verb);
    let mut changed = Vec::new();
    // What others name is made before them.
    let levels = project.levels().concat();
    steps.sort_by_key(|step| levels.iter().position(|service| *service == step.service));
    for step in steps {
        let (action, name, service) = (step.action, step.name.clone(), step.service.clone());
        match carry_out(app, manager, boot, step) {
            Ok(()) => {
                errors.extend(output::line(format!("{action} {name}")).err());
                if action == Action::Changed {
                    changed.push(service);
                }
            }
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    if verb.no_start {
        return Ok(ExitCode::SUCCESS);
    }
    start(app, &loaded, &services, &changed, &mut errors).map_err(one)?;
    if let Some(place) = places.first() {
        linger::note(app, manager, &place.name);
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    if verb.detach {
        return Ok(ExitCode::SUCCESS);
    }
    let attached: Vec<MachineName> =
        places.iter().filter(|place| place.service.attach).map(|place| place.name.clone()).collect();
    let signal = logs::follow_until_end(app, &attached, began).map_err(one)?;
    let Some(signal) = signal else { return Ok(ExitCode::SUCCESS) };
    output::note("stopping");
    let errors = staged::stop(app, ours(app, &loaded, &services).map_err(one)?, StopMode::Graceful(None));
    if errors.is_empty() { Ok(ExitCode::from(128u8.wrapping_add(signal))) } else { Err(errors) }
}

/// Who keeps them: as asked, else as before.
fn manager(verb: &UpArgs, there: &[Member], enable: bool) -> Manager {
    match there.first() {
        _ if verb.systemd => Manager::Systemd,
        Some(member) => member.record.manager,
        None if enable => Manager::Systemd,
        None => Manager::Local,
    }
}

/// The project with these services alone.
fn in_use(loaded: &Loaded, services: &[&Service]) -> crate::compose::Project {
    let mut project = loaded.project.clone();
    project.file.services = services.iter().map(|service| (*service).clone()).collect();
    project
}

/// The machines of these services.
fn ours(app: &App, loaded: &Loaded, services: &[&Service]) -> Result<Vec<Member>> {
    let mut members = labels::members(app, &loaded.project.name)?;
    members.retain(|member| services.iter().any(|service| service.name == member.service));
    Ok(members)
}

fn orphans(
    app: &App,
    loaded: &Loaded,
    there: Vec<Member>,
    places: &[super::wanted::Place<'_>],
    verb: &UpArgs,
) -> Vec<Error> {
    let services = loaded.project.file.services.iter().map(|service| service.name.clone());
    let known: Vec<String> = services.chain(loaded.project.others.clone()).collect();
    let orphans = plan::orphans(there, places, &known);
    let (fewer, orphans): (Vec<_>, Vec<_>) = orphans.into_iter().partition(|member| known.contains(&member.service));
    // A service that has fewer machines now is what the file says.
    let mut errors = staged::remove(app, fewer, StopMode::Graceful(None));
    if verb.remove_orphans {
        errors.extend(staged::remove(app, orphans, StopMode::Graceful(None)));
    } else if !orphans.is_empty() {
        let names: Vec<&str> = orphans.iter().map(|member| member.name.as_str()).collect();
        log::warn!("machines that the file has no service for: {} (--remove-orphans removes them)", names.join(", "));
    }
    errors
}

fn carry_out(app: &App, manager: Manager, boot: Boot, step: Step) -> Result<()> {
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
    if service.get(name)?.state.is_live() {
        service.stop(name, StopMode::Graceful(None))?;
    }
    let _claim = app.store.claim(name)?;
    let record = Record { id: old.id, created: old.created, stale: units == Units::Made, ..new.record };
    app.local().redefine(record, old).with_context(cannot)?;
    new.held.keep();
    if waits_for_reload {
        let unit = systemd::service_name(name);
        log::warn!("{unit} is as the file says after `systemctl daemon-reload` and a restart");
    }
    Ok(())
}

/// Lets go of the units of machines that wait for some which are made anew: systemd keeps a unit that another one names,
/// and makes none of that name. They are started again with the rest.
fn let_go(app: &App, there: &[Member], steps: &[Step]) -> Vec<Error> {
    let anew: Vec<String> =
        steps.iter().filter(|step| step.units == Units::Made).map(|step| step.service.clone()).collect();
    let systemd = app.systemd();
    let mut held = labels::dependents(there, &anew);
    held.retain(|member| !systemd.is_of_a_file(&member.name));
    let mut errors = staged::stop(app, held.clone(), StopMode::Graceful(None));
    errors.extend(held.iter().filter_map(|member| systemd.unload(&member.record).err()));
    errors
}

/// Starts what is down, but for what did all that it was for; and again what wants to be where another was changed.
fn start(app: &App, loaded: &Loaded, services: &[&Service], changed: &[String], errors: &mut Vec<Error>) -> Result<()> {
    let all = ours(app, loaded, services)?;
    let is_done = |member: &Member| {
        let view = app.service_of(&member.name).and_then(|service| service.get(&member.name));
        member.record.spec.restart == RestartPolicy::No
            && view.is_ok_and(|view| {
                view.state == State::Exited && view.exit.is_some_and(|exit| exit.reason == Reason::Finished)
            })
    };
    let restarts = |member: &Member| {
        let service = services.iter().find(|service| service.name == member.service);
        service.is_some_and(|service| service.depends_on.iter().any(|on| on.restart && changed.contains(&on.service)))
    };
    let again: Vec<Member> = all.iter().filter(|member| restarts(member)).cloned().collect();
    errors.extend(staged::stop(app, again, StopMode::Graceful(None)));
    let optional = |member: &Member| {
        let service = services.iter().find(|service| service.name == member.service)?;
        Some(service.depends_on.iter().filter(|on| !on.required).map(|on| on.service.clone()).collect::<Vec<_>>())
    };
    let mut to_start: Vec<Member> = all.iter().filter(|member| !is_done(member)).cloned().collect();
    for member in &mut to_start {
        // What it can do without is not waited for.
        let optional = optional(member).unwrap_or_default();
        member.waits.retain(|(service, _)| !optional.contains(service));
    }
    errors.extend(staged::start(app, to_start, &all));
    Ok(())
}
