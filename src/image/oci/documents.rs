//! The documents of an image: an index, a manifest, a configuration. Each is JSON, named by its digest, and checked
//! against it when it is read. They have more in them than what is here; `null` is as good as nothing.
//! (The crate `oci-spec` does not read `os.features` of a platform, which Unikraft's images are told apart by.)

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use sha2::{Digest as _, Sha256};

use crate::error::{Context as _, Error, Result};
use crate::machine::Digest;

/// The largest document; registries take no larger manifest.
pub const LIMIT: u64 = 4 << 20;

/// The media type of what stands for no configuration.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// Opens what has a digest.
pub type Open<'a> = dyn Fn(Digest) -> Result<File> + 'a;

/// What leads to a blob.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    #[serde(default)]
    pub media_type: String,
    /// Its digest as it stands there; [`digest`] reads it.
    pub digest: String,
    /// How much it is, in bytes.
    pub size: u64,
    /// What its maker says of it.
    pub annotations: Option<BTreeMap<String, String>>,
    /// What it is for.
    pub platform: Option<Platform>,
}

/// What an image is for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Platform {
    /// `linux`, or what Unikraft calls a platform: `qemu`.
    pub os: String,
    /// `amd64`, or `x86_64`.
    pub architecture: String,
    /// The configuration of Unikraft's kernels: `CONFIG_PLAT_KVM=y`.
    #[serde(rename = "os.features")]
    pub features: Option<Vec<String>>,
}

/// Several images.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Index {
    /// The images, or further indexes.
    pub manifests: Vec<Descriptor>,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Manifest {
    /// Its configuration.
    pub config: Descriptor,
    /// Its layers, the lowest first.
    pub layers: Vec<Descriptor>,
    /// What its maker says of it.
    pub annotations: Option<BTreeMap<String, String>>,
}

/// How an image is to be run, and what its layers are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Configuration {
    /// As in [`Platform`].
    #[serde(default)]
    pub os: String,
    /// As in [`Platform`].
    #[serde(default)]
    pub architecture: String,
    /// As in [`Platform`].
    #[serde(rename = "os.features")]
    pub features: Option<Vec<String>>,
    /// How it is to be run.
    pub config: Option<Config>,
    /// Its layers.
    pub rootfs: RootFs,
}

/// How an image is to be run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Config {
    /// What its command begins with.
    pub entrypoint: Option<Vec<String>>,
    /// The rest of its command.
    pub cmd: Option<Vec<String>>,
    /// `KEY=VALUE`.
    pub env: Option<Vec<String>>,
    /// What its maker says of it.
    pub labels: Option<BTreeMap<String, String>>,
    /// The working directory.
    pub working_dir: Option<String>,
}

/// The layers of an image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RootFs {
    /// The digests of the layers, uncompressed.
    pub diff_ids: Vec<String>,
}

impl Descriptor {
    /// What its maker says of it by this key.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }
}

/// What the name of an image, or an index, leads to.
#[derive(Debug, Clone)]
pub enum Document {
    /// Several images.
    Index(Index),
    /// One image.
    Manifest(Manifest),
}

/// Reads an index or a manifest.
///
/// # Errors
/// When it is not there, is not what its digest says, or is neither.
pub fn read(open: &Open<'_>, digest: Digest) -> Result<Document> {
    bytes(open, digest)
        .and_then(|bytes| parse(&bytes))
        .with_context(|| format!("cannot read the image sha256:{digest}"))
}

/// Tells an index from a manifest, by what it has and not only by what it says it is.
///
/// # Errors
/// When it is neither, or both.
pub fn parse(bytes: &[u8]) -> Result<Document> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Outline {
        media_type: Option<String>,
        manifests: Option<IgnoredAny>,
        config: Option<IgnoredAny>,
        layers: Option<IgnoredAny>,
    }
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(Error::new("it is no object of JSON"));
    }
    let outline: Outline = json(bytes)?;
    let said = outline.media_type.as_deref().map(|said| said.contains("index") || said.contains("manifest.list"));
    match (outline.manifests, outline.config.is_some() || outline.layers.is_some(), said) {
        (Some(_), false, None | Some(true)) => json(bytes).map(Document::Index),
        (None, true, None | Some(false)) => json(bytes).map(Document::Manifest),
        (Some(_), true, _) => Err(Error::new("it is an index and a manifest at once")),
        (Some(_), false, Some(false)) => Err(Error::new("it is an index, and says that it is none")),
        (None, true, Some(true)) => Err(Error::new("it is a manifest, and says that it is an index")),
        (None, false, _) => Err(Error::new("it is neither an index nor a manifest")),
    }
}

/// Whether a manifest is that of an image, and not of something else that a registry keeps.
pub fn is_image(manifest: &Manifest) -> bool {
    manifest.config.media_type != EMPTY
}

/// Reads the configuration of an image.
///
/// # Errors
/// When it is not there, is not what its digest says, or is no configuration of an image.
pub fn configuration(open: &Open<'_>, manifest: &Manifest) -> Result<Configuration> {
    let digest = digest(&manifest.config)?;
    let cannot = || format!("cannot read the image's configuration sha256:{digest}");
    if !is_image(manifest) {
        return Err(Error::new("it is no image, but something else that a registry keeps").context(cannot()));
    }
    bytes(open, digest).and_then(|bytes| json(&bytes)).with_context(cannot)
}

/// The digest that a descriptor has.
///
/// # Errors
/// When it is not SHA-256.
pub fn digest(descriptor: &Descriptor) -> Result<Digest> {
    let said = &descriptor.digest;
    said.strip_prefix("sha256:")
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| Error::new(format!("the digest '{}' is not SHA-256", said.escape_debug())))
}

/// All of a document, checked against its digest.
///
/// # Errors
/// When it cannot be read, is too large, or is not what its digest says.
pub fn bytes(open: &Open<'_>, digest: Digest) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(digest)?.take(LIMIT + 1).read_to_end(&mut bytes).context("cannot read it")?;
    if bytes.len() as u64 > LIMIT {
        return Err(Error::new(format!("it has more than {LIMIT} bytes")));
    }
    let found = Digest::from_bytes(Sha256::digest(&bytes).into());
    if found == digest { Ok(bytes) } else { Err(Error::new(format!("its content is sha256:{found}"))) }
}

/// Reads JSON.
///
/// # Errors
/// When it is none, or not of this form.
pub fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::new(error.to_string()))
}
