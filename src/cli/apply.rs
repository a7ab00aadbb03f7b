//! `kraft apply`: the host made equal to a directory of machine files. First all of them are read and settled, then what
//! differs is changed.

pub(super) mod plan;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::app::App;
use super::held::HeldParts;
use super::wanted::NewMachine;
use super::{Outcome, complete, output};
use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::{MachineName, MachineService, Manager, Pull, Record, StopMode};
use crate::systemd::SystemdService;

use plan::{Action, How, Plan, Purpose, Step, Unlisted};

/// Make the machines equal to the files of a directory
///
/// Each NAME.toml in DIR is a machine that systemd runs: one that is missing is created and started, one that differs is
/// made anew, and started again if it ran; one that is equal goes on undisturbed. All files are checked before anything is
/// done. What is done is printed, one line a machine.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// The directory of machine files
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: PathBuf,

    /// Remove machines that were applied from DIR earlier and have no file there any more
    #[arg(long)]
    prune: bool,

    /// Say what would be done and do nothing: images that are not there are not fetched
    #[arg(long)]
    dry_run: bool,

    /// Do not start the machines that are created
    #[arg(long)]
    no_start: bool,

    /// When to fetch the images that files name: if one is not there, each time, or not at all; whatever the files say
    #[arg(long, value_name = "missing|always|never", add = complete::words(Pull::ALL))]
    pull: Option<Pull>,
}

pub(crate) fn apply(app: &App, args: &ApplyArgs) -> Outcome {
    let unlisted = if args.prune { Unlisted::Remove } else { Unlisted::Leave };
    let purpose = if args.dry_run { Purpose::Tell } else { Purpose::Do };
    let how = How { purpose, unlisted, pull: args.pull };
    let Plan { steps, images: _images } = Plan::of(app, &args.dir, how)?;
    if args.dry_run {
        let said = steps.iter().try_for_each(|step| say(step.action, &step.name));
        return output::done(said);
    }
    let service = app.systemd();
    let (mut errors, mut to_start) = (Vec::new(), Vec::new());
    for step in steps {
        let (action, name) = (step.action, step.name.clone());
        match carry_out(app, &service, step) {
            Ok(Then::Start) => to_start.push((action, name)),
            Ok(Then::Leave) if action == Action::Created && !args.no_start => to_start.push((action, name)),
            Ok(Then::Leave) => errors.extend(say(action, &name).err()),
            Err(error) => errors.push(error),
        }
    }
    // All are there by now that one may need.
    for (action, name) in to_start {
        let started = app.store.claim(&name).and_then(|_claim| service.start(&name));
        errors.extend(started.and_then(|_| say(action, &name)).err());
    }
    if errors.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(errors) }
}

fn say(action: Action, name: &MachineName) -> Result<()> {
    output::line(format!("{action} {name}"))
}

/// What is left to do once all machines are there.
pub(super) enum Then {
    Start,
    Leave,
}

fn carry_out(app: &App, service: &SystemdService, step: Step) -> Result<Then> {
    let Step { name, action, wanted, old } = step;
    match (action, wanted, old) {
        (Action::Created, Some(settled), _) => {
            let NewMachine { record, held } = settled.make(app, Manager::Systemd)?;
            create(service, record, held)?;
            Ok(Then::Leave)
        }
        (Action::Changed, Some(settled), Some(old)) => {
            let new = settled.make(app, Manager::Systemd).with_context(|| format!("cannot change {name}"))?;
            replace(app, service, new, old)
        }
        (Action::Removed, _, _) => remove(app, service, &name).map(|()| Then::Leave),
        (Action::Created | Action::Changed | Action::Unchanged, _, _) => Ok(Then::Leave),
    }
}

pub(super) fn create(service: &dyn MachineService, record: Record, held: HeldParts<'_>) -> Result<()> {
    service.create(record)?;
    held.keep();
    Ok(())
}

/// Makes a machine anew. If that fails, it is what it was.
pub(super) fn replace(app: &App, service: &dyn MachineService, new: NewMachine<'_>, old: Record) -> Result<Then> {
    let name = old.spec.name.clone();
    let ran = service.get(&name)?.state.is_live();
    // What it was stays until it is known that it is not needed any more.
    let _files = (app.store.rootfs_cache()?, app.store.copies()?);
    remove(app, service, &name)?;
    let Err(error) = create(service, new.record, new.held) else {
        return Ok(if ran { Then::Start } else { Then::Leave });
    };
    let error = error.context(format!("cannot change {name}"));
    let back = service.create(old).and_then(|_| if ran { service.start(&name).map(drop) } else { Ok(()) });
    Err(match back {
        Ok(()) => error,
        Err(worse) => Error::new(format!("{error}; what it was cannot be had back: {worse}")),
    })
}

pub(super) fn remove(app: &App, service: &dyn MachineService, name: &MachineName) -> Result<()> {
    // Stopped before it is claimed: a start that hangs holds the claim, and is ended by this.
    if service.get(name).is_ok_and(|view| view.state.is_live()) {
        service.stop(name, StopMode::Graceful(None))?;
    }
    match app.store.claim(name) {
        Ok(_claim) => service.delete(name),
        Err(error) if error.kind() == Kind::NoSuchMachine => Ok(()),
        Err(error) => Err(error),
    }
}
