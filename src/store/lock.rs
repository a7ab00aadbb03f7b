//! Locks that several of a kind take turns by: the records of all networks, the host's network, a project.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

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
        take(path, what, || {}).map(|lock| Self { _lock: lock })
    }

    /// Takes the lock that is this directory, which is there.
    ///
    /// # Errors
    /// [`Kind::Timeout`](crate::error::Kind::Timeout) when it stays taken.
    pub fn take_directory(path: &Path, what: &str) -> Result<Self> {
        let directory = File::open(path).with_context(|| format!("cannot lock {what}"))?;
        wait_for(directory, what, || {}).map(|lock| Self { _lock: lock })
    }
}

/// A lock whose file is there only as long as somebody has it, or died with it: for what comes and goes, by its name.
#[derive(Debug)]
pub struct PassingLock {
    _lock: Flock<File>,
    path: PathBuf,
}

impl PassingLock {
    /// Takes the lock that is this file. `waits` is called if somebody else has it.
    ///
    /// # Errors
    /// [`Kind::Timeout`](crate::error::Kind::Timeout) when it stays taken.
    pub fn take(path: PathBuf, what: &str, waits: impl Fn()) -> Result<Self> {
        loop {
            let lock = take(&path, what, &waits)?;
            let ours = lock.metadata().with_context(|| format!("cannot lock {what}"))?;
            // Whoever had it took its file away, and there may be another one by now.
            let current = std::fs::metadata(&path);
            if current.is_ok_and(|current| (current.ino(), current.dev()) == (ours.ino(), ours.dev())) {
                return Ok(Self { _lock: lock, path });
            }
        }
    }
}

impl Drop for PassingLock {
    fn drop(&mut self) {
        // It is still ours. Where it cannot be removed it is an empty file that the next one takes.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn take(path: &Path, what: &str, waits: impl Fn()) -> Result<Flock<File>> {
    let cannot = || format!("cannot lock {what}");
    if let Some(dir) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(dir).with_context(cannot)?;
    }
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    wait_for(file.with_context(cannot)?, what, waits)
}

fn wait_for(file: File, what: &str, waits: impl Fn()) -> Result<Flock<File>> {
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((file, nix::errno::Errno::EWOULDBLOCK)) => {
            waits();
            claim::wait(file, FlockArg::LockExclusive, what)
        }
        Err((_, errno)) => Err(errno).with_context(|| format!("cannot lock {what}")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::store::tests::Scratch;

    #[test]
    fn one_at_a_time_and_no_file_behind_it() {
        let scratch = Scratch::new();
        let path = scratch.store.paths().runtime.join(".x.lock");
        let (inside, most, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _lock = PassingLock::take(path.clone(), "x", || {}).unwrap();
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!((most.into_inner(), done.into_inner()), (1, 400));
        assert!(!path.exists());
    }
}
