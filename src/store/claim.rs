//! The lock that makes changes of one machine take turns.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::MachineName;

use super::no_such_machine;

/// Longer than a start or a removal takes by its own deadlines.
const DEADLINE: Duration = Duration::from_secs(180);

/// The right to change one machine. Let go when dropped, or when its holder dies.
#[derive(Debug)]
pub struct Claim {
    _lock: Flock<File>,
}

impl Claim {
    /// Takes the claim unless somebody has it.
    pub(super) fn try_take(dir: &Path, name: &MachineName) -> Result<Option<Self>> {
        let file = match File::open(dir) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(no_such_machine(name.as_str())),
            Err(e) => return Err(e).with_context(|| format!("cannot lock machine {name}")),
        };
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Self { _lock: lock })),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno).with_context(|| format!("cannot lock machine {name}")),
        }
    }

    pub(super) fn take(dir: &Path, name: &MachineName) -> Result<Self> {
        let cannot = || format!("cannot lock machine {name}");
        loop {
            let file = match File::open(dir) {
                Ok(file) => file,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(no_such_machine(name.as_str())),
                Err(e) => return Err(e).with_context(cannot),
            };
            let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => lock,
                Err((file, nix::errno::Errno::EWOULDBLOCK)) => {
                    wait(file, FlockArg::LockExclusive, &format!("machine {name}"))?
                }
                Err((_, errno)) => return Err(errno).with_context(cannot),
            };
            // Whoever had it may have removed the machine, or removed it and made another of that name.
            let (ours, current) = (lock.metadata().with_context(cannot)?, std::fs::metadata(dir));
            if current.is_ok_and(|current| current.ino() == ours.ino() && current.dev() == ours.dev()) {
                return Ok(Self { _lock: lock });
            }
        }
    }
}

/// Blocks in the kernel until the lock is free. flock has no deadline of its own, so a thread waits in our place; it
/// ends with the process if the deadline passes, which is an error.
pub(super) fn wait(file: File, how: FlockArg, what: &str) -> Result<Flock<File>> {
    let (done, outcome) = mpsc::channel();
    std::thread::spawn(move || {
        // The receiver is gone after the deadline: then nobody wants the lock, and it is let go here.
        let _ = done.send(Flock::lock(file, how).map_err(|(_, errno)| errno));
    });
    match outcome.recv_timeout(DEADLINE) {
        Ok(lock) => lock.with_context(|| format!("cannot lock {what}")),
        Err(_) => Err(Error::of(
            Kind::Timeout,
            format!("{what} is busy: another kraft has been changing it for {} s", DEADLINE.as_secs()),
        )),
    }
}

/// Locks a file together with others who do so, waiting for who has it alone.
pub(super) fn share(file: File, what: &str) -> Result<Flock<File>> {
    lock(file, FlockArg::LockSharedNonblock, FlockArg::LockShared, what)
}

/// Locks a file alone, waiting for whoever has it.
pub(super) fn alone(file: File, what: &str) -> Result<Flock<File>> {
    lock(file, FlockArg::LockExclusiveNonblock, FlockArg::LockExclusive, what)
}

fn lock(file: File, at_once: FlockArg, waiting: FlockArg, what: &str) -> Result<Flock<File>> {
    match Flock::lock(file, at_once) {
        Ok(lock) => Ok(lock),
        Err((file, nix::errno::Errno::EWOULDBLOCK)) => wait(file, waiting, what),
        Err((_, errno)) => Err(errno).with_context(|| format!("cannot lock {what}")),
    }
}

/// Locks a directory that was made just now; `None` if somebody who cleans up took it for abandoned before that.
pub(super) fn lock_new(dir: &Path) -> Result<Option<Flock<File>>> {
    let cannot = || format!("cannot lock {}", dir.display());
    let file = match File::open(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.with_context(cannot)?,
    };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        // A directory that was removed under us has no links.
        Ok(lock) => Ok((lock.metadata().with_context(cannot)?.nlink() > 0).then_some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno).with_context(cannot),
    }
}

/// Takes a directory that its creator or remover died over; `None` while somebody holds it.
pub(super) fn lock_abandoned(dir: &Path) -> Option<Flock<File>> {
    Flock::lock(File::open(dir).ok()?, FlockArg::LockExclusiveNonblock).ok()
}
