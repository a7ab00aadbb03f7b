//! Parsers and writers under input that nobody thought of: one file a target, a few seconds in all by default.
//!
//!   KRAFT_FUZZ_CASES=1000000 cargo test --test fuzz tarball     as long as wanted, one target
//!
//! A new target is a file here, named below, with a `proptest!` that begins with `#![proptest_config(crate::config())]`.
//! [`damaged`] makes what a parser is fed with out of something that it takes.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests read their settings and may fail")]

mod newc;

mod binary;
mod compose_file;
mod cpio;
mod image;
mod initrd;
mod kernel;
mod kraftfile;
mod machine_file;
mod reference;
mod tarball;

use proptest::prelude::*;

/// How many cases a target has, unless `KRAFT_FUZZ_CASES` says otherwise.
const CASES: u32 = 512;

/// What every target is run by.
pub fn config() -> ProptestConfig {
    let cases = std::env::var("KRAFT_FUZZ_CASES").ok().map(|cases| cases.parse().expect("a number of cases"));
    ProptestConfig { cases: cases.unwrap_or(CASES), failure_persistence: None, ..ProptestConfig::default() }
}

/// One thing done to bytes. Places are taken modulo the length.
#[derive(Debug, Clone)]
pub enum Damage {
    /// Other bytes in the place of what is there.
    Put(usize, Vec<u8>),
    /// One more piece.
    Insert(usize, Vec<u8>),
    /// A piece less.
    Remove(usize, usize),
    /// A piece once more, elsewhere.
    Repeat(usize, usize, usize),
    /// Nothing from here on.
    Cut(usize),
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let place = |at: &usize| at % bytes.len();
        let range = |from: &usize, length: &usize| place(from)..(place(from) + length % 1024).min(bytes.len());
        match self {
            Self::Put(at, new) => {
                let at = place(at);
                let end = (at + new.len()).min(bytes.len());
                bytes[at..end].copy_from_slice(&new[..end - at]);
            }
            Self::Insert(at, new) => {
                let at = place(at);
                bytes.splice(at..at, new.iter().copied());
            }
            Self::Remove(from, length) => {
                let range = range(from, length);
                bytes.drain(range);
            }
            Self::Repeat(from, length, to) => {
                let (piece, to) = (bytes[range(from, length)].to_vec(), place(to));
                bytes.splice(to..to, piece);
            }
            Self::Cut(at) => {
                let at = place(at);
                bytes.truncate(at);
            }
        }
    }
}

/// Numbers at which parsers stumble, as they stand in a file, and any bytes.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![
        Just(0u64),
        Just(1),
        Just(0x7f),
        Just(0xff),
        Just(u64::from(u16::MAX)),
        Just(u64::from(u32::MAX)),
        Just(1 << 31),
        Just(1 << 63),
        Just(u64::MAX),
        any::<u64>(),
    ];
    let numbers = (number, 0..4usize, any::<bool>()).prop_map(|(number, width, little)| {
        let length = 1 << width;
        if little { number.to_le_bytes()[..length].to_vec() } else { number.to_be_bytes()[8 - length..].to_vec() }
    });
    prop_oneof![numbers, proptest::collection::vec(any::<u8>(), 1..16), "[0-9]{1,12}".prop_map(String::into_bytes)]
}

/// Bytes of one of these kinds with up to eight things done to them.
pub fn damaged(kinds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let at = any::<usize>;
    let damage = prop_oneof![
        4 => (at(), piece()).prop_map(|(at, piece)| Damage::Put(at, piece)),
        1 => (at(), piece()).prop_map(|(at, piece)| Damage::Insert(at, piece)),
        1 => (at(), at()).prop_map(|(from, length)| Damage::Remove(from, length)),
        1 => (at(), at(), at()).prop_map(|(from, length, to)| Damage::Repeat(from, length, to)),
        1 => at().prop_map(Damage::Cut),
    ];
    (proptest::sample::select(kinds), proptest::collection::vec(damage, 0..8)).prop_map(|(mut bytes, all)| {
        all.iter().for_each(|damage| damage.apply(&mut bytes));
        bytes
    })
}
