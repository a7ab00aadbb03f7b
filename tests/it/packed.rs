//! Images that are made here: that other tools take them, and that the same files make the same image.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::lab::{DEADLINE, Lab, Said, finish, guest};

/// A directory of the test's own, with a root file system in it.
fn own(lab: &Lab) -> PathBuf {
    let dir = lab.state().parent().unwrap().join("images");
    fs::create_dir_all(dir.join("root/etc")).unwrap();
    fs::write(dir.join("root/etc/motd"), "hello\n").unwrap();
    std::os::unix::fs::symlink("etc/motd", dir.join("root/motd")).unwrap();
    dir
}

fn run(program: &str, args: &[&str]) -> Said {
    let mut command = Command::new(program);
    command.args(args);
    finish(command, DEADLINE)
}

/// `kraft pkg build` of a kernel of Unikraft's with a root file system.
fn build(lab: &Lab, dir: &Path, output: &str) -> Said {
    let (kernel, root) = (guest("net-unikraft"), dir.join("root"));
    let options = ["-k", &kernel, "--rootfs", root.to_str().unwrap(), "-n", "packed/net:v1", "--output", output];
    lab.kraft([&["pkg", "build"], &options[..], &["-e", "A=b c", "-l", "who=me", "--", "/app", "one two"]].concat())
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn other_tools_unpack_what_is_made() {
    let lab = Lab::new("packedtools").with_store();
    let dir = own(&lab);
    let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    assert_eq!(build(&lab, &dir, &format!("oci:{}", at("layout"))).ok(), format!("oci:{}\n", at("layout")));
    assert!(build(&lab, &dir, &format!("oci-archive:{}:v2", at("image.tar"))).ok().ends_with(":v2\n"));
    // What a container engine on this host would take of it, by both ways.
    for from in [format!("oci:{}:v1", at("layout")), format!("oci-archive:{}:v2", at("image.tar"))] {
        let copy = at("copy");
        let _ = fs::remove_dir_all(&copy);
        run("skopeo", &["--insecure-policy", "copy", "-q", &from, &format!("oci:{copy}:x")]).ok();
        let config: Value =
            serde_json::from_str(&run("skopeo", &["inspect", "--config", &format!("oci:{copy}:x")]).ok()).unwrap();
        assert_eq!((&config["os"], &config["architecture"]), (&"linux".into(), &"amd64".into()));
        assert_eq!(config["config"]["Cmd"], serde_json::json!(["/app", "one two"]));
        assert_eq!(config["config"]["Env"], serde_json::json!(["A=b c"]));
        assert_eq!(config["config"]["Labels"]["com.urunc.unikernel.unikernelType"], "unikraft");
        let bundle = dir.join("bundle");
        let _ = fs::remove_dir_all(&bundle);
        run("umoci", &["unpack", "--image", &format!("{copy}:x"), bundle.to_str().unwrap()]).ok();
        let root = bundle.join("rootfs");
        assert_eq!(fs::read(root.join("unikraft/bin/kernel")).unwrap(), fs::read(guest("net-unikraft")).unwrap());
        assert!(fs::read(root.join("unikraft/bin/initrd")).unwrap().starts_with(b"070701"));
        // Its values are those of the annotations, in base64.
        assert_eq!(json(&root.join("urunc.json"))["com.urunc.unikernel.binary"], "L3VuaWtyYWZ0L2Jpbi9rZXJuZWw=");
        assert_eq!(json(&bundle.join("config.json"))["process"]["args"], serde_json::json!(["/app", "one two"]));
    }
    // All of it, with every blob checked.
    let all = at("all");
    run(
        "skopeo",
        &[
            "--insecure-policy",
            "copy",
            "-q",
            "--all",
            "--preserve-digests",
            &format!("oci:{}:v1", at("layout")),
            &format!("oci:{all}:x"),
        ],
    )
    .ok();
    let index = json(&dir.join("layout/index.json"));
    assert_eq!(json(&dir.join("all/index.json"))["manifests"][0]["digest"], index["manifests"][0]["digest"]);
    let digest = index["manifests"][0]["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    let platforms = json(&dir.join("layout/blobs/sha256").join(digest))["manifests"].clone();
    assert_eq!(
        (&platforms[0]["platform"]["os"], &platforms[0]["platform"]["architecture"]),
        (&"qemu".into(), &"x86_64".into())
    );
}

#[test]
fn the_same_files_make_the_same_image() {
    let lab = Lab::new("packedsame").with_store();
    let dir = own(&lab);
    let archive = |name: &str| {
        let path = dir.join(name);
        build(&lab, &dir, &format!("oci-archive:{}", path.display())).ok();
        fs::read(path).unwrap()
    };
    let first = archive("one.tar");
    // Another time of every file, another order in the directory.
    let root = dir.join("root");
    fs::rename(root.join("motd"), dir.join("motd")).unwrap();
    fs::write(root.join("new"), "").unwrap();
    fs::rename(dir.join("motd"), root.join("motd")).unwrap();
    fs::remove_file(root.join("new")).unwrap();
    assert!(first == archive("two.tar"), "the archives differ");
    let dated = |epoch: &str, name: &str| {
        let (path, kernel) = (dir.join(name), guest("tiny"));
        let output = format!("oci-archive:{}", path.display());
        lab.kraft_with("SOURCE_DATE_EPOCH", epoch, ["pkg", "-k", &kernel, "--output", &output]).ok();
        fs::read(path).unwrap()
    };
    assert!(dated("1700000000", "a.tar") == dated("1700000000", "b.tar"), "the archives differ");
    assert!(dated("1700000000", "a.tar") != dated("1700000001", "b.tar"), "the time is not in it");
    let rest: Vec<_> =
        fs::read_dir(lab.state().join("rootfs")).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(rest, [".lock"], "what was packed on the way is gone");
}

#[test]
fn what_cannot_be_packed_is_one_error() {
    let lab = Lab::new("packedbad").with_store();
    let dir = own(&lab);
    let (tiny, root) = (guest("tiny"), dir.join("root"));
    let root = root.to_str().unwrap();
    let out = format!("oci:{}", dir.join("out").display());
    for (options, code, why) in [
        (["-k", root, "-n", "a"].as_slice(), 125, "is a directory"),
        (&["-k", "/no-such", "-n", "a"], 127, "kernel not found: /no-such"),
        (&["-k", &tiny, "-n", "a", "--rootfs", "/no-such"], 127, "rootfs not found: /no-such"),
        (&["-k", &tiny, "-n", "a", "-m", "arm64"], 125, "is for x86_64, not arm64"),
        (&["-k", &tiny, "-n", "a", "-l", "=b"], 125, "bad label '=b': it has no key"),
        (&["-k", &tiny, "-n", "a@sha256:00"], 125, "bad image"),
        (&["-k", &tiny, "--output", "/somewhere"], 125, "it is written to oci:DIR[:TAG]"),
        (&["-k", &tiny, "--output", &format!("oci:{root}")], 125, "it is a directory with something else in it"),
        (&["-k", &tiny, "--output", &format!("docker-archive:{root}.tar")], 125, "is no docker-archive"),
    ] {
        let said = lab.kraft([&["pkg", "build"], options].concat());
        assert_eq!(said.code, code, "{options:?}: {}", said.err);
        assert!(said.err.contains(why), "{options:?}: {}", said.err);
    }
    let said = lab.kraft(["pkg", "build", "-k", &tiny, "-n", "a/b"]);
    assert!(said.err.contains("urunc does not know this kind of kernel"), "{}", said.err);
    assert_eq!(said.ok(), "unikraft.org/a/b:latest\n");
    let said =
        lab.kraft(["pkg", "build", "-k", &tiny, "--output", &out, "-l", "com.urunc.unikernel.unikernelType=mirage"]);
    assert_eq!(said.err, "");
    said.ok();
    // One that was killed half-way is in nobody's way, and a layout takes more than one.
    lab.kraft(["pkg", "build", "-k", &tiny, "--output", &format!("{out}:v2")]).ok();
    assert_eq!(json(&dir.join("out/index.json"))["manifests"].as_array().unwrap().len(), 2);
}
