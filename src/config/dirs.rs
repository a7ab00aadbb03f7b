//! Where machine files are looked for.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::paths::{self, Scope};

/// The directories that machine files are in. A file hides those of the same name in later ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dirs(Vec<PathBuf>);

impl Dirs {
    /// Those of a scope: what the administrator wrote, what was made for this boot, what packages brought.
    ///
    /// # Errors
    /// In the user scope, when neither XDG variables nor `HOME` say where.
    pub fn find(scope: Scope) -> Result<Self> {
        paths::machine_files(scope).map(Self)
    }

    /// One directory alone.
    pub fn only(dir: impl Into<PathBuf>) -> Self {
        Self(vec![dir.into()])
    }

    /// These, after another directory.
    #[must_use]
    pub fn after(self, dir: &Path) -> Self {
        Self(std::iter::once(dir.to_path_buf()).chain(self.0.into_iter().filter(|other| other != dir)).collect())
    }

    /// The directories, the one that goes before all others first.
    pub fn paths(&self) -> &[PathBuf] {
        &self.0
    }

    /// The file of this name that counts. One that is a link to /dev/null says that there is none.
    pub(super) fn file(&self, name: &str) -> Option<PathBuf> {
        let mut files = self.0.iter().map(|dir| dir.join(name));
        files.find(|file| file.symlink_metadata().is_ok()).filter(|file| !is_masked(file))
    }

    /// The files in the directories of this name, by their own names; one hides those of its name in later directories.
    pub(super) fn drop_ins(&self, name: &str) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = Vec::new();
        for dir in &self.0 {
            for file in files_in(&dir.join(name)) {
                if !found.iter().any(|other| other.file_name() == file.file_name()) {
                    found.push(file);
                }
            }
        }
        found.retain(|file| !is_masked(file));
        found.sort_by(|one, two| one.file_name().cmp(&two.file_name()));
        found
    }

    /// All files in them, in no order.
    pub(super) fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.0.iter().flat_map(|dir| files_in(dir))
    }
}

pub(super) fn is_masked(file: &Path) -> bool {
    std::fs::read_link(file).is_ok_and(|target| target == Path::new("/dev/null"))
}

/// What ends in `.toml` and is not hidden. A directory that is missing or cannot be read has none: whoever wants one of
/// its files by name is told.
fn files_in(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let is_one = |name: &str| name.ends_with(".toml") && !name.starts_with('.');
    let files = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_one)).map(|entry| entry.path());
    files.filter(|path| !path.is_dir()).collect()
}
