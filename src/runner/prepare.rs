//! The privileged part of a start: everything is looked at and made as root, and handed to the runner that follows as the
//! machine's own user.

use std::time::Duration;

use jiff::Timestamp;

use super::notify::Notifier;
use super::{look_at_files, never_ran, not_even_begun, wait};
use crate::error::{Kind, Result};
use crate::lifecycle::{self, Begin};
use crate::machine::{Exit, MachineName, Reason, Status};
use crate::signals::Signals;
use crate::store::Store;

/// Prepares a machine's start. `None` when the runner can begin; else how the start ended, recorded.
///
/// # Errors
/// When there is no such machine, or it runs already.
pub fn prepare(store: &Store, name: &MachineName, delay: &dyn Fn() -> Duration) -> Result<Option<Exit>> {
    let signals = Signals::block()?;
    let notifier = Notifier::new();
    let record = store.read(name)?;
    // The lock of a runner that never began is with systemd.
    lifecycle::clear(&record)?;
    let lock = match store.lock_runner(name) {
        Ok(lock) => lock,
        Err(error) if error.kind() == Kind::Conflict => return Err(error),
        Err(error) => return not_even_begun(store, name, &notifier, &error).map(Some),
    };
    let record = store.read(name)?;
    if let Err(error) = store.reclaim_runtime(name).and_then(|()| store.make_runtime(name)) {
        return not_even_begun(store, name, &notifier, &error).map(Some);
    }
    store.take_stop_request(name);
    let (pid, now) = (std::process::id(), Timestamp::now());
    let (mut status, begun) = match lifecycle::begin(store, name, pid, now, delay) {
        Ok(Begin { status, wait }) => (status, Ok(wait)),
        Err(error) => (Status::starting(pid, now), Err(error)),
    };
    let outcome = begun.and_then(|wait| {
        store.write_status(name, &status)?;
        if !wait.is_zero() && wait::interrupted(&signals, &notifier, wait, status.restarts)? {
            let kill = store.take_stop_request(name).is_some_and(|request| request.kill);
            let (reason, code) = if kill { (Reason::Killed, 137) } else { (Reason::Stopped, 0) };
            return Ok(Some(Exit { at: Timestamp::now(), reason, code, detail: String::new() }));
        }
        look_at_files(&record)?;
        lifecycle::prepare(store, &record, &status, &lock).map(|()| None)
    });
    let exit = match outcome {
        Ok(None) => return Ok(None),
        Ok(Some(exit)) => exit,
        Err(error) => never_ran(&error),
    };
    notifier.ended(&exit);
    if let Err(error) = lifecycle::finish(store, &record, &mut status, exit.clone()) {
        log::error!("cannot record how {name} ended: {error}");
    }
    Ok(Some(exit))
}
