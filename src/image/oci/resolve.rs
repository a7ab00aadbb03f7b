//! The image that somebody names becomes files that a machine can be made of.
//!
//! A name is that of a [local](super::local) image, which is copied into the store, or a [reference](super::reference),
//! which whoever calls has fetched by then.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::choose::{self, Asked, Plat};
use super::contents::{self, Contents, Layout, Source};
use super::local::Local;
use super::reference::Reference;
use super::urunc;
use crate::error::{Context as _, Error, Kind, Result};
use crate::image::tarball::Limits;
use crate::machine::{Arch, Digest, ImageOrigin};
use crate::store::{Blobs, RootfsCache, Target};

/// Finds what a reference stands for in the store, or fetches it.
pub type Fetch<'a> = dyn Fn(&Reference) -> Result<Target> + 'a;

/// What an image comes to. The files are there as long as the cache is held in which they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The image's name in full.
    pub name: String,
    /// The manifest that was chosen.
    pub manifest: Digest,
    /// The kernel's file.
    pub kernel: PathBuf,
    /// The root file system: a RAM disk.
    pub rootfs: Option<PathBuf>,
    /// The kernel's architecture, if we know it.
    pub arch: Option<Arch>,
    /// What the command begins with.
    pub entrypoint: Vec<String>,
    /// The rest of the command.
    pub command: Vec<String>,
    /// The guest's environment.
    pub env: BTreeMap<String, String>,
    /// The directory that the command starts in, if it is another than the root.
    pub directory: Option<String>,
    /// The image's labels, without what is for urunc.
    pub labels: BTreeMap<String, String>,
    /// What was chosen and why, a line each.
    pub notes: Vec<String>,
}

/// Whether this is the name of an image that is a file here.
pub fn is_local(name: &str) -> bool {
    Local::parse(name).is_some()
}

/// Resolves a name. What is unpacked is in the cache.
///
/// # Errors
/// When there is no such image ([`Kind::NotFound`]), nothing in it is for what is asked, or it cannot be run here.
pub fn resolve(name: &str, asked: &Asked, blobs: &Blobs, cache: &RootfsCache, fetch: &Fetch<'_>) -> Result<Resolved> {
    let (full, target) = find(name, blobs, cache, fetch)?;
    let of = || format!("image {full}");
    let chosen = choose::choose(&|digest| blobs.open(digest), target.digest, asked).with_context(of)?;
    runs_here(&chosen.variant.plat).with_context(of)?;
    let contents = contents::read(blobs, cache, chosen.variant.manifest).with_context(of)?;
    resolved(full, &chosen.why, contents, cache)
}

/// All files of an image as a RAM disk, whatever it is for and has. It is in the cache.
///
/// # Errors
/// As [`resolve`], but that it need not have a kernel.
pub fn files(
    name: &str,
    asked: &Asked,
    blobs: &Blobs,
    cache: &RootfsCache,
    fetch: &Fetch<'_>,
) -> Result<(ImageOrigin, PathBuf)> {
    let (reference, target) = find(name, blobs, cache, fetch)?;
    let of = || format!("image {reference}");
    let open = |digest| blobs.open(digest);
    let manifest = choose::choose(&open, target.digest, asked).with_context(of)?.variant.manifest;
    let files = Source { open: &open, cache, limits: Limits::OURS }.files(manifest).with_context(of)?;
    let files = files.ok_or_else(|| Error::of(Kind::NotFound, format!("image {reference} has no files")))?;
    Ok((ImageOrigin { reference, manifest }, cache.path(files)))
}

/// An image's name in full, and what that stands for.
fn find(name: &str, blobs: &Blobs, cache: &RootfsCache, fetch: &Fetch<'_>) -> Result<(String, Target)> {
    match Local::parse(name) {
        Some(local) => {
            let imported = local?.import(cache, blobs)?;
            Ok((name.to_owned(), imported.target))
        }
        None => {
            let reference: Reference = name.parse()?;
            Ok((reference.to_string(), fetch(&reference)?))
        }
    }
}

fn runs_here(plat: &Plat) -> Result<()> {
    match plat {
        Plat::Qemu | Plat::Linux => Ok(()),
        Plat::Firecracker | Plat::Xen | Plat::Other(_) => {
            Err(Error::new(format!("it is for {plat}, and kraft runs what is for qemu")))
        }
    }
}

fn resolved(name: String, chosen: &str, contents: Contents, cache: &RootfsCache) -> Result<Resolved> {
    let Contents { says, layout, why, kernel, rootfs, rootfs_is } = contents;
    let Some(kernel) = kernel else {
        return Err(Error::of(Kind::NotFound, format!("image {name} has no kernel: {why}"))
            .with_hint("a container's image needs a kernel beside it: it can be a machine's root file system"));
    };
    let (plat, arch, manifest) = (&says.variant.plat, &says.variant.arch, says.variant.manifest);
    let notes = vec![
        format!("{plat}/{arch}, sha256:{manifest}: {chosen}"),
        match layout {
            Layout::Unikraft => format!("laid out as upstream's kraft does it: {why}"),
            Layout::Urunc => format!("laid out as urunc does it: {why}"),
            Layout::Files => why,
        },
        format!("root file system: {rootfs_is}"),
    ];
    Ok(Resolved {
        name,
        manifest,
        kernel: cache.path(kernel),
        rootfs: rootfs.map(|rootfs| cache.path(rootfs)),
        arch: choose::arch(arch),
        entrypoint: says.entrypoint,
        command: says.command,
        env: says.env,
        directory: says.directory.filter(|directory| directory != "/"),
        labels: says.labels.into_iter().filter(|(key, _)| !key.starts_with(urunc::PREFIX)).collect(),
        notes,
    })
}

#[cfg(test)]
mod tests {
    use super::super::build::tests::{linux, recipe};
    use super::super::build::{Recipe, build};
    use super::super::save;
    use super::*;
    use crate::store::tests::Scratch;

    fn asked(plat: Option<Plat>) -> Asked {
        Asked { plat, arch: Some(Arch::X86_64) }
    }

    fn absent(reference: &Reference) -> Result<Target> {
        Err(Error::of(Kind::NotFound, format!("no {reference}")))
    }

    #[test]
    fn a_name_becomes_files() {
        let s = Scratch::new();
        let built = build(&recipe(&s)).unwrap();
        let dir = s.store.paths().state.join("layout");
        let name = format!("oci:{}:v1", dir.display());
        save::save(&built, &Local::parse(&name).unwrap().unwrap(), "v1").unwrap();
        let (blobs, cache) = (s.store.blobs().unwrap(), s.store.rootfs_cache().unwrap());
        let local = resolve(&name, &asked(None), &blobs, &cache, &absent).unwrap();
        assert_eq!(std::fs::read(&local.kernel).unwrap(), linux());
        assert!(std::fs::read(local.rootfs.as_ref().unwrap()).unwrap().starts_with(b"070701"));
        assert_eq!((local.name.as_str(), local.arch), (name.as_str(), Some(Arch::X86_64)));
        assert_eq!(local.labels, BTreeMap::from([("who".to_owned(), "me".to_owned())]));
        assert!(local.notes[0].ends_with("qemu is the best of 2 for x86_64, which was asked for"), "{:?}", local.notes);
        // The same from the store, by a reference.
        let fetch = |reference: &Reference| {
            assert_eq!(reference.to_string(), "unikraft.org/web:latest");
            save::keep(&built, &blobs)
        };
        let fetched = resolve("web", &asked(None), &blobs, &cache, &fetch).unwrap();
        assert_eq!((fetched.kernel, fetched.manifest), (local.kernel, local.manifest));
        assert_eq!(resolve("web", &asked(None), &blobs, &cache, &absent).unwrap_err().kind(), Kind::NotFound);
        assert!(is_local(&name) && !is_local("web"));
    }

    #[test]
    fn what_cannot_run_here_is_told() {
        let s = Scratch::new();
        let built = build(&Recipe { plat: Plat::Firecracker, ..recipe(&s) }).unwrap();
        let (blobs, cache) = (s.store.blobs().unwrap(), s.store.rootfs_cache().unwrap());
        let fetch = |_: &Reference| save::keep(&built, &blobs);
        for plat in [None, Some(Plat::Firecracker)] {
            let error = resolve("web", &asked(plat), &blobs, &cache, &fetch).unwrap_err().to_string();
            assert_eq!(error, "image unikraft.org/web:latest: it is for fc, and kraft runs what is for qemu");
        }
        let error = resolve("web", &asked(Some(Plat::Qemu)), &blobs, &cache, &fetch).unwrap_err().to_string();
        assert!(error.contains("has nothing for qemu/x86_64: it is for fc/x86_64"), "{error}");
    }
}
