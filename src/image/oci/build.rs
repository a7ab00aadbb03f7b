//! How an image is made of a kernel and what goes with it: in upstream's layout and in urunc's at once.
//!
//! ```text
//! index                        annotated as upstream wants it
//! ├── qemu/x86_64  manifest    upstream's: its platform, Unikraft's words, annotated layers
//! └── linux/amd64  manifest    for containers: a platform that they fetch, urunc's keys in annotations and labels
//!     /unikraft/bin/kernel     layers of one file each, which both have
//!     /unikraft/bin/initrd
//!     /urunc.json
//! ```
//!
//! Upstream passes over what is not annotated as its own, containers over what is not Linux. urunc knows a few kinds of
//! kernels; for others there is no second manifest. The same recipe makes the same bytes, whenever and wherever.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::blob::Blob;
use super::choose::Plat;
use super::contents::{INITRD, INITRD_ANNOTATION, KERNEL, KERNEL_ANNOTATION, VERSION_ANNOTATION};
use super::urunc;
use crate::error::{Context as _, Error, Result};
use crate::image::kernel::{self, KernelInfo};
use crate::machine::{Arch, KernelKind};

/// The media type of an index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The media type of a manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of a configuration.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// The media type of a layer that is not compressed.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Without it, upstream takes no notice of an image.
const UPSTREAM: &str = "sh.kraftkit.version";
const CREATED: &str = "org.opencontainers.image.created";

/// What an image is to be made of.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The kernel.
    pub kernel: PathBuf,
    /// Its root file system: a RAM disk.
    pub rootfs: Option<PathBuf>,
    /// What the kernel is built for.
    pub plat: Plat,
    /// The kernel's if `None`.
    pub arch: Option<Arch>,
    /// The application's arguments.
    pub command: Vec<String>,
    /// The guest's environment.
    pub env: BTreeMap<String, String>,
    /// Labels. One of urunc's keys takes the place of what is found out.
    pub labels: BTreeMap<String, String>,
    /// When it is said to be made, in seconds since 1970. Nothing is said if `None`.
    pub created: Option<i64>,
}

/// An image that is to be written somewhere.
#[derive(Debug)]
pub struct Built {
    /// All of its blobs, what leads to others behind them.
    pub blobs: Vec<Blob>,
    /// What is good to know for whoever made it.
    pub notes: Vec<String>,
}

impl Built {
    /// What the name of the image stands for.
    ///
    /// # Errors
    /// When there is nothing.
    pub fn root(&self) -> Result<&Blob> {
        self.blobs.last().ok_or_else(|| Error::new("the image is empty"))
    }
}

/// Makes an image; reads its files, and writes nothing.
///
/// # Errors
/// When a file cannot be read, or the kernel is none, or not for this architecture.
pub fn build(recipe: &Recipe) -> Result<Built> {
    let info = kernel::inspect(&recipe.kernel, recipe.arch)?;
    let created = recipe.created.map(timestamp).transpose()?;
    let version = info.unikraft.as_ref().and_then(|about| about.version.clone());
    let keys = keys(recipe, &info, version.as_deref());
    let mut layers = vec![("kernel", KERNEL_ANNOTATION, KERNEL, layer("kernel", KERNEL, 0o755, &recipe.kernel)?)];
    if let Some(rootfs) = &recipe.rootfs {
        layers.push(("rootfs", INITRD_ANNOTATION, INITRD, layer("rootfs", INITRD, 0o644, rootfs)?));
    }
    let mut notes = Vec::new();
    let mut files: Vec<Blob> = Vec::new();
    let mut descriptors = Vec::new();
    for (_, annotation, path, blob) in layers {
        let mut descriptor = blob.descriptor();
        descriptor["annotations"] = json!({annotation: path});
        descriptors.push(descriptor);
        files.push(blob);
    }
    match &keys {
        Some(keys) => {
            let blob = file_layer(urunc::FILE, &json!(urunc::encode(keys)))?;
            descriptors.push(blob.descriptor());
            files.push(blob);
        }
        None => notes.push(format!(
            "urunc does not know this kind of kernel; --label {}unikernelType=TYPE says which it is",
            urunc::PREFIX
        )),
    }
    let made = Made { recipe, created: created.as_deref(), version: version.as_deref(), descriptors, layers: &files };
    let arch = info.arch.to_string();
    let mut manifests = Vec::new();
    let upstream = Platform { os: recipe.plat.to_string(), arch: arch.clone(), version: version.clone() };
    let (mut blobs, mut first) = made.image(&upstream, &Map::new(), &BTreeMap::new());
    first["platform"] = upstream.to_json();
    first["annotations"] = json!({UPSTREAM: own_version()});
    manifests.push(first);
    if let Some(keys) = &keys {
        let go = match info.arch {
            Arch::X86_64 => "amd64",
            Arch::Arm64 => "arm64",
        };
        let containers = Platform { os: "linux".into(), arch: go.into(), version: None };
        let annotations = keys.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        let (more, mut second) = made.image(&containers, &annotations, keys);
        second["platform"] = containers.to_json();
        blobs.extend(more);
        manifests.push(second);
    }
    let mut annotations = json!({UPSTREAM: own_version()});
    if let Some(created) = &created {
        annotations[CREATED] = json!(created);
    }
    let index = json!({
        "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests, "annotations": annotations,
    });
    files.extend(blobs);
    files.push(Blob::document(INDEX, &index));
    Ok(Built { blobs: files, notes })
}

/// What all manifests of an image have in common.
struct Made<'a> {
    recipe: &'a Recipe,
    created: Option<&'a str>,
    version: Option<&'a str>,
    descriptors: Vec<Value>,
    layers: &'a [Blob],
}

struct Platform {
    os: String,
    arch: String,
    version: Option<String>,
}

impl Platform {
    fn to_json(&self) -> Value {
        let mut json = json!({"os": self.os, "architecture": self.arch});
        if let Some(version) = &self.version {
            json["os.version"] = json!(version);
        }
        json
    }
}

impl Made<'_> {
    /// One image: its configuration and its manifest, and what leads to them.
    fn image(
        &self,
        platform: &Platform,
        more: &Map<String, Value>,
        more_labels: &BTreeMap<String, String>,
    ) -> (Vec<Blob>, Value) {
        let mut config = Map::new();
        if !self.recipe.command.is_empty() {
            config.insert("Cmd".into(), json!(self.recipe.command));
        }
        if !self.recipe.env.is_empty() {
            let env: Vec<String> = self.recipe.env.iter().map(|(key, value)| format!("{key}={value}")).collect();
            config.insert("Env".into(), json!(env));
        }
        let labels: BTreeMap<&String, &String> = more_labels.iter().chain(&self.recipe.labels).collect();
        if !labels.is_empty() {
            config.insert("Labels".into(), json!(labels));
        }
        // What a layer is uncompressed is the layer.
        let ids: Vec<String> = self.layers.iter().map(|layer| format!("sha256:{}", layer.digest)).collect();
        let mut document = platform.to_json();
        document["config"] = Value::Object(config);
        document["rootfs"] = json!({"type": "layers", "diff_ids": ids});
        let mut annotations = more.clone();
        if let Some(version) = self.version {
            annotations.insert(VERSION_ANNOTATION.into(), json!(version));
        }
        if let Some(created) = self.created {
            document["created"] = json!(created);
            annotations.insert(CREATED.into(), json!(created));
        }
        annotations.insert(UPSTREAM.into(), json!(own_version()));
        let config = Blob::document(CONFIG, &document);
        let mut of_config = config.descriptor();
        of_config["platform"] = platform.to_json();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": of_config, "layers": self.descriptors,
            "annotations": annotations,
        });
        let manifest = Blob::document(MANIFEST, &manifest);
        let descriptor = manifest.descriptor();
        (vec![config, manifest], descriptor)
    }
}

/// urunc's keys, with those that are asked for; `None` if the kernel is of a kind that it does not know.
fn keys(recipe: &Recipe, info: &KernelInfo, version: Option<&str>) -> Option<urunc::Keys> {
    let kind = match info.kind {
        KernelKind::Unikraft => Some("unikraft"),
        KernelKind::Linux => Some("linux"),
        KernelKind::Pvh | KernelKind::Multiboot | KernelKind::Elf => None,
    };
    let hypervisor = match &recipe.plat {
        Plat::Qemu => "qemu",
        Plat::Firecracker => "firecracker",
        Plat::Other(other) => other,
        Plat::Xen | Plat::Linux => return None,
    };
    let mut keys = urunc::Keys::new();
    let mut set = |key: &str, value: &str| drop(keys.insert(format!("{}{key}", urunc::PREFIX), value.to_owned()));
    set("hypervisor", hypervisor);
    set("binary", KERNEL);
    set("mountRootfs", "false");
    if !recipe.command.is_empty() {
        set("cmdline", &recipe.command.join(" "));
    }
    if recipe.rootfs.is_some() {
        set("initrd", INITRD);
    }
    for (key, value) in [("unikernelType", kind), ("unikernelVersion", version)] {
        if let Some(value) = value {
            set(key, value);
        }
    }
    keys.extend(
        recipe.labels.iter().filter(|(key, _)| key.starts_with(urunc::PREFIX)).map(|(k, v)| (k.clone(), v.clone())),
    );
    keys.contains_key(&format!("{}unikernelType", urunc::PREFIX)).then_some(keys)
}

fn layer(what: &str, path: &str, mode: u32, file: &std::path::Path) -> Result<Blob> {
    let opened = crate::image::open(what, file)?;
    Blob::layer(LAYER, path, mode, opened).with_context(|| format!("cannot pack {what} {}", file.display()))
}

/// A layer of what is in memory.
fn file_layer(path: &str, content: &Value) -> Result<Blob> {
    use std::io::Write as _;
    let cannot = || format!("cannot make {path}");
    let memory = rustix::fs::memfd_create("kraft-layer", rustix::fs::MemfdFlags::CLOEXEC).with_context(cannot)?;
    let mut file = File::from(memory);
    file.write_all(content.to_string().as_bytes()).with_context(cannot)?;
    Blob::layer(LAYER, path, 0o644, file).with_context(cannot)
}

fn own_version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

fn timestamp(seconds: i64) -> Result<String> {
    let time = jiff::Timestamp::from_second(seconds);
    time.map(|time| time.to_string()).map_err(|e| Error::new(format!("bad SOURCE_DATE_EPOCH '{seconds}': {e}")))
}

#[cfg(test)]
pub(super) mod tests;
