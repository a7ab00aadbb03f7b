//! Where an image is fetched from, by the files that tell of [`registries`](super::registries): those that podman and skopeo
//! read, too.
//!
//! ```text
//! $CONTAINERS_REGISTRIES_CONF                              in place of the next two
//! $HOME/.config/containers/registries.conf                 in place of the system's, those of its directory included
//! /etc/containers/registries.conf
//! /etc/containers/registries.conf.d/NAME.conf              each of them counts more than those before
//! $HOME/.config/containers/registries.conf.d/NAME.conf
//! ```

use std::path::{Path, PathBuf};

use super::reference::Reference;
use super::registries::{Registries, Source, Sources};
use crate::error::{Context as _, Result};
use crate::paths;

/// Where an image is.
///
/// # Errors
/// When a file cannot be read, or the image's registry is blocked.
pub(super) fn of(image: &Reference) -> Result<Sources> {
    read()?.sources(image)
}

/// Whether plain HTTP will do for a registry if it does not speak TLS.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn is_insecure(registry: &str) -> Result<bool> {
    Ok(read()?.is_insecure(registry))
}

/// Tries one place after the other. What a mirror fails by is told, and the next is asked.
///
/// # Errors
/// That of the image's own place, if that fails as well. Those of mirrors are told by then.
pub(super) fn first_of<T>(sources: &Sources, mut fetch: impl FnMut(&Source) -> Result<T>) -> Result<T> {
    for mirror in &sources.mirrors {
        match fetch(mirror) {
            Ok(fetched) => return Ok(fetched),
            Err(error) => log::warn!("the mirror {}: {error}", mirror.reference),
        }
    }
    fetch(&sources.own)
}

fn read() -> Result<Registries> {
    let paths = paths::registries_files();
    let mut all = Registries::default();
    add(&mut all, &paths.first)?;
    for dir in &paths.directories {
        for path in below(dir)? {
            add(&mut all, &path)?;
        }
    }
    Ok(all)
}

fn add(all: &mut Registries, path: &Path) -> Result<()> {
    let cannot = || format!("cannot read {}", path.display());
    match std::fs::read_to_string(path) {
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => Ok(()),
        text => all.add(path, &text.with_context(cannot)?),
    }
}

/// The files of a directory, in the order of their names.
fn below(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries.with_context(|| format!("cannot list {}", dir.display()))?,
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
    paths.sort();
    Ok(paths)
}
