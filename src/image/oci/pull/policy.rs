//! Whether an image is fetched at all: when it is not here, each time, or never.

use super::super::choose::{self, Asked};
use super::super::documents::{self, Document};
use super::super::reference::Reference;
use super::super::registry::LONGEST_MANIFEST;
use super::{Policy, Pulled, Watch, Which, kind_of, pull};
use crate::error::{Error, Kind, Result};
use crate::store::{Blobs, Target};

/// Sees to it that an image is there, and says which manifest it is. `blobs` is held by the caller until a machine's
/// record or a name says that the image is needed.
///
/// # Errors
/// When it is not there and is not to be fetched ([`Kind::NotFound`]), or cannot be fetched.
pub fn ensure(
    blobs: &Blobs,
    reference: &Reference,
    policy: Policy,
    asked: &Asked,
    watch: &Watch<'_>,
) -> Result<Pulled> {
    if policy != Policy::Always
        && let Some(there) = present(blobs, reference, asked)?
    {
        return Ok(there);
    }
    if policy == Policy::Never {
        return Err(Error::of(Kind::NotFound, format!("image {reference} is not here"))
            .with_hint(format!("`kraft pkg pull {reference}` fetches it")));
    }
    pull(blobs, reference, &Which::Best(asked.clone()), watch)
}

/// What is there of an image, if it is complete.
///
/// # Errors
/// When the names cannot be read.
pub fn present(blobs: &Blobs, reference: &Reference, asked: &Asked) -> Result<Option<Pulled>> {
    let Some(root) = target(blobs, reference)? else { return Ok(None) };
    let Ok(chosen) = choose::choose(&|digest| blobs.open(digest), root.digest, asked) else { return Ok(None) };
    let Ok(Document::Manifest(manifest)) = documents::read(&|digest| blobs.open(digest), chosen.variant.manifest)
    else {
        return Ok(None);
    };
    for descriptor in std::iter::once(&manifest.config).chain(&manifest.layers) {
        if blobs.size(documents::digest(descriptor)?) != Some(descriptor.size) {
            return Ok(None);
        }
    }
    Ok(Some(Pulled { root, manifest: chosen.variant.manifest, why: chosen.why, fetched: 0 }))
}

/// What a reference stands for here: by its name, or by its digest whatever the name is.
///
/// # Errors
/// When the names cannot be read.
pub fn target(blobs: &Blobs, reference: &Reference) -> Result<Option<Target>> {
    let named = blobs.named(&reference.to_string())?;
    // The digest that is asked for goes before whatever somebody has named so.
    let Some(digest) = reference.digest() else { return Ok(named) };
    if let Some(target) = named.filter(|target| target.digest == digest) {
        return Ok(Some(target));
    }
    let Ok(content) = blobs.read(digest, LONGEST_MANIFEST) else { return Ok(None) };
    let Ok(document) = documents::parse(&content) else { return Ok(None) };
    Ok(Some(Target { digest, size: content.len() as u64, media_type: kind_of(&content, &document, "") }))
}
