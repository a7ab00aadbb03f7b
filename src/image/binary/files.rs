//! A program and what it loads as a [`Tree`]: all under the names that they have on the host, with the directories and
//! the symbolic links on the way.
//!
//! Files are root's, with the permissions that they have, and a program can be executed in any case. Directories are
//! nobody's in particular: the same program gives the same bytes wherever it was built.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::host::{Host, key};
use super::libraries::Search;
use super::program::{Linkage, Program};
use crate::error::{Context as _, Error, Result};
use crate::image::tree::{Content, Kind, Meta, Tree, Visitor};
use crate::machine::Digest;
use crate::paths;

/// A program and all that it needs.
#[derive(Debug)]
pub struct Collection {
    host: Host,
    program: PathBuf,
    entries: BTreeMap<Vec<Vec<u8>>, Entry>,
    fingerprint: Digest,
    newest: i128,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Directory,
    Link(PathBuf),
    File { real: PathBuf, mode: u32 },
}

impl Collection {
    /// Finds all that a program needs. `environment` is the guest's `LD_LIBRARY_PATH`.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::error::Kind::NotFound) when something is missing: names it, and who needs it. When
    /// something cannot be read.
    pub fn of(program: &Program, environment: Option<&str>) -> Result<Self> {
        Self::on(Host::own(), program, environment)
    }

    pub(super) fn on(host: Host, program: &Program, environment: Option<&str>) -> Result<Self> {
        let environment = environment.map(OsString::from);
        let libraries = match &program.linkage {
            Linkage::Static => None,
            Linkage::Dynamic { interpreter } => {
                Some(Search::run(&host, &program.path, &program.object, interpreter, environment.as_deref())?)
            }
        };
        let mut all = Self {
            host,
            program: program.path.clone(),
            entries: BTreeMap::new(),
            fingerprint: Digest::from_bytes([0; 32]),
            newest: 0,
        };
        all.add(&program.path)?;
        if let Some(libraries) = libraries {
            for path in &libraries.paths {
                all.add(path)?;
            }
            if libraries.by_cache {
                all.add(Path::new(paths::LIBRARY_CACHE))?;
            }
        }
        (all.fingerprint, all.newest) = all.look()?;
        Ok(all)
    }

    /// Adds a directory that is to be there, empty unless something is in it.
    ///
    /// # Errors
    /// When there is another file on the way.
    pub fn with_directory(mut self, path: &Path) -> Result<Self> {
        let mut parent = PathBuf::from("/");
        for part in path.components().skip(1) {
            parent.push(part);
            let entry = self.entries.entry(key(&parent)).or_insert(Entry::Directory);
            if matches!(entry, Entry::File { .. }) {
                return Err(Error::new(format!("{} is not a directory", parent.display())));
            }
        }
        (self.fingerprint, self.newest) = self.look()?;
        Ok(self)
    }

    /// Every file but directories, by its name in the guest.
    pub fn names(&self) -> Vec<String> {
        let files = self.entries.iter().filter(|(_, entry)| **entry != Entry::Directory);
        files.map(|(key, _)| crate::image::tree::show(&[&[], &key.join(&b'/')[..]].join(&b'/'))).collect()
    }

    /// Changes whenever a file of it changes.
    pub fn fingerprint(&self) -> Digest {
        self.fingerprint
    }

    /// When a file of it was changed last, in nanoseconds since 1970.
    pub fn newest(&self) -> i128 {
        self.newest
    }

    fn add(&mut self, path: &Path) -> Result<()> {
        let found = self.host.follow(path)?;
        for directory in &found.directories {
            self.entries.insert(key(directory), Entry::Directory);
        }
        for (link, target) in found.links {
            self.entries.insert(key(&link), Entry::Link(target));
        }
        let metadata = self.metadata(&found.real)?;
        let executable = if path == self.program { 0o555 } else { 0 };
        let mode = metadata.mode() & 0o777 | executable;
        let added = self.entries.entry(key(&found.real)).or_insert(Entry::File { real: found.real, mode });
        if let Entry::File { mode, .. } = added {
            *mode |= executable;
        }
        Ok(())
    }

    fn metadata(&self, real: &Path) -> Result<Metadata> {
        self.host.place(real).symlink_metadata().with_context(|| format!("cannot look at {}", real.display()))
    }

    /// What all of it is now.
    fn look(&self) -> Result<(Digest, i128)> {
        let (mut hash, mut newest) = (Sha256::new(), 0);
        for (key, entry) in &self.entries {
            for part in key {
                hash.update(part);
                hash.update([0]);
            }
            match entry {
                Entry::Directory => hash.update([1]),
                Entry::Link(target) => {
                    hash.update([2]);
                    hash.update(target.as_os_str().as_bytes());
                    hash.update([0]);
                }
                Entry::File { real, mode } => {
                    let of = self.metadata(real)?;
                    hash.update([3]);
                    let words = [of.dev(), of.ino(), of.len(), of.mtime().cast_unsigned(), of.ctime().cast_unsigned()];
                    for word in words.into_iter().chain([u64::from(*mode)]) {
                        hash.update(word.to_le_bytes());
                    }
                    hash.update(of.mtime_nsec().to_le_bytes());
                    hash.update(of.ctime_nsec().to_le_bytes());
                    newest = newest.max(i128::from(of.ctime()) * 1_000_000_000 + i128::from(of.ctime_nsec()));
                }
            }
        }
        Ok((Digest::from_bytes(hash.finalize().into()), newest))
    }

    fn within(&self, error: Error) -> Error {
        error.context(format!("cannot pack {} and its libraries", self.program.display()))
    }
}

impl Tree for Collection {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        for (key, entry) in &self.entries {
            let mut meta = Meta {
                path: key.join(&b'/'),
                kind: Kind::Directory,
                permissions: 0o755,
                uid: 0,
                gid: 0,
                mtime: 0,
                size: 0,
                device: (0, 0),
                same: None,
            };
            match entry {
                Entry::Directory => {}
                Entry::Link(_) => (meta.kind, meta.permissions) = (Kind::Symlink, 0o777),
                Entry::File { real, mode } => {
                    let of = self.metadata(real).map_err(|e| self.within(e))?;
                    (meta.kind, meta.permissions, meta.size) = (Kind::File, *mode, of.len());
                    meta.mtime = of.mtime();
                }
            }
            visitor(&meta, &Here { host: &self.host, entry }).map_err(|e| self.within(e))?;
        }
        if self.look().map_err(|e| self.within(e))?.0 == self.fingerprint {
            Ok(())
        } else {
            Err(self.within(Error::new("they changed meanwhile")))
        }
    }
}

/// The content of one file.
struct Here<'a> {
    host: &'a Host,
    entry: &'a Entry,
}

impl Content for Here<'_> {
    fn data(&self) -> Result<Box<dyn Read + '_>> {
        match self.entry {
            Entry::File { real, .. } => {
                let file = File::open(self.host.place(real)).context("cannot open it")?;
                Ok(Box::new(file))
            }
            Entry::Directory | Entry::Link(_) => Ok(Box::new(std::io::empty())),
        }
    }

    fn target(&self) -> Result<Vec<u8>> {
        match self.entry {
            Entry::Link(target) => Ok(target.as_os_str().as_bytes().to_vec()),
            Entry::Directory | Entry::File { .. } => Err(Error::new("it is no link")),
        }
    }
}
