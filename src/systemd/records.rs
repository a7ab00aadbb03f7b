//! The directory of records, watched: machines appear in it and disappear from it by a rename.

#![allow(unsafe_code, reason = "tokio asks for a promise about the descriptor that it waits for")]

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;

use crate::error::{Context as _, Error, Result};
use crate::machine::MachineName;

/// News of which machines came or went.
#[derive(Debug)]
pub(super) struct Records(AsyncFd<Owned>);

#[derive(Debug)]
struct Owned(Inotify);

impl AsRawFd for Owned {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Records {
    /// Watches a directory; made if it is not there, as before the first machine. Call inside the runtime.
    pub(super) fn watch(dir: &Path) -> Result<Self> {
        let cannot = || format!("cannot watch {}", dir.display());
        std::fs::create_dir_all(dir).with_context(cannot)?;
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).with_context(cannot)?;
        let moves = AddWatchFlags::IN_MOVED_FROM | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE;
        inotify.add_watch(dir, moves).with_context(cannot)?;
        // SAFETY: `Owned` holds the descriptor open until it is dropped, which `AsyncFd` does after it has let go of it,
        // and always names the same one.
        let registered = unsafe { AsyncFd::register(Owned(inotify)) };
        registered.map(Self).map_err(|e| Error::new(e.to_string())).with_context(cannot)
    }

    /// Waits until machines came or went; says which.
    pub(super) async fn changed(&self) -> Result<BTreeSet<MachineName>> {
        let cannot = "cannot watch the records of machines";
        loop {
            let mut ready = self.0.readable().await.context(cannot)?;
            match ready.get_inner().0.read_events() {
                // Names that no machine has are those of records being made or removed.
                Ok(events) => return Ok(events.into_iter().filter_map(|e| e.name?.to_str()?.parse().ok()).collect()),
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(errno) => return Err(errno).context(cannot),
            }
        }
    }
}
