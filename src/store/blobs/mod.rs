//! The images of a scope: content by its SHA-256, kept once however many images have it, and the images' names.
//!
//! ```text
//! STATE/images/oci-layout         it is an OCI image layout, which other tools read: `skopeo inspect oci:DIR:NAME`
//! STATE/images/index.json         the names, and the manifest or index that each stands for
//! STATE/images/blobs/sha256/HEX   content: complete and verified
//! STATE/images/partial/HEX        content that is being fetched, or was when its fetcher died; locked by its fetcher
//! STATE/images/partial/.new-RANDOM content whose digest is not known yet
//! STATE/images/.names             locked by who changes index.json
//! STATE/images/.lock              shared by all users, held alone by who removes content
//! ```
//!
//! Content gets its name in blobs by one rename, when all of it is on the disk and is what it should be. What a killed
//! fetcher leaves is continued by the next. Nothing is removed while somebody holds [`Blobs`]: whoever needs content
//! holds it until a name or a machine's record says so.

mod index;
mod new;

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::Flock;
use sha2::{Digest as _, Sha256};

pub use index::{Named, Target};
pub use new::{Begun, NewBlob};

use super::shelf::NEW;
use super::{Store, claim, file};
use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::Digest;

const LAYOUT: &str = "oci-layout";
const LAYOUT_CONTENT: &[u8] = b"{\"imageLayoutVersion\":\"1.0.0\"}";
const BLOBS: &str = "blobs/sha256";
const PARTIAL: &str = "partial";
const LOCK: &str = ".lock";

/// The images of a scope, held so that no content is removed.
#[derive(Debug)]
pub struct Blobs {
    dir: PathBuf,
    _lock: Flock<File>,
}

/// The images of a scope, held alone, to remove what nobody needs.
#[derive(Debug)]
pub struct BlobsAlone(Blobs);

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// How many files.
    pub blobs: u64,
    /// How much they held, in bytes.
    pub bytes: u64,
}

impl Store {
    /// Opens the images, and makes their directory where there is none.
    ///
    /// # Errors
    /// When it cannot be made, or somebody who removes content does not get done.
    pub fn blobs(&self) -> Result<Blobs> {
        let (dir, lock) = self.open_images()?;
        let blobs = Blobs { _lock: claim::share(lock, "the image store")?, dir };
        blobs.sweep();
        Ok(blobs)
    }

    /// Opens the images to remove some, waiting for those who use them.
    ///
    /// # Errors
    /// [`Kind::Timeout`] when they stay in use.
    pub fn blobs_alone(&self) -> Result<BlobsAlone> {
        let (dir, lock) = self.open_images()?;
        let blobs = Blobs { _lock: claim::alone(lock, "the image store")?, dir };
        blobs.sweep();
        Ok(BlobsAlone(blobs))
    }

    /// The same without waiting; `None` while somebody uses them.
    ///
    /// # Errors
    /// When the directory cannot be made or locked.
    pub fn try_blobs_alone(&self) -> Result<Option<BlobsAlone>> {
        use nix::fcntl::FlockArg;
        let (dir, lock) = self.open_images()?;
        match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(BlobsAlone(Blobs { dir, _lock: lock }))),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno).context("cannot lock the image store"),
        }
    }

    /// The names of the images, without using any: nothing is made or locked.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn image_names(&self) -> Result<Vec<Named>> {
        index::names(&self.images())
    }

    fn images(&self) -> PathBuf {
        self.paths().state.join("images")
    }

    fn open_images(&self) -> Result<(PathBuf, File)> {
        let dir = self.images();
        let cannot = || format!("cannot make {}", dir.display());
        // Others may have to get through to what is theirs.
        std::fs::create_dir_all(&self.paths().state).with_context(cannot)?;
        for made in [dir.clone(), dir.join(BLOBS), dir.join(PARTIAL)] {
            DirBuilder::new().recursive(true).mode(0o700).create(made).with_context(cannot)?;
        }
        let path = dir.join(LOCK);
        let lock = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        lock.with_context(|| format!("cannot open {}", path.display())).map(|lock| (dir, lock))
    }
}

impl Blobs {
    /// The directory, which is an OCI image layout as soon as it has a name in it.
    pub fn directory(&self) -> &Path {
        &self.dir
    }

    /// Where content is, if it is there: complete, verified, and never to be written to. Good for hard links.
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.dir.join(BLOBS).join(digest.to_string())
    }

    /// How much content there is of this digest, in bytes; `None` if there is none.
    pub fn size(&self, digest: Digest) -> Option<u64> {
        std::fs::metadata(self.path(digest)).ok().filter(std::fs::Metadata::is_file).map(|about| about.len())
    }

    /// Opens content.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when it is not there.
    pub fn open(&self, digest: Digest) -> Result<File> {
        match File::open(self.path(digest)) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::of(Kind::NotFound, format!("sha256:{digest} is not among the images")))
            }
            file => file.with_context(|| format!("cannot read sha256:{digest}")),
        }
    }

    /// Reads small content whole, and looks whether it is still what it was.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when it is not there; that it is longer than `most` bytes; that the disk changed it.
    pub fn read(&self, digest: Digest, most: u64) -> Result<Vec<u8>> {
        let file = self.open(digest)?;
        let mut content = Vec::new();
        let read = file.take(most.saturating_add(1)).read_to_end(&mut content);
        read.with_context(|| format!("cannot read sha256:{digest}"))?;
        if content.len() as u64 > most {
            return Err(Error::new(format!("sha256:{digest} is longer than {most} bytes")));
        }
        if Digest::from_bytes(Sha256::digest(&content).into()) != digest {
            return Err(Error::new(format!("{} was changed after it was kept", self.path(digest).display()))
                .with_hint("remove that file, then `kraft pkg pull` the image again"));
        }
        Ok(content)
    }

    /// Begins to write content that is known by its digest and size, where the last one stopped. Waits for another who
    /// fetches the same, as long as he gets on with it.
    ///
    /// # Errors
    /// When there is no space for it; [`Kind::Timeout`] when another holds it and gets nowhere.
    pub fn begin(&self, digest: Digest, size: u64) -> Result<Begun> {
        NewBlob::begin(self, digest, size)
    }

    /// Begins to write content whose digest is not known yet. Dropped before it is kept, nothing is left of it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(&self) -> Result<NewBlob> {
        NewBlob::create(self)
    }

    /// Keeps small content.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, content: &[u8]) -> Result<Digest> {
        use std::io::Write as _;
        let digest = Digest::from_bytes(Sha256::digest(content).into());
        if self.size(digest) == Some(content.len() as u64) && !self.discard_damaged(digest) {
            return Ok(digest);
        }
        let mut new = self.create()?;
        new.write_all(content).with_context(|| format!("cannot keep sha256:{digest}"))?;
        new.keep()
    }

    /// Removes content that is no longer what it was when it was kept, as it is of no use to anybody. Says whether that
    /// was so. What cannot be read stays: that may pass.
    pub fn discard_damaged(&self, digest: Digest) -> bool {
        let path = self.path(digest);
        let Ok(mut file) = File::open(&path) else { return false };
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 17]);
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => hash.update(&buffer[..read]),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        if Digest::from_bytes(hash.finalize().into()) == digest {
            return false;
        }
        log::warn!("{} was changed after it was kept, and is removed", path.display());
        std::fs::remove_file(&path).is_ok()
    }

    /// All digests that there is content of.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn all(&self) -> Result<Vec<Digest>> {
        let dir = self.dir.join(BLOBS);
        let entries = std::fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))?;
        Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
    }

    fn partial(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.join(PARTIAL).join(name)
    }

    /// Removes what killed writers left that nobody can continue.
    fn sweep(&self) {
        let Ok(entries) = std::fs::read_dir(self.dir.join(PARTIAL)) else { return };
        for entry in entries.flatten() {
            let abandoned = entry.file_name().to_str().is_some_and(|name| name.starts_with(NEW));
            let Some(_lock) = abandoned.then(|| claim::lock_abandoned(&entry.path())).flatten() else { continue };
            if let Err(error) = std::fs::remove_file(entry.path()) {
                log::debug!("cannot remove {}: {error}", entry.path().display());
            }
        }
    }
}

impl std::ops::Deref for BlobsAlone {
    type Target = Blobs;

    fn deref(&self) -> &Blobs {
        &self.0
    }
}

impl BlobsAlone {
    /// Removes all content but this.
    ///
    /// # Errors
    /// When a file cannot be removed; the others are removed even then.
    pub fn retain(&self, needed: &BTreeSet<Digest>) -> Result<Removed> {
        let mut paths = Vec::new();
        for digest in self.all()?.into_iter().filter(|digest| !needed.contains(digest)) {
            paths.push(self.path(digest));
        }
        self.remove(paths)
    }

    /// Removes what is there of content that never became complete.
    ///
    /// # Errors
    /// When a file cannot be removed; the others are removed even then.
    pub fn remove_partial(&self) -> Result<Removed> {
        let dir = self.dir.join(PARTIAL);
        let entries = std::fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))?;
        self.remove(entries.flatten().map(|entry| entry.path()).collect())
    }

    fn remove(&self, paths: Vec<PathBuf>) -> Result<Removed> {
        let (mut removed, mut failed) = (Removed::default(), None);
        for path in paths {
            let size = std::fs::metadata(&path).map_or(0, |about| about.len());
            match std::fs::remove_file(&path) {
                Ok(()) => removed = Removed { blobs: removed.blobs + 1, bytes: removed.bytes + size },
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => failed = Some(Err(e).with_context(|| format!("cannot remove {}", path.display()))),
            }
        }
        file::sync_dir(&self.dir.join(BLOBS))?;
        failed.unwrap_or(Ok(removed))
    }
}

#[cfg(test)]
mod tests;
