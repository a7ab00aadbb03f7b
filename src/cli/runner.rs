//! `kraft runner`: what a unit's ExecStart and ExecStopPost run, and what a detached local machine is. Not for people.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::app::App;
use super::compose::{self, Awaited};
use super::{Outcome, declare};
use crate::error::{Error, Kind, Result};
use crate::lifecycle::{self, Cause, Handover, Verdict};
use crate::logging;
use crate::machine::{MachineName, MachineService as _, Manager, Record, RestartPolicy};
use crate::paths::{self, Scope};
use crate::runner::{self, ConsoleMode, oom_kills};
use crate::systemd;

/// `$EXIT_STATUS` of a unit whose credentials could not be had (systemd.exec(5)).
const CREDENTIALS: &str = "243";

/// Run a machine in the foreground; for units and for kraft itself
#[derive(Debug, Args)]
pub(crate) struct RunnerArgs {
    /// The machine
    name: MachineName,

    /// Put in order what a runner left that is dead
    #[arg(long)]
    sweep: bool,

    /// Make the machine's record of its file, if it has not been made of it
    #[arg(long, conflicts_with = "sweep")]
    declared: bool,

    /// Fail by this, which is wrong in the machine's file
    #[arg(long, value_name = "FLAW", conflicts_with_all = ["sweep", "declared"])]
    broken: Vec<String>,
    /// Register a machine that runs with systemd-machined
    #[arg(long, conflicts_with = "sweep")]
    register: bool,

    /// Wait until another machine has come to this, which decides whether this one is started; may be repeated
    #[arg(long, value_name = "MACHINE:CONDITION", conflicts_with_all = ["sweep", "declared", "register", "prepare"])]
    awaits: Vec<Awaited>,

    /// Make all that the runner needs and may not make itself
    #[arg(long, conflicts_with_all = ["sweep", "declared", "register"])]
    prepare: bool,
}

pub(crate) fn runner(app: &App, args: &RunnerArgs, level: log::LevelFilter) -> Outcome {
    let privileged = args.sweep || args.prepare || args.declared;
    if privileged && app.scope == Scope::System && rustix::process::geteuid().is_root() {
        match lifecycle::enter_host() {
            Err(error) if args.prepare => return Err(vec![error]),
            // What cannot be done from here says so itself.
            Ok(()) | Err(_) => {}
        }
    }
    if !args.awaits.is_empty() {
        logging::to_stderr(level);
        let cannot = |error: Error| vec![error.context(format!("{} is not started", args.name))];
        return compose::await_all(app, &args.awaits).map(|()| ExitCode::SUCCESS).map_err(cannot);
    }
    if args.declared || !args.broken.is_empty() {
        logging::to_stderr(level);
        return before_it_runs(app, args);
    }
    if !privileged
        && !args.register
        && let Some(given) = Handover::take().map_err(|error| vec![error])?
    {
        return prepared(app, given, level).map_err(|error| vec![error]);
    }
    let record = app.store.read(&args.name);
    if args.sweep && record.as_ref().is_err_and(|error| error.kind() == Kind::NoSuchMachine) {
        // It never came to a record: nothing is to be put in order, and a first start that failed is not tried again.
        if declare::is_restarted(app, &args.name) {
            app.systemd().forbid_restart(&args.name).map_err(|error| vec![error])?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    match &record {
        Ok(record) if record.manager == Manager::Systemd => {
            // The journal has room for what a person at a terminal would not want to read.
            logging::to_journal(level.max(log::LevelFilter::Info), record.spec.name.as_str(), &record.id.to_string());
        }
        _ => logging::to_stderr(level),
    }
    let code = record.and_then(|record| match (args.sweep, args.register, args.prepare) {
        (true, _, _) => sweep(app, &record),
        (false, true, _) => register(app, &record),
        (false, false, true) => prepare(app, &record),
        (false, false, false) => live(app, &record),
    });
    code.map_err(|error| vec![error])
}

/// What the unit of a declared machine does before the runner is started.
fn before_it_runs(app: &App, args: &RunnerArgs) -> Outcome {
    if !args.broken.is_empty() {
        return Err(args.broken.iter().map(Error::new).collect());
    }
    declare::declare(app, &args.name).map(|()| ExitCode::SUCCESS).map_err(|error| {
        declare::tell(&error);
        vec![error]
    })
}

/// As the unit beside the machine's. The machine may have been restarted meanwhile.
fn register(app: &App, record: &Record) -> Result<ExitCode> {
    let leader = || -> Result<Option<u32>> {
        let status = app.store.status(&record.spec.name)?;
        Ok(status.filter(|status| status.running_since.is_some() && status.vmm_pid.is_some()).map(|s| s.runner_pid))
    };
    let mut registered = None;
    while let Some(pid) = leader()?.filter(|&pid| registered != Some(pid)) {
        registered = Some(pid);
        if let Err(error) = systemd::register(record, pid) {
            log::warn!("{error}");
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The privileged part of a start.
fn prepare(app: &App, record: &Record) -> Result<ExitCode> {
    let delay = || app.systemd().restart_delay(record);
    let ended = runner::prepare(&app.store, &record.spec.name, &delay)?;
    Ok(ended.map_or(ExitCode::SUCCESS, |exit| ExitCode::from(exit.code)))
}

/// The other part of it, as the machine's own user.
fn prepared(app: &App, given: Handover, level: log::LevelFilter) -> Result<ExitCode> {
    let record = given.record();
    logging::to_journal(level.max(log::LevelFilter::Info), record.spec.name.as_str(), &record.id.to_string());
    runner::run_prepared(app.store.paths().clone(), given).map(|exit| ExitCode::from(exit.code))
}

fn live(app: &App, record: &Record) -> Result<ExitCode> {
    let name = &record.spec.name;
    let mode = match record.manager {
        Manager::Systemd => ConsoleMode::Inherit,
        Manager::Local => ConsoleMode::Log,
    };
    let delay = || match record.manager {
        Manager::Systemd => app.systemd().restart_delay(record),
        Manager::Local => Duration::ZERO,
    };
    let exit = runner::run(&app.store, name, mode, &delay)?;
    // Under systemd the unit is still there: its sweep removes the machine.
    if record.spec.auto_remove && record.manager == Manager::Local && claim_is_free(app, name) {
        app.local().delete(name)?;
    }
    Ok(ExitCode::from(exit.code))
}

/// The end of a unit, however it came.
fn sweep(app: &App, record: &Record) -> Result<ExitCode> {
    let name = &record.spec.name;
    let variable = |name| paths::environment_variable(name).unwrap_or_default().to_string_lossy().into_owned();
    let cause = match variable("SERVICE_RESULT") {
        result if result.is_empty() => Cause::Gone,
        result => {
            Cause::Unit { result, code: variable("EXIT_CODE"), status: variable("EXIT_STATUS"), oom: oom_kills() > 0 }
        }
    };
    let verdict = match without_secrets(record, &cause) {
        Some(why) => {
            log::error!("{name}: {why}");
            lifecycle::never_began(&app.store, record, why).map(|()| Some(Verdict::Final))?
        }
        None => lifecycle::sweep(&app.store, record, &cause)?,
    };
    if verdict != Some(Verdict::Final) {
        return Ok(ExitCode::SUCCESS);
    }
    if record.spec.auto_remove {
        if claim_is_free(app, name) {
            app.systemd().release(name, record.spec.slice.as_deref())?;
            app.local().delete(name)?;
        }
    } else if systemd_would_restart(app, record)? {
        app.systemd().forbid_restart(name)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Why systemd could not load the machine's secrets, if that is what kept it from starting. systemd says only that something
/// is wrong with them; and not even that if the preparation, which is first, was not started for it.
fn without_secrets(record: &Record, cause: &Cause) -> Option<String> {
    let Cause::Unit { result, code, status, .. } = cause else { return None };
    let why = || lifecycle::secrets::check(&record.spec, record.manager).err().map(|error| error.to_string());
    if status == CREDENTIALS {
        return Some(why().unwrap_or_else(|| "systemd cannot load its secrets".to_owned()));
    }
    if result == "exit-code" && code.is_empty() { why() } else { None }
}

/// The unit knows no count of restarts, no first start that failed, and no policy that was changed since it was made.
fn systemd_would_restart(app: &App, record: &Record) -> Result<bool> {
    if record.spec.unit_restart() == RestartPolicy::No && !record.stale {
        return Ok(false);
    }
    let exit = app.store.last_exit(&record.spec.name)?;
    Ok(exit.is_some_and(|exit| !exit.reason.is_on_request()))
}

/// Somebody who watches the end of a machine claims it, and removes it when done.
fn claim_is_free(app: &App, name: &MachineName) -> bool {
    matches!(app.store.try_claim(name), Ok(Some(_)))
}
