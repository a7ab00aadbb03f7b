//! Programs, libraries and a host made up in memory and in a directory; and files that are not what they say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::cache::Cache;
use super::dynamic::{self, Object, Unfit};
use super::files::Collection;
use super::host::Host;
use super::*;
use crate::error::Kind;
use crate::image::tree::Tree as _;
use crate::machine::Arch;

const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

/// An ELF file with one segment that holds all of it, and what it says of itself.
#[derive(Debug, Clone)]
struct Made {
    kind: u16,
    machine: u16,
    entry: u64,
    interpreter: Option<&'static str>,
    entries: Vec<(u64, Result<u64, String>)>,
}

const NEEDED: u64 = 1;
const SONAME: u64 = 14;
const RPATH: u64 = 15;
const RUNPATH: u64 = 29;
const FLAGS_1: u64 = 0x6fff_fffb;
const PIE: u64 = 0x0800_0000;
const NODEFLIB: u64 = 0x800;

fn library() -> Made {
    Made { kind: 3, machine: 62, entry: 0, interpreter: None, entries: Vec::new() }
}

fn program() -> Made {
    Made { entry: 0x1000, interpreter: Some(LOADER), ..library() }.flags(PIE)
}

impl Made {
    fn text(mut self, tag: u64, value: &str) -> Self {
        self.entries.push((tag, Err(value.to_owned())));
        self
    }

    fn flags(mut self, flags: u64) -> Self {
        self.entries.push((FLAGS_1, Ok(flags)));
        self
    }

    fn needs(self, name: &str) -> Self {
        self.text(NEEDED, name)
    }

    fn build(&self) -> Vec<u8> {
        let mut strings = vec![0];
        let mut dynamic: Vec<u64> = Vec::new();
        for (tag, value) in &self.entries {
            let value = match value {
                Ok(number) => *number,
                Err(text) => {
                    let at = strings.len() as u64;
                    strings.extend(text.bytes().chain([0]));
                    at
                }
            };
            dynamic.extend([*tag, value]);
        }
        let count = 2 + u16::from(self.interpreter.is_some());
        let head = 64 + 56 * u64::from(count);
        let interpreter: Vec<u8> = self.interpreter.iter().flat_map(|path| path.bytes().chain([0])).collect();
        let strings_at = head + interpreter.len() as u64;
        let dynamic_at = (strings_at + strings.len() as u64).next_multiple_of(8);
        // Where it is in memory is not where it is in the file.
        dynamic.extend([5, strings_at + 0x40_0000, 10, strings.len() as u64, 0, 0]);
        let end = dynamic_at + 8 * dynamic.len() as u64;
        let mut out = b"\x7fELF\x02\x01\x01".to_vec();
        out.resize(16, 0);
        out.extend([self.kind, self.machine, 1, 0].map(u16::to_le_bytes).concat());
        out.extend([self.entry, 64, 0].map(u64::to_le_bytes).concat());
        out.extend([0; 4]);
        out.extend([64, 56, count, 64, 0, 0].map(u16::to_le_bytes).concat());
        let mut segment = |kind: u32, at: u64, size: u64| {
            out.extend([kind, 4].map(u32::to_le_bytes).concat());
            out.extend([at, at + 0x40_0000, at, size, size, 8].map(u64::to_le_bytes).concat());
        };
        if self.interpreter.is_some() {
            segment(3, head, interpreter.len() as u64);
        }
        segment(1, 0, end);
        segment(2, dynamic_at, 8 * dynamic.len() as u64);
        out.extend(interpreter);
        out.extend(strings);
        out.resize(dynamic_at as usize, 0);
        out.extend(dynamic.iter().flat_map(|word| word.to_le_bytes()));
        out
    }

    fn read(&self) -> Object {
        dynamic::parse(self.build().as_slice()).unwrap()
    }
}

/// A directory that stands for a host; gone with it.
struct Root(PathBuf);

impl Root {
    /// With an interpreter where Debian has it.
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("kraft-binary-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(&root).unwrap();
        let root = Self(root);
        root.file("usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", &library().text(SONAME, "ld-linux-x86-64.so.2"));
        root.link("lib", "usr/lib");
        root.link("lib64", "usr/lib64");
        root.link("usr/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");
        root
    }

    fn place(&self, path: &str) -> PathBuf {
        let place = self.0.join(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        place
    }

    fn file(&self, path: &str, made: &Made) {
        std::fs::write(self.place(path), made.build()).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        std::os::unix::fs::symlink(target, self.place(path)).unwrap();
    }

    fn collect(&self, path: &str, environment: Option<&str>) -> crate::error::Result<Collection> {
        let object = dynamic::parse(std::fs::read(self.0.join(path)).unwrap().as_slice()).unwrap();
        let interpreter = object.interpreter.clone();
        let linkage = interpreter.map_or(Linkage::Static, |interpreter| Linkage::Dynamic { interpreter });
        let program = Program { path: Path::new("/").join(path), arch: object.arch, linkage, object };
        Collection::on(Host::below(self.0.clone()), &program, environment)
    }

    #[track_caller]
    fn names(&self, path: &str) -> Vec<String> {
        self.collect(path, None).unwrap().names()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A cache as ldconfig writes it: name, path, flags, and whether it is for some processors alone.
fn cache(entries: &[(&str, &str, u32, u64)]) -> Vec<u8> {
    let mut strings = Vec::new();
    let mut table = Vec::new();
    let start = 48 + 24 * entries.len();
    for (name, path, flags, special) in entries {
        let mut put = |text: &str| {
            let at = (start + strings.len()) as u32;
            strings.extend(text.bytes().chain([0]));
            at
        };
        table.extend([*flags, put(name), put(path), 0].map(u32::to_le_bytes).concat());
        table.extend(special.to_le_bytes());
    }
    let mut out = b"glibc-ld.so.cache1.1".to_vec();
    out.extend([entries.len() as u32, strings.len() as u32, 2, 0, 0, 0, 0].map(u32::to_le_bytes).concat());
    out.extend(table);
    out.extend(strings);
    out
}

const HERE: u32 = 0x303;

#[test]
fn what_a_file_says_is_read() {
    let made = program().needs("libm.so.6").needs("libc.so.6").text(RUNPATH, "$ORIGIN/../lib");
    let object = made.read();
    assert_eq!((object.arch, object.anywhere, object.program, object.entry), (Arch::X86_64, true, true, true));
    assert_eq!(object.interpreter.as_deref(), Some(Path::new(LOADER)));
    assert_eq!(object.dynamic.needed, ["libm.so.6", "libc.so.6"]);
    assert_eq!(object.dynamic.runpath.as_deref(), Some("$ORIGIN/../lib".as_ref()));
    assert!(!library().read().program);
    assert!(!Made { kind: 2, ..program() }.read().anywhere);
}

#[test]
fn what_is_for_others_or_broken_is_told_apart() {
    let parse = |bytes: &[u8]| dynamic::parse(bytes).unwrap_err();
    assert_eq!(parse(b"#!/bin/sh\n# and so on, and on"), Unfit::Other("is not an ELF file".into()));
    assert_eq!(parse(b"\x7fELF"), Unfit::Damaged("is truncated".into()));
    let arm = Made { machine: 40, ..library() }.build();
    assert_eq!(parse(&arm), Unfit::Foreign("is for an unknown architecture (ELF machine 40)".into()));
    let mut narrow = library().build();
    narrow[4] = 1;
    assert_eq!(parse(&narrow), Unfit::Foreign("is for a 32-bit processor".into()));
    assert!(matches!(parse(&Made { kind: 1, ..library() }.build()), Unfit::Other(_)));
    let whole = program().needs("libc.so.6").build();
    assert!(parse(&whole[..whole.len() - 1]).what().starts_with("is truncated"));
    let outside = Made { entries: vec![(NEEDED, Ok(1 << 40))], ..library() }.build();
    assert!(parse(&outside).what().contains("names what is outside of it"), "{:?}", parse(&outside));
    let many = Made { entries: vec![(NEEDED, Ok(0)); 5000], ..library() }.build();
    assert!(parse(&many).what().contains("names 5000 libraries"));
}

#[test]
fn a_program_has_its_libraries_under_their_own_names() {
    let root = Root::new("own");
    let lib = "usr/lib/x86_64-linux-gnu";
    root.file("opt/app", &program().needs("libz.so.1").needs("libc.so.6"));
    root.file(&format!("{lib}/libz.so.1.2.13"), &library().text(SONAME, "libz.so.1").needs("libc.so.6"));
    root.link(&format!("{lib}/libz.so.1"), "libz.so.1.2.13");
    root.file(&format!("{lib}/libc.so.6"), &library().needs("ld-linux-x86-64.so.2"));
    let collection = root.collect("opt/app", None).unwrap();
    assert_eq!(
        collection.names(),
        [
            "/lib",
            "/lib64",
            "/opt/app",
            "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
            "/usr/lib/x86_64-linux-gnu/libc.so.6",
            "/usr/lib/x86_64-linux-gnu/libz.so.1",
            "/usr/lib/x86_64-linux-gnu/libz.so.1.2.13",
            "/usr/lib64/ld-linux-x86-64.so.2",
        ]
    );
    // Each directory before what is in it, and only what is real is one.
    let mut paths: Vec<String> = Vec::new();
    collection
        .visit(&mut |meta, _| {
            let path = String::from_utf8(meta.path.clone()).unwrap();
            assert!(path.rsplit_once('/').is_none_or(|(dir, _)| paths.iter().any(|seen| seen == dir)), "{path}");
            paths.push(path);
            Ok(())
        })
        .unwrap();
    assert!(paths.contains(&"usr/lib64".to_owned()));
    root.file(&format!("{lib}/libc.so.6"), &library());
    let changed = collection.visit(&mut |_, _| Ok(())).unwrap_err().to_string();
    assert_eq!(changed, "cannot pack /opt/app and its libraries: they changed meanwhile");
}

#[test]
fn libraries_are_looked_for_in_order() {
    let root = Root::new("order");
    let found = |made: &Made, environment: Option<&str>, wanted: &str| {
        root.file("opt/bin/app", made);
        let names = root.collect("opt/bin/app", environment).unwrap().names();
        assert!(names.contains(&wanted.to_owned()), "{wanted}: {names:?}");
        assert_eq!(names.iter().filter(|name| name.ends_with("/libx.so")).count(), 1, "{names:?}");
    };
    for dir in ["opt/lib", "opt/env", "opt/runpath", "usr/lib/x86_64-linux-gnu", "cached"] {
        root.file(&format!("{dir}/libx.so"), &library());
    }
    std::fs::write(root.place("etc/ld.so.cache"), cache(&[("libx.so", "/cached/libx.so", HERE, 0)])).unwrap();
    let needs = || program().needs("libx.so");
    found(&needs().text(RPATH, "$ORIGIN/../lib:/opt/runpath"), Some("/opt/env"), "/opt/lib/libx.so");
    found(&needs().text(RPATH, "/opt/lib").text(RUNPATH, "/opt/runpath"), Some("/opt/env"), "/opt/env/libx.so");
    found(&needs().text(RPATH, "/opt/lib").text(RUNPATH, "/opt/runpath"), None, "/opt/runpath/libx.so");
    found(&needs().text(RUNPATH, "${ORIGIN}/../lib"), None, "/opt/lib/libx.so");
    found(&needs().text(RUNPATH, "/usr/$LIB"), None, "/usr/lib/x86_64-linux-gnu/libx.so");
    found(&needs(), None, "/cached/libx.so");
    assert!(root.names("opt/bin/app").contains(&"/etc/ld.so.cache".to_owned()));
    // Without the cache, as its format is another one.
    std::fs::write(root.place("etc/ld.so.cache"), "glibc-ld.so.cache9.9").unwrap();
    found(&needs(), None, "/usr/lib/x86_64-linux-gnu/libx.so");
    root.file("opt/bin/app", &needs().flags(NODEFLIB));
    let made = Made { entries: vec![(NEEDED, Err("libx.so".into())), (FLAGS_1, Ok(PIE | NODEFLIB))], ..program() };
    root.file("opt/bin/app", &made);
    assert_eq!(root.collect("opt/bin/app", None).unwrap_err().kind(), Kind::NotFound);
    // A name with a slash is a path.
    root.file("opt/bin/app", &program().needs("$ORIGIN/../runpath/libx.so"));
    assert!(root.names("opt/bin/app").contains(&"/opt/runpath/libx.so".to_owned()));
    root.file("opt/bin/app", &program().needs("./libx.so"));
    let error = root.collect("opt/bin/app", None).unwrap_err().to_string();
    assert!(error.contains("depends on the directory that it is started in"), "{error}");
}

#[test]
fn an_rpath_is_handed_down_and_a_runpath_is_not() {
    let root = Root::new("down");
    root.file("a/liba.so", &library().needs("libb.so"));
    root.file("a/libb.so", &library());
    root.file("app", &program().needs("liba.so").text(RPATH, "/a"));
    assert!(root.names("app").contains(&"/a/libb.so".to_owned()));
    root.file("app", &program().needs("liba.so").text(RUNPATH, "/a"));
    let error = root.collect("app", None).unwrap_err();
    assert_eq!(error.to_string(), "/app needs a library that cannot be found: libb.so (for /a/liba.so)");
    assert!(error.hint().unwrap().contains("LD_LIBRARY_PATH"));
    // What another one has loaded is there for all, by what it calls itself.
    root.file("a/liba.so", &library().needs("libc9.so"));
    root.file("a/libb.so", &library().text(SONAME, "libc9.so"));
    root.file("app", &program().needs("libb.so").needs("liba.so").text(RUNPATH, "/a"));
    root.names("app");
}

#[test]
fn what_is_for_another_processor_is_passed_over() {
    let root = Root::new("other");
    root.file("a/libx.so", &Made { machine: 183, ..library() });
    root.file("b/libx.so", &library());
    root.file("app", &program().needs("libx.so").text(RPATH, "/none:/a:/b"));
    assert!(root.names("app").contains(&"/b/libx.so".to_owned()));
    std::fs::write(root.place("a/libx.so"), "INPUT(libx.so.1)\n# a linker's script, not a library").unwrap();
    let error = root.collect("app", None).unwrap_err().to_string();
    assert_eq!(error, "/app needs /a/libx.so, which is not an ELF file");
}

#[test]
fn missing_libraries_and_interpreters_are_named() {
    let root = Root::new("missing");
    root.file("app", &program().needs("libx.so").needs("liby.so.1"));
    let error = root.collect("app", None).unwrap_err();
    assert_eq!(error.to_string(), "/app needs libraries that cannot be found: libx.so, liby.so.1");
    assert_eq!(error.exit_code(), 127);
    root.file("app", &Made { interpreter: Some("/lib/ld-none.so.1"), ..program() });
    let error = root.collect("app", None).unwrap_err().to_string();
    assert_eq!(error, "/app wants the interpreter /lib/ld-none.so.1, which is not there");
}

#[test]
fn links_in_a_ring_end() {
    let root = Root::new("ring");
    root.link("a/libx.so", "liby.so");
    root.link("a/liby.so", "libx.so");
    root.file("app", &program().needs("libx.so").text(RPATH, "/a"));
    let error = root.collect("app", None).unwrap_err().to_string();
    assert!(error.contains("more than 40 symbolic links"), "{error}");
    // Libraries in a ring are nothing special.
    root.file("b/libx.so", &library().needs("liby.so"));
    root.file("b/liby.so", &library().needs("libx.so").needs("liby.so"));
    root.file("app", &program().needs("libx.so").text(RPATH, "/b"));
    assert_eq!(root.names("app").iter().filter(|name| name.starts_with("/b/")).count(), 2);
}

#[test]
fn musl_is_its_own_c_library() {
    let root = Root::new("musl");
    root.file("lib/ld-musl-x86_64.so.1", &library());
    root.file("usr/local/lib/libx.so", &library().needs("libc.musl-x86_64.so.1"));
    let made = Made { interpreter: Some("/lib/ld-musl-x86_64.so.1"), ..program() };
    root.file("app", &made.needs("libx.so").needs("libc.so").needs("libpthread.so.0"));
    assert!(root.names("app").contains(&"/usr/local/lib/libx.so".to_owned()));
}

#[test]
fn a_cache_is_read_in_both_formats() {
    let new = cache(&[
        ("libx.so", "/v3/libx.so", HERE, 1 << 62 | 3),
        ("libx.so", "/arm/libx.so", 0xa03, 0),
        ("libx.so", "/lib/libx.so", HERE, 0),
        ("liby.so", "/lib/liby.so", HERE, 0),
        ("libx.so", "relative", HERE, 0),
    ]);
    let find = |bytes: &[u8]| Cache::parse(bytes).map(|cache| cache.find(b"libx.so", Arch::X86_64));
    assert_eq!(find(&new).unwrap(), [Path::new("/lib/libx.so"), Path::new("/v3/libx.so")]);
    assert_eq!(Cache::parse(&new).unwrap().find(b"libx.so", Arch::Arm64), [Path::new("/arm/libx.so")]);
    let mut both = b"ld.so-1.7.0\0".to_vec();
    both.extend(1u32.to_le_bytes());
    both.extend([0; 12]);
    both.resize(32, 0);
    both.extend(&new);
    assert_eq!(find(&both), find(&new));
    // Counts and offsets that lead nowhere.
    let mut huge = new.clone();
    huge[20..24].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(find(&huge), find(&new));
    let mut far = new.clone();
    far[52..60].copy_from_slice(&[0xff; 8]);
    assert_eq!(find(&far).unwrap(), [Path::new("/lib/libx.so")]);
    both[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(find(&both), None);
    for end in 0..new.len() {
        let _ = find(&new[..end]);
    }
    assert_eq!((find(b""), find(b"glibc-ld.so.cache1.1")), (None, None));
}

fn plan(program: &Program, taken: Taken, change: impl FnOnce(&mut Loader)) -> crate::error::Result<Plan> {
    let mut loader = Loader { path: "/loader".into(), arch: Arch::X86_64, taken, named: true, directory: true };
    change(&mut loader);
    let env = BTreeMap::from([("A".to_owned(), "b=c".to_owned())]);
    let args = ["two words".to_owned()];
    let cwd = Some("/srv").filter(|_| taken == Taken::Archive);
    Asked { program, args: &args, env: &env, cwd, loader: &loader, rootfs: None }.plan()
}

#[test]
fn a_machine_is_planned() {
    let of = |made: &Made| {
        let object = made.read();
        let linkage = match object.interpreter.clone() {
            Some(interpreter) => Linkage::Dynamic { interpreter },
            None => Linkage::Static,
        };
        Program { path: "/opt/app".into(), arch: object.arch, linkage, object }
    };
    let dynamic = of(&program());
    let plain = plan(&dynamic, Taken::Archive, |_| {}).unwrap();
    assert_eq!(plain.app_args, ["/opt/app", "two words"]);
    assert_eq!(plain.rootfs.as_deref(), Some(Path::new("/opt/app")));
    assert_eq!(plain.env.into_iter().collect::<Vec<_>>(), [("A".into(), "b=c".into()), ("PWD".into(), "/srv".into())]);
    let error = plan(&dynamic, Taken::Archive, |loader| loader.directory = false).unwrap_err().to_string();
    assert!(
        error.starts_with("bad working directory '/srv': loader /loader starts every program in the root"),
        "{error}"
    );
    let error = plan(&dynamic, Taken::Archive, |loader| loader.arch = Arch::Arm64).unwrap_err().to_string();
    assert_eq!(error, "program /opt/app is for x86_64, its loader /loader for arm64");
    let error = plan(&dynamic, Taken::Whole, |_| {}).unwrap_err().to_string();
    assert_eq!(error, "program /opt/app has an interpreter and libraries, and its loader /loader no file system");
    let shared = plan(&dynamic, Taken::Share, |_| {}).unwrap();
    assert_eq!((shared.rootfs.as_deref(), shared.share), (Some(Path::new("/opt/app")), None));
    let whole = plan(&of(&Made { interpreter: None, ..program() }), Taken::Whole, |loader| loader.named = false);
    assert_eq!(whole.unwrap().app_args, ["two words"]);
}

#[test]
fn files_are_told_apart() {
    let root = Root::new("kinds");
    let check = |name: &str, bytes: &[u8], wanted: &str| {
        let path = root.place(name);
        std::fs::write(&path, bytes).unwrap();
        let error = Program::inspect(&path).unwrap_err();
        assert_eq!(error.to_string(), format!("program {} {wanted}", path.display()));
        error.hint().unwrap_or_default().to_owned()
    };
    let hint = check("fixed", &Made { kind: 2, ..program() }.build(), "is a program that is not position-independent");
    assert!(hint.contains("-static-pie") && hint.contains("-fPIE -pie"), "{hint}");
    let made = Made { kind: 2, interpreter: None, ..program() };
    check("static", &made.build(), "is a static program that is not position-independent");
    check("libx.so", &library().build(), "is a shared library, not a program");
    check("entry.so", &Made { entry: 64, ..library() }.build(), "is a shared library, not a program");
    check("old", &Made { machine: 3, ..program() }.build(), "is for an unknown architecture (ELF machine 3)");
    let hint = check(
        "script",
        b"#!/usr/bin/env python3\nprint()\n",
        "is a script for /usr/bin/env python3, which a loader cannot start",
    );
    assert!(hint.contains("`/usr/bin/env python3`"), "{hint}");
    check("text", b"plain text, and enough of it", "is not an ELF file: it is no program for Linux");
    let path = root.place("app");
    std::fs::write(&path, program().build()).unwrap();
    assert!(Program::is_one(&path) && Program::inspect(&path).is_ok());
    assert!(!Program::is_one(&root.place("script")) && !Program::is_one(&root.place("none")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn damage_is_no_panic(at in 0..400usize, with: u8, cut in 0..500usize) {
        let mut bytes = program().needs("libc.so.6").text(RUNPATH, "$ORIGIN").build();
        if let Some(byte) = bytes.get_mut(at) {
            *byte = with;
        }
        bytes.truncate(cut);
        look_at(&bytes);
        let mut bytes = cache(&[("libx.so", "/lib/libx.so", HERE, 0), ("liby.so", "/lib/liby.so", HERE, 0)]);
        if let Some(byte) = bytes.get_mut(at) {
            *byte = with;
        }
        bytes.truncate(cut);
        look_at(&bytes);
    }
}
