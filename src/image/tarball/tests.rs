//! Archives made by the `tar` crate's writer, or by hand where it would refuse.

use std::io::{Seek as _, Write as _};

use proptest::prelude::*;
use tar::{Builder, Header};

use super::*;
use crate::image::tree::tests::{Unpacked, unpack};
use crate::image::tree::{HardLinks, Packing, pack};

/// A member's header, with a checksum.
pub(super) fn header(kind: EntryType, path: &[u8], link: &[u8], size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..path.len()].copy_from_slice(path);
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
    header.set_entry_type(kind);
    header.set_mode(0o640);
    header.set_uid(5);
    header.set_gid(6);
    header.set_mtime(77);
    header.set_size(size);
    header.set_cksum();
    header
}

pub(in crate::image) type Part<'a> = (EntryType, &'a [u8], &'a [u8], &'a [u8]);

/// Members of a kind, with a path, a link's target, and data.
pub(in crate::image) fn archive(members: &[Part<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, path, link, data) in members {
        bytes.extend(header(*kind, path, link, data.len() as u64).as_bytes());
        bytes.extend(*data);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

pub(in crate::image) fn file_of(bytes: &[u8]) -> File {
    let fd = rustix::fs::memfd_create("archive", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut file = File::from(fd);
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

fn packed(bytes: &[u8]) -> Result<Unpacked> {
    let tarball = Tarball::index(file_of(bytes))?;
    pack(&tarball, Packing { links: HardLinks::Kept, latest: None }, Vec::new()).map(|bytes| unpack(&bytes))
}

fn names(files: &Unpacked) -> Vec<&str> {
    files.iter().map(|(name, ..)| str::from_utf8(name).unwrap()).collect()
}

use EntryType::{
    Directory as Dir, Fifo, GNULongLink, GNULongName, Link, Regular as Reg, Symlink, XGlobalHeader, XHeader,
};

#[test]
fn files_come_in_order_and_with_what_is_known_of_them() {
    let files = packed(&archive(&[
        (Reg, b"./b", b"", b"bee"),
        (Reg, b"/a/x/y", b"", b"why"),
        (Dir, b"./", b"", b""),
        (Dir, b"a/x/", b"", b""),
        (Symlink, b"a.l", b"../../up", b""),
        (Fifo, b"p", b"", b""),
        (Link, b"z", b"./b", b""),
        (Link, b"zz", b"z", b""),
    ]))
    .unwrap();
    assert_eq!(names(&files), ["a", "a/x", "a/x/y", "a.l", "b", "p", "z", "zz"]);
    // Implied, told, and a file.
    assert_eq!(files[0].1[..6], [1, 0o040_755, 0, 0, 2, 0]);
    assert_eq!(files[1].1[..6], [2, 0o040_640, 5, 6, 2, 77]);
    assert_eq!(files[2].1[..7], [3, 0o100_640, 5, 6, 1, 77, 3]);
    assert_eq!(files[3].2, b"../../up");
    // One file: the last name has the data.
    let links: Vec<_> = [4, 6, 7].map(|n| (files[n].1[0], files[n].1[4], files[n].2.as_slice())).into();
    assert_eq!(links, [(5, 3, b"".as_slice()), (5, 3, b""), (5, 3, b"bee")]);
}

#[test]
fn what_leads_out_or_has_to_be_guessed_is_refused() {
    let cases: [(&[Part<'_>], &str); 17] = [
        (&[(Reg, b"../a", b"", b"")], "../a: the name leads out by '..'"),
        (&[(Reg, b"a/../../b", b"", b"")], "leads out"),
        (
            &[(Symlink, b"a", b"/etc", b""), (Reg, b"a/passwd", b"", b"x")],
            "a/passwd: it is in a, which is not a directory",
        ),
        (
            &[(Reg, b"a/passwd", b"", b"x"), (Symlink, b"a", b"/etc", b"")],
            "a/passwd: it is in a, which is not a directory",
        ),
        (&[(Reg, b"a", b"", b"1"), (Reg, b"./a", b"", b"2")], "./a: it is in the archive twice"),
        (&[(Dir, b"a", b"", b""), (Reg, b"a", b"", b"2")], "a: it is in the archive twice"),
        (&[(Reg, b"a", b"", b"2"), (Dir, b"a", b"", b"")], "a: it is in the archive twice"),
        (&[(Link, b"a", b"/etc/passwd", b"")], "a: it is a hard link to /etc/passwd, which does not come before it"),
        (&[(Link, b"a", b"../x", b"")], "a: it is a hard link to ../x: the name leads out by '..'"),
        (&[(Link, b"a", b"a", b"")], "does not come before it"),
        (&[(Link, b"a", b"", b"")], "the name is empty"),
        (&[(Dir, b"d", b"", b""), (Link, b"a", b"d", b"")], "a hard link to the directory d"),
        (&[(Reg, b"d", b"", b""), (Link, b"a", b"d", b"x")], "it has data, but is a hard link"),
        (&[(Dir, b"d", b"", b"x")], "it has data, but is no file"),
        (&[(Reg, b".", b"", b"x")], "it takes the place of the root"),
        (&[(EntryType::new(b'V'), b"label", b"", b"")], "label: members of type 'V' are not supported"),
        (&[(Reg, b"TRAILER!!!", b"", b"")], "cannot pack TRAILER!!!"),
    ];
    for (members, why) in cases {
        let error = packed(&archive(members)).unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}");
    }
}

/// A PAX record.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (rest..).find(|length| length.to_string().len() + rest == *length).unwrap();
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

#[test]
fn long_names_and_numbers_are_those_of_the_extensions() {
    let long = "long/".repeat(80) + "new\nline";
    let records = [
        record("path", long.as_bytes()),
        record("mtime", b"123.75"),
        record("uid", b"70000"),
        record("SCHILY.xattr.user.a", b"b\nc\0"),
        record("size", b"5"),
    ]
    .concat();
    let files = packed(&archive(&[(XHeader, b"x", b"", &records), (Reg, b"short", b"", b"12345")])).unwrap();
    let (name, fields, data) = files.last().unwrap();
    assert_eq!((name.as_slice(), data.as_slice()), (long.as_bytes(), b"12345".as_slice()));
    assert_eq!((fields[2], fields[3], fields[5]), (70_000, 6, 123));
    let name = b"n".repeat(200);
    let target = b"t".repeat(300);
    let files = packed(&archive(&[
        (GNULongName, b"././@LongLink", b"", &[&name[..], b"\0"].concat()),
        (GNULongLink, b"././@LongLink", b"", &[&target[..], b"\0"].concat()),
        (Symlink, b"n", b"t", b""),
    ]))
    .unwrap();
    assert_eq!((&files[0].0, &files[0].2), (&name, &target));
}

#[test]
fn broken_extensions_are_refused() {
    let much = vec![b'x'; (1 << 20) + 1];
    for (kind, content, why) in [
        (XHeader, b"11 path=abc".as_slice(), "a PAX record is broken"),
        (XHeader, b"99 path=a\n", "a PAX record is broken"),
        (XHeader, b"0 \n", "a PAX record is broken"),
        (XHeader, b"15 size=-12345\n", "PAX record size: bad value '-12345'"),
        (XHeader, &record("uid", b"99999999999"), "bad user"),
        (XHeader, &record("size", b"18446744073709551615"), "cut off"),
        (XHeader, &record("path", b"a\0b"), "the name holds a NUL"),
        (XHeader, &record("GNU.sparse.offset", b"1"), "sparse files of this format"),
        (XHeader, &record("GNU.sparse.map", b"0,1"), "its size is not told"),
        (XGlobalHeader, &record("path", b"a"), "it has global records"),
        (GNULongName, &much, "is too long"),
    ] {
        let error = packed(&archive(&[(kind, b"x", b"", content), (Reg, b"f", b"", b"1")])).unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}");
    }
    let comment = record("comment", b"0123456789abcdef");
    assert!(packed(&archive(&[(XGlobalHeader, b"g", b"", &comment), (Reg, b"f", b"", b"1")])).is_ok());
    let error = packed(&archive(&[(XHeader, b"x", b"", &record("path", b"a"))])).unwrap_err().to_string();
    assert!(error.contains("nothing follows what describes it"), "{error}");
}

#[test]
fn holes_are_zeros() {
    let (size, map) = (b"20".as_slice(), b"3,2,10,3,20,0".as_slice());
    let wanted = b"\0\0\0ab\0\0\0\0\0cde\0\0\0\0\0\0\0";
    let v01 =
        [record("GNU.sparse.size", size), record("GNU.sparse.map", map), record("GNU.sparse.name", b"real")].concat();
    let files = packed(&archive(&[(XHeader, b"x", b"", &v01), (Reg, b"GNUSparseFile.0/real", b"", b"abcde")])).unwrap();
    assert_eq!((names(&files), files[0].2.as_slice()), (vec!["real"], wanted.as_slice()));

    let v10 = [
        record("GNU.sparse.major", b"1"),
        record("GNU.sparse.minor", b"0"),
        record("GNU.sparse.realsize", size),
        record("GNU.sparse.name", b"real"),
    ]
    .concat();
    let mut stored = b"3\n3\n2\n10\n3\n20\n0\n".to_vec();
    stored.resize(512, 0);
    stored.extend(b"abcde");
    let files = packed(&archive(&[(XHeader, b"x", b"", &v10), (Reg, b"f", b"", &stored)])).unwrap();
    assert_eq!(files[0].2, wanted);
    // All of it is a hole, and the map's block is not filled up.
    let files = packed(&archive(&[(XHeader, b"x", b"", &v10), (Reg, b"f", b"", b"1\n20\n0\n")])).unwrap();
    assert_eq!(files[0].2, [0; 20]);
    for bad in [b"3,2,4,3".as_slice(), b"0,5,19,2", b"0,4", b"0,6", b"18446744073709551615,5", b"1,2,3", b"a,b"] {
        let records = [record("GNU.sparse.size", size), record("GNU.sparse.map", bad)].concat();
        let error = packed(&archive(&[(XHeader, b"x", b"", &records), (Reg, b"f", b"", b"abcde")])).unwrap_err();
        assert!(error.to_string().contains("broken"), "{error}");
    }
}

#[test]
fn an_archive_without_its_end_is_cut_off() {
    let whole = archive(&[(Reg, b"a", b"", &[b'x'; 700])]);
    for length in [0, 100, 512, 600, 512 + 1024, whole.len() - 1024] {
        let error = packed(&whole[..length]).unwrap_err().to_string();
        assert!(error.contains("cut off"), "{length}: {error}");
    }
    assert!(packed(&whole[..whole.len() - 512]).is_ok());
}

#[test]
fn a_long_way_down_costs_no_more_than_its_name() {
    let long = record("path", &b"a/".repeat(300_000));
    let error = packed(&archive(&[(XHeader, b"x", b"", &long), (Reg, b"f", b"", b"")])).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("cannot pack {}...: its name has 600000 bytes, and a cpio archive can have 4094", "a/".repeat(32))
    );
    // The directories that are only implied come once each, and where they belong.
    let deep = record("path", &b"a/".repeat(2000));
    let members: &[Part<'_>] =
        &[(XHeader, b"x", b"", &deep), (Dir, b"f", b"", b""), (Reg, b"a.b/c/d", b"", b""), (Reg, b"a.b/c/e", b"", b"")];
    let files = packed(&archive(members)).unwrap();
    assert_eq!(files.len(), 2000 + 4);
    assert_eq!(names(&files)[2000..], ["a.b", "a.b/c", "a.b/c/d", "a.b/c/e"]);
}

#[test]
fn what_the_tar_crate_writes_is_read() {
    let mut builder = Builder::new(Vec::new());
    let long = "d/".repeat(150) + "file";
    let mut header = header(Reg, b"", b"", 3);
    builder.append_data(&mut header, &long, b"abc".as_slice()).unwrap();
    let files = packed(&builder.into_inner().unwrap()).unwrap();
    assert_eq!(files.len(), 151);
    assert_eq!(files[150].2, b"abc");
}

proptest! {
    #[test]
    fn damaged_archives_never_panic(at in 0usize..2600, with in any::<u8>(), cut in 0usize..4000, fix in any::<bool>()) {
        let records = record("path", b"other");
        let mut bytes = archive(&[(XHeader, b"x", b"", &records), (Reg, b"f", b"", b"1"), (Link, b"l", b"other", b"")]);
        let at = at % bytes.len();
        bytes[at] = with;
        if fix {
            // A checksum that is right lets the damage through to what it is in.
            let start = at / 512 * 512;
            let block: [u8; 512] = bytes[start..start + 512].try_into().unwrap();
            let mut header = Header::from_byte_slice(&block).clone();
            header.set_cksum();
            bytes[start..start + 512].copy_from_slice(header.as_bytes());
        }
        bytes.truncate(cut.max(1));
        let _ = packed(&bytes);
    }
}
