//! A machine that is defined anew under its name: what its record, its kernel and its root file system were is replaced by
//! what they are to be. And what a record was made of, for machines that files declare.

use std::io::ErrorKind;
use std::path::Path;

use super::{RECORD, Store, file, root, shelf};
use crate::error::{Context as _, Error, Result};
use crate::machine::{Digest, MachineName, Record};

const ORIGIN: &str = "origin";
/// Where files are until they take the old ones' places.
const STAGING: &str = ".files-new";

/// What a record was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// What its file said.
    pub said: Digest,
    /// Which files that named.
    pub named: Digest,
}

impl Store {
    /// Replaces a record, and the machine's own files by those that the record has.
    ///
    /// # Errors
    /// When something cannot be written. The old record is left then.
    pub fn redefine(&self, record: &Record) -> Result<()> {
        let name = &record.spec.name;
        let cannot = || format!("cannot change machine {name}");
        let text = toml::to_string(record).map_err(|e| Error::new(e.to_string())).with_context(cannot)?;
        let dir = self.directory(name);
        self.swap_files(record, &dir).with_context(cannot)?;
        file::replace(&dir.join(RECORD), text.as_bytes()).with_context(cannot)?;
        self.sweep_files();
        Ok(())
    }

    fn swap_files(&self, record: &Record, dir: &Path) -> Result<()> {
        let name = &record.spec.name;
        // One that was killed here left it.
        let staging = dir.join(STAGING);
        let clear = || shelf::remove_tree(&staging);
        clear()?;
        file::make_private_dir(&staging)?;
        let own_root = self.own_root(name);
        // What its guest made of it stays while it is of the same archive.
        let of_the_same = self.read(name).is_ok_and(|old| old.spec.rootfs_digest == record.spec.rootfs_digest);
        let root_stays = record.spec.has_own_root() && of_the_same && own_root.exists();
        let swap_root = || {
            if root_stays {
                return Ok(());
            }
            if record.spec.has_own_root() {
                root::unpack(&staging)?;
            }
            root::swap(&staging.join(root::OWN), &own_root)
        };
        let swap = |own: &Path| {
            let new = staging.join(own.file_name().unwrap_or_default());
            let is_there = new.symlink_metadata().is_ok();
            if is_there { std::fs::rename(new, own) } else { already(std::fs::remove_file(own)) }
                .with_context(|| format!("cannot replace {}", own.display()))
        };
        let swapped = self
            .take_files(record, &staging)
            .and_then(|()| swap_root())
            .and_then(|()| [self.own_kernel(name), self.own_rootfs(name)].iter().try_for_each(|own| swap(own)));
        // Not empty if both were the same file, which a rename leaves as it is.
        swapped.and(clear())?;
        file::sync_dir(dir)
    }

    /// What the record was made of, if a file declares the machine.
    pub fn origin(&self, name: &MachineName) -> Option<Origin> {
        let text = std::fs::read_to_string(self.directory(name).join(ORIGIN)).ok()?;
        let (said, named) = text.trim().split_once(' ')?;
        Some(Origin { said: said.parse().ok()?, named: named.parse().ok()? })
    }

    /// Keeps what the record was made of.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_origin(&self, name: &MachineName, origin: Origin) -> Result<()> {
        let Origin { said, named } = origin;
        file::replace(&self.directory(name).join(ORIGIN), format!("{said} {named}\n").as_bytes())
    }
}

impl Store {
    /// The machine is not declared any more; its record stays.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn forget_origin(&self, name: &MachineName) -> Result<()> {
        let path = self.directory(name).join(ORIGIN);
        already(std::fs::remove_file(&path)).with_context(|| format!("cannot remove {}", path.display()))
    }
}

fn already(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::tests::{Scratch, record};
    use super::*;

    #[test]
    fn a_machine_gets_another_root_file_system() {
        let s = Scratch::new();
        let make = |content: &[u8]| {
            let cache = s.store.rootfs_cache().unwrap();
            let mut new = cache.begin().unwrap();
            new.write_all(content).unwrap();
            (new.keep(None).unwrap(), cache)
        };
        let mut record = record("web");
        let (first, cache) = make(b"first");
        record.spec.rootfs_digest = Some(first);
        s.store.create(&record).unwrap();
        drop(cache);
        let own = s.store.own_rootfs(&record.spec.name);
        for content in [&b"first"[..], b"second", b"second"] {
            let (digest, _cache) = make(content);
            record.spec.rootfs_digest = Some(digest);
            s.store.redefine(&record).unwrap();
            assert_eq!(std::fs::read(&own).unwrap(), content);
            assert!(!s.store.directory(&record.spec.name).join(STAGING).exists());
        }
        record.spec.rootfs_digest = None;
        s.store.redefine(&record).unwrap();
        assert!(!own.exists());
        assert_eq!(s.store.read(&record.spec.name).unwrap(), record);
    }

    #[test]
    fn what_a_record_was_made_of() {
        let s = Scratch::new();
        let record = record("web");
        s.store.create(&record).unwrap();
        assert_eq!(s.store.origin(&record.spec.name), None);
        let origin = Origin { said: Digest::from_bytes([7; 32]), named: Digest::from_bytes([8; 32]) };
        s.store.write_origin(&record.spec.name, origin).unwrap();
        assert_eq!(s.store.origin(&record.spec.name), Some(origin));
        // What an earlier kraft wrote says too little.
        std::fs::write(s.store.directory(&record.spec.name).join(ORIGIN), format!("{}\n", origin.said)).unwrap();
        assert_eq!(s.store.origin(&record.spec.name), None);
    }
}
