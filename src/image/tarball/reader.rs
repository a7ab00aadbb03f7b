//! Reads the headers of a tar archive: ustar, GNU's and POSIX's (PAX) extensions, and what was before them.
//!
//! The fields of a header are the `tar` crate's matter. Long names, sizes and maps of sparse files that stand outside
//! of it are put together here, as the crate cannot read a PAX record with a newline in it, nor sparse files in that
//! form. Data is not read, but passed over.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use tar::{EntryType, GnuExtSparseHeader, Header};

use super::sparse::{self, Piece};
use crate::error::{Context as _, Error, Result};
use crate::image::tree::show;

pub(super) const BLOCK: u64 = 512;
/// The most that a name or a set of records may take.
const EXTENSION_LIMIT: u64 = 1 << 20;

/// One member, as the archive has it.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) kind: EntryType,
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: i64,
    pub(super) device: (u32, u32),
    /// The size of what is extracted.
    pub(super) size: u64,
    /// Where its data is in the archive.
    pub(super) at: u64,
    /// What of a sparse file that is; the rest is holes.
    pub(super) pieces: Option<Vec<Piece>>,
}

/// Goes from member to member.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    file: &'a File,
    len: u64,
    next: u64,
}

/// What comes before a header and is about it.
#[derive(Debug, Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<i64>,
    sparse: sparse::Records,
    any: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a File) -> Result<Self> {
        let len = file.metadata().context("cannot look at it")?.len();
        Ok(Self { file, len, next: 0 })
    }

    /// The next member; `None` at the end mark.
    pub(super) fn next(&mut self) -> Result<Option<Raw>> {
        let mut extensions = Extensions::default();
        loop {
            let at = self.next;
            let mut block = [0; BLOCK as usize];
            self.read(&mut block, at)?;
            self.next += BLOCK;
            if block.iter().all(|byte| *byte == 0) {
                return if extensions.any { Err(bad(at, "nothing follows what describes it")) } else { Ok(None) };
            }
            let header = Header::from_byte_slice(&block);
            if !is_header(&block) {
                return Err(bad(at, "this is no header"));
            }
            let size = header.entry_size().with_context(|| place(at))?;
            let kind = header.entry_type();
            let is_extension = kind.is_gnu_longname()
                || kind.is_gnu_longlink()
                || kind.is_pax_local_extensions()
                || kind.is_pax_global_extensions();
            if !is_extension {
                return self.member(header, extensions, at).map(Some);
            }
            let content = self.extension(size, at)?;
            extensions.any |= !kind.is_pax_global_extensions();
            if kind.is_gnu_longname() {
                extensions.path = Some(until_nul(content));
            } else if kind.is_gnu_longlink() {
                extensions.link = Some(until_nul(content));
            } else if kind.is_pax_global_extensions() {
                let mut all = Extensions::default();
                all.take(&content).with_context(|| place(at))?;
                if all.any {
                    return Err(bad(at, "it has global records, which are not supported"));
                }
            } else {
                extensions.take(&content).with_context(|| place(at))?;
            }
        }
    }

    fn member(&mut self, header: &Header, extensions: Extensions, at: u64) -> Result<Raw> {
        let kind = header.entry_type();
        let path =
            extensions.sparse.name.clone().or(extensions.path).unwrap_or_else(|| header.path_bytes().into_owned());
        let of = || show(&path);
        let own_link = || header.link_name_bytes().map(|link| link.into_owned()).unwrap_or_default();
        let number = |value: std::io::Result<u64>, records: Option<u64>, what: &str| {
            let value = records.map_or(value, Ok).with_context(of)?;
            u32::try_from(value).map_err(|_| Error::new(format!("bad {what} {value}"))).with_context(of)
        };
        let stored = match extensions.size {
            Some(size) => size,
            None => header.entry_size().with_context(of)?,
        };
        let mut raw = Raw {
            kind,
            link: extensions.link.unwrap_or_else(own_link),
            mode: header.mode().with_context(of)? & 0o7777,
            uid: number(header.uid(), extensions.uid, "user")?,
            gid: number(header.gid(), extensions.gid, "group")?,
            mtime: match extensions.mtime {
                Some(mtime) => mtime,
                None => header.mtime().with_context(of)?.cast_signed(),
            },
            device: match kind {
                EntryType::Char | EntryType::Block => (
                    header.device_major().with_context(of)?.unwrap_or(0),
                    header.device_minor().with_context(of)?.unwrap_or(0),
                ),
                _ => (0, 0),
            },
            size: stored,
            at: self.next,
            pieces: None,
            path: Vec::new(),
        };
        if kind.is_gnu_sparse() {
            self.old_sparse(header, &mut raw).with_context(of)?;
            raw.at = self.next;
        }
        let end = raw.at.checked_add(stored).and_then(|end| end.checked_next_multiple_of(BLOCK));
        // The last block need not be filled up.
        self.next = match end {
            Some(end) if raw.at + stored <= self.len => end,
            _ => return Err(cut_off(at)).with_context(of),
        };
        if let Some(map) = extensions.sparse.map(self.file, raw.at, stored).with_context(of)? {
            if !matches!(kind, EntryType::Regular | EntryType::Continuous) {
                return Err(bad(at, "it is sparse, but no file"));
            }
            raw.at += map.skipped;
            raw.size = map.size;
            // The map is filled up to a block, which may be cut short if nothing follows it.
            sparse::check(&map.pieces, stored.saturating_sub(map.skipped), map.size).with_context(of)?;
            raw.pieces = Some(map.pieces);
        }
        raw.path = path;
        Ok(raw)
    }

    /// The map of a sparse file in GNU's own form: in the header, and in blocks behind it.
    fn old_sparse(&mut self, header: &Header, raw: &mut Raw) -> Result<()> {
        let gnu = header.as_gnu().ok_or_else(|| Error::new("it is sparse, but its header is not GNU's"))?;
        let mut pieces = Vec::new();
        sparse::take(&gnu.sparse, &mut pieces)?;
        let mut more = gnu.is_extended();
        while more {
            let mut block = GnuExtSparseHeader::new();
            self.read(block.as_mut_bytes(), self.next)?;
            self.next += BLOCK;
            sparse::take(block.sparse(), &mut pieces)?;
            more = block.is_extended();
        }
        let stored = raw.size;
        raw.size = gnu.real_size().context("bad size")?;
        sparse::check(&pieces, stored, raw.size)?;
        raw.pieces = Some(pieces);
        Ok(())
    }

    fn extension(&mut self, size: u64, at: u64) -> Result<Vec<u8>> {
        if size > EXTENSION_LIMIT {
            return Err(bad(at, &format!("a name or record of {size} bytes is too long")));
        }
        let mut content = vec![0; size as usize];
        self.read(&mut content, self.next)?;
        self.next += size.next_multiple_of(BLOCK);
        Ok(content)
    }

    fn read(&self, buffer: &mut [u8], at: u64) -> Result<()> {
        match self.file.read_exact_at(buffer, at) {
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Err(cut_off(at)),
            result => result.with_context(|| place(at)),
        }
    }
}

impl Extensions {
    /// Takes PAX records: `LENGTH KEY=VALUE\n`, the length that of all of it.
    fn take(&mut self, mut content: &[u8]) -> Result<()> {
        let broken = || Error::new("a PAX record is broken");
        while !content.is_empty() {
            let space = content.iter().position(|byte| *byte == b' ').ok_or_else(broken)?;
            let length: usize = number(&content[..space]).and_then(|n| usize::try_from(n).ok()).ok_or_else(broken)?;
            let record = content.get(space + 1..length).and_then(|r| r.strip_suffix(b"\n")).ok_or_else(broken)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(broken)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            content = &content[length..];
            // An empty value takes a global one back.
            if !value.is_empty() {
                self.set(key, value).with_context(|| format!("PAX record {}", show(key)))?;
            }
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let bad = || Error::new(format!("bad value '{}'", show(value)));
        let as_number = || number(value).ok_or_else(bad);
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(as_number()?),
            b"uid" => self.uid = Some(as_number()?),
            b"gid" => self.gid = Some(as_number()?),
            b"mtime" => self.mtime = Some(seconds(value).ok_or_else(bad)?),
            _ if key.starts_with(b"GNU.sparse.") => self.sparse.set(&key[11..], value)?,
            // Names of owners, other times, attributes: nothing that a cpio archive has.
            _ => return Ok(()),
        }
        self.any = true;
        Ok(())
    }
}

/// Whether these are the 512 bytes of a member's header, by its checksum. Empty blocks are none.
pub(in crate::image) fn is_header(block: &[u8]) -> bool {
    if block.len() != BLOCK as usize || block.iter().all(|byte| *byte == 0) {
        return false;
    }
    let sum: u32 = block[..148].iter().chain(&block[156..]).map(|byte| u32::from(*byte)).sum();
    Header::from_byte_slice(block).cksum().is_ok_and(|wanted| wanted == sum + 8 * 32)
}

/// A decimal number of digits alone.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    digits.then(|| str::from_utf8(text).ok()?.parse().ok()).flatten()
}

/// The seconds of a time with a fraction, rounded down.
fn seconds(text: &[u8]) -> Option<i64> {
    let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let whole = i64::try_from(number(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let below = i64::from(negative && fraction.iter().any(|digit| *digit != b'0'));
    Some(if negative { -whole - below } else { whole })
}

fn until_nul(mut name: Vec<u8>) -> Vec<u8> {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    name.truncate(end);
    name
}

fn place(at: u64) -> String {
    format!("at byte {at}")
}

fn bad(at: u64, why: &str) -> Error {
    Error::new(why).context(place(at))
}

fn cut_off(at: u64) -> Error {
    Error::new("the archive is cut off").context(place(at))
}
