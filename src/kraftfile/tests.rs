#![allow(clippy::unwrap_used)]

use super::*;
use crate::machine::{MountSource, ShareDriver};

fn variables(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("8080".into()),
        "HOME" => Some("/home/a: b".into()),
        _ => None,
    }
}

fn read(text: &str) -> Result<Kraftfile> {
    parse(text, Path::new("/src/My App/Kraftfile"), Path::new("/src/My App"), &variables)
}

fn flaw(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

#[test]
fn a_file_of_0_6_says_what_to_run() {
    let file = read(
        r#"
spec: v0.6
name: Hello_World!
runtime: base:latest
rootfs: ./rootfs
cmd: ["/server", "--port", "${PORT}", 8]
env:
  - PORT=${PORT}
  - HOME
  - EMPTY=
volumes:
  - ./data:/data:ro
  - html:/www
  - source: /srv
    destination: /srv
    driver: 9pfs
    readonly: true
  - ./all
labels: { a: b, org.x: "${HOME}" }
targets:
  - qemu/x86_64
  - name: small
    plat: fc/aarch64
  - { platform: kvm, architecture: amd64, kernel: out/k }
x-anything: [1, 2]
libraries:
  musl: stable
"#,
    )
    .unwrap();
    assert_eq!(file.name, "hello_world");
    assert_eq!(file.runtime, Some(Runtime::Image("base:latest".into())));
    assert_eq!(file.rootfs, Some("./rootfs".into()));
    assert_eq!(file.cmd, ["/server", "--port", "8080", "8"]);
    let env = [("EMPTY", ""), ("HOME", "/home/a: b"), ("PORT", "8080")];
    assert_eq!(file.env, env.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    assert_eq!(file.labels["org.x"], "/home/a: b");
    let volumes: Vec<String> = file.volumes.iter().map(ToString::to_string).collect();
    let dir = "/src/My App";
    assert_eq!(
        volumes,
        [format!("{dir}/data:/data:ro"), "html:/www".into(), "/srv:/srv:ro,9p".into(), format!("{dir}/all:/")]
    );
    assert_eq!(file.volumes[1].source, MountSource::Volume("html".parse().unwrap(), "".into()));
    assert_eq!(file.volumes[2].driver, Some(ShareDriver::NineP));
    let named = Target { name: Some("small".into()), ..Target::new("fc", "arm64") };
    let own = Target { kernel: Some("out/k".into()), ..Target::new("qemu", "x86_64") };
    assert_eq!(file.targets, [Target::new("qemu", "x86_64"), named, own]);
    assert!(!file.unikraft && file.notes.is_empty(), "{:?}", file.notes);
}

#[test]
fn a_file_of_0_5_says_what_to_run() {
    let file =
        read("specification: '0.5'\nunikraft: stable\ncmd: /a b\ntargets:\n- architecture: x86_64\n  platform: qemu\n");
    let file = file.unwrap();
    assert_eq!((file.name.as_str(), file.unikraft, file.cmd), ("myapp", true, vec!["/a b".to_owned()]));
    assert_eq!(file.targets, [Target::new("qemu", "x86_64")]);
    assert_eq!(file.outdir, Path::new(".unikraft/build"));
}

#[test]
fn runtimes_are_kernels_or_images() {
    let of = |text: &str| read(&format!("spec: v0.6\nruntime: {text}\n")).unwrap().runtime.unwrap();
    let image = |text: &str| Runtime::Image(text.into());
    assert_eq!(of("nginx"), image("nginx"));
    assert_eq!(of("oci://localhost:5000/a:1"), image("localhost:5000/a:1"));
    assert_eq!(of("{source: unikraft.org/base, version: latest}"), image("unikraft.org/base:latest"));
    assert_eq!(of("{source: 'localhost:5000/base', version: 2}"), image("localhost:5000/base:2"));
    assert_eq!(of("{name: 'base:1', version: 2}"), image("base:1"));
    assert_eq!(of("kernel://k/app"), Runtime::Kernel("k/app".into()));
    assert_eq!(of("./k/app"), Runtime::Kernel("./k/app".into()));
}

#[test]
fn what_is_wrong_is_told_with_line_and_key() {
    let at = |place: &str| format!("/src/My App/Kraftfile:{place}");
    for (text, expected) in [
        ("spec: v0.6\nruntime: [\n", "3:1: "),
        ("spec: v0.6\nx: y\nspec: v0.6\n", "3:1: duplicate entry with key \"spec\""),
        ("spec: v0.6\nenv:\n  A: 1\n  B: {A: 2}\n  A : 3\n", "5:3: env: duplicate entry with key \"A\""),
        ("spec: v0.6\nenv: {A: 1, A: 2}\n", "2:6: env: duplicate entry with key \"A\""),
        ("spec: v0.6\n\truntime: x\n", "2:1: found a tab character"),
        ("spec: v0.6\n---\nspec: v0.6\n", "1:1: deserializing from YAML containing more than one document"),
        ("- spec\n", "1:1: it is a list, and has to be a map"),
        ("name: x\nruntime: y\n", "1:1: it has no spec"),
        ("spec: v0.6\n", "1:1: it says nothing to run: it has no runtime, no unikraft and no targets"),
        ("name: x\nspec: v0.9\n", "2:1: spec: unknown specification 'v0.9': known are v0.5, v0.6"),
        ("spec: v0.6\nruntime: x\nrootfs: ${NONE}\n", "3:1: rootfs: variable NONE is not set"),
        ("spec: v0.6\nruntime: x\nvolumes:\n  - ./a:/a\n  - b:c:d:e\n", "5:5: volumes[1]: bad volume "),
        ("spec: v0.6\nruntime: x\nvolumes: {a: b}\n", "3:1: volumes: it is a map, and has to be a list"),
        ("spec: v0.6\ntargets:\n- qemu/x86_64\n- plat: fc\n  arch: {}\n", "5:3: targets[1].arch: it is a map"),
        ("spec: v0.6\ntargets:\n- qemu\n", "3:3: targets[0]: bad target 'qemu'"),
        ("spec: v0.6\nruntime: x\nenv:\n  A: 1\n  NONE:\n", "5:3: env.NONE: environment variable NONE is not set"),
        ("spec: v0.6\nruntime: x\ncmd: {a: b}\n", "3:1: cmd: it is a map, and has to be a text"),
        ("spec: v0.6\nruntime: ''\n", "2:1: runtime: it is empty"),
    ] {
        let found = flaw(text);
        assert!(found.starts_with(&at(expected)), "{text}: {found}");
    }
    // What would take the YAML crate minutes.
    let deep = flaw(&format!("spec: v0.6\nx-a: {}\n", "[".repeat(1 << 19)));
    assert_eq!(deep, at("2:1: more than 1000 brackets are open"));
    assert_eq!(read("\u{feff}spec: v0.6\r\nruntime: x\r\ncmd: a\r\n").unwrap().cmd, ["a"]);
    let noted = read("spec: v0.6\nruntime: x\nnoodles: 1\n").unwrap().notes;
    assert_eq!(noted, [at("3:1: noodles: no such key")]);
}

#[test]
fn files_of_targets() {
    let of = |name: &str| Target::of_file(name);
    assert_eq!(of("app_qemu-x86_64"), Some(("app".into(), Target::new("qemu", "x86_64"))));
    assert_eq!(of("my_app-1_kvm-x86_64"), Some(("my_app-1".into(), Target::new("qemu", "x86_64"))));
    assert_eq!(of("app_fc-arm64"), Some(("app".into(), Target::new("fc", "arm64"))));
    for name in ["app_qemu-x86_64.dbg", "app", "_qemu-x86_64", "app_vmware-x86_64", "initramfs-x86_64.cpio", "a_b-c"] {
        assert_eq!(of(name), None, "{name}");
    }
    for target in [Target::new("kvm", "amd64"), Target::new("xen", "arm")] {
        for file in target.files("a_b-c") {
            assert_eq!(of(&file), Some(("a_b-c".into(), target.clone())));
        }
    }
    let target = Target { name: Some("small".into()), ..Target::new("qemu", "x86_64") };
    assert!(["small", "kvm", "qemu/amd64"].iter().all(|wanted| target.is(wanted)));
    assert!(["fc", "qemu/arm64", "x86_64", ""].iter().all(|wanted| !target.is(wanted)));
}
