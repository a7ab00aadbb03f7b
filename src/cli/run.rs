//! `kraft run`: create and start, then follow the console until the machine ends or the person goes away.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::app::App;
use super::follow::{self, End};
use super::held::HeldParts;
use super::output::Format;
use super::spec_args::SpecArgs;
use super::wanted::NewMachine;
use super::{Outcome, linger, output};
use crate::error::{Error, Result};
use crate::lifecycle::{self, EventKind, EventLog};
use crate::machine::{MachineName, MachineService, Manager, Record};
use crate::runner::{self, ConsoleMode};
use crate::store::Claim;

/// Create and start a machine
///
/// Without --detach the guest's console is shown until it ends. Ctrl-C stops a machine that kraft runs itself, and only
/// detaches from one that systemd runs.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    spec: SpecArgs,

    /// Print the name and return once the guest runs
    #[arg(short, long)]
    detach: bool,

    /// Create the machine and print its name, without starting it
    #[arg(long, conflicts_with_all = ["detach", "wait"])]
    no_start: bool,

    /// Wait until the machine ends, without showing its console, and end with its exit code
    #[arg(long, conflicts_with = "detach")]
    wait: bool,

    /// Do not print the name
    #[arg(short, long)]
    quiet: bool,

    /// Say what WHAT is taken for and why, and what would be run; run and change nothing
    #[arg(long, conflicts_with_all = ["detach", "no_start", "wait"])]
    explain: bool,

    /// The form of what --explain says
    #[arg(short, long, value_name = "FORM", value_enum, default_value_t = Format::Table, requires = "explain")]
    output: Format,
}

pub(crate) fn run(app: &App, args: RunArgs) -> Outcome {
    try_run(app, args).map_err(|error| vec![error])
}

fn try_run(app: &App, args: RunArgs) -> Result<ExitCode> {
    let RunArgs { spec, detach, no_start, wait, quiet, explain, output } = args;
    if explain {
        return spec.explain(app, output).map(|()| ExitCode::SUCCESS);
    }
    let manager = spec.manager();
    let boot = spec.boot();
    let NewMachine { record, held } = spec.into_record(app)?;
    let name = record.spec.name.clone();
    let say_name = || if quiet { Ok(()) } else { output::line(&name) };

    if no_start {
        app.service(manager).create(record)?;
        held.keep();
        boot.settle(app, &name)?;
        say_name()?;
        return Ok(ExitCode::SUCCESS);
    }
    lifecycle::ports::check(&app.store, &record)?;
    if manager == Manager::Local && !detach && !wait {
        return foreground(app, record, held);
    }
    let remove = record.spec.auto_remove;
    let service = app.service(manager);
    if detach {
        service.create_and_start(record)?;
        held.keep();
        boot.settle(app, &name)?;
        linger::note(app, manager, &name);
        say_name()?;
        return Ok(ExitCode::SUCCESS);
    }
    let _claim = if remove {
        Some(create_claim_and_start(app, service.as_ref(), record)?)
    } else {
        service.create_and_start(record)?;
        None
    };
    held.keep();
    boot.settle(app, &name)?;
    let end = if wait { follow::quietly(app, manager, &name) } else { follow::console(app, manager, &name) }?;
    match end {
        End::Ended(exit) => {
            if remove {
                service.delete(&name)?;
            }
            if let Some(exit) = exit.as_ref().filter(|exit| !exit.is_success()) {
                output::note(format!("{name}: {exit}"));
            }
            Ok(ExitCode::from(exit.map_or(125, |exit| exit.code)))
        }
        End::Detached => {
            output::note(format!("detached from {name}, which goes on: `kraft logs -f {name}`, `kraft stop {name}`"));
            Ok(ExitCode::SUCCESS)
        }
        End::Gone => Err(Error::new(format!("machine {name} was removed"))),
    }
}

/// Whoever looks at the end removes the machine after it; the runner's own clean-up leaves a claimed one alone. Claimed
/// before the start, as the guest may end right behind it.
fn create_claim_and_start(app: &App, service: &dyn MachineService, record: Record) -> Result<Claim> {
    service.create(record.clone())?;
    let claim = app.store.claim_same(&record)?;
    match service.start(&record.spec.name) {
        Ok(_) => Ok(claim),
        Err(error) => {
            drop(claim);
            app.store.take_back(&record, |name| service.delete(name));
            Err(error)
        }
    }
}

/// Runs the machine in this process, its console on our standard output.
fn foreground(app: &App, record: Record, mut held: HeldParts<'_>) -> Result<ExitCode> {
    let name = record.spec.name.clone();
    let remove = record.spec.auto_remove;
    let service = app.local();
    service.create(record.clone())?;
    held.files_taken();
    let outcome = runner::run(&app.store, &name, ConsoleMode::LogAndShow, &|| Duration::ZERO);
    let never_ran = outcome.as_ref().map_or(true, |exit| exit.reason == crate::machine::Reason::StartFailed);
    if remove || never_ran {
        remove_after(&service, app, &name, &record);
    }
    if !never_ran {
        held.keep();
    }
    let exit = outcome?;
    if exit.reason == crate::machine::Reason::StartFailed {
        let kind = match exit.code {
            126 => crate::error::Kind::CannotRun,
            127 => crate::error::Kind::NotFound,
            _ => crate::error::Kind::Failed,
        };
        return Err(Error::of(kind, format!("cannot start {name}: {}", exit.detail)));
    }
    if !exit.is_success() {
        output::note(format!("{name}: {exit}"));
    }
    Ok(ExitCode::from(exit.code))
}

fn remove_after(service: &impl MachineService, app: &App, name: &MachineName, record: &Record) {
    if let Err(error) = service.delete(name) {
        log::warn!("cannot remove {name}: {error}");
        EventLog::of(&app.store).append(EventKind::Remove, record, None);
    }
}
