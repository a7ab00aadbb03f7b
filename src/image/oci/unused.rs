//! What is needed of the images that are here: what a name stands for, and what a machine was made of.

use std::collections::BTreeSet;

use super::documents::{self, Document};
use crate::error::{Error, Kind, Result};
use crate::machine::{Digest, MachineName};
use crate::store::{Blobs, BlobsAlone, Removed, Store};

/// Indexes within indexes.
const NESTED: usize = 4;

/// Which machines were made of which images, running or not.
#[derive(Debug)]
pub struct Users(Vec<(MachineName, Uses)>);

/// What a machine's record says of images.
#[derive(Debug)]
enum Uses {
    These(Vec<Digest>),
    /// The record cannot be read: a digest counts if it stands in this text.
    Perhaps(String),
}

impl Users {
    /// Reads all records.
    ///
    /// # Errors
    /// When the machines cannot be listed.
    pub fn find(store: &Store) -> Result<Self> {
        let uses = |machine: &MachineName| match store.read(machine) {
            Ok(record) => {
                let both = record.spec.image.into_iter().chain(record.spec.rootfs_image);
                Uses::These(both.map(|image| image.manifest).collect())
            }
            Err(_) => Uses::Perhaps(store.record_text(machine).unwrap_or_default()),
        };
        let with_uses = |machine: MachineName| (machine.clone(), uses(&machine));
        Ok(Self(store.names()?.into_iter().map(with_uses).collect()))
    }

    /// The machines that were made of this manifest.
    pub fn of(&self, manifest: Digest) -> Vec<MachineName> {
        let used = |uses: &Uses| match uses {
            Uses::These(digests) => digests.contains(&manifest),
            Uses::Perhaps(text) => text.contains(&manifest.to_string()),
        };
        self.0.iter().filter(|(_, uses)| used(uses)).map(|(machine, _)| machine.clone()).collect()
    }

    /// Those of these digests that a machine was made of.
    fn among(&self, digests: Vec<Digest>) -> BTreeSet<Digest> {
        digests.into_iter().filter(|digest| !self.of(*digest).is_empty()).collect()
    }
}

/// All content that these lead to, and that is here.
///
/// # Errors
/// When something that is here cannot be opened: what it leads to is not known then.
pub fn reachable(blobs: &Blobs, roots: impl IntoIterator<Item = Digest>) -> Result<BTreeSet<Digest>> {
    let mut found = BTreeSet::new();
    for root in roots {
        follow(blobs, root, NESTED, &mut found)?;
    }
    Ok(found)
}

fn follow(blobs: &Blobs, digest: Digest, nested: usize, found: &mut BTreeSet<Digest>) -> Result<()> {
    if nested == 0 || !found.insert(digest) {
        return Ok(());
    }
    // Only one of an index may have been fetched.
    match blobs.open(digest) {
        Err(error) if error.kind() == Kind::NotFound => return Ok(()),
        opened => drop(opened?),
    }
    match documents::read(&|digest| blobs.open(digest), digest) {
        Ok(Document::Index(index)) => {
            for below in index.manifests.iter().filter_map(|below| documents::digest(below).ok()) {
                follow(blobs, below, nested - 1, found)?;
            }
        }
        Ok(Document::Manifest(manifest)) => {
            let parts = std::iter::once(&manifest.config).chain(&manifest.layers);
            found.extend(parts.filter_map(|part| documents::digest(part).ok()));
        }
        // What is damaged leads nowhere.
        Err(error) => log::debug!("{error}"),
    }
    Ok(())
}

/// Removes the content that no name and no machine needs.
///
/// # Errors
/// When the machines or the names cannot be read: nothing is removed then. When a file cannot be removed.
pub fn remove(store: &Store, alone: &BlobsAlone) -> Result<Removed> {
    // Read while nobody else can take an image that is about to go.
    let mut roots = Users::find(store)?.among(alone.all()?);
    roots.extend(alone.names()?.into_iter().map(|named| named.target.digest));
    alone.retain(&reachable(alone, roots)?)
}

/// The names of images that no machine was made of.
///
/// # Errors
/// When the machines or the names cannot be read.
pub fn names(store: &Store, blobs: &Blobs) -> Result<Vec<String>> {
    let users = Users::find(store)?;
    let mut unused = Vec::new();
    for named in blobs.names()? {
        let all = reachable(blobs, [named.target.digest])?;
        if users.among(all.into_iter().collect()).is_empty() {
            unused.push(named.name);
        }
    }
    Ok(unused)
}

/// The error about an image that is not here.
pub fn not_here(name: &str) -> Error {
    Error::of(Kind::NotFound, format!("image {name} is not here"))
}
