//! Named volumes: directories that outlive the machines that use them.
//!
//! ```text
//! STATE/volumes/NAME/volume.toml   what it is
//! STATE/volumes/NAME/data/         what guests see: the volume's root
//! ```
//!
//! A volume appears and disappears whole, as a machine's record does. Whoever makes a machine that uses one holds it
//! (shared) until the machine's record says so; whoever removes one holds it alone and looks at all records first. Only
//! the owner of the state directory gets at a volume's files on the host, whatever a guest made of them.

mod detached;
mod root;
pub mod virtiofsd;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::{MachineName, SCHEMA, ShareDriver, VolumeName};
use crate::paths::Paths;
use crate::store::{self, Hold, Shelf, Store};

pub use detached::{detached, maps_owners, mount_of};
pub use root::{Missing, open_below, open_dir};

const ABOUT: &str = "volume.toml";
const DATA: &str = "data";

/// What is known of a named volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The layout of this file.
    pub schema: u32,
    /// Unique among the scope's volumes.
    pub name: VolumeName,
    /// When it was made.
    pub created: Timestamp,
    /// How it gets into a guest if a machine does not say.
    pub driver: ShareDriver,
    /// Whose it is, for who made it for a purpose.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// The named volumes of one scope.
#[derive(Debug, Clone)]
pub struct Volumes {
    shelf: Shelf,
}

impl Volumes {
    /// Those in these directories. Touches no file.
    pub fn new(paths: &Paths) -> Self {
        Self { shelf: Shelf::new(paths.state.join("volumes")) }
    }

    /// Makes a new one, empty.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when the name is taken. Nothing is left then.
    pub fn create(&self, name: &VolumeName, driver: ShareDriver) -> Result<Volume> {
        self.create_for(name, driver, BTreeMap::new())
    }

    /// The same for somebody's purpose.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_for(
        &self,
        name: &VolumeName,
        driver: ShareDriver,
        labels: BTreeMap<String, String>,
    ) -> Result<Volume> {
        let cannot = || format!("cannot create volume {name}");
        let volume = Volume { schema: SCHEMA, name: name.clone(), created: Timestamp::now(), driver, labels };
        let text = toml::to_string(&volume).map_err(|e| Error::new(e.to_string())).with_context(cannot)?;
        let fill = |dir: &Path| {
            let data = dir.join(DATA);
            root::make_root(&data)?;
            store::replace_file(&dir.join(ABOUT), text.as_bytes())
        };
        self.shelf.put(name, fill).map_err(|error| match error.kind() {
            Kind::Conflict => Error::of(Kind::Conflict, format!("volume {name} already exists")),
            _ => error.context(cannot()),
        })?;
        Ok(volume)
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`Kind::NotFound`], or the file and what is wrong in it.
    pub fn read(&self, name: &VolumeName) -> Result<Volume> {
        let path = self.shelf.path(name).join(ABOUT);
        // One that is made or removed meanwhile is not there; one that is there all the time without its file is broken.
        let is_there = || self.shelf.path(name).exists();
        let was_there = is_there();
        let text = match std::fs::read_to_string(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && (!was_there || !is_there()) => {
                return Err(no_such_volume(name));
            }
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let volume: Volume = toml::from_str(&text)
            .map_err(|e| Error::new(format!("{}: {}", path.display(), e.message().trim_end().replace('\n', " "))))?;
        if volume.schema > SCHEMA {
            let why = format!("{}: written by a newer kraft (schema {})", path.display(), volume.schema);
            return Err(Error::of(Kind::Newer, why).with_hint("use the newer kraft for this volume"));
        }
        Ok(volume)
    }

    /// The names of all, sorted.
    ///
    /// # Errors
    /// When the directory cannot be read; a missing one is empty.
    pub fn names(&self) -> Result<Vec<VolumeName>> {
        self.shelf.names()
    }

    /// Where the files of one are.
    pub fn data(&self, name: &VolumeName) -> PathBuf {
        self.shelf.path(name).join(DATA)
    }

    /// Holds one, so that it is not removed. Waits for whoever makes it or removes it at this moment.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn hold(&self, name: &VolumeName) -> Result<Hold> {
        self.shelf.share(name).map_err(|error| match error.kind() {
            Kind::NotFound => no_such_volume(name),
            _ => error.context(format!("cannot use volume {name}")),
        })
    }

    /// Removes one that no machine uses, with all its files.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Conflict`], with the machines that use it.
    pub fn remove(&self, name: &VolumeName, store: &Store) -> Result<()> {
        let cannot = || format!("cannot remove volume {name}");
        let hold = match self.shelf.seize(name) {
            Err(error) if error.kind() == Kind::NotFound => return Err(no_such_volume(name)),
            hold => hold.with_context(cannot)?,
        };
        // Looked at once nobody can make a machine that uses it any more.
        let users = Users::find(store)?.of(name);
        if !users.is_empty() {
            let names: Vec<&str> = users.iter().map(MachineName::as_str).collect();
            let error = Error::of(Kind::Conflict, format!("{}: machines use it: {}", cannot(), names.join(", ")));
            return Err(error.with_hint(format!("`kraft rm {}` removes them", names.join(" "))));
        }
        if hold.is_none() {
            return Err(Error::of(Kind::Conflict, format!("{}: a machine that uses it is being made", cannot())));
        }
        self.shelf.take(name).with_context(cannot)
    }

    /// Removes what killed creators and removers left behind.
    pub fn sweep_leftovers(&self) {
        self.shelf.sweep();
    }
}

/// Which machines use which volumes, running or not.
#[derive(Debug)]
pub struct Users(Vec<(MachineName, Uses)>);

/// What a machine's record says of volumes.
#[derive(Debug)]
enum Uses {
    These(BTreeSet<VolumeName>),
    /// The record cannot be read: a volume counts if it stands in this text.
    Perhaps(String),
}

impl Users {
    /// Reads all records.
    ///
    /// # Errors
    /// When the machines cannot be listed.
    pub fn find(store: &Store) -> Result<Self> {
        let uses = |machine: &MachineName| match store.read(machine) {
            Ok(record) => Uses::These(record.spec.volumes.into_iter().filter_map(|mount| mount.volume).collect()),
            Err(_) => Uses::Perhaps(store.record_text(machine).unwrap_or_default()),
        };
        let with_uses = |machine: MachineName| (machine.clone(), uses(&machine));
        Ok(Self(store.names()?.into_iter().map(with_uses).collect()))
    }

    /// The machines that use a volume.
    pub fn of(&self, name: &VolumeName) -> Vec<MachineName> {
        let quoted = format!("\"{name}\"");
        let used = |uses: &Uses| match uses {
            Uses::These(names) => names.contains(name),
            Uses::Perhaps(text) => text.contains(&quoted),
        };
        self.0.iter().filter(|(_, uses)| used(uses)).map(|(machine, _)| machine.clone()).collect()
    }
}

fn no_such_volume(name: &VolumeName) -> Error {
    Error::of(Kind::NotFound, format!("no such volume: {name}"))
        .with_hint(format!("`kraft volume create {name}` makes it, `kraft volume ls` shows all"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Manager, Mount, Spec};
    use crate::paths::Scope;

    struct Scratch(PathBuf, Volumes, Store);

    impl Scratch {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("kraft-volumes-{name}-{}", std::process::id()));
            let paths = Paths { scope: Scope::User, state: root.join("s"), runtime: root.join("r"), overridden: true };
            Self(root, Volumes::new(&paths), Store::new(paths))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_volume_in_use_stays() {
        let Scratch(_, volumes, store) = &Scratch::new("use");
        let name: VolumeName = "html".parse().unwrap();
        assert_eq!(volumes.hold(&name).unwrap_err().kind(), Kind::NotFound);
        let made = volumes.create(&name, ShareDriver::NineP).unwrap();
        assert_eq!(volumes.read(&name).unwrap(), made);
        assert_eq!(volumes.create(&name, ShareDriver::NineP).unwrap_err().kind(), Kind::Conflict);
        let held = volumes.hold(&name).unwrap();
        assert_eq!(volumes.remove(&name, store).unwrap_err().kind(), Kind::Conflict);
        let mount = Mount {
            volume: Some(name.clone()),
            source: PathBuf::new(),
            target: "/www".into(),
            read_only: false,
            driver: ShareDriver::NineP,
            own: false,
        };
        let record = Store::new_record(Spec { volumes: vec![mount], ..Spec::example("web") }, Manager::Local).unwrap();
        store.create(&record).unwrap();
        drop(held);
        let error = volumes.remove(&name, store).unwrap_err().to_string();
        assert_eq!(error, "cannot remove volume html: machines use it: web");
        // A record that cannot be read keeps its volumes all the same.
        let file = store.directory(&record.spec.name).join("machine.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("cpus = 1", "cpus = \"many\"")).unwrap();
        assert_eq!(Users::find(store).unwrap().of(&name), ["web".parse().unwrap()]);
        store.remove(&record.spec.name).unwrap();
        volumes.remove(&name, store).unwrap();
        assert_eq!(volumes.remove(&name, store).unwrap_err().kind(), Kind::NotFound);
        assert!(volumes.names().unwrap().is_empty());
    }
}
