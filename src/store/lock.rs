//! A lock that several of a kind take turns by: the records of all networks, the host's network.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

use super::claim;
use crate::error::{Context as _, Result};

/// Held by one process at a time. Let go when dropped, or when its holder dies.
#[derive(Debug)]
pub struct Lock {
    _lock: Flock<File>,
}

impl Lock {
    /// Takes the lock that is this file, which is made if it is not there. `what` is what it is for.
    ///
    /// # Errors
    /// [`Kind::Timeout`](crate::error::Kind::Timeout) when it stays taken.
    pub fn take(path: &Path, what: &str) -> Result<Self> {
        let cannot = || format!("cannot lock {what}");
        if let Some(dir) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o755).create(dir).with_context(cannot)?;
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = file.with_context(cannot)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self { _lock: lock }),
            Err((file, nix::errno::Errno::EWOULDBLOCK)) => {
                claim::wait(file, FlockArg::LockExclusive, what).map(|lock| Self { _lock: lock })
            }
            Err((_, errno)) => Err(errno).with_context(cannot),
        }
    }
}
