//! Files that are replaced whole: temporary file, sync, rename, sync of the directory.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::{Context as _, Error, Result};

/// Replaces a file so that a reader sees the old or the new content, and a power cut leaves one of them.
///
/// # Errors
/// When any step fails; the old content is left then.
pub fn replace(path: &Path, content: &[u8]) -> Result<()> {
    write_then_rename(path, content, Durability::Disk)
}

/// The same for a file that need not survive the boot.
pub(super) fn replace_volatile(path: &Path, content: &[u8]) -> Result<()> {
    write_then_rename(path, content, Durability::Boot)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Durability {
    Disk,
    Boot,
}

fn write_then_rename(path: &Path, content: &[u8], durability: Durability) -> Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::new(format!("cannot write {}: not a file name", path.display())));
    };
    // Writers of one file are never two at once (a claim or the runner's lock sees to it), but a killed one may have
    // left its temporary file: a fixed name is simply written over.
    let temporary = dir.join(format!(".{}.tmp", name.to_string_lossy()));
    let written = (|| {
        // Not cut to nothing before it is written: the space that it has is kept.
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.set_len(content.len() as u64)?;
        match durability {
            Durability::Disk => file.sync_all().and_then(|()| std::fs::rename(&temporary, path)),
            Durability::Boot => swap(&temporary, path),
        }
    })();
    if written.is_err() && durability == Durability::Disk {
        let _ = std::fs::remove_file(&temporary);
    }
    written.with_context(|| format!("cannot write {}", path.display()))?;
    match durability {
        Durability::Disk => sync_dir(dir),
        Durability::Boot => Ok(()),
    }
}

/// Puts a file in the place of another, which stays under its name: the next content has its space even when the file
/// system is full by then.
fn swap(new: &Path, old: &Path) -> std::io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE) {
        // There is none yet, or this file system cannot exchange.
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            std::fs::rename(new, old)
        }
        result => Ok(result?),
    }
}

/// Makes the entries of a directory survive a power cut.
pub(super) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).with_context(|| format!("cannot sync {}", dir.display()))
}

/// Makes a directory that only its owner reads: environments and arguments may hold secrets.
pub(super) fn make_private_dir(dir: &Path) -> Result<()> {
    DirBuilder::new().mode(0o700).create(dir).with_context(|| format!("cannot make {}", dir.display()))
}

/// Reads a JSON file; `None` when there is none.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let Some(text) = super::ceded::read(path)? else { return Ok(None) };
    serde_json::from_slice(&text).map(Some).map_err(|e| Error::new(format!("{}:{}: {e}", path.display(), e.line())))
}
