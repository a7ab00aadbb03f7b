//! The image that a machine file names, in the place of a kernel.
//!
//! `kraft apply` resolves it, and may fetch it. A start does not: what the unit of a declared machine makes its first record
//! of has to be in the store by then, and the record stays what it is when the image goes.

use std::path::{Path, PathBuf};

use super::app::App;
use super::images::Images;
use super::wanted::Wanted;
use crate::config::{MachineFile, Rootfs};
use crate::error::Result;
use crate::image::oci::local::{Form, Local};
use crate::image::oci::reference::Reference;
use crate::machine::{Digest, ImageName, ImageOrigin, Pull};
use crate::source::{self, As, Asked, Found};

/// What is wrong with the name of an image, as far as that can be told without looking for it.
pub(super) fn check(name: &ImageName) -> Result<()> {
    match Local::parse(name.as_str()) {
        Some(local) => local.map(drop),
        None => name.as_str().parse::<Reference>().map(drop),
    }
}

/// What a file wants, made of its image if it names one; `old` is the image of the machine that there is.
///
/// # Errors
/// When there is no such image, or nothing in it can be run here, with the place of the key.
pub(super) fn over_image(
    file: &MachineFile,
    wanted: Wanted,
    images: &Images<'_>,
    pull: Pull,
    old: Option<&ImageOrigin>,
) -> Result<Wanted> {
    let wanted = Wanted { pull, ..wanted };
    let Some(name) = &file.settings.image else { return Ok(wanted) };
    let look = |name: &str, pull| look(name, &wanted, images, pull);
    let gone = match old {
        Some(old) if pull != Pull::Always => is_gone(name, images, old)?.then_some(old),
        Some(_) | None => None,
    };
    let found = match gone {
        // The store has its content as long as the machine is there.
        Some(old) => look(&content_of(old), Pull::Never).map(|found| Found { image: Some(old.clone()), ..found }),
        None => look(name.as_str(), pull),
    };
    let found = found.map_err(|error| file.flaw("image", error))?;
    let found = match &file.settings.entrypoint {
        // The image's arguments are for its own.
        Some(own) => Found { entrypoint: own.0.clone(), command: Vec::new(), ..found },
        None => found,
    };
    Ok(wanted.over(found))
}

fn look(name: &str, wanted: &Wanted, images: &Images<'_>, pull: Pull) -> Result<Found> {
    let resolve = |name: &str, arch| images.resolve_by(pull, name, arch);
    let asked = Asked { forced: Some(As::Oci), ..Asked::new(wanted.platform, wanted.arch, &|_| None, &resolve) };
    source::look(Some(Path::new(name)), &asked).found
}

/// A name that stands for what a machine was made of, in the store alone.
fn content_of(old: &ImageOrigin) -> String {
    format!("localhost/image@sha256:{}", old.manifest)
}

/// Whether a machine was made of what goes by this name, and nothing goes by it any more.
fn is_gone(name: &ImageName, images: &Images<'_>, old: &ImageOrigin) -> Result<bool> {
    match (index_of(name), name.as_str().parse::<Reference>()) {
        (Some(file), _) => Ok(name.as_str() == old.reference && !file.exists()),
        (None, Ok(reference)) if reference.to_string() == old.reference => Ok(!images.has(&reference)?),
        (None, _) => Ok(false),
    }
}

/// Whether an image of a file's would have to be fetched.
pub(super) fn is_elsewhere(file: &MachineFile, images: &Images<'_>) -> bool {
    let mut references = named(file).filter_map(|name| name.as_str().parse::<Reference>().ok());
    references.any(|reference| images.has(&reference).is_ok_and(|has| !has))
}

/// The file that is another if the image is, where it is a file here.
pub(super) fn index_of(name: &ImageName) -> Option<PathBuf> {
    let local = Local::parse(name.as_str())?.ok()?;
    Some(match local.form {
        Form::Layout => local.path.join("index.json"),
        Form::Archive | Form::Docker => local.path,
    })
}

/// What a name stands for in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stands {
    /// For what it always will.
    Fixed,
    /// For this, at the moment.
    For(Digest),
    /// For nothing.
    ForNothing,
}

/// The images that a file names: what is run, and whose files are the root file system.
pub(super) fn named(file: &MachineFile) -> impl Iterator<Item = &ImageName> {
    file.settings.image.iter().chain(file.settings.rootfs.as_ref().and_then(Rootfs::image))
}

/// What an image's name stands for; nothing is opened, made or fetched.
pub(super) fn stands(app: &App, name: &ImageName) -> Stands {
    let Ok(reference) = name.as_str().parse::<Reference>() else {
        // One that is a file here is told by that.
        return Stands::Fixed;
    };
    if reference.digest().is_some() {
        return Stands::Fixed;
    }
    let full = reference.to_string();
    let names = app.store.image_names().unwrap_or_default();
    names.iter().find(|named| named.name == full).map_or(Stands::ForNothing, |named| Stands::For(named.target.digest))
}
