//! What an initial RAM disk may be: a cpio archive in the `newc` format, as it is or compressed.
//!
//! What could be turned into one (a directory, a Dockerfile, a tar archive) is refused with the command that does it.

use std::fmt;
use std::io::Read as _;
use std::path::Path;

use crate::error::{Context as _, Error, Kind, Result};

/// Enough to see a tar archive's magic.
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
    if path.is_dir() {
        return Err(Error::new(format!("initrd {shown} is a directory, not a cpio archive")).with_hint(pack(path)));
    }
    let mut head = Vec::new();
    super::open("initrd", path)?
        .take(HEAD)
        .read_to_end(&mut head)
        .with_context(|| format!("cannot read initrd {shown}"))?;
    parse(&head, path)
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
    let bad = |what: &str| Error::of(Kind::Failed, format!("initrd {} {what}", path.display()));
    if head.get(257..262) == Some(b"ustar") {
        return Err(bad("is a tar archive, not a cpio archive")
            .with_hint(format!("`mkdir rootfs && tar -C rootfs -xf {}`, then `{PACK}`", path.display())));
    }
    if head.starts_with(b"070707") || head.starts_with(b"\xc7\x71") || head.starts_with(b"\x71\xc7") {
        return Err(bad("is a cpio archive of an old format").with_hint("`cpio -o -H newc` makes the right one"));
    }
    if is_dockerfile(head, path) {
        return Err(bad("is a Dockerfile, not a cpio archive")
            .with_hint(format!("`docker build -o rootfs -f {} .`, then `{PACK}`", path.display())));
    }
    Err(bad("is not a cpio archive").with_hint(format!("`{PACK}` makes one of the directory rootfs")))
}

const PACK: &str = "(cd rootfs && find . | cpio -o -H newc) > rootfs.cpio";

fn pack(dir: &Path) -> String {
    format!("`(cd {} && find . | cpio -o -H newc) > rootfs.cpio` makes one of it", dir.display())
}

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
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        for (head, name, what) in [
            (tar.as_slice(), "r.tar", "is a tar archive"),
            (b"070707", "r", "of an old format"),
            (b"# syntax=docker/dockerfile:1\n\nFROM scratch\n", "file", "is a Dockerfile"),
            (b"COPY . /\n", "Dockerfile", "is a Dockerfile"),
            (b"hello", "r", "is not a cpio archive"),
            (b"", "r", "is not a cpio archive"),
        ] {
            let error = check(head, name).unwrap_err();
            assert!(error.to_string().starts_with(&format!("initrd {name} is ")), "{error}");
            assert!(error.to_string().contains(what), "{error}");
            assert!(error.hint().unwrap().contains("cpio"), "{error:?}");
        }
    }

    #[test]
    fn directories_and_missing_files_are_told() {
        let error = inspect(Path::new("src")).unwrap_err();
        assert_eq!(error.to_string(), "initrd src is a directory, not a cpio archive");
        assert!(error.hint().unwrap().contains("(cd src && find . | cpio -o -H newc)"));
        let error = inspect(Path::new("./no-such")).unwrap_err();
        assert_eq!(error.to_string(), "initrd not found: ./no-such");
        assert_eq!(error.exit_code(), 127);
    }
}
