//! Images that are files here: `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:REFERENCE]`, as skopeo
//! names them. They are copied into the store, every blob checked, and are then as those that were pulled.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::build::{CONFIG, INDEX, LAYER, MANIFEST};
use super::documents::{self, Descriptor, Document, Index, LIMIT};
use super::layer;
use super::reference::Reference;
use crate::error::{Context as _, Error, Kind, Result};
use crate::image::tarball::{Layers, Limits};
use crate::machine::Digest;
use crate::store::{Begun, Blobs, RootfsCache, Target};

/// The annotation of an index.json that has an image's tag.
pub const TAG: &str = "org.opencontainers.image.ref.name";
/// The annotation that has all of its name, if somebody knew it.
const NAME: &str = "io.containerd.image.name";
/// Indexes within indexes.
const NESTED: usize = 3;
/// Documents that an index leads to.
const DOCUMENTS: usize = 2048;
/// The largest archive, uncompressed.
const ARCHIVE_LIMIT: u64 = 64 << 30;

/// How an image is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An OCI image layout: a directory.
    Layout,
    /// The same as a tar archive.
    Archive,
    /// What `docker save` writes.
    Docker,
}

impl Form {
    const ALL: [Self; 3] = [Self::Layout, Self::Archive, Self::Docker];

    /// What its name begins with.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Layout => "oci",
            Self::Archive => "oci-archive",
            Self::Docker => "docker-archive",
        }
    }
}

/// The name of such an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// How it is kept.
    pub form: Form,
    /// The directory or the file.
    pub path: PathBuf,
    /// Which image of it; needed if there are several.
    pub tag: Option<String>,
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.form.scheme(), self.path.display())?;
        self.tag.as_ref().map_or(Ok(()), |tag| write!(f, ":{tag}"))
    }
}

impl Local {
    /// Reads a name; `None` if it is not one of these. The path ends at the first colon, as skopeo has it.
    ///
    /// # Errors
    /// When it has no path, or an empty tag.
    pub fn parse(text: &str) -> Option<Result<Self>> {
        let form = Form::ALL
            .into_iter()
            .find(|form| text.strip_prefix(form.scheme()).is_some_and(|rest| rest.starts_with(':')))?;
        let rest = &text[form.scheme().len() + 1..];
        let (path, tag) = rest.split_once(':').map_or((rest, None), |(path, tag)| (path, Some(tag)));
        if path.is_empty() || tag == Some("") {
            let form = format!("{}:PATH[:TAG]", form.scheme());
            return Some(Err(Error::new(format!("bad image '{}': it is {form}", text.escape_debug()))));
        }
        Some(Ok(Self { form, path: path.into(), tag: tag.map(str::to_owned) }))
    }

    /// Copies the image into the store. It has no name there until it is given one.
    ///
    /// # Errors
    /// When there is no such image, or it is not whole.
    pub fn import(&self, cache: &RootfsCache, blobs: &Blobs) -> Result<Imported> {
        let cannot = || format!("cannot read {self}");
        let imported = match self.form {
            Form::Layout => {
                let files = Directory(&self.path);
                from_layout(&files, self.tag.as_deref(), blobs)
            }
            Form::Archive => self.unpacked(cache).and_then(|files| from_layout(&files, self.tag.as_deref(), blobs)),
            Form::Docker => self.unpacked(cache).and_then(|files| from_docker(&files, self.tag.as_deref(), blobs)),
        };
        let (target, said) = imported.with_context(cannot)?;
        Ok(Imported { target, name: self.name(said.as_deref()) })
    }

    fn unpacked(&self, cache: &RootfsCache) -> Result<Archive> {
        let file = crate::image::open("image", &self.path)?;
        let mut left = ARCHIVE_LIMIT;
        let mut layers = Layers::new(Limits::OURS);
        layers.add(layer::uncompressed(file, cache, &mut left)?.0)?;
        Ok(Archive(layers))
    }

    /// The name that it may have in the store: its own if it has one, else one that no registry has.
    fn name(&self, said: Option<&str>) -> String {
        let own = said.filter(|said| said.contains('/')).and_then(|said| said.parse::<Reference>().ok());
        // A digest in a name is what it is to be, which is not for the file to say.
        if let Some(own) = own.filter(|own| own.digest().is_none()) {
            return own.to_string();
        }
        let stem = self.path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let stem = if self.form == Form::Layout { stem.as_str() } else { stem.split('.').next().unwrap_or_default() };
        let word: String = stem.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
        let word = if word.is_empty() { "image" } else { &word };
        let tagged = said.and_then(|tag| format!("localhost/{word}:{tag}").parse::<Reference>().ok());
        tagged.map_or_else(|| format!("localhost/{word}:latest"), |name| name.to_string())
    }
}

/// An image that was copied into the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// What it is there.
    pub target: Target,
    /// What it may be called.
    pub name: String,
}

/// Files by their names in a layout.
trait Files {
    /// [`Kind::NotFound`] if there is none of this name.
    fn open(&self, path: &str) -> Result<(u64, Box<dyn Read + '_>)>;
}

struct Directory<'a>(&'a Path);

impl Files for Directory<'_> {
    fn open(&self, path: &str) -> Result<(u64, Box<dyn Read + '_>)> {
        let file = crate::image::open("file", &self.0.join(path))?;
        let size = file.metadata().context("cannot tell its size")?.len();
        Ok((size, Box::new(file)))
    }
}

struct Archive(Layers);

impl Files for Archive {
    fn open(&self, path: &str) -> Result<(u64, Box<dyn Read + '_>)> {
        let found = self.0.file(path).with_context(|| path.to_owned())?;
        found.ok_or_else(|| Error::of(Kind::NotFound, format!("{path} is not in it")))
    }
}

fn small(files: &dyn Files, path: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    files.open(path)?.1.take(LIMIT + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {path}"))?;
    if bytes.len() as u64 > LIMIT {
        return Err(Error::new(format!("{path} has more than {LIMIT} bytes")));
    }
    Ok(bytes)
}

fn path_of(digest: Digest) -> String {
    format!("blobs/sha256/{digest}")
}

fn from_layout(files: &dyn Files, tag: Option<&str>, blobs: &Blobs) -> Result<(Target, Option<String>)> {
    let index: Index = documents::json(&small(files, "index.json")?).context("index.json")?;
    let chosen = pick(&index.manifests, tag)?;
    let digest = documents::digest(chosen)?;
    let mut copy = Copy { files, blobs, seen: BTreeSet::new() };
    let (size, media_type) = copy.image(digest, NESTED)?;
    let said = chosen.annotation(NAME).or_else(|| chosen.annotation(TAG));
    Ok((Target { digest, size, media_type: media_type.to_owned() }, said.map(str::to_owned)))
}

/// The image of this tag, or the only one.
fn pick<'a>(all: &'a [Descriptor], tag: Option<&str>) -> Result<&'a Descriptor> {
    let tags = || {
        let tags: Vec<&str> = all.iter().filter_map(|descriptor| descriptor.annotation(TAG)).collect();
        if tags.is_empty() {
            "none has a tag".to_owned()
        } else {
            format!("their tags are {}", tags.join(", ").escape_debug())
        }
    };
    match (tag, all) {
        (_, []) => Err(Error::of(Kind::NotFound, "there is no image in it")),
        (Some(tag), _) => all.iter().rfind(|descriptor| descriptor.annotation(TAG) == Some(tag)).ok_or_else(|| {
            Error::of(Kind::NotFound, format!("there is no image '{}' in it: {}", tag.escape_debug(), tags()))
        }),
        (None, [only]) => Ok(only),
        (None, many) => Err(Error::new(format!("there are {} images in it: {}", many.len(), tags()))
            .with_hint("which one is said behind a colon: oci:DIR:TAG")),
    }
}

/// Copies what a digest leads to.
struct Copy<'a> {
    files: &'a dyn Files,
    blobs: &'a Blobs,
    /// What was copied.
    seen: BTreeSet<Digest>,
}

impl Copy<'_> {
    /// Copies an image, the document itself last. Returns the document's size and what it is.
    fn image(&mut self, digest: Digest, nested: usize) -> Result<(u64, &'static str)> {
        if self.seen.len() > DOCUMENTS {
            return Err(Error::new(format!("the image leads to more than {DOCUMENTS} documents")));
        }
        let bytes = small(self.files, &path_of(digest))?;
        let found = Digest::from_bytes(Sha256::digest(&bytes).into());
        if found != digest {
            return Err(Error::new(format!("the content of sha256:{digest} is sha256:{found}")));
        }
        let media_type = match documents::parse(&bytes).with_context(|| format!("sha256:{digest}"))? {
            Document::Index(_) if nested == 0 => {
                return Err(Error::new(format!("the index sha256:{digest} is within {NESTED} others")));
            }
            Document::Index(index) => {
                self.images(&index, nested - 1)?;
                INDEX
            }
            Document::Manifest(manifest) => {
                for descriptor in std::iter::once(&manifest.config).chain(&manifest.layers) {
                    self.blob(descriptor)?;
                }
                MANIFEST
            }
        };
        self.blobs.put(&bytes)?;
        Ok((bytes.len() as u64, media_type))
    }

    /// Copies all images of an index that are there: a copy need not have what is for other platforms.
    fn images(&mut self, index: &Index, nested: usize) -> Result<()> {
        let (mut copied, mut missing) = (0, None);
        for descriptor in &index.manifests {
            let below = documents::digest(descriptor)?;
            match self.files.open(&path_of(below)) {
                Err(error) if error.kind() == Kind::NotFound => missing = missing.or(Some(error)),
                opened => {
                    drop(opened?);
                    copied += 1;
                    if self.seen.insert(below) {
                        self.image(below, nested)?;
                    }
                }
            }
        }
        match missing {
            Some(error) if copied == 0 => Err(error),
            Some(_) | None => Ok(()),
        }
    }

    fn blob(&mut self, descriptor: &Descriptor) -> Result<()> {
        let digest = documents::digest(descriptor)?;
        let (size, data) = self.files.open(&path_of(digest))?;
        if size != descriptor.size {
            return Err(Error::new(format!("sha256:{digest} has {size} bytes of {}", descriptor.size)));
        }
        put(self.blobs, digest, size, data)
    }
}

/// Keeps what has this digest, unless it is there.
///
/// # Errors
/// When it cannot be read or written, or is something else.
pub(super) fn put(blobs: &Blobs, digest: Digest, size: u64, mut data: impl Read) -> Result<()> {
    match blobs.begin(digest, size)? {
        Begun::There => Ok(()),
        Begun::New(mut new) => {
            new.restart()?;
            std::io::copy(&mut data, &mut *new).with_context(|| format!("cannot keep sha256:{digest}"))?;
            new.keep().map(drop)
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

fn from_docker(files: &dyn Files, wanted: Option<&str>, blobs: &Blobs) -> Result<(Target, Option<String>)> {
    let all: Vec<Saved> = documents::json(&small(files, "manifest.json")?).context("manifest.json")?;
    let tags = |saved: &Saved| saved.repo_tags.clone().unwrap_or_default();
    let known = || all.iter().flat_map(tags).collect::<Vec<_>>().join(", ").escape_debug().to_string();
    let saved = match (wanted, all.as_slice()) {
        (_, []) => return Err(Error::of(Kind::NotFound, "there is no image in it")),
        (None, [only]) => only,
        (None, many) => {
            return Err(Error::new(format!("there are {} images in it: {}", many.len(), known()))
                .with_hint("which one is said behind a colon: docker-archive:FILE:REFERENCE"));
        }
        (Some(wanted), many) => {
            let latest = format!("{wanted}:latest");
            let is_it = |saved: &&Saved| tags(saved).iter().any(|tag| tag == wanted || *tag == latest);
            many.iter().find(is_it).ok_or_else(|| {
                let why = format!("there is no image '{}' in it: there is {}", wanted.escape_debug(), known());
                Error::of(Kind::NotFound, why)
            })?
        }
    };
    let config = small(files, &saved.config)?;
    let config_size = config.len();
    let config = blobs.put(&config)?;
    let mut layers = Vec::new();
    let mut known = BTreeMap::new();
    for path in &saved.layers {
        let (digest, size) = match known.get(path) {
            Some(known) => *known,
            None => {
                let (size, mut data) = files.open(path)?;
                let mut new = blobs.create()?;
                std::io::copy(&mut data, &mut new).with_context(|| format!("cannot keep {path}"))?;
                let kept = (new.keep()?, size);
                known.insert(path, kept);
                kept
            }
        };
        layers.push(json!({"mediaType": LAYER, "digest": format!("sha256:{digest}"), "size": size}));
    }
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "layers": layers,
        "config": {"mediaType": CONFIG, "digest": format!("sha256:{config}"), "size": config_size},
    });
    let manifest = manifest.to_string().into_bytes();
    let digest = blobs.put(&manifest)?;
    let said = wanted.map(str::to_owned).or_else(|| tags(saved).into_iter().next());
    Ok((Target { digest, size: manifest.len() as u64, media_type: MANIFEST.into() }, said))
}

#[cfg(test)]
mod tests;
