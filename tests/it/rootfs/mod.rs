//! Root file systems: what a directory or a tar archive becomes, who has it, and that nothing of it is left.

mod tree;

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::keeper::{Keeper, under_both};
use crate::lab::{Lab, Who, guest, kraft, until_change};
use crate::small::Small;

under_both! {
    linux_starts_from_a_directory,
}

/// `kraft create --rootfs` of a Linux machine, which keeps hard links.
fn create(lab: &Lab, short: &str, source: &Path, options: &[&str]) -> crate::lab::Said {
    let (name, kernel) = (lab.name(short), guest("linux"));
    let source = source.to_str().unwrap();
    lab.kraft([&["create", "-q", "--name", &name, "--rootfs", source], options, &[&kernel]].concat())
}

/// The archive that a machine has.
fn archive(lab: &Lab, short: &str) -> PathBuf {
    lab.state().join("machines").join(lab.name(short)).join("rootfs.cpio")
}

/// What is in the cache but the lock, if anything.
fn cached(lab: &Lab) -> Vec<String> {
    let entries = fs::read_dir(lab.state().join("rootfs")).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|name| name != ".lock").collect()
}

/// A directory of the test's own, for trees.
fn own(lab: &Lab, name: &str) -> PathBuf {
    let dir = lab.state().parent().unwrap().join("trees").join(name);
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn linux_starts_from_a_directory(keeper: Keeper) {
    let lab = keeper.lab("rootboot").with_store();
    let root = own(&lab, "root");
    tree::unpack(guest("linux.cpio").as_ref(), &root);
    let options = ["-M", "256M", "--rootfs", root.to_str().unwrap()];
    lab.start_guest("linux", "vm", keeper.has_units(), &options, &["console=ttyS0", "no_timer_check"]).ok();
    // The machine has all that it needs.
    fs::remove_dir_all(&root).unwrap();
    lab.until_console("vm", "guest: ready");
    let spec = &lab.inspect("vm")["record"]["spec"];
    assert_eq!(spec["rootfs"], root.to_str().unwrap());
    assert_eq!(spec["initrd"], archive(&lab, "vm").to_str().unwrap());
    assert_eq!(spec["rootfs_digest"].as_str().unwrap().len(), 64);
    lab.kraft(["rm", "--force", &lab.name("vm")]).ok();
    assert_eq!(cached(&lab), Vec::<String>::new());
}

#[test]
fn a_directory_comes_out_as_it_went_in() {
    let lab = Lab::new("roottree").with_store();
    let (source, out) = (own(&lab, "source"), own(&lab, "out"));
    tree::make(&source);
    tree::make_deep(&source);
    std::os::unix::net::UnixListener::bind(source.join("socket")).unwrap();
    let said = create(&lab, "a", &source, &[]);
    assert!(said.err.contains("the socket socket is left out"), "{}", said.err);
    said.ok();
    tree::unpack(&archive(&lab, "a"), &out);
    let (wanted, found) = (tree::look(&source), tree::look(&out));
    for (path, what) in &wanted {
        assert_eq!(found.get(path), Some(what), "{path:?}");
    }
    assert_eq!(wanted.len(), found.len());
    assert!(wanted.len() > 40, "{}", wanted.len());
}

#[test]
fn the_same_files_are_the_same_bytes() {
    let lab = Lab::new("rootsame").with_store();
    let source = own(&lab, "source");
    tree::make(&source);
    let trees = source.parent().unwrap().to_path_buf();
    let copy = trees.join("copy");
    run("cp", &["-a", source.to_str().unwrap(), copy.to_str().unwrap()]);
    let mut sources = vec![source.clone(), copy];
    for (name, options) in [
        ("plain", ["--format=gnu", "--sort=inode"].as_slice()),
        ("gnu.gz", &["--format=gnu", "-z"]),
        ("pax", &["--format=pax"]),
        ("sparse", &["--format=gnu", "-S"]),
        ("sparse.1.0", &["--format=pax", "-S"]),
        ("sparse.0.1", &["--format=pax", "-S", "--sparse-version=0.1", "-z"]),
    ] {
        let tar = trees.join(name);
        run("tar", &[&["-C", source.to_str().unwrap(), "-cf", tar.to_str().unwrap()], options, &["."]].concat());
        sources.push(tar);
    }
    let zstd = zstd::encode_all(File::open(trees.join("pax")).unwrap(), 0).unwrap();
    fs::write(trees.join("pax.zst"), zstd).unwrap();
    sources.push(trees.join("pax.zst"));
    let short = |number: usize| format!("m{number}");
    for (number, source) in sources.iter().enumerate() {
        create(&lab, &short(number), source, &[]).ok();
    }
    // One file, whatever it was made of.
    let inode = |number| fs::metadata(archive(&lab, &short(number))).unwrap().ino();
    for (number, source) in sources.iter().enumerate() {
        assert_eq!(inode(number), inode(0), "{}", source.display());
    }
    // What is older than a moment is not read again.
    let said = create(&lab, "again", Path::new("/etc/systemd"), &["--log-level=debug"]);
    assert!(said.err.contains("became the archive"), "{}", said.err);
    let said = create(&lab, "once-more", Path::new("/etc/systemd"), &["--log-level=debug"]);
    assert!(said.err.contains("is as it was"), "{}", said.err);

    let names: Vec<String> = (0..sources.len()).map(|number| lab.name(&short(number))).collect();
    lab.kraft(["rm"].into_iter().chain(names[1..].iter().map(String::as_str))).ok();
    assert!(archive(&lab, "m0").exists());
    lab.kraft(["rm", &names[0], &lab.name("again"), &lab.name("once-more")]).ok();
    assert_eq!(cached(&lab), Vec::<String>::new());
}

#[track_caller]
fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Creates a machine and says how much memory, in KiB, that took at its most. It is asked when all is made, and can only
/// not say so, as nobody takes what it prints.
#[track_caller]
fn memory_of_create(lab: &Lab, short: &str, source: &Path) -> u64 {
    use rustix::fs::{OFlags, fcntl_setfl};
    let (name, kernel) = (lab.name(short), guest("linux"));
    let (mut takes, mut gives) = std::io::pipe().unwrap();
    fcntl_setfl(&gives, OFlags::NONBLOCK).unwrap();
    while gives.write(&[b' '; 4096]).is_ok() {}
    while gives.write(b" ").is_ok() {}
    fcntl_setfl(&gives, OFlags::empty()).unwrap();
    let machines = lab.state().join("machines");
    fs::create_dir_all(&machines).unwrap();
    let args = ["create", "--name", &name, "--rootfs", source.to_str().unwrap(), &kernel];
    let mut create = lab.command(kraft(), args).stdout(gives).spawn().unwrap();
    until_change(&[machines], "the machine to be there", || archive(lab, short).exists());
    let status = fs::read_to_string(format!("/proc/{}/status", create.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    let mut said = String::new();
    takes.read_to_string(&mut said).unwrap();
    assert!(create.wait().unwrap().success());
    assert_eq!(said.trim(), name);
    peak.unwrap()
}

const LIMIT: u64 = 64 << 10;

#[test]
fn many_files_take_little_memory() {
    let lab = Lab::new("rootmany").with_store();
    let source = own(&lab, "source");
    for dir in 0..10 {
        // One directory has most of them.
        let dir_path = source.join(format!("{dir}"));
        fs::create_dir(&dir_path).unwrap();
        for file in 0..if dir == 0 { 41_000 } else { 1_000 } {
            fs::write(dir_path.join(format!("{file}")), format!("{dir} {file}")).unwrap();
        }
    }
    let memory = memory_of_create(&lab, "a", &source);
    assert!(memory < LIMIT, "{memory} KiB");
    let out = own(&lab, "out");
    tree::unpack(&archive(&lab, "a"), &out);
    assert!(tree::look(&source) == tree::look(&out));
    eprintln!("50,000 files: {memory} KiB");
}

#[test]
fn a_large_directory_takes_little_memory() {
    let lab = Lab::new("rootlarge").with_store();
    let _room = Small::on(lab.state(), "size=3g");
    let source = own(&lab, "source");
    for (name, size) in [("one", 1u64 << 30), ("two", (1 << 30) + 5)] {
        let mut file = File::create(source.join(name)).unwrap();
        for at in (0..size).step_by(64 << 20) {
            file.seek(SeekFrom::Start(at)).unwrap();
            file.write_all(&at.to_le_bytes()).unwrap();
        }
        file.set_len(size).unwrap();
    }
    let memory = memory_of_create(&lab, "a", &source);
    assert!(memory < LIMIT, "{memory} KiB");
    for name in ["one", "two"] {
        let packed = File::open(archive(&lab, "a")).unwrap();
        let mut cpio = Command::new("cpio");
        let mut cpio =
            cpio.args(["-i", "--quiet", "--to-stdout", name]).stdin(packed).stdout(Stdio::piped()).spawn().unwrap();
        assert!(same(cpio.stdout.take().unwrap(), File::open(source.join(name)).unwrap()), "{name}");
        assert!(cpio.wait().unwrap().success());
    }
    eprintln!("2 GiB: {memory} KiB");
    lab.kraft(["rm", &lab.name("a")]).ok();
}

fn same(mut a: impl std::io::Read, mut b: File) -> bool {
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let read = a.read(&mut left).unwrap();
        if read == 0 {
            return b.read(&mut right).unwrap() == 0;
        }
        if b.read_exact(&mut right[..read]).is_err() || left[..read] != right[..read] {
            return false;
        }
    }
}

#[test]
fn what_cannot_be_packed_is_told_and_leaves_nothing() {
    let lab = Lab::new("rootbad").with_store();
    let sources = own(&lab, "sources");
    let dir = |name: &str| own(&lab, &format!("sources/{name}"));
    File::create(dir("large").join("big")).unwrap().set_len(1 << 32).unwrap();
    fs::write(dir("trailer").join("TRAILER!!!"), "").unwrap();
    fs::write(sources.join("text"), "text").unwrap();
    fs::write(sources.join("Dockerfile"), "FROM scratch\n").unwrap();
    let tar = |name: &str, members: &[(tar::EntryType, &str, &str)]| {
        let mut bytes = Vec::new();
        for (kind, path, link) in members {
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(0);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_cksum();
            bytes.extend(header.as_bytes());
        }
        bytes.resize(bytes.len() + 1024, 0);
        fs::write(sources.join(name), bytes).unwrap();
    };
    use tar::EntryType::{Link, Regular, Symlink};
    tar("up", &[(Regular, "../etc/passwd", "")]);
    tar("through", &[(Symlink, "a", "/etc"), (Regular, "a/passwd", "")]);
    tar("outside", &[(Link, "a", "/etc/passwd")]);
    tar("twice", &[(Regular, "a", ""), (Regular, "a", "")]);
    for (name, options, code, wanted) in [
        ("nothing", [].as_slice(), 127, "rootfs not found: "),
        ("large", &[], 125, "cannot pack big: it has 4294967296 bytes"),
        ("trailer", &[], 125, "cannot pack TRAILER!!!: a cpio archive ends at this name"),
        ("text", &[], 125, "text is not a cpio archive, nor a tar archive"),
        ("Dockerfile", &[], 125, "Dockerfile is a Dockerfile, not a root file system"),
        ("up", &[], 125, "../etc/passwd: the name leads out by '..'"),
        ("through", &[], 125, "a/passwd: it is in a, which is not a directory"),
        ("outside", &[], 125, "a: it is a hard link to /etc/passwd, which does not come before it"),
        ("twice", &[], 125, "a: it is in the archive twice"),
        ("up", &["--rootfs-compress=bzip2"], 125, "unknown compression 'bzip2': known are none, gzip, zstd"),
    ] {
        let source = sources.join(name);
        let error = create(&lab, "m", &source, options);
        let text = error.err.clone();
        if options.is_empty() {
            let error = error.fails(code);
            assert!(error.contains(wanted) && error.contains(source.to_str().unwrap()), "{error}");
        }
        assert!(text.contains(wanted), "{text}");
        assert_eq!(lab.leaks(), Vec::<String>::new(), "after {name}");
        assert_eq!(cached(&lab), Vec::<String>::new(), "after {name}");
    }
    let initrd = guest("linux.cpio");
    let error = create(&lab, "m", initrd.as_ref(), &["--rootfs-compress=zstd"]).fails(125);
    assert!(error.contains("is a RAM disk, which is used as it is"), "{error}");
    let said = lab.kraft(["create", "--name", &lab.name("m"), "--rootfs-compress=zstd", &guest("tiny")]);
    assert!(said.code == 125 && said.err.contains("--rootfs-compress goes with a root file system"), "{}", said.err);
    // Given as it is, it is copied as it is.
    create(&lab, "m", initrd.as_ref(), &[]).ok();
    let spec = &lab.inspect("m")["record"]["spec"];
    let own = archive(&lab, "m");
    assert_eq!((&spec["initrd"], &spec["rootfs"]), (&own.to_str().unwrap().into(), &initrd.as_str().into()));
    assert!(fs::read(own).unwrap() == fs::read(&initrd).unwrap());
    assert_eq!(cached(&lab), Vec::<String>::new());
}

#[test]
fn unikraft_takes_it_as_it_is() {
    let lab = Lab::new("rootuk").with_store();
    let (source, kernel, name) = (own(&lab, "source"), guest("tiny32"), lab.name("m"));
    fs::write(source.join("a"), "data").unwrap();
    fs::hard_link(source.join("a"), source.join("b")).unwrap();
    let create = |options: &[&str]| {
        let base = ["create", "-q", "--name", &name, "--rootfs", source.to_str().unwrap()];
        lab.kraft([base.as_slice(), options, &[&kernel]].concat())
    };
    let error = create(&["--rootfs-compress", "gzip"]).fails(125);
    assert!(error.contains("cannot compress the root file system by gzip: Unikraft cannot undo it"), "{error}");
    create(&[]).ok();
    // Each name has the data, as a file of its own.
    let bytes = fs::read(archive(&lab, "m")).unwrap();
    assert_eq!(bytes.windows(4).filter(|window| window == b"data").count(), 2);
}

#[test]
fn a_file_that_may_not_be_read_is_named() {
    let lab = Lab::of("rootuser", Who::Tester);
    let root = Path::new("/tmp/it/rootuser");
    let _ = fs::remove_dir_all(root);
    let source = root.join("source");
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("secret"), "s").unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(source.join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    let error = create(&lab, "m", &source, &[]).fails(125);
    let wanted = format!("cannot pack rootfs {}: cannot pack secret: ", source.display());
    assert!(error.contains(&wanted) && error.ends_with("Permission denied"), "{error}");
    assert_eq!(lab.leaks(), Vec::<String>::new());
    assert_eq!(cached(&lab), Vec::<String>::new());
    fs::set_permissions(source.join("secret"), fs::Permissions::from_mode(0o644)).unwrap();
    create(&lab, "m", &source, &[]).ok();
    lab.kraft(["rm", &lab.name("m")]).ok();
    assert_eq!(cached(&lab), Vec::<String>::new());
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn a_full_disk_leaves_nothing() {
    let lab = Lab::new("rootfull").with_store();
    let source = own(&lab, "source");
    File::create(source.join("file")).unwrap().set_len(2 << 20).unwrap();
    {
        let _small = Small::on(lab.state(), "size=1m");
        let (error, hint) = create(&lab, "m", &source, &[]).fails_with_hint(125);
        let cache = lab.state().join("rootfs");
        assert!(error.contains("No space left on device") && error.contains(cache.to_str().unwrap()), "{error}");
        assert!(hint.contains("free some space"), "{hint}");
        assert_eq!(cached(&lab), Vec::<String>::new());
        assert_eq!(lab.leaks(), Vec::<String>::new());
    }
    create(&lab, "m", &source, &[]).ok();
}

#[test]
fn a_killed_create_is_cleaned_up_by_the_next() {
    let lab = Lab::new("rootkill").with_store();
    let source = own(&lab, "source");
    File::create(source.join("file")).unwrap().set_len(3 << 30).unwrap();
    let cache = lab.state().join("rootfs");
    fs::create_dir_all(&cache).unwrap();
    let (name, kernel) = (lab.name("m"), guest("linux"));
    let args = ["create", "--name", &name, "--rootfs", source.to_str().unwrap(), &kernel];
    let mut making = lab.command(kraft(), args).stdout(Stdio::null()).spawn().unwrap();
    until_change(std::slice::from_ref(&cache), "the archive to be begun", || !cached(&lab).is_empty());
    crate::lab::kill(making.id().into(), Signal::SIGKILL);
    assert!(!making.wait().unwrap().success());
    assert_eq!(cached(&lab).len(), 1);
    File::create(source.join("file")).unwrap();
    create(&lab, "m", &source, &[]).ok();
    assert!(cached(&lab).iter().all(|name| !name.starts_with(".new-")), "{:?}", cached(&lab));
    lab.kraft(["rm", &name]).ok();
    assert_eq!(cached(&lab), Vec::<String>::new());
}

#[test]
fn many_at_once_share_one() {
    let lab = Lab::new("rootmob").with_store();
    let source = own(&lab, "source");
    tree::make(&source);
    let shorts: Vec<String> = (0..12).map(|number| format!("m{number}")).collect();
    std::thread::scope(|scope| {
        for short in &shorts {
            let (lab, source) = (&lab, &source);
            scope.spawn(move || {
                create(lab, short, source, &[]).ok();
                // Half of them go while others come.
                if short.ends_with(['1', '3', '5', '7', '9']) {
                    lab.kraft(["rm", &lab.name(short)]).ok();
                }
            });
        }
    });
    for short in shorts.iter().filter(|short| short.ends_with(['0', '2', '4', '6', '8'])) {
        assert_eq!(fs::read(archive(&lab, short)).unwrap(), fs::read(archive(&lab, "m0")).unwrap());
    }
    assert!(cached(&lab).iter().all(|name| !name.starts_with(".new-")), "{:?}", cached(&lab));
    lab.kraft(["rm", "--all"]).ok();
    assert_eq!(cached(&lab), Vec::<String>::new());
}
