//! The runner: the foreground process that owns one machine's life, from the first breath to the recorded end.
//!
//! One thread, one `poll` loop over the signals, the VMM's process, its monitor and its complaints. Under systemd the
//! guest's console is this process's own standard output, inherited by the VMM; under the local manager the bytes pass
//! through here on their way into the console log; so do they under systemd where a line of them makes the machine ready.

mod complaints;
mod console;
mod drain;
mod expiry;
mod forward;
mod heartbeat;
mod lines;
mod notify;
mod oom;
mod prepare;
mod probe;
mod supervise;
mod wait;

use std::time::Duration;

use jiff::Timestamp;

use crate::error::{Error, Kind, Result};
use crate::image;
use crate::lifecycle::{self, Begin, Handover, Verdict};
use crate::machine::{Exit, MachineName, Manager, Phase, Reason, Record, Status};
use crate::paths::Paths;
use crate::signals::Signals;
use crate::store::{RunnerLock, Store, no_such_machine};

pub use oom::oom_kills;
pub use prepare::prepare;

use console::Console;
use lines::Lines;
use notify::Notifier;
use supervise::{Given, Supervisor};

/// What becomes of the guest's console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsoleMode {
    /// It is this process's standard output: systemd's journal reads it there.
    Inherit,
    /// It is kept in the machine's console log.
    Log,
    /// It is kept in the machine's console log, and shown on standard output.
    LogAndShow,
}

/// Runs a machine until it is down for good. Under the systemd manager that is one life of the guest, as systemd does
/// the restarts; under the local manager it is as many as its policy gives it.
///
/// `delay` tells how long its manager itself may have waited before a restart, if this is one. The exit is recorded. Its code is what this process is
/// to end with.
///
/// # Errors
/// When there is no such machine, or it runs already. What befalls the guest is an exit and not an error.
pub fn run(store: &Store, name: &MachineName, mode: ConsoleMode, delay: &dyn Fn() -> Duration) -> Result<Exit> {
    let signals = Signals::block()?;
    let notifier = Notifier::new();
    let _lock = match store.lock_runner(name) {
        Ok(lock) => lock,
        // Another runner has it: its end is not ours to tell.
        Err(error) if error.kind() == Kind::Conflict => return Err(error),
        // The lock is beside the record: it cannot be had of a machine that was removed.
        Err(_) if !store.directory(name).exists() => return Err(no_such_machine(name.as_str())),
        Err(error) => return not_even_begun(store, name, &notifier, &error),
    };
    // Read once the lock is held: from here on nobody removes the machine without ending this process first.
    let record = store.read(name)?;
    if let Err(error) = store.make_runtime(name) {
        return not_even_begun(store, name, &notifier, &error);
    }
    loop {
        // A request that came too late for the last life is not meant for this one.
        store.take_stop_request(name);
        let exit = live(store, &record, &signals, &notifier, mode, delay)?;
        let restarts =
            record.manager == Manager::Local && store.status(name)?.is_some_and(|s| s.phase == Phase::Restarting);
        if !restarts {
            return Ok(exit);
        }
    }
}

/// Runs a machine whose start was [prepared](prepare), with nothing but what was handed over.
///
/// # Errors
/// When that is not whole. What befalls the guest is an exit and not an error.
pub fn run_prepared(paths: Paths, mut given: Handover) -> Result<Exit> {
    let signals = Signals::block()?;
    let notifier = Notifier::new();
    let (lock, notes) = given.take_books()?;
    let _lock = RunnerLock::adopt(lock)?;
    let store = Store::confined(paths, notes);
    let record = given.record().clone();
    let mut status = Status { runner_pid: std::process::id(), ..given.status().clone() };
    let name = &record.spec.name;
    let outcome = store.write_status(name, &status).and_then(|()| {
        let mode = ConsoleMode::Inherit;
        let console = Console::open(&store.console_log(name), mode, Lines::of(&record.spec.ready)?)?;
        let (store, record, signals, notifier) = (&store, &record, &signals, &notifier);
        Supervisor { store, record, status: &mut status, signals, notifier, told: None }
            .run(console, Given::Prepared(Box::new(given)))
    });
    Ok(end(&store, &record, &mut status, &notifier, ConsoleMode::Inherit, outcome))
}

fn not_even_begun(store: &Store, name: &MachineName, notifier: &Notifier, error: &Error) -> Result<Exit> {
    let exit = never_ran(error);
    notifier.ended(&exit);
    store.write_exit(name, &exit)?;
    Ok(exit)
}

/// A new life's status, and how long to wait before its guest is started.
fn begin(store: &Store, name: &MachineName, delay: &dyn Fn() -> Duration) -> (Status, Result<Duration>) {
    let (pid, now) = (std::process::id(), Timestamp::now());
    match lifecycle::begin(store, name, pid, now, delay) {
        Ok(Begin { status, wait }) => (status, Ok(wait)),
        Err(error) => (Status::starting(pid, now), Err(error)),
    }
}

/// Waits for that long; the end of a machine that is stopped meanwhile.
fn wait_out(
    store: &Store,
    name: &MachineName,
    signals: &Signals,
    notifier: &Notifier,
    wait: Duration,
    restarts: u32,
) -> Result<Option<Exit>> {
    if wait.is_zero() || !wait::interrupted(signals, notifier, wait, restarts)? {
        return Ok(None);
    }
    let kill = store.take_stop_request(name).is_some_and(|request| request.kill);
    let (reason, code) = if kill { (Reason::Killed, 137) } else { (Reason::Stopped, 0) };
    Ok(Some(Exit { at: Timestamp::now(), reason, code, detail: String::new() }))
}

/// One life of the guest, recorded.
fn live(
    store: &Store,
    record: &Record,
    signals: &Signals,
    notifier: &Notifier,
    mode: ConsoleMode,
    delay: &dyn Fn() -> Duration,
) -> Result<Exit> {
    let name = &record.spec.name;
    let (mut status, begun) = begin(store, name, delay);
    let outcome = begun.and_then(|wait| {
        store.write_status(name, &status)?;
        if let Some(exit) = wait_out(store, name, signals, notifier, wait, status.restarts)? {
            return Ok(exit);
        }
        look_at_files(record)?;
        let console = Console::open(&store.console_log(name), mode, Lines::of(&record.spec.ready)?)?;
        Supervisor { store, record, status: &mut status, signals, notifier, told: None }.run(console, Given::Nothing)
    });
    Ok(end(store, record, &mut status, notifier, mode, outcome))
}

/// Records how it came out, and tells the manager.
fn end(
    store: &Store,
    record: &Record,
    status: &mut Status,
    notifier: &Notifier,
    mode: ConsoleMode,
    outcome: Result<Exit>,
) -> Exit {
    let name = &record.spec.name;
    let exit = outcome.unwrap_or_else(|error| never_ran(&error));
    if mode == ConsoleMode::Inherit
        && let Err(error) = drain::drained(std::io::stdout())
    {
        log::debug!("{error}");
    }
    notifier.ended(&exit);
    // How it ended is to be known even where somebody removed the runtime directory: a user's goes with the last session.
    if let Err(error) = store.make_runtime(name) {
        log::warn!("{error}");
    }
    match lifecycle::finish(store, record, status, exit.clone()) {
        Ok(Verdict::Restart | Verdict::Final) => {}
        // The guest's end is the truth even where it cannot be written; the sweep tries once more.
        Err(error) => log::error!("cannot record how {name} ended: {error}"),
    }
    exit
}

/// The guest's files are still what they were when the machine was created.
fn look_at_files(record: &Record) -> Result<()> {
    image::kernel::check(&record.spec.kernel.path, record.spec.arch)?;
    match &record.spec.initrd {
        Some(initrd) => image::initrd::check(initrd),
        None => Ok(()),
    }
}

/// The exit of a guest whose VMM could not even be started.
fn never_ran(error: &Error) -> Exit {
    Exit { at: jiff::Timestamp::now(), reason: Reason::StartFailed, code: error.exit_code(), detail: error.to_string() }
}
