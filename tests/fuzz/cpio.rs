//! The writer of CPIO archives: any tree comes out as it went in, or is refused.

use std::collections::BTreeMap;
use std::io::Read;

use kraft::error::Result;
use kraft::image::tree::{Content, HardLinks, Kind, Meta, Packing, Same, Tree, Visitor, pack};
use proptest::prelude::*;

use crate::newc;

#[derive(Debug, Clone)]
enum Node {
    Directory(BTreeMap<Vec<u8>, Node>),
    File(Vec<u8>),
    /// One of a few files that have several names.
    Shared(u8),
    Symlink(Vec<u8>),
    Fifo,
    Device(u32, u32),
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let any = proptest::collection::vec(any::<u8>(), 1..12);
    prop_oneof![
        4 => any.prop_map(|name| name.into_iter().filter(|byte| !matches!(byte, 0 | b'/')).chain([b'x']).collect()),
        1 => prop_oneof![Just("TRAILER!!!"), Just("..."), Just("a.b"), Just("a"), Just(" "), Just("\n")].prop_map(|name| name.as_bytes().to_vec()),
        1 => (200usize..256).prop_map(|length| vec![b'n'; length]),
    ]
}

fn node() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..2000).prop_map(Node::File),
        (0u8..3).prop_map(Node::Shared),
        proptest::collection::vec(1u8.., 1..100).prop_map(Node::Symlink),
        Just(Node::Fifo),
        (any::<u32>(), any::<u32>()).prop_map(|(major, minor)| Node::Device(major, minor)),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        proptest::collection::btree_map(name(), inner, 0..8).prop_map(Node::Directory)
    })
}

struct Memory {
    root: BTreeMap<Vec<u8>, Node>,
    shared: [u32; 3],
}

const SHARED: [&[u8]; 3] = [b"", b"shared", b"also shared"];

fn count(nodes: &BTreeMap<Vec<u8>, Node>, shared: &mut [u32; 3]) {
    for node in nodes.values() {
        match node {
            Node::Directory(below) => count(below, shared),
            Node::Shared(which) => shared[usize::from(*which)] += 1,
            Node::File(_) | Node::Symlink(_) | Node::Fifo | Node::Device(..) => {}
        }
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

impl Memory {
    fn show(&self, nodes: &BTreeMap<Vec<u8>, Node>, above: &[u8], visitor: &mut Visitor<'_>) -> Result<()> {
        for (name, node) in nodes {
            let path = if above.is_empty() { name.clone() } else { [above, name].join(&b'/') };
            let (kind, content, device) = match node {
                Node::Directory(_) => (Kind::Directory, [].as_slice(), (0, 0)),
                Node::File(data) => (Kind::File, data.as_slice(), (0, 0)),
                Node::Shared(which) => (Kind::File, SHARED[usize::from(*which)], (0, 0)),
                Node::Symlink(target) => (Kind::Symlink, target.as_slice(), (0, 0)),
                Node::Fifo => (Kind::Fifo, [].as_slice(), (0, 0)),
                Node::Device(major, minor) => (Kind::Character, [].as_slice(), (*major, *minor)),
            };
            let same = match node {
                Node::Shared(which) => Some(Same { id: (0, (*which).into()), names: self.shared[usize::from(*which)] }),
                _ => None,
            };
            let size = if kind == Kind::File { content.len() as u64 } else { 0 };
            let meta =
                Meta { path: path.clone(), kind, permissions: 0o644, uid: 0, gid: 0, mtime: 0, size, device, same };
            visitor(&meta, &Bytes(content))?;
            if let Node::Directory(below) = node {
                self.show(below, &path, visitor)?;
            }
        }
        Ok(())
    }
}

impl Tree for Memory {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        self.show(&self.root, b"", visitor)
    }
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn any_tree_comes_out_as_it_went_in(root in proptest::collection::btree_map(name(), node(), 0..8)) {
        let mut memory = Memory { root, shared: [0; 3] };
        count(&memory.root, &mut memory.shared);
        for links in [HardLinks::Kept, HardLinks::Copied] {
            let packed = pack(&memory, Packing { links, latest: None }, Vec::new());
            if memory.root.contains_key(b"TRAILER!!!".as_slice()) {
                prop_assert!(packed.is_err());
                continue;
            }
            let files = newc::read(&packed.unwrap());
            newc::check(&files);
            let mut wanted = Vec::new();
            memory.visit(&mut |meta, content| {
                let data = if meta.kind == Kind::Directory { Vec::new() } else { content.target()? };
                wanted.push((meta.path.clone(), data, meta.same));
                Ok(())
            }).unwrap();
            prop_assert_eq!(files.len(), wanted.len());
            for (file, (path, data, same)) in files.iter().zip(&wanted) {
                prop_assert_eq!(&file.name, path);
                let is_left_out = same.is_some() && links == HardLinks::Kept && file.data.is_empty();
                prop_assert!(is_left_out || file.data == *data);
            }
        }
    }
}
