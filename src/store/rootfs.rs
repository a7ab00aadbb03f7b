//! The root file systems that kraft made, each kept once for all machines that have it; so are [copies](super::copies) of
//! what machines were given as it is, in a directory of their own.
//!
//! ```text
//! STATE/rootfs/SHA256.cpio      an archive, named by its content; its other names are rootfs.cpio of machines
//! STATE/rootfs/SHA256.source    a link to the archive that was made of what has this fingerprint
//! STATE/rootfs/.new-RANDOM      an archive that is being made
//! STATE/rootfs/.lock            shared by who makes archives or takes them, held alone by who removes them
//! STATE/rootfs/                 locked by who removes, so that they take turns: each looks once more
//! ```
//!
//! The number of names that a file has is the number of its users: what only the cache has a name for is removed when
//! nobody is busy here, and so is what a killed maker left.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest as _, Sha256};

use super::shelf::NEW;
use super::{Store, claim, file, random};
use crate::error::{Context as _, Result};
use crate::machine::{Digest, MachineId, MachineName};

const LOCK: &str = ".lock";
const SOURCE: &str = "source";
/// The name of a machine's own.
pub(super) const OWN: &str = "rootfs.cpio";

/// What is kept in such a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FilesOf {
    /// Archives that kraft made.
    Rootfs,
    /// Copies of files of the host's.
    Others,
}

impl FilesOf {
    pub(super) const ALL: [Self; 2] = [Self::Rootfs, Self::Others];

    fn directory(self) -> &'static str {
        match self {
            Self::Rootfs => "rootfs",
            Self::Others => "files",
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Rootfs => "cpio",
            Self::Others => "file",
        }
    }

    /// The name of the file with this content.
    pub(super) fn file(self, digest: Digest) -> String {
        format!("{digest}.{}", self.extension())
    }
}

/// The cache, held so that nothing in it is removed before a machine has taken it.
#[derive(Debug)]
pub struct RootfsCache {
    dir: PathBuf,
    files: FilesOf,
    lock: Option<Flock<File>>,
}

impl Store {
    /// Where a machine has the root file system that was made for it.
    pub fn own_rootfs(&self, name: &MachineName) -> PathBuf {
        self.directory(name).join(OWN)
    }

    /// Opens the cache, and removes what nobody uses.
    ///
    /// # Errors
    /// When it cannot be made or locked.
    pub fn rootfs_cache(&self) -> Result<RootfsCache> {
        RootfsCache::open(self.cache_dir(FilesOf::Rootfs), FilesOf::Rootfs)
    }

    /// Removes what nobody uses, unless somebody is busy with it.
    pub fn sweep_files(&self) {
        FilesOf::ALL.into_iter().for_each(|files| sweep(&self.cache_dir(files), files));
    }

    /// Gives a machine that is being made the archive of this content.
    pub(super) fn take_rootfs(&self, digest: Digest, staging: &Path) -> Result<()> {
        self.take_file(digest, &staging.join(OWN)).context("cannot take the root file system")
    }

    /// The content of a file that is in the cache, by its name there.
    pub fn packed(&self, path: &Path) -> Option<Digest> {
        let name = path.strip_prefix(self.cache_dir(FilesOf::Rootfs)).ok()?.to_str()?;
        name.strip_suffix(FilesOf::Rootfs.extension())?.strip_suffix('.')?.parse().ok()
    }

    pub(super) fn cache_dir(&self, files: FilesOf) -> PathBuf {
        self.paths().state.join(files.directory())
    }
}

impl RootfsCache {
    pub(super) fn open(dir: PathBuf, files: FilesOf) -> Result<Self> {
        let cannot = || format!("cannot make {}", dir.display());
        if let Some(state) = dir.parent() {
            // Others get through it to what they may see: that there is a machine.
            std::fs::create_dir_all(state).with_context(cannot)?;
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).with_context(cannot)?;
        sweep(&dir, files);
        let lock = claim::share(open_lock(&dir)?, &dir.display().to_string())?;
        Ok(Self { dir, files, lock: Some(lock) })
    }

    /// The content that was made of what has this fingerprint, if it is still there.
    pub fn find(&self, fingerprint: Digest) -> Option<Digest> {
        let target = std::fs::read_link(self.dir.join(source(fingerprint))).ok()?;
        let digest = target.to_str()?.strip_suffix(self.files.extension())?.strip_suffix('.')?.parse().ok()?;
        self.dir.join(self.files.file(digest)).is_file().then_some(digest)
    }

    /// Where content is: never to be written to.
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.dir.join(self.files.file(digest))
    }

    /// A new archive.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn begin(&self) -> Result<NewRootfs<'_>> {
        let (path, file) = self.new_file()?;
        Ok(NewRootfs { cache: self, path: Some(path), file, hash: Sha256::new() })
    }

    /// A file for what is needed on the way, which has no name.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn scratch(&self) -> Result<File> {
        let (path, file) = self.new_file()?;
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        Ok(file)
    }

    fn new_file(&self) -> Result<(PathBuf, File)> {
        let path = self.dir.join(format!("{NEW}{}", MachineId::from_bytes(random()?)));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        file.with_context(|| format!("cannot make {}", path.display())).map(|file| (path, file))
    }
}

impl Drop for RootfsCache {
    fn drop(&mut self) {
        // Let go of first, as it keeps the sweep out. Then what no machine took in the end is not left.
        drop(self.lock.take());
        sweep(&self.dir, self.files);
    }
}

/// An archive that is being written. Dropped before it is [kept](Self::keep), nothing is left of it.
#[derive(Debug)]
pub struct NewRootfs<'a> {
    cache: &'a RootfsCache,
    path: Option<PathBuf>,
    file: File,
    hash: Sha256,
}

impl NewRootfs<'_> {
    /// Gives it the content of another file, at once, where the file system can share that; its hash is still to be told.
    pub(super) fn clone_of(&mut self, source: &File) -> bool {
        rustix::fs::ioctl_ficlone(&self.file, source).is_ok()
    }

    /// Tells it what it has already.
    pub(super) fn hash(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
    }

    /// Keeps what was written, under its content's name, and remembers what it was made of.
    ///
    /// # Errors
    /// When it cannot be written to the disk.
    pub fn keep(mut self, fingerprint: Option<Digest>) -> Result<Digest> {
        let dir = &self.cache.dir;
        let cannot = || format!("cannot write to {}", dir.display());
        let digest = Digest::from_bytes(self.hash.finalize_reset().into());
        self.file.sync_all().with_context(cannot)?;
        if let Some(path) = self.path.take() {
            let kept = dir.join(self.cache.files.file(digest));
            // The one that is there is the same, and machines may have it already.
            let moved = if kept.exists() { std::fs::remove_file(&path) } else { std::fs::rename(&path, kept) };
            moved.with_context(cannot)?;
        }
        if let Some(fingerprint) = fingerprint {
            let new = dir.join(format!("{NEW}{}", MachineId::from_bytes(random()?)));
            std::os::unix::fs::symlink(self.cache.files.file(digest), &new)
                .and_then(|()| std::fs::rename(&new, dir.join(source(fingerprint))))
                .with_context(cannot)?;
        }
        // A copy is made again where its name is lost; machines have names of their own for it.
        if self.cache.files == FilesOf::Rootfs {
            file::sync_dir(dir)?;
        }
        Ok(digest)
    }
}

impl Write for NewRootfs<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let full = |e: std::io::Error| std::io::Error::new(e.kind(), format!("{}: {e}", self.cache.dir.display()));
        let written = self.file.write(bytes).map_err(full)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for NewRootfs<'_> {
    fn drop(&mut self) {
        if let Some(path) = &self.path
            && let Err(error) = std::fs::remove_file(path)
        {
            log::warn!("cannot remove {}: {error}", path.display());
        }
    }
}

fn source(fingerprint: Digest) -> String {
    format!("{fingerprint}.{SOURCE}")
}

fn open_lock(dir: &Path) -> Result<File> {
    let path = dir.join(LOCK);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    file.with_context(|| format!("cannot open {}", path.display()))
}

fn sweep(dir: &Path, files: FilesOf) {
    if !dir.exists() {
        return;
    }
    match try_sweep(dir, files) {
        Ok(()) => {}
        Err(error) => log::debug!("cannot clean up {}: {error}", dir.display()),
    }
}

fn try_sweep(dir: &Path, files: FilesOf) -> Result<()> {
    // Another who removes may have come by what has no user only since then.
    let _turn = claim::alone(File::open(dir).context("cannot open it")?, &dir.display().to_string())?;
    let _lock = match Flock::lock(open_lock(dir)?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        // A maker, who cleans up in the end.
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => return Ok(()),
        Err((_, errno)) => return Err(errno).context("cannot lock it"),
    };
    let mut links = Vec::new();
    for entry in std::fs::read_dir(dir).context("cannot list it")?.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let extension = path.extension().and_then(|extension| extension.to_str());
        let unused = || entry.metadata().is_ok_and(|metadata| metadata.nlink() == 1);
        if name.to_str().is_some_and(|name| name.starts_with(NEW)) || (extension == Some(files.extension()) && unused())
        {
            std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        } else if extension == Some(SOURCE) {
            links.push(path);
        }
    }
    for link in links.iter().filter(|link| !link.exists()) {
        std::fs::remove_file(link).with_context(|| format!("cannot remove {}", link.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Scratch, record};
    use super::*;

    fn fingerprint(byte: u8) -> Digest {
        Digest::from_bytes([byte; 32])
    }

    fn files(scratch: &Scratch) -> Vec<String> {
        let entries = std::fs::read_dir(scratch.store.cache_dir(FilesOf::Rootfs)).unwrap().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.retain(|name| name != LOCK);
        names.sort();
        names
    }

    fn make(cache: &RootfsCache, content: &[u8], of: Option<Digest>) -> Digest {
        let mut new = cache.begin().unwrap();
        new.write_all(content).unwrap();
        new.keep(of).unwrap()
    }

    #[test]
    fn machines_share_what_is_the_same_and_the_last_takes_it_along() {
        let s = Scratch::new();
        let names = ["one", "two"].map(|name| {
            let cache = s.store.rootfs_cache().unwrap();
            let mut record = record(name);
            record.spec.rootfs_digest = Some(make(&cache, b"content", Some(fingerprint(1))));
            assert_eq!(cache.find(fingerprint(1)), record.spec.rootfs_digest);
            s.store.create(&record).unwrap();
            record.spec.name
        });
        assert_eq!(files(&s).len(), 2, "{:?}", files(&s));
        let inode = |name| std::fs::metadata(s.store.own_rootfs(name)).unwrap().ino();
        assert_eq!(inode(&names[0]), inode(&names[1]));
        s.store.remove(&names[0]).unwrap();
        assert_eq!(std::fs::read(s.store.own_rootfs(&names[1])).unwrap(), b"content");
        assert_eq!(files(&s).len(), 2);
        s.store.remove(&names[1]).unwrap();
        assert_eq!(files(&s), Vec::<String>::new());
    }

    #[test]
    fn nothing_is_removed_from_under_a_maker_and_nothing_is_left_by_one() {
        let s = Scratch::new();
        let cache = s.store.rootfs_cache().unwrap();
        let digest = make(&cache, b"a", Some(fingerprint(1)));
        let unfinished = cache.begin().unwrap();
        let other = s.store.rootfs_cache().unwrap();
        s.store.sweep_files();
        drop(other);
        assert_eq!(files(&s).len(), 3);
        drop(unfinished);
        assert_eq!(cache.find(fingerprint(1)), Some(digest));
        assert_eq!(cache.find(fingerprint(2)), None);
        drop(cache);
        assert_eq!(files(&s), Vec::<String>::new());
    }

    #[test]
    fn what_is_removed_while_another_cleans_up_goes_too() {
        let s = Scratch::new();
        let cache = s.store.rootfs_cache().unwrap();
        let mut record = record("web");
        record.spec.rootfs_digest = Some(make(&cache, b"a", None));
        s.store.create(&record).unwrap();
        drop(cache);
        // One who cleans up, and came by this archive already.
        let dir = s.store.cache_dir(FilesOf::Rootfs);
        let turn = claim::alone(File::open(&dir).unwrap(), "the cache").unwrap();
        let lock = claim::alone(open_lock(&dir).unwrap(), "the cache").unwrap();
        let (done, removed) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| done.send(s.store.remove(&record.spec.name)).unwrap());
            // It waits for its turn; if it does not, it is done by now.
            let early = removed.recv_timeout(std::time::Duration::from_millis(200));
            drop((lock, turn));
            early.or_else(|_| removed.recv()).unwrap().unwrap();
        });
        assert_eq!(files(&s), Vec::<String>::new());
    }

    #[test]
    fn what_a_killed_maker_left_goes_with_the_next() {
        let s = Scratch::new();
        let cache = s.store.rootfs_cache().unwrap();
        make(&cache, b"a", Some(fingerprint(1)));
        std::mem::forget(cache.begin().unwrap());
        // Killed: its lock is gone, and nobody cleaned up.
        let (mut cache, dir) = (std::mem::ManuallyDrop::new(cache), s.store.cache_dir(FilesOf::Rootfs));
        drop(cache.lock.take());
        assert_eq!(std::fs::read_dir(dir).unwrap().count(), 4);
        drop(s.store.rootfs_cache().unwrap());
        assert_eq!(files(&s), Vec::<String>::new());
    }

    #[test]
    fn a_name_that_is_taken_leaves_nothing() {
        let s = Scratch::new();
        s.store.create(&record("web")).unwrap();
        let cache = s.store.rootfs_cache().unwrap();
        let mut second = record("web");
        second.spec.rootfs_digest = Some(make(&cache, b"a", None));
        assert!(s.store.create(&second).is_err());
        drop(cache);
        assert_eq!(files(&s), Vec::<String>::new());
    }
}
