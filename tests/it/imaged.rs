//! Images that run: those of upstream's layout and of urunc's, made by hand, and those that kraft made.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::keeper::{Keeper, under_both};
use crate::lab::{Lab, Said, guest};

under_both! {
    an_image_of_upstreams_layout_runs,
    an_image_of_uruncs_layout_runs,
}

/// How a layer is compressed.
type Pack = fn(&[u8]) -> Vec<u8>;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A directory of the test's own for an OCI image layout.
struct Layout(PathBuf);

impl Layout {
    fn new(lab: &Lab) -> Self {
        let dir = lab.state().parent().unwrap().join("layout");
        fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self(dir)
    }

    fn put(&self, media_type: &str, bytes: &[u8]) -> Value {
        let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(self.0.join("blobs/sha256").join(&hex), bytes).unwrap();
        json!({"mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len()})
    }

    fn put_json(&self, media_type: &str, value: &Value) -> Value {
        self.put(media_type, value.to_string().as_bytes())
    }

    /// An image of these layers, one file each.
    fn image(&self, os: &str, arch: &str, config: &Value, layers: &[(&str, Vec<u8>)], pack: Pack) -> Value {
        let (mut descriptors, mut ids) = (Vec::new(), Vec::new());
        for (path, data) in layers {
            let mut builder = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_size(data.len() as u64);
            header.set_mode(0o755);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            builder.append(&header, data.as_slice()).unwrap();
            let layer = builder.into_inner().unwrap();
            let hex: String = Sha256::digest(&layer).iter().map(|byte| format!("{byte:02x}")).collect();
            ids.push(format!("sha256:{hex}"));
            descriptors.push(self.put("application/vnd.oci.image.layer.v1.tar", &pack(&layer)));
        }
        let platform = json!({"os": os, "architecture": arch});
        let document = json!({
            "os": os, "architecture": arch, "config": config, "rootfs": {"type": "layers", "diff_ids": ids},
        });
        let mut of_config = self.put_json("application/vnd.oci.image.config.v1+json", &document);
        of_config["platform"] = platform.clone();
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": of_config, "layers": descriptors});
        let mut descriptor = self.put_json(MANIFEST, &manifest);
        descriptor["platform"] = platform;
        descriptor
    }

    fn index(&self, manifests: &[Value]) -> Value {
        self.put_json(INDEX, &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}))
    }

    /// Gives one image a tag. Returns what it is called.
    fn tag(&self, mut root: Value, tag: &str) -> String {
        root["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [root]});
        fs::write(self.0.join("index.json"), index.to_string()).unwrap();
        format!("oci:{}:{tag}", self.0.display())
    }
}

fn plain(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn run(lab: &Lab, keeper: Keeper, options: &[&str], image: &str, words: &[&str]) -> Said {
    let name = lab.name("vm");
    let units: &[&str] = if keeper.has_units() { &["--systemd"] } else { &[] };
    lab.kraft([&["run", "-d", "--name", &name], units, options, &[image], words].concat())
}

/// What is in the directories of machines' files but the locks, if anything.
fn files(lab: &Lab) -> Vec<String> {
    let entries = ["files", "rootfs"].map(|dir| fs::read_dir(lab.state().join(dir)).into_iter().flatten().flatten());
    let names = entries.into_iter().flatten().map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|name| name != ".lock").collect()
}

fn read(path: impl AsRef<Path>) -> Vec<u8> {
    fs::read(path).unwrap()
}

fn an_image_of_upstreams_layout_runs(keeper: Keeper) {
    let lab = keeper.lab("imageup").with_store();
    let layout = Layout::new(&lab);
    let config = json!({"Cmd": ["tick=100", "from-the-image"], "Labels": {"team": "a"}});
    let layers = [("unikraft/bin/kernel", read(guest("tiny")))];
    let ours = layout.image("qemu", "x86_64", &config, &layers, plain);
    let other = layout.image("xen", "x86_64", &config, &[("unikraft/bin/kernel", b"for Xen".to_vec())], plain);
    let name = layout.tag(layout.index(&[other, ours]), "v1");
    let explained = lab.kraft(["run", "--explain", &name]).ok();
    for line in [
        "oci          yes",
        "qemu/x86_64 is the best of 2 for this host",
        "it has /unikraft/bin/kernel",
        "kernel       sha256:",
        "from-the-image",
    ] {
        assert!(explained.contains(line), "no '{line}' in:\n{explained}");
    }
    run(&lab, keeper, &[], &name, &[]).ok();
    // The machine has all that it needs.
    fs::remove_dir_all(&layout.0).unwrap();
    lab.until_console("vm", "tick=100 from-the-image");
    lab.until_console("vm", "tick 3");
    assert_eq!(lab.inspect("vm")["record"]["spec"]["labels"]["team"], "a");
    lab.kraft(["restart", &lab.name("vm")]).ok();
    lab.until_console("vm", "tick 3");
    lab.kraft(["rm", "--force", &lab.name("vm")]).ok();
    assert_eq!(files(&lab), Vec::<String>::new());
}

fn an_image_of_uruncs_layout_runs(keeper: Keeper) {
    let lab = keeper.lab("imageurunc").with_store();
    let layout = Layout::new(&lab);
    // unikernelType linux, hypervisor qemu, binary /.boot/kernel, initrd /.boot/rootfs.
    let keys = br#"{"com.urunc.unikernel.unikernelType": "bGludXg=", "com.urunc.unikernel.hypervisor": "cWVtdQ==",
        "com.urunc.unikernel.binary": "Ly5ib290L2tlcm5lbA==", "com.urunc.unikernel.initrd": "Ly5ib290L3Jvb3Rmcw=="}"#;
    let layers = [
        (".boot/kernel", read(guest("linux"))),
        (".boot/rootfs", read(guest("linux.cpio"))),
        ("urunc.json", keys.to_vec()),
    ];
    let pack = if keeper.has_units() { gzip } else { zstd };
    let name = layout.tag(layout.image("linux", "amd64", &json!({}), &layers, pack), "latest");
    let options = ["-M", "256M", "-a", "console=ttyS0", "-a", "no_timer_check"];
    run(&lab, keeper, &options, &name, &[]).ok();
    lab.until_console("vm", "guest: ready");
    lab.kraft(["rm", "--force", &lab.name("vm")]).ok();
    assert_eq!(files(&lab), Vec::<String>::new());
}

#[test]
fn the_directory_of_an_image_is_where_its_program_starts() {
    let lab = Lab::new("imagedir").with_store();
    let layout = Layout::new(&lab);
    let image = |kernel: &str| {
        let layers = [("unikraft/bin/kernel", read(guest(kernel)))];
        layout.tag(layout.image("qemu", "x86_64", &json!({"WorkingDir": "/srv/here"}), &layers, plain), "v1")
    };
    let (name, program) = (lab.name("vm"), guest("show-static"));
    let run = |options: &[&str], image: &str| {
        let words = ["run", "--systemd", "-d", "--name", &name, "--rootfs", &program];
        lab.kraft([&words, options, &[image, "--", &program]].concat()).ok();
        let lines = lab.until_console("vm", "show: done");
        lab.kraft(["rm", "--force", &name]).ok();
        lines.into_iter().find(|line| line.contains("directory [")).unwrap()
    };
    let loader = image("elfloader");
    assert!(run(&[], &loader).contains("directory [/srv/here]"));
    assert!(run(&["--workdir", "/srv/there"], &loader).contains("directory [/srv/there]"));
    // Other kernels have none.
    let tiny = image("tiny");
    let explained = lab.kraft(["run", "--explain", &tiny]).ok();
    let note = "note         the working directory /srv/here is not passed on: its kernel is no loader of programs";
    assert!(explained.lines().any(|line| line == note), "{explained}");
    let error = lab.kraft(["run", "--workdir", "/srv", &tiny]).fails(125);
    assert!(error.starts_with("--workdir goes with a program for Linux: "), "{error}");
}

#[test]
fn the_files_of_an_image_may_be_the_root_file_system() {
    let lab = Lab::new("imageroot").with_store();
    let layout = Layout::new(&lab);
    let layers = [("bin/show", read(guest("show-static")))];
    let image = layout.tag(layout.image("linux", "amd64", &json!({}), &layers, gzip), "v1");
    let (name, loader) = (lab.name("vm"), guest("elfloader"));
    let words = ["run", "--systemd", "-d", "--name", &name, "--rootfs", &image, &loader, "--", "/bin/show", "a word"];
    lab.kraft(words).ok();
    lab.until_console("vm", "argument [a word]");
    assert_eq!(lab.inspect("vm")["record"]["spec"]["rootfs_image"]["reference"], *image);
    // Its file says what it was made of.
    let text = lab.kraft(["export", &name]).ok();
    assert!(text.contains(&format!("rootfs = \"{image}\"\n")) && text.contains("kernel = "), "{text}");
    lab.kraft(["rm", "--force", &name]).ok();
    let dir = lab.state().with_file_name("m");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join(format!("{name}.toml")), &text).unwrap();
    let apply = || lab.kraft(["apply", dir.to_str().unwrap()]).ok();
    assert_eq!(apply(), format!("created {name}\n"));
    lab.until_console("vm", "argument [a word]");
    assert_eq!(apply(), format!("unchanged {name}\n"));
    lab.kraft(["rm", "--force", &name]).ok();
    assert_eq!(files(&lab), Vec::<String>::new());

    // A name needs its tag, so that a file that is missing is no image.
    let run = |rootfs: &str| lab.kraft(["run", "-d", "--pull", "never", "--name", &name, "--rootfs", rootfs, &loader]);
    let error = run("no:such").fails(127);
    assert!(
        error.starts_with("rootfs no:such is no file here, and as an image: image unikraft.org/no:such"),
        "{error}"
    );
    assert_eq!(run("missing.cpio").fails(127), "rootfs not found: missing.cpio");
    assert!(run("./no:such").fails(127).starts_with("rootfs not found: "));
}

#[test]
fn an_image_that_was_made_here_runs_by_its_name() {
    let lab = Lab::new("imagemade").with_store();
    let tiny = guest("tiny");
    let made = lab.kraft(["pkg", "build", "-n", "imaged/tiny", "-k", &tiny, "--", "exit=3"]).ok();
    assert_eq!(made, "unikraft.org/imaged/tiny:latest\n");
    let vm = lab.name("vm");
    // What is typed takes the place of the image's command.
    for (name, words, code) in [
        ("imaged/tiny", [].as_slice(), 3),
        ("unikraft.org/imaged/tiny:latest", &["--", "exit=4"], 4),
        ("imaged/tiny", &["exit=5"], 5),
    ] {
        let said = lab.kraft([&["run", "--rm", "--name", &vm, name], words].concat());
        assert_eq!(said.code, code, "{name} {words:?}: {}", said.err);
    }
    assert_eq!(files(&lab), Vec::<String>::new());
}

#[test]
fn an_image_that_cannot_run_is_one_error_and_leaves_nothing() {
    let lab = Lab::new("imagebad").with_store();
    let layout = Layout::new(&lab);
    let vm = lab.name("vm");
    let run = |name: &str| lab.kraft(["run", "-d", "--name", &vm, name]);
    let kernel = || vec![("unikraft/bin/kernel", read(guest("tiny")))];
    let image = |os, layers: &[(&str, Vec<u8>)]| {
        layout.tag(layout.index(&[layout.image(os, "x86_64", &json!({}), layers, gzip)]), "v1")
    };
    let error = run(&image("xen", &kernel())).fails(125);
    assert!(error.ends_with("it is for xen, and kraft runs what is for qemu"), "{error}");
    let mut outside = kernel();
    outside.push(("../../outside", b"x".to_vec()));
    let error = run(&image("qemu", &outside)).fails(125);
    assert!(error.ends_with("../../outside: the name leads out by '..'"), "{error}");
    let (error, _) = run(&image("linux", &[("bin/sh", b"#!".to_vec())])).fails_with_hint(127);
    assert!(error.contains("has no kernel: it has neither"), "{error}");
    // A layer that is not what it says.
    let mut more = kernel();
    more.push(("extra", (0..60_000_u32).flat_map(|n| Sha256::digest(n.to_le_bytes())[..2].to_vec()).collect()));
    let name = image("qemu", &more);
    let blobs = layout.0.join("blobs/sha256");
    let largest = fs::read_dir(&blobs).unwrap().flatten().max_by_key(|blob| blob.metadata().unwrap().len()).unwrap();
    let mut bytes = read(largest.path());
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(largest.path(), bytes).unwrap();
    let error = run(&name).fails(125);
    assert!(error.contains("is not what came"), "{error}");
    let error = run(&format!("oci:{}:none", layout.0.display())).fails(127);
    assert!(error.ends_with("there is no image 'none' in it: their tags are v1"), "{error}");
    let said = lab.kraft(["run", "-d", "--pull", "never", "--name", &vm, "no-such-image"]);
    let (error, _) = said.fails_with_hint(127);
    assert!(error.contains("unikraft.org/no-such-image:latest"), "{error}");
    assert_eq!((lab.state_of("vm").as_str(), files(&lab)), ("absent", Vec::<String>::new()));
}
