//! Stopping a machine by its runner: SIGTERM, and SIGKILL if it does not end.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::error::{Context as _, Error, Kind, Result};
use crate::lifecycle::{self, Cause};
use crate::machine::{MachineName, StopMode};
use crate::store::{RunnerLock, Store};

/// What a runner needs beyond the guest's own time.
const MARGIN: Duration = Duration::from_secs(15);

/// Stops the machine. One that is down is a success.
pub(super) fn stop(store: &Store, name: &MachineName, mode: StopMode) -> Result<()> {
    let Some(runner) = runner(store, name)? else { return Ok(()) };
    // Its runtime directory may have been removed under it.
    if let Err(error) = store.make_runtime(name).and_then(|_| store.request_stop(name, mode)) {
        // One that removes itself may have done so meanwhile.
        if store.runner(name)?.is_none() {
            return Ok(());
        }
        // Without the word the machine still stops, if not in the way that was asked for.
        log::warn!("cannot tell the runner of {name} how to stop: {error}");
    }
    signal(&runner, Signal::TERM)?;
    // A record that cannot be read must not keep the guest alive.
    let own = store.read(name).map_or(Duration::from_secs(10), |record| record.spec.stop_timeout());
    let grace = match mode {
        StopMode::Graceful(timeout) => timeout.unwrap_or(own),
        StopMode::Force | StopMode::Kill => Duration::ZERO,
    };
    if !ended(&runner, grace + MARGIN)? {
        log::warn!("the runner of {name} does not end and is killed");
        signal(&runner, Signal::KILL)?;
        ended(&runner, MARGIN)?;
        if let Ok(record) = store.read(name) {
            lifecycle::sweep(store, &record, &Cause::Gone)?;
        }
    }
    Ok(())
}

/// Waits for the end of a runner that is about to end by itself. `own` is what its guest has for that.
pub(super) fn await_end(store: &Store, name: &MachineName, own: Duration) -> Result<()> {
    match runner(store, name)? {
        Some(runner) if !ended(&runner, own + MARGIN)? => {
            Err(Error::of(Kind::Timeout, "its last life does not come to its end"))
        }
        Some(_) | None => Ok(()),
    }
}

/// Stops the machine at once, and keeps a runner that was just being started from getting it to run.
pub(super) fn stop_for_good(store: &Store, name: &MachineName) -> Result<Option<RunnerLock>> {
    loop {
        stop(store, name, StopMode::Force)?;
        match store.lock_out_runners(name) {
            Ok(Some(lock)) => return Ok(Some(lock)),
            // One that had the lock for a moment, or has it since.
            Ok(None) => {}
            // Where the lock cannot be made, as on a full disk, no runner can have it either.
            Err(error) => {
                log::debug!("{error}");
                return Ok(None);
            }
        }
    }
}

/// The living runner. The process that the descriptor stands for is the one that holds the lock: it held it before and
/// after the descriptor was made.
pub(super) fn runner(store: &Store, name: &MachineName) -> Result<Option<OwnedFd>> {
    while let Some(pid) = store.runner(name)? {
        let Some(pid) = Pid::from_raw(pid.cast_signed()) else { return Ok(None) };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) if store.runner(name)? == Some(pid.as_raw_pid().cast_unsigned()) => return Ok(Some(fd)),
            Ok(_) | Err(rustix::io::Errno::SRCH) => {}
            Err(errno) => return Err(errno).context("cannot watch the runner"),
        }
    }
    Ok(None)
}

fn signal(runner: &OwnedFd, signal: Signal) -> Result<()> {
    match pidfd_send_signal(runner, signal) {
        Err(rustix::io::Errno::SRCH) => Ok(()),
        result => result.context("cannot signal the runner"),
    }
}

fn ended(runner: &OwnedFd, within: Duration) -> Result<bool> {
    let deadline = Instant::now() + within;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(runner.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("cannot wait for the runner"),
        }
    }
}
