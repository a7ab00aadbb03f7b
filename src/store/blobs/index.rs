//! The names of images, in the layout's index.json as other tools have them there.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Blobs, LAYOUT, LAYOUT_CONTENT, file};
use crate::error::{Context as _, Error, Result};
use crate::machine::Digest;
use crate::store::Lock;

const INDEX: &str = "index.json";
const LOCK: &str = ".names";
/// The annotation that a name is in.
const NAME: &str = "org.opencontainers.image.ref.name";

/// What a name stands for: a manifest, or an index of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The content that it is.
    pub digest: Digest,
    /// How much that is, in bytes.
    pub size: u64,
    /// What kind of content it is.
    pub media_type: String,
}

/// A name and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The name, with registry and tag or digest.
    pub name: String,
    /// What it stands for.
    pub target: Target,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    manifests: Vec<Entry>,
    /// What others have written there.
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl Blobs {
    /// All names, sorted, each with what it stands for.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn names(&self) -> Result<Vec<Named>> {
        names(&self.dir)
    }

    /// What a name stands for.
    ///
    /// # Errors
    /// When the names cannot be read.
    pub fn named(&self, name: &str) -> Result<Option<Target>> {
        Ok(self.names()?.into_iter().find(|named| named.name == name).map(|named| named.target))
    }

    /// Gives a name, which stood for something else before or is new.
    ///
    /// # Errors
    /// When the content is not there, or the names cannot be written; they are as before then.
    pub fn name(&self, name: &str, target: &Target) -> Result<()> {
        self.open(target.digest)?;
        self.change(|entries| {
            entries.retain(|entry| entry.annotations.get(NAME).is_none_or(|known| known != name));
            entries.push(Entry {
                media_type: target.media_type.clone(),
                digest: format!("sha256:{}", target.digest),
                size: target.size,
                annotations: BTreeMap::from([(NAME.to_owned(), name.to_owned())]),
                others: Map::new(),
            });
        })
    }

    /// Takes a name away. The content stays until it is removed. Says whether there was such a name.
    ///
    /// # Errors
    /// When the names cannot be written; they are as before then.
    pub fn unname(&self, name: &str) -> Result<bool> {
        let mut there = false;
        self.change(|entries| {
            let before = entries.len();
            entries.retain(|entry| entry.annotations.get(NAME).is_none_or(|known| known != name));
            there = entries.len() != before;
        })?;
        Ok(there)
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Entry>)) -> Result<()> {
        let _turn = Lock::take(&self.dir.join(LOCK), "the names of images")?;
        let layout = self.dir.join(LAYOUT);
        if !layout.exists() {
            file::replace(&layout, LAYOUT_CONTENT)?;
        }
        let mut index = read(&self.dir)?;
        change(&mut index.manifests);
        let text = serde_json::to_vec(&index).context("cannot write the names of images")?;
        file::replace(&self.dir.join(INDEX), &text)
    }
}

/// All names in a directory of images, sorted.
pub(super) fn names(dir: &Path) -> Result<Vec<Named>> {
    let mut names = Vec::new();
    for entry in read(dir)?.manifests {
        let Some(name) = entry.annotations.get(NAME) else { continue };
        let digest = entry.digest.strip_prefix("sha256:").unwrap_or(&entry.digest).parse();
        let digest = digest.with_context(|| dir.join(INDEX).display().to_string())?;
        let target = Target { digest, size: entry.size, media_type: entry.media_type };
        names.push(Named { name: name.clone(), target });
    }
    names.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(names)
}

fn read(dir: &Path) -> Result<Index> {
    let path = dir.join(INDEX);
    match std::fs::read(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Index {
            schema_version: 2,
            media_type: Some("application/vnd.oci.image.index.v1+json".to_owned()),
            manifests: Vec::new(),
            others: Map::new(),
        }),
        text => serde_json::from_slice(&text.with_context(|| format!("cannot read {}", path.display()))?)
            .map_err(|e| Error::new(format!("{}:{}: {e}", path.display(), e.line()))),
    }
}
