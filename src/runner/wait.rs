//! The wait before a restart, which a stop request ends.

use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::notify::Notifier;
use crate::error::{Context as _, Result};
use crate::signals::Signals;
use std::os::fd::AsFd as _;

/// Waits that long. Returns whether a stop request came instead.
pub(super) fn interrupted(signals: &Signals, notifier: &Notifier, wait: Duration, restart: u32) -> Result<bool> {
    let text = format!("restarting in {:.1} s (restart {restart} in a row)", wait.as_secs_f64());
    notifier.extend(&text, wait + Duration::from_secs(60));
    let deadline = Instant::now() + wait;
    while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout(left)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("cannot wait"),
        }
        if signals.take()?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A time as poll takes it: milliseconds, rounded up so that nothing is looked at before it is due.
pub(super) fn timeout(left: Duration) -> PollTimeout {
    let ms = left.as_micros().div_ceil(1000);
    PollTimeout::try_from(i32::try_from(ms).unwrap_or(i32::MAX)).unwrap_or(PollTimeout::MAX)
}
