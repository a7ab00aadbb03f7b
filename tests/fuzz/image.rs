//! Images: whatever their documents and layers say, they are read or refused, and nothing leads out.

use std::fs::File;
use std::io::{Read as _, Write as _};

use kraft::image::oci::choose::Plat;
use kraft::image::oci::documents::{self, Configuration, Document};
use kraft::image::oci::local::Local;
use kraft::image::oci::urunc;
use kraft::image::tarball::{Layers, Limits};
use kraft::image::tree::{HardLinks, Packing, pack};
use proptest::prelude::*;
use rustix::fs::{MemfdFlags, memfd_create};
use tar::EntryType::{Directory, Link, Regular, Symlink};

use crate::newc;
use crate::tarball::{Bounded, archive, archives, member, mend};

const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

fn index() -> String {
    format!(
        r#"{{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "annotations": null, "manifests":
        [{{"mediaType": "m", "digest": "{DIGEST}", "size": 7, "annotations": {{"a": "b"}},
        "platform": {{"os": "qemu", "architecture": "x86_64", "os.features": ["CONFIG_PLAT_KVM=y"]}}}}]}}"#
    )
}

fn manifest() -> String {
    format!(
        r#"{{"schemaVersion": 2, "config": {{"mediaType": "m", "digest": "{DIGEST}", "size": 7}}, "layers":
        [{{"mediaType": "l", "digest": "{DIGEST}", "size": 7}}], "annotations": {{"com.urunc.unikernel.binary": "/k"}}}}"#
    )
}

fn configuration() -> String {
    format!(
        r#"{{"os": "linux", "architecture": "amd64", "config": {{"Cmd": ["a"], "Env": ["A=1"], "Labels": null}},
        "rootfs": {{"type": "layers", "diff_ids": ["{DIGEST}"]}}}}"#
    )
}

/// Plain values, and the same in base64.
const KEYS: [&str; 2] = [
    r#"{"com.urunc.unikernel.unikernelType": "unikraft", "com.urunc.unikernel.hypervisor": "qemu",
    "com.urunc.unikernel.binary": "/.boot/kernel", "com.urunc.unikernel.mountRootfs": "true"}"#,
    r#"{"com.urunc.unikernel.unikernelType": "dW5pa3JhZnQ=", "com.urunc.unikernel.hypervisor": "cWVtdQ==",
    "com.urunc.unikernel.binary": "Ly5ib290L2tlcm5lbA==", "com.urunc.unikernel.initrd": "L2k="}"#,
];

fn texts(all: &[&str]) -> Vec<Vec<u8>> {
    all.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Two layers: links of all sorts, and what goes through them, hides them, or takes their place.
fn layers() -> Vec<Vec<u8>> {
    let mut all = archives();
    all.push(archive(&[
        member(Symlink, "a", "/etc", b""),
        member(Symlink, "l", "../../a", b""),
        member(Regular, "l/f", "", b"data"),
        member(Link, "h", "a/f", b""),
        member(Regular, "unikraft/bin/kernel", "", b"kernel"),
    ]));
    all.push(archive(&[
        member(Regular, ".wh.a", "", b""),
        member(Directory, "l/", "", b""),
        member(Regular, "etc/.wh..wh..opq", "", b""),
        member(Regular, "etc/n", "", b"new"),
        member(Regular, "h", "", b"other"),
    ]));
    all
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = File::from(memfd_create("layer", MemfdFlags::CLOEXEC).unwrap());
    file.write_all(bytes).unwrap();
    file
}

const SMALL: Limits = Limits { entries: 4096, names: 1 << 20, pieces: 4096, depth: 64, steps: 1 << 16, bytes: 1 << 30 };

#[test]
fn what_is_damaged_is_read_before() {
    assert!(matches!(documents::parse(index().as_bytes()), Ok(Document::Index(_))));
    assert!(matches!(documents::parse(manifest().as_bytes()), Ok(Document::Manifest(_))));
    documents::json::<Configuration>(configuration().as_bytes()).unwrap();
    for keys in KEYS {
        assert!(urunc::read(&urunc::parse(keys.as_bytes()).unwrap()).unwrap().is_some());
    }
    let mut whole = Layers::new(SMALL);
    layers().iter().for_each(|layer| whole.add(file_of(layer)).unwrap());
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn any_document_is_read_or_refused(bytes in crate::damaged(texts(&[&index(), &manifest(), &configuration()]))) {
        match documents::parse(&bytes) {
            Ok(Document::Index(index)) => index.manifests.iter().for_each(|of| drop(documents::digest(of))),
            Ok(Document::Manifest(manifest)) => {
                drop(documents::digest(&manifest.config));
                if let Ok(configuration) = documents::json(&bytes) {
                    urunc::monitor(&manifest, &configuration);
                }
            }
            Err(error) => prop_assert!(!error.to_string().contains('\n')),
        }
        drop(documents::json::<Configuration>(&bytes));
    }

    #[test]
    fn any_keys_name_what_is_within(bytes in crate::damaged(texts(&KEYS))) {
        let Ok(keys) = urunc::parse(&bytes) else { return Ok(()) };
        if let Ok(Some(urunc)) = urunc::read(&keys) {
            for path in [Some(urunc.binary), urunc.initrd, urunc.block].into_iter().flatten() {
                prop_assert!(!path.is_empty() && path.split('/').all(|part| part != ".."), "{}", path);
                prop_assert!(path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b','), "{}", path);
            }
        }
    }

    #[test]
    fn any_name_is_read_or_refused(text in "(oci|oci-archive|docker-archive|qemu|kvm)?:?[ -~]{0,40}") {
        if let Some(Ok(local)) = Local::parse(&text) {
            prop_assert_eq!(local.to_string(), text.clone());
        }
        if let Ok(plat) = text.parse::<Plat>() {
            prop_assert_eq!(plat.to_string().parse::<Plat>().unwrap(), plat);
        }
    }

    #[test]
    fn any_layers_are_a_tree_or_refused(
        all in proptest::collection::vec((crate::damaged(layers()), any::<bool>()), 1..4),
        path in "(a|l|h|etc|f|n|s|unikraft/bin/kernel|/){1,3}",
    ) {
        let mut whole = Layers::new(SMALL);
        for (mut bytes, mended) in all {
            if mended {
                mend(&mut bytes);
            }
            if whole.add(file_of(&bytes)).is_err() {
                return Ok(());
            }
        }
        if let Ok(Some((size, data))) = whole.file(&path) {
            let mut read = Vec::new();
            let got = data.take(1 << 20).read_to_end(&mut read).unwrap() as u64;
            prop_assert!(got <= size);
        }
        for links in [HardLinks::Kept, HardLinks::Copied] {
            if let Ok(packed) = pack(&whole, Packing { links, latest: None }, Bounded(Vec::new())) {
                newc::check(&newc::read(&packed.0));
            }
        }
    }
}
