//! Fetching images. Whatever comes is checked against its digest before it counts; what is there is not fetched again.

mod policy;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Deserialize;

use super::choose::{self, Asked};
use super::documents::{self, Descriptor, Document};
use super::reference::Reference;
use super::registry::{Access, Manifest, Registry};
use super::sources;
use crate::error::{Context as _, Error, Kind, Result};
use crate::machine::{Arch, Digest};
use crate::store::{Begun, Blobs, NewBlob, Target};

pub use crate::machine::Pull as Policy;
pub use policy::{ensure, present, target};

/// So many blobs at once.
const AT_ONCE: usize = 4;
/// So many requests that bring nothing, one after the other, until it is given up.
const IN_VAIN: u32 = 3;
/// So many requests for one blob, however much each brings.
const REQUESTS: u32 = 100;
/// Indexes within indexes.
const NESTED: usize = 3;
/// The most documents that an index may lead to.
const DOCUMENTS: usize = 1024;

/// Which of the images of an index.
#[derive(Debug, Clone)]
pub enum Which {
    /// One: what is asked for, else what is best for this host.
    Best(Asked),
    /// All of them.
    All,
}

/// How it is getting on, by digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A blob is being transferred, from a byte on.
    Begin {
        /// Its bytes in all.
        size: u64,
        /// Those that are there already.
        from: u64,
    },
    /// So many more bytes.
    Bytes(u64),
    /// It is there.
    Done,
    /// It was there before.
    Known {
        /// Its bytes.
        size: u64,
    },
}

/// Who is told how it is getting on; by several threads.
pub type Watch<'a> = dyn Fn(Digest, Step) + Sync + 'a;

/// An image that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// What its name stands for: an index or a manifest.
    pub root: Target,
    /// The manifest that was chosen; the first where all were asked for.
    pub manifest: Digest,
    /// Why that one, for people.
    pub why: String,
    /// How many bytes came.
    pub fetched: u64,
}

/// Fetches an image, and gives it its name.
///
/// # Errors
/// When it cannot be reached or read, or is not what its digest says. What came complete stays for the next time, and so
/// does what came of the rest.
pub fn pull(blobs: &Blobs, reference: &Reference, which: &Which, watch: &Watch<'_>) -> Result<Pulled> {
    let cannot = || format!("cannot pull {reference}");
    let places = sources::of(reference).with_context(cannot)?;
    let pulled = sources::first_of(&places, |source| {
        let registry = Registry::connect(source, Access::Pull)?;
        let fetch = Fetch { blobs, registry: &registry, watch, fetched: Mutex::new(0) };
        fetch.image(reference, which).map_err(|error| match error.kind() {
            Kind::NotFound => {
                error.with_hint(format!("the registry {} has no such image", source.reference.registry()))
            }
            _ => error,
        })
    });
    pulled.with_context(cannot)
}

struct Fetch<'a> {
    blobs: &'a Blobs,
    registry: &'a Registry,
    watch: &'a Watch<'a>,
    fetched: Mutex<u64>,
}

impl Fetch<'_> {
    fn image(&self, reference: &Reference, which: &Which) -> Result<Pulled> {
        let (root, document) = self.root(reference)?;
        let (mut manifests, mut seen) = (Vec::new(), BTreeSet::new());
        self.documents(root.digest, &document, which, NESTED, &mut seen, &mut manifests)?;
        let open = |digest| self.blobs.open(digest);
        let (manifest, why) = match which {
            Which::Best(asked) => {
                let chosen = choose::choose(&open, root.digest, asked)?;
                (chosen.variant.manifest, chosen.why)
            }
            Which::All => {
                let first = manifests.first().ok_or_else(|| Error::new("the index has no image"))?;
                (*first, format!("all {} were asked for", manifests.len()))
            }
        };
        let needed = if matches!(which, Which::All) { manifests } else { vec![manifest] };
        let mut layers = Vec::new();
        for digest in needed {
            if let Document::Manifest(manifest) = documents::read(&open, digest)? {
                layers.extend(manifest.layers.iter().cloned());
            }
        }
        self.layers(&layers)?;
        self.blobs.name(&reference.to_string(), &root)?;
        let fetched = *self.fetched.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(Pulled { root, manifest, why, fetched })
    }

    /// What the name stands for.
    fn root(&self, reference: &Reference) -> Result<(Target, Document)> {
        let came = self.registry.manifest(&reference.version())?;
        let (digest, document) = self.keep(&came, reference.digest())?;
        let media_type = kind_of(&came.content, &document, &came.media_type);
        Ok((Target { digest, size: came.content.len() as u64, media_type }, document))
    }

    /// Keeps an index or a manifest, if it is what it should be.
    fn keep(&self, came: &Manifest, wanted: Option<Digest>) -> Result<(Digest, Document)> {
        use sha2::{Digest as _, Sha256};
        let found = Digest::from_bytes(Sha256::digest(&came.content).into());
        if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
            return Err(Error::new(format!("sha256:{wanted} is not what came: that is sha256:{found}")));
        }
        let document = documents::parse(&came.content)?;
        *self.fetched.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += came.content.len() as u64;
        Ok((self.blobs.put(&came.content)?, document))
    }

    /// The manifests that may be the one, each with its configuration: what tells them apart.
    fn documents(
        &self,
        digest: Digest,
        document: &Document,
        which: &Which,
        nested: usize,
        seen: &mut BTreeSet<Digest>,
        found: &mut Vec<Digest>,
    ) -> Result<()> {
        if !seen.insert(digest) {
            return Ok(());
        }
        if seen.len() > DOCUMENTS {
            return Err(Error::new(format!("it leads to more than {DOCUMENTS} documents")));
        }
        let index = match document {
            Document::Manifest(manifest) => {
                found.push(digest);
                return self.configuration(manifest);
            }
            Document::Index(_) if nested == 0 => {
                return Err(Error::new(format!("the index sha256:{digest} is within {NESTED} others")));
            }
            Document::Index(index) => index,
        };
        for descriptor in index.manifests.iter().filter(|descriptor| matters(descriptor, which)) {
            let digest = documents::digest(descriptor)?;
            if self.blobs.size(digest) != Some(descriptor.size) || self.blobs.discard_damaged(digest) {
                let came = self.registry.manifest(&format!("sha256:{digest}"))?;
                let (has, should) = (came.content.len() as u64, descriptor.size);
                if has != should {
                    return Err(Error::new(format!("sha256:{digest} should have {should} bytes, and has {has}")));
                }
                self.keep(&came, Some(digest))?;
            }
            let below = documents::read(&|digest| self.blobs.open(digest), digest)?;
            self.documents(digest, &below, which, nested - 1, seen, found)?;
        }
        Ok(())
    }

    fn configuration(&self, manifest: &documents::Manifest) -> Result<()> {
        if manifest.config.size > documents::LIMIT {
            let size = manifest.config.size;
            return Err(Error::new(format!("its configuration has {size} bytes: at most {}", documents::LIMIT)));
        }
        // It is small, and tells which image it is: better not to believe that it is still the same.
        self.blobs.discard_damaged(documents::digest(&manifest.config)?);
        self.blob(&manifest.config)
    }

    /// Fetches what is missing, several at once.
    fn layers(&self, layers: &[Descriptor]) -> Result<()> {
        let mut seen = BTreeSet::new();
        let mut all: Vec<&Descriptor> = Vec::new();
        for layer in layers {
            if seen.insert(documents::digest(layer)?) {
                all.push(layer);
            }
        }
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
        let first_failure = || failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(all.len()) {
                scope.spawn(|| {
                    while let Some(layer) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if first_failure().is_some() {
                            return;
                        }
                        if let Err(error) = self.blob(layer) {
                            first_failure().get_or_insert(error);
                        }
                    }
                });
            }
        });
        let failed = first_failure().take();
        failed.map_or(Ok(()), Err)
    }

    /// One blob: from where somebody stopped, and once more from the beginning if that was of something else.
    fn blob(&self, descriptor: &Descriptor) -> Result<()> {
        let (digest, size) = (documents::digest(descriptor)?, descriptor.size);
        for attempt in 0.. {
            let Begun::New(mut new) = self.blobs.begin(digest, size)? else {
                (self.watch)(digest, Step::Known { size });
                return Ok(());
            };
            let from = new.written();
            (self.watch)(digest, Step::Begin { size, from });
            self.transfer(&mut new, digest, size)?;
            match new.keep() {
                Ok(_) => break,
                // The disk may not have had all of it when the machine lost its power.
                Err(error) if from > 0 && attempt == 0 => log::info!("{error}: once more"),
                Err(error) => return Err(error),
            }
        }
        (self.watch)(digest, Step::Done);
        Ok(())
    }

    /// Writes what comes, as long as each request brings something.
    fn transfer(&self, new: &mut NewBlob, digest: Digest, size: u64) -> Result<()> {
        let what = || format!("cannot fetch sha256:{digest}");
        let mut in_vain = 0;
        for request in 1.. {
            if new.written() >= size {
                break;
            }
            let before = new.written();
            let broken = match self.registry.blob(digest, before) {
                Ok(None) => None,
                Ok(Some(mut part)) => {
                    if part.from != before {
                        new.restart()?;
                    }
                    self.copy(new, &mut *part.reader, digest)?
                }
                Err(error) => Some(error),
            };
            // A registry that sends a byte at a time would be asked for ever; one that falls silent may do so at each.
            let stalled = broken.as_ref().is_some_and(|error| error.kind() == Kind::Timeout);
            in_vain = match new.written() > before {
                true if stalled => in_vain + 1,
                true if request < REQUESTS => 0,
                true => IN_VAIN,
                false => in_vain + 1,
            };
            if in_vain == 0 {
                continue;
            }
            if let Some(error) = broken.filter(|error| in_vain >= IN_VAIN || error.kind() == Kind::NotFound) {
                return Err(error.context(what()).with_hint("what came is kept: the next pull goes on from there"));
            }
            if in_vain >= IN_VAIN {
                // `keep` says how much is missing.
                return Ok(());
            }
        }
        Ok(())
    }

    /// Copies until nothing comes. Returns what broke off; what cannot be written is an error.
    fn copy(&self, new: &mut NewBlob, from: &mut dyn std::io::Read, digest: Digest) -> Result<Option<Error>> {
        use std::io::Write as _;
        let mut buffer = vec![0; 1 << 17];
        loop {
            let read = match from.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(read) => read,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    let kind = if e.kind() == std::io::ErrorKind::TimedOut { Kind::Timeout } else { Kind::Failed };
                    return Ok(Some(crate::error::IntoError::into_error(e).with_kind(kind)));
                }
            };
            new.write_all(&buffer[..read]).with_context(|| format!("cannot keep sha256:{digest}"))?;
            *self.fetched.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += read as u64;
            (self.watch)(digest, Step::Bytes(read as u64));
        }
    }
}

/// Whether an entry of an index may be what is wanted.
fn matters(descriptor: &Descriptor, which: &Which) -> bool {
    let about = choose::is_about_another(descriptor);
    let (Which::Best(asked), Some(platform)) = (which, &descriptor.platform) else {
        return matches!(which, Which::All) || !about;
    };
    let arch = choose::arch(&platform.architecture);
    !about && asked.arch.or(Arch::host()).is_none_or(|wanted| arch.is_none_or(|arch| arch == wanted))
}

/// What kind of document it is: as it says, as the registry says, or as such a document usually is.
fn kind_of(content: &[u8], document: &Document, said: &str) -> String {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed {
        media_type: Option<String>,
    }
    let usual = match document {
        Document::Index(_) => "application/vnd.oci.image.index.v1+json",
        Document::Manifest(_) => "application/vnd.oci.image.manifest.v1+json",
    };
    match serde_json::from_slice::<Typed>(content).ok().and_then(|typed| typed.media_type) {
        Some(stated) => stated,
        None if said.contains("manifest") || said.contains("index") => said.to_owned(),
        None => usual.to_owned(),
    }
}

#[cfg(test)]
mod tests;
