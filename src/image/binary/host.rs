//! Files of the host's by their absolute names, and what is on the way to them: directories and symbolic links.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use crate::error::{Context as _, Error, Kind, Result};

/// As many as Linux follows.
const LINKS: usize = 40;

/// Where the host's files are.
#[derive(Debug, Clone)]
pub(super) struct Host {
    root: PathBuf,
}

/// A file and the way to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Its name without links.
    pub(super) real: PathBuf,
    /// The directories on the way, without the root.
    pub(super) directories: Vec<PathBuf>,
    /// The links on the way, and what they say.
    pub(super) links: Vec<(PathBuf, PathBuf)>,
}

impl Host {
    /// This machine's own.
    pub(super) fn own() -> Self {
        Self::below(PathBuf::from("/"))
    }

    /// A tree that stands for a host.
    pub(super) fn below(root: PathBuf) -> Self {
        Self { root }
    }

    /// Where a file is really.
    pub(super) fn place(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Goes to a file, by every link.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when it is not there, and when there are more links than Linux follows.
    pub(super) fn follow(&self, path: &Path) -> Result<Found> {
        let cannot = || format!("cannot read {}", path.display());
        let mut found = Found { real: PathBuf::from("/"), directories: Vec::new(), links: Vec::new() };
        let mut left: Vec<OsString> = parts(path);
        while let Some(part) = left.pop() {
            if part == ".." {
                found.real.pop();
                continue;
            }
            let next = found.real.join(&part);
            let place = self.place(&next);
            let metadata = match place.symlink_metadata() {
                Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                    return Err(Error::of(Kind::NotFound, format!("not found: {}", path.display())));
                }
                metadata => metadata.with_context(cannot)?,
            };
            if metadata.is_symlink() {
                if found.links.len() == LINKS {
                    return Err(Error::new(format!("{}: more than {LINKS} symbolic links", cannot())));
                }
                let target = place.read_link().with_context(cannot)?;
                if target.is_absolute() {
                    found.real = PathBuf::from("/");
                }
                left.extend(parts(&target));
                found.links.push((next, target));
                continue;
            }
            if metadata.is_dir() {
                found.directories.push(next.clone());
            }
            found.real = next;
        }
        Ok(found)
    }
}

/// A path's parts, the first one last.
fn parts(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
        })
        .collect()
}

/// The same for what has to be in order: a directory before all that is in it, whatever the bytes of its name.
pub(super) fn key(path: &Path) -> Vec<Vec<u8>> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.as_bytes().to_vec()),
            Component::ParentDir | Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
        })
        .collect()
}
