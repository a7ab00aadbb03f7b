//! Images that are made, kept, and read again.

use super::super::contents::{self, Layout};
use super::super::{choose, save};
use super::*;
use crate::store::tests::Scratch;

/// The shortest file that is a kernel of Linux.
pub(crate) fn linux() -> Vec<u8> {
    let mut kernel = vec![0; 2560];
    kernel[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    kernel[0x206..0x208].copy_from_slice(&0x20c_u16.to_le_bytes());
    kernel[0x236] = 1;
    kernel
}

pub(crate) fn recipe(scratch: &Scratch) -> Recipe {
    let dir = &scratch.store.paths().state;
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("kernel"), linux()).unwrap();
    std::fs::write(dir.join("initrd"), b"070701 and so on").unwrap();
    Recipe {
        kernel: dir.join("kernel"),
        rootfs: Some(dir.join("initrd")),
        plat: Plat::Qemu,
        arch: None,
        command: vec!["/server".into(), "a b".into()],
        env: BTreeMap::from([("A".into(), "1=2".into())]),
        labels: BTreeMap::from([("who".into(), "me".into())]),
        created: Some(1_700_000_000),
    }
}

#[test]
fn what_is_made_is_read_in_both_layouts() {
    let s = Scratch::new();
    let built = build(&recipe(&s)).unwrap();
    assert_eq!(built.notes, Vec::<String>::new());
    let (blobs, cache) = (s.store.blobs().unwrap(), s.store.rootfs_cache().unwrap());
    let target = save::keep(&built, &blobs).unwrap();
    assert_eq!(target.media_type, INDEX);
    let open = |digest| blobs.open(digest);
    let variants = choose::variants(&open, target.digest).unwrap();
    assert_eq!(variants.len(), 2);
    let asked = choose::Asked { plat: None, arch: Some(Arch::X86_64) };
    let chosen = choose::choose(&open, target.digest, &asked).unwrap();
    assert_eq!(chosen.variant, variants[0]);
    let mut read = variants.iter().map(|variant| contents::read(&blobs, &cache, variant.manifest).unwrap());
    let (upstream, urunc) = (read.next().unwrap(), read.next().unwrap());
    assert_eq!((upstream.layout, urunc.layout), (Layout::Unikraft, Layout::Urunc));
    assert!(upstream.kernel.is_some() && upstream.rootfs.is_some());
    assert_eq!((upstream.kernel, upstream.rootfs), (urunc.kernel, urunc.rootfs));
    let kernel = cache.path(upstream.kernel.unwrap());
    assert_eq!(std::fs::read(kernel).unwrap(), linux());
    for contents in [&upstream, &urunc] {
        assert_eq!(contents.says.command, ["/server", "a b"]);
        assert_eq!(contents.says.env["A"], "1=2");
        assert_eq!(contents.says.labels["who"], "me");
        assert_eq!(contents.says.variant.plat, Plat::Qemu);
    }
    assert_eq!(urunc.says.labels["com.urunc.unikernel.unikernelType"], "linux");
    assert_eq!(urunc.says.annotations["com.urunc.unikernel.initrd"], "/unikraft/bin/initrd");
}

#[test]
fn the_same_recipe_makes_the_same_bytes() {
    let (one, two) = (Scratch::new(), Scratch::new());
    let digests = |scratch: &Scratch| {
        let built = build(&recipe(scratch)).unwrap();
        built.blobs.iter().map(|blob| (blob.digest, blob.size)).collect::<Vec<_>>()
    };
    assert_eq!(digests(&one), digests(&two));
    let without = Recipe { created: None, ..recipe(&one) };
    let built = build(&without).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut built.root().unwrap().reader(), &mut text).unwrap();
    assert!(!text.contains("created"), "{text}");
}

#[test]
fn a_kernel_that_urunc_does_not_know_is_upstreams_alone() {
    let s = Scratch::new();
    let made = build(&Recipe { plat: Plat::Xen, rootfs: None, ..recipe(&s) }).unwrap();
    assert_eq!(made.notes.len(), 1);
    let blobs = s.store.blobs().unwrap();
    let target = save::keep(&made, &blobs).unwrap();
    let variants = choose::variants(&|digest| blobs.open(digest), target.digest).unwrap();
    assert_eq!(variants.len(), 1);
    assert_eq!(variants[0].plat, Plat::Xen);
}

#[test]
fn what_is_no_kernel_is_refused() {
    let s = Scratch::new();
    let mut bad = recipe(&s);
    bad.kernel = bad.rootfs.clone().unwrap();
    assert!(build(&bad).unwrap_err().to_string().contains("is not a kernel"));
    let wrong = Recipe { arch: Some(Arch::Arm64), ..recipe(&s) };
    assert!(build(&wrong).unwrap_err().to_string().ends_with("is for x86_64, not arm64"));
}
