//! Giving images to a registry: what it lacks of the content first, then the manifests, the name last.

use std::io::Read;

use super::documents::{self, Descriptor, Document};
use super::pull::{Step, Watch, target};
use super::reference::Reference;
use super::registry::{Access, LONGEST_MANIFEST, Manifest, Registry};
use super::sources;
use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::Digest;
use crate::store::{Blobs, Target};

/// Pushes an image to where its name says, or under another name. Returns what that name stands for there.
///
/// # Errors
/// When it is not here ([`Kind::NotFound`]), or the registry does not take it.
pub fn push(blobs: &Blobs, image: &Reference, to: &Reference, watch: &Watch<'_>) -> Result<Target> {
    let cannot = || format!("cannot push {to}");
    let root = target(blobs, image)?;
    let root = root.ok_or_else(|| Error::of(Kind::NotFound, format!("image {image} is not here")))?;
    if let Some(wanted) = to.digest().filter(|wanted| *wanted != root.digest) {
        return Err(Error::new(format!("it is sha256:{}, not sha256:{wanted}", root.digest)).context(cannot()));
    }
    // All of it is looked at before anything is sent.
    let mut send = Send { blobs, watch, content: Vec::new(), manifests: Vec::new() };
    send.collect(root.digest, &root.media_type).with_context(cannot)?;
    // Mirrors are copies: what is new goes to where they have it from.
    let place = sources::of(to).with_context(cannot)?.own;
    let mut registry = Registry::connect(&place, Access::Push).with_context(cannot)?;
    // Where it was fetched from may be beside where it goes.
    let (from, here) = (sources::of(image).map(|from| from.own.reference), &place.reference);
    if let Ok(from) = from
        && from.registry() == here.registry()
        && from.repository() != here.repository()
    {
        registry = registry.like(from.repository());
    }
    send.all(&registry, &to.version()).with_context(cannot)?;
    Ok(root)
}

struct Send<'a> {
    blobs: &'a Blobs,
    watch: &'a Watch<'a>,
    content: Vec<(Digest, u64)>,
    /// What a manifest is made of goes before it.
    manifests: Vec<(Digest, String)>,
}

impl Send<'_> {
    fn collect(&mut self, digest: Digest, media_type: &str) -> Result<()> {
        match documents::read(&|digest| self.blobs.open(digest), digest)? {
            Document::Index(index) => {
                for below in &index.manifests {
                    let digest = documents::digest(below)?;
                    self.collect(digest, &below.media_type).map_err(|error| match error.kind() {
                        Kind::NotFound => error.with_hint("`kraft pkg pull --all` fetches all images of an index"),
                        _ => error,
                    })?;
                }
            }
            Document::Manifest(manifest) => {
                for part in std::iter::once(&manifest.config).chain(&manifest.layers) {
                    self.part(part)?;
                }
            }
        }
        if !self.manifests.iter().any(|(known, _)| *known == digest) {
            self.manifests.push((digest, media_type.to_owned()));
        }
        Ok(())
    }

    fn part(&mut self, part: &Descriptor) -> Result<()> {
        let (digest, size) = (documents::digest(part)?, part.size);
        if self.blobs.size(digest) != Some(size) {
            return Err(Error::of(Kind::NotFound, format!("sha256:{digest} is not among the images")));
        }
        if !self.content.iter().any(|(known, _)| *known == digest) {
            self.content.push((digest, size));
        }
        Ok(())
    }

    fn all(&self, registry: &Registry, version: &str) -> Result<()> {
        for &(digest, size) in &self.content {
            let cannot = || format!("cannot send sha256:{digest}");
            if registry.has_blob(digest).with_context(cannot)? {
                (self.watch)(digest, Step::Known { size });
                continue;
            }
            (self.watch)(digest, Step::Begin { size, from: 0 });
            let mut content = Watched { inner: self.blobs.open(digest)?, digest, watch: self.watch };
            match registry.put_blob(digest, size, &mut content).with_context(cannot)? {
                true => (self.watch)(digest, Step::Done),
                false => (self.watch)(digest, Step::Known { size }),
            }
        }
        let last = self.manifests.len().saturating_sub(1);
        for (at, (digest, media_type)) in self.manifests.iter().enumerate() {
            let content = self.blobs.read(*digest, LONGEST_MANIFEST)?;
            let own = format!("sha256:{digest}");
            let version = if at == last { version } else { &own };
            let manifest = Manifest { content, media_type: media_type.clone() };
            registry.put_manifest(version, &manifest).with_context(|| format!("cannot send {own}"))?;
        }
        Ok(())
    }
}

struct Watched<'a> {
    inner: std::fs::File,
    digest: Digest,
    watch: &'a Watch<'a>,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        (self.watch)(self.digest, Step::Bytes(read as u64));
        Ok(read)
    }
}
