//! What an image is made of.

use super::{As, Asked, Found};
use crate::error::Result;
use crate::image::oci::resolve::Resolved;
use crate::machine::ImageOrigin;

/// The kernel and all else that is in an image.
pub(super) fn image(name: &str, asked: &Asked<'_>) -> Result<Found> {
    let image: Resolved = (asked.images)(name, asked.arch)?;
    Ok(Found {
        arch: image.arch,
        rootfs: image.rootfs,
        entrypoint: image.entrypoint,
        command: image.command,
        env: image.env,
        labels: image.labels,
        notes: image.notes,
        image: Some(ImageOrigin { reference: image.name, manifest: image.manifest }),
        ..Found::new(As::Oci, image.kernel)
    })
}
