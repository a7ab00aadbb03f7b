//! A machine's root file system as a directory of its own, for a kernel that mounts it by 9P: the archive that kraft made,
//! unpacked.
//!
//! Nothing in it is shared with another machine or with the host, as the guest may write there. It comes with the record,
//! by the same rename, and goes with it. What the guest made of it stays over restarts, and until the machine is given
//! another root file system.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::{BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{CWD, Mode, OFlags, RenameFlags, ResolveFlags, mkdirat, openat, openat2, renameat_with, symlinkat};
use rustix::io::Errno;

use super::{Store, file, rootfs};
use crate::error::{Context as _, Error, Result};
use crate::machine::MachineName;

/// The name of a machine's own.
pub(super) const OWN: &str = "root";
/// What an archive is made of: Linux, `Documentation/driver-api/early-userspace/buffer-format.rst`.
const MAGIC: &[u8] = b"070701";
const HEAD: usize = 110;
const TRAILER: &[u8] = b"TRAILER!!!";
/// More than any name and any link's target has.
const LONGEST: u64 = 4096;
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const NEW: OFlags = OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::CLOEXEC);
/// No name leads out, whatever is in the archive.
const INSIDE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

impl Store {
    /// Where a machine has its root file system as a directory.
    pub fn own_root(&self, name: &MachineName) -> PathBuf {
        self.directory(name).join(OWN)
    }
}

/// Unpacks the archive that is in a machine's directory beside it, all of it on disk when this returns.
pub(super) fn unpack(machine: &Path) -> Result<()> {
    let cannot = || "cannot unpack the root file system";
    let archive = File::open(machine.join(rootfs::OWN)).with_context(cannot)?;
    let place = machine.join(OWN);
    file::make_private_dir(&place)?;
    let root: OwnedFd = File::open(&place).with_context(cannot)?.into();
    let made = Unpacker { archive: BufReader::new(archive), root, at: 0, directories: Vec::new() }.all();
    made.with_context(cannot)?;
    // Whose it is on the host nobody sees; the guest's users are to get through.
    std::fs::set_permissions(&place, Permissions::from_mode(0o755)).with_context(cannot)?;
    file::sync_dir(&place)
}

struct Unpacker<R> {
    archive: R,
    root: OwnedFd,
    /// How much of it was read.
    at: u64,
    /// All that was made, to be synced when it is full.
    directories: Vec<OwnedFd>,
}

/// A file's header.
struct Entry {
    mode: u32,
    changed: Duration,
    size: u64,
    path: PathBuf,
}

impl<R: Read> Unpacker<R> {
    fn all(mut self) -> Result<()> {
        while let Some(entry) = self.next()? {
            self.make(&entry).with_context(|| format!("cannot make /{}", entry.path.display()))?;
            self.align()?;
        }
        for directory in self.directories {
            rustix::fs::fsync(directory).context("cannot sync it")?;
        }
        Ok(())
    }

    /// Reads so many bytes.
    fn take(&mut self, length: u64) -> Result<Vec<u8>> {
        if length > LONGEST {
            return Err(damaged());
        }
        let mut bytes = Vec::new();
        self.archive.by_ref().take(length).read_to_end(&mut bytes).context("cannot read it")?;
        self.at += bytes.len() as u64;
        if bytes.len() as u64 == length { Ok(bytes) } else { Err(damaged()) }
    }

    fn align(&mut self) -> Result<()> {
        self.take(self.at.next_multiple_of(4) - self.at).map(drop)
    }

    fn next(&mut self) -> Result<Option<Entry>> {
        let head = self.take(HEAD as u64)?;
        let number = |index: usize| {
            let at = MAGIC.len() + index * 8;
            let digits = head.get(at..at + 8).and_then(|digits| std::str::from_utf8(digits).ok());
            digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).ok_or_else(damaged)
        };
        if !head.starts_with(MAGIC) {
            return Err(damaged());
        }
        let (mode, changed, size, length) = (number(1)?, number(5)?, number(6)?, number(11)?);
        let mut name = self.take(length.into())?;
        if name.pop() != Some(0) {
            return Err(damaged());
        }
        self.align()?;
        if name == TRAILER {
            return Ok(None);
        }
        let path = Path::new(OsStr::from_bytes(&name)).to_path_buf();
        if !path.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(damaged());
        }
        Ok(Some(Entry { mode, changed: Duration::from_secs(changed.into()), size: size.into(), path }))
    }

    fn make(&mut self, entry: &Entry) -> Result<()> {
        let (Some(parent), Some(name)) = (entry.path.parent(), entry.path.file_name()) else { return Err(damaged()) };
        let parent = self.open(parent)?;
        match entry.mode & 0o170_000 {
            0o040_000 => {
                mkdirat(&parent, name, Mode::from_raw_mode(0o700)).context("cannot make it")?;
                let made = File::from(self.open(&entry.path)?);
                made.set_permissions(Permissions::from_mode(entry.mode & 0o777 | 0o555))
                    .context("cannot open it up")?;
                self.directories.push(made.into());
            }
            0o100_000 => {
                let mut made =
                    File::from(openat(&parent, name, NEW, Mode::RUSR | Mode::WUSR).context("cannot make it")?);
                let copied = std::io::copy(&mut self.archive.by_ref().take(entry.size), &mut made);
                let copied = copied.context("cannot write it")?;
                self.at += copied;
                if copied != entry.size {
                    return Err(damaged());
                }
                // Where owners cannot be mapped, the machine has the rights there that everybody has.
                made.set_permissions(Permissions::from_mode(entry.mode & 0o777 | 0o444))
                    .context("cannot open it up")?;
                made.set_modified(UNIX_EPOCH + entry.changed).context("cannot set its time")?;
                made.sync_all().context("cannot write it")?;
            }
            0o120_000 => {
                let target = self.take(entry.size)?;
                symlinkat(target, &parent, name).context("cannot make it")?;
            }
            _ => return Err(Error::new("it is no file, directory or symbolic link")),
        }
        Ok(())
    }

    fn open(&self, path: &Path) -> Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        openat2(self.root.as_fd(), path, DIRECTORY, Mode::empty(), INSIDE).context("cannot open its directory")
    }
}

fn damaged() -> Error {
    Error::new("the archive is damaged")
}

/// Puts a new root file system in the place of the old one, which is where the new one was then.
pub(super) fn swap(new: &Path, own: &Path) -> Result<()> {
    let moved = match (new.exists(), own.exists()) {
        (true, true) => match renameat_with(CWD, new, CWD, own, RenameFlags::EXCHANGE) {
            // This file system cannot exchange.
            Err(Errno::INVAL | Errno::NOSYS) => {
                std::fs::rename(own, new.with_extension("old")).and_then(|()| std::fs::rename(new, own))
            }
            exchanged => exchanged.map_err(Into::into),
        },
        (true, false) => std::fs::rename(new, own),
        (false, true) => std::fs::rename(own, new),
        (false, false) => Ok(()),
    };
    moved.with_context(|| format!("cannot replace {}", own.display()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::MetadataExt as _;

    use super::super::tests::{Scratch, record};
    use super::*;
    use crate::machine::{Mount, Record};

    fn archive(entries: &[(&str, u32, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, mode, data) in entries.iter().chain(&[("TRAILER!!!", 0, &[][..])]) {
            let fields = [1, *mode as usize, 0, 0, 1, 7, data.len(), 0, 0, 0, 0, name.len() + 1, 0];
            out.extend(b"070701");
            out.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
            out.extend(name.bytes().chain([0]));
            out.resize(out.len().next_multiple_of(4), 0);
            out.extend(*data);
            out.resize(out.len().next_multiple_of(4), 0);
        }
        out
    }

    /// A machine whose root file system is this archive.
    fn machine(s: &Scratch, archive: &[u8]) -> (Record, super::super::RootfsCache) {
        let mut record = record("web");
        let cache = s.store.rootfs_cache().unwrap();
        let mut new = cache.begin().unwrap();
        new.write_all(archive).unwrap();
        record.spec.rootfs_digest = Some(new.keep(None).unwrap());
        record.spec.volumes = vec![Mount::own_root(s.store.own_root(&record.spec.name))];
        (record, cache)
    }

    #[test]
    fn a_machine_has_a_root_of_its_own() {
        let s = Scratch::new();
        let text = [
            ("bin", 0o040_755, &b""[..]),
            ("bin/app", 0o100_711, b"program"),
            ("lib", 0o120_777, b"usr/lib"),
            ("usr", 0o040_700, b""),
        ];
        let (record, cache) = machine(&s, &archive(&text));
        s.store.create(&record).unwrap();
        drop(cache);
        let root = s.store.own_root(&record.spec.name);
        let app = root.join("bin/app").metadata().unwrap();
        assert_eq!((app.mode() & 0o7777, app.mtime(), app.nlink()), (0o755, 7, 1));
        assert_eq!(std::fs::read_link(root.join("lib")).unwrap(), Path::new("usr/lib"));
        assert_eq!(
            (root.metadata().unwrap().mode() & 0o777, root.join("usr").metadata().unwrap().mode() & 0o777),
            (0o755, 0o755)
        );
        // It stays what its guest made of it until it is of another archive.
        std::fs::write(root.join("usr/mine"), "").unwrap();
        s.store.redefine(&record).unwrap();
        assert!(root.join("usr/mine").exists());
        let (other, cache) = machine(&s, &archive(&[("bin", 0o040_755, b""), ("bin/app", 0o100_755, b"new")]));
        s.store.redefine(&other).unwrap();
        drop(cache);
        assert_eq!(std::fs::read(root.join("bin/app")).unwrap(), b"new");
        assert!(!root.join("usr").exists());
        let mut plain = other;
        (plain.spec.rootfs_digest, plain.spec.volumes) = (None, Vec::new());
        s.store.redefine(&plain).unwrap();
        assert!(!root.exists());
        let left = std::fs::read_dir(s.store.directory(&plain.spec.name)).unwrap().flatten();
        assert_eq!(left.map(|entry| entry.file_name()).collect::<Vec<_>>(), ["machine.toml"]);
    }

    #[test]
    fn nothing_is_made_outside_and_nothing_is_left_of_a_damaged_one() {
        let s = Scratch::new();
        let outside = s.store.paths().state.join("outside");
        std::fs::create_dir_all(&outside).unwrap();
        let whole = archive(&[("bin", 0o040_755, b""), ("bin/app", 0o100_755, b"program")]);
        let link = outside.to_str().unwrap().as_bytes();
        for (bad, why) in [
            (archive(&[("../x", 0o100_644, b"x")]), "damaged"),
            (archive(&[("/x", 0o100_644, b"x")]), "damaged"),
            (archive(&[("up", 0o120_777, link), ("up/x", 0o100_644, b"x")]), "cannot make /up/x"),
            (archive(&[("x", 0o120_777, link), ("x", 0o100_644, b"x")]), "cannot make /x"),
            (archive(&[("null", 0o020_666, b"")]), "it is no file, directory or symbolic link"),
            (whole[..whole.len() - 130].to_vec(), "damaged"),
            (b"070702".to_vec(), "damaged"),
        ] {
            let (record, _cache) = machine(&s, &bad);
            let error = s.store.create(&record).unwrap_err().to_string();
            assert!(error.contains("cannot unpack the root file system") && error.contains(why), "{error}");
            assert_eq!(std::fs::read_dir(s.store.machines()).unwrap().count(), 0);
        }
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    }
}
