//! A directory with everything in it that is hard to pack, and what is compared of two directories.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{CWD, FileType, Mode, Timespec, Timestamps, mknodat, utimensat};

/// Makes the directory.
pub fn make(dir: &Path) {
    let at = |name: &str| dir.join(name);
    fs::create_dir_all(at("a/b/c")).unwrap();
    fs::create_dir(at("empty")).unwrap();
    fs::write(at("a/b/file"), "data\n").unwrap();
    fs::write(at("none"), "").unwrap();
    // Three names of one file in two directories, two of an empty one.
    fs::hard_link(at("a/b/file"), at("a.link")).unwrap();
    fs::hard_link(at("a/b/file"), at("z")).unwrap();
    fs::hard_link(at("none"), at("none.link")).unwrap();
    for (name, target) in [
        ("out", "../../../etc/passwd"),
        ("absolute", "/etc/shadow"),
        ("self", "self"),
        ("ping", "pong"),
        ("pong", "ping"),
        ("a/up", ".."),
        ("dangling", "no/such"),
        ("odd", "new\nline \"quote\" 'quote' "),
    ] {
        symlink(target, at(name)).unwrap();
    }
    symlink("t".repeat(4095), at("long")).unwrap();
    for name in [b"new\nline".as_slice(), b"\"double\" 'single'", b"com,ma", b"\xff\xfe\x80", b" ", b"-", b"..."] {
        fs::write(dir.join(OsStr::from_bytes(name)), name).unwrap();
    }
    // A path of 300 bytes.
    let long = "n".repeat(255);
    fs::create_dir(at(&long)).unwrap();
    fs::write(at(&long).join("x".repeat(44)), "300").unwrap();
    let mut sparse = File::create(at("sparse")).unwrap();
    sparse.seek(SeekFrom::Start(3 << 20)).unwrap();
    sparse.write_all(b"end").unwrap();
    sparse.set_len(5 << 20).unwrap();
    for (name, mode) in [("a/b/file", 0o4751), ("com,ma", 0o600), ("empty", 0o1777), ("-", 0o644), ("a/b", 0o2755)] {
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    mknodat(CWD, at("pipe"), FileType::Fifo, Mode::from_raw_mode(0o620), 0).unwrap();
    let node = |name, kind, major, minor| {
        mknodat(CWD, at(name), kind, Mode::from_raw_mode(0o660), rustix::fs::makedev(major, minor)).unwrap();
    };
    node("char", FileType::CharacterDevice, 1, 3);
    node("block", FileType::BlockDevice, 259, 70_000);
    std::os::unix::fs::lchown(at("a/b/file"), Some(1000), Some(1001)).unwrap();
    std::os::unix::fs::lchown(at("out"), Some(70_000), Some(4_000_000_000)).unwrap();
    // chown takes such bits away.
    fs::set_permissions(at("a/b/file"), fs::Permissions::from_mode(0o4751)).unwrap();
    settle(dir);
}

/// Makes a file whose path has 4092 bytes.
pub fn make_deep(dir: &Path) {
    let letters = "m".repeat(4092);
    let mut fd = File::open(dir).unwrap();
    let mut rest = letters.as_str();
    while rest.len() > 200 {
        // With its '/', a part takes 201 bytes.
        let name = &rest[..200];
        rustix::fs::mkdirat(&fd, name, Mode::from_raw_mode(0o755)).unwrap();
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::RDONLY;
        fd = rustix::fs::openat(&fd, name, flags, Mode::empty()).unwrap().into();
        rest = &rest[201..];
    }
    let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    let file = rustix::fs::openat(&fd, rest, flags, Mode::from_raw_mode(0o644)).unwrap();
    File::from(file).write_all(b"deep").unwrap();
}

/// Gives every file a time of its own, from the bottom up, so that no making of a file disturbs it.
fn settle(dir: &Path) {
    let mut all = Vec::new();
    walk(dir, Path::new(""), &mut |path, _| all.push(path.to_path_buf()));
    for (number, path) in all.iter().enumerate().rev() {
        // The path of the deepest is too long to be named at once.
        if path.as_os_str().len() > 3000 {
            continue;
        }
        let time = Timespec { tv_sec: 1_000_000_000 + number as i64, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, dir.join(path), &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

/// All that is compared of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    kind: char,
    mode: u32,
    owner: (u32, u32),
    links: u64,
    device: u64,
    /// Of files; `cpio -i` does not restore that of links, and changes directories after it set theirs.
    mtime: Option<i64>,
    target: Option<PathBuf>,
    content: Option<Vec<u8>>,
}

/// What is in a directory, but for sockets.
pub fn look(dir: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut seen = BTreeMap::new();
    walk(dir, Path::new(""), &mut |path, metadata| {
        let kind = metadata.file_type();
        if kind.is_socket() || path.as_os_str().len() > 3000 {
            return;
        }
        let full = dir.join(path);
        let letter = match () {
            () if kind.is_dir() => 'd',
            () if kind.is_symlink() => 'l',
            () if kind.is_file() => 'f',
            () if kind.is_fifo() => 'p',
            () if kind.is_char_device() => 'c',
            () => 'b',
        };
        let what = Seen {
            kind: letter,
            mode: metadata.mode() & 0o7777,
            owner: (metadata.uid(), metadata.gid()),
            links: if kind.is_dir() { 0 } else { metadata.nlink() },
            device: metadata.rdev(),
            mtime: (!kind.is_dir() && !kind.is_symlink()).then(|| metadata.mtime()),
            target: kind.is_symlink().then(|| fs::read_link(&full).unwrap()),
            content: kind.is_file().then(|| fs::read(&full).unwrap()),
        };
        seen.insert(path.to_path_buf(), what);
    });
    seen
}

fn walk(dir: &Path, below: &Path, visit: &mut dyn FnMut(&Path, &fs::Metadata)) {
    let mut names: Vec<_> = fs::read_dir(dir.join(below)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    for name in names {
        let path = below.join(name);
        let metadata = fs::symlink_metadata(dir.join(&path)).unwrap();
        visit(&path, &metadata);
        if metadata.is_dir() && path.as_os_str().len() < 3000 {
            walk(dir, &path, visit);
        }
    }
}

/// Unpacks an archive by cpio into a new directory.
pub fn unpack(archive: &Path, into: &Path) {
    fs::create_dir_all(into).unwrap();
    let mut cpio = Command::new("cpio");
    cpio.args(["-idm", "--quiet", "--preserve-modification-time"]).current_dir(into);
    let output = cpio.stdin(File::open(archive).unwrap()).stdout(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "cpio: {said}");
}
