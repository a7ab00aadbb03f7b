//! A directory of entries, each a directory that appears and disappears whole.
//!
//! ```text
//! DIR/NAME/          an entry
//! DIR/.new-RANDOM/   one that is being made
//! DIR/.gone-RANDOM/  one that is being removed
//! ```
//!
//! An entry comes by one rename and goes by one: of many creators of a name one succeeds, and a crash leaves all of an
//! entry or nothing. What a killed one left is held by nobody, and swept by the next.

use std::fs::File;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::{claim, file, random};
use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::MachineId;

/// How what is being made is called until it is there.
pub(super) const NEW: &str = ".new-";
const GONE: &str = ".gone-";

/// Such a directory.
#[derive(Debug, Clone)]
pub struct Shelf {
    dir: PathBuf,
}

/// A hold on an entry: nobody takes it away. Let go when dropped, or when its holder dies.
#[derive(Debug)]
pub struct Hold {
    _lock: Flock<File>,
}

impl Shelf {
    /// The shelf in this directory. Touches no file.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Where an entry is.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.join(name)
    }

    /// The names of all entries that are names, sorted.
    ///
    /// # Errors
    /// When the directory cannot be read; a missing one is empty.
    pub fn names<N: std::str::FromStr + Ord>(&self) -> Result<Vec<N>> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e).with_context(|| format!("cannot list {}", self.dir.display())),
        };
        let mut names: Vec<N> = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Puts a new entry there, which `fill` fills.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when the name is taken. Nothing is left then.
    pub fn put(&self, name: impl AsRef<Path>, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let place = self.path(name);
        let taken = || Error::of(Kind::Conflict, format!("{} is there already", place.display()));
        std::fs::create_dir_all(&self.dir).with_context(|| format!("cannot make {}", self.dir.display()))?;
        if place.exists() {
            return Err(taken());
        }
        self.sweep();
        let (staging, _lock) = self.stage()?;
        let moved = fill(&staging).and_then(|()| {
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            match renameat_with(CWD, &staging, CWD, &place, RenameFlags::NOREPLACE) {
                Err(rustix::io::Errno::EXIST | rustix::io::Errno::NOTEMPTY) => Err(taken()),
                result => result.with_context(|| format!("cannot make {}", place.display())),
            }
        });
        if let Err(error) = moved {
            // The cause is worth more than a second error about the same full disk.
            let _ = remove_tree(&staging);
            return Err(error);
        }
        file::sync_dir(&self.dir)
    }

    /// Takes an entry away. One that is gone already is a success.
    ///
    /// # Errors
    /// When a file cannot be removed. The entry is gone even then, and the next sweep tries once more.
    pub fn take(&self, name: impl AsRef<Path>) -> Result<()> {
        let (place, gone) = (self.path(name), self.scratch(GONE)?);
        match std::fs::rename(&place, &gone) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            result => result.with_context(|| format!("cannot remove {}", place.display()))?,
        }
        remove_tree(&gone)?;
        file::sync_dir(&self.dir)
    }

    /// Holds an entry together with others who use it. Waits for whoever has it alone: its creator, until all of it is on
    /// disk, and somebody who looks whether it can go.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when there is none.
    pub fn share(&self, name: impl AsRef<Path>) -> Result<Hold> {
        let place = self.path(name);
        loop {
            let file = open_entry(&place)?;
            if let Some(hold) = still_there(claim::share(file, &place.display().to_string())?, &place)? {
                return Ok(hold);
            }
        }
    }

    /// Holds an entry alone, to take it away; `None` when somebody has it.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when there is none.
    pub fn seize(&self, name: impl AsRef<Path>) -> Result<Option<Hold>> {
        let place = self.path(name);
        loop {
            let lock = match Flock::lock(open_entry(&place)?, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => lock,
                Err((_, nix::errno::Errno::EWOULDBLOCK)) => return Ok(None),
                Err((_, errno)) => return Err(errno).with_context(|| cannot_lock(&place)),
            };
            if let Some(hold) = still_there(lock, &place)? {
                return Ok(Some(hold));
            }
        }
    }

    /// Removes what killed creators and removers left behind. What is held is still in use.
    pub fn sweep(&self) {
        let Ok(entries) = std::fs::read_dir(&self.dir) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let staged = name.starts_with(GONE) || name.starts_with(NEW);
            let Some(_lock) = staged.then(|| claim::lock_abandoned(&entry.path())).flatten() else { continue };
            if let Err(error) = remove_tree(&entry.path()) {
                log::debug!("{error}");
            }
        }
    }

    fn scratch(&self, prefix: &str) -> Result<PathBuf> {
        let id = MachineId::from_bytes(random()?);
        Ok(self.dir.join(format!("{prefix}{id}")))
    }

    /// A new directory for an entry that is being made, held so that nobody takes it for abandoned.
    fn stage(&self) -> Result<(PathBuf, Flock<File>)> {
        loop {
            let staging = self.scratch(NEW)?;
            file::make_private_dir(&staging)?;
            match claim::lock_new(&staging) {
                Ok(Some(lock)) => return Ok((staging, lock)),
                // Cleaned up by somebody in the moment before it was held.
                Ok(None) => {}
                Err(error) => {
                    let _ = std::fs::remove_dir(&staging);
                    return Err(error);
                }
            }
        }
    }
}

fn cannot_lock(place: &Path) -> String {
    format!("cannot lock {}", place.display())
}

fn open_entry(place: &Path) -> Result<File> {
    match File::open(place) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::of(Kind::NotFound, format!("{} is not there", place.display())))
        }
        file => file.with_context(|| cannot_lock(place)),
    }
}

/// The hold on an entry that was locked; `None` if whoever had it took it away, or another came in its place.
fn still_there(lock: Flock<File>, place: &Path) -> Result<Option<Hold>> {
    use std::os::unix::fs::MetadataExt as _;
    let (ours, current) = (lock.metadata().with_context(|| cannot_lock(place))?, std::fs::metadata(place));
    let same = current.is_ok_and(|current| current.ino() == ours.ino() && current.dev() == ours.dev());
    Ok(same.then_some(Hold { _lock: lock }))
}

/// Removes a directory with all in it, however deep, and whatever permissions a guest gave its directories. One that is
/// gone already is a success, and so is one that somebody else removes at the same time. Of a symbolic link that was put
/// in its place the link goes, and nothing behind it.
pub(super) fn remove_tree(root: &Path) -> Result<()> {
    let mut moved = 0_u64;
    let is_directory = root.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
    let result = loop {
        if !is_directory {
            break std::fs::remove_file(root);
        }
        match flatten(root, &mut moved) {
            Ok(true) => {}
            Ok(false) => break std::fs::remove_dir(root),
            Err(error) => break Err(error),
        }
    };
    already(result).with_context(|| format!("cannot remove {}", root.display()))
}

/// Empties a directory's directories into it, and removes those and its files. Says whether anything is left to do. In
/// this way there are never more than two levels to look at.
fn flatten(root: &Path, moved: &mut u64) -> std::io::Result<bool> {
    let mut again = false;
    for entry in std::fs::read_dir(root)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            already(std::fs::remove_file(entry.path()))?;
            continue;
        }
        open_up(&entry.path())?;
        for below in std::fs::read_dir(entry.path())? {
            let below = below?;
            if !below.file_type()?.is_dir() {
                already(std::fs::remove_file(below.path()))?;
                continue;
            }
            // To move a directory one has to be allowed to write in it.
            open_up(&below.path())?;
            let place = loop {
                *moved += 1;
                let place = root.join(format!("{moved}"));
                if place.symlink_metadata().is_err() {
                    break place;
                }
            };
            already(std::fs::rename(below.path(), place))?;
            again = true;
        }
        already(std::fs::remove_dir(entry.path()))?;
    }
    Ok(again)
}

fn open_up(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if dir.symlink_metadata()?.permissions().mode() & 0o700 == 0o700 {
        return Ok(());
    }
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
}

fn already(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_go_however_deep_and_closed_they_are() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = std::env::temp_dir().join(format!("kraft-shelf-{}", MachineId::from_bytes(random().unwrap())));
        std::fs::create_dir(&root).unwrap();
        let mut dir = File::open(&root).unwrap();
        for _ in 0..5000 {
            use rustix::fs::{Mode, OFlags, mkdirat, openat};
            mkdirat(&dir, "1", Mode::RWXU).unwrap();
            dir = openat(&dir, "1", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap().into();
        }
        std::fs::create_dir_all(root.join("a/b/c")).unwrap();
        std::os::unix::fs::symlink("/", root.join("a/b/root")).unwrap();
        std::fs::set_permissions(root.join("a/b"), std::fs::Permissions::from_mode(0o000)).unwrap();
        remove_tree(&root).unwrap();
        assert!(!root.exists());
        remove_tree(&root).unwrap();
    }

    #[test]
    fn nothing_behind_a_link_goes() {
        let dir = std::env::temp_dir().join(format!("kraft-shelf-{}", MachineId::from_bytes(random().unwrap())));
        std::fs::create_dir_all(dir.join("elsewhere/kept")).unwrap();
        let shelf = Shelf::new(dir.join("shelf"));
        shelf.put("a", |entry| std::os::unix::fs::symlink("/", entry.join("root")).context("")).unwrap();
        std::os::unix::fs::symlink("../elsewhere", shelf.path("b")).unwrap();
        shelf.take("a").unwrap();
        shelf.take("b").unwrap();
        assert_eq!(std::fs::read_dir(dir.join("shelf")).unwrap().count(), 0);
        assert!(dir.join("elsewhere/kept").is_dir());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_is_held_by_many_is_not_held_alone() {
        let dir = std::env::temp_dir().join(format!("kraft-shelf-{}", MachineId::from_bytes(random().unwrap())));
        let shelf = Shelf::new(dir.clone());
        assert_eq!(shelf.share("a").unwrap_err().kind(), Kind::NotFound);
        shelf.put("a", |_| Ok(())).unwrap();
        assert_eq!(shelf.put("a", |_| Ok(())).unwrap_err().kind(), Kind::Conflict);
        let first = shelf.share("a").unwrap();
        shelf.share("a").unwrap();
        assert!(shelf.seize("a").unwrap().is_none());
        drop(first);
        let alone = shelf.seize("a").unwrap();
        assert!(alone.is_some() && shelf.seize("a").unwrap().is_none());
        drop(alone);
        shelf.take("a").unwrap();
        shelf.take("a").unwrap();
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
        std::fs::remove_dir(dir).unwrap();
    }

    #[test]
    fn an_entry_can_be_held_as_soon_as_it_is_seen() {
        let dir = std::env::temp_dir().join(format!("kraft-shelf-{}", MachineId::from_bytes(random().unwrap())));
        let shelf = Shelf::new(dir.clone());
        for round in 0..100 {
            let name = format!("{round}");
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| match shelf.put(&name, |_| Ok(())) {
                        Err(error) if error.kind() == Kind::Conflict => shelf.share(&name).map(drop).unwrap(),
                        result => result.unwrap(),
                    });
                }
            });
        }
        std::fs::remove_dir_all(dir).unwrap();
    }
}
