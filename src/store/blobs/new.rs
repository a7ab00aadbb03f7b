//! Content that is being written.
//!
//! Its file is locked by who writes it. Of many who want the same content one writes; the others wait for the lock, and
//! then find it complete, or continue where a writer stopped.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest as _, Sha256};

use super::{BLOBS, Blobs, NEW, file};
use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::{Digest, MachineId};

/// A writer who holds content for so long without a further byte is stuck.
const STUCK: Duration = Duration::from_secs(180);

/// What [`Blobs::begin`] comes to.
#[derive(Debug)]
pub enum Begun {
    /// It is there already.
    There,
    /// It is to be written.
    New(Box<NewBlob>),
}

/// Content that is being written. Dropped before it is [kept](Self::keep), what there is of it stays for the next, if
/// its digest was known.
#[derive(Debug)]
pub struct NewBlob {
    blobs: PathBuf,
    path: PathBuf,
    /// Locked as long as it is open.
    file: Flock<File>,
    hash: Sha256,
    written: u64,
    expected: Option<(Digest, u64)>,
    /// What is there is of no use to the next.
    spoilt: bool,
    kept: bool,
}

impl NewBlob {
    pub(super) fn begin(blobs: &Blobs, digest: Digest, size: u64) -> Result<Begun> {
        let path = blobs.partial(digest.to_string());
        let what = format!("sha256:{digest}");
        let cannot = || format!("cannot write {}", path.display());
        loop {
            if blobs.size(digest) == Some(size) {
                return Ok(Begun::There);
            }
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
            let file = match Flock::lock(file.with_context(cannot)?, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => lock,
                Err((file, nix::errno::Errno::EWOULDBLOCK)) => wait(file, &what)?,
                Err((_, errno)) => return Err(errno).with_context(cannot),
            };
            // Whoever had it may have completed it or thrown it away.
            if is_at(&file, &path) {
                if blobs.size(digest) == Some(size) {
                    // Somebody put it there in another way.
                    std::fs::remove_file(&path).with_context(cannot)?;
                    return Ok(Begun::There);
                }
                let mut new = Self::of(blobs, path, file, Some((digest, size)));
                new.resume(size)?;
                return Ok(Begun::New(Box::new(new)));
            }
        }
    }

    pub(super) fn create(blobs: &Blobs) -> Result<Self> {
        loop {
            let path = blobs.partial(format!("{NEW}{}", MachineId::from_bytes(super::super::random()?)));
            let cannot = || format!("cannot write {}", path.display());
            let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
            match Flock::lock(file.with_context(cannot)?, FlockArg::LockExclusiveNonblock) {
                Ok(lock) if is_at(&lock, &path) => return Ok(Self::of(blobs, path, lock, None)),
                // Cleaned up by somebody in the moment before it was locked.
                Ok(_) | Err((_, nix::errno::Errno::EWOULDBLOCK)) => {}
                Err((_, errno)) => return Err(errno).with_context(cannot),
            }
        }
    }

    fn of(blobs: &Blobs, path: PathBuf, file: Flock<File>, expected: Option<(Digest, u64)>) -> Self {
        let (hash, blobs) = (Sha256::new(), blobs.dir.join(BLOBS));
        Self { blobs, path, file, hash, written: 0, expected, spoilt: false, kept: false }
    }

    /// Reads what is there, to go on behind it, and takes the space for the rest.
    fn resume(&mut self, size: u64) -> Result<()> {
        let cannot = |path: &Path| format!("cannot write {}", path.display());
        let there = self.file.metadata().with_context(|| cannot(&self.path))?.len();
        if there > size {
            return self.restart().and_then(|()| self.resume(size));
        }
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = self.file.read(&mut buffer).with_context(|| cannot(&self.path))?;
            if read == 0 {
                break;
            }
            self.hash.update(&buffer[..read]);
            self.written += read as u64;
        }
        use rustix::fs::{FallocateFlags, fallocate};
        let rest = size - self.written;
        match if rest == 0 { Ok(()) } else { fallocate(&*self.file, FallocateFlags::KEEP_SIZE, self.written, rest) } {
            Err(errno @ (rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT | rustix::io::Errno::FBIG)) => {
                self.spoilt = true;
                Err(errno).with_context(|| format!("cannot write {}: it has {size} bytes", self.path.display()))
            }
            // This file system cannot tell before.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// How many bytes are there; the next one goes behind them.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Begins anew, as what is there is not what it should be.
    ///
    /// # Errors
    /// When the file cannot be cut.
    pub fn restart(&mut self) -> Result<()> {
        let cut = self.file.set_len(0).and_then(|()| self.file.rewind());
        cut.with_context(|| format!("cannot write {}", self.path.display()))?;
        (self.hash, self.written) = (Sha256::new(), 0);
        Ok(())
    }

    /// Keeps what was written, if all of it is there and is what it should be.
    ///
    /// # Errors
    /// [`Kind::Failed`] when it is not what it should be: then it is removed. What is incomplete stays for the next.
    pub fn keep(mut self) -> Result<Digest> {
        let cannot = |path: &Path| format!("cannot write {}", path.display());
        let digest = Digest::from_bytes(self.hash.finalize_reset().into());
        if let Some((expected, size)) = self.expected {
            if self.written < size {
                let why = format!("sha256:{expected} is incomplete: {} of {size} bytes came", self.written);
                return Err(Error::new(why));
            }
            if digest != expected {
                self.spoilt = true;
                return Err(Error::new(format!("sha256:{expected} is not what came: that is sha256:{digest}")));
            }
        }
        self.file.sync_all().inspect_err(|_| self.spoilt = true).with_context(|| cannot(&self.path))?;
        std::fs::rename(&self.path, self.blobs.join(digest.to_string())).with_context(|| cannot(&self.path))?;
        self.kept = true;
        file::sync_dir(&self.blobs)?;
        Ok(digest)
    }
}

impl Write for NewBlob {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Some((digest, size)) = self.expected
            && size - self.written < bytes.len() as u64
        {
            self.spoilt = true;
            return Err(std::io::Error::other(format!("sha256:{digest} is not what came: that is longer")));
        }
        // A full disk is no place for half of something.
        let full = |e: &std::io::Error| e.kind() == std::io::ErrorKind::StorageFull;
        let written = self.file.write(bytes).inspect_err(|e| self.spoilt |= full(e))?;
        self.hash.update(&bytes[..written]);
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for NewBlob {
    fn drop(&mut self) {
        let resumable = self.expected.is_some() && self.written > 0 && !self.spoilt;
        if self.kept || resumable {
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            log::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(current)) => ours.ino() == current.ino() && ours.dev() == current.dev(),
        (Err(_), _) | (_, Err(_)) => false,
    }
}

/// Waits for another who writes the same, as long as it grows. A thread waits in our place, as flock has no deadline.
fn wait(file: File, what: &str) -> Result<Flock<File>> {
    let cannot = || format!("cannot lock {what}");
    let watched = file.try_clone().with_context(cannot)?;
    let size = || watched.metadata().map_or(0, |about| about.len());
    let (done, outcome) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = done.send(Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno));
    });
    let mut before = size();
    loop {
        match outcome.recv_timeout(STUCK) {
            Ok(lock) => return lock.with_context(cannot),
            Err(_) if size() != before => before = size(),
            Err(_) => {
                let why = format!("another kraft fetches {what}, and got nothing of it for {} s", STUCK.as_secs());
                return Err(Error::of(Kind::Timeout, why));
            }
        }
    }
}
