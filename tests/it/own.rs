//! A machine's own files: what it was made of may be written anew, move or go away.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::keeper::{Keeper, everywhere};
use crate::lab::{Lab, guest};

everywhere! {
    a_start_does_not_look_where_it_came_from,
}

/// What is kept of files, but the lock.
fn kept(lab: &Lab) -> Vec<String> {
    let entries = fs::read_dir(lab.state().join("files")).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|name| name != ".lock").collect()
}

fn own(lab: &Lab, short: &str, file: &str) -> PathBuf {
    lab.state().join("machines").join(lab.name(short)).join(file)
}

/// A RAM disk with nothing but its end.
fn ram_disk() -> Vec<u8> {
    let mut archive = b"070701".to_vec();
    for field in ["0", "0", "0", "0", "1", "0", "0", "0", "0", "0", "0", "b", "0"] {
        archive.extend(format!("{field:0>8}").bytes());
    }
    archive.extend(b"TRAILER!!!\0");
    archive.resize(512, 0);
    archive
}

fn a_start_does_not_look_where_it_came_from(keeper: Keeper) {
    let lab = keeper.lab("ownfiles");
    let name = lab.name("web");
    let (kernel, disk) = (format!("/tmp/{name}.elf"), format!("/tmp/{name}.cpio"));
    fs::copy(guest("tiny"), &kernel).unwrap();
    fs::write(&disk, ram_disk()).unwrap();
    let systemd = if keeper.has_units() { &["--systemd"][..] } else { &[] };
    let words = ["-q", "--name", &name, "-i", &disk, &kernel, "tick=50"];
    lab.kraft([&["create"], systemd, &words[..]].concat()).ok();
    let starts = || {
        lab.kraft(["start", &name]).ok();
        lab.until_console("web", "tick 2");
        lab.kraft(["stop", "-f", &name]).ok();
    };
    // In its place, so that whoever had it open or a hard link of it would see that.
    for file in [&kernel, &disk] {
        let before = Path::new(file).metadata().unwrap().ino();
        fs::write(file, "something else").unwrap();
        assert_eq!(Path::new(file).metadata().unwrap().ino(), before);
    }
    starts();
    fs::remove_file(&kernel).unwrap();
    fs::remove_file(&disk).unwrap();
    starts();
    let spec = lab.inspect("web")["record"]["spec"].clone();
    assert_eq!((&spec["kernel"]["given"], &spec["rootfs"]), (&kernel.as_str().into(), &disk.as_str().into()));
    assert_eq!(spec["kernel"]["path"], own(&lab, "web", "kernel").to_str().unwrap());
    assert_eq!(spec["initrd"], own(&lab, "web", "rootfs.cpio").to_str().unwrap());
    assert_eq!(lab.ps("web")["kernel"], kernel);
    let exported = lab.kraft(["export", &name]).ok();
    assert!(exported.contains(&kernel) && exported.contains(&disk) && !exported.contains("rootfs.cpio"), "{exported}");
    lab.kraft(["rm", &name]).ok();
}

#[test]
fn machines_have_a_kernel_once() {
    let lab = Lab::new("ownonce").with_store();
    let kernel = lab.file("k.elf", &fs::read(guest("tiny")).unwrap());
    let inode = |short: &str| own(&lab, short, "kernel").metadata().unwrap();
    for short in ["a", "b", "c"] {
        lab.kraft(["create", "-q", "--name", &lab.name(short), &kernel]).ok();
        assert_eq!(inode(short).ino(), inode("a").ino());
    }
    assert_eq!(inode("a").nlink(), 4);
    fs::copy(guest("tiny32"), &kernel).unwrap();
    lab.kraft(["create", "-q", "--name", &lab.name("d"), &kernel]).ok();
    assert_ne!(inode("d").ino(), inode("a").ino());
    lab.kraft(["rm", &lab.name("a"), &lab.name("b"), &lab.name("c")]).ok();
    let left = kept(&lab);
    assert_eq!(left.iter().filter(|name| name.ends_with(".file")).count(), 1, "{left:?}");
    // What was taken by nobody is not left.
    lab.kraft(["create", "-q", "--name", &lab.name("d"), &guest("tiny")]).fails(125);
    assert_eq!(kept(&lab), left);
    lab.kraft(["rm", &lab.name("d")]).ok();
    assert_eq!(kept(&lab), Vec::<String>::new());
}

#[test]
fn an_applied_machine_is_another_when_its_kernel_is() {
    let lab = Lab::new("ownapply").with_store();
    let tiny = fs::read(guest("tiny")).unwrap();
    let kernel = lab.file("k.elf", &tiny);
    let (name, dir) = (lab.name("web"), Path::new(&kernel).with_file_name("machines"));
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(format!("{name}.toml")), "kernel = \"../k.elf\"\nkernel-args = [\"tick=50\"]\n").unwrap();
    let apply = |wanted: &str| {
        assert_eq!(lab.kraft(["apply", dir.to_str().unwrap()]).ok(), format!("{wanted} {name}\n"));
    };
    apply("created");
    // The same content, in another file.
    fs::remove_file(&kernel).unwrap();
    fs::write(&kernel, &tiny).unwrap();
    apply("unchanged");
    fs::write(&kernel, [&tiny[..], b"\0\0\0\0"].concat()).unwrap();
    apply("changed");
    assert_eq!(fs::read(own(&lab, "web", "kernel")).unwrap().len(), tiny.len() + 4);
    lab.until_console("web", "tick 2");
    // One that an earlier kraft made has no file of its own, and stays as it is.
    let record = own(&lab, "web", "machine.toml");
    let text = fs::read_to_string(&record).unwrap();
    let given = text.lines().find_map(|line| line.strip_prefix("given = ")).unwrap();
    let rest = text.lines().filter(|line| !line.starts_with("given = ") && !line.starts_with("digest = "));
    let old: Vec<String> = rest
        .map(|line| if line.starts_with("path = ") { format!("path = {given}") } else { line.to_owned() })
        .collect();
    fs::write(&record, old.join("\n") + "\n").unwrap();
    apply("unchanged");
    lab.kraft(["stop", "-f", &name]).ok();
    lab.kraft(["start", &name]).ok();
    lab.kraft(["rm", "--force", &name]).ok();
}

#[test]
fn a_declared_machine_does_without_what_is_gone() {
    let lab = Lab::new("owndeclared").with_store();
    let tiny = fs::read(guest("tiny")).unwrap();
    let (kernel, name) = (lab.file("k.elf", &tiny), lab.name("web"));
    let config = Path::new(&kernel).with_file_name("config");
    fs::create_dir_all(config.join("machines")).unwrap();
    let lab = lab.with_env("KRAFT_CONFIG_DIR", config.to_str().unwrap());
    let file = config.join("machines").join(format!("{name}.toml"));
    let say = |memory: &str| fs::write(&file, format!("kernel = \"{kernel}\"\nmemory = \"{memory}\"\n")).unwrap();
    let memory = || lab.inspect("web")["record"]["spec"]["memory"].clone();
    // As the machine's unit does it before each start.
    let declare = || lab.kraft(["runner", "--declared", &name]);
    say("64Mi");
    declare().ok();
    assert_eq!(lab.inspect("web")["record"]["spec"]["kernel"]["given"], kernel);
    fs::remove_file(&kernel).unwrap();
    let said = declare();
    assert!(said.err.contains(&format!("{kernel} is not there any more")), "{}", said.err);
    said.ok();
    assert!(fs::read(own(&lab, "web", "kernel")).unwrap() == tiny);
    // What the file asks for now cannot be had without it.
    say("65Mi");
    let error = declare().fails(127);
    assert!(error.contains(&format!("kernel not found: {kernel}")), "{error}");
    assert_eq!(memory(), 64 << 20);
    fs::write(&kernel, &tiny).unwrap();
    declare().ok();
    assert_eq!(memory(), 65 << 20);
    fs::remove_file(&file).unwrap();
    lab.kraft(["rm", &name]).ok();
    assert_eq!(kept(&lab), Vec::<String>::new());
}
