//! A directory as a [`Tree`].
//!
//! Names are only ever looked up without following a link, so that nothing outside the directory is read. It is gone
//! through twice: a survey that lists, counts the names of each file and takes a fingerprint, and the visit, which must
//! find the same. At any time the names of the directories on the way to one file are in memory, and no content.
//!
//! A mount point in it is an empty directory, whatever is mounted there, and sockets are left out; both are told.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Statx, StatxAttributes, StatxFlags, openat, openat2,
    readlinkat, statx,
};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::cpio::check_name;
use super::tree::{Content, Kind, Meta, Same, Tree, Visitor, show};
use crate::error::{Context as _, Error, IntoError as _, Result};
use crate::machine::Digest;

/// A directory that was looked through.
#[derive(Debug)]
pub struct Directory {
    root: OwnedFd,
    path: PathBuf,
    survey: Survey,
}

/// What a walk finds, but for the files themselves.
#[derive(Debug, Default)]
struct Survey {
    fingerprint: Sha256,
    /// The latest change of any file, in nanoseconds since 1970.
    newest: i128,
    /// How many names in the tree a file has, if it may be more than one.
    names: HashMap<(u64, u64), u32>,
}

impl Directory {
    /// Looks through a directory.
    ///
    /// # Errors
    /// When it cannot be read, or has a file that no archive can carry.
    pub fn survey(path: &Path) -> Result<Self> {
        let root = File::open(path).with_context(|| format!("cannot read rootfs {}", path.display()))?.into();
        let mut directory = Self { root, path: path.to_path_buf(), survey: Survey::default() };
        let mut survey = Survey::default();
        let mut walk = Walk::new(&directory.root).map_err(|e| directory.within(e))?;
        while walk.next().map_err(|e| directory.within(e))? {
            let Some(kind) = survey.note(&walk) else {
                log::warn!("{}: the socket {} is left out", path.display(), show(&walk.path));
                continue;
            };
            check_name(&walk.path).map_err(|e| directory.within(e))?;
            if kind == Kind::Directory && walk.is_mount_point {
                log::warn!("{}: {} is a mount point and becomes an empty directory", path.display(), show(&walk.path));
            }
        }
        directory.survey = survey;
        Ok(directory)
    }

    /// Changes whenever a file in it changes, comes or goes.
    pub fn fingerprint(&self) -> Digest {
        self.survey.digest()
    }

    /// When a file in it was changed last, in nanoseconds since 1970.
    pub fn newest(&self) -> i128 {
        self.survey.newest
    }

    fn within(&self, error: Error) -> Error {
        error.context(format!("cannot pack rootfs {}", self.path.display()))
    }
}

impl Tree for Directory {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        let mut seen = Survey::default();
        let mut walk = Walk::new(&self.root).map_err(|e| self.within(e))?;
        while walk.next().map_err(|e| self.within(e))? {
            let Some(kind) = seen.note(&walk) else { continue };
            let Some(stat) = &walk.stat else { continue };
            let meta = Meta {
                path: std::mem::take(&mut walk.path),
                kind,
                permissions: u32::from(stat.stx_mode) & 0o7777,
                uid: stat.stx_uid,
                gid: stat.stx_gid,
                mtime: stat.stx_mtime.tv_sec,
                size: if kind == Kind::File { stat.stx_size } else { 0 },
                device: match kind {
                    Kind::Character | Kind::Block => (stat.stx_rdev_major, stat.stx_rdev_minor),
                    Kind::Directory | Kind::File | Kind::Symlink | Kind::Fifo => (0, 0),
                },
                same: self.survey.names.get(&id(stat)).map(|&names| Same { id: id(stat), names }),
            };
            let dir = walk.stack.last().and_then(|level| level.open.as_ref()).map(AsFd::as_fd);
            let outcome = visitor(&meta, &Here { dir, name: &walk.name, stat }).map_err(|e| self.within(e));
            walk.path = meta.path;
            outcome?;
        }
        if seen.digest() == self.survey.digest() {
            Ok(())
        } else {
            Err(self.within(Error::new("it changed meanwhile")))
        }
    }
}

impl Survey {
    /// Takes the present file in; `None` if it is none that an archive has.
    fn note(&mut self, walk: &Walk<'_>) -> Option<Kind> {
        let stat = walk.stat.as_ref()?;
        let kind = match FileType::from_raw_mode(stat.stx_mode.into()) {
            FileType::Directory => Kind::Directory,
            FileType::RegularFile => Kind::File,
            FileType::Symlink => Kind::Symlink,
            FileType::CharacterDevice => Kind::Character,
            FileType::BlockDevice => Kind::Block,
            FileType::Fifo => Kind::Fifo,
            FileType::Socket | FileType::Unknown => return None,
        };
        self.fingerprint.update(&walk.path);
        self.fingerprint.update([0, u8::from(walk.is_mount_point)]);
        let words = [
            u64::from(stat.stx_mode),
            u64::from(stat.stx_uid) << 32 | u64::from(stat.stx_gid),
            stat.stx_size,
            stat.stx_mtime.tv_sec.cast_unsigned(),
            stat.stx_ctime.tv_sec.cast_unsigned(),
            u64::from(stat.stx_mtime.tv_nsec) << 32 | u64::from(stat.stx_ctime.tv_nsec),
            u64::from(stat.stx_rdev_major) << 32 | u64::from(stat.stx_rdev_minor),
            id(stat).0,
            id(stat).1,
        ];
        for word in words {
            self.fingerprint.update(word.to_le_bytes());
        }
        let changed = i128::from(stat.stx_ctime.tv_sec) * 1_000_000_000 + i128::from(stat.stx_ctime.tv_nsec);
        self.newest = self.newest.max(changed);
        if kind != Kind::Directory && stat.stx_nlink > 1 {
            *self.names.entry(id(stat)).or_default() += 1;
        }
        Some(kind)
    }

    fn digest(&self) -> Digest {
        Digest::from_bytes(self.fingerprint.clone().finalize().into())
    }
}

fn id(stat: &Statx) -> (u64, u64) {
    (u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor), stat.stx_ino)
}

/// The way through a directory, in order.
#[derive(Debug)]
struct Walk<'a> {
    root: &'a OwnedFd,
    /// The directories on the way; the last alone is open, however deep it is.
    stack: Vec<Level>,
    /// The present file: its name from the root, its last part, what it is.
    path: Vec<u8>,
    name: CString,
    stat: Option<Statx>,
    is_mount_point: bool,
}

#[derive(Debug)]
struct Level {
    /// How much of the path is this directory's.
    length: usize,
    open: Option<OwnedFd>,
    names: std::vec::IntoIter<CString>,
    device: (u32, u32),
}

impl<'a> Walk<'a> {
    fn new(root: &'a OwnedFd) -> Result<Self> {
        let mut walk = Self {
            root,
            stack: Vec::new(),
            path: Vec::new(),
            name: CString::default(),
            stat: None,
            is_mount_point: false,
        };
        let stat = statx(root, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).context("cannot look at it")?;
        walk.enter(&stat).map_err(unreadable).context("cannot list it")?;
        Ok(walk)
    }

    /// Goes to the next file; false at the end.
    fn next(&mut self) -> Result<bool> {
        while let Some(level) = self.stack.last_mut() {
            let Some(name) = level.names.next() else {
                self.stack.pop();
                continue;
            };
            self.path.truncate(level.length);
            if level.open.is_none() {
                level.open = Some(open_directory(self.root, &self.path).with_context(|| cannot(&self.path))?);
            }
            if level.length > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.as_bytes());
            self.name = name;
            let (device, dir) = (level.device, level.open.as_ref());
            let stat = dir.map(|dir| {
                let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
                statx(dir, &self.name, flags, StatxFlags::BASIC_STATS)
            });
            let Some(stat) = stat.transpose().with_context(|| cannot(&self.path))? else { continue };
            self.is_mount_point = if stat.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) {
                stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
            } else {
                (stat.stx_dev_major, stat.stx_dev_minor) != device
            };
            let is_directory = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Directory;
            if is_directory && !self.is_mount_point {
                self.enter(&stat).map_err(unreadable).with_context(|| cannot(&self.path))?;
            }
            self.stat = Some(stat);
            return Ok(true);
        }
        Ok(false)
    }

    /// Lists the directory at the present path.
    fn enter(&mut self, stat: &Statx) -> rustix::io::Result<()> {
        let open = open_directory(self.root, &self.path)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&open)? {
            let entry = entry?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        if let Some(above) = self.stack.last_mut() {
            above.open = None;
        }
        let device = (stat.stx_dev_major, stat.stx_dev_minor);
        self.stack.push(Level { length: self.path.len(), open: Some(open), names: names.into_iter(), device });
        Ok(())
    }
}

/// The content of the present file.
struct Here<'a> {
    /// The directory that it is in; none for a directory.
    dir: Option<BorrowedFd<'a>>,
    name: &'a CStr,
    stat: &'a Statx,
}

impl Content for Here<'_> {
    fn data(&self) -> Result<Box<dyn Read + '_>> {
        let dir = self.dir.ok_or_else(|| Error::new("it is a directory"))?;
        // Without O_NONBLOCK, opening a pipe that took the file's place waits for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = openat(dir, self.name, flags, Mode::empty()).map_err(unreadable)?;
        let data = Data { file: file.into(), stat: self.stat };
        data.is_unchanged().context("cannot look at it")?;
        Ok(Box::new(data))
    }

    fn target(&self) -> Result<Vec<u8>> {
        let dir = self.dir.ok_or_else(|| Error::new("it is a directory"))?;
        Ok(readlinkat(dir, self.name, Vec::new()).context("cannot read the link")?.into_bytes())
    }
}

/// A file's data; its end is reached only if the file is still what it was.
struct Data<'a> {
    file: File,
    stat: &'a Statx,
}

impl Data<'_> {
    fn is_unchanged(&self) -> std::io::Result<()> {
        let now = statx(&self.file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
        let of = |stat: &Statx| {
            let (mtime, ctime) = (stat.stx_mtime, stat.stx_ctime);
            (id(stat), stat.stx_mode, stat.stx_size, mtime.tv_sec, mtime.tv_nsec, ctime.tv_sec, ctime.tv_nsec)
        };
        if of(&now) == of(self.stat) { Ok(()) } else { Err(std::io::Error::other("it changed while it was read")) }
    }
}

impl Read for Data<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        if read == 0 && !buffer.is_empty() {
            self.is_unchanged()?;
        }
        Ok(read)
    }
}

fn unreadable(errno: Errno) -> Error {
    let error = errno.into_error();
    match errno {
        Errno::ACCESS | Errno::PERM => {
            Error::new(error.to_string()).with_hint("whoever packs a directory must be able to read all of it")
        }
        _ => error,
    }
}

fn cannot(path: &[u8]) -> String {
    format!("cannot read {}", show(path))
}

/// Opens a directory of the tree without following any link on the way.
fn open_directory(root: &OwnedFd, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let path = if path.is_empty() { b".".as_slice() } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    openat2(root, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}
