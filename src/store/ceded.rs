//! A machine's runtime directory while it belongs to the machine's own user: to a guest that broke out, that is. Root
//! follows no link there, opens nothing but plain files, and reads no more than fits.

use std::fs::{File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, fchown, lchown};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, renameat, unlinkat};

use super::Store;
use crate::error::{Context as _, Error, Result};
use crate::machine::MachineName;

const STATUS: &str = "status.json";
const NEXT_STATUS: &str = ".status.json.tmp";
/// More than any status and any request has.
const LONGEST: u64 = 1 << 20;

/// A user and a group by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

impl Store {
    /// Gives the machine's runtime directory and all that is in it to a user. Nothing of his may run yet.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn cede_runtime(&self, name: &MachineName, owner: Owner) -> Result<()> {
        let dir = self.runtime(name);
        let cannot = || format!("cannot give {} to user {}", dir.display(), owner.uid);
        for entry in std::fs::read_dir(&dir).with_context(cannot)?.flatten() {
            lchown(entry.path(), Some(owner.uid), Some(owner.gid)).with_context(cannot)?;
        }
        chown(&dir, Some(owner.uid), Some(owner.gid)).with_context(cannot)
    }

    /// Takes the directory back. Of what is in it, only the status is kept.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn reclaim_runtime(&self, name: &MachineName) -> Result<()> {
        let path = self.runtime(name);
        let cannot = || format!("cannot take back {}", path.display());
        let dir = match openat(CWD, &path, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            dir => File::from(dir.with_context(cannot)?),
        };
        let us = rustix::process::geteuid().as_raw();
        if dir.metadata().with_context(cannot)?.uid() == us {
            return Ok(());
        }
        fchown(&dir, Some(us), Some(rustix::process::getegid().as_raw())).with_context(cannot)?;
        dir.set_permissions(Permissions::from_mode(0o700)).with_context(cannot)?;
        for entry in std::fs::read_dir(&path).with_context(cannot)?.flatten() {
            let about = entry.metadata().with_context(cannot)?;
            // What the status is written over is kept, too: it has its space even where there is no more.
            let name = entry.file_name();
            let kept = [STATUS, NEXT_STATUS].iter().any(|kept| name == **kept);
            let removed = match about.file_type() {
                kind if kind.is_dir() => std::fs::remove_dir_all(entry.path()),
                kind if kind.is_file() && kept && about.nlink() == 1 && about.len() < LONGEST => {
                    lchown(entry.path(), Some(us), Some(rustix::process::getegid().as_raw()))
                }
                _ => std::fs::remove_file(entry.path()),
            };
            removed.with_context(cannot)?;
        }
        Ok(())
    }
}

/// Reads a plain file that may be another's. `None` when there is none.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let cannot = || format!("cannot read {}", path.display());
    let how = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(CWD, path, how, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        file => File::from(file.with_context(cannot)?),
    };
    if !file.metadata().with_context(cannot)?.is_file() {
        return Err(Error::new(format!("{}: it is not a regular file", cannot())));
    }
    let mut content = Vec::new();
    file.take(LONGEST).read_to_end(&mut content).with_context(cannot)?;
    Ok(Some(content))
}

/// Puts a file into a directory that may be another's, for its owner. `false` if the directory is our own.
pub(super) fn put(dir: &Path, name: &str, content: &[u8]) -> Result<bool> {
    let cannot = || format!("cannot write {}", dir.join(name).display());
    let dir = openat(CWD, dir, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    let dir = File::from(dir.with_context(cannot)?);
    let about = dir.metadata().with_context(cannot)?;
    if about.uid() == rustix::process::geteuid().as_raw() {
        return Ok(false);
    }
    let temporary = format!(".{name}.new");
    match unlinkat(&dir, &temporary, AtFlags::empty()) {
        Err(rustix::io::Errno::NOENT) => {}
        removed => removed.with_context(cannot)?,
    }
    let how = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(&dir, &temporary, how, Mode::RUSR | Mode::WUSR).with_context(cannot)?);
    file.write_all(content).with_context(cannot)?;
    fchown(&file, Some(about.uid()), Some(about.gid())).with_context(cannot)?;
    renameat(&dir, &temporary, &dir, name).with_context(cannot)?;
    Ok(true)
}
