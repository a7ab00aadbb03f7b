//! Trees made up in memory, and a reader of archives that knows no more than the format.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A tree in memory: what each file is, and its data or target.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory(pub(crate) Vec<(Meta, Vec<u8>)>);

impl Tree for Memory {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        self.0.iter().try_for_each(|(meta, content)| visitor(meta, &Bytes(content)))
    }
}

struct Bytes<'a>(&'a [u8]);

impl Content for Bytes<'_> {
    fn data(&self) -> Result<Box<dyn Read + '_>> {
        Ok(Box::new(self.0))
    }

    fn target(&self) -> Result<Vec<u8>> {
        Ok(self.0.to_vec())
    }
}

pub(crate) fn meta(path: &str, kind: Kind) -> Meta {
    let (path, permissions) = (path.as_bytes().to_vec(), 0o644);
    Meta { path, kind, permissions, uid: 1, gid: 2, mtime: 100, size: 0, device: (0, 0), same: None }
}

fn file(path: &str, data: &str) -> (Meta, Vec<u8>) {
    (Meta { size: data.len() as u64, ..meta(path, Kind::File) }, data.as_bytes().to_vec())
}

/// What an archive says of a file: the 13 numbers of its header, and its data.
pub(crate) type Unpacked = Vec<(Vec<u8>, [u32; 13], Vec<u8>)>;

/// Reads an archive to its end mark.
pub(crate) fn unpack(mut archive: &[u8]) -> Unpacked {
    let all = archive;
    let mut files = Vec::new();
    loop {
        assert_eq!(&archive[..6], b"070701");
        let field = |n: usize| {
            let digits = str::from_utf8(&archive[6 + n * 8..14 + n * 8]).unwrap();
            u32::from_str_radix(digits, 16).unwrap()
        };
        let fields: [u32; 13] = std::array::from_fn(field);
        let (size, length) = (fields[6] as usize, fields[11] as usize);
        let name = &archive[110..110 + length];
        assert_eq!(name.iter().position(|byte| *byte == 0), Some(length - 1));
        let data = (110 + length).next_multiple_of(4);
        if &name[..length - 1] == b"TRAILER!!!" {
            assert_eq!(all.len() % 512, 0);
            assert!(archive[data..].len() < 512 && archive[data..].iter().all(|byte| *byte == 0));
            return files;
        }
        files.push((name[..length - 1].to_vec(), fields, archive[data..data + size].to_vec()));
        archive = &archive[(data + size).next_multiple_of(4)..];
    }
}

const KEPT: Packing = Packing { links: HardLinks::Kept, latest: None };

fn packed(tree: &Memory, packing: Packing) -> Result<Unpacked> {
    pack(tree, packing, Vec::new()).map(|bytes| unpack(&bytes))
}

#[test]
fn everything_is_in_its_field() {
    let device = Meta { device: (7, 8), mtime: 0, ..meta("d/c", Kind::Character) };
    let tree = Memory(vec![
        (meta("d", Kind::Directory), vec![]),
        (device, vec![]),
        (meta("d/l", Kind::Symlink), b"/x".to_vec()),
        file("f", "data"),
    ]);
    let files = packed(&tree, KEPT).unwrap();
    assert_eq!(files[0].1, [1, 0o040_644, 1, 2, 2, 100, 0, 0, 0, 0, 0, 2, 0]);
    assert_eq!(files[1].1, [2, 0o020_644, 1, 2, 1, 0, 0, 0, 0, 7, 8, 4, 0]);
    assert_eq!(files[2], (b"d/l".to_vec(), [3, 0o120_644, 1, 2, 1, 100, 2, 0, 0, 0, 0, 4, 0], b"/x".to_vec()));
    assert_eq!(files[3], (b"f".to_vec(), [4, 0o100_644, 1, 2, 1, 100, 4, 0, 0, 0, 0, 2, 0], b"data".to_vec()));
}

#[test]
fn the_last_name_of_a_file_has_its_data() {
    let linked = |path| {
        let (meta, data) = file(path, "shared");
        (Meta { same: Some(Same { id: (1, 2), names: 3 }), ..meta }, data)
    };
    let tree = Memory(vec![linked("a"), file("b", "own"), linked("c"), linked("d")]);
    let of = |packing| -> Vec<_> {
        packed(&tree, packing).unwrap().into_iter().map(|(_, f, data)| (f[0], f[4], data.len())).collect()
    };
    assert_eq!(of(KEPT), [(1, 3, 0), (2, 1, 3), (1, 3, 0), (1, 3, 6)]);
    let copied = Packing { links: HardLinks::Copied, ..KEPT };
    assert_eq!(of(copied), [(1, 1, 6), (2, 1, 3), (3, 1, 6), (4, 1, 6)]);
}

#[test]
fn times_are_kept_or_clamped() {
    let at = |mtime| (Meta { mtime, ..meta("f", Kind::Fifo) }, vec![]);
    let time = |mtime, latest| packed(&Memory(vec![at(mtime)]), Packing { latest, ..KEPT }).unwrap()[0].1[5];
    assert_eq!(time(100, None), 100);
    assert_eq!(time(100, Some(50)), 50);
    assert_eq!(time(100, Some(150)), 100);
    assert_eq!(time(-1, None), 0);
    assert_eq!(time(1 << 40, None), u32::MAX);
}

#[test]
fn what_is_not_what_it_was_is_an_error() {
    let sized = |size| (Meta { size, ..meta("f", Kind::File) }, b"four".to_vec());
    for size in [3, 5] {
        let error = packed(&Memory(vec![sized(size)]), KEPT).unwrap_err().to_string();
        assert_eq!(error, "cannot pack f: its size changed while it was read");
    }
    let error = packed(&Memory(vec![sized(1 << 32)]), KEPT).unwrap_err().to_string();
    assert!(error.starts_with("cannot pack f: it has 4294967296 bytes"), "{error}");
    for target in [vec![], vec![b'x'; 4096], b"a\0b".to_vec()] {
        assert!(packed(&Memory(vec![(meta("l", Kind::Symlink), target)]), KEPT).is_err());
    }
}

#[test]
fn names_are_shown_in_one_line() {
    assert_eq!(show(b"a b'\n\xff"), "a b'\\n\u{fffd}");
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(
        files in proptest::collection::btree_map("[^/\0]{1,20}", proptest::collection::vec(any::<u8>(), 0..600), 0..20)
    ) {
        let files: BTreeMap<String, Vec<u8>> =
            files.into_iter().filter(|(name, _)| ![".", "..", "TRAILER!!!"].contains(&name.as_str())).collect();
        let entry = |(name, data): (&String, &Vec<u8>)| {
            (Meta { size: data.len() as u64, ..meta(name, Kind::File) }, data.clone())
        };
        let tree = Memory(files.iter().map(entry).collect());
        let out: Vec<_> = packed(&tree, KEPT).unwrap().into_iter().map(|(name, _, data)| (name, data)).collect();
        let wanted: Vec<_> = files.into_iter().map(|(name, data)| (name.into_bytes(), data)).collect();
        prop_assert_eq!(out, wanted);
    }
}
