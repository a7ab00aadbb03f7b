//! Files and links that appear whole, whoever else writes the same at the moment.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use crate::error::{Context as _, Result};
use crate::systemd::UnitFile;

/// A directory of units that is being filled.
#[derive(Debug)]
pub(super) struct Target<'a> {
    dir: &'a Path,
    made: Cell<u64>,
    /// What was written already: machines may share a unit, and several are wanted by one target.
    there: RefCell<BTreeSet<String>>,
}

impl<'a> Target<'a> {
    pub(super) fn new(dir: &'a Path) -> Self {
        Self { dir, made: Cell::new(0), there: RefCell::default() }
    }

    /// Writes a unit file.
    pub(super) fn put(&self, unit: &UnitFile) -> Result<()> {
        if !self.there.borrow_mut().insert(unit.name.clone()) {
            return Ok(());
        }
        self.replace(&unit.name, |temporary| std::fs::write(temporary, &unit.text))
    }

    /// Links to a unit from a place below, such as `multi-user.target.wants/kraft-web.service`.
    pub(super) fn link(&self, unit: &str, place: &str) -> Result<()> {
        let below = Path::new(place).parent().filter(|dir| !dir.as_os_str().is_empty());
        if let Some(dir) = below
            && self.there.borrow_mut().insert(dir.display().to_string())
        {
            let dir = self.dir.join(dir);
            std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        let to = if below.is_some() { format!("../{unit}") } else { unit.to_owned() };
        self.replace(place, |temporary| std::os::unix::fs::symlink(&to, temporary))
    }

    /// Makes a file under a name that no other process and no other call has, then gives it its own.
    fn replace(&self, name: &str, make: impl Fn(&Path) -> std::io::Result<()>) -> Result<()> {
        self.made.set(self.made.get() + 1);
        let temporary = self.dir.join(format!(".kraft-{}-{}", std::process::id(), self.made.get()));
        let path = self.dir.join(name);
        let made = make(&temporary).or_else(|error| {
            // Left by a process of this number that was killed.
            if error.kind() != ErrorKind::AlreadyExists {
                return Err(error);
            }
            std::fs::remove_file(&temporary)?;
            make(&temporary)
        });
        let moved = made.and_then(|()| std::fs::rename(&temporary, &path));
        if moved.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        moved.with_context(|| format!("cannot write {}", path.display()))
    }
}
