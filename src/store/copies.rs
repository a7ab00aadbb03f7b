//! The files that machines were given as they are, kernels and RAM disks: each kept once for all machines that have it.
//!
//! ```text
//! STATE/files/SHA256.file       a copy of a file, named by its content; its other names are files of machines
//! STATE/files/SHA256.source     a link to the copy of the file that has this fingerprint
//! ```
//!
//! The copy is a reflink where the file system can do that. It is never a hard link of the source: whoever writes that anew
//! in its place would change machines that are there already. The machines' are hard links of the copy, so a thousand
//! machines have a kernel on the disk, and in memory, once. The rest is as with [root file systems](super::RootfsCache).

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::Store;
use super::rootfs::{FilesOf, NewRootfs, RootfsCache};
use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::{Digest, MachineName, Record};

/// The name of a machine's own kernel.
const KERNEL: &str = "kernel";
/// How much is read at once.
const BUFFER: usize = 128 << 10;

impl Store {
    /// Where a machine has its kernel.
    pub fn own_kernel(&self, name: &MachineName) -> PathBuf {
        self.directory(name).join(KERNEL)
    }

    /// Opens the copies, and removes those that nobody uses.
    ///
    /// # Errors
    /// When the directory cannot be made or locked.
    pub fn copies(&self) -> Result<RootfsCache> {
        RootfsCache::open(self.cache_dir(FilesOf::Others), FilesOf::Others)
    }

    /// Gives a machine that is being made its kernel and its root file system.
    pub(super) fn take_files(&self, record: &Record, staging: &Path) -> Result<()> {
        if let Some(digest) = record.spec.kernel.digest {
            self.take_file(digest, &staging.join(KERNEL))
                .with_context(|| format!("cannot take the kernel {}", record.spec.kernel.given().display()))?;
        }
        match record.spec.rootfs_digest {
            Some(digest) => self.take_rootfs(digest, staging),
            None => Ok(()),
        }
    }

    /// Gives a file the content of this digest, from wherever that is kept.
    pub(super) fn take_file(&self, digest: Digest, to: &Path) -> Result<()> {
        for place in FilesOf::ALL {
            let from = self.cache_dir(place).join(place.file(digest));
            match std::fs::hard_link(&from, to) {
                Ok(()) => return Ok(()),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                // As many names as the file system allows, or it knows no links.
                Err(_) => {
                    return std::fs::copy(&from, to)
                        .and_then(|_| File::open(to)?.sync_all())
                        .with_context(|| format!("cannot copy {}", from.display()));
                }
            }
        }
        Err(Error::of(Kind::NotFound, format!("its content {digest} is not there any more")))
    }
}

impl RootfsCache {
    /// A copy of a whole file.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn copy(&self, source: &mut File) -> Result<NewRootfs<'_>> {
        let mut new = self.begin()?;
        let is_clone = new.clone_of(source);
        let mut buffer = vec![0; BUFFER];
        loop {
            match source.read(&mut buffer).context("cannot read it")? {
                0 => return Ok(new),
                length if is_clone => new.hash(&buffer[..length]),
                length => std::io::Write::write_all(&mut new, &buffer[..length]).context("cannot write it")?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::super::tests::{Scratch, record};
    use super::*;

    fn copy(copies: &RootfsCache, source: &Path) -> Digest {
        copies.copy(&mut File::open(source).unwrap()).unwrap().keep(None).unwrap()
    }

    /// A machine with the kernel that is in this file.
    fn machine(s: &Scratch, name: &str, source: &Path) -> Record {
        let copies = s.store.copies().unwrap();
        let mut record = record(name);
        let own = s.store.own_kernel(&record.spec.name);
        record.spec.kernel.path = source.to_owned();
        record.spec.kernel = record.spec.kernel.owned(own, copy(&copies, source));
        record
    }

    fn files(s: &Scratch) -> usize {
        let entries = std::fs::read_dir(s.store.cache_dir(FilesOf::Others)).unwrap().flatten();
        entries.filter(|entry| entry.file_name() != ".lock").count()
    }

    #[test]
    fn a_source_may_be_written_anew_in_its_place() {
        let s = Scratch::new();
        let source = s.store.paths().state.join("k");
        std::fs::create_dir_all(&s.store.paths().state).unwrap();
        std::fs::write(&source, vec![7; 3 * BUFFER + 5]).unwrap();
        let records = ["one", "two"].map(|name| {
            let copies = s.store.copies().unwrap();
            let record = machine(&s, name, &source);
            s.store.create(&record).unwrap();
            drop(copies);
            record
        });
        std::fs::write(&source, "new").unwrap();
        let inode = |record: &Record| {
            let own = s.store.own_kernel(&record.spec.name);
            assert_eq!(record.spec.kernel.path, own);
            assert_eq!(record.spec.kernel.given(), source);
            assert_eq!(std::fs::read(&own).unwrap(), vec![7; 3 * BUFFER + 5]);
            own.metadata().unwrap().ino()
        };
        assert_eq!(inode(&records[0]), inode(&records[1]));
        assert_eq!(files(&s), 1);
        let copies = s.store.copies().unwrap();
        let changed = machine(&s, "one", &source);
        s.store.redefine(&changed).unwrap();
        drop(copies);
        assert_eq!(std::fs::read(&changed.spec.kernel.path).unwrap(), b"new");
        assert_eq!(files(&s), 2);
        s.store.remove(&records[0].spec.name).unwrap();
        s.store.remove(&records[1].spec.name).unwrap();
        assert_eq!(files(&s), 0);
    }

    #[test]
    fn what_is_not_there_any_more_is_told() {
        let s = Scratch::new();
        std::fs::create_dir_all(&s.store.paths().state).unwrap();
        let source = s.store.paths().state.join("k");
        std::fs::write(&source, "k").unwrap();
        let record = machine(&s, "one", &source);
        let error = s.store.create(&record).unwrap_err();
        assert!(
            error.to_string().contains(&format!("cannot take the kernel {}: its content ", source.display())),
            "{error}"
        );
        assert_eq!(s.store.names().unwrap().len(), 0);
    }
}
