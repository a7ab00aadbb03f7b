//! `ld.so.cache`: where ld.so finds a library by its name, as ldconfig(8) wrote it down.
//!
//! The format is that of glibc's `sysdeps/generic/dl-cache.h`; numbers are the writer's, here little-endian:
//!
//! ```text
//! "ld.so-1.7.0\0" count u32, count x { flags i32, name u32, path u32 }     until 2.32, perhaps in front of the other
//! "glibc-ld.so.cache" "1.1" count u32, strings u32, 20 bytes               at a multiple of 8
//!     count x { flags i32, name u32, path u32, os u32, hwcap u64 }         offsets from the 'g' on
//! ```

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use crate::machine::Arch;

const OLD: &[u8] = b"ld.so-1.7.0\0";
const OLD_HEAD: usize = 16;
const OLD_ENTRY: usize = 12;
const NEW: &[u8] = b"glibc-ld.so.cache1.1";
const HEAD: usize = 48;
const ENTRY: usize = 24;
/// More than any path has.
const TEXT: usize = 4096;
/// A library for glibc.
const LIBC6: u32 = 3;

/// A cache that was looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cache<'a> {
    /// From the newer format's first byte on.
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Cache<'a> {
    /// Looks at a cache. Nothing is known from one of another format, or of another byte order.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let start = match bytes.strip_prefix(OLD) {
            Some(rest) => {
                let count = number(rest, 0)? as usize;
                OLD_HEAD.checked_add(count.checked_mul(OLD_ENTRY)?)?.checked_next_multiple_of(8)?
            }
            None => 0,
        };
        let bytes = bytes.get(start..)?;
        if !bytes.starts_with(NEW) || !matches!(bytes.get(28)? & 3, 0 | 2) {
            return None;
        }
        let claimed = number(bytes, 20)? as usize;
        Some(Self { bytes, count: claimed.min(bytes.len().saturating_sub(HEAD) / ENTRY) })
    }

    /// Where libraries of this name are: the one for every processor of the architecture first, then those that are for
    /// some of them alone.
    pub(super) fn find(self, name: &[u8], arch: Arch) -> Vec<PathBuf> {
        let flags = LIBC6
            | match arch {
                Arch::X86_64 => 0x300,
                Arch::Arm64 => 0xa00,
            };
        let mut found: Vec<(bool, PathBuf)> = (0..self.count)
            .filter_map(|index| {
                let entry = self.bytes.get(HEAD + index * ENTRY..)?.get(..ENTRY)?;
                if number(entry, 0)? != flags || self.text(number(entry, 4)?)? != name {
                    return None;
                }
                let path = PathBuf::from(OsString::from_vec(self.text(number(entry, 8)?)?.to_vec()));
                path.is_absolute().then(|| (entry[16..].iter().any(|byte| *byte != 0), path))
            })
            .collect();
        found.sort_by_key(|(special, _)| *special);
        found.into_iter().map(|(_, path)| path).collect()
    }

    fn text(self, at: u32) -> Option<&'a [u8]> {
        let rest = self.bytes.get(at as usize..)?;
        let rest = &rest[..rest.len().min(TEXT)];
        Some(&rest[..memchr::memchr(0, rest)?])
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}
