//! Doing something to machines, several at once, group by group in the order of their services.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::condition::{Awaited, await_all};
use super::labels::{Member, in_levels};
use crate::cli::app::App;
use crate::cli::disable::{self, Removed};
use crate::cli::output;
use crate::error::{Error, Kind, Result};
use crate::lifecycle::secrets;
use crate::machine::{MachineName, StopMode};

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

/// Starts machines in the order of their services, each when what it waits for has come to that; the errors.
pub(super) fn start(app: &App, members: Vec<Member>, all: &[Member]) -> Vec<Error> {
    let mut errors = Vec::new();
    for group in in_levels(members) {
        errors.extend(each(&group, |member| start_one(app, member, all)));
    }
    errors
}

fn start_one(app: &App, member: &Member, all: &[Member]) -> Result<()> {
    let name = &member.name;
    await_all(app, &awaited(member, all)).map_err(|error| error.context(format!("cannot start {name}")))?;
    let claim = app.claim(name)?;
    let service = app.service_of(name)?;
    if service.get(name)?.state.is_live() {
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

/// Whether it ran.
fn stop_one(app: &App, name: &MachineName, mode: StopMode) -> Result<bool> {
    let service = app.service_of(name)?;
    if !service.get(name)?.state.is_live() {
        return Ok(false);
    }
    service.stop(name, mode)?;
    Ok(true)
}

/// Stops machines against the order of their services and removes them; the errors.
pub(super) fn remove(app: &App, members: Vec<Member>, mode: StopMode) -> Vec<Error> {
    let mut errors = Vec::new();
    for group in in_levels(members).into_iter().rev() {
        errors.extend(each(&group, |member| {
            remove_one(app, &member.name, mode)?;
            output::line(format!("removed {}", member.name))
        }));
    }
    errors
}

fn remove_one(app: &App, name: &MachineName, mode: StopMode) -> Result<()> {
    if let Removed::Theirs(file) = disable::look(app, name)? {
        return Err(Error::of(Kind::Conflict, format!("cannot remove {name}: it is declared in {file}"))
            .with_hint(format!("remove that file, then `kraft rm {name}`")));
    }
    match stop_one(app, name, mode) {
        Err(error) if error.kind() == Kind::NoSuchMachine => return Ok(()),
        stopped => stopped?,
    };
    match app.store.claim(name) {
        Ok(_claim) => {
            disable::remove_file(app, name)?;
            app.service_of(name)?.delete(name)
        }
        // Somebody else was faster, or it removed itself.
        Err(error) if error.kind() == Kind::NoSuchMachine => Ok(()),
        Err(error) => Err(error),
    }
}
