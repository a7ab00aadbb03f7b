//! Sparse files in tar archives: what of them is stored, in GNU's three ways that keep a map in one place. The fourth,
//! PAX format 0.0, says the same keys over and over and is refused.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt as _;

use tar::GnuSparseHeader;

use super::reader::{BLOCK, number};
use crate::error::{Context as _, Error, Result};

/// The most pieces that a file may be in.
const PIECES_LIMIT: usize = 1 << 20;

/// A part of a file that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// Where it is in the file.
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// The PAX records about a sparse file.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) name: Option<Vec<u8>>,
    size: Option<u64>,
    /// Format 0.1: all of it.
    map: Option<Vec<u8>>,
    major: Option<u64>,
    minor: Option<u64>,
}

/// What they come to.
#[derive(Debug)]
pub(super) struct Map {
    pub(super) size: u64,
    pub(super) pieces: Vec<Piece>,
    /// What of the stored data is the map.
    pub(super) skipped: u64,
}

impl Records {
    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let as_number = || number(value).ok_or_else(|| Error::new("it is no number"));
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(as_number()?),
            b"map" => self.map = Some(value.to_vec()),
            b"major" => self.major = Some(as_number()?),
            b"minor" => self.minor = Some(as_number()?),
            // The length of the map, which is seen from the map.
            b"numblocks" => {}
            _ => return Err(Error::new("sparse files of this format are not supported")),
        }
        Ok(())
    }

    /// The map; `None` if the file is not sparse.
    pub(super) fn map(&self, file: &File, at: u64, stored: u64) -> Result<Option<Map>> {
        let Some(size) = self.size else {
            let none = self.map.is_none() && self.major.is_none();
            return if none { Ok(None) } else { Err(Error::new("it is sparse, and its size is not told")) };
        };
        match (self.major, self.minor, &self.map) {
            (None | Some(0), _, Some(map)) => {
                let numbers: Option<Vec<u64>> = map.split(|byte| *byte == b',').map(number).collect();
                let numbers = numbers.ok_or_else(broken)?;
                Ok(Some(Map { size, pieces: pieces(&numbers)?, skipped: 0 }))
            }
            (Some(1), Some(0), None) => {
                let (numbers, skipped) = leading_numbers(file, at, stored)?;
                Ok(Some(Map { size, pieces: pieces(&numbers)?, skipped }))
            }
            _ => Err(Error::new("sparse files of this format are not supported")),
        }
    }
}

/// Format 1.0: the data begins with lines of numbers, the first their count, filled up to a block.
fn leading_numbers(file: &File, at: u64, stored: u64) -> Result<(Vec<u64>, u64)> {
    let mut data = Stored { file, at, left: stored };
    let mut read = 0;
    let mut line = Vec::new();
    let mut next = || -> Result<u64> {
        line.clear();
        loop {
            let mut byte = [0];
            data.read_exact(&mut byte).context("cannot read its map")?;
            read += 1;
            match byte[0] {
                b'\n' => return number(&line).ok_or_else(broken),
                _ if line.len() > 20 => return Err(broken()),
                other => line.push(other),
            }
        }
    };
    let count = next()?;
    if count > PIECES_LIMIT as u64 {
        return Err(too_many());
    }
    let numbers = (0..count * 2).map(|_| next()).collect::<Result<Vec<_>>>()?;
    Ok((numbers, u64::next_multiple_of(read, BLOCK)))
}

fn pieces(numbers: &[u64]) -> Result<Vec<Piece>> {
    let pairs = numbers.chunks_exact(2);
    match pairs.remainder() {
        [] if pairs.len() <= PIECES_LIMIT => Ok(pairs.map(|pair| Piece { offset: pair[0], length: pair[1] }).collect()),
        [] => Err(too_many()),
        _ => Err(broken()),
    }
}

/// Takes the pieces that a header has.
pub(super) fn take(from: &[GnuSparseHeader], pieces: &mut Vec<Piece>) -> Result<()> {
    for entry in from.iter().filter(|entry| !entry.is_empty()) {
        if pieces.len() == PIECES_LIMIT {
            return Err(too_many());
        }
        let piece = entry.offset().and_then(|offset| Ok(Piece { offset, length: entry.length()? }));
        pieces.push(piece.context("its map is broken")?);
    }
    Ok(())
}

/// Checks that pieces are in order, within the file, and as many bytes as are stored.
pub(super) fn check(pieces: &[Piece], stored: u64, size: u64) -> Result<()> {
    let (mut end, mut sum) = (0u64, 0u64);
    for piece in pieces {
        if piece.offset < end {
            return Err(broken());
        }
        end = piece.offset.checked_add(piece.length).ok_or_else(broken)?;
        sum = sum.checked_add(piece.length).ok_or_else(broken)?;
    }
    if end > size || sum != stored { Err(broken()) } else { Ok(()) }
}

fn broken() -> Error {
    Error::new("the map of this sparse file is broken")
}

fn too_many() -> Error {
    Error::new(format!("this sparse file is in more than {PIECES_LIMIT} pieces"))
}

/// Data that stands in the archive as it is.
#[derive(Debug)]
pub(in crate::image) struct Stored<'a> {
    pub(in crate::image) file: &'a File,
    pub(in crate::image) at: u64,
    pub(in crate::image) left: u64,
}

impl Read for Stored<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let wanted = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = self.file.read_at(&mut buffer[..wanted], self.at)?;
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

/// A sparse file: stored pieces, zeros between them.
#[derive(Debug)]
pub(super) struct Holey<'a> {
    pub(super) pieces: &'a [Piece],
    pub(super) stored: Stored<'a>,
    pub(super) position: u64,
    pub(super) size: u64,
}

impl Read for Holey<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.pieces.first().is_some_and(|piece| piece.offset + piece.length <= self.position) {
            self.pieces = &self.pieces[1..];
        }
        let next = self.pieces.first().map_or(self.size, |piece| piece.offset);
        let (is_hole, left) = if self.position < next {
            (true, next - self.position)
        } else {
            (false, self.pieces.first().map_or(0, |piece| piece.offset + piece.length - self.position))
        };
        let wanted = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let buffer = &mut buffer[..wanted];
        let read = if is_hole {
            buffer.fill(0);
            wanted
        } else {
            self.stored.read(buffer)?
        };
        self.position += read as u64;
        Ok(read)
    }
}
