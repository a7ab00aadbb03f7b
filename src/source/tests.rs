#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::machine::MachineId;
use crate::store;

/// A directory of its own, gone with it.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let id = MachineId::from_bytes(store::random().unwrap());
        let dir = std::env::temp_dir().join(format!("kraft-source-{id}"));
        std::fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A kernel, as far as anybody looks here.
    fn kernel(&self, name: &str) -> PathBuf {
        let mut image = vec![0; 0x300];
        image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        image[0x1f1] = 0;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image.resize(5 * 512, 0);
        self.file(name, &image)
    }

    fn kraftfile(&self, text: &str) {
        self.file("Kraftfile", format!("spec: v0.6\nname: app\n{text}").as_bytes());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn asked() -> Asked<'static> {
    Asked {
        forced: None,
        target: None,
        kraftfile: None,
        platform: Platform::Qemu,
        arch: Some(Arch::X86_64),
        variables: &|name| (name == "WHO").then(|| "me".to_owned()),
        images: &|name, _| Err(Error::of(Kind::NotFound, format!("no image {name} here"))),
    }
}

fn find(path: &Path, asked: &Asked<'_>) -> Result<Found> {
    look(Some(path), asked).found
}

fn flaw(path: &Path, asked: &Asked<'_>) -> String {
    find(path, asked).unwrap_err().to_string()
}

#[test]
fn what_may_be_there_is_no_image() {
    use std::os::unix::ffi::OsStrExt as _;
    let place = Place::new();
    let at = |name: &str| place.0.join(name);
    std::os::unix::fs::symlink("nothing", at("link")).unwrap();
    std::os::unix::fs::symlink("loop", at("loop")).unwrap();
    let file = place.file("file", b"x");
    // The name is relative, as an image's would be: of who asks, nobody has to be where that is.
    let missing = |error: i32, path: &Path| {
        let error = std::io::Error::from_raw_os_error(error);
        elsewhere(path, &error, &asked(), &mut |_, _, _| {}).unwrap_err().to_string()
    };
    let (denied, nothing) = (rustix::io::Errno::ACCESS, rustix::io::Errno::NOENT);
    assert_eq!(missing(denied.raw_os_error(), Path::new("dir/web")), "kernel not found: dir/web");
    let as_image = "dir/web is no file here, and as an image: no image dir/web here";
    assert_eq!(missing(nothing.raw_os_error(), Path::new("dir/web")), as_image);
    let dangling = at("link").display().to_string();
    assert_eq!(flaw(&at("link"), &asked()), format!("{dangling} is a link to nothing, which leads nowhere"));
    assert_eq!(find(&at("link"), &asked()).unwrap_err().kind(), Kind::NotFound);
    assert!(flaw(&at("loop"), &asked()).starts_with("cannot read kernel "), "{}", flaw(&at("loop"), &asked()));
    assert!(flaw(&file.join("below"), &asked()).starts_with("cannot read kernel "));
    let foreign = Path::new(std::ffi::OsStr::from_bytes(b"a\xff"));
    assert_eq!(flaw(foreign, &asked()), "kernel not found: a\u{fffd}");
    // Nothing is fetched for what cannot be.
    let target = Asked { target: Some("x"), images: &|_, _| panic!("nothing is fetched"), ..asked() };
    for forced in [None, Some(As::Oci)] {
        let asked = Asked { forced, ..target };
        assert_eq!(flaw(Path::new("no/such"), &asked), "--target goes with a project, and no/such is none");
    }
}

#[test]
fn a_path_is_the_first_that_it_is() {
    let place = Place::new();
    let kernel = place.kernel("k");
    assert_eq!(find(&kernel, &asked()).unwrap(), Found::new(As::Kernel, kernel.clone()));
    let text = place.file("text", b"#!/bin/sh\n");
    assert!(flaw(&text, &asked()).contains("is a script, not a kernel"));
    let program = std::fs::read("/proc/self/exe").unwrap();
    let program = place.file("program", &program);
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let looked = look(Some(&program), &asked());
    let said: Vec<_> = looked.tried.iter().map(|tried| (tried.what, tried.is_it)).collect();
    assert_eq!(said, [(As::Kernel, false), (As::Binary, true)]);
    let empty = look(Some(&place.0), &asked());
    let why = empty.found.unwrap_err();
    assert!(why.to_string().contains("has no Kraftfile (kraft.yaml, kraft.yml, Kraftfile.yml"), "{why}");
    let said: Vec<_> = empty.tried.iter().map(|tried| (tried.what, tried.is_it)).collect();
    assert_eq!(said, [(As::Kernel, false), (As::Binary, false), (As::Project, false)]);
}

#[test]
fn what_is_no_path_is_an_image_unless_it_looks_like_a_path() {
    let names = ["nginx", "unikraft.org/nginx:1.15", "localhost:5000/a@sha256:00", "oci:dir", "oci-archive:a.tar"];
    for name in names {
        let looked = look(Some(Path::new(name)), &asked());
        assert!(looked.tried.last().is_some_and(|tried| tried.what == As::Oci && tried.is_it), "{name}");
    }
    for name in ["./missing", "/missing/k", "../missing/k", "~/k"] {
        let error = find(Path::new(name), &asked()).unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (Kind::NotFound, format!("kernel not found: {name}")));
    }
}

#[test]
fn what_is_forced_is_not_looked_for() {
    let place = Place::new();
    let kernel = place.kernel("k");
    let forced = |kind| Asked { forced: Some(kind), ..asked() };
    assert_eq!(find(&kernel, &forced(As::Kernel)).unwrap().what, As::Kernel);
    assert!(flaw(&kernel, &forced(As::Project)).ends_with(" is not a directory"));
    assert!(look(Some(&kernel), &forced(As::Oci)).tried[0].is_it);
    assert!(flaw(&place.0, &forced(As::Kernel)).ends_with("is a directory"));
    assert!(look(None, &forced(As::Oci)).found.is_err());
    assert_eq!(
        "kernels".parse::<As>().unwrap_err().to_string(),
        "unknown kind 'kernels': known are kernel, binary, project, oci"
    );
    let target = Asked { target: Some("qemu"), ..asked() };
    assert!(flaw(&kernel, &target).starts_with("--target goes with a project, and "));
}

#[test]
fn a_project_has_what_its_kraftfile_says() {
    let place = Place::new();
    let kernel = place.kernel(".unikraft/build/app_qemu-x86_64");
    place.kernel(".unikraft/build/other_qemu-x86_64");
    place.kraftfile(
        "unikraft: stable\ntargets: [qemu/arm64, fc/x86_64, qemu/x86_64]\nrootfs: ./root\ncmd: [a b, '${WHO}']\n\
         env: { A: 1 }\nlabels: [x=y]\nvolumes: ['./d:/d']\nnoodles: 1\n",
    );
    let found = find(&place.0, &asked()).unwrap();
    assert_eq!((found.what, found.kernel, found.arch), (As::Project, kernel, Some(Arch::X86_64)));
    assert_eq!(found.rootfs, Some(place.0.join("root")));
    assert_eq!(found.command, ["a b", "me"]);
    assert_eq!((found.env["A"].as_str(), found.labels["x"].as_str()), ("1", "y"));
    assert_eq!(found.volumes[0].to_string(), format!("{}:/d", place.0.join("d").display()));
    assert!(found.warnings[0].ends_with("Kraftfile:10:1: noodles: no such key"), "{:?}", found.warnings);
}

#[test]
fn a_project_has_its_directorys_name_however_that_is_given() {
    let place = Place::new();
    place.file("My App/Kraftfile", b"spec: v0.6\nunikraft: stable\ntargets: [qemu/x86_64]\n");
    place.kernel("My App/.unikraft/build/myapp_qemu-x86_64");
    place.file("My App/sub/file", b"");
    for dir in ["My App", "My App/", "My App/.", "My App/sub/.."] {
        assert!(find(&place.0.join(dir), &asked()).is_ok(), "{dir}");
    }
}

#[test]
fn a_project_that_is_not_built_says_how_that_is_done() {
    let place = Place::new();
    place.kraftfile("unikraft: stable\ntargets: [qemu/x86_64]\n");
    let error = find(&place.0, &asked()).unwrap_err();
    let kernel = place.0.join(".unikraft/build/app_qemu-x86_64");
    let why = format!("project app is not built for qemu/x86_64: there is no {}", kernel.display());
    assert_eq!((error.kind(), error.to_string()), (Kind::NotFound, why));
    let build = format!("`kraft build --plat qemu --arch x86_64 {}`", place.0.display());
    assert!(error.hint().unwrap().contains(&build), "{:?}", error.hint());
    place.kraftfile("unikraft: stable\n");
    assert!(flaw(&place.0, &asked()).starts_with("project app is not built for qemu/x86_64: "));
    place.kernel(".unikraft/build/app_kvm-x86_64");
    assert!(find(&place.0, &asked()).is_ok());
}

#[test]
fn a_target_is_chosen_without_a_question() {
    let place = Place::new();
    let build = |name: &str| place.kernel(&format!("out/{name}"));
    place.kraftfile(
        "outdir: out\ntargets:\n- {name: big, plat: qemu, arch: x86_64, kernel: out/big}\n\
         - {name: small, plat: qemu, arch: x86_64, kernel: out/small}\n- fc/x86_64\n- qemu/arm64\n",
    );
    let small = build("small");
    // Built before unbuilt.
    assert_eq!(find(&place.0, &asked()).unwrap().kernel, small);
    let big = build("big");
    assert_eq!(find(&place.0, &asked()).unwrap().kernel, big);
    let of = |target| find(&place.0, &Asked { target: Some(target), ..asked() });
    assert_eq!(of("small").unwrap().kernel, small);
    assert_eq!(of("kvm/amd64").unwrap().kernel, big);
    let file = place.0.join("Kraftfile");
    let known = "there are big (qemu/x86_64), small (qemu/x86_64), fc/x86_64, qemu/arm64";
    for (target, why) in [("no", "no target 'no'"), ("fc", "target 'fc' is not for qemu/x86_64")] {
        assert_eq!(of(target).unwrap_err().to_string(), format!("{}: {why}: {known}", file.display()));
    }
    let arm = Asked { arch: Some(Arch::Arm64), ..asked() };
    assert!(flaw(&place.0, &arm).starts_with("project app is not built for qemu/arm64"));
}

#[test]
fn a_runtime_is_a_kernel_or_an_image() {
    let place = Place::new();
    let kernel = place.kernel("k/loader");
    place.kraftfile("runtime: kernel://k/loader\nrootfs: root\ncmd: /server\n");
    let found = find(&place.0, &asked()).unwrap();
    assert_eq!((found.kernel, found.rootfs), (kernel, Some(place.0.join("root"))));
    place.kraftfile("runtime: base:latest\n");
    assert!(flaw(&place.0, &asked()).contains("Kraftfile: runtime: "));
    // One that is a file is the project's, wherever it is asked for from.
    place.kraftfile("runtime: oci:./layout\n");
    let error = flaw(&place.0, &asked());
    assert!(error.ends_with(&format!("no image oci:{}/layout here", place.0.display())), "{error}");
}

#[test]
fn a_build_without_a_kraftfile_is_a_project() {
    let place = Place::new();
    let kernel = place.kernel(".unikraft/build/app_qemu-x86_64");
    place.file(".unikraft/build/app_qemu-x86_64.dbg", b"x");
    place.kernel(".unikraft/build/app_fc-x86_64");
    assert_eq!(find(&place.0, &asked()).unwrap().kernel, kernel);
    let fc = Asked { target: Some("fc/x86_64"), ..asked() };
    assert!(
        flaw(&place.0, &fc).contains("target 'fc/x86_64' is not for qemu/x86_64: there are fc/x86_64, qemu/x86_64")
    );
    place.kernel(".unikraft/build/other_qemu-x86_64");
    assert!(flaw(&place.0, &asked()).contains("has kernels of several projects: app, other"));
}

#[test]
fn another_kraftfile_goes_with_the_same_directory() {
    let place = Place::new();
    let other = place.file("other.yaml", b"spec: v0.6\nruntime: ./k\n");
    let kernel = place.kernel("k");
    let asked = Asked { kraftfile: Some(&other), ..asked() };
    assert_eq!(find(&place.0, &asked).unwrap().kernel, kernel);
    assert!(flaw(&kernel, &asked).starts_with("--kraftfile goes with a project, and "));
}
