//! What is in an image: the kernel and the root file system, and what its makers say is to be run with them.
//!
//! Which layout it has is told by what it says and by what it has, in this order: urunc's keys, the annotations of
//! Unikraft's layers, urunc's file, Unikraft's files. An image of none of these has files alone, as
//! containers have.

mod plan;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufWriter, Write as _};

use sha2::{Digest as _, Sha256};

use super::choose::{self, Variant};
use super::documents::{self, Config, Configuration, Document, Manifest, Open};
use super::layer;
use super::urunc;
use crate::error::{Context as _, Error, Kind, Result};
use crate::image::tarball::{Layers, Limits};
use crate::image::tree::{HardLinks, Packing, pack, show};
use crate::machine::Digest;
use crate::store::{Blobs, RootfsCache};

use plan::{Plan, Rootfs, found, said};

/// Where upstream has its files.
pub const KERNEL: &str = "/unikraft/bin/kernel";
/// The same for the RAM disk.
pub const INITRD: &str = "/unikraft/bin/initrd";
/// The annotation of a layer with a kernel.
pub const KERNEL_ANNOTATION: &str = "org.unikraft.kernel.image";
/// The annotation of a layer with a RAM disk.
pub const INITRD_ANNOTATION: &str = "org.unikraft.kernel.initrd";
/// The annotation that says the version of what a kernel is built with.
pub const VERSION_ANNOTATION: &str = "org.unikraft.kernel.version";

/// The most layers that an image may have.
const LAYERS: usize = 256;
/// The largest kernel.
const KERNEL_LIMIT: u64 = 1 << 30;
/// Part of every fingerprint: counted up when the same image becomes something else.
const FORM: u8 = 1;

/// Which layout an image has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// That of upstream's `kraft`.
    Unikraft,
    /// That of `urunc`.
    Urunc,
    /// None that has a kernel.
    Files,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unikraft => "unikraft",
            Self::Urunc => "urunc",
            Self::Files => "files",
        })
    }
}

/// What an image says of itself.
#[derive(Debug, Clone)]
pub struct Description {
    /// Which it is, and what it is for.
    pub variant: Variant,
    /// What its command begins with, whatever is asked for.
    pub entrypoint: Vec<String>,
    /// The rest of its command, which is left out when another is asked for.
    pub command: Vec<String>,
    /// The guest's environment.
    pub env: BTreeMap<String, String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The annotations of its manifest.
    pub annotations: BTreeMap<String, String>,
    /// The working directory.
    pub directory: Option<String>,
    /// The version of what the kernel is built with.
    pub version: Option<String>,
    /// The sum of its layers, as they are kept.
    pub size: u64,
}

/// What is in an image, unpacked.
#[derive(Debug, Clone)]
pub struct Contents {
    /// What it says.
    pub says: Description,
    /// How it is laid out.
    pub layout: Layout,
    /// How that is known, for people.
    pub why: String,
    /// The kernel, in the cache.
    pub kernel: Option<Digest>,
    /// The root file system, in the cache: a RAM disk.
    pub rootfs: Option<Digest>,
    /// What the root file system is, for people.
    pub rootfs_is: &'static str,
}

/// A file that is taken out of an image.
#[derive(Debug, Clone, Copy)]
enum What {
    Kernel,
    Initrd,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Kernel => "kernel",
            Self::Initrd => "RAM disk",
        })
    }
}

/// What images are read from.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// Opens a blob.
    pub open: &'a Open<'a>,
    /// Takes what is unpacked.
    pub cache: &'a RootfsCache,
    /// What an image may have.
    pub limits: Limits,
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("cache", self.cache).field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Reads an image of the store and unpacks what is to be run, unless that is in the cache.
///
/// # Errors
/// As [`Source::read`].
pub fn read(blobs: &Blobs, cache: &RootfsCache, manifest: Digest) -> Result<Contents> {
    let read = Source { open: &|digest| blobs.open(digest), cache, limits: Limits::OURS }.read(manifest);
    read.map_err(|error| blame(blobs, manifest, error))
}

/// Whose fault an error is: the disk's, if something is no longer what it was when it was kept. That is of no use to
/// anybody, and goes, so that it is fetched again.
fn blame(blobs: &Blobs, manifest: Digest, error: Error) -> Error {
    let Ok(Document::Manifest(of)) = documents::read(&|digest| blobs.open(digest), manifest) else { return error };
    let parts = std::iter::once(&of.config).chain(&of.layers).filter_map(|part| documents::digest(part).ok());
    let damaged: Vec<Digest> = parts.filter(|part| blobs.discard_damaged(*part)).collect();
    match damaged.first() {
        None => error,
        Some(first) => Error::new(format!("sha256:{first} was changed after it was kept"))
            .context(format!("cannot use the image sha256:{manifest}"))
            .with_hint("it was removed: the next `kraft pkg pull` fetches it again"),
    }
}

/// What an image says of itself; nothing of its files is read.
///
/// # Errors
/// When its manifest or configuration is not there, or is none.
pub fn describe(open: &Open<'_>, variant: Variant) -> Result<Description> {
    let (manifest, configuration) = documents(open, variant.manifest)?;
    Ok(description(variant, &manifest, &configuration))
}

impl Source<'_> {
    /// Reads an image and unpacks what is to be run, unless that is in the cache.
    ///
    /// # Errors
    /// When something of it is missing ([`Kind::NotFound`]) or damaged, is not what its digest says, or is refused; when
    /// it has more than the limits allow.
    pub fn read(&self, digest: Digest) -> Result<Contents> {
        let (manifest, configuration) = documents(self.open, digest)?;
        let variant = choose::variants(self.open, digest)?.into_iter().next();
        let variant = variant.ok_or_else(|| Error::new(format!("sha256:{digest} is no image")))?;
        let mut says = description(variant, &manifest, &configuration);
        let cannot = || format!("cannot use the image sha256:{digest}");
        let (plan, kernel, rootfs) = self.unpack(digest, &manifest, &configuration).with_context(cannot)?;
        if let Some(cmdline) = plan.cmdline.filter(|_| says.entrypoint.is_empty() && says.command.is_empty()) {
            says.command = cmdline.split_whitespace().map(str::to_owned).collect();
        }
        says.version = plan.version.or(says.version);
        let rootfs_is = match (&plan.rootfs, rootfs) {
            (_, None) => "none",
            (Rootfs::All, Some(_)) => "the files of the image",
            (_, Some(_)) => "a RAM disk of the image",
        };
        Ok(Contents { says, layout: plan.layout, why: plan.why, kernel, rootfs, rootfs_is })
    }

    /// All files of an image as a RAM disk, whatever its layout; `None` if there are none.
    ///
    /// # Errors
    /// As [`Source::read`].
    pub fn files(&self, digest: Digest) -> Result<Option<Digest>> {
        let of = fingerprint(digest, "files");
        if let Some(found) = self.cache.find(of) {
            return Ok(Some(found));
        }
        let (manifest, configuration) = documents(self.open, digest)?;
        let layers = self.layers(&manifest, &configuration);
        layers
            .and_then(|layers| self.pack(&layers, of))
            .with_context(|| format!("cannot use the image sha256:{digest}"))
    }

    fn unpack(
        &self,
        digest: Digest,
        manifest: &Manifest,
        configuration: &Configuration,
    ) -> Result<(Plan, Option<Digest>, Option<Digest>)> {
        let said = said(manifest, configuration)?;
        let (of_kernel, of_rootfs) = (fingerprint(digest, "kernel"), fingerprint(digest, "rootfs"));
        if let Some(plan) = &said {
            let kernel = plan.kernel.as_ref().and_then(|_| self.cache.find(of_kernel));
            let rootfs = self.cache.find(of_rootfs);
            if kernel.is_some() && (rootfs.is_some() || plan.rootfs == Rootfs::None) {
                return Ok((plan.clone(), kernel, rootfs));
            }
        }
        let mut layers = self.layers(manifest, configuration)?;
        let plan = match said {
            Some(plan) => plan,
            None => found(&layers)?,
        };
        let kernel = plan.kernel.as_deref().map(|path| {
            self.take(&layers, What::Kernel, path, of_kernel)?
                .ok_or_else(|| Error::of(Kind::NotFound, format!("it has no kernel {}", show(path.as_bytes()))))
        });
        let kernel = kernel.transpose()?;
        let rootfs = match &plan.rootfs {
            Rootfs::None => None,
            Rootfs::Perhaps(path) => self.take(&layers, What::Initrd, path, of_rootfs)?,
            Rootfs::File(path) => {
                let taken = self.take(&layers, What::Initrd, path, of_rootfs)?;
                Some(taken.ok_or_else(|| {
                    Error::of(Kind::NotFound, format!("it has no RAM disk {}", show(path.as_bytes())))
                })?)
            }
            Rootfs::All => {
                if let Some(kernel) = &plan.kernel {
                    layers.leave_out(kernel);
                }
                layers.leave_out(urunc::FILE);
                self.pack(&layers, of_rootfs)?
            }
        };
        Ok((plan, kernel, rootfs))
    }

    fn layers(&self, manifest: &Manifest, configuration: &Configuration) -> Result<Layers> {
        let (descriptors, uncompressed) = (&manifest.layers, &configuration.rootfs.diff_ids);
        if descriptors.len() != uncompressed.len() {
            let (layers, known) = (descriptors.len(), uncompressed.len());
            return Err(Error::new(format!("it has {layers} layers, and its configuration knows {known}")));
        }
        if descriptors.len() > LAYERS {
            return Err(Error::new(format!("it has {} layers, and kraft takes {LAYERS}", descriptors.len())));
        }
        let mut layers = Layers::new(self.limits);
        let mut left = self.limits.bytes;
        for (descriptor, uncompressed) in descriptors.iter().zip(uncompressed) {
            let uncompressed = uncompressed.strip_prefix("sha256:").unwrap_or(uncompressed).parse();
            let uncompressed = uncompressed.context("its configuration is bad")?;
            let file = layer::open(self.open, self.cache, descriptor, uncompressed, &mut left)?;
            let of = &descriptor.digest;
            layers.add(file).with_context(|| format!("cannot read the layer {of}"))?;
        }
        Ok(layers)
    }

    /// Puts one file into the cache; `None` if it is not there.
    fn take(&self, layers: &Layers, what: What, path: &str, of: Digest) -> Result<Option<Digest>> {
        let cannot = || format!("cannot take the {what} {}", show(path.as_bytes()));
        let Some((size, mut data)) = layers.file(path).with_context(cannot)? else { return Ok(None) };
        let limit = match what {
            What::Kernel => KERNEL_LIMIT,
            What::Initrd => self.limits.bytes,
        };
        if size == 0 || size > limit {
            let why = format!("it has {size} bytes, and can have 1 to {limit}");
            return Err(Error::new(why).context(cannot()));
        }
        let mut new = self.cache.begin()?;
        let copied = std::io::copy(&mut data, &mut new).with_context(cannot)?;
        if copied != size {
            return Err(Error::new("its layer is cut off").context(cannot()));
        }
        new.keep(Some(of)).map(Some)
    }

    /// Makes a RAM disk of all files; `None` if there are none.
    fn pack(&self, layers: &Layers, of: Digest) -> Result<Option<Digest>> {
        if layers.is_empty() {
            return Ok(None);
        }
        layers.check_size()?;
        // Whoever reads it takes every name for a file of its own, or takes links as well.
        let packing = Packing { links: HardLinks::Copied, latest: None };
        // Names alone, and directories that are only implied, may come to more than all layers have.
        let out = Limited { inner: self.cache.begin()?, left: self.limits.bytes, limit: self.limits.bytes };
        let mut out = pack(layers, packing, BufWriter::with_capacity(128 << 10, out))?;
        out.flush().context("cannot write the archive")?;
        let new = out.into_inner().map_err(std::io::IntoInnerError::into_error).context("cannot write the archive")?;
        new.inner.keep(Some(of)).map(Some)
    }
}

/// Takes so many bytes, and no more.
struct Limited<W> {
    inner: W,
    left: u64,
    limit: u64,
}

impl<W: std::io::Write> std::io::Write for Limited<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let too_large = || std::io::Error::other(format!("it would have more than {} bytes", self.limit));
        if bytes.len() as u64 > self.left {
            return Err(too_large());
        }
        let written = self.inner.write(bytes)?;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

fn documents(open: &Open<'_>, digest: Digest) -> Result<(Manifest, Configuration)> {
    match documents::read(open, digest)? {
        Document::Manifest(manifest) => {
            let configuration = documents::configuration(open, &manifest)?;
            Ok((manifest, configuration))
        }
        Document::Index(_) => Err(Error::new(format!("sha256:{digest} is an index of images, not one of them"))),
    }
}

fn description(variant: Variant, manifest: &Manifest, configuration: &Configuration) -> Description {
    let config = configuration.config.clone().unwrap_or_default();
    let env = env(&config);
    let annotations = manifest.annotations.clone().unwrap_or_default();
    Description {
        variant,
        entrypoint: config.entrypoint.unwrap_or_default(),
        command: config.cmd.unwrap_or_default(),
        env,
        labels: config.labels.unwrap_or_default(),
        directory: config.working_dir.filter(|directory| !directory.is_empty()),
        version: annotations.get(VERSION_ANNOTATION).cloned(),
        annotations,
        size: manifest.layers.iter().fold(0, |sum: u64, layer| sum.saturating_add(layer.size)),
    }
}

/// What comes last counts. What is no variable is left out.
fn env(config: &Config) -> BTreeMap<String, String> {
    let all = config.env.iter().flatten().filter_map(|variable| variable.split_once('='));
    all.filter(|(key, _)| !key.is_empty()).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn fingerprint(manifest: Digest, what: &str) -> Digest {
    let mut hash = Sha256::new();
    hash.update([FORM]);
    hash.update(format!("image {manifest} {what}"));
    Digest::from_bytes(hash.finalize().into())
}

#[cfg(test)]
mod tests;
