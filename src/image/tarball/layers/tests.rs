//! Layers that mean well, and those that do not.

use std::io::Write as _;

use tar::EntryType::{Block, Char, Directory as Dir, Link, Regular as Reg, Symlink, XHeader};

use super::*;
use crate::image::tarball::tests::{Part, archive, file_of, header};
use crate::image::tree::tests::{Unpacked, unpack};
use crate::image::tree::{HardLinks, Packing, pack};

const SMALL: Limits = Limits { entries: 1000, names: 1 << 16, pieces: 64, depth: 16, steps: 100_000, bytes: 1 << 30 };

fn layers(all: &[&[Part<'_>]]) -> Result<Layers> {
    let mut layers = Layers::new(SMALL);
    all.iter().try_for_each(|layer| layers.add(file_of(&archive(layer))))?;
    Ok(layers)
}

fn packed(layers: &Layers, links: HardLinks) -> Unpacked {
    unpack(&pack(layers, Packing { links, latest: None }, Vec::new()).unwrap())
}

/// Names and data, `a=b` or `a/`.
fn tree(all: &[&[Part<'_>]]) -> Result<String> {
    let files = packed(&layers(all)?, HardLinks::Copied);
    let one = |(name, fields, data): &(Vec<u8>, [u32; 13], Vec<u8>)| {
        let (name, data) = (String::from_utf8_lossy(name), String::from_utf8_lossy(data));
        match fields[1] & 0o170_000 {
            0o040_000 => format!("{name}/"),
            0o120_000 => format!("{name}>{data}"),
            0o100_000 => format!("{name}={data}"),
            _ => format!("{name}?"),
        }
    };
    Ok(files.iter().map(one).collect::<Vec<_>>().join(" "))
}

fn refused(all: &[&[Part<'_>]]) -> String {
    tree(all).unwrap_err().to_string()
}

fn file(path: &[u8]) -> Part<'_> {
    (Reg, path, b"", b"x")
}

#[test]
fn what_comes_later_takes_the_place_of_what_was_there() {
    let lower: &[Part<'_>] = &[file(b"a"), file(b"d/f"), (Dir, b"e/", b"", b""), file(b"g/h"), file(b"same")];
    let upper: &[Part<'_>] = &[
        (Reg, b"a", b"", b"new"),
        (Reg, b"d", b"", b"file"),
        file(b"e/in"),
        (Dir, b"g/", b"", b""),
        (Reg, b"same", b"", b"1"),
        (Reg, b"same", b"", b"2"),
    ];
    assert_eq!(tree(&[lower, upper]).unwrap(), "a=new d=file e/ e/in=x g/ g/h=x same=2");
}

#[test]
fn whiteouts_hide_what_is_below_and_nothing_of_their_own_layer() {
    let lower: &[Part<'_>] = &[file(b"a"), file(b"d/1"), file(b"d/2"), file(b"o/1"), file(b"o/s/2"), file(b"z")];
    let upper: &[Part<'_>] = &[
        file(b"o/new"),
        (Reg, b"o/.wh..wh..opq", b"", b""),
        (Reg, b".wh.a", b"", b""),
        (Reg, b"./d/.wh.1", b"", b""),
        file(b"z"),
        (Reg, b".wh.z", b"", b""),
        (Reg, b".wh..wh.plnk", b"", b""),
        (Reg, b".wh.not-there", b"", b""),
    ];
    assert_eq!(tree(&[lower, upper]).unwrap(), "d/ d/2=x o/ o/new=x z=x");
    // All of the root.
    assert_eq!(tree(&[lower, &[(Reg, b".wh..wh..opq", b"", b""), file(b"n")]]).unwrap(), "n=x");
    // A directory, with what is in it, and another thing in its place.
    assert_eq!(tree(&[&[file(b"d/s/1")], &[(Reg, b".wh.d", b"", b""), file(b"d/2")]]).unwrap(), "d/ d/2=x");
    for bad in [b".wh.".as_slice(), b".wh..", b"d/.wh...", b"../.wh.a", b"a/../../.wh.b"] {
        let error = refused(&[lower, &[(Reg, bad, b"", b"")]]);
        assert!(error.contains("hides nothing") || error.contains("leads out"), "{error}");
    }
}

#[test]
fn links_lead_nowhere_but_within() {
    // An absolute link, one that climbs, and one that goes through another: all of them end in the image's own root.
    let links: &[Part<'_>] = &[
        (Symlink, b"abs", b"/etc", b""),
        (Symlink, b"up", b"../../../../etc", b""),
        (Symlink, b"through", b"up/sub", b""),
        (Symlink, b"dot", b".", b""),
    ];
    let files: &[Part<'_>] = &[
        (Reg, b"abs/one", b"", b"1"),
        (Reg, b"up/two", b"", b"2"),
        (Reg, b"through/three", b"", b"3"),
        (Reg, b"dot/dot/four", b"", b"4"),
    ];
    let all =
        "abs>/etc dot>. etc/ etc/one=1 etc/sub/ etc/sub/three=3 etc/two=2 four=4 through>up/sub up>../../../../etc";
    assert_eq!(tree(&[links, files]).unwrap(), all);
    // In one layer as well.
    assert_eq!(tree(&[&[links, files].concat()]).unwrap(), all);
    let whole = layers(&[links, files]).unwrap();
    let read = |path: &str| {
        let found = whole.file(path)?;
        Ok::<_, Error>(found.map(|(_, mut data)| {
            let mut text = String::new();
            data.read_to_string(&mut text).unwrap();
            text
        }))
    };
    assert_eq!(read("/etc/one").unwrap().as_deref(), Some("1"));
    assert_eq!(read("through/three").unwrap().as_deref(), Some("3"));
    assert_eq!(read("through/../four").unwrap_err().to_string(), "the name leads out by '..'");
    assert_eq!(read("none").unwrap(), None);
    assert_eq!(read("etc/one/below").unwrap(), None);
    assert_eq!(read("abs").unwrap(), None, "a directory that is only implied");
    // A whiteout goes through links, too, but hides the link itself where it names one.
    let upper: &[Part<'_>] = &[(Reg, b"abs/.wh.one", b"", b""), (Reg, b".wh.up", b"", b"")];
    let left = "abs>/etc dot>. etc/ etc/sub/ etc/sub/three=3 etc/two=2 four=4 through>up/sub";
    assert_eq!(tree(&[links, files, upper]).unwrap(), left);
}

#[test]
fn a_link_as_the_last_part_is_replaced_and_not_followed() {
    let link: &[Part<'_>] = &[(Symlink, b"passwd", b"/etc/passwd", b""), (Reg, b"etc/passwd", b"", b"kept")];
    assert_eq!(tree(&[link, &[(Reg, b"passwd", b"", b"new")]]).unwrap(), "etc/ etc/passwd=kept passwd=new");
    let whole = layers(&[link]).unwrap();
    assert_eq!(whole.file("passwd").unwrap().unwrap().0, 4);
}

#[test]
fn links_in_circles_are_refused() {
    let circle: &[Part<'_>] = &[(Symlink, b"a", b"b", b""), (Symlink, b"b", b"a", b"")];
    assert!(refused(&[circle, &[file(b"a/f")]]).ends_with("leads through too many links"));
    let whole = layers(&[circle]).unwrap();
    assert!(whole.file("a").err().unwrap().to_string().contains("too many links"));
    assert!(whole.file("a/b").err().unwrap().to_string().contains("too many links"));
    // Each doubles the way: 2^20 steps, were they all taken.
    let names: Vec<String> = (0..20).map(|n| format!("l{n}")).collect();
    let targets: Vec<String> = (0..20).map(|n| format!("/l{}/../l{}", n + 1, n + 1)).collect();
    let bomb: Vec<Part<'_>> = names
        .iter()
        .zip(&targets)
        .map(|(name, to)| (Symlink, name.as_bytes(), to.as_bytes(), b"".as_slice()))
        .collect();
    assert!(refused(&[&bomb, &[file(b"l0/f")]]).contains("too many"));
}

#[test]
fn names_that_lead_out_are_refused() {
    for bad in [b"../f".as_slice(), b"a/../../f", b"..", b"/..", b"a/..", b"./../f"] {
        let error = refused(&[&[file(bad)]]);
        assert!(error.ends_with("the name leads out by '..'"), "{error}");
    }
    assert_eq!(tree(&[&[file(b"/etc/passwd"), file(b"//x")]]).unwrap(), "etc/ etc/passwd=x x=x");
    assert!(refused(&[&[file(b"/")]]).contains("takes the place of the root"));
    assert!(refused(&[&[file(b"a"), file(b"a/b")]]).ends_with("it is in something that is not a directory"));
}

#[test]
fn hard_links_are_to_what_is_within_and_comes_before() {
    for (to, why) in [
        (b"../etc/passwd".as_slice(), "leads out by '..'"),
        (b"/etc/passwd", "which does not come before it"),
        (b"later", "which does not come before it"),
        (b"d", "to the directory d"),
    ] {
        let error = refused(&[&[(Dir, b"d/", b"", b""), (Link, b"l", to, b""), file(b"later")]]);
        assert!(error.contains(why), "{error}");
    }
    // Across layers, through a link in the root, to itself; and the last of its names has the data.
    let lower: &[Part<'_>] = &[(Reg, b"d/f", b"", b"data"), (Symlink, b"s", b"/d", b"")];
    let upper: &[Part<'_>] = &[(Link, b"one", b"d/f", b""), (Link, b"two", b"s/f", b""), (Link, b"two", b"two", b"")];
    let kept = packed(&layers(&[lower, upper]).unwrap(), HardLinks::Kept);
    let of = |name: &str| kept.iter().find(|file| file.0 == name.as_bytes()).unwrap();
    assert_eq!((of("d/f").1[4], of("one").1[4], of("two").1[4]), (3, 3, 3));
    assert_eq!((of("one").2.as_slice(), of("two").2.as_slice()), (b"".as_slice(), b"data".as_slice()));
    // Names that go leave the others as many as they are: the data is always there.
    for hide in [&[b".wh.two".as_slice()][..], &[b".wh.one", b".wh.two"], &[b"d/.wh.f", b".wh.one"]] {
        let hidden: Vec<Part<'_>> = hide.iter().map(|&path| (Reg, path, b"".as_slice(), b"".as_slice())).collect();
        let left = packed(&layers(&[lower, upper, &hidden]).unwrap(), HardLinks::Kept);
        assert_eq!(left.iter().filter(|file| file.2 == b"data").count(), 1, "{hide:?}");
    }
    let over: &[Part<'_>] = &[(Reg, b"two", b"", b"other"), (Link, b"one", b"two", b"")];
    assert_eq!(tree(&[lower, upper, over]).unwrap(), "d/ d/f=data one=other s>/d two=other");
}

#[test]
fn devices_are_the_guests_alone() {
    let devices: &[Part<'_>] = &[(Char, b"dev/null", b"", b""), (Block, b"dev/sda", b"", b"")];
    let mut bytes = Vec::new();
    for (kind, path, ..) in devices {
        let mut header = header(*kind, path, b"", 0);
        header.set_device_major(8).unwrap();
        header.set_device_minor(1).unwrap();
        header.set_cksum();
        bytes.extend(header.as_bytes());
    }
    bytes.resize(bytes.len() + 1024, 0);
    let mut layers = Layers::new(SMALL);
    layers.add(file_of(&bytes)).unwrap();
    let files = packed(&layers, HardLinks::Kept);
    assert_eq!((files[2].1[9], files[2].1[10]), (8, 1));
    assert!(layers.file("dev/sda").err().unwrap().to_string().contains("not a regular file"));
}

#[test]
fn there_is_a_limit_to_everything() {
    let names: Vec<String> = (0..1001).map(|n| format!("f{n}")).collect();
    let many: Vec<Part<'_>> = names.iter().map(|name| file(name.as_bytes())).collect();
    assert!(refused(&[&many]).ends_with("the image has more than 1000 files"));
    // Over all layers, and for what hides as for what is.
    assert!(refused(&[&many[..600], &many[..600]]).contains("more than 1000 files"));
    let whiteouts: Vec<Part<'_>> =
        (0..1001).map(|_| (Reg, b".wh.a".as_slice(), b"".as_slice(), b"".as_slice())).collect();
    assert!(refused(&[&whiteouts]).contains("more than 1000 files"));
    let deep = "d/".repeat(17) + "f";
    assert!(refused(&[&[file(deep.as_bytes())]]).ends_with("it is in more than 16 directories"));
    // Through a link that is deep itself.
    let link = ("d/".repeat(10), "l/".to_owned() + &"e/".repeat(10) + "f");
    let through: &[Part<'_>] = &[(Symlink, b"l", link.0.as_bytes(), b""), file(link.1.as_bytes())];
    assert!(refused(&[through]).contains("more than 16 directories"));
    let long = vec![b'x'; 90];
    let links: Vec<Part<'_>> =
        names[..900].iter().map(|name| (Symlink, name.as_bytes(), long.as_slice(), b"".as_slice())).collect();
    assert!(refused(&[&links]).ends_with("more than 65536 bytes of names"));
}

#[test]
fn a_sparse_bomb_takes_no_space_and_is_refused_where_it_would() {
    let records =
        b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n35 GNU.sparse.realsize=10737418240\n24 GNU.sparse.name=bomb\n";
    let mut map = b"1\n0\n5\n".to_vec();
    map.resize(512, 0);
    map.extend(b"small");
    let mut layers = Layers::new(SMALL);
    layers.add(file_of(&archive(&[(XHeader, b"x", b"", records), (Reg, b"s", b"", &map)]))).unwrap();
    assert_eq!(layers.file("bomb").unwrap().unwrap().0, 10 << 30);
    let error = layers.check_size().unwrap_err().to_string();
    assert_eq!(error, "bomb: the files of the image come to more than 1073741824 bytes");
}

#[test]
fn two_hundred_thousand_files_are_a_tree() {
    let mut file = file_of(b"");
    for n in 0..200_000 {
        let path = format!("d{}/f{n}", n % 97);
        file.write_all(header(Reg, path.as_bytes(), b"", 0).as_bytes()).unwrap();
    }
    file.write_all(&[0; 1024]).unwrap();
    let mut layers = Layers::new(Limits::OURS);
    layers.add(file).unwrap();
    let mut seen = 0;
    layers
        .visit(&mut |_, _| {
            seen += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(seen, 200_097);
    layers.check_size().unwrap();
}
