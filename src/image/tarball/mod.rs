//! A tar archive as a [`Tree`]: all of its headers are read first, then its files are shown in order, wherever they are.
//!
//! Nothing is ever unpacked. A leading `/` or `./` means nothing, as the archive's root is the guest's. What other
//! programs would have to guess is refused: `..` in a name, a name that goes through something that is no directory, a
//! file that comes twice, a link to what is not there. A directory may come twice and is what was said last; one that is
//! only implied belongs to root.

mod layers;
mod reader;
mod sparse;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt as _;

use tar::EntryType;

use super::cpio::{check_length, check_name};
use super::tree::{Content, Kind, Meta, Same, Tree, Visitor, show};
use crate::error::{Context as _, Error, Result};
use reader::{Raw, Reader};
pub(super) use sparse::Stored;
use sparse::{Holey, Piece};

pub use layers::{Layers, Limits};
pub(super) use reader::is_header as is_tar_header;

/// An archive whose headers were read.
#[derive(Debug)]
pub struct Tarball {
    file: File,
    stamp: Stamp,
    members: BTreeMap<Name, Member>,
    /// How many names a file has, by its number.
    names: Vec<u32>,
}

/// A path with NUL in the place of `/`: then the order of bytes is that of a tree, `a/b` before `a.b`.
type Name = Vec<u8>;

/// Changes when the file does.
type Stamp = (u64, i64, i64, i64, i64);

#[derive(Debug, Clone)]
struct Member {
    meta: Meta,
    body: Body,
    /// Of the file; names of one file have the same.
    number: usize,
}

#[derive(Debug, Clone)]
enum Body {
    None,
    Target(Vec<u8>),
    At(u64),
    Sparse(u64, std::rc::Rc<[Piece]>),
}

impl Tarball {
    /// Reads all headers of an archive that is not compressed.
    ///
    /// # Errors
    /// When it cannot be read, is cut off, or holds what would have to be guessed.
    pub fn index(file: File) -> Result<Self> {
        let stamp = stamp(&file)?;
        let mut tarball = Self { file, stamp, members: BTreeMap::new(), names: Vec::new() };
        let mut members = Reader::new(&tarball.file)?;
        while let Some(raw) = members.next()? {
            let path = raw.path.clone();
            // Before it is kept, as a name may have a megabyte.
            check_length(&path)?;
            insert(&mut tarball.members, &mut tarball.names, raw).with_context(|| show(&path))?;
        }
        tarball.check()?;
        Ok(tarball)
    }

    /// Checks that an archive can have every name, and that every file is in a directory.
    fn check(&self) -> Result<()> {
        for (name, member) in &self.members {
            check_name(&member.meta.path)?;
            let is_directory = |above: &&[u8]| self.members.get(*above).is_none_or(Member::is_directory);
            if let Some(above) = above(name).find(|above| !is_directory(above)) {
                let why = format!("it is in {}, which is not a directory", show(&path(above)));
                return Err(Error::new(why).context(show(&path(name))));
            }
        }
        Ok(())
    }
}

impl Member {
    fn is_directory(&self) -> bool {
        self.meta.kind == Kind::Directory
    }
}

/// The directories that a file is in, the outermost first.
fn above(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    name.iter().enumerate().filter(|(_, byte)| **byte == 0).map(|(at, _)| &name[..at])
}

fn insert(members: &mut BTreeMap<Name, Member>, names: &mut Vec<u32>, raw: Raw) -> Result<()> {
    let Some(name) = name_of(&raw.path)? else {
        return if raw.kind.is_dir() { Ok(()) } else { Err(Error::new("it takes the place of the root")) };
    };
    let member = match raw.kind {
        EntryType::Link => link(members, names, &raw)?,
        _ => own(names, raw)?,
    };
    if members.get(&name).is_some_and(|old| !(old.is_directory() && member.is_directory())) {
        return Err(Error::new("it is in the archive twice"));
    }
    let meta = Meta { path: path(&name), ..member.meta };
    members.insert(name, Member { meta, ..member });
    Ok(())
}

/// A file of its own.
fn own(names: &mut Vec<u32>, raw: Raw) -> Result<Member> {
    let kind = match raw.kind {
        // An old way to say so.
        EntryType::Regular if raw.path.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Char => Kind::Character,
        EntryType::Block => Kind::Block,
        EntryType::Fifo => Kind::Fifo,
        other => {
            let kind = char::from(other.as_byte());
            return Err(Error::new(format!("members of type '{}' are not supported", kind.escape_default())));
        }
    };
    if kind != Kind::File && raw.size != 0 {
        return Err(Error::new("it has data, but is no file"));
    }
    let body = match (kind, raw.pieces) {
        (Kind::File, None) => Body::At(raw.at),
        (Kind::File, Some(pieces)) => Body::Sparse(raw.at, pieces.into()),
        (Kind::Symlink, _) => Body::Target(raw.link),
        (Kind::Directory | Kind::Character | Kind::Block | Kind::Fifo, _) => Body::None,
    };
    names.push(1);
    let meta = Meta {
        path: Vec::new(),
        kind,
        permissions: raw.mode,
        uid: raw.uid,
        gid: raw.gid,
        mtime: raw.mtime,
        size: raw.size,
        device: raw.device,
        same: None,
    };
    Ok(Member { meta, body, number: names.len() - 1 })
}

/// Another name of a file that came before.
fn link(members: &BTreeMap<Name, Member>, names: &mut [u32], raw: &Raw) -> Result<Member> {
    let to = show(&raw.link);
    let target = name_of(&raw.link).with_context(|| format!("it is a hard link to {to}"))?;
    match target.and_then(|target| members.get(&target)) {
        None => Err(Error::new(format!("it is a hard link to {to}, which does not come before it"))),
        Some(target) if target.meta.kind == Kind::Directory => {
            Err(Error::new(format!("it is a hard link to the directory {to}")))
        }
        Some(_) if raw.size != 0 => Err(Error::new("it has data, but is a hard link")),
        Some(target) => {
            names[target.number] += 1;
            Ok(target.clone())
        }
    }
}

/// A name without what means nothing; `None` is the root.
fn name_of(path: &[u8]) -> Result<Option<Name>> {
    if path.contains(&0) {
        return Err(Error::new("the name holds a NUL"));
    }
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    if parts.contains(&b"..".as_slice()) {
        return Err(Error::new("the name leads out by '..'"));
    }
    if path.is_empty() {
        return Err(Error::new("the name is empty"));
    }
    Ok((!parts.is_empty()).then(|| parts.join(&0)))
}

fn path(name: &[u8]) -> Vec<u8> {
    name.iter().map(|byte| if *byte == 0 { b'/' } else { *byte }).collect()
}

fn directory(path: Vec<u8>) -> Meta {
    let kind = Kind::Directory;
    Meta { path, kind, permissions: 0o755, uid: 0, gid: 0, mtime: 0, size: 0, device: (0, 0), same: None }
}

fn stamp(file: &File) -> Result<Stamp> {
    let of = file.metadata().context("cannot look at it")?;
    Ok((of.len(), of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec()))
}

impl Tree for Tarball {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        let mut before: &[u8] = &[];
        for (name, member) in &self.members {
            // Those that are only implied come up here, as one that is deep implies more than there is memory for.
            let is_shown = |above: &[u8]| before.strip_prefix(above).is_some_and(|rest| rest.first() == Some(&0));
            for above in above(name).filter(|above| !self.members.contains_key(*above) && !is_shown(above)) {
                visitor(&directory(path(above)), &Here { file: &self.file, body: &Body::None, size: 0 })?;
            }
            before = name;
            let names = self.names.get(member.number).copied().unwrap_or(1);
            let same = (names > 1).then_some(Same { id: (0, member.number as u64), names });
            let meta = Meta { same, ..member.meta.clone() };
            visitor(&meta, &Here { file: &self.file, body: &member.body, size: meta.size })?;
        }
        if stamp(&self.file)? == self.stamp { Ok(()) } else { Err(Error::new("it changed meanwhile")) }
    }
}

struct Here<'a> {
    file: &'a File,
    body: &'a Body,
    size: u64,
}

impl<'a> Here<'a> {
    fn into_data(self) -> Result<Box<dyn Read + 'a>> {
        let (file, size) = (self.file, self.size);
        match self.body {
            Body::At(at) => Ok(Box::new(Stored { file, at: *at, left: size })),
            Body::Sparse(at, pieces) => {
                let stored = pieces.iter().map(|piece| piece.length).sum();
                Ok(Box::new(Holey { pieces, stored: Stored { file, at: *at, left: stored }, position: 0, size }))
            }
            Body::None | Body::Target(_) => Err(Error::new("it has no data")),
        }
    }
}

impl Content for Here<'_> {
    fn data(&self) -> Result<Box<dyn Read + '_>> {
        Here { ..*self }.into_data()
    }

    fn target(&self) -> Result<Vec<u8>> {
        match self.body {
            Body::Target(target) => Ok(target.clone()),
            Body::None | Body::At(_) | Body::Sparse(..) => Err(Error::new("it is no link")),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
