//! Doing something to machines, several at once, group by group in the order of their services.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::condition::{Awaited, await_all};
use super::labels::{Member, in_levels};
use crate::cli::app::App;
use crate::cli::disable::{self, Removed};
use crate::cli::output;
use crate::error::{Error, Kind, Result};
use crate::lifecycle::secrets;
use crate::machine::{MachineName, Phase, Reason, RestartPolicy, State, StopMode, View};

/// As many at once.
const WORKERS: usize = 16;

/// Does the same to each, several at once; the errors.
pub(super) fn each<T: Sync>(items: &[T], act: impl Fn(&T) -> Result<()> + Sync) -> Vec<Error> {
    let (next, errors) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = act(item)
                && let Ok(mut errors) = errors.lock()
            {
                errors.push(error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..WORKERS.min(items.len()) {
            scope.spawn(work);
        }
        work();
    });
    errors.into_inner().unwrap_or_default()
}

/// What a machine of a project waits for: all machines of the services that it names.
pub(super) fn awaited(member: &Member, all: &[Member]) -> Vec<Awaited> {
    let of = |(service, condition): &(String, crate::compose::Condition)| {
        let condition = *condition;
        let machines: Vec<Awaited> = all
            .iter()
            .filter(|other| other.service == *service)
            .map(|other| Awaited { machine: other.name.clone(), condition })
            .collect();
        machines
    };
    member.waits.iter().flat_map(of).collect()
}

/// How machines are started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Starting<'a> {
    /// All machines that one may wait for.
    pub(super) all: &'a [Member],
    pub(super) done: Done,
    /// Somebody had enough of it: no more are started.
    pub(super) enough: &'a AtomicBool,
}

/// What becomes of a machine that did all that it was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    /// It is left alone.
    Leave,
    /// It does it again.
    Again,
}

/// It did all that it was for.
pub(super) fn is_done(member: &Member, view: &View) -> bool {
    let finished = view.exit.as_ref().is_some_and(|exit| exit.reason == Reason::Finished);
    member.record.spec.restart == RestartPolicy::No && view.state == State::Exited && finished
}

/// Starts machines in the order of their services, each when what it waits for has come to that; the errors.
pub(super) fn start(app: &App, members: Vec<Member>, how: Starting<'_>) -> Vec<Error> {
    let mut errors = Vec::new();
    for group in in_levels(members) {
        errors.extend(each(&group, |member| start_one(app, member, how)));
    }
    errors
}

fn start_one(app: &App, member: &Member, how: Starting<'_>) -> Result<()> {
    let name = &member.name;
    await_all(app, &awaited(member, how.all)).map_err(|error| error.context(format!("cannot start {name}")))?;
    let claim = app.claim(name)?;
    if how.enough.load(Ordering::SeqCst) {
        return Ok(());
    }
    let service = app.service_of(name)?;
    let view = service.get(name)?;
    // Somebody else may have started it meanwhile.
    if view.state.is_live() || (how.done == Done::Leave && is_done(member, &view)) {
        return Ok(());
    }
    if claim.is_some() {
        secrets::check(&member.record.spec, member.record.manager)?;
    }
    service.start(name)?;
    output::line(format!("started {name}"))
}

/// Stops machines against the order of their services; the errors.
pub(super) fn stop(app: &App, members: Vec<Member>, mode: StopMode) -> Vec<Error> {
    let mut errors = Vec::new();
    for group in in_levels(members).into_iter().rev() {
        errors.extend(each(&group, |member| {
            if stop_one(app, &member.name, mode)? { output::line(format!("stopped {}", member.name)) } else { Ok(()) }
        }));
    }
    errors
}

/// Whether it ran, or was about to.
fn stop_one(app: &App, name: &MachineName, mode: StopMode) -> Result<bool> {
    let service = app.service_of(name)?;
    let view = service.get(name)?;
    let starts = view.status.is_some_and(|status| status.phase == Phase::Starting);
    // One that waits for a condition of its start does not show it, and is stopped, too.
    service.stop(name, mode)?;
    Ok(view.state.is_live() || starts)
}

/// Stops machines against the order of their services and removes them; the errors.
pub(super) fn remove(app: &App, members: Vec<Member>, mode: StopMode) -> Vec<Error> {
    let mut errors = Vec::new();
    for group in in_levels(members).into_iter().rev() {
        errors.extend(each(&group, |member| {
            let name = &member.name;
            if remove_one(app, name, mode)? { output::line(format!("removed {name}")) } else { Ok(()) }
        }));
    }
    errors
}

/// Whether it was there.
fn remove_one(app: &App, name: &MachineName, mode: StopMode) -> Result<bool> {
    if let Removed::Theirs(file) = disable::look(app, name)? {
        return Err(Error::of(Kind::Conflict, format!("cannot remove {name}: it is declared in {file}"))
            .with_hint(format!("remove that file, then `kraft rm {name}`")));
    }
    match stop_one(app, name, mode) {
        Err(error) if error.kind() == Kind::NoSuchMachine => return Ok(false),
        stopped => stopped?,
    };
    match app.store.claim(name) {
        Ok(_claim) => {
            disable::remove_file(app, name)?;
            app.service_of(name)?.delete(name).map(|()| true)
        }
        // Somebody else was faster, or it removed itself.
        Err(error) if error.kind() == Kind::NoSuchMachine => Ok(false),
        Err(error) => Err(error),
    }
}
