//! Requests to end, as a descriptor to poll beside everything else.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::error::{Context as _, Result};

/// Stop requests, blocked for the whole process as long as this lives.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    before: SigSet,
}

impl Signals {
    /// Blocks them. From here on none is lost and none kills this process.
    ///
    /// # Errors
    /// When the kernel has no descriptor to spare.
    pub fn block() -> Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            set.add(signal);
        }
        let before = SigSet::thread_get_mask().context("cannot look at the signal mask")?;
        set.thread_block().context("cannot block signals")?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .context("cannot listen to signals")?;
        Ok(Self { fd, before })
    }

    /// Takes the next signal, if one came.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn take(&self) -> Result<Option<Signal>> {
        let info = self.fd.read_signal().context("cannot read a signal")?;
        Ok(info.and_then(|info| i32::try_from(info.ssi_signo).ok()?.try_into().ok()))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // What came after the last look is meant for a process that is done: it is dropped, not delivered.
        while let Ok(Some(_)) = self.take() {}
        let _ = self.before.thread_set_mask();
    }
}
