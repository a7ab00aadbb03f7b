//! Where things are in an image: by what it says of itself, else by what it has.

use std::io::Read as _;

use super::super::documents::{Configuration, Manifest};
use super::super::urunc::{self, Urunc};
use super::{INITRD, INITRD_ANNOTATION, KERNEL, KERNEL_ANNOTATION, Layout};
use crate::error::{Context as _, Error, Result};
use crate::image::tarball::Layers;

/// Where things are in an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) layout: Layout,
    pub(super) why: String,
    pub(super) kernel: Option<String>,
    pub(super) rootfs: Rootfs,
    pub(super) cmdline: Option<String>,
    pub(super) version: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rootfs {
    None,
    /// A RAM disk, which is there.
    File(String),
    /// A RAM disk, if it is there.
    Perhaps(String),
    /// All files of the image but those that start it.
    All,
}

/// What can be told without looking into the layers.
pub(super) fn said(manifest: &Manifest, configuration: &Configuration) -> Result<Option<Plan>> {
    if let Some(urunc) = urunc::read(&urunc::keys(manifest, configuration))? {
        return of_urunc(urunc, "its annotations or labels have urunc's keys").map(Some);
    }
    let annotated = |key: &str| {
        let mut all = manifest.layers.iter().filter_map(|layer| layer.annotation(key));
        all.next_back().map(str::to_owned)
    };
    Ok(annotated(KERNEL_ANNOTATION).map(|kernel| Plan {
        layout: Layout::Unikraft,
        why: format!("a layer is annotated as {KERNEL_ANNOTATION}"),
        kernel: Some(kernel),
        rootfs: annotated(INITRD_ANNOTATION).map_or_else(|| Rootfs::Perhaps(INITRD.to_owned()), Rootfs::File),
        cmdline: None,
        version: None,
    }))
}

/// What the layers have.
pub(super) fn found(layers: &Layers) -> Result<Plan> {
    if let Some((_, file)) = layers.file(urunc::FILE)? {
        let mut bytes = Vec::new();
        file.take(urunc::LIMIT + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {}", urunc::FILE))?;
        if bytes.len() as u64 > urunc::LIMIT {
            return Err(Error::new(format!("{} has more than {} bytes", urunc::FILE, urunc::LIMIT)));
        }
        let keys = urunc::parse(&bytes).with_context(|| urunc::FILE.to_owned())?;
        if let Some(urunc) = urunc::read(&keys).with_context(|| urunc::FILE.to_owned())? {
            return of_urunc(urunc, "it has a urunc.json");
        }
    }
    let is_there = layers.file(KERNEL)?.is_some();
    Ok(if is_there {
        Plan {
            layout: Layout::Unikraft,
            why: format!("it has {KERNEL}"),
            kernel: Some(KERNEL.to_owned()),
            rootfs: Rootfs::Perhaps(INITRD.to_owned()),
            cmdline: None,
            version: None,
        }
    } else {
        Plan {
            layout: Layout::Files,
            why: format!("it has neither {KERNEL} nor urunc's keys"),
            kernel: None,
            rootfs: Rootfs::None,
            cmdline: None,
            version: None,
        }
    })
}

fn of_urunc(urunc: Urunc, why: &str) -> Result<Plan> {
    let rootfs = match (urunc.initrd, urunc.block, urunc.mount_rootfs) {
        (Some(initrd), _, _) => Rootfs::File(initrd),
        (None, Some(block), _) => {
            return Err(Error::new(format!("it wants {block} as a disk, which kraft cannot give to a guest")));
        }
        (None, None, true) => Rootfs::All,
        (None, None, false) => Rootfs::None,
    };
    Ok(Plan {
        layout: Layout::Urunc,
        why: why.to_owned(),
        kernel: Some(urunc.binary),
        rootfs,
        cmdline: urunc.cmdline,
        version: urunc.version,
    })
}
