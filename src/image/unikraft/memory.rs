//! A kernel's memory as it will be after loading, read from its file.

use object::read::ReadRef;

/// More segments than any kernel loads.
const LOADS: usize = 64;
/// More relocations than any kernel has.
const RELOCATIONS: u64 = 1 << 18;
/// `struct uk_reloc` of `lib/ukreloc/include/uk/reloc.h`: offset u64, value u64, size u32, flags u32.
const RELOCATION: u64 = 24;
const SIGNATURE: u32 = 0x0bad_b0b0;

/// What is loaded where, and which words of it the kernel puts right itself when it starts.
#[derive(Debug)]
pub(crate) struct Memory<R> {
    data: R,
    /// Address, offset in the file, size.
    loads: Vec<(u64, u64, u64)>,
    /// Address and value, sorted.
    relocations: Vec<(u64, u64)>,
}

impl<'data, R: ReadRef<'data>> Memory<R> {
    pub(crate) fn new(data: R) -> Self {
        Self { data, loads: Vec::new(), relocations: Vec::new() }
    }

    /// Takes note of a segment.
    pub(crate) fn load(&mut self, address: u64, offset: u64, size: u64) {
        if self.loads.len() < LOADS {
            self.loads.push((address, offset, size));
        }
    }

    /// Takes note of `.uk_reloc`, by which a position-independent kernel relocates itself: a signature, then relocations
    /// that count from the lowest address. Call it after the last [`load`](Self::load).
    pub(crate) fn relocate(&mut self, offset: u64, size: u64) {
        if !self.relocations.is_empty() {
            return;
        }
        let Some(base) = self.loads.iter().map(|load| load.0).min() else { return };
        let entries = (size.saturating_sub(4) / RELOCATION).min(RELOCATIONS);
        let Ok(bytes) = self.data.read_bytes_at(offset, 4 + entries * RELOCATION) else { return };
        let Some((signature, entries)) = bytes.split_first_chunk::<4>() else { return };
        if u32::from_le_bytes(*signature) != SIGNATURE {
            return;
        }
        for entry in entries.chunks_exact(RELOCATION as usize) {
            let (at, value, size) = (word(&entry[..8]), word(&entry[8..16]), word(&entry[16..24]) as u32);
            if size == 8 {
                self.relocations.push((base.wrapping_add(at), base.wrapping_add(value)));
            }
        }
        self.relocations.sort_unstable();
    }

    /// The eight bytes at an address.
    pub(super) fn word(&self, address: u64) -> Option<u64> {
        if let Ok(index) = self.relocations.binary_search_by_key(&address, |relocation| relocation.0) {
            return Some(self.relocations[index].1);
        }
        self.bytes(address, 8).filter(|bytes| bytes.len() == 8).map(word)
    }

    /// The C string at an address.
    pub(super) fn text(&self, address: u64) -> Option<String> {
        super::text(self.bytes(address, 200)?)
    }

    /// At most `len` bytes from an address on.
    fn bytes(&self, address: u64, len: u64) -> Option<&'data [u8]> {
        let (start, offset, size) =
            self.loads.iter().find(|(start, _, size)| address.checked_sub(*start).is_some_and(|into| into < *size))?;
        let into = address - start;
        self.data.read_bytes_at(offset.checked_add(into)?, len.min(size - into)).ok()
    }

    /// Shows what is loaded, at most `limit` bytes of it.
    pub(super) fn search(&self, mut limit: u64, mut look: impl FnMut(&'data [u8])) {
        for (_, offset, size) in &self.loads {
            let size = (*size).min(limit);
            limit -= size;
            if let Ok(bytes) = self.data.read_bytes_at(*offset, size) {
                look(bytes);
            }
        }
    }
}

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}
