//! What an image is made of.

use std::collections::BTreeMap;
use std::path::Path;

use super::{As, Asked, Found};
use crate::error::Result;
use crate::image::binary::{DIRECTORY, Loader};
use crate::image::kernel;
use crate::image::oci::resolve::Resolved;
use crate::machine::{ImageName, ImageOrigin};
use crate::paths;

/// The kernel and all else that is in an image.
pub(super) fn image(name: &str, asked: &Asked<'_>) -> Result<Found> {
    let name: ImageName = name.parse()?;
    // What is kept of it has to be true elsewhere, too.
    let name = if name.file().is_some() { name.below(&paths::absolute(Path::new("."))?) } else { name };
    let image: Resolved = (asked.images)(name.as_str(), asked.arch)?;
    let (mut env, mut notes) = (image.env, image.notes);
    if let Some(directory) = image.directory
        && !env.contains_key(DIRECTORY)
    {
        notes.extend(place(&mut env, &directory, &image.kernel));
    }
    Ok(Found {
        arch: image.arch,
        rootfs: image.rootfs,
        entrypoint: image.entrypoint,
        command: image.command,
        env,
        labels: image.labels,
        notes,
        image: Some(ImageOrigin { reference: image.name, manifest: image.manifest }),
        ..Found::new(As::Oci, image.kernel)
    })
}

/// Has the command start in a directory, if the kernel is a loader that can do that; else says that it does not.
fn place(env: &mut BTreeMap<String, String>, directory: &str, kernel: &Path) -> Option<String> {
    let no = |why: &str| Some(format!("the working directory {} is not passed on: {why}", directory.escape_debug()));
    let loader = kernel::inspect(kernel, None).and_then(|info| Loader::of(kernel, &info));
    match loader {
        Ok(loader) if loader.directory => match loader.start_in(directory, env) {
            Ok(placed) => {
                *env = placed;
                None
            }
            Err(error) => no(&error.to_string()),
        },
        Ok(_) => no("the loader starts every program in the root"),
        Err(_) => no("its kernel is no loader of programs"),
    }
}
