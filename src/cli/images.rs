//! The images that machines are made of: fetched when they are not there, and held until the machine has what is in them.

use std::cell::OnceCell;
use std::path::PathBuf;

use super::app::App;
use super::pkg::progress::Progress;
use crate::error::Result;
use crate::image::oci::choose::Asked;
use crate::image::oci::pull::{self, Policy};
use crate::image::oci::reference::Reference;
use crate::image::oci::resolve::{self, Resolved};
use crate::machine::{Arch, ImageOrigin};
use crate::store::{Blobs, RootfsCache, Target};

/// The images of a scope. Nothing is opened before one is asked for.
#[derive(Debug)]
pub(crate) struct Images<'a> {
    app: &'a App,
    policy: Policy,
    quiet: bool,
    held: OnceCell<HeldImages>,
}

/// Keeps images, and what was taken out of them, from being removed.
#[derive(Debug)]
pub(crate) struct HeldImages {
    blobs: Blobs,
    cache: RootfsCache,
}

impl<'a> Images<'a> {
    pub(crate) fn new(app: &'a App, policy: Policy, quiet: bool) -> Self {
        Self { app, policy, quiet, held: OnceCell::new() }
    }

    /// What is in an image.
    pub(crate) fn resolve(&self, name: &str, arch: Option<Arch>) -> Result<Resolved> {
        self.resolve_by(self.policy, name, arch)
    }

    /// Whether the store has something by this name.
    pub(crate) fn has(&self, name: &Reference) -> Result<bool> {
        pull::target(&self.held()?.blobs, name).map(|target| target.is_some())
    }

    /// The same as [`resolve`](Self::resolve), by another policy.
    pub(crate) fn resolve_by(&self, policy: Policy, name: &str, arch: Option<Arch>) -> Result<Resolved> {
        let HeldImages { blobs, cache } = self.held()?;
        let asked = Asked { plat: None, arch };
        resolve::resolve(name, &asked, blobs, cache, &|reference| self.fetch(policy, blobs, reference, &asked))
    }

    /// All files of an image, as a RAM disk.
    pub(crate) fn files(&self, policy: Policy, name: &str, arch: Arch) -> Result<(ImageOrigin, PathBuf)> {
        let HeldImages { blobs, cache } = self.held()?;
        let asked = Asked { plat: None, arch: Some(arch) };
        resolve::files(name, &asked, blobs, cache, &|reference| self.fetch(policy, blobs, reference, &asked))
    }

    fn fetch(&self, policy: Policy, blobs: &Blobs, reference: &Reference, asked: &Asked) -> Result<Target> {
        let progress = Progress::new(self.quiet);
        let watch = |digest, step| progress.show(digest, step);
        pull::ensure(blobs, reference, policy, asked, &watch).map(|pulled| pulled.root)
    }

    /// Lets go of them when that is dropped.
    pub(crate) fn into_held(self) -> Option<HeldImages> {
        self.held.into_inner()
    }

    fn held(&self) -> Result<&HeldImages> {
        if self.held.get().is_none() {
            let held = HeldImages { blobs: self.app.store.blobs()?, cache: self.app.store.rootfs_cache()? };
            let _ = self.held.set(held);
        }
        self.held.get().ok_or_else(|| crate::error::Error::new("images are opened twice at once"))
    }
}
