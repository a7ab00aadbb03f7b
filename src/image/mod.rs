//! The files that a guest is made of, and what can be told by looking at them: [kernels](kernel), those of
//! [Unikraft](unikraft) in particular, [programs for Linux](binary) that a kernel loads, [RAM disks](initrd), the
//! [root file systems](rootfs) that are made into such, and the [images](oci) in which they are passed around; and how a
//! machine has [its own](own).

pub mod binary;
pub mod cpio;
pub mod directory;
mod elf;
pub mod extend;
pub mod initrd;
pub mod kernel;
pub mod oci;
pub mod own;
pub mod rootfs;
pub mod tarball;
pub mod tree;
pub mod unikraft;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::error::{Context as _, Error, Kind, Result};

/// Opens a regular file that is not empty. `what` is the word for it in messages: kernel, rootfs.
fn open(what: &str, path: &Path) -> Result<File> {
    let shown = path.display();
    // Without O_NONBLOCK, opening a FIFO waits for a writer.
    let opened = OpenOptions::new().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32).open(path);
    let file = match opened {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::of(Kind::NotFound, format!("{what} not found: {shown}")));
        }
        opened => opened.with_context(|| format!("cannot read {what} {shown}"))?,
    };
    let metadata = file.metadata().with_context(|| format!("cannot read {what} {shown}"))?;
    if metadata.is_dir() {
        return Err(Error::new(format!("{what} {shown} is a directory")));
    }
    if !metadata.is_file() {
        return Err(Error::new(format!("{what} {shown} is not a regular file")));
    }
    if metadata.len() == 0 {
        return Err(Error::new(format!("{what} {shown} is empty")));
    }
    Ok(file)
}
