//! Images in memory: both layouts, all compressions, and what is wrong with them.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;

use serde_json::{Value, json};
use tar::EntryType::{Directory, Regular, Symlink};

use super::*;
use crate::image::tarball::tests::{Part, archive, file_of};
use crate::image::tree::tests::unpack;
use crate::store::tests::Scratch;

/// Blobs by their digest.
#[derive(Default)]
struct Memory {
    blobs: HashMap<Digest, Vec<u8>>,
    opened: Cell<u32>,
}

fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

impl Memory {
    fn put(&mut self, media: &str, bytes: &[u8]) -> Value {
        let digest = digest_of(bytes);
        self.blobs.insert(digest, bytes.to_vec());
        json!({"mediaType": media, "digest": format!("sha256:{digest}"), "size": bytes.len()})
    }

    fn put_json(&mut self, media: &str, value: &Value) -> (Value, Digest) {
        let bytes = serde_json::to_vec(value).unwrap();
        (self.put(media, &bytes), digest_of(&bytes))
    }

    fn open(&self, digest: Digest) -> Result<File> {
        self.opened.set(self.opened.get() + 1);
        let found = self.blobs.get(&digest).ok_or_else(|| Error::of(Kind::NotFound, format!("no sha256:{digest}")))?;
        Ok(file_of(found))
    }
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image that is being made up.
struct Draft {
    os: &'static str,
    config: Value,
    annotations: Value,
    /// Each with its own annotations.
    layers: Vec<(Vec<u8>, Value)>,
    pack: fn(&[u8]) -> Vec<u8>,
    limits: Limits,
    /// What is done to the manifest and the configuration in the end.
    twist: fn(&mut Value, &mut Value),
}

impl Draft {
    fn new(layers: &[&[Part<'_>]]) -> Self {
        Self {
            os: "qemu",
            config: json!({}),
            annotations: json!({}),
            layers: layers.iter().map(|layer| (archive(layer), json!({}))).collect(),
            pack: <[u8]>::to_vec,
            limits: Limits::OURS,
            twist: |_, _| {},
        }
    }

    fn make(&self, memory: &mut Memory) -> Digest {
        let ids: Vec<_> = self.layers.iter().map(|(layer, _)| format!("sha256:{}", digest_of(layer))).collect();
        let mut config = json!({
            "os": self.os, "architecture": "x86_64", "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": ids},
        });
        let mut layers = Vec::new();
        for (layer, annotations) in &self.layers {
            let mut descriptor = memory.put(LAYER, &(self.pack)(layer));
            descriptor["annotations"] = annotations.clone();
            layers.push(descriptor);
        }
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "layers": layers, "annotations": self.annotations,
        });
        (self.twist)(&mut manifest, &mut config);
        manifest["config"] = memory.put_json(CONFIG, &config).0;
        memory.put_json(MANIFEST, &manifest).1
    }

    fn read(&self) -> Result<(Contents, Files)> {
        let mut memory = Memory::default();
        let digest = self.make(&mut memory);
        let scratch = Scratch::new();
        let cache = scratch.store.rootfs_cache().unwrap();
        let open = |digest| memory.open(digest);
        let contents = Source { open: &open, cache: &cache, limits: self.limits }.read(digest)?;
        let read = |digest: Option<Digest>| digest.map(|digest| std::fs::read(cache.path(digest)).unwrap());
        let files = Files { kernel: read(contents.kernel), rootfs: read(contents.rootfs) };
        Ok((contents, files))
    }

    fn refused(&self) -> String {
        self.read().unwrap_err().to_string()
    }
}

#[derive(Debug)]
struct Files {
    kernel: Option<Vec<u8>>,
    rootfs: Option<Vec<u8>>,
}

const NONE: &[u8] = b"";

fn upstream() -> Draft {
    let mut draft = Draft::new(&[
        &[(Regular, b"unikraft/bin/kernel", NONE, b"kernel")],
        &[(Regular, b"/unikraft/bin/initrd", NONE, b"initrd")],
    ]);
    draft.config = json!({
        "Cmd": ["/server", "a b"], "Env": ["A=1", "A=2=3", "B=", "junk", "=x"], "Labels": {"who": "me"},
    });
    draft
}

#[test]
fn upstreams_layout_is_read() {
    let (contents, files) = upstream().read().unwrap();
    assert_eq!(contents.layout, Layout::Unikraft);
    assert_eq!(contents.why, "it has /unikraft/bin/kernel");
    assert_eq!((files.kernel.as_deref(), files.rootfs.as_deref()), (Some(&b"kernel"[..]), Some(&b"initrd"[..])));
    let says = contents.says;
    assert_eq!(says.command, ["/server", "a b"]);
    assert_eq!(says.env, BTreeMap::from([("A".into(), "2=3".into()), ("B".into(), String::new())]));
    assert_eq!(says.labels["who"], "me");
    assert_eq!((says.variant.plat.to_string().as_str(), says.variant.arch.as_str()), ("qemu", "x86_64"));
}

#[test]
fn a_layers_annotation_says_where_the_kernel_is() {
    let mut draft = Draft::new(&[&[(Regular, b"k", NONE, b"one")], &[(Regular, b"i", NONE, b"two")]]);
    draft.layers[0].1 = json!({KERNEL_ANNOTATION: "/k"});
    draft.layers[1].1 = json!({INITRD_ANNOTATION: "/i"});
    let (contents, files) = draft.read().unwrap();
    assert_eq!(contents.layout, Layout::Unikraft);
    assert_eq!((files.kernel.unwrap(), files.rootfs.unwrap()), (b"one".to_vec(), b"two".to_vec()));
    draft.layers[0].1 = json!({KERNEL_ANNOTATION: "/../k"});
    assert!(draft.refused().ends_with("cannot take the kernel /../k: the name leads out by '..'"));
    draft.layers[0].1 = json!({KERNEL_ANNOTATION: "/none"});
    let error = draft.read().unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().ends_with("it has no kernel /none"), "{error}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

#[test]
fn layers_may_be_compressed() {
    for pack in [gzip as fn(&[u8]) -> Vec<u8>, zstd] {
        let (_, files) = Draft { pack, ..upstream() }.read().unwrap();
        assert_eq!((files.kernel.unwrap(), files.rootfs.unwrap()), (b"kernel".to_vec(), b"initrd".to_vec()));
    }
    // Cut off, or followed by something else.
    for pack in [
        (|bytes| gzip(bytes)[..40].to_vec()) as fn(&[u8]) -> Vec<u8>,
        |bytes| zstd(bytes)[..40].to_vec(),
        |bytes| [gzip(bytes), b"more".to_vec()].concat(),
    ] {
        let error = Draft { pack, ..upstream() }.refused();
        assert!(error.contains("cannot read the layer sha256:"), "{error}");
    }
}

const KEYS: [(&str, &str); 3] = [("unikernelType", "unikraft"), ("hypervisor", "qemu"), ("binary", "/.boot/kernel")];

fn keys(more: &[(&str, &str)]) -> Value {
    let all = KEYS.iter().chain(more).map(|(key, value)| (format!("{}{key}", urunc::PREFIX), json!(value)));
    Value::Object(all.collect())
}

fn encoded(keys: &Value) -> Vec<u8> {
    let keys: urunc::Keys = serde_json::from_value(keys.clone()).unwrap();
    serde_json::to_vec(&urunc::encode(&keys)).unwrap()
}

const BOOT: &[Part<'_>] = &[
    (Directory, b".boot/", NONE, NONE),
    (Regular, b".boot/kernel", NONE, b"kernel"),
    (Regular, b".boot/rootfs", NONE, b"initrd"),
    (Regular, b"etc/motd", NONE, b"hello"),
];

#[test]
fn uruncs_layout_is_read_wherever_its_keys_are() {
    let all = keys(&[("initrd", "/.boot/rootfs"), ("cmdline", "/app one  two"), ("unikernelVersion", "0.18.0")]);
    let file = encoded(&all);
    let mut annotated = Draft { os: "linux", annotations: all.clone(), ..Draft::new(&[BOOT]) };
    let labelled = Draft { os: "linux", config: json!({"Labels": all}), ..Draft::new(&[BOOT]) };
    let filed = Draft { os: "linux", ..Draft::new(&[BOOT, &[(Regular, b"urunc.json", NONE, &file)]]) };
    for (draft, why) in [
        (&annotated, "its annotations or labels have urunc's keys"),
        (&labelled, "its annotations or labels have urunc's keys"),
        (&filed, "it has a urunc.json"),
    ] {
        let (contents, files) = draft.read().unwrap();
        assert_eq!((contents.layout, contents.why.as_str()), (Layout::Urunc, why));
        assert_eq!((files.kernel.unwrap(), files.rootfs.unwrap()), (b"kernel".to_vec(), b"initrd".to_vec()));
        assert_eq!(contents.says.command, ["/app", "one", "two"]);
        assert_eq!(contents.says.version.as_deref(), Some("0.18.0"));
    }
    assert_eq!(annotated.read().unwrap().0.says.variant.plat.to_string(), "qemu");
    // The image's own command comes first.
    annotated.config = json!({"Entrypoint": ["/e"], "Cmd": ["c"]});
    let says = annotated.read().unwrap().0.says;
    assert_eq!((says.entrypoint, says.command), (vec!["/e".to_owned()], vec!["c".to_owned()]));
}

#[test]
fn the_rest_of_an_urunc_image_is_the_guests_if_it_says_so() {
    let without = Draft { annotations: keys(&[]), ..Draft::new(&[BOOT]) };
    let (contents, files) = without.read().unwrap();
    assert!(files.rootfs.is_none() && contents.rootfs_is == "none");
    let whole = Draft { annotations: keys(&[("mountRootfs", "true")]), ..Draft::new(&[BOOT]) };
    let (contents, files) = whole.read().unwrap();
    assert_eq!(contents.rootfs_is, "the files of the image");
    let names: Vec<_> =
        unpack(&files.rootfs.unwrap()).into_iter().map(|file| String::from_utf8(file.0).unwrap()).collect();
    assert_eq!(names, [".boot", ".boot/rootfs", "etc", "etc/motd"]);
    let disk = Draft { annotations: keys(&[("block", "/disk.img")]), ..Draft::new(&[BOOT]) };
    assert!(disk.refused().ends_with("it wants /disk.img as a disk, which kraft cannot give to a guest"));
}

#[test]
fn what_has_no_kernel_has_files_alone() {
    let draft = Draft { os: "linux", ..Draft::new(&[&[(Regular, b"bin/sh", NONE, b"#!")]]) };
    let (contents, files) = draft.read().unwrap();
    assert_eq!((contents.layout, contents.kernel), (Layout::Files, None));
    assert!(files.rootfs.is_none());
    assert_eq!(contents.why, "it has neither /unikraft/bin/kernel nor urunc's keys");
    let (mut memory, scratch) = (Memory::default(), Scratch::new());
    let (digest, cache) = (draft.make(&mut memory), scratch.store.rootfs_cache().unwrap());
    let open = |digest| memory.open(digest);
    let source = Source { open: &open, cache: &cache, limits: Limits::OURS };
    let packed = source.files(digest).unwrap().unwrap();
    assert_eq!(unpack(&std::fs::read(cache.path(packed)).unwrap()).len(), 2);
    assert_eq!(source.files(digest).unwrap(), Some(packed));
}

#[test]
fn a_kernel_that_is_a_link_out_is_not_there() {
    for target in [b"/etc/hostname".as_slice(), b"../../../../../etc/hostname"] {
        let draft = Draft { annotations: keys(&[]), ..Draft::new(&[&[(Symlink, b".boot/kernel", target, NONE)]]) };
        assert!(draft.refused().ends_with("it has no kernel /.boot/kernel"), "{}", draft.refused());
    }
    // Within, it is followed.
    let linked: &[Part<'_>] = &[(Symlink, b".boot/kernel", b"/k", NONE), (Regular, b"k", NONE, b"kernel")];
    let draft = Draft { annotations: keys(&[]), ..Draft::new(&[linked]) };
    assert_eq!(draft.read().unwrap().1.kernel.unwrap(), b"kernel");
}

#[test]
fn layers_are_what_the_configuration_says() {
    let other = format!("sha256:{}", digest_of(b"other"));
    assert_eq!(other.len(), 71);
    let twisted = |twist: fn(&mut Value, &mut Value)| Draft { twist, ..upstream() }.refused();
    let error = twisted(|_, config| config["rootfs"]["diff_ids"][1] = json!(format!("sha256:{}", "0".repeat(64))));
    assert!(error.contains("cannot read the layer sha256:") && error.contains("uncompressed it is sha256:"), "{error}");
    let error = twisted(|_, config| drop(config["rootfs"]["diff_ids"].as_array_mut().unwrap().pop()));
    assert!(error.ends_with("it has 2 layers, and its configuration knows 1"), "{error}");
    let error = twisted(|_, config| config["rootfs"]["diff_ids"][0] = json!("md5:00"));
    assert!(error.contains("its configuration is bad"), "{error}");
    let error = twisted(|manifest, _| manifest["layers"][0]["digest"] = json!(format!("sha512:{}", "0".repeat(128))));
    assert!(error.contains("is not SHA-256"), "{error}");
    let error = twisted(|manifest, _| manifest["layers"][0]["digest"] = json!(format!("sha256:{}", "0".repeat(64))));
    assert!(error.contains("no sha256:0000"), "{error}");
}

#[test]
fn documents_are_what_their_digests_and_types_say() {
    let mut memory = Memory::default();
    let digest = upstream().make(&mut memory);
    let other = digest_of(b"other");
    memory.blobs.insert(other, memory.blobs[&digest].clone());
    let open = |digest| memory.open(digest);
    let error = documents::read(&open, other).unwrap_err().to_string();
    assert_eq!(error, format!("cannot read the image sha256:{other}: its content is sha256:{digest}"));
    for (bad, why) in [
        (r#"{"manifests": [], "config": {}}"#, "an index and a manifest at once"),
        (r#"{"manifests": [], "layers": []}"#, "an index and a manifest at once"),
        (
            r#"{"mediaType": "application/vnd.oci.image.index.v1+json", "layers": [], "config": {}}"#,
            "says that it is an index",
        ),
        (r#"{"mediaType": "application/vnd.oci.image.manifest.v1+json", "manifests": []}"#, "says that it is none"),
        ("{}", "neither an index nor a manifest"),
        ("[]", "no object"),
        ("", "no object"),
    ] {
        let error = documents::parse(bad.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(why), "{bad}: {error}");
    }
    let deep = "[".repeat(100_000);
    assert!(documents::parse(deep.as_bytes()).is_err());
}

#[test]
fn bombs_end_at_the_limit() {
    let limits = Limits { bytes: 8 << 20, ..Limits::OURS };
    for pack in [gzip as fn(&[u8]) -> Vec<u8>, zstd, <[u8]>::to_vec] {
        let mut draft = Draft { limits, pack, ..upstream() };
        draft.layers[0].0.resize(9 << 20, 0);
        assert!(draft.refused().ends_with("the image has more bytes than kraft takes, uncompressed"));
        // Together they are too large as well.
        draft.layers[0].0.resize(5 << 20, 0);
        draft.layers[1].0.resize(5 << 20, 0);
        assert!(draft.refused().contains("more bytes than kraft takes"));
        draft.layers[1].0.truncate(2 << 20);
        draft.read().unwrap();
    }
}

#[test]
fn directories_that_are_only_implied_end_at_the_limit() {
    // A few hundred bytes each in the layer, all in directories that nothing else has.
    let names: Vec<String> = (0..200).map(|n| format!("{n}/{}f", "a/".repeat(30))).collect();
    let mut members: Vec<Part<'_>> = vec![(Regular, b".boot/kernel", NONE, b"kernel")];
    members.extend(names.iter().map(|name| (Regular, name.as_bytes(), NONE, NONE)));
    let limits = Limits { bytes: 512 << 10, ..Limits::OURS };
    let draft = Draft { annotations: keys(&[("mountRootfs", "true")]), limits, ..Draft::new(&[&members]) };
    let error = draft.refused();
    assert!(error.ends_with("it would have more than 524288 bytes"), "{error}");
    Draft { limits: Limits::OURS, ..draft }.read().unwrap();
}

#[test]
fn what_is_compressed_in_another_way_is_named() {
    for (head, name) in [(&b"\xfd7zXZ\0"[..], "xz"), (b"BZh91AY", "bzip2")] {
        let draft = Draft { layers: vec![(head.to_vec(), json!({}))], ..upstream() };
        let error = draft.refused();
        assert!(error.ends_with(&format!("it is compressed by {name}, and kraft takes gzip and zstd")), "{error}");
    }
}

#[test]
fn what_the_disk_changed_is_named_and_goes() {
    let s = Scratch::new();
    let (blobs, cache) = (s.store.blobs().unwrap(), s.store.rootfs_cache().unwrap());
    let mut memory = Memory::default();
    let manifest = upstream().make(&mut memory);
    for blob in memory.blobs.values() {
        blobs.put(blob).unwrap();
    }
    let Ok(Document::Manifest(of)) = documents::read(&|digest| blobs.open(digest), manifest) else { panic!() };
    let layer = documents::digest(&of.layers[0]).unwrap();
    let mut content = std::fs::read(blobs.path(layer)).unwrap();
    content[600] ^= 1;
    std::fs::write(blobs.path(layer), content).unwrap();
    let error = read(&blobs, &cache, manifest).unwrap_err();
    let wanted = format!("cannot use the image sha256:{manifest}: sha256:{layer} was changed after it was kept");
    assert_eq!(error.to_string(), wanted);
    assert!(error.hint().unwrap().contains("kraft pkg pull"));
    assert_eq!(blobs.size(layer), None);
    assert_eq!(read(&blobs, &cache, manifest).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn what_was_unpacked_is_not_unpacked_again() {
    let (mut memory, scratch) = (Memory::default(), Scratch::new());
    let draft = Draft { annotations: keys(&[("initrd", "/.boot/rootfs")]), ..Draft::new(&[BOOT]) };
    let (digest, cache) = (draft.make(&mut memory), scratch.store.rootfs_cache().unwrap());
    let open = |digest| memory.open(digest);
    let source = Source { open: &open, cache: &cache, limits: Limits::OURS };
    let first = source.read(digest).unwrap();
    let before = memory.opened.get();
    let second = source.read(digest).unwrap();
    assert_eq!((first.kernel, first.rootfs), (second.kernel, second.rootfs));
    // The manifest and the configuration, each twice; no layer.
    assert_eq!(memory.opened.get() - before, 4);
    // Many at once come to the same.
    let blobs = &memory.blobs;
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let cache = scratch.store.rootfs_cache().unwrap();
                let open = |digest| Ok(file_of(&blobs[&digest]));
                let read = Source { open: &open, cache: &cache, limits: Limits::OURS }.read(digest).unwrap();
                assert_eq!(read.kernel, first.kernel);
            });
        }
    });
}

#[test]
fn an_index_is_chosen_from() {
    let (mut memory, scratch) = (Memory::default(), Scratch::new());
    let mut descriptors = Vec::new();
    let index = "application/vnd.oci.image.index.v1+json";
    for (os, arch) in [("xen", "x86_64"), ("linux", "amd64"), ("qemu", "x86_64"), ("qemu", "arm64")] {
        let digest = Draft { os, ..upstream() }.make(&mut memory);
        let size = memory.blobs[&digest].len();
        let platform = json!({"os": os, "architecture": arch, "os.features": ["CONFIG_PLAT_KVM=y"]});
        descriptors.push(json!({
            "mediaType": MANIFEST, "digest": format!("sha256:{digest}"), "size": size, "platform": platform,
        }));
    }
    descriptors.push(json!({
        "mediaType": MANIFEST, "digest": format!("sha256:{}", digest_of(b"not fetched")), "size": 1,
        "platform": {"os": "fc", "architecture": "x86_64"},
    }));
    descriptors.push(json!({
        "mediaType": MANIFEST, "digest": format!("sha256:{}", digest_of(b"how it was built")), "size": 1,
        "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
    }));
    let (inner, _) = memory.put_json(index, &json!({"schemaVersion": 2, "mediaType": index, "manifests": descriptors}));
    let (_, root) = memory.put_json(index, &json!({"schemaVersion": 2, "mediaType": index, "manifests": [inner]}));
    let open = |digest| memory.open(digest);
    let asked = |plat: Option<&str>, arch| choose::Asked { plat: plat.map(|plat| plat.parse().unwrap()), arch };
    use crate::machine::Arch;
    let chosen = choose::choose(&open, root, &asked(None, Some(Arch::X86_64))).unwrap();
    assert_eq!((chosen.variant.plat.to_string(), chosen.variant.features.len()), ("qemu".to_owned(), 1));
    assert_eq!(choose::choose(&open, root, &asked(Some("kvm"), Some(Arch::Arm64))).unwrap().variant.arch, "arm64");
    let error = choose::choose(&open, root, &asked(Some("fc"), Some(Arch::X86_64))).unwrap_err().to_string();
    assert!(error.starts_with("the image has nothing for fc/x86_64: it is for xen/x86_64, qemu/x86_64"), "{error}");
    let cache = scratch.store.rootfs_cache().unwrap();
    let source = Source { open: &open, cache: &cache, limits: Limits::OURS };
    assert!(source.read(chosen.variant.manifest).unwrap().kernel.is_some());
    assert!(source.read(root).unwrap_err().to_string().ends_with("is an index of images, not one of them"));
}

#[test]
fn an_index_that_leads_to_itself_over_and_over_ends() {
    let mut memory = Memory::default();
    let media = "application/vnd.oci.image.index.v1+json";
    let (mut leaf, _) = memory.put_json(media, &json!({"schemaVersion": 2, "manifests": []}));
    let mut root = digest_of(b"");
    for _ in 0..2 {
        (leaf, root) = memory.put_json(media, &json!({"schemaVersion": 2, "manifests": vec![leaf; 200]}));
    }
    let error = choose::variants(&|digest| memory.open(digest), root).unwrap_err().to_string();
    assert_eq!(error, "the image leads to more than 2048 documents");
    let (_, deeper) = memory.put_json(media, &json!({"schemaVersion": 2, "manifests": [leaf]}));
    let error = choose::variants(&|digest| memory.open(digest), deeper).unwrap_err().to_string();
    assert!(error.ends_with("is within 3 others"), "{error}");
}

#[test]
fn what_an_image_says_is_shown_on_one_line() {
    let mut draft = Draft::new(&[&[(Regular, b"k", NONE, b"one")]]);
    draft.layers[0].1 = json!({KERNEL_ANNOTATION: "/no\n\u{1b}[31mkernel"});
    let error = draft.refused();
    assert!(error.ends_with("it has no kernel /no\\n\\u{1b}[31mkernel"), "{error}");
    draft.twist = |_, config| config["architecture"] = json!("x\n86");
    draft.layers[0].1 = json!({KERNEL_ANNOTATION: "/k"});
    assert_eq!(draft.read().unwrap().0.says.variant.arch, "?");
}
