//! Waiting for the next moment of a regular look, or for something else that comes first.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::error::{Context as _, Result};

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// The next moment.
    Tick,
    /// Something on the descriptor of this position.
    On(usize),
    /// A signal that the process goes on after.
    Signal,
}

/// A regular clock.
#[derive(Debug)]
pub(crate) struct Clock {
    timer: TimerFd,
}

impl Clock {
    /// One that ticks each `interval`, first after one.
    ///
    /// # Errors
    /// When the kernel has no descriptor to spare.
    pub(crate) fn new(interval: Duration) -> Result<Self> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)
            .context("cannot make a timer")?;
        timer
            .set(Expiration::Interval(TimeSpec::from_duration(interval)), TimerSetTimeFlags::empty())
            .context("cannot set a timer")?;
        Ok(Self { timer })
    }

    /// Waits until it ticks or something else happens. Descriptors come before the clock.
    ///
    /// # Errors
    /// When the kernel cannot be asked to wait.
    pub(crate) fn wait(&self, others: &[(BorrowedFd<'_>, PollFlags)]) -> Result<Came> {
        let mut fds: Vec<PollFd<'_>> = others.iter().map(|&(fd, flags)| PollFd::new(fd, flags)).collect();
        fds.push(PollFd::new(self.timer.as_fd(), PollFlags::POLLIN));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Came::Signal),
            Err(errno) => return Err(errno).context("cannot wait"),
        }
        let ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        match fds.iter().position(ready) {
            Some(position) if position < others.len() => Ok(Came::On(position)),
            _ => {
                // How often it ticked since is of no interest.
                let _ = self.timer.wait();
                Ok(Came::Tick)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_else_comes_before_a_tick() {
        let clock = Clock::new(Duration::from_millis(1)).unwrap();
        assert_eq!(clock.wait(&[]).unwrap(), Came::Tick);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(writer);
        assert_eq!(clock.wait(&[(reader.as_fd(), PollFlags::POLLIN)]).unwrap(), Came::On(0));
    }
}
