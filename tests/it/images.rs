//! Images: to a registry and back, whatever goes wrong on the way, and what is kept of them.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::lab::{DEADLINE, Lab, finish, guest, kraft};
use crate::registry::{Image, Layout, Registry, hex, noise};

/// A registry and a world that knows it.
fn world(story: &str) -> Option<(Registry, Lab)> {
    if !Registry::is_installed() {
        return None;
    }
    let registry = Registry::start(story);
    let lab = registry.trusted_by(Lab::new(&format!("image-{story}"))).with_store();
    Some((registry, lab))
}

macro_rules! world {
    ($story:literal) => {
        match world($story) {
            Some(world) => world,
            None => crate::skip!("docker-registry is not installed"),
        }
    };
}

fn qemu<'a>(layers: &'a [&'a [u8]]) -> Image<'a> {
    Image { os: "qemu", arch: "x86_64", layers }
}

/// The files below a directory of the store, by name.
fn files(lab: &Lab, below: &str) -> Vec<String> {
    let entries = std::fs::read_dir(lab.state().join("images").join(below)).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn blobs(lab: &Lab) -> Vec<String> {
    files(lab, "blobs/sha256")
}

#[test]
fn an_image_goes_to_a_registry_and_comes_back() {
    let (mut registry, lab) = world!("back");
    let mut layout = Layout::new(&registry);
    let (first, second) = (noise(1, 100_000), noise(2, 50_000));
    let manifests = layout.add("app", &[qemu(&[&first, &second])]);
    let name = registry.push(layout.path(), "app");

    // Nobody is logged in, then with a wrong password: neither leaves anything.
    let (error, hint) = lab.kraft(["pkg", "pull", &name]).fails_with_hint(125);
    assert!(error.contains(&name) && error.contains("401") && hint.contains("kraft pkg login"), "{error} {hint}");
    let (error, _) = registry.login(&lab, "wrong").fails_with_hint(125);
    assert!(error.contains(&format!("cannot log in to {}", registry.name)), "{error}");
    assert!(!registry.credentials().exists());
    registry.let_in(&lab).ok();
    assert_eq!(std::fs::metadata(registry.credentials()).unwrap().permissions().mode() & 0o777, 0o600);

    // It comes, is known by its digest, and comes no second time.
    let pinned = format!("{name}@sha256:{}", manifests[0]);
    assert_eq!(lab.kraft(["pkg", "pull", &name]).ok(), format!("{pinned}\n"));
    assert_eq!(lab.kraft(["pkg", "pull", "-q", &name]).ok(), format!("{pinned}\n"));
    assert_eq!(lab.kraft(["pkg", "pull", &pinned]).ok(), format!("{pinned}\n"));
    assert_eq!(blobs(&lab).len(), 4);
    let rows: Value = serde_json::from_str(&lab.kraft(["pkg", "ls", "-o", "json"]).ok()).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 2, "{rows}");
    assert_eq!(rows[0]["name"], *name);
    assert_eq!((&rows[0]["plat"], &rows[0]["arch"]), (&"qemu".into(), &"x86_64".into()));
    let info: Value = serde_json::from_str(&lab.kraft(["image", "info", &name]).ok()).unwrap();
    assert_eq!(info[0]["command"], serde_json::json!(["/app"]));

    // A push under another name is the same image there.
    let other = format!("{}/other/app:v2", registry.name);
    let pushed = lab.kraft(["pkg", "push", &name, &other]).ok();
    assert_eq!(pushed, format!("{other}@sha256:{}\n", manifests[0]));
    assert_eq!(registry.raw(&other), registry.raw(&name));

    // The names go one by one; the content with the last.
    assert_eq!(lab.kraft(["pkg", "rm", &name]).ok(), format!("{name}\n"));
    assert_eq!(blobs(&lab).len(), 4);
    lab.kraft(["pkg", "rm", &pinned]).ok();
    assert_eq!(blobs(&lab), Vec::<String>::new());
    assert!(lab.kraft(["pkg", "rm", &name]).fails(125).contains("is not here"));
    lab.kraft(["pkg", "rm", "--force", &name]).ok();
    assert!(lab.kraft(["pkg", "logout", &registry.name]).ok().contains("logged out of"));
    lab.kraft(["pkg", "pull", &name]).fails(125);

    let answers = registry.answers();
    for layer in [&first, &second] {
        let wanted = format!("GET /v2/app/blobs/sha256:{}", hex(layer));
        assert_eq!(answers.iter().filter(|(request, status, _)| *request == wanted && *status == 200).count(), 1);
    }
}

#[test]
fn one_of_several_kernels_is_chosen_without_a_question() {
    let (registry, lab) = world!("several");
    let mut layout = Layout::new(&registry);
    let contents: Vec<Vec<u8>> = (10..14).map(|seed| noise(seed, 1000)).collect();
    let one = |at: usize, os, arch| (at, os, arch);
    let layers: Vec<[&[u8]; 1]> = contents.iter().map(|content| [content.as_slice()]).collect();
    let images: Vec<Image<'_>> =
        [one(0, "fc", "x86_64"), one(1, "qemu", "arm64"), one(2, "qemu", "x86_64"), one(3, "xen", "x86_64")]
            .map(|(at, os, arch)| Image { os, arch, layers: &layers[at] })
            .into();
    let manifests = layout.add("many", &images);
    let name = registry.push(layout.path(), "many");
    registry.let_in(&lab).ok();
    let pinned = |at: usize| format!("{name}@sha256:{}\n", manifests[at]);
    assert_eq!(lab.kraft(["pkg", "pull", "--arch", "x86_64", &name]).ok(), pinned(2));
    let has = |at: usize| blobs(&lab).contains(&hex(&contents[at]));
    assert_eq!([0, 1, 2, 3].map(has), [false, false, true, false]);
    assert_eq!(lab.kraft(["pkg", "pull", "--plat", "fc", "--arch", "x86_64", &name]).ok(), pinned(0));
    assert_eq!(lab.kraft(["pkg", "pull", "--arch", "arm64", &name]).ok(), pinned(1));
    let error = lab.kraft(["pkg", "pull", "--plat", "xen", "--arch", "arm64", &name]).fails(125);
    assert!(error.contains("nothing for xen/arm64"), "{error}");
    // Half of an index cannot be pushed; all of it can.
    let other = format!("{}/other:v1", registry.name);
    let (error, hint) = lab.kraft(["pkg", "push", &name, &other]).fails_with_hint(127);
    assert!(error.contains("is not among the images") && hint.contains("--all"), "{error} {hint}");
    lab.kraft(["pkg", "pull", "--all", &name]).ok();
    assert_eq!([0, 1, 2, 3].map(has), [true; 4]);
    lab.kraft(["pkg", "push", &name, &other]).ok();
    assert_eq!(registry.raw(&other), registry.raw(&name));
}

#[test]
fn what_is_not_what_it_should_be_is_named_and_nothing_is_half_done() {
    let (registry, lab) = world!("wrong");
    let mut layout = Layout::new(&registry);
    let content = noise(20, 200_000);
    layout.add("app", &[qemu(&[&content])]);
    let name = registry.push(layout.path(), "app");
    registry.let_in(&lab).ok();
    let (digest, place) = (hex(&content), registry.file(&hex(&content)));

    // Other bytes of the same length.
    let mut wrong = content.clone();
    wrong[100_000] ^= 1;
    std::fs::write(&place, &wrong).unwrap();
    let error = lab.kraft(["pkg", "pull", &name]).fails(125);
    assert!(error.contains(&format!("sha256:{digest} is not what came: that is sha256:{}", hex(&wrong))), "{error}");
    assert_eq!(files(&lab, "partial"), Vec::<String>::new());

    // More than there should be.
    std::fs::write(&place, [content.as_slice(), b"more"].concat()).unwrap();
    let error = lab.kraft(["pkg", "pull", &name]).fails(125);
    assert!(error.contains(&digest) && error.contains("longer"), "{error}");
    assert_eq!(files(&lab, "partial"), Vec::<String>::new());

    // Less: what came is right as far as it goes.
    std::fs::write(&place, &content[..150_000]).unwrap();
    let error = lab.kraft(["pkg", "pull", &name]).fails(125);
    assert!(error.contains(&format!("sha256:{digest} is incomplete: 150000 of 200000 bytes")), "{error}");
    assert_eq!(lab.kraft(["pkg", "ls", "-q"]).ok(), "");

    // A digest that no image has.
    let other = format!("{}/app@sha256:{}", registry.name, hex(b"another"));
    let error = lab.kraft(["pkg", "pull", &other]).fails(127);
    assert!(error.contains("404"), "{error}");

    // All is well again, and what came counts.
    std::fs::write(&place, &content).unwrap();
    let said = lab.kraft(["pkg", "pull", &name]);
    assert!(said.err.contains("goes on behind"), "{}", said.err);
    said.ok();
    assert_eq!(files(&lab, "partial"), Vec::<String>::new());
}

/// Passes on to a port until so many bytes have come back, then does something and breaks all off.
fn until(limit: u64, to: u16, then: impl Fn() + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (came, then) = (Arc::new(AtomicU64::new(0)), Arc::new(then));
    let open: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    std::thread::spawn(move || {
        for ours in listener.incoming().map_while(Result::ok) {
            if came.load(Ordering::SeqCst) >= limit {
                return;
            }
            let Ok(theirs) = TcpStream::connect(("127.0.0.1", to)) else { continue };
            let both = [ours.try_clone().unwrap(), theirs.try_clone().unwrap()];
            open.lock().unwrap_or_else(PoisonError::into_inner).extend(both);
            let (mut up_from, mut up_to) = (ours.try_clone().unwrap(), theirs.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut up_from, &mut up_to));
            let (came, then, open) = (Arc::clone(&came), Arc::clone(&then), Arc::clone(&open));
            let (mut theirs, mut ours) = (theirs, ours);
            std::thread::spawn(move || {
                let mut buffer = [0; 16384];
                while let Ok(read @ 1..) = theirs.read(&mut buffer) {
                    if ours.write_all(&buffer[..read]).is_err() {
                        break;
                    }
                    let before = came.fetch_add(read as u64, Ordering::SeqCst);
                    if before < limit && before + read as u64 >= limit {
                        then();
                        for stream in open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
                            let _ = stream.shutdown(Shutdown::Both);
                        }
                        // Wakes the listener, which sees that it is over.
                        let _ = TcpStream::connect(("127.0.0.1", port));
                    }
                }
            });
        }
    });
    port
}

#[test]
fn a_pull_goes_on_where_the_registry_was_killed() {
    const SIZE: usize = 16 << 20;
    let (mut registry, lab) = world!("killed");
    let mut layout = Layout::new(&registry);
    let content = noise(30, SIZE);
    layout.add("app", &[qemu(&[&content])]);
    let name = registry.push(layout.path(), "app");
    registry.let_in(&lab).ok();
    let pid = i32::try_from(registry.pid()).unwrap();
    let port = until(8 << 20, registry.port(), move || {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    });
    // The same registry by another port, for which the credentials are the same.
    let kept = std::fs::read_to_string(registry.credentials()).unwrap();
    let by_proxy = format!("localhost:{port}");
    std::fs::write(registry.credentials(), kept.replace(&registry.name, &by_proxy)).unwrap();
    let (error, hint) = lab.kraft(["pkg", "pull", &name.replace(&registry.name, &by_proxy)]).fails_with_hint(125);
    assert!(error.contains(&hex(&content)) && hint.contains("goes on"), "{error} {hint}");
    assert_eq!(lab.kraft(["pkg", "ls", "-q"]).ok(), "");
    let there = std::fs::metadata(lab.state().join("images/partial").join(hex(&content))).unwrap().len();
    assert!(there > 1 << 20, "only {there} bytes were kept");

    std::fs::write(registry.credentials(), kept).unwrap();
    registry.restart();
    lab.kraft(["pkg", "pull", &name]).ok();
    let wanted = format!("GET /v2/app/blobs/sha256:{}", hex(&content));
    let answers = registry.answers();
    let parts: Vec<_> = answers.iter().filter(|(request, ..)| *request == wanted).collect();
    let [(_, 206, sent)] = parts[..] else { panic!("{parts:?}") };
    assert_eq!(*sent, SIZE as u64 - there, "not only the rest was sent");
    assert_eq!(std::fs::read(lab.state().join("images/blobs/sha256").join(hex(&content))).unwrap(), content);
}

#[test]
fn a_pull_that_is_killed_leaves_what_the_next_one_needs() {
    const SIZE: usize = 16 << 20;
    let (registry, lab) = world!("crash");
    let mut layout = Layout::new(&registry);
    let content = noise(31, SIZE);
    layout.add("app", &[qemu(&[&content])]);
    let name = registry.push(layout.path(), "app");
    registry.let_in(&lab).ok();
    let kept = std::fs::read_to_string(registry.credentials()).unwrap();
    // What kills is what it is fetched by.
    let victim: Arc<Mutex<Option<i32>>> = Arc::default();
    let theirs = Arc::clone(&victim);
    let port = until(8 << 20, registry.port(), move || {
        let victim = theirs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = *victim {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    });
    let by_proxy = format!("localhost:{port}");
    std::fs::write(registry.credentials(), kept.replace(&registry.name, &by_proxy)).unwrap();
    let mut command = lab.command(kraft(), ["pkg", "pull", &name.replace(&registry.name, &by_proxy)]);
    let mut child = {
        let mut victim = victim.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
        *victim = Some(i32::try_from(child.id()).unwrap());
        child
    };
    assert!(!child.wait().unwrap().success());
    std::fs::write(registry.credentials(), kept).unwrap();
    let said = lab.kraft(["pkg", "pull", &name]);
    assert!(said.err.contains("goes on behind"), "{}", said.err);
    said.ok();
    assert_eq!((files(&lab, "partial").len(), blobs(&lab).len()), (0, 3));
}

/// A small file system where the images go.
struct Small(PathBuf);

impl Small {
    fn new(lab: &Lab, size: &str) -> Self {
        let dir = lab.state().join("images");
        std::fs::create_dir_all(&dir).unwrap();
        let mut command = std::process::Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&dir);
        finish(command, DEADLINE).ok();
        Self(dir)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_one_error_and_keeps_nothing() {
    let (registry, lab) = world!("full");
    let mut layout = Layout::new(&registry);
    let (small, large) = (noise(40, 100_000), noise(41, 3 << 20));
    layout.add("large", &[qemu(&[&large])]);
    layout.add("small", &[qemu(&[&small])]);
    let (too_large, fits) = (registry.push(layout.path(), "large"), registry.push(layout.path(), "small"));
    registry.let_in(&lab).ok();
    let _small = Small::new(&lab, "1m");
    let (error, _) = lab.kraft(["pkg", "pull", &too_large]).fails_with_hint(125);
    assert!(error.contains(&hex(&large)) && error.contains("No space left on device"), "{error}");
    assert_eq!(files(&lab, "partial"), Vec::<String>::new());
    assert_eq!(lab.kraft(["pkg", "ls", "-q"]).ok(), "");
    // There is room for what fits.
    lab.kraft(["pkg", "pull", &fits]).ok();
}

#[test]
fn twenty_pulls_at_once_fetch_each_blob_once() {
    let (mut registry, lab) = world!("twenty");
    let mut layout = Layout::new(&registry);
    let shared: Vec<Vec<u8>> = (50..53).map(|seed| noise(seed, 2 << 20)).collect();
    let own: Vec<Vec<u8>> = (60..64).map(|seed| noise(seed, 1 << 20)).collect();
    let mut names = Vec::new();
    for (number, own) in own.iter().enumerate() {
        let mut layers: Vec<&[u8]> = shared.iter().map(Vec::as_slice).collect();
        layers.push(own);
        layout.add(&format!("app{number}"), &[qemu(&layers)]);
        names.push(registry.push(layout.path(), &format!("app{number}")));
    }
    registry.let_in(&lab).ok();
    registry.restart();
    std::thread::scope(|scope| {
        for number in 0..20 {
            let (lab, names) = (&lab, &names);
            scope.spawn(move || lab.kraft(["pkg", "pull", &names[number % names.len()]]).ok());
        }
    });
    // 3 layers that all share, and a layer, a configuration and a manifest of each.
    assert_eq!((blobs(&lab).len(), files(&lab, "partial").len()), (3 + 3 * 4, 0));
    let answers = registry.answers();
    for content in shared.iter().chain(&own) {
        let digest = hex(content);
        let fetched = answers.iter().filter(|(request, ..)| request.starts_with("GET ") && request.contains(&digest));
        assert_eq!(fetched.count(), 1, "{digest}");
    }
    let rows: Value = serde_json::from_str(&lab.kraft(["pkg", "ls", "-o", "json"]).ok()).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 4);
}

#[test]
fn what_a_machine_needs_is_not_pruned() {
    let (registry, lab) = world!("pruned");
    let mut layout = Layout::new(&registry);
    let (used, unused, shared) = (noise(70, 1000), noise(71, 1000), noise(72, 1000));
    let manifests = layout.add("used", &[qemu(&[&used, &shared])]);
    layout.add("unused", &[qemu(&[&unused, &shared])]);
    let names = ["used", "unused"].map(|tag| registry.push(layout.path(), tag));
    registry.let_in(&lab).ok();
    for name in &names {
        lab.kraft(["pkg", "pull", name]).ok();
    }
    let machine = lab.name("m");
    lab.kraft(["create", "--name", &machine, &guest("tiny")]).ok();
    let record = lab.state().join("machines").join(&machine).join("machine.toml");
    let of = format!("\n[spec.image]\nreference = \"{}\"\nmanifest = \"{}\"\n", names[0], manifests[0]);
    std::fs::write(&record, std::fs::read_to_string(&record).unwrap() + &of).unwrap();
    let rows: Value = serde_json::from_str(&lab.kraft(["pkg", "info", &names[0]]).ok()).unwrap();
    assert_eq!(rows[0]["machines"], serde_json::json!([machine]));

    // Its name may go; what it was made of stays.
    lab.kraft(["pkg", "rm", "--all"]).ok();
    lab.kraft(["pkg", "prune", "--all"]).ok();
    let there = blobs(&lab);
    let has = |content: &[u8]| there.contains(&hex(content));
    assert_eq!([has(&used), has(&shared), has(&unused)], [true, true, false]);
    // Of a record that cannot be read, all that stands in it counts.
    std::fs::write(&record, format!("broken {of}")).unwrap();
    lab.kraft(["pkg", "prune", "--all"]).ok();
    assert_eq!(blobs(&lab), there);
    lab.kraft(["rm", &machine]).ok();
    assert!(lab.kraft(["pkg", "prune"]).ok().starts_with("4 blobs removed"));
    assert_eq!(blobs(&lab), Vec::<String>::new());
}

#[test]
fn credentials_of_a_helper_are_asked_for() {
    let (registry, lab) = world!("helper");
    let mut layout = Layout::new(&registry);
    let content = noise(80, 1000);
    layout.add("app", &[qemu(&[&content])]);
    let name = registry.push(layout.path(), "app");
    let store = lab.file("helper-store", b"");
    let script = format!(
        "#!/bin/sh\ncase $1 in\nstore) cat >{store} ;;\nerase) : >{store} ;;\n\
         get) [ -s {store} ] || {{ echo 'credentials not found in native keychain'; exit 1; }}; cat {store} ;;\nesac\n"
    );
    let path = lab.program("bin", "docker-credential-story", &script);
    let lab = lab.with_env("PATH", &format!("{path}:/usr/bin:/bin:/usr/sbin:/sbin"));
    std::fs::create_dir_all(registry.credentials().parent().unwrap()).unwrap();
    std::fs::write(registry.credentials(), "{\"credsStore\": \"story\"}").unwrap();
    let (error, _) = lab.kraft(["pkg", "pull", &name]).fails_with_hint(125);
    assert!(error.contains("401"), "{error}");
    assert!(registry.let_in(&lab).ok().contains("docker-credential-story"));
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(&store).unwrap()).unwrap();
    assert_eq!(kept["ServerURL"], *registry.name);
    lab.kraft(["pkg", "pull", &name]).ok();
    assert!(lab.kraft(["pkg", "logout", &registry.name]).ok().contains("logged out"));
    lab.kraft(["pkg", "pull", &name]).fails(125);
    // Somebody else's certificate is no reason to go on without.
    let elsewhere = lab.with_env("SSL_CERT_FILE", "/dev/null");
    let (error, hint) = elsewhere.kraft(["pkg", "pull", &name]).fails_with_hint(125);
    assert!(error.contains("its certificate is not valid") && hint.contains("SSL_CERT_FILE"), "{error} {hint}");
}

#[test]
fn what_is_made_here_goes_through_a_registry_and_runs() {
    let (registry, lab) = world!("made");
    let layout = PathBuf::from(lab.file("marker", b"")).with_file_name("layout");
    let (tiny, label) = (guest("tiny"), "com.urunc.unikernel.unikernelType=unikraft");
    let output = format!("oci:{}:made", layout.display());
    lab.kraft(["pkg", "build", "-k", &tiny, "-l", label, "--output", &output, "--", "exit=3"]).ok();
    // By another's hands, all of it.
    let name = registry.push(&layout, "made");
    registry.let_in(&lab).ok();
    lab.kraft(["pkg", "pull", "--all", &name]).ok();
    let rows: Value = serde_json::from_str(&lab.kraft(["pkg", "info", &name]).ok()).unwrap();
    let of = |row: &Value| format!("{}/{}", row["plat"].as_str().unwrap(), row["arch"].as_str().unwrap());
    assert_eq!(rows.as_array().unwrap().iter().map(of).collect::<Vec<_>>(), ["qemu/x86_64"; 2]);
    assert_eq!(rows[1]["annotations"]["com.urunc.unikernel.binary"], "/unikraft/bin/kernel");
    assert_eq!(rows[1]["labels"]["com.urunc.unikernel.hypervisor"], "qemu");
    let said = lab.kraft(["run", "--rm", "--name", &lab.name("vm"), &name]);
    assert_eq!(said.code, 3, "{}", said.err);
    // The same by ours, to the same bytes.
    let other = format!("{}/again:v1", registry.name);
    lab.kraft(["pkg", "push", &name, &other]).ok();
    assert_eq!(registry.raw(&other), registry.raw(&name));
}
