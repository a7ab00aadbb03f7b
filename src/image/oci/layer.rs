//! A layer as it lies in the store becomes one that can be read in any order: uncompressed, and checked against the digest
//! that the configuration has for it. What it is compressed by is told by its content.

use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom, Write as _};

use sha2::{Digest as _, Sha256};

use super::documents::{self, Descriptor, Open};
use crate::error::{Context as _, Error, Result};
use crate::image::rootfs::decoder;
use crate::machine::{Compression, Digest};
use crate::store::RootfsCache;

const BUFFER: usize = 128 << 10;
/// Zeros are not written, but left as holes, in pieces of this.
const PIECE: usize = 4096;

/// Opens a layer. `left` is how many bytes it may have uncompressed, of which it takes its own.
///
/// # Errors
/// When it is not there, is damaged, is not what its digest says, or is too large.
pub(super) fn open(
    open: &Open<'_>,
    cache: &RootfsCache,
    descriptor: &Descriptor,
    uncompressed_is: Digest,
    left: &mut u64,
) -> Result<File> {
    let digest = documents::digest(descriptor)?;
    let mut layer = || -> Result<File> {
        let (file, found) = uncompressed(open(digest)?, cache, left)?;
        if found != uncompressed_is {
            return Err(Error::new(format!("uncompressed it is sha256:{found}, not sha256:{uncompressed_is}")));
        }
        Ok(file)
    };
    layer().with_context(|| format!("cannot read the layer sha256:{digest}"))
}

/// An archive uncompressed, as a file that can be read in any order, and the digest of that.
///
/// # Errors
/// When it cannot be read, is damaged, or is larger than what is left.
pub(super) fn uncompressed(mut file: File, cache: &RootfsCache, left: &mut u64) -> Result<(File, Digest)> {
    let compression = compression(&mut file)?;
    let too_large = || Error::new("the image has more bytes than kraft takes, uncompressed");
    if compression == Compression::None {
        let size = file.metadata().context("cannot tell its size")?.len();
        *left = left.checked_sub(size).ok_or_else(too_large)?;
        let found = hash(&mut file)?;
        return Ok((file, found));
    }
    let cannot = format!("cannot undo {compression}");
    let mut scratch = cache.scratch()?;
    let from = decoder(file, compression).context(&cannot)?;
    let found = copy(from, &mut scratch, left, &cannot, too_large)?;
    Ok((scratch, found))
}

fn compression(file: &mut File) -> Result<Compression> {
    let mut head = Vec::new();
    (&mut *file).take(4).read_to_end(&mut head).context("cannot read it")?;
    file.seek(SeekFrom::Start(0)).context("cannot read it")?;
    let unknown = |what| Err(Error::new(format!("it is compressed by {what}, and kraft takes gzip and zstd")));
    match head.as_slice() {
        [0x1f, 0x8b, ..] => Ok(Compression::Gzip),
        // A frame, or one to be skipped, as those have that can be read from anywhere.
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Ok(Compression::Zstd),
        [0xfd, b'7', b'z', b'X'] => unknown("xz"),
        [b'B', b'Z', b'h', b'1'..=b'9'] => unknown("bzip2"),
        _ => Ok(Compression::None),
    }
}

fn hash(file: &mut File) -> Result<Digest> {
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; BUFFER]);
    loop {
        match read(file, &mut buffer).context("cannot read it")? {
            0 => return Ok(Digest::from_bytes(hash.finalize().into())),
            read => hash.update(&buffer[..read]),
        }
    }
}

fn copy(
    mut from: impl Read,
    to: &mut File,
    left: &mut u64,
    cannot: &str,
    too_large: impl Fn() -> Error,
) -> Result<Digest> {
    let (mut hash, mut buffer, mut size) = (Sha256::new(), vec![0; BUFFER], 0);
    loop {
        let filled = fill(&mut from, &mut buffer).context(cannot)?;
        let bytes = &buffer[..filled];
        *left = left.checked_sub(filled as u64).ok_or_else(&too_large)?;
        size += filled as u64;
        hash.update(bytes);
        for piece in bytes.chunks(PIECE) {
            if piece.iter().all(|byte| *byte == 0) {
                to.seek_relative(piece.len() as i64).context("cannot write it uncompressed")?;
            } else {
                to.write_all(piece).context("cannot write it uncompressed")?;
            }
        }
        if filled < BUFFER {
            to.set_len(size).context("cannot write it uncompressed")?;
            return Ok(Digest::from_bytes(hash.finalize().into()));
        }
    }
}

/// Reads until the buffer is full or there is no more.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match read(from, &mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

fn read(from: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match from.read(buffer) {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
