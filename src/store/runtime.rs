//! What is kept of a machine while the host is up: status, stop request, the runner's lock.

use std::fs::{DirBuilder, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::PathBuf;

use nix::fcntl::{Flock, FlockArg};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::{Store, ceded, file};
use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::{MachineName, SCHEMA, Status, StopMode};

const STATUS: &str = "status.json";
const STOP: &str = "stop.json";
const CONTROL: &str = "control.sock";
const LOCK: &str = "runner.lock";

/// How whoever asked for a stop wants it done; read by the runner when it gets SIGTERM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopRequest {
    /// The most that the guest may take, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// Recorded as killed and not as stopped.
    pub kill: bool,
}

impl From<StopMode> for StopRequest {
    fn from(mode: StopMode) -> Self {
        match mode {
            StopMode::Graceful(timeout) => {
                Self { timeout_ms: timeout.map(|t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX)), kill: false }
            }
            StopMode::Force => Self { timeout_ms: Some(0), kill: false },
            StopMode::Kill => Self { timeout_ms: Some(0), kill: true },
        }
    }
}

/// Held by a runner as long as it lives. The kernel lets go of it in any death, and names the holder to who asks.
#[derive(Debug)]
pub struct RunnerLock {
    _lock: Flock<File>,
}

impl AsFd for RunnerLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self._lock.as_fd()
    }
}

impl RunnerLock {
    /// Takes over the lock of the process that prepared this one's start: it is held all the time, and now names us.
    ///
    /// # Errors
    /// When it is no lock.
    pub fn adopt(fd: OwnedFd) -> Result<Self> {
        let cannot = "cannot take over the runner's lock";
        let lock = Flock::lock(File::from(fd), FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno);
        let lock = lock.context(cannot)?;
        nix::fcntl::fcntl(lock.as_fd(), nix::fcntl::FcntlArg::F_SETLK(&whole_file(libc_lock::READ))).context(cannot)?;
        Ok(Self { _lock: lock })
    }
}

impl Store {
    /// Where the machine's runtime files are.
    pub fn runtime(&self, name: &MachineName) -> PathBuf {
        self.paths.runtime.join(name)
    }

    /// Makes the machine's runtime directory.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_runtime(&self, name: &MachineName) -> Result<PathBuf> {
        let dir = self.runtime(name);
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&self.paths.runtime)
            .and_then(|()| match DirBuilder::new().mode(0o700).create(&dir) {
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
                result => result,
            })
            .with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(dir)
    }

    /// Removes the machine's runtime directory. One that is gone already is a success.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn remove_runtime(&self, name: &MachineName) -> Result<()> {
        let dir = self.runtime(name);
        match std::fs::remove_dir_all(&dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            result => result.with_context(|| format!("cannot remove {}", dir.display())),
        }
    }

    /// The machines that have a runtime directory and no record. A record is there first and goes last.
    ///
    /// # Errors
    /// When the directory cannot be read; a missing one is empty.
    pub fn runtime_without_record(&self) -> Result<Vec<MachineName>> {
        let entries = match std::fs::read_dir(&self.paths.runtime) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e).with_context(|| format!("cannot list {}", self.paths.runtime.display())),
        };
        let is_one = |entry: &std::fs::DirEntry| {
            [STATUS, STOP, CONTROL].iter().any(|file| entry.path().join(file).symlink_metadata().is_ok())
        };
        let name = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse::<MachineName>().ok();
        let mut names: Vec<_> = entries.flatten().filter(is_one).filter_map(name).collect();
        names.retain(|name| !self.directory(name).exists());
        names.sort_unstable();
        Ok(names)
    }

    /// The VMM's control socket.
    pub fn control_socket(&self, name: &MachineName) -> PathBuf {
        self.runtime(name).join(CONTROL)
    }

    /// Where the status file is.
    pub fn status_file(&self, name: &MachineName) -> PathBuf {
        self.runtime(name).join(STATUS)
    }

    /// What the runner said last; `None` before the first start since boot.
    ///
    /// # Errors
    /// When the file is there and cannot be read, or is from a newer kraft.
    pub fn status(&self, name: &MachineName) -> Result<Option<Status>> {
        let path = self.status_file(name);
        let status: Option<Status> = file::read_json(&path)?;
        match status {
            Some(status) if status.schema > SCHEMA => {
                Err(Error::new(format!("{}: written by a newer kraft (schema {})", path.display(), status.schema)))
            }
            status => Ok(status),
        }
    }

    /// Says how the guest is doing.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_status(&self, name: &MachineName, status: &Status) -> Result<()> {
        let text = serde_json::to_vec(status).context("cannot write a status")?;
        file::replace_volatile(&self.status_file(name), &text)
    }

    /// Leaves word for the runner how it is to stop the guest.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn request_stop(&self, name: &MachineName, mode: StopMode) -> Result<()> {
        let text = serde_json::to_vec(&StopRequest::from(mode)).context("cannot write a stop request")?;
        match ceded::put(&self.runtime(name), STOP, &text)? {
            true => Ok(()),
            false => file::replace_volatile(&self.runtime(name).join(STOP), &text),
        }
    }

    /// Takes the word that was left. A request that cannot be read is none.
    pub fn take_stop_request(&self, name: &MachineName) -> Option<StopRequest> {
        let path = self.runtime(name).join(STOP);
        let request = file::read_json(&path).ok().flatten();
        if request.is_some() {
            let _ = std::fs::remove_file(&path);
        }
        request
    }

    /// Takes the runner's lock for this process. It is held until the process ends or drops it.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when another runner lives, or the machine is being removed.
    pub fn lock_runner(&self, name: &MachineName) -> Result<RunnerLock> {
        let path = self.directory(name).join(LOCK);
        let cannot = || format!("cannot lock {}", path.display());
        loop {
            let Some(lock) = self.try_lock(name)? else {
                return Err(Error::of(Kind::Conflict, format!("machine {name} is running already")));
            };
            nix::fcntl::fcntl(lock.as_fd(), nix::fcntl::FcntlArg::F_SETLK(&whole_file(libc_lock::READ)))
                .with_context(cannot)?;
            // Who had it may have removed the machine, or removed it and made another of that name.
            let (ours, current) = (lock.metadata().with_context(cannot)?, std::fs::metadata(&path));
            match current {
                Ok(current) if (current.ino(), current.dev()) == (ours.ino(), ours.dev()) => {
                    return Ok(RunnerLock { _lock: lock });
                }
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).with_context(cannot),
                _ => {}
            }
        }
    }

    /// Keeps runners of this machine from starting, for as long as the lock is held; `None` while one lives.
    ///
    /// # Errors
    /// When the lock cannot be had for another reason.
    pub fn lock_out_runners(&self, name: &MachineName) -> Result<Option<RunnerLock>> {
        Ok(self.try_lock(name)?.map(|lock| RunnerLock { _lock: lock }))
    }

    fn try_lock(&self, name: &MachineName) -> Result<Option<Flock<File>>> {
        let path = self.directory(name).join(LOCK);
        // Open for reading alone, so that a runner does not keep its file system from being made read-only. Of the two
        // locks the one excludes other runners, and the other, which needs no more than that, names the holder.
        let file = rustix::fs::open(&path, OFlags::CREATE | OFlags::RDONLY | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match Flock::lock(File::from(file), FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(lock)),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno).with_context(|| format!("cannot lock {}", path.display())),
        }
    }

    /// The process of the machine's living runner, from the kernel and not from a file.
    ///
    /// # Errors
    /// When the lock cannot be looked at.
    pub fn runner(&self, name: &MachineName) -> Result<Option<u32>> {
        let path = self.directory(name).join(LOCK);
        // A process that holds the lock would lose it by closing this second descriptor: a runner never asks about itself.
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).with_context(|| format!("cannot open {}", path.display())),
        };
        let mut lock = whole_file(libc_lock::WRITE);
        nix::fcntl::fcntl(file.as_fd(), nix::fcntl::FcntlArg::F_GETLK(&mut lock))
            .with_context(|| format!("cannot look at {}", path.display()))?;
        Ok((lock.l_type != libc_lock::UNLOCKED).then_some(lock.l_pid.unsigned_abs()))
    }
}

mod libc_lock {
    pub(super) const READ: nix::libc::c_short = nix::libc::F_RDLCK as nix::libc::c_short;
    pub(super) const WRITE: nix::libc::c_short = nix::libc::F_WRLCK as nix::libc::c_short;
    pub(super) const UNLOCKED: nix::libc::c_short = nix::libc::F_UNLCK as nix::libc::c_short;
}

fn whole_file(kind: nix::libc::c_short) -> nix::libc::flock {
    nix::libc::flock {
        l_type: kind,
        l_whence: nix::libc::SEEK_SET as nix::libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}
