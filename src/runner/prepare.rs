//! The privileged part of a start: everything is looked at and made as root, and handed to the runner that follows as the
//! machine's own user.

use std::time::Duration;

use super::notify::Notifier;
use super::{begin, look_at_files, never_ran, not_even_begun, wait_out};
use crate::error::{Kind, Result};
use crate::lifecycle;
use crate::machine::{Exit, MachineName};
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
    let (mut status, begun) = begin(store, name, delay);
    let outcome = begun.and_then(|wait| {
        store.write_status(name, &status)?;
        if let Some(exit) = wait_out(store, name, &signals, &notifier, wait, status.restarts)? {
            return Ok(Some(exit));
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
