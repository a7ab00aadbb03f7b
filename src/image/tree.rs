//! A tree of files, wherever it comes from, and how it becomes an archive.
//!
//! [`Tree`] is what a [directory](super::directory) and a [tar archive](super::tarball) have in common: they show their
//! files one after the other, sorted by the bytes of their names, each directory before what is in it. [`pack`] gives
//! inode numbers, joins the names of one file, and writes. The same tree gives the same bytes.

use std::collections::HashMap;
use std::io::{Read, Write};

use super::cpio::{Header, SIZE_LIMIT, TARGET_LIMIT, Writer};
use crate::error::{Context as _, Error, Result};

/// What a file is, but for its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Its name, relative to the tree's root.
    pub path: Vec<u8>,
    /// What sort of file it is.
    pub kind: Kind,
    /// Permissions: twelve bits.
    pub permissions: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: i64,
    /// The size of a regular file's data.
    pub size: u64,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// What all names of one file share, if it has more than this one.
    pub same: Option<Same>,
}

/// One file of several names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Same {
    /// Tells it from others.
    pub id: (u64, u64),
    /// How many names it has in the tree.
    pub names: u32,
}

/// What sort of file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
}

impl Kind {
    fn mode(self) -> u32 {
        match self {
            Self::Directory => 0o040_000,
            Self::File => 0o100_000,
            Self::Symlink => 0o120_000,
            Self::Character => 0o020_000,
            Self::Block => 0o060_000,
            Self::Fifo => 0o010_000,
        }
    }
}

/// The content of the file that is being shown.
pub trait Content {
    /// A regular file's data. Reading it to its end fails when the file changed meanwhile.
    ///
    /// # Errors
    /// When it cannot be read.
    fn data(&self) -> Result<Box<dyn Read + '_>>;

    /// A symbolic link's target.
    ///
    /// # Errors
    /// When it cannot be read.
    fn target(&self) -> Result<Vec<u8>>;
}

/// What is called with each file.
pub type Visitor<'a> = dyn FnMut(&Meta, &dyn Content) -> Result<()> + 'a;

/// Files to pack.
pub trait Tree {
    /// Shows every file but the root.
    ///
    /// # Errors
    /// The visitor's, and when a file cannot be read.
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()>;
}

impl<T: Tree + ?Sized> Tree for &T {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        (**self).visit(visitor)
    }
}

/// How the names of one file are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HardLinks {
    /// As names of one file; the last of them has the data, as `cpio -o` writes it.
    Kept,
    /// As files of their own, each with the data: for kernels that take no notice of links.
    Copied,
}

/// How a tree is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packing {
    /// What becomes of hard links.
    pub links: HardLinks,
    /// The latest time that a file is said to be changed, in seconds since 1970 (`SOURCE_DATE_EPOCH`).
    pub latest: Option<i64>,
}

/// Writes a tree as a CPIO archive.
///
/// # Errors
/// When a file cannot be read or changes meanwhile, when the format cannot carry it, or when the archive cannot be
/// written.
pub fn pack<W: Write>(tree: &dyn Tree, packing: Packing, out: W) -> Result<W> {
    let mut packer = Packer {
        writer: Writer::new(out),
        packing,
        inodes: 0,
        seen: HashMap::new(),
        buffer: vec![0; BUFFER].into_boxed_slice(),
    };
    tree.visit(&mut |meta, content| packer.add(meta, content))?;
    packer.writer.finish()
}

const BUFFER: usize = 128 << 10;

struct Packer<W> {
    writer: Writer<W>,
    packing: Packing,
    inodes: u32,
    /// The inode number of what has several names, and how many of these are still to come.
    seen: HashMap<(u64, u64), (u32, u32)>,
    buffer: Box<[u8]>,
}

impl<W: Write> Packer<W> {
    fn add(&mut self, meta: &Meta, content: &dyn Content) -> Result<()> {
        let (inode, links, is_last) = self.identity(meta)?;
        let header = Header {
            inode,
            mode: meta.kind.mode() | meta.permissions & 0o7777,
            uid: meta.uid,
            gid: meta.gid,
            links,
            mtime: self.mtime(meta),
            device: meta.device,
        };
        match meta.kind {
            Kind::File if meta.size > SIZE_LIMIT => self.writer.begin(&meta.path, &header, meta.size),
            Kind::File if is_last => {
                self.writer.begin(&meta.path, &header, meta.size)?;
                self.copy(meta, content)
            }
            Kind::Symlink => {
                let target = content.target().with_context(|| cannot_pack(meta))?;
                let cannot = |why: String| Error::new(why).context(cannot_pack(meta));
                if target.is_empty() || target.len() > TARGET_LIMIT {
                    return Err(cannot(format!("a link's target has 1 to {TARGET_LIMIT} bytes, not {}", target.len())));
                }
                if target.contains(&0) {
                    return Err(cannot("its target holds a NUL".into()));
                }
                self.writer.begin(&meta.path, &header, target.len() as u64)?;
                self.writer.write_all(&target).context("cannot write the archive")
            }
            Kind::File | Kind::Directory | Kind::Character | Kind::Block | Kind::Fifo => {
                self.writer.begin(&meta.path, &header, 0)
            }
        }
    }

    /// The inode number, the number of links, and whether this is the name that has the data.
    fn identity(&mut self, meta: &Meta) -> Result<(u32, u32, bool)> {
        let same = match (meta.kind, self.packing.links) {
            // Its own `.` is a directory's second name. Each symbolic link carries its own target.
            (Kind::Directory, _) => return Ok((self.next_inode()?, 2, true)),
            (Kind::Symlink, _) | (_, HardLinks::Copied) => None,
            (_, HardLinks::Kept) => meta.same.filter(|same| same.names > 1),
        };
        let Some(same) = same else { return Ok((self.next_inode()?, 1, true)) };
        let (inode, left) = match self.seen.get(&same.id) {
            Some((inode, left)) => (*inode, left.saturating_sub(1)),
            None => (self.next_inode()?, same.names - 1),
        };
        self.seen.insert(same.id, (inode, left));
        Ok((inode, same.names, left == 0))
    }

    fn next_inode(&mut self) -> Result<u32> {
        self.inodes =
            self.inodes.checked_add(1).ok_or_else(|| Error::new("a cpio archive has at most 2^32-1 files"))?;
        Ok(self.inodes)
    }

    fn mtime(&self, meta: &Meta) -> u32 {
        let mtime = self.packing.latest.map_or(meta.mtime, |latest| meta.mtime.min(latest));
        u32::try_from(mtime).unwrap_or_else(|_| {
            let nearest = if mtime < 0 { 0 } else { u32::MAX };
            log::warn!("{} was changed {mtime} s after 1970, which cpio cannot say: {nearest} is", show(&meta.path));
            nearest
        })
    }

    fn copy(&mut self, meta: &Meta, content: &dyn Content) -> Result<()> {
        let cannot = || cannot_pack(meta);
        let mut data = content.data().with_context(cannot)?;
        let mut left = meta.size;
        while left > 0 {
            let wanted = usize::try_from(left).map_or(BUFFER, |left| left.min(BUFFER));
            let read = read(&mut data, &mut self.buffer[..wanted]).with_context(cannot)?;
            if read == 0 {
                return Err(changed_size().context(cannot()));
            }
            self.writer.write_all(&self.buffer[..read]).context("cannot write the archive")?;
            left -= read as u64;
        }
        match read(&mut data, &mut self.buffer[..1]).with_context(cannot)? {
            0 => Ok(()),
            _ => Err(changed_size().context(cannot())),
        }
    }
}

fn read(data: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match data.read(buffer) {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn changed_size() -> Error {
    Error::new("its size changed while it was read")
}

fn cannot_pack(meta: &Meta) -> String {
    format!("cannot pack {}", show(&meta.path))
}

/// A name for people: as it is, but for what would break the line.
pub fn show(name: &[u8]) -> String {
    let mut shown = String::with_capacity(name.len());
    for char in String::from_utf8_lossy(name).chars() {
        if char.is_control() { shown.extend(char.escape_default()) } else { shown.push(char) }
    }
    shown
}

#[cfg(test)]
pub(super) mod tests;
