//! Tar archives: whatever they say, nothing leads out, and what is packed is a whole tree.

use std::fs::File;
use std::io::Write as _;

use kraft::image::tarball::Tarball;
use kraft::image::tree::{HardLinks, Packing, pack};
use proptest::prelude::*;
use rustix::fs::{MemfdFlags, memfd_create};
use tar::{EntryType, Header};

use crate::newc;

fn header(kind: EntryType, path: &str, link: &str, size: u64) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(size);
    // What a device has.
    let _ = header.set_device_major(0).and_then(|()| header.set_device_minor(0));
    header.set_cksum();
    header.as_bytes().to_vec()
}

pub fn member(kind: EntryType, path: &str, link: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = header(kind, path, link, data.len() as u64);
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

pub fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = members.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// PAX records: each begins with its own length.
fn records(pairs: &[(&str, &str)]) -> Vec<u8> {
    let record = |(key, value): &(&str, &str)| {
        let rest = key.len() + value.len() + 3;
        let length = (rest..).find(|length| length.to_string().len() + rest == *length).unwrap();
        format!("{length} {key}={value}\n")
    };
    pairs.iter().map(record).collect::<String>().into_bytes()
}

pub fn archives() -> Vec<Vec<u8>> {
    use EntryType::{Char, Directory, Fifo, GNULongLink, GNULongName, Link, Regular, Symlink, XHeader};
    let mut map = b"2\n0\n5\n100\n0\n".to_vec();
    map.resize(512, 0);
    map.extend(b"abcde");
    let sparse = records(&[
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.realsize", "100"),
        ("GNU.sparse.name", "s"),
    ]);
    let extended = records(&[("path", "long/a"), ("mtime", "1.5"), ("uid", "70000"), ("comment", "c")]);
    let mut old = Header::new_gnu();
    old.set_entry_type(EntryType::GNUSparse);
    old.as_old_mut().name[..3].copy_from_slice(b"old");
    for set in [Header::set_uid, Header::set_gid, Header::set_mtime] {
        set(&mut old, 1);
    }
    old.set_mode(0o600);
    old.set_size(5);
    if let Some(gnu) = old.as_gnu_mut() {
        gnu.sparse[0].offset[..12].copy_from_slice(b"00000000003\0");
        gnu.sparse[0].numbytes[..12].copy_from_slice(b"00000000005\0");
        gnu.realsize[..12].copy_from_slice(b"00000000024\0");
    }
    old.set_cksum();
    let mut old = old.as_bytes().to_vec();
    old.extend(b"abcde");
    old.resize(1024, 0);
    vec![
        archive(&[
            member(Directory, "./", "", b""),
            member(Directory, "a/", "", b""),
            member(Regular, "a/f", "", b"data"),
            member(Link, "l", "a/f", b""),
            member(Symlink, "s", "../../etc", b""),
            member(Fifo, "p", "", b""),
        ]),
        archive(&[
            member(XHeader, "x", "", &extended),
            member(Regular, "f", "", b"data"),
            member(GNULongName, "././@LongLink", "", b"very/long/name\0"),
            member(GNULongLink, "././@LongLink", "", b"target\0"),
            member(Symlink, "s", "t", b""),
            member(Char, "c", "", b""),
        ]),
        archive(&[member(XHeader, "x", "", &sparse), member(Regular, "f", "", &map), old]),
    ]
}

/// Makes checksums right again, so that damage gets past them.
pub fn mend(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(block);
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());
    }
}

fn packed(bytes: &[u8], links: HardLinks) -> kraft::error::Result<Vec<u8>> {
    let mut file = File::from(memfd_create("archive", MemfdFlags::CLOEXEC).unwrap());
    file.write_all(bytes).unwrap();
    pack(&Tarball::index(file)?, Packing { links, latest: None }, Bounded(Vec::new())).map(|bounded| bounded.0)
}

/// A sparse file of a few bytes may say that it has gigabytes.
pub struct Bounded(pub Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() > 1 << 20 {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.0.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_is_damaged_is_an_archive_before() {
    for (number, bytes) in archives().iter().enumerate() {
        packed(bytes, HardLinks::Kept).unwrap_or_else(|error| panic!("{number}: {error}"));
    }
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn any_archive_is_a_tree_or_refused(mut bytes in crate::damaged(archives()), mended in any::<bool>()) {
        if mended {
            mend(&mut bytes);
        }
        for links in [HardLinks::Kept, HardLinks::Copied] {
            if let Ok(archive) = packed(&bytes, links) {
                newc::check(&newc::read(&archive));
            }
        }
    }
}
