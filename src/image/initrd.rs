//! What an initial RAM disk may be: a cpio archive in the `newc` format, as it is or compressed.
//!
//! What could be turned into one (a directory, a tar archive) is [rootfs](super::rootfs)'s matter; a Dockerfile is refused
//! with the command that makes a directory of it.

use std::fmt;
use std::io::Read as _;
use std::path::Path;

use crate::error::{Context as _, Error, Kind, Result};

/// Enough to tell what it is, or a Dockerfile by its first instruction.
const HEAD: u64 = 512;

/// How a RAM disk is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A cpio archive; what every kernel reads.
    Cpio,
    /// Compressed by gzip.
    Gzip,
    /// Compressed by zstd.
    Zstd,
    /// Compressed by xz.
    Xz,
    /// Compressed by lz4.
    Lz4,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cpio => "cpio",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Lz4 => "lz4",
        })
    }
}

/// Looks at a RAM disk's file.
///
/// # Errors
/// When it is missing ([`Kind::NotFound`]), cannot be read, or is no RAM disk; with what to do where we know.
pub fn inspect(path: &Path) -> Result<Format> {
    let shown = path.display();
    let mut head = Vec::new();
    super::open("rootfs", path)?
        .take(HEAD)
        .read_to_end(&mut head)
        .with_context(|| format!("cannot read rootfs {shown}"))?;
    parse(&head, path)
}

/// Looks whether a file is still what a machine has as its RAM disk: that, or a program whose loader takes it as such.
///
/// # Errors
/// As [`inspect`].
pub fn check(path: &Path) -> Result<()> {
    inspect(path).map(drop).or_else(|error| if super::binary::Program::is_one(path) { Ok(()) } else { Err(error) })
}

/// Tells what a RAM disk is by its first bytes, 512 of them if there are so many. `path` is for messages.
///
/// # Errors
/// When it is none.
pub fn parse(head: &[u8], path: &Path) -> Result<Format> {
    const MAGICS: [(&[u8], Format); 7] = [
        (b"070701", Format::Cpio),
        (b"070702", Format::Cpio),
        (b"\x1f\x8b", Format::Gzip),
        (b"\x28\xb5\x2f\xfd", Format::Zstd),
        (b"\xfd7zXZ\0", Format::Xz),
        (b"\x04\x22\x4d\x18", Format::Lz4),
        (b"\x02\x21\x4c\x18", Format::Lz4), // the old frame, which Linux wants
    ];
    if let Some((_, format)) = MAGICS.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Ok(*format);
    }
    let bad = |what: &str| Error::of(Kind::Failed, format!("rootfs {} {what}", path.display()));
    if head.starts_with(b"070707") || head.starts_with(b"\xc7\x71") || head.starts_with(b"\x71\xc7") {
        return Err(bad("is a cpio archive of an old format").with_hint("`cpio -o -H newc` makes the right one"));
    }
    if head.starts_with(b"BZh") {
        return Err(bad("is compressed by bzip2, which kraft cannot undo").with_hint("give it uncompressed"));
    }
    if is_dockerfile(head, path) {
        let build = format!("`docker build -o rootfs -f {} .`", path.display());
        return Err(bad("is a Dockerfile, not a root file system")
            .with_hint(format!("{build} makes the directory rootfs of it, which `--rootfs rootfs` takes")));
    }
    Err(bad("is not a cpio archive, nor a tar archive").with_hint(TAKEN))
}

const TAKEN: &str = "a root file system is a directory, a tar archive, or a cpio archive in the newc format";

/// By its name, or by an instruction that most of them begin with.
fn is_dockerfile(head: &[u8], path: &Path) -> bool {
    let named = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("Dockerfile"));
    let text = String::from_utf8_lossy(head);
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    named || first.is_some_and(|line| ["FROM ", "ARG "].iter().any(|word| line.starts_with(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(head: &[u8], name: &str) -> Result<Format> {
        parse(head, Path::new(name))
    }

    #[test]
    fn archives_are_known_by_their_magic() {
        assert_eq!(check(b"070701000", "r").unwrap(), Format::Cpio);
        assert_eq!(check(b"070702000", "r").unwrap(), Format::Cpio);
        assert_eq!(check(b"\x1f\x8b\x08", "r").unwrap(), Format::Gzip);
        assert_eq!(check(b"\x02\x21\x4c\x18", "r").unwrap(), Format::Lz4);
    }

    #[test]
    fn what_is_none_comes_with_the_cure() {
        for (head, name, what, cure) in [
            (b"070707".as_slice(), "r", "of an old format", "cpio -o -H newc"),
            (
                b"# syntax=docker/dockerfile:1\n\nFROM scratch\n",
                "file",
                "is a Dockerfile",
                "docker build -o rootfs -f file .",
            ),
            (b"COPY . /\n", "Dockerfile", "is a Dockerfile", "docker build"),
            (b"BZh9", "r.tar.bz2", "compressed by bzip2", "uncompressed"),
            (b"hello", "r", "is not a cpio archive", "directory"),
            (b"", "r", "is not a cpio archive", "directory"),
        ] {
            let error = check(head, name).unwrap_err();
            assert!(error.to_string().starts_with(&format!("rootfs {name} is ")), "{error}");
            assert!(error.to_string().contains(what), "{error}");
            assert!(error.hint().unwrap().contains(cure), "{error:?}");
        }
    }

    #[test]
    fn directories_and_missing_files_are_told() {
        assert_eq!(inspect(Path::new("src")).unwrap_err().to_string(), "rootfs src is a directory");
        let error = inspect(Path::new("./no-such")).unwrap_err();
        assert_eq!(error.to_string(), "rootfs not found: ./no-such");
        assert_eq!(error.exit_code(), 127);
    }
}
